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
    def forward(logits: Tensor, t: float | Tensor, dim: int) -> Tensor:
        tau: Any
        if isinstance(t, Tensor):
            steps, tau = 17, torch.where(t == 1, 1e-20, t - 1)  # At 1e-20 it is the softmax.
        else:
            steps, tau = 5 + min(12, round(12 * abs(t - 1))), t - 1
        top = logits.amax(dim, keepdim=True)
        gaps = top - logits

        def stretched(z: Tensor) -> Tensor:
            # The bound keeps the factor above 0 in float32: a class ruled out has an infinite gap.
            factor = tau * torch.exp((-tau * z).clamp_min(-80))
            x: Tensor = factor * gaps
            return x.clamp_min_(-1)

        # p = q / Z with Z = exp(z) = 1 / max p and q = exp_t(-Z^(1 - t) gaps). As a function of
        # lambda, (sum p)^(1 - t) bends one way only, so Newton's method climbs to its root, from
        # lambda = max(logits), without overshooting. In a search over C up to 30,000, gaps up to
        # 1e12 and t from 0.05 to 20 these steps always left rounding errors only.
        z = torch.zeros_like(top)
        for _ in range(steps):
            x = stretched(z)
            q = x.log1p().div_(-tau).exp_()
            q_t = (q / x.add_(1)).nan_to_num_(0)  # q^t; 0 / 0 where the tail is cut off.
            total, total_t = q.sum(dim, keepdim=True), q_t.sum(dim, keepdim=True)
            curve = (total / total_t - 1) * -torch.expm1(tau * (z - total.log()))
            z = total.log() + curve.log1p() / tau
        log_q = stretched(z).log1p_().div_(-tau)
        return log_q - log_q.exp().sum(dim, keepdim=True).log()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float | Tensor, int], output: Tensor) -> None:
        _, t, ctx.dim = inputs
        ctx.t = None if isinstance(t, Tensor) else t
        saved = (output, t) if isinstance(t, Tensor) else (output,)
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        # d log p_i / d a_j = p_i^(t - 1) (1[i = j] - e_j), where e is p^t divided by its sum.
        log_p, t = _saved(ctx)
        slopes = _powers(log_p, t) * gradient
        escort = _escort(log_p, t, ctx.dim)
        to_logits = slopes - escort * slopes.sum(ctx.dim, keepdim=True)
        if not ctx.needs_input_grad[1]:
            return to_logits, None, None
        return to_logits, (gradient * _slope_by_t(log_p, t, ctx.dim)).sum(), None


class _WithForwardMode(_LogTemperedSoftmax):
    """Apart, since torch.compile takes no function that has a jvp."""

    @staticmethod
    def jvp(ctx: Any, change: Tensor, change_of_t: Tensor | None, _: None) -> Tensor:
        log_p, t = _saved(ctx)
        escort = _escort(log_p, t, ctx.dim)
        moved = _powers(log_p, t) * (change - (escort * change).sum(ctx.dim, keepdim=True))
        if change_of_t is None:
            return moved
        return moved + change_of_t * _slope_by_t(log_p, t, ctx.dim)


def _saved(ctx: Any) -> tuple[Tensor, Any]:
    return (*ctx.saved_tensors, ctx.t)[:2]


def _powers(log_p: Tensor, t: float | Tensor) -> Tensor:
    """p^(t - 1), and 0 where p is 0."""
    cut = log_p == -math.inf
    powers: Tensor = ((t - 1) * log_p.masked_fill(cut, 0)).exp()
    return powers.masked_fill(cut, 0)


def _escort(log_p: Tensor, t: float | Tensor, dim: int) -> Tensor:
    """p^t over its sum. The slope by t of a class that is cut off is 0, not infinity times 0."""
    return torch.softmax(t * log_p.clamp_min(torch.finfo(log_p.dtype).min / 64), dim)


