"""Focal loss: cross entropy that fades on examples already classified well.

Chapter: https://lossbook.example/classification/focal/
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import logsigmoid

__all__ = ["focal_loss", "sigmoid_focal_loss"]


def _surprise(x: Tensor, labels: Tensor) -> Tensor:
    """-log softmax(x)_t for the true class t, with its digits where it is nearly 0."""
    truth = labels.unsqueeze(1)
    if _in_reverse_mode(x):
        surprise: Tensor = _Surprise.apply(x, truth)  # type: ignore[no-untyped-call]
        return surprise.squeeze(1)
    return _formula(x, truth).squeeze(1)


def _formula(x: Tensor, truth: Tensor) -> Tensor:
    top = x.detach().amax(1, keepdim=True)
    lead = x.gather(1, truth) - top
    others = x.scatter(1, truth, -math.inf).sub_(top).exp_().sum(1, keepdim=True)
    return (others + lead.expm1()).log1p() - lead


class _Surprise(torch.autograd.Function):
    """The same, for which autograd would go through several tables as large as x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, truth: Tensor) -> Tensor:
        top = x.amax(1, keepdim=True)
        lead, table = x.gather(1, truth) - top, x - top
        others = table.exp_().scatter_(1, truth, 0).sum(1, keepdim=True)
        above_1 = others + lead.expm1()
        # p - 1 of the truth is -others / sum, which has more digits.
        slope = table.scatter_(1, truth, -others).div_(above_1 + 1)
        ctx.save_for_backward(x, truth, slope)
        return above_1.log1p() - lead

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, truth, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # A second derivative is that of the formula.
            surprise = _formula(x, truth)
            (to_x,) = torch.autograd.grad(surprise, x, gradient, create_graph=True)
            return to_x, None
        return gradient * slope, None


def _in_reverse_mode(*inputs: Tensor) -> bool:
    """Whether an own backward helps.

    Not torch.compile, which needs no help, nor torch.func and forward mode, where such a function
    is slow and cannot be nested.
    """
    in_torch_func = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)()
    in_forward_mode = any(unpack_dual(x).tangent is not None for x in inputs)  # type: ignore[no-untyped-call]
    return not (torch.compiler.is_compiling() or in_torch_func or in_forward_mode)


def focal_loss(
    logits: Tensor, labels: Tensor, *, gamma: float | Tensor = 2.0, alpha: Tensor | None = None
) -> Tensor:
    """Focal loss over a softmax, one value per position.

    With p_t the softmax probability of the true class t:

        loss = -alpha_t (1 - p_t)^gamma log p_t

    The paper defines it for two classes; this is its usual extension to C classes.

    Args:
        logits: Unnormalized scores, shape `(N, C, *)`. No softmax before this loss.
        labels: Integer classes in [0, C), int64, shape `(N, *)`.
        gamma: Focusing exponent, at least 0; 0 is cross entropy. A number or a tensor of shape
            `()`, whose value is not checked. The paper's 2.0 is the default.
        alpha: Weight of each class, shape `(C,)`, or None for no weights. It multiplies the loss
            and does not change p_t.

    Returns:
        The loss of each position, shape `(N, *)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating or has fewer than two dimensions, `labels`,
            `alpha` or a tensor `gamma` has another shape, `labels` are uint8, or `gamma` is a
            negative number.

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5. arXiv:1708.02002

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
        >>> focal_loss(logits, torch.tensor([0, 0]))
        tensor([1.7329e-01, 1.0928e-04])
    """
    if logits.dim() < 2 or not logits.is_floating_point():
        raise ValueError(
            f"expected floating logits of shape (N, C, *), got {logits.dtype} {tuple(logits.shape)}"
        )
    if labels.dtype == torch.uint8:
        raise ValueError("expected labels of dtype int64 (labels.long()), got torch.uint8")
    expected = logits.shape[:1] + logits.shape[2:]
    if labels.shape != expected:
        raise ValueError(f"expected labels of shape {tuple(expected)}, got {tuple(labels.shape)}")
    if isinstance(gamma, Tensor):
        if gamma.dim():
            raise ValueError(f"expected gamma of shape (), got {tuple(gamma.shape)}")
    elif not gamma >= 0:
        raise ValueError(f"expected gamma >= 0, got {gamma}")
    if alpha is not None and tuple(getattr(alpha, "shape", ())) != (logits.shape[1],):
        raise ValueError(f"expected alpha of shape ({logits.shape[1]},), got {alpha}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    surprise = _surprise(logits.to(wide), labels)
    # The floor keeps the slope of the power finite where gamma < 1 and p_t has rounded to 1; past
    # 1000 the power has none, and what is infinite times 0 would be nan.
    miss = (-(-surprise.clamp_max(1e3)).expm1()).clamp_min(torch.finfo(wide).tiny)
    losses = miss**gamma * surprise
    if alpha is not None:
        losses = alpha.to(wide)[labels] * losses
    return losses.to(logits.dtype)


def sigmoid_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float | Tensor = 2.0,
    alpha: float | Tensor | None = 0.25,
) -> Tensor:
    """Focal loss over a sigmoid, one value per logit.

    With p the sigmoid of the logit, p_t = p where the target is 1 and 1 - p where it is 0:

        loss = -alpha_t (1 - p_t)^gamma log p_t

    A soft target y mixes the two: y times the loss of a 1 plus 1 - y times the loss of a 0.

    Args:
        logits: Scores, shape `(*)`. No sigmoid before this loss. An infinite one is certain: it
            costs 0 where it is right, inf where it is wrong or the target is neither 0 nor 1.
        targets: Labels in [0, 1], shape `(*)`. Values are not checked.
        gamma: Focusing exponent, at least 0; 0 is binary cross entropy. A number or a tensor of
            shape `()`, whose value is not checked. The paper's 2.0 is the default.
        alpha: Weight of the positives, in [0, 1]; negatives weigh 1 - alpha. A number or a
            tensor of shape `()`. None turns it off. The paper's 0.25 is the default.

    Returns:
        The loss of each logit, shape `(*)`, in the dtype of `logits`. The paper divides their sum
        by the number of positives, not by the number of logits.

    Raises:
        ValueError: If `logits` is not floating, the shapes differ, `gamma` is a negative number,
            `alpha` a number outside [0, 1], or either a tensor that is not of shape `()`.

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5. arXiv:1708.02002

    Examples:
        >>> import torch
        >>> sigmoid_focal_loss(torch.tensor([0.0, -3.0]), torch.tensor([1.0, 0.0]))
        tensor([4.3322e-02, 8.1962e-05])
    """
    if not logits.is_floating_point():
        raise ValueError(f"expected floating logits, got {logits.dtype}")
    if logits.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(logits.shape)}, got {tuple(targets.shape)}"
        )
    if isinstance(gamma, Tensor):
        if gamma.dim():
            raise ValueError(f"expected gamma of shape (), got {tuple(gamma.shape)}")
    elif not gamma >= 0:
        raise ValueError(f"expected gamma >= 0, got {gamma}")
    if isinstance(alpha, Tensor):
        if alpha.dim():
            raise ValueError(f"expected alpha of shape (), got {tuple(alpha.shape)}")
    elif alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"expected alpha in [0, 1] or None, got {alpha}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    x, y = logits.to(wide), targets.to(wide)
    if isinstance(gamma, Tensor):
        gamma = gamma.to(wide)
    if isinstance(alpha, Tensor):
        alpha = alpha.to(wide)
    learned = y.requires_grad or isinstance(gamma, Tensor) or isinstance(alpha, Tensor)
    if learned or not _in_reverse_mode(x, y):
        return _sides(x, y, gamma, alpha).to(logits.dtype)
    losses: Tensor = _InPlace.apply(x, y, gamma, alpha)  # type: ignore[no-untyped-call]
    return losses.to(logits.dtype)


