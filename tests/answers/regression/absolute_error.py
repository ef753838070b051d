"""Answers to the exercises of docs/regression/absolute_error.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The range: each gap once.
            """
            def least_total(gaps):
                return sum(gaps)
            """,
            # All pairs: each gap as often as it lies between two targets.
            """
            def least_total(gaps):
                n = len(gaps) + 1
                return sum(k * (n - k) * gap for k, gap in enumerate(gaps, 1))
            """,
            # Counted from 0.
            """
            def least_total(gaps):
                return sum(min(k, len(gaps) - k) * gap for k, gap in enumerate(gaps))
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The absolute error, whatever tau is.
            """
            def pinball(predictions, targets, tau):
                return (predictions - targets).abs() / 2
            """,
            # The other quantile.
            """
            def pinball(predictions, targets, tau):
                r = predictions - targets
                return torch.maximum(tau * r, (tau - 1) * r)
            """,
            # Slopes in the right proportion, but too steep away from one half.
            """
            def pinball(predictions, targets, tau):
                r = predictions - targets
                return torch.maximum(r / tau, -r / (1 - tau)) / 4
            """,
            # Reduced.
            """
            def pinball(predictions, targets, tau):
                r = predictions - targets
                return torch.maximum((1 - tau) * r, -tau * r).mean()
            """,
        ),
    ),
    3: Answers(
        solution="""
        def steepness(x, y):
            ratios, order = (y / x).sort()
            weights = x.abs()[order].cumsum(0)
            return ratios[(weights < weights[-1] / 2).sum()]
        """,
        hidden="""
        for seed, n in ((1, 3), (2, 8), (3, 101)):
            draw = experiments.rng(seed)
            x, y = torch.from_numpy(draw.normal(-1, 2, n)), torch.from_numpy(draw.normal(size=n))
            r = float(steepness(x, y)) * x - y
            met = r.abs() < 1e-9
            pull, slack = (x * r.sign())[~met].sum().abs(), x[met].abs().sum()
            assert pull < slack + 1e-9, f"{n} points: the sum falls there by {pull - slack:.4f}"
        """,
        wrong=(
            # The median of the ratios, without weights.
            """
            def steepness(x, y):
                return (y / x).median()
            """,
            # Weighted by the squares.
            """
            def steepness(x, y):
                ratios, order = (y / x).sort()
                weights = x.square()[order].cumsum(0)
                return ratios[(weights < weights[-1] / 2).sum()]
            """,
            # Least squares.
            """
            def steepness(x, y):
                return (x * y).sum() / (x * x).sum()
            """,
            # Weights that keep the sign of x.
            """
            def steepness(x, y):
                ratios, order = (y / x).sort()
                weights = x[order].cumsum(0)
                return ratios[(weights < weights[-1] / 2).sum().clamp(max=len(x) - 1)]
            """,
        ),
    ),
}
