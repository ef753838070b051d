"""KL divergence: the nats lost by coding one distribution with the code of another.

Chapter: https://lossbook.example/distribution/kl_divergence/
"""

import torch
from torch import Tensor

__all__ = ["kl_divergence"]


def kl_divergence(logits: Tensor, target_logits: Tensor, *, dim: int = 1) -> Tensor:
    """Kullback-Leibler divergence of predictions from targets, one value per distribution, in nats.

    With p = softmax(logits), the prediction, and q = softmax(target_logits), the target:

        loss = KL(q || p) = sum_j q_j (log q_j - log p_j)

    It is 0 where p = q, and otherwise positive. It is the cross entropy of q and p less the
    entropy of q, so a fixed target gives both the same gradient, p - q. A target probability of
    0 costs 0, whatever its prediction; a predicted 0 where the target is not 0 costs inf.

    Args:
        logits: Unnormalized log-probabilities of the prediction, shape `(*)`. Log-probabilities
            are a special case; probabilities are not. -inf is a probability of 0.
        target_logits: Unnormalized log-probabilities of the target, shape `(*)`. It gets a
            gradient, too: detach it where the target must stay.
        dim: Dimension over which each distribution sums to 1. The default 1 is the book's.

    Returns:
        The divergence of each distribution, shape `(*)` without `dim`, in the dtype of `logits`.
        Where p and q nearly agree, float32 rounds it by some 1e-7, at times to below 0.

    Raises:
        ValueError: If the shapes differ.

    Reference:
        Kullback and Leibler, "On Information and Sufficiency", Annals of Mathematical Statistics
        22, 1951.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
        >>> kl_divergence(logits, torch.tensor([[0.0, 0.0], [0.0, -torch.inf]]))
        tensor([0.0000, 0.6931])
    """
    if logits.shape != target_logits.shape:
        raise ValueError(
            f"expected target_logits of shape {tuple(logits.shape)}, "
            f"got {tuple(target_logits.shape)}"
        )

    wide = torch.promote_types(logits.dtype, torch.float32)
    log_p = logits.log_softmax(dim, dtype=wide)
    log_q = target_logits.log_softmax(dim, dtype=wide)
    q = log_q.exp()
    # 0 log 0 = 0, also where the prediction is 0 as well.
    losses = (q * torch.where(q > 0, log_q - log_p, 0)).sum(dim)
    return losses.to(logits.dtype)
