"""Perceptual losses: images compared by the features that a fixed network sees in them.

Chapter: https://lossbook.example/image/perceptual/
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["perceptual_loss", "style_loss"]


class _SquaredDistances(torch.autograd.Function):
    """|x - y|^2 of each image. For the slope the difference is taken again, and not kept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return _apart(x, y).square().sum((1, 2, 3))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        slope = (2 * gradient)[:, None, None, None] * _apart(x, y)
        to_x, to_y = ctx.needs_input_grad
        return slope.to(x.dtype) if to_x else None, -slope.to(y.dtype) if to_y else None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, dy: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        change: Tensor = 2 * _apart(x, y) * _apart(dx, dy)
        return change.sum((1, 2, 3))


def _apart(x: Tensor, y: Tensor) -> Tensor:
    wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return x.to(wide) - y.to(wide)


def perceptual_loss(features: Sequence[Tensor], target_features: Sequence[Tensor]) -> Tensor:
    """Perceptual (feature reconstruction) loss, one value per image.

    With F_j and T_j the features of the two images in layer j, of C_j channels and H_j W_j
    positions:

        loss = sum_j |F_j - T_j|^2 / (C_j H_j W_j)

    Args:
        features: Features of the predicted images, one tensor per layer, each of shape
            `(N, C_j, H_j, W_j)`. The paper takes layer relu2_2 of VGG-16; its authors' code takes
            relu3_3 for style transfer. What the network expects of its input (range, mean and
            deviation of the channels) is the caller's to do, alike for both images.
        target_features: Features of the true images, of the same shapes `(N, C_j, H_j, W_j)`.

    Returns:
        The loss of each image, shape `(N,)`, in the dtype of the first features.

    Raises:
        ValueError: If the lists are empty or of unequal length, features are not floating or not
            of four dimensions, or the shapes differ.

    Reference:
        Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
        Super-Resolution", ECCV 2016, eq. 2. arXiv:1603.08155

    Examples:
        >>> import torch
        >>> features = [torch.zeros(1, 2, 4, 4), torch.ones(1, 3, 2, 2)]
        >>> perceptual_loss(features, [torch.full((1, 2, 4, 4), 2.0), features[1]])
        tensor([4.])
    """
    _check(features, target_features)

    # Compiled code fuses the slope itself.
    compiled = torch.compiler.is_compiling()
    distances = _SquaredDistances.forward if compiled else _SquaredDistances.apply
    loss = torch.zeros((), device=features[0].device)
    for x, y in zip(features, target_features, strict=True):
        loss = loss + distances(x, y) / x.shape[1:].numel()
    return loss.to(features[0].dtype)


def style_loss(features: Sequence[Tensor], target_features: Sequence[Tensor]) -> Tensor:
    """Style loss, one value per image: the distance of the Gram matrices of its features.

    With F_j and T_j the features of the two images in layer j, as matrices of C_j channels times
    H_j W_j positions, and the Frobenius norm:

        loss = sum_j |G(F_j) - G(T_j)|^2,    G(F) = F F' / (C_j H_j W_j)

    A Gram matrix holds which channels are active together, and not where.

    Args:
        features: Features of the predicted images, one tensor per layer, each of shape
            `(N, C_j, H_j, W_j)`. The paper takes layers relu1_2, relu2_2, relu3_3 and relu4_3 of
            VGG-16.
        target_features: Features of the images that have the style, of the same shapes
            `(N, C_j, H_j, W_j)`.

    Returns:
        The loss of each image, shape `(N,)`, in the dtype of the first features. The norm is a
        sum over the C_j^2 entries; libraries that average them give it C_j^2 times smaller.

    Raises:
        ValueError: If the lists are empty or of unequal length, features are not floating or not
            of four dimensions, or the shapes differ.

    Reference:
        Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
        Super-Resolution", ECCV 2016, eq. 3 and 4. arXiv:1603.08155

    Examples:
        >>> import torch
        >>> features = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
        >>> style_loss([features], [torch.ones(1, 2, 1, 2)])
        tensor([0.6250])
    """
    _check(features, target_features)

    loss = torch.zeros((), device=features[0].device)
    for x, y in zip(features, target_features, strict=True):
        loss = loss + (_gram(x) - _gram(y)).square().sum((1, 2))
    return loss.to(features[0].dtype)


def _gram(features: Tensor) -> Tensor:
    wide = torch.promote_types(features.dtype, torch.float32)
    matrix = features.to(wide).flatten(2)
    kind = features.device.type
    with torch.autocast("cpu" if kind == "meta" else kind, enabled=False):
        return matrix @ matrix.mT / (matrix.shape[1] * matrix.shape[2])


def _check(features: Sequence[Tensor], target_features: Sequence[Tensor]) -> None:
    if len(features) != len(target_features) or len(features) == 0:
        raise ValueError(
            "expected features and target_features of as many layers, at least one, "
            f"got {len(features)} and {len(target_features)}"
        )
    for x, y in zip(features, target_features, strict=True):
        if x.dim() != 4 or len(x) != len(features[0]) or not x.is_floating_point():
            raise ValueError(
                f"expected floating features of shape ({len(features[0])}, C, H, W), "
                f"got {x.dtype} {tuple(x.shape)}"
            )
        if y.shape != x.shape:
            raise ValueError(
                f"expected target_features of shape {tuple(x.shape)}, got {tuple(y.shape)}"
            )
