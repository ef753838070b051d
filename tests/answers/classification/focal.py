"""Answers to the exercises of docs/classification/focal.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The factor of the loss, not of its gradient.
            """
            def shrink(p_t, gamma):
                return (1 - p_t) ** gamma
            """,
            # The product rule with one sign turned.
            """
            import math

            def shrink(p_t, gamma):
                return (1 - p_t) ** gamma * (1 + gamma * p_t * math.log(p_t) / (1 - p_t))
            """,
            # Right for gamma = 2 and 0 alone.
            """
            import math

            def shrink(p_t, gamma):
                return (1 - p_t) ** gamma * (1 - 2 * bool(gamma) * p_t * math.log(p_t) / (1 - p_t))
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The bias of one sigmoid.
            """
            import math

            def background_bias(pi, classes):
                return math.log((1 - pi) / pi)
            """,
            # The bias of the objects.
            """
            import math

            def background_bias(pi, classes):
                return math.log(pi / (1 - pi) / (classes - 1))
            """,
            # The log-probability, as if the others' scores did not count.
            """
            import math

            def background_bias(pi, classes):
                return math.log(1 - pi)
            """,
        ),
    ),
    3: Answers(
        solution="""
        import math

        def strongest(gamma):
            low, high = 1e-12, 0.5
            for _ in range(100):
                p = (low + high) / 2
                h = gamma * p * math.log(p) + p - 1
                slope = -gamma * h + (1 - p) * (gamma * math.log(p) + gamma + 1)
                low, high = (p, high) if slope < 0 else (low, p)
            return low
        """,
        hidden="""
        for gamma in (0.5, 1.0, 2.0, 3.0, 5.0):
            q = torch.linspace(1e-5, 0.99999, 99_999, dtype=torch.float64)
            x = q.logit().requires_grad_()
            loss = sigmoid_focal_loss(x, torch.ones_like(x), gamma=gamma, alpha=None)
            (slope,) = torch.autograd.grad(loss.sum(), x)
            miss = abs(strongest(gamma) - q[slope.argmin()].item())
            assert miss < 1e-4, f"for gamma {gamma} it misses by {miss:.5f}"
        """,
        wrong=(
            # What the chapter prints, for one gamma.
            """
            def strongest(gamma):
                return 0.06
            """,
            # The slope of the bracket alone.
            """
            import math

            def strongest(gamma):
                return math.exp(-(gamma + 1) / gamma)
            """,
            # Too coarse a search.
            """
            import math

            def strongest(gamma):
                pull = lambda p: (1 - p) ** gamma * (gamma * p * math.log(p) + p - 1)
                return min((i / 500 for i in range(1, 500)), key=pull)
            """,
            # The gradient in p_t, not in the score.
            """
            import math

            def strongest(gamma):
                miss = lambda p: gamma * (1 - p) ** (gamma - 1)
                slope = lambda p: miss(p) * math.log(p) - (1 - p) ** gamma / p
                return min((i / 10_000 for i in range(1, 10_000)), key=slope)
            """,
        ),
    ),
}
