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
                known = counts[:-1]
                found = known.sum(1)
                return (known.diagonal()[found > 0] / found[found > 0]).mean()
            """,
            # Void as a class like the others.
            """
            def mean_iou(counts):
                hits = counts.diagonal()
                unions = counts.sum(0) + counts.sum(1) - hits
                return (hits[unions > 0] / unions[unions > 0]).mean()
            """,
            # What is predicted as void is not missed.
            """
            def mean_iou(counts):
                known = counts[:-1, :-1]
                hits = known.diagonal()
                unions = known.sum(1) + known.sum(0) - hits
                return (hits[unions > 0] / unions[unions > 0]).mean()
            """,
            # What is predicted on void pixels counts.
            """
            def mean_iou(counts):
                hits = counts.diagonal()[:-1]
                unions = counts.sum(0)[:-1] + counts.sum(1)[:-1] - hits
                return (hits[unions > 0] / unions[unions > 0]).mean()
            """,
            # Absent classes as 0.
            """
            def mean_iou(counts):
                known = counts[:-1]
                hits = known.diagonal()
                return (hits / (known.sum(1) + known.sum(0)[:-1] - hits).clamp(min=1)).mean()
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
        assert "extension" not in lovasz.__code__.co_names, "the loop is in what is called"
        """,
        wrong=(
            # The page's own.
            """
            def lovasz(errors, truth):
                return extension(errors, truth)
            """,
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
