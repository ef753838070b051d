"""Poly losses: cross entropy and focal loss with the first terms of their series re-weighed.

Chapter: https://lossbook.example/classification/poly/
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import logsigmoid

__all__ = ["poly1_cross_entropy", "poly1_focal_loss", "poly_loss"]


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


def poly1_cross_entropy(logits: Tensor, labels: Tensor, *, epsilon: float | Tensor = 1.0) -> Tensor:
    """Poly-1 cross entropy, one value per position.

    With p_t the softmax probability of the true class t:

        loss = -log p_t + epsilon (1 - p_t)

    Cross entropy is the sum of (1 - p_t)^j / j over j = 1, 2, ...; epsilon is added to the first
    coefficient. Below -1 it turns the gradient round where p_t > -1 / epsilon.

    Args:
        logits: Unnormalized scores, shape `(N, C, *)`. No softmax before this loss.
        labels: Integer classes in [0, C), int64, shape `(N, *)`.
        epsilon: Change of the first coefficient, 1; 0 is cross entropy. The paper tunes it by task;
            the default 1.0 is that of a common PyTorch port.

    Returns:
        The loss of each position, shape `(N, *)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating or has fewer than two dimensions, `labels` has
            another shape or is uint8, or a tensor `epsilon` is not of shape `()`.

    Reference:
        Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
        Functions", ICLR 2022. arXiv:2204.12511

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
        >>> poly1_cross_entropy(logits, torch.tensor([0, 0]))
        tensor([1.1931, 0.0960])
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
    if isinstance(epsilon, Tensor) and epsilon.dim():
        raise ValueError(f"expected epsilon of shape (), got {tuple(epsilon.shape)}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    surprise = _surprise(logits.to(wide), labels)
    return (surprise - epsilon * (-surprise).expm1()).to(logits.dtype)


def poly1_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon: float | Tensor = 1.0,
    gamma: float | Tensor = 2.0,
    alpha: float | Tensor | None = 0.25,
) -> Tensor:
    """Poly-1 focal loss over a sigmoid, one value per logit.

    With p the sigmoid of the logit, p_t = p where the target is 1 and 1 - p where it is 0:

        loss = alpha_t (-(1 - p_t)^gamma log p_t + epsilon (1 - p_t)^(gamma + 1))

    Args:
        logits: Scores, shape `(*)`. No sigmoid before this loss. An infinite one costs 0 where it
            is right, inf where it is wrong.
        targets: Labels 0 and 1, shape `(*)`. Values are not checked, and a soft target has no p_t.
        epsilon: Change of the first coefficient, 1; 0 is focal loss. The paper tunes it by task;
            the default 1.0 is that of a common PyTorch port.
        gamma: Focusing exponent, at least 0; 0 is Poly-1 of binary cross entropy. The default 2.0
            is that of focal loss.
        alpha: Weight of the positives, in [0, 1]; negatives weigh 1 - alpha. It multiplies both
            terms. None turns it off. The default 0.25 is that of focal loss.

    Returns:
        The loss of each logit, shape `(*)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating, the shapes differ, `gamma` is a negative number,
            `alpha` a number outside [0, 1], or a tensor among the settings is not of shape `()`.

    Reference:
        Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
        Functions", ICLR 2022. arXiv:2204.12511

    Examples:
        >>> import torch
        >>> poly1_focal_loss(torch.tensor([0.0, -3.0]), torch.tensor([1.0, 0.0]))
        tensor([0.0746, 0.0002])
    """
    if not logits.is_floating_point():
        raise ValueError(f"expected floating logits, got {logits.dtype}")
    if logits.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(logits.shape)}, got {tuple(targets.shape)}"
        )
    if isinstance(epsilon, Tensor) and epsilon.dim():
        raise ValueError(f"expected epsilon of shape (), got {tuple(epsilon.shape)}")
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
    targets, most = targets.to(wide), torch.finfo(wide).max
    for_truth = (2 * targets - 1) * logits.to(wide)
    # inf at -inf, where the truth is ruled out, else 0; the rest sees the largest number.
    wrong = (for_truth.detach().clamp(-most, most) - for_truth.detach()).relu()
    for_truth = for_truth.clamp(-most, most)
    log_p = logsigmoid(for_truth)
    # log(1 - p_t). The power of sigmoid(-x) itself has a nan slope once it underflows, and that of
    # this at the largest numbers.
    log_miss = (log_p - for_truth).where(for_truth > -1e3, 0)
    losses = torch.exp(gamma * log_miss) * -(log_p + epsilon * log_p.expm1())
    if isinstance(alpha, Tensor):
        alpha = alpha.to(wide)
    if alpha is not None:
        losses = (1 - alpha + (2 * alpha - 1) * targets) * losses
    return (losses + wrong).to(logits.dtype)


def poly_loss(logits: Tensor, labels: Tensor, *, epsilons: Sequence[float]) -> Tensor:
    """Poly-N loss over a softmax, one value per position.

    With p_t the softmax probability of the true class t and N the length of `epsilons`:

        loss = -log p_t + sum_{j = 1..N} epsilons[j - 1] (1 - p_t)^j

    Epsilons of -1, -1/2, ..., -1/N take the first N terms of cross entropy away.

    Args:
        logits: Unnormalized scores, shape `(N, C, *)`. No softmax before this loss.
        labels: Integer classes in [0, C), int64, shape `(N, *)`.
        epsilons: Changes of the first coefficients of cross entropy, lowest power first; none at
            all is cross entropy.

    Returns:
        The loss of each position, shape `(N, *)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating or has fewer than two dimensions, `labels` has
            another shape or is uint8.

    Reference:
        Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
        Functions", ICLR 2022. arXiv:2204.12511

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
        >>> poly_loss(logits, torch.tensor([0, 0]), epsilons=[1.0, 2.0])
        tensor([1.6931, 0.1005])
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

    wide = torch.promote_types(logits.dtype, torch.float32)
    surprise = _surprise(logits.to(wide), labels)
    miss = -(-surprise).expm1()
    polynomial: float | Tensor = 0.0
    for epsilon in reversed(epsilons):
        polynomial = (polynomial + epsilon) * miss
    return (surprise + polynomial).to(logits.dtype)
