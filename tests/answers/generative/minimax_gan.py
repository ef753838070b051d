"""Answers to the exercises of docs/generative/minimax_gan.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The reals' density is scaled in the denominator as well.
            """
            def best(p, q, real, fake):
                return real * p / (real * p + q)
            """,
            # The label of fakes is forgotten.
            """
            def best(p, q, real, fake):
                return real * p / (p + q)
            """,
            # The answer for hard labels, squeezed between the soft ones.
            """
            def best(p, q, real, fake):
                return max(fake, min(real, p / (p + q)))
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The classes are taken to be equal.
            """
            def mean_over_reals(values, logits, n_real, n_fake):
                return (values * logits.exp()).mean()
            """,
            # The correction is turned around.
            """
            def mean_over_reals(values, logits, n_real, n_fake):
                return (values * logits.exp()).mean() * n_real / n_fake
            """,
            # Weights are probabilities in place of odds.
            """
            def mean_over_reals(values, logits, n_real, n_fake):
                weights = logits.sigmoid()
                return (values * weights).sum() / weights.sum()
            """,
        ),
    ),
    3: Answers(
        solution="""
        def kept(theta, psi, eta):
            return theta**2 + psi**2 + eta * theta * psi
        """,
        hidden="""
        for theta, psi, eta in ((0.2, 0.7, 1.9), (3.0, -1.0, 0.7), (-0.4, -0.3, 0.01)):
            start = float(kept(theta, psi, eta))
            assert start > 0, f"at ({theta}, {psi}) it is {start:.3f}"
            larger = float(kept(1.5 * theta, 1.5 * psi, eta))
            assert abs(larger - start) > 1e-6, "it tells no orbit from another"
            for _ in range(500):
                psi = psi + eta * theta
                theta = theta - eta * psi
            assert abs(float(kept(theta, psi, eta)) - start) < 1e-6 * start, f"at eta {eta}"
        """,
        wrong=(
            # What the flow keeps.
            """
            def kept(theta, psi, eta):
                return theta**2 + psi**2
            """,
            # What it keeps if theta moves first.
            """
            def kept(theta, psi, eta):
                return theta**2 + psi**2 - eta * theta * psi
            """,
            # A constant is kept, and says nothing.
            """
            def kept(theta, psi, eta):
                return 1.0
            """,
        ),
    ),
}
