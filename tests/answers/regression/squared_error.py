"""Answers to the exercises of docs/regression/squared_error.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The mean of the roots.
            """
            def overall(rmses, sizes):
                return sum(rmses) / len(rmses)
            """,
            # The roots, weighed by size.
            """
            def overall(rmses, sizes):
                return sum(n * r for r, n in zip(rmses, sizes)) / sum(sizes)
            """,
            # The root of the mean square, as if batches were of one size.
            """
            def overall(rmses, sizes):
                return (sum(r**2 for r in rmses) / len(rmses)) ** 0.5
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # As it stands.
            """
            def rmse(predictions, targets):
                return (predictions - targets).square().mean().sqrt()
            """,
            # A constant under the root.
            """
            def rmse(predictions, targets):
                return ((predictions - targets).square().mean() + 1e-12).sqrt()
            """,
            # The targets are forgotten.
            """
            def rmse(predictions, targets):
                return torch.linalg.vector_norm(predictions) / targets.numel() ** 0.5
            """,
            # The rows are counted, not the elements.
            """
            def rmse(predictions, targets):
                return torch.linalg.vector_norm(predictions - targets) / len(targets) ** 0.5
            """,
            # The dead branch of a where still sends its nan back.
            """
            def rmse(predictions, targets):
                mse = (predictions - targets).square().mean()
                return torch.where(mse > 0, mse.sqrt(), 0)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def shrink(mu, s, n):
            return mu**2 / (mu**2 + s**2 / n)
        """,
        hidden="""
        for mu, s, n in ((0.5, 1.0, 1), (2.0, 3.0, 7), (-1.0, 0.2, 3)):
            slope = (shrink(mu, s, n) - 1) * mu**2 + shrink(mu, s, n) * s**2 / n
            assert abs(slope) < 1e-9, f"mu {mu}, s {s}, n {n}: the slope in c is {slope:.3g}, not 0"
        """,
        wrong=(
            # Forgets that a mean varies less than a measurement.
            """
            def shrink(mu, s, n):
                return mu**2 / (mu**2 + s**2)
            """,
            # Unbiased, and so not the best.
            """
            def shrink(mu, s, n):
                return 1.0
            """,
            # The share of the other part.
            """
            def shrink(mu, s, n):
                return (s**2 / n) / (mu**2 + s**2 / n)
            """,
            # The first two terms of its series.
            """
            def shrink(mu, s, n):
                return 1 - s**2 / (n * mu**2)
            """,
        ),
    ),
}
