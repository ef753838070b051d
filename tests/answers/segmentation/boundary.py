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
        def distance(mask):
            def apart(n):
                i = torch.arange(n).double()
                return (i[:, None] - i).abs()

            gaps = apart(mask.shape[1]).expand(len(mask), -1, -1)
            gaps = gaps.masked_fill(mask[:, None], torch.inf).amin(2)
            return (apart(len(mask)).square()[..., None] + gaps.square()).amin(1).sqrt()
        """,
        hidden="""
        for h, w in ((15, 4), (3, 30)):
            mask = torch.ones(h, w, dtype=torch.bool)
            mask[h - 1, 0] = False
            i, j = torch.arange(h)[:, None] - (h - 1), torch.arange(w)
            right = (i**2 + j**2).double().sqrt()
            assert torch.allclose(distance(mask).double(), right, atol=1e-4), "not for one pixel"
        """,
        wrong=(
            # Steps, not distances.
            """
            def distance(mask):
                def apart(n):
                    i = torch.arange(n).double()
                    return (i[:, None] - i).abs()

                gaps = apart(mask.shape[1]).expand(len(mask), -1, -1)
                gaps = gaps.masked_fill(mask[:, None], torch.inf).amin(2)
                return (apart(len(mask))[..., None] + gaps).amin(1)
            """,
            # The nearest in the row or in the column, not across.
            """
            def distance(mask):
                def gaps(mask):
                    i = torch.arange(mask.shape[1]).double()
                    apart = (i[:, None] - i).abs().expand(len(mask), -1, -1)
                    return apart.masked_fill(mask[:, None], torch.inf).amin(2)

                return torch.minimum(gaps(mask), gaps(mask.mT).mT).clamp(max=99)
            """,
            # The root too early.
            """
            def distance(mask):
                i, j = (torch.arange(n).double() for n in mask.shape)
                gaps = (j[:, None] - j).abs().expand(len(mask), -1, -1)
                gaps = gaps.masked_fill(mask[:, None], torch.inf).amin(2)
                return ((i[:, None] - i).square()[..., None] + gaps).amin(1).sqrt()
            """,
        ),
    ),
}
