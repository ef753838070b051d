"""Answers to the exercises of docs/foundations/landscape.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The bias stays.
            """
            def turn(theta, unit):
                theta = theta.clone()
                W, b, V, c = parts(theta)
                W[unit] *= -1
                V[:, unit] *= -1
                return theta
            """,
            # All units at once.
            """
            def turn(theta, unit):
                theta = -theta
                parts(theta)[3].neg_()
                return theta
            """,
            # In place.
            """
            def turn(theta, unit):
                W, b, V, c = parts(theta)
                W[unit] *= -1
                b[unit] *= -1
                V[:, unit] *= -1
                return theta
            """,
            # Out of the unit, and not into it.
            """
            def turn(theta, unit):
                theta = theta.clone()
                parts(theta)[2][:, unit] *= -1
                return theta
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The number that is no whole number of steps.
            """
            import math

            def steps_to_leave(nudge, curvature, s):
                factor = abs(1 - s * curvature)
                return math.log(1 / nudge) / math.log(factor) if factor > 1 else math.inf
            """,
            # Only downward curvature is left.
            """
            import math

            def steps_to_leave(nudge, curvature, s):
                if curvature >= 0:
                    return math.inf
                return math.floor(math.log(1 / nudge) / math.log(1 - s * curvature)) + 1
            """,
            # The rate of a flow, not of steps.
            """
            import math

            def steps_to_leave(nudge, curvature, s):
                rate = -s * curvature
                return math.floor(math.log(1 / nudge) / rate) + 1 if rate > 0 else math.inf
            """,
        ),
    ),
    3: Answers(
        solution="""
        def variance(n, a):
            return 2 / ((1 + a**2) * n)
        """,
        hidden="""
        for n, a in ((50, 0.0), (400, 0.01), (120, 0.3), (64, 1.0)):
            kept = n * float(variance(n, a)) * (1 + a * a) / 2
            assert abs(kept - 1) < 1e-9, f"n {n}, a {a}: each layer keeps {kept:.4f}"
        """,
        wrong=(
            # Of the plain ReLU.
            """
            def variance(n, a):
                return 2 / n
            """,
            # The mean slope, not the mean square.
            """
            def variance(n, a):
                return 4 / ((1 + a) ** 2 * n)
            """,
            # A straight line between the two slopes.
            """
            def variance(n, a):
                return (2 - a) / n
            """,
            # A standard deviation.
            """
            def variance(n, a):
                return (2 / ((1 + a**2) * n)) ** 0.5
            """,
            # Slopes that add up instead of their mean.
            """
            def variance(n, a):
                return 1 / ((1 + a**2) * n)
            """,
        ),
    ),
}
