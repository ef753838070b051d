"""Answers to the exercises of docs/embedding/arcface.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The others at right angles.
            """
            import math

            def least_scale(classes, p):
                return math.log((classes - 1) * p / (1 - p))
            """,
            # The others all opposite.
            """
            import math

            def least_scale(classes, p):
                return math.log((classes - 1) * p / (1 - p)) / 2
            """,
            # The odds of two classes.
            """
            import math

            def least_scale(classes, p):
                return (classes - 1) / classes * math.log(p / (1 - p))
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # That of an added margin.
            """
            def gap(gamma, m):
                return m
            """,
            # The angle of one boundary.
            """
            def gap(gamma, m):
                return gamma / (m + 1)
            """,
            # As if the other angle were gamma.
            """
            def gap(gamma, m):
                return gamma * (m - 1) / m
            """,
        ),
    ),
    3: Answers(
        solution="""
        def cosface(embeddings, prototypes, labels, scale, margin):
            cos = normalize(embeddings) @ normalize(prototypes).T
            true = torch.nn.functional.one_hot(labels, len(prototypes))
            return cross_entropy(scale * (cos - margin * true), labels)
        """,
        hidden="""
        draw = experiments.rng(10)
        v, w = (torch.from_numpy(draw.normal(size=(n, 4))) for n in (8, 5))
        t = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
        plain = arcface_loss(v, w, t, scale=5.0, margin=0.0)
        assert torch.allclose(cosface(v, w, t, 5.0, 0.0), plain), "without a margin it is not plain"
        odds = (cosface(v, w, t, 5.0, 0.4).expm1() / plain.expm1()).log()
        assert torch.allclose(odds, torch.full_like(odds, 2.0)), "the margin does not move the odds"
        v, w = torch.tensor([[-1.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        far = cosface(v, w, torch.tensor([0]), 64.0, 0.4)
        assert (far - 153.6).abs() < 1e-3, "far from its prototype it is not right"
        """,
        wrong=(
            # The logarithm of a softmax that rounds to 0.
            """
            def cosface(embeddings, prototypes, labels, scale, margin):
                cos = normalize(embeddings) @ normalize(prototypes).T
                true = torch.nn.functional.one_hot(labels, len(prototypes))
                p = (scale * (cos - margin * true)).softmax(1)
                return -p.gather(1, labels[:, None])[:, 0].log()
            """,
            # After the scale.
            """
            def cosface(embeddings, prototypes, labels, scale, margin):
                cos = normalize(embeddings) @ normalize(prototypes).T
                true = torch.nn.functional.one_hot(labels, len(prototypes))
                return cross_entropy(scale * cos - margin * true, labels)
            """,
            # In favor of the truth.
            """
            def cosface(embeddings, prototypes, labels, scale, margin):
                cos = normalize(embeddings) @ normalize(prototypes).T
                true = torch.nn.functional.one_hot(labels, len(prototypes))
                return cross_entropy(scale * (cos + margin * true), labels)
            """,
            # From all of them.
            """
            def cosface(embeddings, prototypes, labels, scale, margin):
                cos = normalize(embeddings) @ normalize(prototypes).T
                return cross_entropy(scale * (cos - margin), labels)
            """,
            # The angle in place of the cosine.
            """
            def cosface(embeddings, prototypes, labels, scale, margin):
                return arcface_loss(
                    embeddings, prototypes, labels, scale=scale, margin=margin
                )
            """,
        ),
    ),
}
