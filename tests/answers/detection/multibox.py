"""Answers to the exercises of docs/detection/multibox.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # No end to the negatives, and parts of them.
            """
            import math

            def first_loss(priors, held, classes, ratio):
                return (1 + ratio) * math.log(classes)
            """,
            # The mean over what is counted.
            """
            import math

            def first_loss(priors, held, classes, ratio):
                return math.log(classes)
            """,
            # Not divided by the positives.
            """
            import math

            def first_loss(priors, held, classes, ratio):
                negatives = min(math.floor(ratio * held), priors - held)
                return (held + negatives) * math.log(classes)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The shared part over the width of one.
            """
            def farthest(width, threshold):
                return width * (1 - threshold)
            """,
            # Right for a threshold of one half and a width of 10.
            """
            def farthest(width, threshold):
                return width / 3
            """,
            # Twice the shared part over the sum of both: Dice, not IoU.
            """
            def farthest(width, threshold):
                return width * (1 - threshold / (2 - threshold))
            """,
        ),
    ),
    3: Answers(
        solution="""
        def pooled(box_offsets, logits, target_offsets, labels, ratio):
            inputs = (box_offsets, logits, target_offsets, labels)
            one = [tensor.flatten(0, 1)[None] for tensor in inputs]
            return multibox_loss(*one, negative_ratio=ratio)[0]
        """,
        hidden="""
        for seed in range(1, 5):
            draw = experiments.rng(seed)
            b, t, z = (torch.from_numpy(draw.normal(size=(2, 12, n))) for n in (4, 4, 3))
            y = torch.tensor([[0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0], [0] * 12])
            y[1, 4] = seed % 2  # Now and then an object in the second as well.
            n, ratio = int((y > 0).sum()), 1.0 + seed / 3
            hard = F.cross_entropy(z[y == 0], y[y == 0], reduction="none")
            hard = hard.topk(int(ratio * n)).values.sum()
            rest = F.cross_entropy(z[y > 0], y[y > 0], reduction="sum")
            rest = rest + F.smooth_l1_loss(b[y > 0], t[y > 0], reduction="sum")
            miss = abs(pooled(b, z, t, y, ratio) - (hard + rest) / n)
            assert miss < 1e-6, f"on batch {seed} it misses by {miss:.4f}"
        """,
        wrong=(
            # The mean of images.
            """
            def pooled(box_offsets, logits, target_offsets, labels, ratio):
                inputs = (box_offsets, logits, target_offsets, labels)
                return multibox_loss(*inputs, negative_ratio=ratio).mean()
            """,
            # The paper's mean: mined image by image.
            """
            def pooled(box_offsets, logits, target_offsets, labels, ratio):
                criterion = Criterion(multibox_loss, negative_ratio=ratio)
                inputs = (box_offsets, logits, target_offsets, labels)
                return criterion(*inputs, weights=(labels > 0).sum(1))
            """,
            # Right for a ratio of 3 and two positives.
            """
            def pooled(box_offsets, logits, target_offsets, labels, ratio):
                cost = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
                held = labels.flatten() > 0
                b, t = box_offsets[labels > 0], target_offsets[labels > 0]
                parts = cost[held].sum() + cost[~held].topk(6).values.sum()
                return (parts + F.smooth_l1_loss(b, t, reduction="sum")) / 2
            """,
            # All negatives.
            """
            def pooled(box_offsets, logits, target_offsets, labels, ratio):
                inputs = (box_offsets, logits, target_offsets, labels)
                one = [tensor.flatten(0, 1)[None] for tensor in inputs]
                return multibox_loss(*one, negative_ratio=1e9)[0]
            """,
        ),
    ),
}
