"""IoU-balanced losses: predictions that lie well on their object count more.

Chapter: https://lossbook.example/detection/iou_balanced/
"""

import torch
from torch import Tensor

__all__ = ["iou_balanced_classification_loss", "iou_balanced_localization_loss"]


def iou_balanced_classification_loss(
    logits: Tensor, labels: Tensor, ious: Tensor, *, eta: float = 1.5
) -> Tensor:
    """IoU-balanced classification loss, one value per prior.

    With CE the cross entropy, and sums over the positives (label > 0) of the whole call:

        loss_i = w_i CE_i,    w_i = IoU_i^eta sum_j CE_j / sum_j (IoU_j^eta CE_j)

    where i is positive, and CE_i where it is background. The positives together cost what they
    cost without weights; those that overlap their object well get more of it. The weights,
    normalizer included, get no gradient: with it the sum would be plain cross entropy again.

    Args:
        logits: Unnormalized scores, class 0 the background, shape `(P, C)`. No softmax before
            this loss.
        labels: Integer classes in [0, C), int64, 0 for background, shape `(P,)`.
        ious: Intersection over union of each predicted (decoded) box with its object, in [0, 1],
            shape `(P,)`; ignored where the label is 0. Values are not checked.
        eta: Exponent, at least 0; 0 is cross entropy. The paper's 1.5 is the default.

    Returns:
        The loss of each prior, shape `(P,)`, in the dtype of `logits`. Every weight is 1 where
        sum_j (IoU_j^eta CE_j) is 0.

    Raises:
        ValueError: If `logits` is not floating or not of two dimensions, `labels` or `ious` has
            another shape, or `eta` is negative.

    Reference:
        Wu et al., "IoU-balanced Loss Functions for Single-stage Object Detection", 2019.
        arXiv:1908.05641

    Examples:
        >>> import torch
        >>> logits, ious = torch.zeros(3, 2), torch.tensor([0.9, 0.4, 0.0])
        >>> iou_balanced_classification_loss(logits, torch.tensor([1, 1, 0]), ious)
        tensor([1.0694, 0.3169, 0.6931])
    """
    if logits.dim() != 2 or not logits.is_floating_point():
        raise ValueError(
            f"expected floating logits of shape (P, C), got {logits.dtype} {tuple(logits.shape)}"
        )
    for name, given in {"labels": labels, "ious": ious}.items():
        if given.shape != logits.shape[:1]:
            raise ValueError(
                f"expected {name} of shape {tuple(logits.shape[:1])}, got {tuple(given.shape)}"
            )
    if not eta >= 0:
        raise ValueError(f"expected eta >= 0, got {eta}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    losses = -logits.log_softmax(1, dtype=wide).gather(1, labels.unsqueeze(1)).squeeze(1)
    # In logarithms neither the power of a small IoU nor the quotient of the sums leaves the dtype.
    powers = torch.xlogy(eta, ious.detach().to(wide))
    costs = losses.detach().log().where(labels > 0, -torch.inf)
    total = (powers + costs).logsumexp(0)
    weights = (powers + costs.logsumexp(0) - total).exp()
    weights = weights.where((costs > -torch.inf) & total.isfinite(), 1)
    return (weights * losses).to(logits.dtype)


def iou_balanced_localization_loss(
    offsets: Tensor,
    target_offsets: Tensor,
    ious: Tensor,
    *,
    lam: float = 1.5,
    beta: float = 1.0,
) -> Tensor:
    """IoU-balanced localization loss, one value per box.

    With r the residuals of the four offsets:

        loss = IoU^lam sum_4 smooth_l1(r)

    The smooth L1 loss is r^2 / (2 beta) up to |r| = beta and |r| - beta / 2 beyond. Boxes far off
    pull less, the nearly right ones take the lead. The weight gets no gradient.

    Args:
        offsets: Predicted offsets of the positives, as of `encode_boxes`, shape `(P, 4)`.
        target_offsets: True offsets, shape `(P, 4)`.
        ious: Intersection over union of each predicted (decoded) box with its object, in [0, 1],
            shape `(P,)`. Values are not checked.
        lam: Exponent lambda, at least 0; 0 is the plain smooth L1 loss. The paper's 1.5 is the
            default.
        beta: Residual at which the loss turns linear, at least 0. The default 1.0 is that of
            Fast R-CNN.

    Returns:
        The loss of each box, shape `(P,)`, in the dtype of `offsets`. The paper multiplies their
        sum by a constant that restores its initial size.

    Raises:
        ValueError: If `offsets` is not floating or not of shape `(P, 4)`, the shapes disagree, or
            `lam` or `beta` is negative.

    Reference:
        Wu et al., "IoU-balanced Loss Functions for Single-stage Object Detection", 2019.
        arXiv:1908.05641

    Examples:
        >>> import torch
        >>> offsets, ious = torch.full((2, 4), 0.5), torch.tensor([1.0, 0.25])
        >>> iou_balanced_localization_loss(offsets, torch.zeros(2, 4), ious)
        tensor([0.5000, 0.0625])
    """
    if offsets.dim() != 2 or offsets.shape[1] != 4 or not offsets.is_floating_point():
        raise ValueError(
            f"expected floating offsets of shape (P, 4), got {offsets.dtype} {tuple(offsets.shape)}"
        )
    if target_offsets.shape != offsets.shape:
        raise ValueError(
            f"expected target_offsets of shape {tuple(offsets.shape)}, "
            f"got {tuple(target_offsets.shape)}"
        )
    if ious.shape != offsets.shape[:1]:
        raise ValueError(
            f"expected ious of shape {tuple(offsets.shape[:1])}, got {tuple(ious.shape)}"
        )
    for name, setting in {"lam": lam, "beta": beta}.items():
        if not setting >= 0:
            raise ValueError(f"expected {name} >= 0, got {setting}")

    wide = torch.promote_types(offsets.dtype, torch.float32)
    residuals = offsets.to(wide) - target_offsets.to(wide)
    if beta < torch.finfo(wide).tiny:
        losses = residuals.abs()  # A beta of 0, or one that would round to it.
    else:
        clipped = (residuals / beta).clamp(-1, 1)
        losses = clipped * (residuals - beta * clipped / 2)
    return (ious.detach().to(wide) ** lam * losses.sum(1)).to(offsets.dtype)
