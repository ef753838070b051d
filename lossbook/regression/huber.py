"""Huber loss and smooth L1: quadratic near zero, linear in the tails.

Chapter: https://lossbook.example/regression/huber/
"""

from typing import Any

import torch
from torch import Tensor

__all__ = ["huber_loss", "smooth_l1_loss"]


def huber_loss(predictions: Tensor, targets: Tensor, *, delta: float | Tensor = 1.0) -> Tensor:
    """Huber loss, one value per element.

    With the residual r = prediction - target:

        loss = r^2 / 2                     where |r| <= delta
               delta (|r| - delta / 2)     elsewhere

    The slope never exceeds `delta`. As `delta` grows the loss becomes half the squared error;
    divided by `delta` it becomes the absolute error as `delta` shrinks.

    Args:
        predictions: Predicted values, shape `(*)`, any real numbers in the unit of the targets.
        targets: True values, shape `(*)`.
        delta: Residual at which the loss turns linear, positive, in the unit of the targets; a
            number or a tensor of shape `()`, whose value is not checked.
            The default 1.0 is PyTorch's; the paper leaves it to the noise level.

    Returns:
        The loss of each element, shape `(*)`, in the dtype of `predictions`.

    Raises:
        ValueError: If `predictions` is not floating, the shapes differ, `delta` is a number that is
            not positive or a tensor of another shape.

    Reference:
        Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35,
        1964.

    Examples:
        >>> import torch
        >>> huber_loss(torch.tensor([0.5, 8.0]), torch.tensor([0.0, 0.0]))
        tensor([0.1250, 7.5000])
    """
    if not predictions.is_floating_point():
        raise ValueError(f"expected floating predictions, got {predictions.dtype}")
    if predictions.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(predictions.shape)}, got {tuple(targets.shape)}"
        )
    if isinstance(delta, Tensor):
        if delta.dim():
            raise ValueError(f"expected delta of shape (), got {tuple(delta.shape)}")
    elif not delta > 0:
        raise ValueError(f"expected delta > 0, got {delta}")

    wide = torch.promote_types(predictions.dtype, torch.float32)
    residuals = predictions.to(wide) - targets.to(wide)
    bound: Any = delta if isinstance(delta, Tensor) else min(delta, torch.finfo(wide).max)
    clipped = residuals.clamp(-bound, bound)
    return (clipped * (residuals - clipped / 2)).to(predictions.dtype)


def smooth_l1_loss(predictions: Tensor, targets: Tensor, *, beta: float | Tensor = 1.0) -> Tensor:
    """Smooth L1 loss, one value per element: the Huber loss divided by its threshold.

    With the residual r = prediction - target:

        loss = r^2 / (2 beta)     where |r| <= beta
               |r| - beta / 2     elsewhere

    The slope in the tails is 1 whatever `beta` is; `beta = 0` is the absolute error.

    Args:
        predictions: Predicted values, shape `(*)`, any real numbers in the unit of the targets.
        targets: True values, shape `(*)`.
        beta: Residual at which the loss turns linear, at least 0, in the unit of the targets; a
            number or a tensor of shape `()`, whose value is not checked.
            The paper's 1.0 is the default.

    Returns:
        The loss of each element, shape `(*)`, in the dtype of `predictions`.

    Raises:
        ValueError: If `predictions` is not floating, the shapes differ, `beta` is a negative number
            or a tensor of another shape.

    Reference:
        Girshick, "Fast R-CNN", ICCV 2015, eq. 3. arXiv:1504.08083

    Examples:
        >>> import torch
        >>> smooth_l1_loss(torch.tensor([0.5, 8.0]), torch.tensor([0.0, 0.0]), beta=2.0)
        tensor([0.0625, 7.0000])
    """
    if not predictions.is_floating_point():
        raise ValueError(f"expected floating predictions, got {predictions.dtype}")
    if predictions.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(predictions.shape)}, got {tuple(targets.shape)}"
        )
    if isinstance(beta, Tensor):
        if beta.dim():
            raise ValueError(f"expected beta of shape (), got {tuple(beta.shape)}")
    elif not beta >= 0:
        raise ValueError(f"expected beta >= 0, got {beta}")

    wide = torch.promote_types(predictions.dtype, torch.float32)
    residuals = predictions.to(wide) - targets.to(wide)
    ends = torch.finfo(wide)
    if isinstance(beta, Tensor):
        # The slope that beta has through `clipped` is 0 times r - beta * clipped, or cut off.
        width: float | Tensor = beta.detach().to(wide).clamp_min(ends.tiny)
    else:
        beta = min(beta, ends.max)
        width = max(beta, ends.tiny)
    clipped = (residuals / width).clamp(-1, 1)  # At beta = 0 the sign.
    return (clipped * (residuals - beta * clipped / 2)).to(predictions.dtype)