def _slope_by_t(log_p: Tensor, t: float | Tensor, dim: int) -> Tensor:
    # At a fixed a - lambda it is (e^z - 1 - z) / (t - 1)^2 with z = (t - 1) log p; lambda moves so
    # that the changes of p cancel.
    p, powers = log_p.exp(), _powers(log_p, t)
    log_p = log_p.masked_fill(log_p == -math.inf, 0)
    bare = log_p**2 * _series((t - 1) * log_p, 2)
    shift = (p * bare).sum(dim, keepdim=True) / (p * powers).sum(dim, keepdim=True)
    return bare - powers * shift


def _series(z: Tensor, n: int) -> Tensor:
    """What is left of e^z after n terms (1 or 2) of its series, over z^n."""
    small = z.abs() < 0.5
    near = z.masked_fill(~small, 0)
    total = torch.zeros_like(z)
    for k in range(16, -1, -1):
        total = total * near + 1 / math.factorial(k + n)
    far = z.masked_fill(small, 1)
    return torch.where(small, total, (far.expm1() - (far if n == 2 else 0)) / far**n)


def _log_tempered_softmax(logits: Tensor, t: float | Tensor, dim: int) -> Tensor:
    if not isinstance(t, Tensor) and t == 1:
        return logits.log_softmax(dim)
    function = _LogTemperedSoftmax if torch.compiler.is_compiling() else _WithForwardMode
    log_p: Tensor = function.apply(logits, t, dim)  # type: ignore[no-untyped-call]
    return log_p


def _divergence(d: Tensor, t: float | Tensor) -> Tensor:
    """What a class of target 1 costs at p = e^d. It is about d^2 / 2, and never negative."""
    return (d * (_series((2 - t) * d, 1) - _series((1 - t) * d, 1))).clamp_min(0)


