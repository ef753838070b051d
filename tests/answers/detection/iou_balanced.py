"""Answers to the exercises of docs/detection/iou_balanced.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Upside down.
            """
            import math

            def exponent(u1, u2, times):
                return math.log(u1 / u2) / math.log(times)
            """,
            # As if the weights were u, not a power of it.
            """
            def exponent(u1, u2, times):
                return times * u2 / u1
            """,
            # The logarithm of the difference of the overlaps.
            """
            import math

            def exponent(u1, u2, times):
                return math.log(times) / (u1 - u2)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The overlap taken for 1 - d.
            """
            import math

            def halving(d):
                return math.log(2) / -math.log(1 - d)
            """,
            # The shared part over the sum of both: half of Dice.
            """
            import math

            def halving(d):
                return math.log(2) / math.log(2 / (1 - d))
            """,
            # A linear weight.
            """
            def halving(d):
                return 0.5 * (1 + d) / (1 - d)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def weights_for(logits, labels, ious, eta):
            with torch.no_grad():
                s = cross_entropy(logits, labels)
                balanced = iou_balanced_classification_loss(logits, labels, ious, eta=eta)
                w = balanced / s
            return w * len(w) / w.sum()
        """,
        hidden="""
        for seed in range(2, 6):
            draw = experiments.rng(seed)
            z = torch.from_numpy(draw.normal(size=(9, 3))).requires_grad_()
            u = torch.from_numpy(draw.uniform(0.2, 1, 9))
            y = torch.tensor([1, 2, 1, 2, 1] + [seed % 2] * 4)
            eta = seed / 2
            w = weights_for(z, y, u, eta)
            assert abs(w.sum() - 9) < 1e-6, f"the weights add up to {w.sum().item():.3f}"
            (mine,) = torch.autograd.grad(Criterion(cross_entropy)(z, y, weights=w), z)
            balanced = iou_balanced_classification_loss(z, y, u, eta=eta).sum()
            (theirs,) = torch.autograd.grad(balanced, z)
            cosine = F.cosine_similarity(mine.flatten(), theirs.flatten(), dim=0)
            assert cosine > 1 - 1e-9, f"on call {seed} the cosine is {cosine.item():.4f}"
        """,
        wrong=(
            # The powers alone: the background is then too heavy, or too light.
            """
            def weights_for(logits, labels, ious, eta):
                w = torch.where(labels > 0, ious**eta, 1)
                return w * len(w) / w.sum()
            """,
            # The powers brought to the mean 1 among the positives: their costs are not kept.
            """
            def weights_for(logits, labels, ious, eta):
                held = labels > 0
                w = torch.where(held, ious**eta / (ious**eta)[held].mean(), 1)
                return w * len(w) / w.sum()
            """,
            # The exponent of the paper, whatever is asked for.
            """
            def weights_for(logits, labels, ious, eta):
                s = cross_entropy(logits, labels).detach()
                w = iou_balanced_classification_loss(logits, labels, ious).detach() / s
                return w * len(w) / w.sum()
            """,
            # The background weighed by its overlap as well.
            """
            def weights_for(logits, labels, ious, eta):
                w = ious**eta
                return w * len(w) / w.sum()
            """,
            # Not brought to the sum that was asked for.
            """
            def weights_for(logits, labels, ious, eta):
                with torch.no_grad():
                    s = cross_entropy(logits, labels)
                    return iou_balanced_classification_loss(logits, labels, ious, eta=eta) / s
            """,
        ),
    ),
}
