"""Jensen-Shannon divergence: how far two distributions are from their mixture.

Chapter: https://lossbook.example/distribution/jensen_shannon/
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["generalized_jsd", "total_variation_distance"]


class _Divergence(torch.autograd.Function):
    """beta KL(q || m) + (1 - beta) KL(p || m), as a sum of terms that cannot be negative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, target_logits: Tensor, beta: Tensor, dim: int) -> Tensor:
        log_p, log_q = logits.log_softmax(dim), target_logits.log_softmax(dim)
        d = (log_p - log_q).nan_to_num_(0)  # Infinities become finite: 0 log 0 = 0.
        # With a the larger of p and q, a (1 - u) the smaller, and w the smaller one's weight in m:
        # m = a (1 - w u), and a class adds a (w (1 - u) log(1 - u) - (1 - w u) log(1 - w u)).
        w = _weight(d, beta)
        gap = d.abs_().neg_()
        drop = w * gap.expm1()
        mixture = drop.log1p().mul_(drop.add_(1))
        terms = w.mul_(gap).mul_(gap.exp_()).sub_(mixture).clamp_min_(0)  # Rounding is below 0.
        return terms.mul_(torch.maximum(log_p, log_q).exp_()).sum(dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], _: Tensor) -> None:
        *saved, ctx.dim = inputs
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        logits, target_logits, beta = ctx.saved_tensors
        slopes = _slopes(logits, target_logits, beta, ctx.dim, ctx.needs_input_grad)
        gradient = gradient.unsqueeze(ctx.dim)
        to_logits, to_target, to_beta = (
            None if slope is None else gradient * weight * slope
            for weight, slope in zip((1 - beta, beta, 1), slopes, strict=True)
        )
        return to_logits, to_target, None if to_beta is None else to_beta.sum(), None


class _DivergenceWithForwardMode(_Divergence):
    """Apart, since torch.compile takes no function that has a jvp."""

    @staticmethod
    def jvp(ctx: Any, *changes: Tensor | None) -> Tensor:
        logits, target_logits, beta = ctx.saved_tensors
        wanted = [change is not None for change in changes]
        slopes = _slopes(logits, target_logits, beta, ctx.dim, wanted)
        terms = [
            weight * slope * change
            for weight, slope, change in zip((1 - beta, beta, 1), slopes, changes, strict=False)
            if slope is not None
        ]
        return torch.stack(terms).sum(0).sum(ctx.dim)


