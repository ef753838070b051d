"""Answers to the exercises of docs/embedding/center.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The rate of a moving average.
            """
            import math

            def batches(alpha, n):
                return math.ceil(math.log(0.01) / math.log(max(1e-9, 1 - alpha)))
            """,
            # Sooner with each embedding, as if none damped another.
            """
            import math

            def batches(alpha, n):
                return math.ceil(math.log(0.01) / math.log(1 - alpha / (1 + n)) / n)
            """,
            # A step of a fixed length.
            """
            import math

            def batches(alpha, n):
                return math.ceil(0.99 * (1 + n) / (alpha * n))
            """,
            # The last step is not counted.
            """
            import math

            def batches(alpha, n):
                return math.floor(math.log(0.01) / math.log(1 - alpha * n / (1 + n)))
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # As if one embedding pulled.
            """
            def rest(mean, n, decay):
                return mean / (1 + decay)
            """,
            # Only the last step is shrunk.
            """
            def rest(mean, n, decay):
                return mean * (1 - decay / n)
            """,
            # The one of the paper's rule.
            """
            def rest(mean, n, decay):
                return n * mean / (1 + n + decay)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def from_pairs(squares, labels):
            same = labels[:, None] == labels
            return (squares * same / same.sum(dim=1)).sum() / 4
        """,
        hidden="""
        draw = experiments.rng(6)
        for sizes in ((5, 5), (1, 7, 2), (9,)):
            t = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
            v = torch.from_numpy(draw.normal(size=(len(t), 4)))
            means = torch.stack([v[t == j].mean(0) for j in range(len(sizes))])
            miss = from_pairs(torch.cdist(v, v).square(), t) - center_loss(v, means, t).sum()
            assert abs(miss) < 1e-6, f"for classes of {sizes} it misses by {miss:.4f}"
        """,
        wrong=(
            # Each pair counted twice.
            """
            def from_pairs(squares, labels):
                same = labels[:, None] == labels
                return (squares * same / same.sum(dim=1)).sum() / 2
            """,
            # Divided by the batch, not by the class.
            """
            def from_pairs(squares, labels):
                return (squares * (labels[:, None] == labels)).sum() / len(labels) / 4
            """,
            # The mean over the pairs that there are.
            """
            def from_pairs(squares, labels):
                same = (labels[:, None] == labels).double()
                others = (same.sum(dim=1) - 1).clamp_min(1)
                return (squares * same / others).sum() / 4
            """,
            # All pairs.
            """
            def from_pairs(squares, labels):
                return squares.sum() / len(labels) / 4
            """,
        ),
    ),
}
