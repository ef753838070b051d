"""Answers to the exercises of docs/distribution/distillation.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The closed form of two classes.
            """
            import math

            def temperature_for(logits, sure):
                best, second = logits.topk(2, dim=1).values.mean(0)
                return (best - second) / math.log(sure / (1 - sure))
            """,
            # As if probabilities were divided by the temperature.
            """
            def temperature_for(logits, sure):
                return logits.softmax(1).amax(1).mean() / sure
            """,
            # The first example stands for all.
            """
            def temperature_for(logits, sure):
                low, high = 1e-3, 1e3
                for _ in range(100):
                    T = (low * high) ** 0.5
                    low, high = (T, high) if (logits[0] / T).softmax(0).max() > sure else (low, T)
                return T
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The two weights exchanged, the factor forgotten.
            """
            def alpha_of(a, temperature):
                return 1 - a
            """,
            # T instead of its square.
            """
            def alpha_of(a, temperature):
                return (1 - a) / (1 - a + a * temperature)
            """,
            # The factor on the wrong side.
            """
            def alpha_of(a, temperature):
                return (1 - a) * temperature**2 / ((1 - a) * temperature**2 + a)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def distill_one(x, v, y, temperature=4.0, alpha=0.9):
            cost = F.binary_cross_entropy_with_logits
            q = (v / temperature).sigmoid().detach()
            soft = temperature**2 * cost(x / temperature, q, reduction="none")
            return alpha * soft + (1 - alpha) * cost(x, y, reduction="none")
        """,
        hidden="""
        a, b = torch.from_numpy(experiments.rng(3).normal(0, 3, (2, 40)))
        a[0] = 800.0
        c = (torch.arange(40) % 2).double()
        pairs = [torch.stack([s, 0 * s], dim=1) for s in (a, b)]
        for T, weight in ((1.0, 0.5), (4.0, 0.9), (10.0, 0.2)):
            known = distillation_loss(*pairs, (1 - c).long(), temperature=T, alpha=weight)
            given = distill_one(a, b, c, temperature=T, alpha=weight)
            assert torch.allclose(known, given), f"at T = {T:g} it is another loss"
        """,
        wrong=(
            # Without the factor.
            """
            def distill_one(x, v, y, temperature=4.0, alpha=0.9):
                cost = F.binary_cross_entropy_with_logits
                soft = cost(x / temperature, (v / temperature).sigmoid(), reduction="none")
                return alpha * soft + (1 - alpha) * cost(x, y, reduction="none")
            """,
            # The labels are softened, too.
            """
            def distill_one(x, v, y, temperature=4.0, alpha=0.9):
                cost = F.binary_cross_entropy_with_logits
                q = alpha * (v / temperature).sigmoid() + (1 - alpha) * y
                return temperature**2 * cost(x / temperature, q, reduction="none")
            """,
            # The teacher at T = 1.
            """
            def distill_one(x, v, y, temperature=4.0, alpha=0.9):
                cost = F.binary_cross_entropy_with_logits
                soft = temperature**2 * cost(x / temperature, v.sigmoid(), reduction="none")
                return alpha * soft + (1 - alpha) * cost(x, y, reduction="none")
            """,
            # Logarithms of rounded probabilities.
            """
            def distill_one(x, v, y, temperature=4.0, alpha=0.9):
                cost = lambda z, q: -q * z.sigmoid().log() - (1 - q) * (1 - z.sigmoid()).log()
                soft = temperature**2 * cost(x / temperature, (v / temperature).sigmoid())
                return alpha * soft + (1 - alpha) * cost(x, y)
            """,
            # Alpha weighs the labels.
            """
            def distill_one(x, v, y, temperature=4.0, alpha=0.9):
                cost = F.binary_cross_entropy_with_logits
                q = (v / temperature).sigmoid()
                soft = temperature**2 * cost(x / temperature, q, reduction="none")
                return (1 - alpha) * soft + alpha * cost(x, y, reduction="none")
            """,
        ),
    ),
}
