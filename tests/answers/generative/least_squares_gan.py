"""Answers to the exercises of docs/generative/least_squares_gan.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Fakes are to be scored as reals, whatever the paper asks for.
            """
            def same_game(a, b, c):
                return 7.0
            """,
            # Measured from the reals.
            """
            def same_game(a, b, c):
                return 3 + 4 * (b - c) / (b - a)
            """,
            # Shifted and not scaled.
            """
            def same_game(a, b, c):
                return 3 + (c - a)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The half is lost.
            """
            def least(p, q, a, b):
                return (b - a) ** 2 * (p * q / (p + q)).sum()
            """,
            # Codes 0 and 1 alone.
            """
            def least(p, q, a, b):
                return (p * q / (p + q)).sum() / 2
            """,
            # By way of the best score.
            """
            def least(p, q, a, b):
                best = (b * p + a * q) / (p + q)
                return (p * (best - b) ** 2 + q * (best - a) ** 2).sum() / 2
            """,
            # The denominator squared, as it is before the two sides are added.
            """
            def least(p, q, a, b):
                return (b - a) ** 2 / 2 * (p * q / (p + q) ** 2).sum()
            """,
        ),
    ),
    3: Answers(
        solution="""
        def total_slope(p, q, a, b, c):
            miss = (b * p + a * q) / (p + q) - c
            return miss**2 / 2 + q * miss * (a - b) * p / (p + q) ** 2
        """,
        hidden="""
        for p, q in ((0.25, 0.25), (0.9, 0.05), (0.02, 0.3)):
            for a, b, c in ((0.0, 1.0, 0.5), (-1.0, 1.0, 1.0), (0.2, 3.0, -1.0)):
                moving = torch.tensor(q, dtype=torch.float64, requires_grad=True)
                value = moving * ((b * p + a * moving) / (p + moving) - c) ** 2 / 2
                truth = torch.autograd.grad(value, moving)[0].item()
                miss = abs(float(total_slope(p, q, a, b, c)) - truth)
                assert miss < 1e-9, f"at p = {p} and q = {q} it misses by {miss:.4f}"
        """,
        wrong=(
            # The discriminator stands still: the slope of the game.
            """
            def total_slope(p, q, a, b, c):
                return ((b * p + a * q) / (p + q) - c) ** 2 / 2
            """,
            # More fakes raise the score.
            """
            def total_slope(p, q, a, b, c):
                miss = (b * p + a * q) / (p + q) - c
                return miss**2 / 2 + q * miss * (b - a) * p / (p + q) ** 2
            """,
            # The density that weighs the second term is forgotten.
            """
            def total_slope(p, q, a, b, c):
                miss = (b * p + a * q) / (p + q) - c
                return miss**2 / 2 + miss * (a - b) * p / (p + q) ** 2
            """,
        ),
    ),
}
