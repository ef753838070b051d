"""Huber loss and smooth L1: quadratic near zero, linear in the tails.

Chapter: https://lossbook.example/regression/huber/
"""

from typing import Any

import torch
from torch import Tensor

__all__ = ["huber_loss", "smooth_l1_loss"]


class _Huber(torch.autograd.Function):
    """c (r - c / 2), where c is r clipped to [-delta, delta]: also the slope, two passes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(r: Tensor, delta: Any) -> Tensor:
        clipped = r.clamp(-delta, delta)
        return torch.sub(r, clipped, alpha=0.5).mul_(clipped)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Any], _: Tensor) -> None:
        _keep(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        r, delta = _kept(ctx)
        to_delta = (r.abs() - delta).clamp_min(0) if ctx.needs_input_grad[1] else None
        return (
            gradient * r.clamp(-delta, delta) if ctx.needs_input_grad[0] else None,
            None if to_delta is None else (gradient * to_delta).sum(),
        )

    @staticmethod
    def jvp(ctx: Any, to_r: Tensor | None, to_delta: Tensor | None) -> Tensor:
        r, delta = _kept(ctx)
        change = torch.zeros_like(r) if to_r is None else to_r * r.clamp(-delta, delta)
        return change if to_delta is None else change + to_delta * (r.abs() - delta).clamp_min(0)


class _SmoothL1(torch.autograd.Function):
    """c (r - beta c / 2): the slope c is r / beta clipped to [-1, 1], at beta = 0 the sign."""

    generate_vmap_rule = True

    @staticmethod
    def forward(r: Tensor, beta: float | Tensor) -> Tensor:
        clipped = _in_betas(r, beta)
        if isinstance(beta, Tensor):
            return (r - beta / 2 * clipped).mul_(clipped)
        return torch.sub(r, clipped, alpha=beta / 2).mul_(clipped)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Any], _: Tensor) -> None:
        _keep(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        clipped = _in_betas(*_kept(ctx))
        return (
            gradient * clipped if ctx.needs_input_grad[0] else None,
            (gradient * clipped.square() / -2).sum() if ctx.needs_input_grad[1] else None,
        )

    @staticmethod
    def jvp(ctx: Any, to_r: Tensor | None, to_beta: Tensor | None) -> Tensor:
        clipped = _in_betas(*_kept(ctx))
        change = torch.zeros_like(clipped) if to_r is None else to_r * clipped
        return change if to_beta is None else change - to_beta * clipped.square() / 2


def _in_betas(r: Tensor, beta: float | Tensor) -> Tensor:
    least = torch.finfo(r.dtype).tiny
    return (r / (beta.clamp_min(least) if isinstance(beta, Tensor) else max(beta, least))).clamp(
        -1, 1
    )


def _keep(ctx: Any, r: Tensor, setting: float | Tensor) -> None:
    learned = isinstance(setting, Tensor)
    ctx.number = None if learned else setting
    ctx.save_for_backward(r, setting if learned else None)
    ctx.save_for_forward(r, setting if learned else None)


def _kept(ctx: Any) -> tuple[Tensor, Any]:
    r, setting = ctx.saved_tensors
    return r, ctx.number if setting is None else setting


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
    bound = delta.to(wide) if isinstance(delta, Tensor) else min(delta, torch.finfo(wide).max)
    # Compiled code fuses the slope itself.
    huber = _Huber.forward if torch.compiler.is_compiling() else _Huber.apply
    losses: Tensor = huber(residuals, bound)
    return losses.to(predictions.dtype)


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
    residuals = predictions.to(wide) - targets.to(wide)
    beta = beta.to(wide) if isinstance(beta, Tensor) else min(beta, torch.finfo(wide).max)
    smooth = _SmoothL1.forward if torch.compiler.is_compiling() else _SmoothL1.apply
    losses: Tensor = smooth(residuals, beta)
    return losses.to(predictions.dtype)
