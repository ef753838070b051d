"""Answers to the exercises of docs/classification/bi_tempered.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Cross entropy's.
            """
            import math

            def at_chance(classes, t1):
                return math.log(classes)
            """,
            # The tempered logarithm alone.
            """
            def at_chance(classes, t1):
                return (1 - classes ** (t1 - 1)) / (1 - t1)
            """,
            # The ceiling.
            """
            def at_chance(classes, t1):
                return 1 / (1 - t1)
            """,
            # One class in the second sum in place of all.
            """
            def at_chance(classes, t1):
                first = (1 - classes ** (t1 - 1)) / (1 - t1)
                return first - (1 - classes ** (t1 - 2)) / (2 - t1)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The sigmoid.
            """
            import math

            def tempered_sigmoid(gap):
                return 1 / (1 + math.exp(-gap))
            """,
            # A sigmoid of half the slope.
            """
            import math

            def tempered_sigmoid(gap):
                return 1 / (1 + math.exp(-gap / 2))
            """,
            # Heavy tails of another kind.
            """
            import math

            def tempered_sigmoid(gap):
                return 0.5 + gap / (2 * math.sqrt(gap**2 + 4))
            """,
            # The root of the quadratic in p, which is 0 / 0 at a gap of 0.
            """
            import math

            def tempered_sigmoid(gap):
                return (gap - 2 + math.sqrt(gap**2 + 4)) / (2 * gap)
            """,
            # The probability of the second class.
            """
            import math

            def tempered_sigmoid(gap):
                return 2 / (2 + gap + math.sqrt(gap**2 + 4))
            """,
        ),
    ),
    3: Answers(
        solution="""
        def matching_loss(z, q, t):
            p = tempered_softmax(z, t=t)
            price = lambda p: (p ** (2 - t)).sum(dim=1) / ((1 - t) * (2 - t))
            return (z * (p - q)).sum(dim=1) - price(p) + price(q)
        """,
        hidden="""
        far = torch.from_numpy(experiments.rng(1).normal(0, 4, (40, 5))).requires_grad_()
        one = torch.eye(5, dtype=torch.float64)[torch.arange(40) % 5]
        for t in (0.3, 0.6, 0.9):
            p, loss = tempered_softmax(far, t=t), matching_loss(far, one, t)
            assert (loss > -1e-9).all(), f"at t = {t} it is negative: {loss.min():.4f}"
            (slope,) = torch.autograd.grad(loss.sum(), far)
            assert torch.allclose(slope, p - one, atol=1e-7), f"its gradient is not p - q at {t}"
            best = matching_loss(50 * one, one, t)
            assert best.abs().max() < 1e-9, f"at t = {t} a sure hit costs {best.max():.4f}"
        """,
        wrong=(
            # The loss of the chapter, which has a ceiling.
            """
            def matching_loss(z, q, t):
                return bi_tempered_loss(z, q, t1=t, t2=t)
            """,
            # Cross entropy.
            """
            def matching_loss(z, q, t):
                return cross_entropy(z, q)
            """,
            # As the exercise states it: the values are right, the gradient is nan at a cut class.
            """
            def matching_loss(z, q, t):
                p = tempered_softmax(z, t=t)

                def price(p):
                    log_p = (p ** (1 - t) - 1) / (1 - t)
                    return (p * log_p - p ** (2 - t) / (2 - t)).sum(dim=1)

                return (z * (p - q)).sum(dim=1) - price(p) + price(q)
            """,
            # Without the price of the truth.
            """
            def matching_loss(z, q, t):
                p = tempered_softmax(z, t=t)
                return (z * (p - q)).sum(dim=1) - (p ** (2 - t)).sum(dim=1) / ((1 - t) * (2 - t))
            """,
            # The price of t = 1.
            """
            def matching_loss(z, q, t):
                p = tempered_softmax(z, t=t)
                return (z * (p - q)).sum(dim=1) + torch.special.entr(p).sum(dim=1)
            """,
        ),
    ),
}
