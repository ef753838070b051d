"""Squared error: the loss whose best constant prediction is the mean.

Chapter: https://lossbook.example/regression/squared_error/
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

__all__ = ["squared_error"]


class _Square(torch.autograd.Function):
    """r^2, whose slope 2 r makes one tensor; torch's own makes more."""

    @staticmethod
    def forward(ctx: Any, r: Tensor) -> Tensor:
        ctx.save_for_backward(r)
        return r * r

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (r,) = ctx.saved_tensors
        slope: Tensor = r * gradient
        return slope.add_(slope)


def _square(r: Tensor) -> Tensor:
    if not _in_reverse_mode(r):
        return r * r
    square: Tensor = _Square.apply(r)  # type: ignore[no-untyped-call]
    return square


def _in_reverse_mode(*inputs: Tensor) -> bool:
    """Whether an own backward helps.

    Not torch.compile, which needs no help, nor torch.func and forward mode, where such a function
    is slow and cannot be nested.
    """
    in_torch_func = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)()
    in_forward_mode = any(unpack_dual(x).tangent is not None for x in inputs)  # type: ignore[no-untyped-call]
    return not (torch.compiler.is_compiling() or in_torch_func or in_forward_mode)


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Squared error, one value per element.

    With the residual r = prediction - target:

        loss = r ^ 2

    Up to a factor and a constant it is the negative log-likelihood of a Gaussian of fixed
    variance, which is r^2 / 2: the slope here is 2 r. The mean of the losses is the MSE.

    Args:
        predictions: Predicted values, shape `(*)`, any real numbers in the unit of the targets.
        targets: True values, shape `(*)`.

    Returns:
        The loss of each element, shape `(*)`, in the squared unit of the targets and the dtype of
        `predictions`; inf where the square does not fit it (in float16 from |r| = 256).

    Raises:
        ValueError: If `predictions` is not floating or the shapes differ.

    Reference:
        Gauss, "Theoria motus corporum coelestium in sectionibus conicis solem ambientium",
        Perthes and Besser, 1809.

    Examples:
        >>> import torch
        >>> squared_error(torch.tensor([0.5, 8.0]), torch.tensor([0.0, 11.0]))
        tensor([0.2500, 9.0000])
    """
    if not predictions.is_floating_point():
        raise ValueError(f"expected floating predictions, got {predictions.dtype}")
    if predictions.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(predictions.shape)}, got {tuple(targets.shape)}"
        )

    wide = torch.promote_types(predictions.dtype, torch.float32)
    residuals = predictions.to(dtype=wide) - targets.to(dtype=wide)
    return _square(residuals).to(dtype=predictions.dtype)
