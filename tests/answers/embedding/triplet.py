"""Answers to the exercises of docs/embedding/triplet.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The margin as it is.
            """
            def as_cosines(margin):
                return 2, margin
            """,
            # The factor forgotten.
            """
            def as_cosines(margin):
                return 1, margin / 2
            """,
            # The factor taken for that of the margin.
            """
            def as_cosines(margin):
                return 2, 2 * margin
            """,
            # The margin turned into a cosine.
            """
            def as_cosines(margin):
                return 2, 1 - margin / 2
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # An anchor is its own positive.
            """
            def triplets(classes, items):
                return classes * items * items * (classes - 1) * items
            """,
            # Anchor and positive without their order.
            """
            def triplets(classes, items):
                return classes * items * (items - 1) // 2 * (classes - 1) * items
            """,
            # One negative for each class.
            """
            def triplets(classes, items):
                return classes * items * (items - 1) * (classes - 1)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def swapped(anchors, positives, negatives, margin):
            one = triplet_loss(anchors, positives, negatives, margin=margin)
            return torch.maximum(
                one, triplet_loss(positives, anchors, negatives, margin=margin)
            )
        """,
        hidden="""
        draw = experiments.rng(9)
        a, p, n = (torch.from_numpy(draw.normal(size=(40, 5))).requires_grad_() for _ in range(3))
        for margin in (0.1, 0.2, 2.0):
            apart = torch.minimum((a - n).square().sum(1), (p - n).square().sum(1))
            truth = ((a - p).square().sum(1) - apart + margin).clamp_min(0)
            given = swapped(a, p, n, margin)
            assert torch.allclose(given, truth), f"another loss at margin {margin}"
            for leaf in (a, p, n):
                slopes = [
                    torch.autograd.grad(v.sum(), leaf, retain_graph=True)[0] for v in (given, truth)
                ]
                assert torch.allclose(*slopes), f"another gradient at margin {margin}"
        """,
        wrong=(
            # The larger distance: the easier side.
            """
            def swapped(anchors, positives, negatives, margin):
                one = triplet_loss(anchors, positives, negatives, margin=margin)
                return torch.minimum(
                    one, triplet_loss(positives, anchors, negatives, margin=margin)
                )
            """,
            # Both sides.
            """
            def swapped(anchors, positives, negatives, margin):
                one = triplet_loss(anchors, positives, negatives, margin=margin)
                return (one + triplet_loss(positives, anchors, negatives, margin=margin)) / 2
            """,
            # What torch calls swap, without the squares.
            """
            def swapped(anchors, positives, negatives, margin):
                return torch.nn.functional.triplet_margin_loss(
                    anchors, positives, negatives, margin=margin, swap=True, reduction="none"
                )
            """,
            # The positive as the anchor, always.
            """
            def swapped(anchors, positives, negatives, margin):
                return triplet_loss(positives, anchors, negatives, margin=margin)
            """,
        ),
    ),
}