def _slopes(
    logits: Tensor, target_logits: Tensor, beta: Tensor, dim: int, wanted: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """The slopes in the logits over 1 - beta, in the target's over beta, in beta class by class."""
    log_p, log_q = logits.log_softmax(dim), target_logits.log_softmax(dim)
    # 0 where both rule out; a nan stays one.
    most = torch.finfo(log_p.dtype).max / 2
    neither = log_p.isneginf() & log_q.isneginf()
    d = (log_p - log_q).masked_fill(neither, 0).clamp(-most, most)
    low = d.clamp_max(0)
    gap = low.mul(2).sub_(d)  # -|d|, with a slope at 0.
    change = gap.expm1()
    rest = (_weight(d, beta) * change).log1p()  # log(m / a), with a the larger of p and q.
    p, q = log_p.exp(), log_q.exp()
    to_logits = _pull(p, low - rest, dim) if wanted[0] else None  # Of log(p / m).
    to_target = _pull(q, low - d - rest, dim) if wanted[1] else None  # Of log(q / m).
    if not wanted[2]:
        return to_logits, to_target, None
    # KL(q || m) - KL(p || m), each class with its p - q, so that no term is of first order in d.
    excess = gap * gap.exp() - change * (1 + rest)
    return to_logits, to_target, d.sign() * torch.maximum(p, q) * excess


def _weight(d: Tensor, beta: Tensor) -> Tensor:
    """The weight in m of the smaller one: beta where p is ahead, else 1 - beta."""
    return torch.lerp(1 - beta, beta, d.sign().clamp_min_(0))


def _pull(p: Tensor, g: Tensor, dim: int) -> Tensor:
    """The slope of sum_j p_j g_j in the logits of p, for a constant g."""
    return (g - (p * g).sum(dim, keepdim=True)).mul_(p)


class _Distance(torch.autograd.Function):
    """1/2 sum_j |p_j - q_j|, and the sign of each difference."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, target_logits: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        top, target_top = logits.amax(dim, keepdim=True), target_logits.amax(dim, keepdim=True)
        offset = top - target_top  # First, so that logits that nearly agree keep their digits.
        gap = (logits - offset).sub_(target_logits).sub_(top - offset - target_top)
        gap.nan_to_num_(0)  # What both rule out.
        p, q = logits.softmax(dim), target_logits.softmax(dim)
        ratio = p.amax(dim, keepdim=True) / q.amax(dim, keepdim=True)
        # With a = e^(x - max x) and b that of the target, p = a / sum(a) = a max p. By the gap
        # of their exponents a - b = (a + b) tanh(gap / 2), and
        # p - q = (a - b) / sum(a) - q sum(a - b) / sum(a).
        change = gap.div_(2).tanh_().mul_(torch.addcmul(p, q, ratio))
        change = torch.addcmul(change, q, change.sum(dim, keepdim=True), value=-1)
        return change.abs().sum(dim) / 2, change.sign_()

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, int], outputs: tuple[Tensor, Tensor]
    ) -> None:
        logits, target_logits, ctx.dim = inputs
        ctx.mark_non_differentiable(outputs[1])
        ctx.save_for_backward(logits, target_logits, outputs[1])
        ctx.save_for_forward(logits, target_logits, outputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        *logits, signs = ctx.saved_tensors
        half = gradient.unsqueeze(ctx.dim) / 2
        to_logits, to_target = (
            weight * _pull(x.softmax(ctx.dim), signs, ctx.dim) if wanted else None
            for weight, x, wanted in zip((half, -half), logits, ctx.needs_input_grad, strict=False)
        )
        return to_logits, to_target, None


class _DistanceWithForwardMode(_Distance):
    """Apart, as above."""

    @staticmethod
    def jvp(ctx: Any, change: Tensor, target_change: Tensor, _: None) -> tuple[Tensor, None]:
        *logits, signs = ctx.saved_tensors
        pull, target_pull = (_pull(x.softmax(ctx.dim), signs, ctx.dim) for x in logits)
        return (pull * change - target_pull * target_change).sum(ctx.dim) / 2, None


def generalized_jsd(
    logits: Tensor, target_logits: Tensor, *, beta: float | Tensor = 0.5, dim: int = 1
) -> Tensor:
    """Generalized Jensen-Shannon divergence, one value per distribution, in nats.

    With p = softmax(logits), the prediction, and q = softmax(target_logits), the target:

        loss = beta KL(q || m) + (1 - beta) KL(p || m),    m = beta q + (1 - beta) p

    At beta = 1/2 it is symmetric and at most log 2. Divided by beta it tends to KL(q || p) as beta
    falls to 0, divided by 1 - beta to KL(p || q) as beta rises to 1; at 0 and at 1 it is 0 for
    all inputs, so both are refused. No temperature: divide the logits by one.

    The sum over classes is one of terms that cannot be negative, with its digits where p and q
    nearly agree.

    Args:
        logits: Unnormalized log-probabilities of the prediction, shape `(*)`. -inf is a
            probability of 0.
        target_logits: Unnormalized log-probabilities of the target, shape `(*)`. It gets a
            gradient, too: detach it where the target must stay.
        beta: Weight of the target in the mixture, in the open interval (0, 1). A number or a
            tensor of shape `()`, whose value is not checked. The default 0.5 is Lin's.
        dim: Dimension over which each distribution sums to 1. The default 1 is the book's; a
            language model's is -1.

    Returns:
        The divergence of each distribution, shape `(*)` without `dim`, in the dtype of `logits`.

    Raises:
        ValueError: If an input is not floating, the shapes differ, or `beta` is a number outside
            (0, 1) or a tensor of another shape.

    Reference:
        Agarwal et al., "On-Policy Distillation of Language Models: Learning from Self-Generated
        Mistakes", ICLR 2024, eq. 1. arXiv:2306.13649. Lin, "Divergence Measures Based on the
        Shannon Entropy", IEEE Transactions on Information Theory 37, 1991.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> generalized_jsd(logits, torch.zeros(2, 3))
        tensor([0.0300, 0.0000])
    """
    _check(logits, target_logits)
    if isinstance(beta, Tensor):
        if beta.dim():
            raise ValueError(f"expected beta of shape (), got {tuple(beta.shape)}")
    elif not 0 < beta < 1:
        raise ValueError(f"expected beta in (0, 1), got {beta}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    beta = torch.as_tensor(beta, dtype=wide, device=logits.device)
    divergence = _Divergence if torch.compiler.is_compiling() else _DivergenceWithForwardMode
    losses: Tensor = divergence.apply(logits.to(wide), target_logits.to(wide), beta, dim)  # type: ignore[no-untyped-call]
    return losses.to(logits.dtype)


def total_variation_distance(logits: Tensor, target_logits: Tensor, *, dim: int = 1) -> Tensor:
    """Total variation distance, one value per distribution, in [0, 1].

    With p = softmax(logits), the prediction, and q = softmax(target_logits), the target:

        loss = 1/2 sum_j |p_j - q_j| = 1 - sum_j min(p_j, q_j)

    It is the largest difference in the probability of any event, and 1 minus the rate at which
    speculative decoding accepts what a draft model proposes. Where p_j = q_j its slope is 0.

    Args:
        logits: Unnormalized log-probabilities of the prediction, shape `(*)`. -inf is a
            probability of 0.
        target_logits: Unnormalized log-probabilities of the target, shape `(*)`. It gets a
            gradient, too: detach it where the target must stay.
        dim: Dimension over which each distribution sums to 1. The default 1 is the book's; a
            language model's is -1.

    Returns:
        The distance of each pair, shape `(*)` without `dim`, in the dtype of `logits`.

    Raises:
        ValueError: If an input is not floating or the shapes differ.

    Reference:
        Zhou et al., "DistillSpec: Improving Speculative Decoding via Knowledge Distillation",
        ICLR 2024. arXiv:2310.08461. Leviathan, Kalman and Matias, "Fast Inference from
        Transformers via Speculative Decoding", ICML 2023. arXiv:2211.17192

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> total_variation_distance(logits, torch.zeros(2, 3))
        tensor([0.2428, 0.0000])
    """
    _check(logits, target_logits)

    wide = torch.promote_types(logits.dtype, torch.float32)
    distance = _Distance if torch.compiler.is_compiling() else _DistanceWithForwardMode
    losses: Tensor = distance.apply(logits.to(wide), target_logits.to(wide), dim)[0]  # type: ignore[no-untyped-call]
    return losses.to(logits.dtype)


def _check(logits: Tensor, target_logits: Tensor) -> None:
    for name, x in (("logits", logits), ("target_logits", target_logits)):
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
    if logits.shape != target_logits.shape:
        raise ValueError(
            f"expected target_logits of shape {tuple(logits.shape)}, "
            f"got {tuple(target_logits.shape)}"
        )
