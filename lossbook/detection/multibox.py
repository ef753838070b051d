"""Multibox loss: SSD's loss over default boxes, class and place, with hard negatives mined.

Chapter: https://lossbook.example/detection/multibox/
"""

import torch
from torch import Tensor

__all__ = ["decode_boxes", "encode_boxes", "match_priors", "multibox_loss"]


def multibox_loss(
    box_offsets: Tensor,
    logits: Tensor,
    target_offsets: Tensor,
    labels: Tensor,
    *,
    alpha: float | Tensor = 1.0,
    negative_ratio: float | Tensor = 3.0,
) -> Tensor:
    """Multibox loss of SSD, one value per image.

    With O the n priors of an image that hold an object (label > 0), H the
    floor(negative_ratio n) priors of label 0 with the largest -log p(background), and r the
    residuals of the four offsets:

        loss = (sum_(O, H) -log p(label) + alpha sum_O sum_4 smooth_l1(r)) / n

    The smooth L1 loss is r^2 / 2 up to |r| = 1 and |r| - 1/2 beyond. The choice of H has no
    gradient, and what is not chosen gets none. An image without an object costs 0.

    Args:
        box_offsets: Predicted offsets of each prior, as of `encode_boxes`, shape `(N, P, 4)`.
        logits: Unnormalized scores, class 0 the background, shape `(N, P, C)`. No softmax before
            this loss.
        target_offsets: True offsets, shape `(N, P, 4)`; ignored, whatever they are, where the
            label is 0.
        labels: Integer classes in [0, C), int64, 0 for background, shape `(N, P)`.
        alpha: Weight of the offsets, at least 0, a number or a tensor of shape `()`. The paper's
            1.0 is the default.
        negative_ratio: Negatives for each positive, at least 0, a number or a tensor of shape `()`,
            which gets no gradient: it only counts. The paper's 3.0 is the default.

    Returns:
        The loss of each image, shape `(N,)`, in the dtype of `box_offsets`. The authors' code
        divides the sum over a batch by its positives: the mean of these values weighted by
        (labels > 0).sum(1).

    Raises:
        ValueError: If `logits` is not floating or not of three dimensions, `box_offsets` is not
            floating, the shapes disagree, `labels` is not int64, or `alpha` or `negative_ratio` is
            negative or a tensor of another shape.

    Reference:
        Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, eq. 1. arXiv:1512.02325

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]])
        >>> offsets, labels = torch.zeros(1, 3, 4), torch.tensor([[1, 0, 0]])
        >>> multibox_loss(offsets, logits, offsets + 2, labels, negative_ratio=1.0)
        tensor([9.7417])
    """
    if logits.dim() != 3 or not logits.is_floating_point():
        raise ValueError(
            f"expected floating logits of shape (N, P, C), got {logits.dtype} {tuple(logits.shape)}"
        )
    expected = (*logits.shape[:2], 4)
    for name, given in {"box_offsets": box_offsets, "target_offsets": target_offsets}.items():
        if given.shape != expected:
            raise ValueError(f"expected {name} of shape {expected}, got {tuple(given.shape)}")
    if not box_offsets.is_floating_point():
        raise ValueError(f"expected floating box_offsets, got {box_offsets.dtype}")
    if labels.shape != logits.shape[:2]:
        raise ValueError(
            f"expected labels of shape {tuple(logits.shape[:2])}, got {tuple(labels.shape)}"
        )
    if labels.dtype != torch.int64:
        raise ValueError(f"expected labels of dtype int64 (labels.long()), got {labels.dtype}")
    for name, setting in {"alpha": alpha, "negative_ratio": negative_ratio}.items():
        if isinstance(setting, Tensor):
            if setting.dim():
                raise ValueError(f"expected {name} of shape (), got {tuple(setting.shape)}")
        elif not setting >= 0:
            raise ValueError(f"expected {name} >= 0, got {setting}")

    wide = torch.promote_types(
        torch.promote_types(box_offsets.dtype, logits.dtype),
        torch.promote_types(target_offsets.dtype, torch.float32),
    )
    positive = labels > 0
    counts = positive.sum(1)
    losses = _surprise(logits.to(wide), labels)

    # Positives stand last in the order, so that a large ratio just keeps every negative.
    order = losses.detach().masked_fill(positive, -torch.inf).argsort(1, descending=True)
    ranks = torch.arange(1, labels.shape[1] + 1, device=labels.device)
    hard = torch.zeros_like(positive).scatter(1, order, ranks <= negative_ratio * counts[:, None])
    confidence = losses.where(positive | hard, 0).sum(1)

    residuals = box_offsets.to(wide) - target_offsets.to(wide)
    residuals = residuals.where(positive.unsqueeze(2), 0)
    clipped = residuals.clamp(-1, 1)
    location = (clipped * (residuals - clipped / 2)).sum((1, 2))
    return ((confidence + alpha * location) / counts.clamp_min(1)).to(box_offsets.dtype)


