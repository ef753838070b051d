"""Answers to the exercises of docs/regression/huber.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Right but at 0, where it is infinite.
            """
            def weight(r, delta):
                return (delta / r.abs()).clamp(min=1) if delta > 1e9 else delta / r.abs()
            """,
            # A weight at 0, but any.
            """
            def weight(r, delta):
                return torch.where(r == 0, 17.0, delta / r.abs().clamp(min=delta))
            """,
            # What lies outside is thrown away.
            """
            def weight(r, delta):
                return (r.abs() <= delta).double()
            """,
            # The loss, not its slope, over r^2 / 2.
            """
            def weight(r, delta):
                loss = huber_loss(r, torch.zeros_like(r), delta=delta)
                return torch.where(r == 0, 1.0, 2 * loss / r**2)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The famous constant, whatever is asked for.
            """
            def k_for(efficiency):
                return 1.345
            """,
            # The share that is not clipped.
            """
            def k_for(efficiency):
                return norm.ppf((1 + efficiency) / 2)
            """,
            # The variance itself, not its inverse.
            """
            def k_for(efficiency):
                return brentq(lambda k: variance(k, 0.0) - 1 - (1 - efficiency), 1e-3, 10)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def bias(a, delta):
            return delta * a / (1 - a)
        """,
        hidden="""
        for share in (0.07, 0.25, 0.33, 0.48):
            for threshold_ in (0.2, 5.0):
                given = bias(share, threshold_)
                clean, far = [0.0] * round(100 - 100 * share), [1e7] * round(100 * share)
                miss = abs(given - location(clean + far, threshold_))
                assert miss < 1e-6, f"for a share of {share} it misses by {miss:.3g}"
        """,
        wrong=(
            # The pull of the outliers, as if the others did not pull back harder than they count.
            """
            def bias(a, delta):
                return delta * a
            """,
            # Outliers cancel as many of the others, which is so for the median.
            """
            def bias(a, delta):
                return delta * a / (1 - 2 * a)
            """,
            # The bound of a single residual.
            """
            def bias(a, delta):
                return delta
            """,
            # Right for delta = 1 alone.
            """
            def bias(a, delta):
                return a / (1 - a)
            """,
        ),
    ),
}
