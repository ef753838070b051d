"""Answers to the exercises of docs/classification/poly.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # A hopeless example pulls hardest, whatever epsilon.
            """
            def hardest(epsilon):
                return 0.0
            """,
            # Where the two factors are far from 0.
            """
            def hardest(epsilon):
                return 0.5
            """,
            # The bump without its condition.
            """
            def hardest(epsilon):
                return (epsilon - 1) / (2 * epsilon) if epsilon else 0.0
            """,
            # Where the added term alone pulls hardest.
            """
            def hardest(epsilon):
                return 0.5 if epsilon > 1 else 0.0
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The coefficients of focal loss, not their change.
            """
            def focal_epsilons(gamma, n):
                return [1 / (j - gamma) if j > gamma else 0.0 for j in range(1, n + 1)]
            """,
            # Shifted to the wrong side.
            """
            def focal_epsilons(gamma, n):
                return [1 / (j + gamma) - 1 / j for j in range(1, n + 1)]
            """,
            # The powers below gamma are left as they were.
            """
            def focal_epsilons(gamma, n):
                return [1 / (j - gamma) - 1 / j if j > gamma else 0.0 for j in range(1, n + 1)]
            """,
        ),
    ),
    3: Answers(
        solution="""
        from scipy.optimize import brentq


        def asked(eta, epsilon):
            rest = (1 - eta) / 9
            total = lambda m: eta / (m - epsilon * eta) + 9 * rest / (m - epsilon * rest) - 1
            top = epsilon * max(eta, rest)
            return eta / (brentq(total, top + 1e-9, top + 20, xtol=1e-14) - epsilon * eta)
        """,
        hidden="""
        p = torch.arange(1, 100_000, dtype=torch.float64) / 100_000
        other = (1 - p) / 9
        for eta in (0.05, 0.1, 0.3, 0.9):
            for epsilon in (0.0, 1.0, 4.0):
                risk = eta * (-p.log() + epsilon * (1 - p))
                risk = risk + (1 - eta) * (-other.log() + epsilon * (1 - other))
                miss = abs(asked(eta, epsilon) - p[risk.argmin()].item())
                assert miss < 2e-5, f"for {eta} and epsilon {epsilon:g} it misses by {miss:.5f}"
        """,
        wrong=(
            # The true probability.
            """
            def asked(eta, epsilon):
                return eta
            """,
            # The correction applied in the wrong direction.
            """
            def asked(eta, epsilon):
                rest = (1 - eta) / 9
                mine, theirs = eta / (1 + epsilon * eta), rest / (1 + epsilon * rest)
                return mine / (mine + 9 * theirs)
            """,
            # As if the nine others were one.
            """
            def asked(eta, epsilon):
                low, high = 0.0, 1.0
                for _ in range(60):
                    p = (low + high) / 2
                    mine, other = p / (1 + epsilon * p), (1 - p) / (1 + epsilon * (1 - p))
                    low, high = (p, high) if mine / (mine + other) < eta else (low, p)
                return p
            """,
            # One step of the iteration, as if the sum did not have to be 1.
            """
            def asked(eta, epsilon):
                return min(eta * (1 + epsilon * eta) / (1 + epsilon * eta**2), 0.999)
            """,
        ),
    ),
}
