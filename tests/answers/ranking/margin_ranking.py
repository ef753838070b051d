"""Answers to the exercises of docs/ranking/margin_ranking.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The frequency itself, for a difference of scores.
            """
            def logistic_lead(eta):
                return eta

            def hinge_lead(eta, margin):
                return margin if eta > 0.5 else -margin
            """,
            # The hinge as if it knew how often.
            """
            import math

            def logistic_lead(eta):
                return math.log(eta / (1 - eta))

            def hinge_lead(eta, margin):
                return margin * (2 * eta - 1)
            """,
            # The margin whoever wins.
            """
            import math

            def logistic_lead(eta):
                return math.log(eta / (1 - eta))

            def hinge_lead(eta, margin):
                return margin
            """,
        ),
    ),
    2: Answers(
        solution="""
        def forces(scores, kinds, margin):
            up, low = scores[kinds == 1], scores[kinds == 0]
            near = len(low) - torch.searchsorted(low.sort()[0], up - margin)
            over = torch.searchsorted(up.sort()[0], low + margin)
            given = torch.zeros(len(scores), dtype=torch.float64)
            given[kinds == 1], given[kinds == 0] = -near.double(), over.double()
            return given
        """,
        hidden="""
        draw = experiments.rng(5)
        for n in (2, 30, 200):
            for margin in (0.1, 1.0):
                s = torch.from_numpy(draw.normal(size=n)).requires_grad_()
                k = torch.arange(n) % 3 % 2
                i, j = torch.where(k[:, None] > k)
                loss = margin_ranking_loss(s[i], s[j], torch.ones(len(i)), margin=margin).sum()
                (slope,) = torch.autograd.grad(loss, s)
                given = torch.as_tensor(forces(s.detach(), k, margin)).double()
                assert torch.allclose(given, slope), f"some of {n} are off at margin {margin}"
        s, k = torch.from_numpy(draw.normal(size=4000)), torch.arange(4000) % 2
        held = experiments.peak_memory(lambda: forces(s, k, 1.0))
        assert held < 4_000_000, f"4,000 scores took {held:,} bytes"
        """,
        wrong=(
            # A matrix of all pairs.
            """
            def forces(scores, kinds, margin):
                lacks = (scores[:, None] - scores < margin) & (kinds[:, None] > kinds)
                return lacks.sum(0).double() - lacks.sum(1).double()
            """,
            # Counts the pairs in the wrong order, not those without the lead.
            """
            def forces(scores, kinds, margin):
                up, low = scores[kinds == 1], scores[kinds == 0]
                given = torch.zeros(len(scores), dtype=torch.float64)
                given[kinds == 1] = -(low[None] > up[:, None]).sum(1).double()
                given[kinds == 0] = (up[None] < low[:, None]).sum(1).double()
                return given
            """,
            # The direction of the step for that of the gradient.
            """
            def forces(scores, kinds, margin):
                up, low = scores[kinds == 1], scores[kinds == 0]
                given = torch.zeros(len(scores), dtype=torch.float64)
                given[kinds == 1] = (low[None] > up[:, None] - margin).sum(1).double()
                given[kinds == 0] = -(up[None] < low[:, None] + margin).sum(1).double()
                return given
            """,
            # The mean over pairs.
            """
            def forces(scores, kinds, margin):
                up, low = scores[kinds == 1], scores[kinds == 0]
                given = torch.zeros(len(scores), dtype=torch.float64)
                given[kinds == 1] = -(low[None] > up[:, None] - margin).double().mean(1)
                given[kinds == 0] = (up[None] < low[:, None] + margin).double().mean(1)
                return given
            """,
        ),
    ),
}
