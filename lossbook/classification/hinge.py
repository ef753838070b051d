"""Hinge losses: nothing to pay once the truth leads by a margin, for two classes and for many.

Chapter: https://lossbook.example/classification/hinge/
"""

import torch
from torch import Tensor

__all__ = ["crammer_singer_loss", "hinge_loss", "squared_hinge_loss", "weston_watkins_loss"]


def hinge_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Hinge loss, one value per score.

    With score s and target t in {-1, +1}:

        loss = max(0, 1 - t s)

    The slope is -t where t s < 1 and 0 from t s = 1 on: the kink is at 1, not at 0.

    Args:
        scores: Raw scores, shape `(*)`, whose sign is the decision. No tanh before this loss: it
            keeps the margin of 1 out of reach.
        targets: Classes -1 and +1, shape `(*)`. Values are not checked; a 0 gives no gradient.

    Returns:
        The loss of each score, shape `(*)`, in the dtype of `scores`.

    Raises:
        ValueError: If `scores` is not floating or the shapes differ.

    Reference:
        Cortes and Vapnik, "Support-Vector Networks", Machine Learning 20, 1995.

    Examples:
        >>> import torch
        >>> hinge_loss(torch.tensor([0.25, 0.25, 3.0]), torch.tensor([1, -1, 1]))
        tensor([0.7500, 1.2500, 0.0000])
    """
    if not scores.is_floating_point():
        raise ValueError(f"expected floating scores, got {scores.dtype}")
    if scores.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(scores.shape)}, got {tuple(targets.shape)}"
        )

    wide = torch.promote_types(scores.dtype, torch.float32)
    # A relu that keeps its input for the slope: the losses may then be changed in place.
    return torch.threshold(1 - targets.to(wide) * scores.to(wide), 0, 0).to(scores.dtype)


def squared_hinge_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Squared hinge loss, one value per score.

    With score s and target t in {-1, +1}:

        loss = max(0, 1 - t s)^2

    The slope is continuous and grows with the violation, so outliers weigh more than in the hinge
    loss.

    Args:
        scores: Raw scores, shape `(*)`, whose sign is the decision.
        targets: Classes -1 and +1, shape `(*)`. Values are not checked; a 0 gives no gradient.

    Returns:
        The loss of each score, shape `(*)`, in the dtype of `scores`.

    Raises:
        ValueError: If `scores` is not floating or the shapes differ.

    Reference:
        Cortes and Vapnik, "Support-Vector Networks", Machine Learning 20, 1995, with the slack to
        the power 2.

    Examples:
        >>> import torch
        >>> squared_hinge_loss(torch.tensor([0.25, 0.25, 3.0]), torch.tensor([1, -1, 1]))
        tensor([0.5625, 1.5625, 0.0000])
    """
    if not scores.is_floating_point():
        raise ValueError(f"expected floating scores, got {scores.dtype}")
    if scores.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(scores.shape)}, got {tuple(targets.shape)}"
        )

    wide = torch.promote_types(scores.dtype, torch.float32)
    return (1 - targets.to(wide) * scores.to(wide)).relu().square().to(scores.dtype)


