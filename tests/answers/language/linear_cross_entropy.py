"""Answers to the exercises of docs/language/linear_cross_entropy.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The mixture of two losses, the second of which is a logit.
            """
            def smoothed(hidden, labels, weight, epsilon):
                losses = linear_cross_entropy(hidden, labels, weight)
                return (1 - epsilon) * losses - epsilon * (hidden * weight.mean(0)).sum(1)
            """,
            # The sign.
            """
            def smoothed(hidden, labels, weight, epsilon):
                toward = weight.mean(0) - weight[labels]
                losses = linear_cross_entropy(hidden, labels, weight)
                return losses + epsilon * (hidden * toward).sum(1)
            """,
            # The others alone share epsilon.
            """
            def smoothed(hidden, labels, weight, epsilon):
                others = (weight.sum(0) - weight[labels]) / (len(weight) - 1)
                losses = linear_cross_entropy(hidden, labels, weight)
                return losses + epsilon * (hidden * (weight[labels] - others)).sum(1)
            """,
            # From the table.
            """
            def smoothed(hidden, labels, weight, epsilon):
                logits = hidden @ weight.T
                return F.cross_entropy(logits, labels, reduction="none", label_smoothing=epsilon)
            """,
            # Averaged over the tokens.
            """
            def smoothed(hidden, labels, weight, epsilon):
                toward = weight[labels] - weight.mean(0)
                losses = linear_cross_entropy(hidden, labels, weight)
                return (losses + epsilon * (hidden * toward).sum(1)).mean()
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # What was summed before is not moved.
            """
            def fold(m, s, logits):
                top = torch.maximum(m, logits.max())
                return top, s + (logits - top).exp().sum()
            """,
            # The old sum is thrown away at a new maximum.
            """
            def fold(m, s, logits):
                top = logits.max()
                if top > m:
                    return top, (logits - top).exp().sum()
                return m, s + (logits - m).exp().sum()
            """,
            # The maximum of the block alone.
            """
            def fold(m, s, logits):
                top = logits.max()
                return top, s * (m - top).exp() + (logits - top).exp().sum()
            """,
            # Moved the wrong way.
            """
            def fold(m, s, logits):
                top = torch.maximum(m, logits.max())
                return top, s * (top - m).exp() + (logits - top).exp().sum()
            """,
            # Without a maximum: it overflows.
            """
            def fold(m, s, logits):
                top = torch.maximum(m, logits.max())
                return top, (s * m.exp() + logits.exp().sum()) * (-top).exp()
            """,
        ),
    ),
    3: Answers(
        solution="""
        def share(hidden, labels, rows, first, log_z):
            g = (hidden @ rows.T - log_z[:, None]).exp()
            g = g - (labels[:, None] == first + torch.arange(len(rows))).float()
            return g @ rows, g.T @ hidden
        """,
        hidden="""
        h, y, w = drawn(40, 5, 33)
        loss = linear_cross_entropy(h, y, w).sum()
        expected = torch.autograd.grad(loss, (h, w))
        h, w = h.detach(), w.detach()
        log_z = (h @ w.T).logsumexp(1)
        found = [
            share(h, y, rows, first, log_z)
            for rows, first in zip(w.split([1, 30, 2]), (0, 1, 31), strict=True)
        ]
        whole = sum(a for a, _ in found), torch.cat([b for _, b in found])
        for given, true in zip(whole, expected, strict=True):
            assert torch.allclose(given, true, atol=1e-5), "slices of 1, 30 and 2 rows: it is off"
        """,
        wrong=(
            # The softmax of the slice alone.
            """
            def share(hidden, labels, rows, first, log_z):
                g = (hidden @ rows.T).softmax(1)
                g = g - (labels[:, None] == first + torch.arange(len(rows))).float()
                return g @ rows, g.T @ hidden
            """,
            # A label from elsewhere is put into the slice.
            """
            def share(hidden, labels, rows, first, log_z):
                g = (hidden @ rows.T - log_z[:, None]).exp()
                own = torch.nn.functional.one_hot((labels - first) % len(rows), len(rows))
                g = g - own.float()
                return g @ rows, g.T @ hidden
            """,
            # The offset is forgotten.
            """
            def share(hidden, labels, rows, first, log_z):
                g = (hidden @ rows.T - log_z[:, None]).exp()
                g = g - (labels[:, None] == torch.arange(len(rows))).float()
                return g @ rows, g.T @ hidden
            """,
            # The gradient of the mean.
            """
            def share(hidden, labels, rows, first, log_z):
                g = (hidden @ rows.T - log_z[:, None]).exp()
                g = g - (labels[:, None] == first + torch.arange(len(rows))).float()
                return g @ rows / len(hidden), g.T @ hidden / len(hidden)
            """,
        ),
    ),
}
