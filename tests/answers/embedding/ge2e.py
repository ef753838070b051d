"""Answers to the exercises of docs/embedding/ge2e.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The place may lie outside of the cosines.
            """
            def steepest(w, b):
                return w / 4
            """,
            # At the cosine 0, where the offset alone counts.
            """
            import math

            def steepest(w, b):
                p = 1 / (1 + math.exp(-b))
                return w * p * (1 - p)
            """,
            # In the score, not in the cosine.
            """
            import math

            def steepest(w, b):
                s = min(1, max(-1, -b / w))
                p = 1 / (1 + math.exp(-w * s - b))
                return p * (1 - p)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The utterance is part of its centroid.
            """
            def hits(embeddings):
                units = F.normalize(embeddings, dim=2)
                scores = units @ F.normalize(embeddings.sum(1), dim=1).T
                names = torch.arange(len(scores))[:, None]
                return (scores.argmax(2) == names).double().mean()
            """,
            # Dot products, so that long centroids win.
            """
            def hits(embeddings):
                n = embeddings.shape[1]
                others = (embeddings.sum(1, keepdim=True) - embeddings) / (n - 1)
                own = (embeddings * others).sum(2)
                rivals = embeddings @ embeddings.mean(1).T
                same = torch.eye(len(embeddings), dtype=torch.bool)[:, None]
                return (own > rivals.masked_fill(same, -torch.inf).amax(2)).double().mean()
            """,
            # Nearer than the average of the others is not nearest; and a count is no share.
            """
            def hits(embeddings):
                units = F.normalize(embeddings, dim=2)
                others = embeddings.sum(1, keepdim=True) - embeddings
                own = (units * F.normalize(others, dim=2)).sum(2)
                rivals = units @ F.normalize(embeddings.sum(1), dim=1).T
                return (own > rivals.mean(2)).sum()
            """,
        ),
    ),
    3: Answers(
        solution="""
        def ragged(embeddings, labels, w, b):
            e = embeddings
            member = (labels[:, None] == labels.unique()).to(e.dtype)
            sums = member.T @ e
            scores = w * F.cosine_similarity(e[:, None], sums[None], dim=2) + b
            same = (labels[:, None] == labels) & ~torch.eye(len(e), dtype=torch.bool)
            own = w * F.cosine_similarity(e, same.to(e.dtype) @ e, dim=1) + b
            scores = torch.where(member == 1, own[:, None], scores)
            return (scores.logsumexp(1) - own).where(same.any(1), 0)
        """,
        hidden="""
        e = torch.from_numpy(experiments.rng(5).normal(size=(9, 4)))
        labels = torch.tensor([2, 0, 0, 1, 2, 2, 0, 2, 3])
        losses = ragged(e, labels, 7.0, -2.0)
        for i in range(9):
            scores, own = [], None
            for k in range(4):
                kept = [e[n] for n in range(9) if labels[n] == k and n != i]
                if kept:
                    scores.append(7 * F.cosine_similarity(e[i], sum(kept), dim=0))
                    own = scores[-1] if k == labels[i] else own
            alone = (labels == labels[i]).sum() == 1
            expected = 0 if alone else torch.stack(scores).logsumexp(0) - own
            assert abs(losses[i] - expected) < 1e-9, "not the loss with its own centroid"
        """,
        wrong=(
            # The utterance is part of its centroid.
            """
            def ragged(embeddings, labels, w, b):
                member = (labels[:, None] == labels.unique()).to(embeddings.dtype)
                sums = member.T @ embeddings
                scores = w * F.cosine_similarity(embeddings[:, None], sums[None], dim=2) + b
                return scores.logsumexp(1) - (member * scores).sum(1)
            """,
            # Speakers with one utterance are left out altogether.
            """
            def ragged(embeddings, labels, w, b):
                names, counts = labels.unique(return_counts=True)
                member = (labels[:, None] == names[counts > 1]).to(embeddings.dtype)
                scores = w * F.cosine_similarity(embeddings[:, None], member.T @ embeddings, dim=2)
                same = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)
                own = w * F.cosine_similarity(embeddings, same.to(embeddings.dtype) @ embeddings)
                scores = torch.where(member == 1, own[:, None], scores)
                return (scores.logsumexp(1) - own).where(same.any(1), 0)
            """,
            # The offset is added to the own score alone.
            """
            def ragged(embeddings, labels, w, b):
                member = (labels[:, None] == labels.unique()).to(embeddings.dtype)
                scores = w * F.cosine_similarity(embeddings[:, None], member.T @ embeddings, dim=2)
                same = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)
                own = w * F.cosine_similarity(embeddings, same.to(embeddings.dtype) @ embeddings)
                scores = torch.where(member == 1, own[:, None] + b, scores)
                return (scores.logsumexp(1) - own - b).where(same.any(1), 0)
            """,
        ),
    ),
}
