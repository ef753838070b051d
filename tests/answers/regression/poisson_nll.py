"""Answers to the exercises of docs/regression/poisson_nll.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The mean of the rates, in which a short hour counts as much as a long one.
            """
            def common_log_rate(counts, hours):
                return (counts / hours).mean().log()
            """,
            # The mean count, as if all hours were one.
            """
            def common_log_rate(counts, hours):
                return counts.mean().log()
            """,
            # The rate itself.
            """
            def common_log_rate(counts, hours):
                return counts.sum() / hours.sum()
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The rate, not its logarithm.
            """
            import math

            def even_odds():
                return math.log(2)
            """,
            # A rate of one half.
            """
            import math

            def even_odds():
                return math.log(0.5)
            """,
            # A rate of 1.
            """
            def even_odds():
                return 0.0
            """,
        ),
    ),
    3: Answers(
        solution="""
        def seen_nll(log_rates, counts):
            seen = -torch.expm1(-log_rates.exp())
            return poisson_nll(log_rates, counts, full=True) + seen.log()
        """,
        hidden="""
        from scipy.stats import poisson

        for rate in (1e-9, 0.1, 2.0, 30.0, 1000.0):
            k = torch.tensor([1.0, 2.0, 7.0], dtype=torch.float64)
            x = torch.full_like(k, rate).log().requires_grad_()
            given = seen_nll(x, k)
            right = -poisson.logpmf(k.numpy(), rate) + np.log(poisson.sf(0, rate))
            miss = np.abs(given.detach().numpy() - right).max()
            assert miss < 1e-6, f"at a rate of {rate} it misses by {miss:.3g}"
            (slope,) = torch.autograd.grad(given.sum(), x)
            mean = rate / poisson.sf(0, rate)
            assert torch.allclose(slope, mean - k), f"at a rate of {rate} the slope is off"
        """,
        wrong=(
            # The whole law: the probabilities do not add up to 1.
            """
            def seen_nll(log_rates, counts):
                return poisson_nll(log_rates, counts, full=True)
            """,
            # Counted from 0: another law.
            """
            def seen_nll(log_rates, counts):
                return poisson_nll(log_rates, counts - 1, full=True)
            """,
            # The sign turned.
            """
            def seen_nll(log_rates, counts):
                seen = -torch.expm1(-log_rates.exp())
                return poisson_nll(log_rates, counts, full=True) - seen.log()
            """,
            # The exponential of a large rate overflows.
            """
            def seen_nll(log_rates, counts):
                seen = torch.expm1(log_rates.exp()).log()
                return seen - counts * log_rates + torch.lgamma(counts + 1)
            """,
            # 1 - exp rounds to 0 at tiny rates.
            """
            def seen_nll(log_rates, counts):
                seen = 1 - torch.exp(-log_rates.exp())
                return poisson_nll(log_rates, counts, full=True) + seen.log()
            """,
        ),
    ),
}