def tempered_softmax(logits: Tensor, *, t: float | Tensor, dim: int = 1) -> Tensor:
    """Tempered softmax: probabilities whose tails a temperature makes heavy or cuts off.

    Helper of `bi_tempered_loss`.

    With activations a, and lambda such that the probabilities sum to 1:

        p_i = exp_t(a_i - lambda),    exp_t(x) = max(0, 1 + (1 - t) x)^(1 / (1 - t))

    t = 1 is the softmax. Above 1 the tails fall like a power, below 1 they are exactly 0 from
    1 / (1 - t) below lambda on.

    Args:
        logits: Activations a, shape `(*)`.
        t: Temperature, positive; a number or a tensor of shape `()`, whose value is not checked.
        dim: Dimension that sums to 1.

    Returns:
        The probabilities, shape `(*)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating, `t` is a number that is not positive or a tensor
            of another shape.

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
    if isinstance(t, Tensor):
        if t.dim():
            raise ValueError(f"expected t of shape (), got {tuple(t.shape)}")
    elif not t > 0:
        raise ValueError(f"expected t > 0, got {t}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    if isinstance(t, Tensor):
        t = t.to(wide)
    p = _log_tempered_softmax(logits.to(wide), t, dim).exp()
    # In float32 the logarithms are rounded by up to 1e-6, which their sum would show.
    return (p / p.sum(dim, keepdim=True)).to(logits.dtype)


def bi_tempered_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    t1: float | Tensor = 0.8,
    t2: float | Tensor = 1.2,
    label_smoothing: float | Tensor = 0.0,
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
        t2: Temperature of the softmax, positive. Each setting is a number or a tensor of shape
            `()`, whose value is not checked.
        label_smoothing: Probability mass epsilon in [0, 1) spread evenly over the C - 1 wrong
            classes: q becomes (1 - epsilon C / (C - 1)) q + epsilon / (C - 1).

    Returns:
        The loss of each example, shape `(N,)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating or not of shape `(N, C)`, `labels` has another
            shape or is uint8, a tensor among the settings is not of shape `()`, there is smoothing
            and C is less than 2; or if, as numbers, `t1` is outside [0, 1], `t2` is not positive,
            `t1` exceeds `t2` or `label_smoothing` is outside [0, 1).

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
    if labels.dtype == torch.uint8:
        raise ValueError("expected labels of dtype int64 (labels.long()), got torch.uint8")
    soft = labels.is_floating_point()
    expected = logits.shape if soft else logits.shape[:1]
    if labels.shape != expected:
        kind = "target probabilities" if soft else "integer labels"
        raise ValueError(f"expected {kind} of shape {tuple(expected)}, got {tuple(labels.shape)}")
    for name, setting in (("t1", t1), ("t2", t2), ("label_smoothing", label_smoothing)):
        if isinstance(setting, Tensor) and setting.dim():
            raise ValueError(f"expected {name} of shape (), got {tuple(setting.shape)}")
    if not isinstance(t1, Tensor) and not 0 <= t1 <= 1:
        raise ValueError(f"expected t1 in [0, 1], got {t1}")
    if not isinstance(t2, Tensor) and not t2 > 0:
        raise ValueError(f"expected t2 > 0, got {t2}")
    if not isinstance(t1, Tensor) and not isinstance(t2, Tensor) and not t1 <= t2:
        raise ValueError(f"expected t1 <= t2, got t1 = {t1} and t2 = {t2}")
    if not isinstance(label_smoothing, Tensor) and not 0 <= label_smoothing < 1:
        raise ValueError(f"expected label_smoothing in [0, 1), got {label_smoothing}")
    C = logits.shape[1]
    smooth = isinstance(label_smoothing, Tensor) or label_smoothing > 0
    if smooth and C < 2:
        raise ValueError(f"expected at least 2 classes with label_smoothing, got {C}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    t1, t2, label_smoothing = (
        x.to(wide) if isinstance(x, Tensor) else float(x) for x in (t1, t2, label_smoothing)
    )
    log_p = _log_tempered_softmax(logits.to(wide), t2, 1)
    cut = log_p == -math.inf
    # A class that is cut off has a number whose square fits, too: the slope by t1 takes it.
    log_p = log_p.masked_fill(cut, -(torch.finfo(wide).max ** 0.5) / 4)
    log_p = log_p.clamp_min(torch.finfo(wide).min / 4)
    power = 2 - t1
    powers = (power * log_p).exp() / power
    if not soft and not smooth:
        truth = labels.unsqueeze(1)
        hits = _divergence(log_p.gather(1, truth), t1)
        # At t1 = 1 a truth that is ruled out costs infinity, else 1 / (1 - t1) at most.
        hits = hits.masked_fill(cut.gather(1, truth) & (t1 == 1), math.inf)
        return (hits.squeeze(1) + powers.scatter(1, truth, 0).sum(1)).to(logits.dtype)

    q = labels.to(wide) if soft else torch.zeros_like(log_p).scatter(1, labels.unsqueeze(1), 1)
    if smooth:
        spread = label_smoothing / (C - 1)
        q = (1 - C * spread) * q + spread
    # Each class costs q^(2 - t1) times what a target of 1 costs at p / q, which may overflow; then
    # the terms of the formula are summed.
    log_q = q.clamp_min(torch.finfo(wide).tiny).log()
    d = log_p - log_q
    scale = (power * log_q).exp()
    near = scale * _divergence(d.clamp_max(1), t1)
    # At t1 = 1 a class that is ruled out costs infinity, or nothing where its target is 0.
    lost = cut & (t1 == 1)
    log_p = log_p.masked_fill(lost, 0)
    surprises = q * (log_q * _series((1 - t1) * log_q, 1) - log_p * _series((1 - t1) * log_p, 1))
    losses = torch.where((d < 1) & (q > 0), near, surprises + powers - scale / power)
    return losses.masked_fill(lost & (q > 0), math.inf).sum(1).to(logits.dtype)
