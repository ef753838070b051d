"""Answers to the exercises of docs/embedding/contrastive.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # What the form without squares does: the majority wins.
            """
            def rest(eta, margin):
                return 0.0 if eta > 0.5 else margin
            """,
            # The two kinds exchanged.
            """
            def rest(eta, margin):
                return eta * margin
            """,
            # Right for a margin of 1 alone.
            """
            def rest(eta, margin):
                return 1 - eta
            """,
        ),
    ),
    2: Answers(
        solution="""
        def pull(embeddings, labels):
            total = 0.0
            for label in labels.unique():
                own = embeddings[labels == label]
                total += len(own) * (own - own.mean(0)).square().sum().item() / 2
            return total
        """,
        hidden="""
        draw = experiments.rng(7)
        for n in (2, 17, 60):
            z = torch.from_numpy(draw.normal(3, 1, size=(n, 4)))
            k = torch.arange(n) % 5 % 3
            i, j = torch.triu_indices(n, n, 1)
            loss = contrastive_loss(z[i], z[j], k[i] == k[j])[k[i] == k[j]].sum().item()
            assert abs(float(pull(z, k)) - loss) < 1e-6 * max(1, loss), f"not so for {n} points"
        many, kinds = torch.ones(3000, 2, dtype=torch.float64), torch.arange(3000) % 2
        most = experiments.peak_memory(lambda: pull(many, kinds)) / many.nbytes
        assert most < 20, f"it takes {most:.0f} times the memory of the embeddings"
        """,
        wrong=(
            # All pairs, after all.
            """
            def pull(embeddings, labels):
                i, j = torch.triu_indices(len(labels), len(labels), 1)
                loss = contrastive_loss(embeddings[i], embeddings[j], labels[i] == labels[j])
                return loss[labels[i] == labels[j]].sum()
            """,
            # The spread around the mean, without the size of the class.
            """
            def pull(embeddings, labels):
                total = 0.0
                for label in labels.unique():
                    own = embeddings[labels == label]
                    total += (own - own.mean(0)).square().sum().item() / 2
                return total
            """,
            # Every pair twice.
            """
            def pull(embeddings, labels):
                total = 0.0
                for label in labels.unique():
                    own = embeddings[labels == label]
                    total += len(own) * (own - own.mean(0)).square().sum().item()
                return total
            """,
            # Around the mean of all.
            """
            def pull(embeddings, labels):
                total = 0.0
                for label in labels.unique():
                    own = embeddings[labels == label]
                    total += len(own) * (own - embeddings.mean(0)).square().sum().item() / 2
                return total
            """,
        ),
    ),
}