def _sides(x: Tensor, y: Tensor, gamma: float | Tensor, alpha: float | Tensor | None) -> Tensor:
    """-alpha y q^gamma log p - (1 - alpha) (1 - y) p^gamma log q, where p = sigmoid(x) = 1 - q."""
    wrong, x = _beyond(x, y)
    # Powers come from log-probabilities: that of a sigmoid has a nan slope once it underflows.
    # Past 1000 a power has none at all.
    log_p, log_q = logsigmoid(x), logsigmoid(-x)
    positives = torch.exp(gamma * logsigmoid(-x.clamp_min(-1e3))) * log_p
    negatives = torch.exp(gamma * logsigmoid(x.clamp_max(1e3))) * log_q
    if alpha is not None:
        positives, negatives = alpha * positives, (1 - alpha) * negatives
    return wrong - torch.lerp(negatives, positives, y)


def _beyond(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """What an infinite x costs that is not on the side of y: inf, else 0; and x as a number."""
    most = torch.finfo(x.dtype).max
    finite, side = x.clamp(-most, most), x.detach().sign().clamp_min_(0)
    return ((x - finite).detach() * (side - y.detach())).nan_to_num_(0, math.inf), finite


class _InPlace(torch.autograd.Function):
    """The same in less time and memory: the slope in x is made beside the value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, gamma: float, alpha: float | None) -> Tensor:
        ctx.settings = gamma, alpha
        wrong, finite = _beyond(x, y)
        near = finite.abs().neg_().exp_().log1p_()
        log_p, log_q = finite.clamp_max(0).sub_(near), near.neg_().sub_(finite.clamp_min_(0))
        yes, no = (gamma * log_q).exp_().mul_(y), (gamma * log_p).exp_().mul_(1 - y)
        if alpha is not None:
            yes.mul_(alpha)
            no.mul_(1 - alpha)
        losses = wrong.addcmul_(yes, log_p, value=-1).addcmul_(no, log_q, value=-1)
        # yes (gamma p log p - q) - no (gamma q log q - p)
        p, q = log_p.exp(), log_q.exp()
        slope = log_p.mul_(p).mul_(gamma).sub_(q).mul_(yes)
        slope.addcmul_(log_q.mul_(q).mul_(gamma).sub_(p), no, value=-1)
        ctx.save_for_backward(x, y, slope)
        return losses

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        x, y, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # A second derivative is that of the formula.
            losses = _sides(x, y, *ctx.settings)
            (to_x,) = torch.autograd.grad(losses, x, gradient, create_graph=True)
            return to_x, None, None, None
        return gradient * slope, None, None, None
