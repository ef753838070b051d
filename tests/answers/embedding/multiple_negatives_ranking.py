"""Answers to the exercises of docs/embedding/multiple_negatives_ranking.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Log 2 for whoever has a twin, however many there are.
            """
            import math

            def floor(texts):
                return sum(math.log(2) for text in texts if texts.count(text) > 1) / len(texts)
            """,
            # Each text once, as if the mean were over texts.
            """
            import math

            def floor(texts):
                different = set(texts)
                return sum(math.log(texts.count(text)) for text in different) / len(different)
            """,
            # The entropy of the texts.
            """
            import math

            def floor(texts):
                return -sum(math.log(texts.count(text) / len(texts)) for text in texts) / len(texts)
            """,
        ),
    ),
    2: Answers(
        solution="""
        def own_negatives(anchors, positives, negatives, scale):
            u, v, n = (F.normalize(x, dim=-1) for x in (anchors, positives, negatives))
            scores = scale * torch.cat([u @ v.T, (n @ u[:, :, None])[:, :, 0]], dim=1)
            return F.cross_entropy(scores, torch.arange(len(u)), reduction="none")
        """,
        hidden="""
        u, v = torch.from_numpy(experiments.rng(4).normal(size=(2, 5, 4)))
        n = torch.from_numpy(experiments.rng(5).normal(size=(5, 3, 4)))
        losses = own_negatives(u, v, n, 8.0)
        for i in range(5):
            expected = multiple_negatives_ranking_loss(u, v, n[i], scale=8.0)[i]
            assert abs(losses[i] - expected) < 1e-6, "not each its own"
        """,
        wrong=(
            # Shared among all anchors.
            """
            def own_negatives(anchors, positives, negatives, scale):
                shared = negatives.flatten(0, 1)
                return multiple_negatives_ranking_loss(anchors, positives, shared, scale=scale)
            """,
            # The answers of the others are forgotten.
            """
            def own_negatives(anchors, positives, negatives, scale):
                rows = zip(anchors[:, None], positives[:, None], negatives)
                losses = [multiple_negatives_ranking_loss(*row, scale=scale) for row in rows]
                return torch.cat(losses)
            """,
            # The mean of each anchor's negatives, as if it were one.
            """
            def own_negatives(anchors, positives, negatives, scale):
                u, v, n = (F.normalize(x, dim=-1) for x in (anchors, positives, negatives.mean(1)))
                scores = scale * torch.cat([u @ v.T, (u * n).sum(1, keepdim=True)], dim=1)
                return F.cross_entropy(scores, torch.arange(len(u)), reduction="none")
            """,
            # Dot products with the negatives.
            """
            def own_negatives(anchors, positives, negatives, scale):
                u, v = F.normalize(anchors), F.normalize(positives)
                dots = (negatives * anchors[:, None]).sum(2)
                scores = scale * torch.cat([u @ v.T, dots], dim=1)
                return F.cross_entropy(scores, torch.arange(len(u)), reduction="none")
            """,
        ),
    ),
}
