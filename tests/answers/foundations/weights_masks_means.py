"""Answers to the exercises of docs/foundations/weights_masks_means.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The mean of means.
            """
            def accumulate(model, parts, w, others):
                for x, labels in parts:
                    if (labels != -100).any():
                        (F.cross_entropy(model(x), labels, weight=w) / len(parts)).backward()
            """,
            # The weights of this device alone.
            """
            def accumulate(model, parts, w, others):
                total = sum(w[labels[labels != -100]].sum() for _, labels in parts)
                for x, labels in parts:
                    loss = F.cross_entropy(model(x), labels, weight=w, reduction="sum")
                    (loss / max(1, total)).backward()
            """,
            # The weights of all devices, and their average is forgotten.
            """
            def accumulate(model, parts, w, others):
                total = sum(w[labels[labels != -100]].sum() for _, labels in parts) + sum(others)
                for x, labels in parts:
                    loss = F.cross_entropy(model(x), labels, weight=w, reduction="sum")
                    (loss / total).backward()
            """,
            # The count in place of the sum of the weights.
            """
            def accumulate(model, parts, w, others):
                count = sum((labels != -100).sum() for _, labels in parts)
                for x, labels in parts:
                    loss = F.cross_entropy(model(x), labels, weight=w, reduction="sum")
                    (loss / max(1, count)).backward()
            """,
            # Padding weighs as much as class 0.
            """
            def accumulate(model, parts, w, others):
                total = sum(w[labels.clamp(min=0)].sum() for _, labels in parts) + sum(others)
                for x, labels in parts:
                    loss = F.cross_entropy(model(x), labels, weight=w, reduction="sum")
                    (loss * (1 + len(others)) / total).backward()
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # All tokens alike.
            """
            def document_weights(documents):
                return (documents >= 0).float()
            """,
            # Padding is taken for a document.
            """
            def document_weights(documents):
                _, place, counts = documents.unique(return_inverse=True, return_counts=True)
                return 1 / counts[place]
            """,
            # A document ends where its neighbor's number changes.
            """
            def document_weights(documents):
                _, place, counts = documents.unique_consecutive(
                    return_inverse=True, return_counts=True
                )
                return (documents >= 0) / counts[place]
            """,
            # The last document is left out.
            """
            def document_weights(documents):
                weights = torch.zeros(len(documents))
                for number in range(documents.max()):
                    own = documents == number
                    weights[own] = 1 / own.sum()
                return weights
            """,
            # Multiplied by the length.
            """
            def document_weights(documents):
                _, place, counts = documents.unique(return_inverse=True, return_counts=True)
                return (documents >= 0) * counts[place]
            """,
        ),
    ),
    3: Answers(
        solution="""
        def weights_and_targets(labels, w, epsilon):
            smoothed = (1 - epsilon) * F.one_hot(labels, len(w)) + epsilon / len(w)
            weights = (w * smoothed).sum(1)
            return weights, w * smoothed / weights[:, None]
        """,
        hidden="""
        labels, w = torch.tensor([3, 0, 3, 2]), torch.tensor([0.5, 3.0, 1.0, 7.0])
        scores = torch.arange(16.0).reshape(4, 4).sin()
        weights, targets = weights_and_targets(labels, w, 0.3)
        assert torch.allclose(targets.sum(1), torch.ones(4)), "targets are probabilities"
        value = Criterion(cross_entropy)(
            scores, targets, weights=weights, normalizer=w[labels].sum()
        )
        expected = F.cross_entropy(scores, labels, weight=w, label_smoothing=0.3)
        assert torch.allclose(value, expected), f"four classes: {value:.4f}, not {expected:.4f}"
        """,
        wrong=(
            # The weights of the labels, and the smoothed targets.
            """
            def weights_and_targets(labels, w, epsilon):
                return w[labels], (1 - epsilon) * F.one_hot(labels, len(w)) + epsilon / len(w)
            """,
            # The right targets with the weights of the labels.
            """
            def weights_and_targets(labels, w, epsilon):
                shares = w * ((1 - epsilon) * F.one_hot(labels, len(w)) + epsilon / len(w))
                return w[labels], shares / shares.sum(1, keepdim=True)
            """,
            # The shares as they are, which are no probabilities.
            """
            def weights_and_targets(labels, w, epsilon):
                shares = w * ((1 - epsilon) * F.one_hot(labels, len(w)) + epsilon / len(w))
                return torch.ones(len(labels)), shares
            """,
            # Epsilon over the other classes.
            """
            def weights_and_targets(labels, w, epsilon):
                one_hot = F.one_hot(labels, len(w))
                shares = w * ((1 - epsilon) * one_hot + epsilon * (1 - one_hot) / (len(w) - 1))
                return shares.sum(1), shares / shares.sum(1, keepdim=True)
            """,
        ),
    ),
}
