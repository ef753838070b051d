"""Answers to the exercises of docs/segmentation/dice.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Right where nothing is wrongly found.
            """
            def strongest(f):
                return 1 / 3
            """,
            # Where the sigmoid is steepest.
            """
            def strongest(f):
                return 0.5
            """,
            # The false pixels added to the object instead of to the prediction.
            """
            def strongest(f):
                return 1 / (3 + 2 * f)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The probability, not its sum.
            """
            def smoothing(x, pixels):
                return 1 / (1 + math.exp(-x))
            """,
            # As if everything were predicted.
            """
            def smoothing(x, pixels):
                return pixels
            """,
            # The library's default.
            """
            def smoothing(x, pixels):
                return 1e-5
            """,
        ),
    ),
    3: Answers(
        solution="""
        def best_mask(eta):
            order = eta.flatten().argsort(descending=True)
            found = eta.flatten()[order].cumsum(0)
            sizes = torch.arange(1, len(order) + 1)
            best = (2 * found / (sizes + eta.sum())).argmax()
            mask = torch.zeros(eta.numel(), dtype=torch.bool)
            mask[order[: best + 1]] = True
            return mask.view(eta.shape)
        """,
        hidden="""
        draw = experiments.rng(9)
        for _ in range(20):
            eta = torch.from_numpy(draw.beta(0.3, 2.0, size=(6, 7)))
            mask = best_mask(eta.clone())
            assert mask.shape == eta.shape, "the mask has another shape than eta"
            mine = 2 * eta[mask].sum() / (mask.sum() + eta.sum())
            cuts = [eta >= cut for cut in eta.flatten()]
            best = max(2 * eta[m].sum() / (m.sum() + eta.sum()) for m in cuts)
            assert mine > best - 1e-9, f"{mine:.4f} can be bettered: {best:.4f}"
        """,
        wrong=(
            # The threshold of the most accurate mask.
            """
            def best_mask(eta):
                return eta > 0.5
            """,
            # Half of the soft Dice of eta with itself.
            """
            def best_mask(eta):
                return eta > eta.square().sum() / eta.sum() / 2
            """,
            # One step of the iteration, from a threshold of one half.
            """
            def best_mask(eta):
                mask = eta > 0.5
                dice = 2 * eta[mask].sum() / (mask.sum() + eta.sum())
                return eta > dice / 2
            """,
            # Good for the probabilities of the example.
            """
            def best_mask(eta):
                return eta > 0.2
            """,
        ),
    ),
}
