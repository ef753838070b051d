"""Token losses: likelihood weighed by itself, and unlikelihood of what must not come.

Chapter: https://lossbook.example/language/token_losses/
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["dft_loss", "unlikelihood_loss"]


def dft_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Dynamic fine-tuning, one value per token, in [0, 1/e].

    With the probability p of the label y, p = softmax(logits)_y:

        loss = -w log p,    w = p, a constant

    It is cross entropy whose gradient is weighed by p: that of 1 - p. The value rises and falls: it
    is small where p is nearly 1 and where it is nearly 0. Follow cross entropy beside it.

    Args:
        logits: Unnormalized scores, shape `(*, V)`, with the vocabulary last. -inf rules a token
            out, and costs 0 as a label, too.
        labels: Tokens in [0, V), int64, shape `(*)`.

    Returns:
        The loss of each token, shape `(*)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating or has no dimension, or `labels` is not int64 or has
            another shape.

    Reference:
        Wu et al., "On the Generalization of SFT: A Reinforcement Learning Perspective with Reward
        Rectification", 2025, eq. 9. arXiv:2508.05629

    Examples:
        >>> import torch
        >>> dft_loss(torch.tensor([[1.0, 0.0, 0.0], [9.0, 0.0, 0.0]]), torch.tensor([0, 1]))
        tensor([0.3177, 0.0011])
    """
    _check(logits)
    if labels.dtype != torch.int64:
        raise ValueError(f"expected labels of dtype int64 (labels.long()), got {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"expected labels of shape {tuple(logits.shape[:-1])}, got {tuple(labels.shape)}"
        )

    x, truth = logits.to(torch.promote_types(logits.dtype, torch.float32)), labels.unsqueeze(-1)
    top = x.detach().amax(-1, keepdim=True)
    lead = (x.gather(-1, truth) - top).squeeze(-1)
    others = x.scatter(-1, truth, -math.inf).sub_(top).exp_().sum(-1)
    # -log p, with its digits where it is nearly 0.
    surprise = (others + lead.expm1()).log1p() - lead
    weights = (-surprise.detach()).exp()
    return (weights * surprise.masked_fill(surprise.isposinf(), 0)).to(logits.dtype)  # 0 log 0 = 0.


def unlikelihood_loss(logits: Tensor, negatives: Tensor) -> Tensor:
    """Unlikelihood, one value per position, in nats.

    With the probabilities p = softmax(logits) and the set C of tokens that should not come:

        loss = -sum_(c in C) log(1 - p_c)

    It is a sum, with no likelihood of a label beside it and no weight. No negatives cost 0. The
    paper's are the tokens that the text has seen so far, each once, without the label.

    Args:
        logits: Unnormalized scores, shape `(*, V)`, with the vocabulary last. -inf rules a token
            out, and costs 0.
        negatives: True where a token should not come, bool, shape `(*, V)`.

    Returns:
        The loss of each position, shape `(*)`, in the dtype of `logits`; inf where a negative is
        the only token left.

    Raises:
        ValueError: If `logits` is not floating or has no dimension, or `negatives` is not bool or
            has another shape.

    Reference:
        Welleck et al., "Neural Text Generation with Unlikelihood Training", ICLR 2020, eqs. 2 to 4.
        arXiv:1908.04319

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 0.0, 0.0], [20.0, 0.0, 0.0]])
        >>> unlikelihood_loss(logits, torch.tensor([[True, False, False]] * 2))
        tensor([ 0.8583, 19.3069])
    """
    _check(logits)
    if negatives.dtype != torch.bool or negatives.shape != logits.shape:
        raise ValueError(
            f"expected negatives of dtype bool and shape {tuple(logits.shape)}, "
            f"got {negatives.dtype} {tuple(negatives.shape)}"
        )

    x = logits.to(torch.promote_types(logits.dtype, torch.float32))
    top, best = x.max(-1, keepdim=True)
    # Only the likeliest token can have a p above 1/2: there 1 - p is what the others have.
    others = x.scatter(-1, best, -math.inf)
    second = others.detach().amax(-1, keepdim=True)
    alone = second.isneginf()
    second = second.masked_fill(alone, 0)
    rest = (others - second).exp().sum(-1, keepdim=True).masked_fill(alone, 1).log() + second
    rest = rest.masked_fill(alone, -math.inf)
    p = x.softmax(-1).scatter(-1, best, 0)
    surprises = -(-p).log1p().scatter(-1, best, logsigmoid(rest - top))
    return surprises.where(negatives, 0).sum(-1).to(logits.dtype)


def _check(logits: Tensor) -> None:
    if logits.dim() < 1 or not logits.is_floating_point():
        raise ValueError(
            f"expected floating logits of shape (*, V), got {logits.dtype} {tuple(logits.shape)}"
        )
