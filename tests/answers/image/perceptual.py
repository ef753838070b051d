"""Answers to the exercises of docs/image/perceptual.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The fourth degree, without the target.
            """
            def ratio(k, j):
                return (k / j) ** 4
            """,
            # The distances of the Gram matrices, not squared.
            """
            def ratio(k, j):
                return (k**2 - 1) / (j**2 - 1)
            """,
            # That of the perceptual loss.
            """
            def ratio(k, j):
                return ((k - 1) / (j - 1)) ** 2
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The same values elsewhere.
            """
            def pair():
                return torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[4.0, 3.0]]]])
            """,
            # The other sign.
            """
            def pair():
                return torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[-3.0, 4.0]]]])
            """,
            # The same mean.
            """
            def pair():
                return torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[0.0, 7.0]]]])
            """,
            # Too faint for a loss of the fourth degree.
            """
            def pair():
                return torch.tensor([[[[0.0, 0.001]]]]), torch.tensor([[[[0.0, 0.0]]]])
            """,
            # One small value among a thousand zeros, and none.
            """
            def pair():
                faint = torch.zeros(1, 1, 20, 50)
                faint[..., 0, 0] = 0.11
                return faint, torch.zeros(1, 1, 20, 50)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def common_style(features):
            rows = features.flatten(2)
            grams = rows @ rows.mT / features[0].numel()
            mean = grams.mean(0)
            return mean, (grams - mean).square().sum((1, 2)).mean().item()
        """,
        hidden="""
        for seed, shape in enumerate([(2, 2, 3, 3), (7, 4, 2, 5), (1, 3, 4, 4)]):
            many = torch.from_numpy(experiments.rng(30 + seed).normal(size=shape)) + 0.5
            matrix, least = common_style(many)
            grams = torch.einsum("kchw,kdhw->kcd", many, many) / many[0].numel()
            miss = (matrix - grams.mean(0)).abs().max()
            assert miss < 1e-8, f"for {shape} the matrix misses by {miss:.6f}"
            spread = (grams - grams.mean(0)).square().sum((1, 2)).mean()
            assert abs(float(least) - spread) < 1e-8, f"for {shape} the least mean is {spread:.6f}"
        """,
        wrong=(
            # The Gram matrix of the mean features.
            """
            def common_style(features):
                mean = features.mean(0).flatten(1)
                gram = mean @ mean.T / mean.numel()
                rows = features.flatten(2)
                grams = rows @ rows.mT / features[0].numel()
                return gram, (grams - gram).square().sum((1, 2)).mean().item()
            """,
            # The median of each entry.
            """
            def common_style(features):
                rows = features.flatten(2)
                grams = rows @ rows.mT / features[0].numel()
                middle = grams.median(0).values
                return middle, (grams - middle).square().sum((1, 2)).mean().item()
            """,
            # Without the normalization.
            """
            def common_style(features):
                rows = features.flatten(2)
                grams = rows @ rows.mT
                mean = grams.mean(0)
                return mean, (grams - mean).square().sum((1, 2)).mean().item()
            """,
            # As if the least were 0.
            """
            def common_style(features):
                rows = features.flatten(2)
                return (rows @ rows.mT / features[0].numel()).mean(0), 0.0
            """,
        ),
    ),
}
