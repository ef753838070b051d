"""Bi-tempered logistic loss: a bounded cross entropy of heavy-tailed probabilities.

Chapter: https://lossbook.example/classification/bi_tempered/
"""

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["bi_tempered_loss", "tempered_softmax"]


class _LogTemperedSoftmax(torch.autograd.Function):
    """Logarithm of the tempered softmax for t != 1; -inf where the probability is 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, t: float, dim: int) -> Tensor:
        tau = t - 1
        top = logits.amax(dim, keepdim=True)
        gaps = top - logits

        def stretched(z: Tensor) -> Tensor:
            # The bound keeps the factor above 0 in float32: a class ruled out has an infinite gap.
            factor = tau * torch.exp((-tau * z).clamp_min(-80))
            return (factor * gaps).clamp_min_(-1)

        # p = q / Z with Z = exp(z) = 1 / max p and q = exp_t(-Z^(1 - t) gaps). As a function of
        # lambda, (sum p)^(1 - t) bends one way only, so Newton's method climbs to its root, from
        # lambda = max(logits), without overshooting. In a search over C up to 30,000, gaps up to
        # 1e12 and t from 0.05 to 20 these steps always left rounding errors only.
        z = torch.zeros_like(top)
        for _ in range(5 + min(12, round(12 * abs(tau)))):
            x = stretched(z)
            q = x.log1p().div_(-tau).exp_()
            q_t = (q / x.add_(1)).nan_to_num_(0)  # q^t; 0 / 0 where the tail is cut off.
            total, total_t = q.sum(dim, keepdim=True), q_t.sum(dim, keepdim=True)
            curve = (total / total_t - 1) * -torch.expm1(tau * (z - total.log()))
            z = total.log() + curve.log1p() / tau
        log_q = stretched(z).log1p_().div_(-tau)
        return log_q - log_q.exp().sum(dim, keepdim=True).log()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, int], output: Tensor) -> None:
        _, ctx.t, ctx.dim = inputs
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # d log p_i / d a_j = p_i^(t - 1) (1[i = j] - e_j), where e is p^t divided by its sum.
        (log_p,) = ctx.saved_tensors
        cut = log_p == -math.inf
        powers = ((ctx.t - 1) * log_p.masked_fill(cut, 0)).exp().masked_fill(cut, 0)
        slopes = powers * gradient
        escort = (ctx.t * log_p).softmax(ctx.dim)
        return slopes - escort * slopes.sum(ctx.dim, keepdim=True), None, None


def _log_tempered_softmax(logits: Tensor, t: float, dim: int) -> Tensor:
    if t == 1:
        return logits.log_softmax(dim)
    log_p: Tensor = _LogTemperedSoftmax.apply(logits, t, dim)  # type: ignore[no-untyped-call]
    return log_p


def _log_t(log_x: Tensor, t: float) -> Tensor:
    """Tempered logarithm (x^(1 - t) - 1) / (1 - t) from the natural one."""
    return log_x if t == 1 else ((1 - t) * log_x).expm1() / (1 - t)


def tempered_softmax(logits: Tensor, *, t: float, dim: int = 1) -> Tensor:
    """Tempered softmax: probabilities whose tails a temperature makes heavy or cuts off.

    Helper of `bi_tempered_loss`.

    With activations a, and lambda such that the probabilities sum to 1:

        p_i = exp_t(a_i - lambda),    exp_t(x) = max(0, 1 + (1 - t) x)^(1 / (1 - t))

    t = 1 is the softmax. Above 1 the tails fall like a power, below 1 they are exactly 0 from
    1 / (1 - t) below lambda on.

    Args:
        logits: Activations a, shape `(*)`.
        t: Temperature, positive.
        dim: Dimension that sums to 1.

    Returns:
        The probabilities, shape `(*)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating or `t` is not positive.

    Reference:
        Amid et al., "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences", NeurIPS
        2019. arXiv:1906.03361

    Examples:
        >>> import torch
        >>> tempered_softmax(torch.tensor([[2.0, 0.0, -2.0]]), t=2.0)
        tensor([[0.5623, 0.2647, 0.1731]])
    """
    if not logits.is_floating_point():
        raise ValueError(f"expected floating logits, got {logits.dtype}")
    if not t > 0:
        raise ValueError(f"expected t > 0, got {t}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    p = _log_tempered_softmax(logits.to(wide), t, dim).exp()
    # In float32 the logarithms are rounded by up to 1e-6, which their sum would show.
    return (p / p.sum(dim, keepdim=True)).to(logits.dtype)


def bi_tempered_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    t1: float = 0.8,
    t2: float = 1.2,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Bi-tempered logistic loss, one value per example.

    With p the tempered softmax of temperature t2, log_t(x) = (x^(1 - t) - 1) / (1 - t), and
    target probabilities q (one-hot for integer labels):

        loss = sum_j q_j (log_t1 q_j - log_t1 p_j) - (q_j^(2 - t1) - p_j^(2 - t1)) / (2 - t1)

    t1 below 1 bounds the loss of an integer label by 1 / (1 - t1), so that a far outlier costs
    little; t2 above 1 gives heavy tails, so that a near one does. t1 = t2 = 1 is cross entropy for
    integer labels and the KL divergence for target probabilities.

    Args:
        logits: Unnormalized scores, shape `(N, C)`. No softmax before this loss.
        labels: Integer classes in [0, C), int64 of shape `(N,)`; or target probabilities that sum
            to 1 over the classes, floating, shape `(N, C)`. Values are not checked.
        t1: Temperature of the logarithm, in [0, 1] and at most `t2`. The default is the paper's
            for CIFAR-100, as is that of `t2`.
        t2: Temperature of the softmax, positive.
        label_smoothing: Probability mass epsilon in [0, 1) spread evenly over the C - 1 wrong
            classes: q becomes (1 - epsilon C / (C - 1)) q + epsilon / (C - 1).

    Returns:
        The loss of each example, shape `(N,)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating or not of shape `(N, C)`, `labels` has another
            shape, `t1` is outside [0, 1], `t2` is not positive, `t1` exceeds `t2`,
            `label_smoothing` is outside [0, 1), or there is smoothing and C is less than 2.

    Reference:
        Amid et al., "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences", NeurIPS
        2019. arXiv:1906.03361

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [-200.0, 0.0]])
        >>> bi_tempered_loss(logits, torch.tensor([0, 0]))
        tensor([0.1096, 4.8780])
    """
    if logits.dim() != 2 or not logits.is_floating_point():
        raise ValueError(
            f"expected floating logits of shape (N, C), got {logits.dtype} {tuple(logits.shape)}"
        )
    soft = labels.is_floating_point()
    expected = logits.shape if soft else logits.shape[:1]
    if labels.shape != expected:
        kind = "target probabilities" if soft else "integer labels"
        raise ValueError(f"expected {kind} of shape {tuple(expected)}, got {tuple(labels.shape)}")
    if not 0 <= t1 <= 1:
        raise ValueError(f"expected t1 in [0, 1], got {t1}")
    if not t2 > 0:
        raise ValueError(f"expected t2 > 0, got {t2}")
    if not t1 <= t2:
        raise ValueError(f"expected t1 <= t2, got t1 = {t1} and t2 = {t2}")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"expected label_smoothing in [0, 1), got {label_smoothing}")
    C = logits.shape[1]
    if label_smoothing > 0 and C < 2:
        raise ValueError(f"expected at least 2 classes with label_smoothing, got {C}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    log_p = _log_tempered_softmax(logits.to(wide), t2, 1)
    power = 2 - t1
    if not soft and label_smoothing == 0:
        truth = labels.unsqueeze(1)
        log_hit = log_p.gather(1, truth).squeeze(1)
        # expm1 is exp - 1 of the formula: where p is near 1, the two terms nearly cancel.
        hits = (power * log_hit).expm1() / power - _log_t(log_hit, t1)
        misses = (power * log_p.scatter(1, truth, -math.inf)).exp() / power
        return (hits + misses.sum(1)).to(logits.dtype)

    spread = label_smoothing / (C - 1) if label_smoothing > 0 else 0.0
    if soft:
        targets = (1 - C * spread) * labels.to(wide) + spread
    else:
        targets = torch.full_like(log_p, spread).scatter(
            1, labels.unsqueeze(1), 1 - label_smoothing
        )
    log_q = targets.clamp_min(torch.finfo(wide).tiny).log()
    # A class ruled out by a logit of -inf costs nothing where its target is 0: 0 log 0 = 0.
    reached = torch.where((targets == 0) & (log_p == -math.inf), log_q, log_p)
    surprises = targets * (_log_t(log_q, t1) - _log_t(reached, t1))
    excess = ((power * log_p).exp() - (power * log_q).exp()) / power
    return (surprises + excess).sum(1).to(logits.dtype)
