"""Triplet loss: an anchor must lie nearer to its own kind than to another, by a margin.

Chapter: https://lossbook.example/embedding/triplet/
"""

import torch
from torch import Tensor

__all__ = ["batch_hard_triplet_loss", "triplet_loss"]


def triplet_loss(
    anchors: Tensor, positives: Tensor, negatives: Tensor, *, margin: float | Tensor = 0.2
) -> Tensor:
    """Triplet loss of FaceNet, one value per triplet.

    With squared Euclidean distances of the anchor a to its positive p and its negative n:

        loss = max(0, |a - p|^2 - |a - n|^2 + margin)

    Embeddings are used as given; the paper scales them to length 1 first, and its margin is in
    that unit. Where all embeddings coincide the loss is the margin and the gradient 0.

    Args:
        anchors: Embeddings, shape `(N, D)`, any real numbers.
        positives: Embeddings of the same class as their anchor, shape `(N, D)`.
        negatives: Embeddings of another class, shape `(N, D)`.
        margin: Lead of the positive in squared distance from which a triplet costs nothing, a
            number or a tensor of shape `()`. The paper's 0.2 is the default.

    Returns:
        The loss of each triplet, shape `(N,)`, in the dtype of `anchors`.

    Raises:
        ValueError: If an input is not floating, `anchors` is not of two dimensions, the shapes
            differ, or `margin` is a tensor of another shape.

    Reference:
        Schroff, Kalenichenko and Philbin, "FaceNet: A Unified Embedding for Face Recognition and
        Clustering", CVPR 2015, eq. 3. arXiv:1503.03832

    Examples:
        >>> import torch
        >>> anchors, positives = torch.zeros(2, 2), torch.tensor([[0.6, 0.8], [0.6, 0.8]])
        >>> negatives = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
        >>> triplet_loss(anchors, positives, negatives)
        tensor([0.2000, 0.0000])
    """
    if anchors.dim() != 2 or not anchors.is_floating_point():
        raise ValueError(
            f"expected floating anchors of shape (N, D), got {anchors.dtype} {tuple(anchors.shape)}"
        )
    for name, given in {"positives": positives, "negatives": negatives}.items():
        if given.shape != anchors.shape:
            raise ValueError(
                f"expected {name} of shape {tuple(anchors.shape)}, got {tuple(given.shape)}"
            )
        if not given.is_floating_point():
            raise ValueError(f"expected floating {name}, got {given.dtype}")
    if isinstance(margin, Tensor) and margin.dim():
        raise ValueError(f"expected margin of shape (), got {tuple(margin.shape)}")

    wide = torch.promote_types(anchors.dtype, torch.float32)
    a, p, n = anchors.to(wide), positives.to(wide), negatives.to(wide)
    # |a - p|^2 - |a - n|^2 as a product: it is exact where p and n are near each other.
    gaps = ((n - p) * ((a - p) + (a - n))).sum(1)
    return (gaps + margin).clamp_min(0).to(anchors.dtype)


def batch_hard_triplet_loss(
    embeddings: Tensor, labels: Tensor, *, margin: float | Tensor = 0.2
) -> Tensor:
    """Batch-hard triplet loss, one value per anchor.

    Each embedding of the batch is an anchor a; with p the farthest of its class and n the nearest
    of another, by Euclidean distance, not squared:

        loss = max(0, margin + |a - p| - |a - n|)

    An anchor that is alone in its class, or whose class fills the batch, has no triplet: its loss
    and its gradient are 0. Embeddings are used as given. Where all embeddings coincide the loss
    is the margin and the gradient 0.

    Args:
        embeddings: Embeddings, shape `(N, D)`, any real numbers. Time and memory grow with N^2.
        labels: Integer classes, any, shape `(N,)`.
        margin: Lead of the positive in distance from which an anchor costs nothing, a number or a
            tensor of shape `()`. The default 0.2 is FaceNet's; the paper tries several, and a
            softplus in place of the margin.

    Returns:
        The loss of each anchor, shape `(N,)`, in the dtype of `embeddings`. Of pairs that are
        equally hard within rounding, either one may be taken.

    Raises:
        ValueError: If `embeddings` is not floating or not of two dimensions, `labels` has another
            shape or is uint8, or `margin` is a tensor that has a shape.

    Reference:
        Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person Re-Identification",
        2017, eq. 5. arXiv:1703.07737

    Examples:
        >>> import torch
        >>> embeddings = torch.tensor([[0.0], [2.0], [1.5], [9.0]])
        >>> batch_hard_triplet_loss(embeddings, torch.tensor([0, 0, 1, 2]))
        tensor([0.7000, 1.7000, 0.0000, 0.0000])
    """
    if embeddings.dim() != 2 or not embeddings.is_floating_point():
        raise ValueError(
            "expected floating embeddings of shape (N, D), "
            f"got {embeddings.dtype} {tuple(embeddings.shape)}"
        )
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"expected labels of shape {tuple(embeddings.shape[:1])}, got {tuple(labels.shape)}"
        )
    if labels.dtype == torch.uint8:
        raise ValueError("expected labels of int64, got torch.uint8: call labels.long()")
    if isinstance(margin, Tensor) and margin.dim():
        raise ValueError(f"expected margin of shape (), got {tuple(margin.shape)}")
    if not len(labels):
        return embeddings.sum(1)  # The hardest of none has no index.

    x = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    same = labels[:, None] == labels
    # The hardest are found without a gradient, around the mean, since a large batch is measured
    # by a matrix product, in which a common offset would drown small distances.
    points = x.detach() - x.detach().nan_to_num(0, 0, 0).mean(0)
    # Over the largest entry, so that no square overflows or vanishes.
    largest = points.abs().nan_to_num(0, 0).amax()
    points = points / largest.where(largest > 0, 1)
    found = torch.cdist(points, points)
    positives = x[found.masked_fill(~same, -1).argmax(1)]
    negatives = x[found.masked_fill(same, torch.inf).argmin(1)]
    losses = (margin + _distance(x, positives) - _distance(x, negatives)).clamp_min(0)
    peers = same.sum(1)
    return losses.where((peers > 1) & (peers < len(labels)), 0).to(embeddings.dtype)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    # Over the largest entry, so that squares neither overflow nor vanish. Equal points divide by
    # infinity, which leaves 0 and stops the slope of the root, infinite there.
    apart = x - y
    largest = apart.detach().abs().amax(1).clamp_max(torch.finfo(x.dtype).max)
    apart = apart / largest.where(largest > 0, torch.inf)[:, None]
    return largest * (apart * apart).sum(1).clamp_min(1).sqrt()
