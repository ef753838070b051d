"""IoU-balanced losses: predictions that lie well on their object count more.

Chapter: https://lossbook.example/detection/iou_balanced/
"""

import torch
from torch import Tensor

__all__ = ["iou_balanced_classification_loss", "iou_balanced_localization_loss"]


def iou_balanced_classification_loss(
    logits: Tensor, labels: Tensor, ious: Tensor, *, eta: float | Tensor = 1.5
) -> Tensor:
    """IoU-balanced classification loss, one value per prior.

    With CE the cross entropy, and sums over the positives (label > 0) of the whole call:

        loss_i = w_i CE_i,    w_i = IoU_i^eta sum_j CE_j / sum_j (IoU_j^eta CE_j)

    where i is positive, and CE_i where it is background. The positives together cost what they
    cost without weights; those that overlap their object well get more of it. The weights,
    normalizer included, send no gradient to logits and IoUs: with it the sum would be plain cross
    entropy again. They send one to `eta`, which is 0 in the sum over the call.

    Args:
        logits: Unnormalized scores, class 0 the background, shape `(P, C)`. No softmax before
            this loss.
        labels: Integer classes in [0, C), int64, 0 for background, shape `(P,)`.
        ious: Intersection over union of each predicted (decoded) box with its object, in [0, 1],
            shape `(P,)`; ignored where the label is 0. Values are not checked.
        eta: Exponent, at least 0, a number or a tensor of shape `()`; 0 is cross entropy. The
            paper's 1.5 is the default.

    Returns:
        The loss of each prior, shape `(P,)`, in the dtype of `logits`. Every weight is 1 where
        sum_j (IoU_j^eta CE_j) is 0.

    Raises:
        ValueError: If `logits` is not floating or not of two dimensions, `labels` or `ious` has
            another shape, `labels` is not int64, or `eta` is negative or a tensor of another
            shape.

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
    if labels.dtype != torch.int64:
        raise ValueError(f"expected labels of dtype int64 (labels.long()), got {labels.dtype}")
    _check(eta=eta)

    wide = torch.promote_types(logits.dtype, torch.float32)
    losses = _surprise(logits.to(wide), labels)
    # In logarithms neither the power of a small IoU nor the quotient of the sums leaves the dtype.
    overlaps = ious.detach().to(wide).where(labels > 0, 1)  # Background has no IoU.
    apart = overlaps <= 0
    eta = eta.to(wide) if isinstance(eta, Tensor) else float(eta)
    powers = (eta * overlaps.masked_fill(apart, 1).log()).masked_fill(apart & (eta > 0), -torch.inf)
    costs = losses.detach().log().where(labels > 0, -torch.inf)
    # Where the sum is 0 or inf its logarithm would send a nan back to eta.
    usable = ~(powers + costs).detach().logsumexp(0).isinf()
    total = (powers + costs).where(usable, 0).logsumexp(0)
    weights = powers + costs.logsumexp(0) - total
    weights = weights.where(usable & (costs > -torch.inf), 0).exp()
    return (weights * losses).to(logits.dtype)


def iou_balanced_localization_loss(
    offsets: Tensor,
    target_offsets: Tensor,
    ious: Tensor,
    *,
    lam: float | Tensor = 1.5,
    beta: float | Tensor = 1.0,
) -> Tensor:
    """IoU-balanced localization loss, one value per box.

    With r the residuals of the four offsets:

        loss = IoU^lam sum_4 smooth_l1(r)

    The smooth L1 loss is r^2 / (2 beta) up to |r| = beta and |r| - beta / 2 beyond. Boxes far off
    pull less, the nearly right ones take the lead. The weight sends no gradient to the IoUs.

    Args:
        offsets: Predicted offsets of the positives, as of `encode_boxes`, shape `(P, 4)`.
        target_offsets: True offsets, shape `(P, 4)`.
        ious: Intersection over union of each predicted (decoded) box with its object, in [0, 1],
            shape `(P,)`. Values are not checked.
        lam: Exponent lambda, at least 0, a number or a tensor of shape `()`; 0 is the plain smooth
            L1 loss. The paper's 1.5 is the default.
        beta: Residual at which the loss turns linear, at least 0, a number or a tensor of shape
            `()`; 0 is |r|. The default 1.0 is that of Fast R-CNN.

    Returns:
        The loss of each box, shape `(P,)`, in the dtype of `offsets`. The paper multiplies their
        sum by a constant that restores its initial size.

    Raises:
        ValueError: If `offsets` is not floating or not of shape `(P, 4)`, the shapes disagree, or
            `lam` or `beta` is negative or a tensor of another shape.

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
    _check(lam=lam, beta=beta)

    wide = torch.promote_types(
        torch.promote_types(offsets.dtype, target_offsets.dtype), torch.float32
    )
    residuals = offsets.to(wide) - target_offsets.to(wide)
    # A beta of 0, or one that rounds to it, leaves |r|: the inverse ends where it would not fit.
    least = torch.finfo(wide).tiny
    beta = (residuals.new_zeros(()) + beta).to(wide).clamp_max(torch.finfo(wide).max)
    inverse = beta.where(beta >= least, 1).reciprocal().where(beta >= least, 1 / least)
    clipped = (residuals * inverse).clamp(-1, 1)
    losses = clipped * (residuals - beta / 2 * clipped)
    return (ious.detach().to(wide) ** lam * losses.sum(1)).to(offsets.dtype)


def _check(**settings: float | Tensor) -> None:
    for name, setting in settings.items():
        if isinstance(setting, Tensor):
            if setting.dim():
                raise ValueError(f"expected {name} of shape (), got {tuple(setting.shape)}")
        elif not setting >= 0:
            raise ValueError(f"expected {name} >= 0, got {setting}")


def _surprise(logits: Tensor, labels: Tensor) -> Tensor:
    """-log of the softmax at the label, with its digits where that is nearly 1."""
    top = logits.detach().amax(-1, keepdim=True)
    label = labels.unsqueeze(-1)
    lead = (logits.gather(-1, label) - top).squeeze(-1)
    others = (logits - top).scatter(-1, label, -torch.inf).exp().sum(-1)
    return (others + lead.expm1()).log1p() - lead
