"""Answers to the exercises of docs/policy/ppo.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Up to the return, not beyond.
            """
            def asleep(old, returns, epsilon):
                return max(0.0, abs(returns - old) - epsilon)
            """,
            # Without the case of a return within reach.
            """
            def asleep(old, returns, epsilon):
                return 2 * (abs(returns - old) - epsilon)
            """,
            # As if the range itself were silent.
            """
            def asleep(old, returns, epsilon):
                return 2 * epsilon
            """,
            # For returns above the old value alone.
            """
            def asleep(old, returns, epsilon):
                return 2 * max(0.0, returns - old - epsilon)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # Its mean is the negative entropy, its gradient 0 on average.
            """
            def sampled(log_probs):
                return log_probs
            """,
            # The sign of the entropy.
            """
            def sampled(log_probs):
                return -log_probs.detach() * log_probs
            """,
            # The sum over actions, weighted by the policy once more.
            """
            def sampled(log_probs):
                return log_probs.exp() * log_probs
            """,
            # Not of what was drawn: it needs all the actions at once.
            """
            def sampled(log_probs):
                return (log_probs.exp() * log_probs).sum() / log_probs.exp().sum()
            """,
            # The square without its half.
            """
            def sampled(log_probs):
                return log_probs**2
            """,
        ),
    ),
    3: Answers(
        solution="""
        import math

        def silencing(p, advantage, epsilon):
            end = p * (1 + epsilon if advantage > 0 else 1 - epsilon)
            if not 0 < end < 1:
                return math.inf
            logit = lambda q: math.log(q / (1 - q))
            return (logit(end) - logit(p)) / (advantage * (1 - p))
        """,
        hidden="""
        for p, a, e in ((0.02, 3.0, 0.28), (0.3, -0.1, 0.4), (0.99, -1.0, 0.2), (0.6, 2.0, 0.5)):
            rate = silencing(p, a, e)
            assert rate > 0, f"at p {p} the rate {rate} is not above 0"
            x = torch.tensor(p, dtype=torch.float64).logit()
            for factor in (0.999, 1.001):
                y = x + min(rate, 1e5) * factor * a * (1 - p)
                ratio = y.sigmoid().item() / p
                past = ratio > 1 + e if a > 0 else ratio < 1 - e
                expected = factor > 1 and rate < math.inf
                assert past == expected, f"at p {p}, A {a}, epsilon {e} the ratio is {ratio:.4f}"
        assert silencing(0.8, 1.0, 0.3) == math.inf, "0.8 cannot become 1.3 times 0.8"
        """,
        wrong=(
            # The ratio as if log-probabilities were the parameters.
            """
            import math

            def silencing(p, advantage, epsilon):
                end = 1 + epsilon if advantage > 0 else 1 - epsilon
                return math.log(end) / advantage
            """,
            # The slope of log sigmoid, 1 - p, left out.
            """
            import math

            def silencing(p, advantage, epsilon):
                end = p * (1 + epsilon if advantage > 0 else 1 - epsilon)
                if not 0 < end < 1:
                    return math.inf
                return (math.log(end / (1 - end)) - math.log(p / (1 - p))) / advantage
            """,
            # The first order: the ratio moves by A (1 - p)^2 a step.
            """
            import math

            def silencing(p, advantage, epsilon):
                return epsilon / (abs(advantage) * (1 - p) ** 2)
            """,
            # The upper end for either sign.
            """
            import math

            def silencing(p, advantage, epsilon):
                end = p * (1 + epsilon)
                if end >= 1:
                    return math.inf
                step = math.log(end / (1 - end)) - math.log(p / (1 - p))
                return step / (abs(advantage) * (1 - p))
            """,
        ),
    ),
}
