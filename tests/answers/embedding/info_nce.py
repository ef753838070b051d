"""Answers to the exercises of docs/embedding/info_nce.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # As if all others could be opposite at once.
            """
            import math

            def floor(n, temperature):
                return math.log1p((n - 1) * math.exp(-2 / temperature))
            """,
            # All others at a right angle.
            """
            import math

            def floor(n, temperature):
                return math.log1p((n - 1) * math.exp(-1 / temperature))
            """,
            # The simplex, without the own cosine of 1.
            """
            import math

            def floor(n, temperature):
                return math.log1p((n - 1) * math.exp(-1 / (n - 1) / temperature))
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The own key goes, too.
            """
            def named_info_nce(queries, keys, names, temperature):
                scores = F.normalize(queries) @ F.normalize(keys).T / temperature
                others = scores.masked_fill(names[:, None] == names, -torch.inf)
                return others.logsumexp(1) - scores.diagonal()
            """,
            # A score of 0 is still a candidate.
            """
            def named_info_nce(queries, keys, names, temperature):
                scores = F.normalize(queries) @ F.normalize(keys).T / temperature
                twins = (names[:, None] == names) & ~torch.eye(len(names), dtype=torch.bool)
                scores = scores.masked_fill(twins, 0)
                return scores.logsumexp(1) - scores.diagonal()
            """,
            # All of the name are positives.
            """
            def named_info_nce(queries, keys, names, temperature):
                scores = F.normalize(queries) @ F.normalize(keys).T / temperature
                own = scores.masked_fill(names[:, None] != names, -torch.inf)
                return scores.logsumexp(1) - own.logsumexp(1)
            """,
            # Later twins are thrown out of everybody's quiz.
            """
            def named_info_nce(queries, keys, names, temperature):
                scores = F.normalize(queries) @ F.normalize(keys).T / temperature
                later = (names[:, None] == names).tril(-1).any(1)
                other = ~torch.eye(len(names), dtype=torch.bool)
                kept = scores.masked_fill(later & other, -torch.inf)
                return kept.logsumexp(1) - scores.diagonal()
            """,
        ),
    ),
    3: Answers(
        solution="""
        def supervised(embeddings, labels, temperature):
            z = F.normalize(embeddings)
            own = torch.eye(len(z), dtype=torch.bool)
            scores = (z @ z.T / temperature).masked_fill(own, -torch.inf)
            positive = (labels[:, None] == labels) & ~own
            losses = -scores.log_softmax(1).where(positive, 0).sum(1)
            return losses / positive.sum(1).clamp(min=1)
        """,
        hidden="""
        z = torch.from_numpy(experiments.rng(9).normal(size=(9, 4)))
        labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 3])
        losses = supervised(z, labels, 0.2)
        unit = z / z.norm(dim=1, keepdim=True)
        for i in range(9):
            powers = {j: (unit[i] @ unit[j] / 0.2).exp() for j in range(9) if j != i}
            total = sum(powers.values())
            found = [-(e / total).log() for j, e in powers.items() if labels[j] == labels[i]]
            expected = sum(found) / max(len(found), 1)
            assert abs(losses[i] - expected) < 1e-9, "not the mean over the positives"
        """,
        wrong=(
            # The logarithm of the mean.
            """
            def supervised(embeddings, labels, temperature):
                z = F.normalize(embeddings)
                own = torch.eye(len(z), dtype=torch.bool)
                scores = (z @ z.T / temperature).masked_fill(own, -torch.inf)
                positive = (labels[:, None] == labels) & ~own
                share = (scores.softmax(1) * positive).sum(1) / positive.sum(1).clamp(min=1)
                return -share.where(share > 0, 1).log()
            """,
            # A sum in place of a mean.
            """
            def supervised(embeddings, labels, temperature):
                z = F.normalize(embeddings)
                own = torch.eye(len(z), dtype=torch.bool)
                scores = (z @ z.T / temperature).masked_fill(own, -torch.inf)
                positive = (labels[:, None] == labels) & ~own
                return -scores.log_softmax(1).where(positive, 0).sum(1)
            """,
            # The anchor among its candidates.
            """
            def supervised(embeddings, labels, temperature):
                z = F.normalize(embeddings)
                positive = (labels[:, None] == labels) & ~torch.eye(len(z), dtype=torch.bool)
                losses = -(z @ z.T / temperature).log_softmax(1).where(positive, 0).sum(1)
                return losses / positive.sum(1).clamp(min=1)
            """,
            # No positive, no number.
            """
            def supervised(embeddings, labels, temperature):
                z = F.normalize(embeddings)
                own = torch.eye(len(z), dtype=torch.bool)
                scores = (z @ z.T / temperature).masked_fill(own, -torch.inf)
                positive = (labels[:, None] == labels) & ~own
                return -scores.log_softmax(1).where(positive, 0).sum(1) / positive.sum(1)
            """,
        ),
    ),
}