def crammer_singer_loss(scores: Tensor, labels: Tensor, *, margin: float | Tensor = 1.0) -> Tensor:
    """Crammer and Singer's multiclass hinge loss, one value per example.

    With scores s and true class y:

        loss = max(0, margin + max_{j != y} s_j - s_y)

    Only the best wrong class and the true one get a gradient.

    Args:
        scores: Raw scores, shape `(N, C)` with C at least 2.
        labels: Integer classes in [0, C), int64, shape `(N,)`.
        margin: Lead that the truth must have, a number or a tensor of shape `()`. The paper's 1.0
            is the default.

    Returns:
        The loss of each example, shape `(N,)`, in the dtype of `scores`.

    Raises:
        ValueError: If `scores` is not floating or not of shape `(N, C)` with C at least 2, `labels`
            is not of shape `(N,)` or is uint8, or a tensor `margin` is not of shape `()`.

    Reference:
        Crammer and Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector
        Machines", Journal of Machine Learning Research 2, 2001.

    Examples:
        >>> import torch
        >>> scores = torch.tensor([[2.0, 1.5, 0.0], [2.0, 1.5, 0.0]])
        >>> crammer_singer_loss(scores, torch.tensor([0, 2]))
        tensor([0.5000, 3.0000])
    """
    if scores.dim() != 2 or scores.shape[1] < 2 or not scores.is_floating_point():
        raise ValueError(
            "expected floating scores of shape (N, C) with C >= 2, "
            f"got {scores.dtype} {tuple(scores.shape)}"
        )
    if labels.dtype == torch.uint8:
        raise ValueError("expected labels of dtype int64 (labels.long()), got torch.uint8")
    if isinstance(margin, Tensor) and margin.dim():
        raise ValueError(f"expected margin of shape (), got {tuple(margin.shape)}")
    if labels.shape != scores.shape[:1]:
        raise ValueError(
            f"expected labels of shape {tuple(scores.shape[:1])}, got {tuple(labels.shape)}"
        )

    wide = torch.promote_types(scores.dtype, torch.float32)
    true = scores.gather(1, labels.unsqueeze(1)).squeeze(1)
    best, classes = scores.topk(2, 1)
    rival = best[:, 0].where(classes[:, 0] != labels, best[:, 1])
    return torch.threshold(margin + (rival.to(wide) - true.to(wide)), 0, 0).to(scores.dtype)


def weston_watkins_loss(scores: Tensor, labels: Tensor, *, margin: float | Tensor = 1.0) -> Tensor:
    """Weston and Watkins' multiclass hinge loss, one value per example.

    With scores s and true class y:

        loss = sum_{j != y} max(0, margin + s_j - s_y)

    The sum is over the wrong classes and not divided by their number: at equal scores it is
    (C - 1) margin.

    Args:
        scores: Raw scores, shape `(N, C)`.
        labels: Integer classes in [0, C), int64, shape `(N,)`.
        margin: Lead that the truth must have over each other class, a number or a tensor of shape
            `()`. The default 1.0 is the usual scale.

    Returns:
        The loss of each example, shape `(N,)`, in the dtype of `scores`.

    Raises:
        ValueError: If `scores` is not floating or not of shape `(N, C)`, `labels` is not of
            shape `(N,)` or is uint8, or a tensor `margin` is not of shape `()`.

    Reference:
        Weston and Watkins, "Support Vector Machines for Multi-Class Pattern Recognition", ESANN
        1999.

    Examples:
        >>> import torch
        >>> scores = torch.tensor([[2.0, 1.5, 0.0], [2.0, 1.5, 0.0]])
        >>> weston_watkins_loss(scores, torch.tensor([0, 2]))
        tensor([0.5000, 5.5000])
    """
    if scores.dim() != 2 or not scores.is_floating_point():
        raise ValueError(
            f"expected floating scores of shape (N, C), got {scores.dtype} {tuple(scores.shape)}"
        )
    if labels.dtype == torch.uint8:
        raise ValueError("expected labels of dtype int64 (labels.long()), got torch.uint8")
    if isinstance(margin, Tensor) and margin.dim():
        raise ValueError(f"expected margin of shape (), got {tuple(margin.shape)}")
    if labels.shape != scores.shape[:1]:
        raise ValueError(
            f"expected labels of shape {tuple(scores.shape[:1])}, got {tuple(labels.shape)}"
        )

    wide = torch.promote_types(scores.dtype, torch.float32)
    truth = labels.unsqueeze(1)
    leads = scores.to(wide) - scores.gather(1, truth).to(wide)
    violations = (margin + leads).scatter(1, truth, 0).relu()
    return violations.sum(1).to(scores.dtype)
