"""Binary cross entropy: the negative log-probability that a sigmoid gives to the truth.

Chapter: https://lossbook.example/classification/binary_cross_entropy/
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import logsigmoid

__all__ = ["binary_cross_entropy"]


def _sides(x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
    """(1 - y) softplus(x) + w y softplus(-x), where a side of weight 0 costs 0 at infinity, too."""
    if _in_reverse_mode(x, y) and (w is None or _in_reverse_mode(w)):
        losses: Tensor = _InPlace.apply(x, y, w)  # type: ignore[no-untyped-call]
        return losses
    # An infinite logit on the wrong side adds inf; the rest sees the largest number.
    most = torch.finfo(x.dtype).max
    finite, yes = x.clamp(-most, most), y if w is None else w * y
    wrong = ((x - finite).abs() * torch.where(x > 0, 1 - y, yes)).detach().nan_to_num(0, math.inf)
    return wrong - yes * logsigmoid(finite) - (1 - y) * logsigmoid(-finite)


class _InPlace(torch.autograd.Function):
    """The same, with a slope of three passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, y, w)
        # softplus(x) = max(x, 0) + log(1 + e^-|x|), and softplus(-x) = softplus(x) - x.
        far = x.sign().clamp_min_(0).sub_(y)
        near = x.abs().neg_().exp_().log1p_()
        if w is not None:
            far.mul_(torch.where(x > 0, 1, w))
            near.mul_(w * y + (1 - y))
        # 0 times infinity is nan, and costs 0; a nan among y stays one.
        return far.mul_(x).nan_to_num_(0, math.inf).add_(y, alpha=0).add_(near)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(
            gradient * slope(*ctx.saved_tensors) if wanted else None
            for slope, wanted in zip(_SLOPES, ctx.needs_input_grad, strict=True)
        )


def _to_logit(x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
    return x.sigmoid() - y if w is None else (1 - y) * x.sigmoid() - w * y * (-x).sigmoid()


def _to_target(x: Tensor, _: Tensor, w: Tensor | None) -> Tensor:
    most = torch.finfo(x.dtype).max
    if w is None:
        return -x.clamp(-most, most)
    return (logsigmoid(-x) - w * logsigmoid(x)).clamp(-most, most)


def _to_weight(x: Tensor, y: Tensor, _: Tensor | None) -> Tensor:
    return -y * logsigmoid(x).clamp_min(torch.finfo(x.dtype).min)


_SLOPES = _to_logit, _to_target, _to_weight


def _in_reverse_mode(*inputs: Tensor) -> bool:
    """Whether an own backward helps.

    Not torch.compile, which needs no help, nor torch.func and forward mode, where such a function
    is slow and cannot be nested.
    """
    in_torch_func = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)()
    in_forward_mode = any(unpack_dual(x).tangent is not None for x in inputs)  # type: ignore[no-untyped-call]
    return not (torch.compiler.is_compiling() or in_torch_func or in_forward_mode)


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, *, pos_weight: float | Tensor | None = None
) -> Tensor:
    """Binary cross entropy over a sigmoid, one value per logit, in nats.

    With p the sigmoid of the logit x, target y and positive weight w:

        loss = -w y log p - (1 - y) log(1 - p) = (1 - y) x - (1 + (w - 1) y) log p

    Several logits per example are so many independent yes-or-no questions.

    Args:
        logits: Scores, shape `(*)`. No sigmoid before this loss. An infinite one is certain: it
            costs 0 where it is right, inf where it is wrong or the target is neither 0 nor 1.
        targets: Probabilities of a yes in [0, 1], shape `(*)`. Values are not checked.
        pos_weight: Weight w of the positive term: a number or a tensor of one element; or a tensor
            of shape `(C,)` with one weight per class on dimension 1 of `logits`. None is 1.

    Returns:
        The loss of each logit, shape `(*)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating, `targets` has another shape, or a `pos_weight`
            tensor has neither one element nor one per class on dimension 1.

    Reference:
        Good, "Rational Decisions", Journal of the Royal Statistical Society B 14, 1952.
        Cox, "The Regression Analysis of Binary Sequences", Journal of the Royal Statistical
        Society B 20, 1958.

    Examples:
        >>> import torch
        >>> binary_cross_entropy(torch.tensor([0.0, -3.0]), torch.tensor([1.0, 1.0]))
        tensor([0.6931, 3.0486])
    """
    if not logits.is_floating_point():
        raise ValueError(f"expected floating logits, got {logits.dtype}")
    if logits.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(logits.shape)}, got {tuple(targets.shape)}"
        )
    wide = torch.promote_types(logits.dtype, torch.float32)
    if isinstance(pos_weight, Tensor) and pos_weight.numel() != 1:
        if logits.dim() < 2 or pos_weight.shape != logits.shape[1:2]:
            raise ValueError(
                "expected pos_weight to be a number, of one element or of shape (C,) for logits "
                f"(N, C, *), got {tuple(pos_weight.shape)} for {tuple(logits.shape)}"
            )
        pos_weight = pos_weight.reshape(-1, *[1] * (logits.dim() - 2))
    elif pos_weight is not None:
        pos_weight = torch.as_tensor(pos_weight, dtype=wide, device=logits.device).reshape(())
    w = None if pos_weight is None else pos_weight.to(wide).expand(logits.shape)

    losses = _sides(logits.to(dtype=wide), targets.to(dtype=wide), w)
    return losses.to(dtype=logits.dtype)
