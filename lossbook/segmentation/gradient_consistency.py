"""Gradient consistency loss: a mask should have its edges where the image has them.

Chapter: https://lossbook.example/segmentation/gradient_consistency/
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["gradient_consistency_loss", "image_gradient_loss"]


def gradient_consistency_loss(masks: Tensor, images: Tensor) -> Tensor:
    """Mask-image gradient consistency loss, one value per image, in [0, 1].

    With M and I the gradients of mask and image at a pixel, by Sobel's filter with a replicated
    border, and phi the angle between them, summed over the pixels:

        loss = sum |M| (1 - cos^2 phi) / sum |M|

    Only where the mask changes does it cost, and only by the direction: neither the contrast of
    the image counts nor which side is the brighter. Where the image is flat the cosine is 0. A
    constant mask costs 0 and gets no gradient, so the paper adds the loss to a cross entropy.

    Args:
        masks: Predicted masks, shape `(N, 1, H, W)`: probabilities, no logits. Values are not
            checked.
        images: Gray images, shape `(N, 1, H, W)`, in any unit.

    Returns:
        The loss of each image, shape `(N,)`, in the dtype of `masks`.

    Raises:
        ValueError: If `masks` is not floating or not of shape `(N, 1, H, W)`, or the shapes
            differ.

    Reference:
        Levinshtein et al., "Real-Time Deep Hair Matting on Mobile Devices", CRV 2018.
        arXiv:1712.07168

    Examples:
        >>> import torch
        >>> images = torch.arange(4.0).expand(2, 1, 4, 4)
        >>> masks = torch.stack([images[0], images[1].mT]) / 3
        >>> gradient_consistency_loss(masks, images)
        tensor([0., 1.])
    """
    if masks.dim() != 4 or masks.shape[1] != 1 or not masks.is_floating_point():
        raise ValueError(
            f"expected floating masks of shape (N, 1, H, W), got {masks.dtype} {tuple(masks.shape)}"
        )
    if images.shape != masks.shape:
        raise ValueError(
            f"expected images of shape {tuple(masks.shape)}, got {tuple(images.shape)}"
        )

    wide = torch.promote_types(torch.promote_types(masks.dtype, images.dtype), torch.float32)
    mask_x, mask_y, weights = _direction(masks.to(wide))
    image_x, image_y, contrasts = _direction(images.to(wide))
    # A sine, since 1 - cos^2 has no digits where the two are parallel.
    sines = mask_x * image_y - mask_y * image_x
    costs = (weights * sines.square().where(contrasts != 0, 1)).flatten(1).sum(1)
    totals = weights.flatten(1).sum(1)
    return (costs / totals.where(totals != 0, 1)).to(masks.dtype)


def image_gradient_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Image gradient loss, one value per image: the absolute error of neighboring differences.

    With e = prediction - target and each mean over the channels and all pairs of neighbors:

        loss = mean |e[y, x + 1] - e[y, x]| + mean |e[y + 1, x] - e[y, x]|

    Matting knows it as the gradient loss, as it does `gradient_consistency_loss`, which compares
    with the image and not with a true matte. A constant error costs nothing, so it goes with a
    loss per pixel. One pixel has no neighbors: a side of length 1 adds 0.

    Args:
        predictions: Predicted mattes or images, shape `(N, C, H, W)`.
        targets: True ones, shape `(N, C, H, W)`, in the unit of the predictions.

    Returns:
        The loss of each image, shape `(N,)`, in the dtype of `predictions`.

    Raises:
        ValueError: If `predictions` is not floating or not of four dimensions, or the shapes
            differ.

    Reference:
        Among the losses tried by Forte and Pitié, "F, B, Alpha Matting", 2020. arXiv:2003.07711

    Examples:
        >>> import torch
        >>> predictions = torch.tensor([[[[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]]]])
        >>> targets = torch.tensor([[[[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]]])
        >>> image_gradient_loss(predictions, targets)
        tensor([0.5000])
    """
    if predictions.dim() != 4 or not predictions.is_floating_point():
        raise ValueError(
            "expected floating predictions of shape (N, C, H, W), "
            f"got {predictions.dtype} {tuple(predictions.shape)}"
        )
    if targets.shape != predictions.shape:
        raise ValueError(
            f"expected targets of shape {tuple(predictions.shape)}, got {tuple(targets.shape)}"
        )

    wide = torch.promote_types(torch.promote_types(predictions.dtype, targets.dtype), torch.float32)
    errors = predictions.to(wide) - targets.to(wide)
    across, down = (
        steps.abs().flatten(1).sum(1) / max(1, steps.shape[1:].numel())
        for steps in (errors.diff(dim=3), errors.diff(dim=2))
    )
    return (across + down).to(predictions.dtype)


def _direction(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sobel's gradient as a vector of length 1 and its length; all 0 where `x` is flat."""
    x = pad(x, (1, 1, 1, 1), mode="replicate")
    right = x[..., 2:] - x[..., :-2]
    right = right[..., :-2, :] + 2 * right[..., 1:-1, :] + right[..., 2:, :]
    down = x[..., 2:, :] - x[..., :-2, :]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    # The root of 0 has an infinite slope, which no mask behind it stops; and the slope of a unit
    # vector, the inverse of the length, must fit.
    least = 64 * torch.finfo(x.dtype).tiny
    flat = (right.abs() < least) & (down.abs() < least)
    lengths = torch.hypot(right.masked_fill(flat, 1), down)
    return right / lengths, down / lengths, lengths.masked_fill(flat, 0)
