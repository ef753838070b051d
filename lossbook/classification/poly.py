"""Poly losses: cross entropy and focal loss with the first terms of their series re-weighed.

Chapter: https://lossbook.example/classification/poly/
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["poly1_cross_entropy", "poly1_focal_loss", "poly_loss"]


def poly1_cross_entropy(logits: Tensor, labels: Tensor, *, epsilon: float = 1.0) -> Tensor:
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
        ValueError: If `logits` is not floating or has fewer than two dimensions, or `labels` has
            another shape.

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
    expected = logits.shape[:1] + logits.shape[2:]
    if labels.shape != expected:
        raise ValueError(f"expected labels of shape {tuple(expected)}, got {tuple(labels.shape)}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    log_p = logits.log_softmax(1, dtype=wide).gather(1, labels.unsqueeze(1)).squeeze(1)
    return (-log_p - epsilon * log_p.expm1()).to(logits.dtype)


def poly1_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon: float = 1.0,
    gamma: float = 2.0,
    alpha: float | None = 0.25,
) -> Tensor:
    """Poly-1 focal loss over a sigmoid, one value per logit.

    With p the sigmoid of the logit, p_t = p where the target is 1 and 1 - p where it is 0:

        loss = alpha_t (-(1 - p_t)^gamma log p_t + epsilon (1 - p_t)^(gamma + 1))

    Args:
        logits: Scores, shape `(*)`. No sigmoid before this loss.
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
        ValueError: If `logits` is not floating, the shapes differ, `gamma` is negative or `alpha`
            is outside [0, 1].

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
    if not gamma >= 0:
        raise ValueError(f"expected gamma >= 0, got {gamma}")
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"expected alpha in [0, 1] or None, got {alpha}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    targets = targets.to(wide)
    for_truth = (2 * targets - 1) * logits.to(wide)
    log_p = logsigmoid(for_truth)
    # log(1 - p_t). The power of sigmoid(-x) itself has a nan slope once it underflows.
    log_miss = log_p - for_truth
    losses = torch.exp(gamma * log_miss) * (epsilon * log_miss.exp() - log_p)
    if alpha is not None:
        losses = (1 - alpha + (2 * alpha - 1) * targets) * losses
    return losses.to(logits.dtype)


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
        ValueError: If `logits` is not floating or has fewer than two dimensions, or `labels` has
            another shape.

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
    expected = logits.shape[:1] + logits.shape[2:]
    if labels.shape != expected:
        raise ValueError(f"expected labels of shape {tuple(expected)}, got {tuple(labels.shape)}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    log_p = logits.log_softmax(1, dtype=wide).gather(1, labels.unsqueeze(1)).squeeze(1)
    miss = -log_p.expm1()
    polynomial: float | Tensor = 0.0
    for epsilon in reversed(epsilons):
        polynomial = (polynomial + epsilon) * miss
    return (polynomial - log_p).to(logits.dtype)
