"""Cross entropy: the negative log-probability that a softmax gives to the truth.

Chapter: https://lossbook.example/classification/cross_entropy/
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

__all__ = ["cross_entropy"]


def _surprises(x: Tensor, truth: Tensor, with_mean: bool) -> tuple[Tensor, Tensor | None]:
    """-log softmax(x) of the true class, with its digits where it is nearly 0, and its mean."""
    if _in_reverse_mode(x):
        surprise, mean, _ = _InOneTable.apply(x, truth, with_mean)  # type: ignore[no-untyped-call]
        return surprise, mean
    top = x.detach().amax(1, keepdim=True)
    lead = x.gather(1, truth) - top
    others = (x - top).scatter(1, truth, -math.inf).exp().sum(1, keepdim=True)
    log_sum = (others + lead.expm1()).log1p()
    return log_sum - lead, log_sum - (x - top).mean(1, keepdim=True) if with_mean else None


def _expected(x: Tensor, targets: Tensor) -> Tensor:
    """-sum_j targets_j log softmax(x)_j, with its digits where one class is nearly certain."""
    best = x.argmax(1, keepdim=True)
    gaps = (x.gather(1, best) - x).scatter(1, best, 0)
    log_sum = gaps.scatter(1, best, math.inf).neg().exp().sum(1).log1p()
    # A class ruled out by a logit of -inf costs nothing where its target is 0: 0 log 0 = 0.
    gaps = gaps.masked_fill((targets == 0) & gaps.isposinf(), 0)
    return (targets * gaps).sum(1) + targets.sum(1) * log_sum


class _InOneTable(torch.autograd.Function):
    """The same, for which autograd would go through several tables as large as x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, truth: Tensor, with_mean: bool
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        top = x.amax(1, keepdim=True)
        lead, table = x.gather(1, truth) - top, x - top
        mean = table.mean(1, keepdim=True) if with_mean else None
        others = table.exp_().scatter_(1, truth, 0).sum(1, keepdim=True)
        above_1 = others + lead.expm1()
        log_sum = above_1.log1p()
        # p - 1 of the truth is -others / sum, which has more digits.
        slope = table.scatter_(1, truth, -others).div_(above_1 + 1)
        surprise = log_sum - lead
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(truth, surprise, slope)
        return surprise, None if mean is None else log_sum - mean, slope

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None]:
        to_surprise, to_mean, to_slope = gradients
        truth, surprise, slope = ctx.saved_tensors
        if to_surprise is None:
            to_surprise = torch.zeros_like(surprise)
        if to_mean is None:
            result = to_surprise * slope
        else:
            log_p, share = -surprise, 1 / slope.shape[1]
            of_truth = to_surprise * log_p.expm1() + to_mean * (log_p.exp() - share)
            result = torch.addcmul(-share * to_mean, to_surprise + to_mean, slope)
            result = result.scatter(1, truth, of_truth)
        if to_slope is not None:  # In a second derivative.
            p = slope.scatter(1, truth, (-surprise).exp())
            result = result + p * (to_slope - (p * to_slope).sum(1, keepdim=True))
        return result, None, None


def _in_reverse_mode(*inputs: Tensor) -> bool:
    """Whether an own backward helps.

    Not torch.compile, which needs no help, nor torch.func and forward mode, where such a function
    is slow and cannot be nested.
    """
    in_torch_func = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)()
    in_forward_mode = any(unpack_dual(x).tangent is not None for x in inputs)  # type: ignore[no-untyped-call]
    return not (torch.compiler.is_compiling() or in_torch_func or in_forward_mode)


def cross_entropy(
    logits: Tensor, labels: Tensor, *, label_smoothing: float | Tensor = 0.0
) -> Tensor:
    """Softmax cross entropy, one value per position, in nats.

    With target probabilities q (one-hot for integer labels) and label smoothing epsilon:

        loss = -sum_j q'_j log softmax(logits)_j,    q' = (1 - epsilon) q + epsilon / C

    Without smoothing and for an integer label y this is logsumexp(logits) - logits_y.

    Args:
        logits: Unnormalized scores, shape `(N, C, *)`. No softmax before this loss. -inf rules a
            class out: it costs 0 where its target is 0, else inf.
        labels: Integer classes in [0, C), int64 of shape `(N, *)`; or target probabilities that
            sum to 1 over the classes, floating, shape `(N, C, *)`. Values are not checked.
        label_smoothing: Probability mass epsilon in [0, 1) spread evenly over all C classes; a
            number or a tensor of shape `()`, whose value is not checked.

    Returns:
        The loss of each position, shape `(N, *)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating or has fewer than two dimensions, the shapes
            disagree, `labels` are uint8, or `label_smoothing` is a number outside [0, 1) or a
            tensor of another shape.

    Reference:
        Good, "Rational Decisions", Journal of the Royal Statistical Society B 14, 1952.
        Label smoothing: Szegedy et al., "Rethinking the Inception Architecture for Computer
        Vision", CVPR 2016, section 7. arXiv:1512.00567

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
        >>> cross_entropy(logits, torch.tensor([0, 1]))
        tensor([0.6931, 2.1269])
    """
    if logits.dim() < 2 or not logits.is_floating_point():
        raise ValueError(
            f"expected floating logits of shape (N, C, *), got {logits.dtype} {tuple(logits.shape)}"
        )
    if labels.dtype == torch.uint8:
        raise ValueError("expected labels of dtype int64 (labels.long()), got torch.uint8")
    soft = labels.is_floating_point()
    expected = logits.shape if soft else logits.shape[:1] + logits.shape[2:]
    if labels.shape != expected:
        kind = "target probabilities" if soft else "integer labels"
        raise ValueError(f"expected {kind} of shape {tuple(expected)}, got {tuple(labels.shape)}")
    if isinstance(label_smoothing, Tensor):
        if label_smoothing.dim():
            raise ValueError(
                f"expected label_smoothing of shape (), got {tuple(label_smoothing.shape)}"
            )
    elif not 0 <= label_smoothing < 1:
        raise ValueError(f"expected label_smoothing in [0, 1), got {label_smoothing}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    x, epsilon = logits.to(wide), label_smoothing
    epsilon = epsilon.to(wide) if isinstance(epsilon, Tensor) else float(epsilon)
    if soft:
        losses = _expected(x, (1 - epsilon) * labels.to(wide) + epsilon / x.shape[1])
    else:
        smoothed = isinstance(epsilon, Tensor) or epsilon > 0
        losses, uniform = _surprises(x, labels.unsqueeze(1), smoothed)
        if uniform is not None:
            # Without smoothing a class that is ruled out costs nothing.
            uniform = uniform.masked_fill(uniform.isposinf() & (epsilon == 0), 0)
            losses = (1 - epsilon) * losses + epsilon * uniform
        losses = losses.sum(1)  # Of one: a copy, since the slope needs what was summed.
    return losses.to(logits.dtype)
