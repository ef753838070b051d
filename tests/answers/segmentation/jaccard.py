"""Answers to the exercises of docs/segmentation/jaccard.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The threshold of Dice, with J in the place of D.
            """
            def threshold(j):
                return j / 2
            """,
            # That of the most accurate mask.
            """
            def threshold(j):
                return 0.5
            """,
            # The wrong way from J to D.
            """
            def threshold(j):
                return j / (2 - j) / 2
            """,
            # The score itself.
            """
            def threshold(j):
                return j
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # Recall.
            """
            def mean_iou(counts):
                found = counts.sum(1)
                return (counts.diagonal()[found > 0] / found[found > 0]).mean()
            """,
            # Only the classes that are true somewhere.
            """
            def mean_iou(counts):
                hits, true = counts.diagonal(), counts.sum(1) > 0
                return (hits / (counts.sum(0) + counts.sum(1) - hits))[true].mean()
            """,
            # Absent classes as 0.
            """
            def mean_iou(counts):
                hits = counts.diagonal()
                return (hits / (counts.sum(0) + counts.sum(1) - hits).clamp(min=1)).mean()
            """,
            # The diagonal counted twice.
            """
            def mean_iou(counts):
                hits, both = counts.diagonal(), counts.sum(0) + counts.sum(1)
                return (hits[both > 0] / both[both > 0]).mean()
            """,
        ),
    ),
    3: Answers(
        solution="""
        def lovasz(errors, truth):
            order = errors.argsort(descending=True)
            true = truth[order].to(errors)
            left = true.sum() - true.cumsum(0)
            losses = 1 - left / (true.sum() + (1 - true).cumsum(0))
            steps = torch.cat([losses[:1], losses.diff()])
            return (errors[order] * steps.detach()).sum()
        """,
        hidden="""
        draw = experiments.rng(8)
        for share in (0.0, 0.2, 1.0):
            truth = torch.from_numpy(draw.uniform(size=20) < share)
            errors = torch.from_numpy(draw.integers(0, 4, 20) / 4).float()
            given, wanted = float(lovasz(errors, truth)), float(extension(errors, truth))
            assert abs(given - wanted) < 1e-5, f"share {share}: {given:.4f}, not {wanted:.4f}"
            hard = (errors > 0.5).float()
            given, wanted = float(lovasz(hard, truth)), float(extension(hard, truth))
            assert abs(given - wanted) < 1e-5, f"errors of 0 and 1: {given:.4f}, not {wanted:.4f}"
        """,
        wrong=(
            # From small to large.
            """
            def lovasz(errors, truth):
                order = errors.argsort()
                true = truth[order].to(errors)
                losses = 1 - (true.sum() - true.cumsum(0)) / (true.sum() + (1 - true).cumsum(0))
                steps = torch.cat([losses[:1], losses.diff()])
                return (errors[order] * steps).sum()
            """,
            # The losses, not what each pixel adds.
            """
            def lovasz(errors, truth):
                order = errors.argsort(descending=True)
                true = truth[order].to(errors)
                losses = 1 - (true.sum() - true.cumsum(0)) / (true.sum() + (1 - true).cumsum(0))
                return (errors[order] * losses).sum() / len(errors)
            """,
            # The soft Jaccard loss.
            """
            def lovasz(errors, truth):
                y = truth.float()[None, None]
                return jaccard_loss((errors - y).abs(), y, smooth=0.0).squeeze()
            """,
            # The first pixel forgotten.
            """
            def lovasz(errors, truth):
                order = errors.argsort(descending=True)
                true = truth[order].to(errors)
                losses = 1 - (true.sum() - true.cumsum(0)) / (true.sum() + (1 - true).cumsum(0))
                return (errors[order][1:] * losses.diff()).sum()
            """,
        ),
    ),
}
