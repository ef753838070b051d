"""Answers to the exercises of docs/classification/binary_cross_entropy.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The weight does not matter.
            """
            def threshold(w):
                return 0.5
            """,
            # The weight on the wrong side.
            """
            def threshold(w):
                return 1 / (1 + w)
            """,
            # The logit in the place of the probability.
            """
            def threshold(w):
                return math.log(w) if w != 1 else 0.5
            """,
        ),
    ),
    2: Answers(
        solution="""
        def turning_point(k):
            return 1 / (k + 1)
        """,
        hidden="""
        for k in (1, 1.5, 2, 3, 7):
            assert abs(turning_point(k) - 1 / (k + 1)) < 1e-6, f"not for k = {k}"
        """,
        wrong=(
            # That of the squared error alone.
            """
            def turning_point(k):
                return 1 / 3
            """,
            # Where the slope is steepest in p, without the chain rule.
            """
            def turning_point(k):
                return (k - 1) / k if k > 1 else 0.5
            """,
            # Where the sigmoid turns.
            """
            def turning_point(k):
                return 0.5
            """,
            # The other side.
            """
            def turning_point(k):
                return k / (k + 1)
            """,
        ),
    ),
}
