"""Answers to the exercises of docs/preference/reference_free.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The lead for the factor.
            """
            def factor(beta, gamma):
                return gamma / beta
            """,
            # Gamma as if it stood inside of beta.
            """
            import math

            def factor(beta, gamma):
                return math.exp(gamma)
            """,
            # Multiplied out the wrong way.
            """
            import math

            def factor(beta, gamma):
                return math.exp(gamma * beta)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The logarithm that is made for small numbers, given one near -1.
            """
            def log_odds(u):
                return u - torch.log1p(-u.exp())
            """,
            # As it stands.
            """
            def log_odds(u):
                return u - (1 - u.exp()).log()
            """,
            # As it stands, with more digits.
            """
            def log_odds(u):
                return u - torch.log1p(-u.double().exp()).float()
            """,
            # Finite by a clamp, and wrong where it clamps.
            """
            def log_odds(u):
                return u - torch.log1p(-u.exp().clamp(max=1 - 1e-7))
            """,
            # A branch for either end, but nan flows back through the one that is not taken.
            """
            def log_odds(u):
                return u - torch.where(u > -0.69, (-u.expm1()).log(), torch.log1p(-u.exp()))
            """,
        ),
    ),
    3: Answers(
        solution="""
        import math

        def best_probability(eta, lam):
            low, high = -40.0, 40.0
            for _ in range(200):
                x = (low + high) / 2
                one, two = 1 / (1 + math.exp(-x)), 1 / (1 + math.exp(-2 * x))
                low, high = (x, high) if one - eta + 2 * lam * (two - eta) < 0 else (low, x)
            return 1 / (1 + math.exp(-low))
        """,
        hidden="""
        for eta in (0.05, 0.3, 0.5, 0.8, 0.99):
            for lam in (0.0, 0.5, 1.0, 20.0):
                given = float(best_probability(eta, lam))
                x = torch.tensor(given, dtype=torch.float64, requires_grad=True)
                one = orpo_loss(x.log(), (1 - x).log(), lam=lam)
                two = orpo_loss((1 - x).log(), x.log(), lam=lam)
                (slope,) = torch.autograd.grad(eta * one + (1 - eta) * two, x)
                flat = abs(slope * x * (1 - x)) < 1e-4 * (1 + lam)
                assert flat, f"for eta {eta} and lambda {lam} the slope is {slope:.5f}"
        """,
        wrong=(
            # What likelihood alone gives.
            """
            def best_probability(eta, lam):
                return eta
            """,
            # What the odds alone give.
            """
            import math

            def best_probability(eta, lam):
                return 1 / (1 + math.sqrt((1 - eta) / eta))
            """,
            # The two of them, averaged.
            """
            import math

            def best_probability(eta, lam):
                odds = 1 / (1 + math.sqrt((1 - eta) / eta))
                return (eta + 2 * lam * odds) / (1 + 2 * lam)
            """,
            # As if the difference of log-odds were that of one answer.
            """
            import math

            def best_probability(eta, lam):
                low, high = -40.0, 40.0
                for _ in range(200):
                    x = (low + high) / 2
                    one, half = 1 / (1 + math.exp(-x)), 1 / (1 + math.exp(-x / 2))
                    low, high = (x, high) if one - eta + lam * (half - eta) < 0 else (low, x)
                return 1 / (1 + math.exp(-low))
            """,
        ),
    ),
}
