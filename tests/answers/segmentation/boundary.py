"""Answers to the exercises of docs/segmentation/boundary.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Distances to the first pixel beyond the object on the right.
            """
            def row_map(n, a, b):
                i = torch.arange(n)
                return torch.maximum(a - i, i - b)
            """,
            # Without the shift inside.
            """
            def row_map(n, a, b):
                i = torch.arange(n)
                found = torch.maximum(a - i, i - (b - 1))
                return torch.where(found > 0, found, found - 1)
            """,
            # Positive inside.
            """
            def row_map(n, a, b):
                i = torch.arange(n)
                return torch.minimum(i - a, b - 1 - i)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # It always collapses.
            """
            def best_constant(masks):
                return 0.0
            """,
            # The minimizer of cross entropy.
            """
            def best_constant(masks):
                return masks.float().mean().item()
            """,
            # The majority.
            """
            def best_constant(masks):
                return float(masks.float().mean() > 0.5)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def distance(mask, spacing):
            squares = torch.zeros(mask.shape).double().masked_fill(mask, torch.inf)
            for axis, length in enumerate(spacing):
                i = length * torch.arange(mask.shape[axis]).double()
                lines = squares.movedim(axis, -1)[..., None, :]
                squares = ((i[:, None] - i).square() + lines).amin(-1).movedim(-1, axis)
            return squares.sqrt()
        """,
        hidden="""
        for shape, spacing in (((3, 9, 2), (2.5, 1, 1)), ((2, 3, 12), (1, 4, 0.3))):
            mask = torch.ones(shape, dtype=torch.bool)
            mask[-1, 0, -1] = False
            away = (mask | True).nonzero() - torch.tensor([shape[0] - 1, 0, shape[2] - 1])
            right = (away * torch.tensor(spacing).double()).norm(dim=1).view(shape)
            answer = distance(mask, spacing).double()
            assert torch.allclose(answer, right, atol=1e-4), "not for one voxel"


        class Largest(torch.utils._python_dispatch.TorchDispatchMode):
            numbers = 0

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                made = func(*args, **(kwargs or {}))
                for part in made if isinstance(made, tuple | list) else (made,):
                    if isinstance(part, torch.Tensor):
                        self.numbers = max(self.numbers, part.numel())
                return made


        mask = torch.from_numpy(experiments.rng(5).uniform(size=(9, 8, 10)) < 0.5)
        mask[0, 0, 0] = False
        with Largest() as largest:
            distance(mask, (1, 2, 3))
        assert largest.numbers <= 10 * mask.numel(), "a tensor is too large"
        """,
        wrong=(
            # Voxels are cubes.
            """
            def distance(mask, spacing):
                squares = torch.zeros(mask.shape).double().masked_fill(mask, torch.inf)
                for axis in range(3):
                    i = torch.arange(mask.shape[axis]).double()
                    lines = squares.movedim(axis, -1)[..., None, :]
                    squares = ((i[:, None] - i).square() + lines).amin(-1).movedim(-1, axis)
                return squares.sqrt()
            """,
            # Steps, not distances.
            """
            def distance(mask, spacing):
                steps = torch.zeros(mask.shape).double().masked_fill(mask, torch.inf)
                for axis, length in enumerate(spacing):
                    i = length * torch.arange(mask.shape[axis]).double()
                    lines = steps.movedim(axis, -1)[..., None, :]
                    steps = ((i[:, None] - i).abs() + lines).amin(-1).movedim(-1, axis)
                return steps
            """,
            # The length is not squared.
            """
            def distance(mask, spacing):
                squares = torch.zeros(mask.shape).double().masked_fill(mask, torch.inf)
                for axis, length in enumerate(spacing):
                    i = torch.arange(mask.shape[axis]).double()
                    lines = squares.movedim(axis, -1)[..., None, :]
                    squares = (length * (i[:, None] - i).square() + lines).amin(-1)
                    squares = squares.movedim(-1, axis)
                return squares.sqrt()
            """,
            # Slice by slice.
            """
            def distance(mask, spacing):
                squares = torch.zeros(mask.shape).double().masked_fill(mask, torch.inf)
                for axis in (1, 2):
                    i = spacing[axis] * torch.arange(mask.shape[axis]).double()
                    lines = squares.movedim(axis, -1)[..., None, :]
                    squares = ((i[:, None] - i).square() + lines).amin(-1).movedim(-1, axis)
                return squares.clamp(max=1e6).sqrt()
            """,
        ),
    ),
}
