"""Answers to the exercises of docs/classification/cross_entropy.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The same number for both conventions.
            """
            def ours(epsilon, classes):
                return epsilon
            """,
            # The quotient upside down.
            """
            def ours(epsilon, classes):
                return epsilon * (classes - 1) / classes
            """,
            # What one wrong class gets.
            """
            def ours(epsilon, classes):
                return epsilon / (classes - 1)
            """,
            # Right for two classes alone.
            """
            def ours(epsilon, classes):
                return 2 * epsilon
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # Without smoothing.
            """
            def gradient(logits, labels, label_smoothing=0.0):
                slope = logits.softmax(dim=1)
                slope[torch.arange(len(labels)), labels] -= 1
                return slope
            """,
            # Not divided among the classes.
            """
            def gradient(logits, labels, label_smoothing=0.0):
                slope = logits.softmax(dim=1) - label_smoothing
                slope[torch.arange(len(labels)), labels] -= 1 - label_smoothing
                return slope
            """,
            # The truth keeps all of its mass, so that the targets sum to more than 1.
            """
            def gradient(logits, labels, label_smoothing=0.0):
                slope = logits.softmax(dim=1) - label_smoothing / logits.shape[1]
                slope[torch.arange(len(labels)), labels] -= 1
                return slope
            """,
            # Overflows.
            """
            def gradient(logits, labels, label_smoothing=0.0):
                slope = logits.exp() / logits.exp().sum(1, True) - label_smoothing / logits.shape[1]
                slope[torch.arange(len(labels)), labels] -= 1 - label_smoothing
                return slope
            """,
            # By autograd.
            """
            def gradient(logits, labels, label_smoothing=0.0):
                z = logits.clone().requires_grad_()
                loss = cross_entropy(z, labels, label_smoothing=label_smoothing).sum()
                return torch.autograd.grad(loss, z)[0]
            """,
            # Changes its argument.
            """
            def gradient(logits, labels, label_smoothing=0.0):
                slope = logits.sub_(logits.logsumexp(1, True)).exp_()
                slope -= label_smoothing / logits.shape[1]
                slope[torch.arange(len(labels)), labels] -= 1 - label_smoothing
                return slope
            """,
        ),
    ),
    3: Answers(
        solution="""
        def in_pieces(columns, labels, classes, size):
            partition = truth = None
            for start in range(0, classes, size):
                z = columns(start, min(start + size, classes))
                piece = z.logsumexp(dim=1)
                inside = (labels >= start) & (labels < start + z.shape[1])
                place = (labels - start).where(inside, 0)[:, None]
                picked = z.gather(1, place)[:, 0].where(inside, 0)
                partition = piece if partition is None else torch.logaddexp(partition, piece)
                truth = picked if truth is None else truth + picked
            return partition - truth
        """,
        hidden="""
        import gc

        alive = lambda: sum(o.numel() for o in gc.get_objects() if type(o) is torch.Tensor)
        table = torch.linspace(-9, 9, 280).cos().view(7, 40) * 30
        table[2, :8], table[3] = -torch.inf, table[3] + 500
        told, seen = torch.tensor([0, 10, 9, 5, 39, 1, 38]), []
        for size in (1, 3, 40, 50):
            found = in_pieces(lambda start, stop: table[:, start:stop], told, 40, size)
            torch.testing.assert_close(found, cross_entropy(table, told), atol=1e-4, rtol=1e-4)

        def last_of(start, stop):
            seen.append(start)
            if len(seen) == 1:
                seen[0] = alive()
            assert len(seen) < 10 or alive() - seen[0] < 140, "the table is kept"
            return table[:, start:stop].clone()

        in_pieces(last_of, told, 40, 4)
        """,
        wrong=(
            # One large table after all.
            """
            def in_pieces(columns, labels, classes, size):
                starts = range(0, classes, size)
                z = torch.cat([columns(i, min(i + size, classes)) for i in starts], dim=1)
                return cross_entropy(z, labels)
            """,
            # A table that grows.
            """
            def in_pieces(columns, labels, classes, size):
                z = columns(0, size)
                for i in range(size, classes, size):
                    z = torch.cat([z, columns(i, min(i + size, classes))], dim=1)
                return z.logsumexp(1) - z.gather(1, labels[:, None])[:, 0]
            """,
            # Sums of exponentials, which overflow.
            """
            def in_pieces(columns, labels, classes, size):
                total, truth = 0, 0
                for i in range(0, classes, size):
                    z = columns(i, min(i + size, classes))
                    inside = (labels >= i) & (labels < i + z.shape[1])
                    place = (labels - i).where(inside, 0)[:, None]
                    truth = truth + z.gather(1, place)[:, 0].where(inside, 0)
                    total = total + z.exp().sum(1)
                return total.log() - truth
            """,
            # Adds the log-partition functions themselves.
            """
            def in_pieces(columns, labels, classes, size):
                total, truth = 0, 0
                for i in range(0, classes, size):
                    z = columns(i, min(i + size, classes))
                    inside = (labels >= i) & (labels < i + z.shape[1])
                    place = (labels - i).where(inside, 0)[:, None]
                    truth = truth + z.gather(1, place)[:, 0].where(inside, 0)
                    total = total + z.logsumexp(1)
                return total - truth
            """,
            # Each piece for itself, where it holds the truth.
            """
            def in_pieces(columns, labels, classes, size):
                loss = 0
                for i in range(0, classes, size):
                    z = columns(i, min(i + size, classes))
                    inside = (labels >= i) & (labels < i + z.shape[1])
                    place = (labels - i).where(inside, 0)
                    loss = loss + cross_entropy(z, place).where(inside, 0)
                return loss
            """,
        ),
    ),
}
