"""Huber loss and smooth L1: quadratic near zero, linear in the tails.

Chapter: https://lossbook.example/regression/huber/
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

__all__ = ["huber_loss", "smooth_l1_loss"]


def _huber(r: Tensor, delta: Any) -> Tensor:
    """Compute c (r - c / 2), where c is r clipped to [-delta, delta]."""
    if isinstance(delta, Tensor) or not _in_reverse_mode(r):
        clipped = r.clamp(-delta, delta)
        return clipped * (r - clipped / 2)
    losses: Tensor = _Huber.apply(r, delta)  # type: ignore[no-untyped-call]
    return losses


class _Huber(torch.autograd.Function):
    """The same: the slope is c, two passes over memory."""

    @staticmethod
    def forward(ctx: Any, r: Tensor, delta: float) -> Tensor:
        ctx.save_for_backward(r)
        ctx.delta = delta
        clipped = r.clamp(-delta, delta)
        return torch.sub(r, clipped, alpha=0.5).mul_(clipped)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (r,) = ctx.saved_tensors
        return gradient * r.clamp(-ctx.delta, ctx.delta), None


def _smooth_l1(r: Tensor, beta: float | Tensor) -> Tensor:
    """Compute c (r - beta c / 2), where c is r / beta clipped to [-1, 1], at beta = 0 the sign."""
    if isinstance(beta, Tensor) or not _in_reverse_mode(r):
        clipped = _in_betas(r, beta)
        return clipped * (r - beta / 2 * clipped)
    losses: Tensor = _SmoothL1.apply(r, beta)  # type: ignore[no-untyped-call]
    return losses


class _SmoothL1(torch.autograd.Function):
    """The same: the slope is c."""

    @staticmethod
    def forward(ctx: Any, r: Tensor, beta: float) -> Tensor:
        ctx.save_for_backward(r)
        ctx.beta = beta
        clipped = _in_betas(r, beta)
        return torch.sub(r, clipped, alpha=beta / 2).mul_(clipped)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (r,) = ctx.saved_tensors
        return gradient * _in_betas(r, ctx.beta), None


def _in_betas(r: Tensor, beta: float | Tensor) -> Tensor:
    least = torch.finfo(r.dtype).tiny
    if isinstance(beta, Tensor):  # A quotient that overflows has a nan slope in beta.
        tail = r.abs() > beta
        return torch.where(tail, r.sign(), r.where(~tail, 0) / beta.clamp_min(least))
    return (r / max(beta, least)).clamp(-1, 1)


def _in_reverse_mode(*inputs: Tensor) -> bool:
    """Whether an own backward helps.

    Not torch.compile, which needs no help, nor torch.func and forward mode, where such a function
    is slow and cannot be nested.
    """
    in_torch_func = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)()
    in_forward_mode = any(unpack_dual(x).tangent is not None for x in inputs)  # type: ignore[no-untyped-call]
    return not (torch.compiler.is_compiling() or in_torch_func or in_forward_mode)


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
    residuals = predictions.to(dtype=wide) - targets.to(dtype=wide)
    bound = delta.to(wide) if isinstance(delta, Tensor) else min(delta, torch.finfo(wide).max)
    return _huber(residuals, bound).to(dtype=predictions.dtype)


def smooth_l1_loss(predictions: Tensor, targets: Tensor, *, beta: float | Tensor = 1.0) -> Tensor:
    """Smooth L1 loss, one value per element: the Huber loss divided by its threshold.

    With the residual r = prediction - target:

        loss = r^2 / (2 beta)     where |r| < beta
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
    residuals = predictions.to(dtype=wide) - targets.to(dtype=wide)
    beta = beta.to(wide) if isinstance(beta, Tensor) else min(beta, torch.finfo(wide).max)
    return _smooth_l1(residuals, beta).to(dtype=predictions.dtype)