def _surprise(logits: Tensor, labels: Tensor) -> Tensor:
    """-log of the softmax at the label, with its digits where that is nearly 1."""
    top = logits.detach().amax(-1, keepdim=True)
    label = labels.unsqueeze(-1)
    lead = (logits.gather(-1, label) - top).squeeze(-1)
    others = (logits - top).scatter(-1, label, -torch.inf).exp().sum(-1)
    return (others + lead.expm1()).log1p() - lead


def match_priors(
    priors: Tensor, boxes: Tensor, labels: Tensor, *, threshold: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Match the priors of one image with its objects: offsets and a label for each prior.

    Helper of `multibox_loss`.

    With IoU the area that two boxes share over the area that they cover:

        1. of all free priors and free boxes, the pair of largest IoU is matched, while it is > 0
        2. a prior still free is matched with its box of largest IoU, where that is > threshold

    The first step gives every object a prior, the second gives it more of them. Of equal IoUs the
    first box wins, then its first prior.

    Args:
        priors: Default boxes as center and size (cx, cy, w, h), shape `(P, 4)`, in the unit of
            the boxes.
        boxes: Objects as corners (x1, y1, x2, y2), shape `(G, 4)`, with x1 < x2 and y1 < y2.
        labels: Their integer classes, from 1 on, since 0 is background, shape `(G,)`.
        threshold: IoU above which a prior takes part, at least 0. The paper's 0.5 is the default.

    Returns:
        The target offsets, encoded with the default variances, shape `(P, 4)`, in the dtype of
        `priors`; and the label of each prior, shape `(P,)`. Both are 0 where nothing matches.

    Raises:
        ValueError: If `priors` is not floating, the shapes disagree, `labels` are uint8, or
            `threshold` is negative.

    Reference:
        Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, sec. 2.2. arXiv:1512.02325

    Examples:
        >>> import torch
        >>> priors = torch.tensor([[2.0, 2.0, 4.0, 3.0], [2.0, 2.0, 4.0, 2.0]])
        >>> match_priors(priors, torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([7]))[1]
        tensor([7, 0])
    """
    if priors.dim() != 2 or priors.shape[1] != 4 or not priors.is_floating_point():
        raise ValueError(
            f"expected floating priors of shape (P, 4), got {priors.dtype} {tuple(priors.shape)}"
        )
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"expected boxes of shape (G, 4), got {tuple(boxes.shape)}")
    if labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"expected labels of shape {tuple(boxes.shape[:1])}, got {tuple(labels.shape)}"
        )
    if labels.dtype == torch.uint8:
        raise ValueError("expected integer labels, as of labels.long(), got torch.uint8")
    if not threshold >= 0:
        raise ValueError(f"expected threshold >= 0, got {threshold}")
    P, G = len(priors), len(boxes)
    if not G:
        return torch.zeros_like(priors), labels.new_zeros(P)

    wide = torch.promote_types(priors.dtype, torch.float32)
    centers, sizes = priors.to(wide).chunk(2, 1)
    lows, highs = boxes.to(wide)[:, None].chunk(2, 2)
    starts = torch.maximum(centers - sizes / 2, lows)
    ends = torch.minimum(centers + sizes / 2, highs)
    widths, heights = (ends - starts).clamp_min(0).unbind(2)
    shared = widths * heights
    overlaps = shared / (sizes.prod(1) + (highs - lows).prod(2) - shared)

    best, match = overlaps.max(0)
    match = match.where(best > threshold, -1)
    free = overlaps.clone()
    for _ in range(min(P, G)):
        box = free.amax(1).argmax(0, keepdim=True)
        top, prior = free.index_select(0, box).max(1)
        taken = (torch.arange(P, device=priors.device) == prior) & (top > 0)
        match = torch.where(taken, box, match)
        free.index_fill_(0, box, 0).index_fill_(1, prior, 0)

    found = match >= 0
    offsets = encode_boxes(boxes[match], priors)
    return offsets.where(found[:, None], 0), labels[match].where(found, 0)


def encode_boxes(
    boxes: Tensor, priors: Tensor, *, variances: tuple[float, float] = (0.1, 0.2)
) -> Tensor:
    """Encode boxes as offsets from priors, four numbers per box.

    Helper of `multibox_loss`.

    With centers c and sizes s of the boxes, centers p and sizes q of the priors, along x and y:

        offset of the center = (c - p) / (q v_0)
        offset of the size   = log(s / q) / v_1

    Args:
        boxes: Corners (x1, y1, x2, y2), shape `(P, 4)`, with x1 < x2 and y1 < y2.
        priors: Default boxes as center and size (cx, cy, w, h), shape `(P, 4)`, in the unit of
            the boxes, one for each of them.
        variances: Divisors v_0 and v_1, positive, which bring the offsets to about unit size. The
            paper has none; the defaults are those of its released code.

    Returns:
        Offsets (x, y, width, height), shape `(P, 4)`, in the dtype of `priors`.

    Raises:
        ValueError: If `priors` is not floating, the shapes are not `(P, 4)`, or `variances` are
            not two positive numbers.

    Reference:
        Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, eq. 2. arXiv:1512.02325

    Examples:
        >>> import torch
        >>> priors = torch.tensor([[3.0, 3.0, 2.0, 4.0]])
        >>> encode_boxes(torch.tensor([[2.0, 2.0, 5.0, 6.0]]), priors)
        tensor([[2.5000, 2.5000, 2.0273, 0.0000]])
    """
    _check("priors", priors, "boxes", boxes, variances)

    wide = torch.promote_types(torch.promote_types(boxes.dtype, priors.dtype), torch.float32)
    centers, sizes = priors.to(wide).chunk(2, 1)
    lows, highs = boxes.to(wide).chunk(2, 1)
    shifts = ((lows + highs) / 2 - centers) / sizes / variances[0]
    scales = ((highs - lows) / sizes).log() / variances[1]
    return torch.cat([shifts, scales], 1).to(priors.dtype)


def decode_boxes(
    offsets: Tensor, priors: Tensor, *, variances: tuple[float, float] = (0.1, 0.2)
) -> Tensor:
    """Decode offsets from priors, as a network predicts them, into boxes: corners, one row each.

    Helper of `multibox_loss`.

    The inverse of `encode_boxes`. With centers p and sizes q of the priors, along x and y:

        center = p + q v_0 offset of the center
        size   = q exp(v_1 offset of the size)

    Args:
        offsets: Offsets (x, y, width, height), shape `(P, 4)`.
        priors: Default boxes as center and size (cx, cy, w, h), shape `(P, 4)`, one for each row.
        variances: The factors v_0 and v_1 with which the targets were encoded.

    Returns:
        Corners (x1, y1, x2, y2), shape `(P, 4)`, in the dtype of `offsets` and the unit of the
        priors.

    Raises:
        ValueError: If `offsets` is not floating, the shapes are not `(P, 4)`, or `variances` are
            not two positive numbers.

    Reference:
        Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, eq. 2. arXiv:1512.02325

    Examples:
        >>> import torch
        >>> priors = torch.tensor([[3.0, 3.0, 2.0, 4.0]])
        >>> decode_boxes(torch.tensor([[2.5, 2.5, 0.0, 0.0]]), priors)
        tensor([[2.5000, 2.0000, 4.5000, 6.0000]])
    """
    _check("offsets", offsets, "priors", priors, variances)

    wide = torch.promote_types(torch.promote_types(offsets.dtype, priors.dtype), torch.float32)
    centers, sizes = priors.to(wide).chunk(2, 1)
    shifts, scales = offsets.to(wide).chunk(2, 1)
    middles = centers + sizes * (variances[0] * shifts)
    halves = sizes * (variances[1] * scales).exp() / 2
    return torch.cat([middles - halves, middles + halves], 1).to(offsets.dtype)


def _check(
    name: str, rows: Tensor, other: str, others: Tensor, variances: tuple[float, float]
) -> None:
    if rows.dim() != 2 or rows.shape[1] != 4 or not rows.is_floating_point():
        raise ValueError(
            f"expected floating {name} of shape (P, 4), got {rows.dtype} {tuple(rows.shape)}"
        )
    if others.shape != rows.shape:
        raise ValueError(
            f"expected {other} of shape {tuple(rows.shape)}, got {tuple(others.shape)}"
        )
    if len(variances) != 2 or not all(variance > 0 for variance in variances):
        raise ValueError(f"expected variances to be two positive numbers, got {variances}")
