"""Jensen-Shannon divergence: how far two distributions are from their mixture.

Chapter: https://lossbook.example/distribution/jensen_shannon/
"""

import torch
from torch import Tensor

__all__ = ["generalized_jsd", "total_variation_distance"]


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
    if isinstance(beta, Tensor):
        beta = beta.to(wide)
    # A finite floor for log 0: it survives a difference, and its exponential is 0.
    low = torch.finfo(wide).min / 4
    log_p, log_q = (x.to(wide).log_softmax(dim).clamp_min(low) for x in (logits, target_logits))
    ahead = log_p > log_q
    # With a the larger of p and q, a (1 - u) the smaller, and w the smaller one's weight in m:
    # m = a (1 - w u), and a class adds a (w (1 - u) log(1 - u) - (1 - w u) log(1 - w u)).
    w = (1 - beta) + (2 * beta - 1) * ahead.to(wide)
    gap = torch.where(ahead, log_q - log_p, log_p - log_q)
    drop = -w * gap.expm1()
    terms = w * gap * gap.exp() - (1 - drop) * (-drop).log1p()
    terms = terms - terms.detach().clamp_max(0)  # What rounding leaves below 0.
    losses = (torch.where(ahead, log_p, log_q).exp() * terms).sum(dim)
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
    low = torch.finfo(wide).min / 4
    x, y = (z.to(wide).clamp_min(low) for z in (logits, target_logits))
    top_x, top_y = (z.detach().amax(dim, keepdim=True) for z in (x, y))
    a, b = (x - top_x).exp(), (y - top_y).exp()
    # a - b by the difference of the logits, which is exact where they nearly agree. Then
    # p - q = a / sum(a) - b / sum(b) = (a - b - q sum(a - b)) / sum(a).
    gap = (x - y) - (top_x - top_y)
    ahead = gap > 0
    change = torch.where(ahead, -a, b) * torch.where(ahead, -gap, gap).expm1()
    q = b / b.sum(dim, keepdim=True)
    change = change - q * change.sum(dim, keepdim=True)
    return (change.abs().sum(dim) / (2 * a.sum(dim))).to(logits.dtype)


def _check(logits: Tensor, target_logits: Tensor) -> None:
    for name, x in (("logits", logits), ("target_logits", target_logits)):
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
    if logits.shape != target_logits.shape:
        raise ValueError(
            f"expected target_logits of shape {tuple(logits.shape)}, "
            f"got {tuple(target_logits.shape)}"
        )
