"""KL divergence: the nats lost by coding one distribution with the code of another.

Chapter: https://lossbook.example/distribution/kl_divergence/
"""

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["kl_divergence"]


class _Divergence(torch.autograd.Function):
    """KL(q || p) from logits, as a sum of terms that cannot be negative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, target_logits: Tensor, dim: int) -> Tensor:
        log_p, log_q = logits.log_softmax(dim), target_logits.log_softmax(dim)
        size = (log_p - log_q).abs_().nan_to_num_(math.inf, math.inf)  # Both ruled out.
        p, q = log_p.exp_(), log_q.exp_()
        # q (e^d - 1 - d) = | |p - q| - q |d| |, where |p - q| = max(p, q) (1 - e^-|d|) in digits
        # that a difference has not.
        change = (-size).expm1_().mul_(torch.maximum(p, q))
        surprise = size.mul_(q).nan_to_num_(0, math.inf)  # 0 log 0 = 0.
        return change.add_(surprise).abs_().sum(dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], _: Tensor) -> None:
        logits, target_logits, ctx.dim = inputs
        ctx.save_for_backward(logits, target_logits)
        ctx.save_for_forward(logits, target_logits)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        logits, target_logits = ctx.saved_tensors
        gradient = gradient.unsqueeze(ctx.dim)
        slope = gradient * _slope(logits, target_logits, ctx.dim)
        if not ctx.needs_input_grad[1]:
            return slope, None, None
        return slope, gradient * _target_slope(logits, target_logits, ctx.dim), None


class _WithForwardMode(_Divergence):
    """Apart, since torch.compile takes no function that has a jvp."""

    @staticmethod
    def jvp(ctx: Any, change: Tensor, target_change: Tensor, _: None) -> Tensor:
        logits, target_logits = ctx.saved_tensors
        slope = _slope(logits, target_logits, ctx.dim)
        target_slope = _target_slope(logits, target_logits, ctx.dim)
        return (slope * change + target_slope * target_change).sum(ctx.dim)


def _slope(logits: Tensor, target_logits: Tensor, dim: int) -> Tensor:
    return logits.softmax(dim) - target_logits.softmax(dim)


def _target_slope(logits: Tensor, target_logits: Tensor, dim: int) -> Tensor:
    log_q = target_logits.log_softmax(dim)
    q = log_q.exp()
    gaps = (log_q - logits.log_softmax(dim)).where(q > 0, 0)
    return q * (gaps - (q * gaps).sum(dim, keepdim=True))


def kl_divergence(logits: Tensor, target_logits: Tensor, *, dim: int = 1) -> Tensor:
    """Kullback-Leibler divergence of predictions from targets, one value per distribution, in nats.

    With p = softmax(logits), the prediction, and q = softmax(target_logits), the target:

        loss = KL(q || p) = sum_j q_j (log q_j - log p_j)

    It is 0 where p = q, and otherwise positive. It is the cross entropy of q and p less the
    entropy of q, so a fixed target gives both the same gradient, p - q. A target probability of
    0 costs 0, whatever its prediction; a predicted 0 where the target is not 0 costs inf.

    Near p = q the terms of this sum cancel; those that are summed here are q (e^d - 1 - d) with
    d = log(p / q), of the same sum, and none of them is negative.

    Args:
        logits: Unnormalized log-probabilities of the prediction, shape `(*)`. Log-probabilities
            are a special case; probabilities are not. -inf is a probability of 0.
        target_logits: Unnormalized log-probabilities of the target, shape `(*)`. It gets a
            gradient, too: detach it where the target must stay.
        dim: Dimension over which each distribution sums to 1. The default 1 is the book's.

    Returns:
        The divergence of each distribution, shape `(*)` without `dim`, in the dtype of `logits`.

    Raises:
        ValueError: If an input is not floating or the shapes differ.

    Reference:
        Kullback and Leibler, "On Information and Sufficiency", Annals of Mathematical Statistics
        22, 1951.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
        >>> kl_divergence(logits, torch.tensor([[0.0, 0.0], [0.0, -torch.inf]]))
        tensor([0.0000, 0.6931])
    """
    for name, x in (("logits", logits), ("target_logits", target_logits)):
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
    if logits.shape != target_logits.shape:
        raise ValueError(
            f"expected target_logits of shape {tuple(logits.shape)}, "
            f"got {tuple(target_logits.shape)}"
        )

    wide = torch.promote_types(logits.dtype, torch.float32)
    divergence = _Divergence if torch.compiler.is_compiling() else _WithForwardMode
    losses: Tensor = divergence.apply(logits.to(dtype=wide), target_logits.to(dtype=wide), dim)  # type: ignore[no-untyped-call]
    return losses.to(logits.dtype)
