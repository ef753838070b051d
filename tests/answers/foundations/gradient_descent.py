"""Answers to the exercises of docs/foundations/gradient_descent.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The half is in it after all.
            """
            def largest_step(A):
                return 2 / torch.linalg.eigvalsh(A.T @ A / len(A))[-1]
            """,
            # A sum for a mean.
            """
            def largest_step(A):
                return 1 / torch.linalg.eigvalsh(A.T @ A)[-1]
            """,
            # The trace bounds the largest eigenvalue, and is one for a single column.
            """
            def largest_step(A):
                return 1 / A.square().sum(dim=1).mean()
            """,
            # The singular value without its square.
            """
            def largest_step(A):
                return 1 / (torch.linalg.svdvals(A)[0] / len(A) ** 0.5)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The curvature of the squared error.
            """
            def safe_step(A):
                return 2 / torch.linalg.eigvalsh(A.T @ A / len(A))[-1]
            """,
            # 1 / Lambda in place of 2 / Lambda.
            """
            def safe_step(A):
                return 4 / torch.linalg.eigvalsh(A.T @ A / len(A))[-1]
            """,
            # The sum over the examples.
            """
            def safe_step(A):
                return 8 / torch.linalg.eigvalsh(A.T @ A)[-1]
            """,
        ),
    ),
    3: Answers(
        solution="""
        def step_to(value, slope, least):
            squares = (slope**2).sum()
            return (value - least) / squares if squares > 0 else 0.0
        """,
        hidden="""
        for least in (0.0, 2.5):
            start = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
            slope = torch.tensor([[0.3, -1.0], [2.0, 0.1]], dtype=torch.float64)
            s = step_to(torch.tensor(7.0, dtype=torch.float64), slope, least)
            falls = (s * slope * slope).sum().item()
            assert abs(falls - (7 - least)) < 1e-9, f"a straight loss falls by {falls:.3f}"
        assert float(step_to(torch.tensor(2.5), torch.zeros(3), 2.5)) == 0, "stay at the minimum"
        move = step_to(torch.tensor(2.5), torch.zeros(3), 1.0) * torch.zeros(3)
        assert (move == 0).all(), "stay on a plateau"
        """,
        wrong=(
            # Over the length of the slope, not its square.
            """
            def step_to(value, slope, least):
                length = (slope**2).sum() ** 0.5
                return (value - least) / length if length > 0 else 0.0
            """,
            # The least loss is forgotten.
            """
            def step_to(value, slope, least):
                squares = (slope**2).sum()
                return value / squares if squares > 0 else 0.0
            """,
            # 0 / 0 at the minimum.
            """
            def step_to(value, slope, least):
                return (value - least) / (slope**2).sum()
            """,
            # Infinite on a plateau.
            """
            def step_to(value, slope, least):
                return (value - least) / (slope**2).sum() if value > least else 0.0
            """,
            # The largest entry stands for the whole slope.
            """
            def step_to(value, slope, least):
                squares = (slope**2).max()
                return (value - least) / squares if squares > 0 else 0.0
            """,
        ),
    ),
}
