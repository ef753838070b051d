"""Auxiliary losses: what keeps a softmax normalized, and experts equally busy.

Chapter: https://lossbook.example/language/auxiliary/
"""

import torch
from torch import Tensor

__all__ = ["load_balancing_loss", "z_loss"]


def z_loss(logits: Tensor) -> Tensor:
    """Z-loss, one value per distribution.

    With the normalizer Z of the softmax over the last dimension:

        loss = (log Z)^2,    Z = sum_j exp(logits_j)

    A softmax does not see a number that is added to all logits; this does. It is 0 for
    log-probabilities. On the head of a language model and on the logits of a router it is the same.

    Args:
        logits: Unnormalized scores, shape `(*, V)`, with the classes last.

    Returns:
        The loss of each distribution, shape `(*)`, in the dtype of `logits`: infinite in float16
        from |log Z| = 256 on. No coefficient: PaLM's is 1e-4, that of ST-MoE's routers 1e-3.

    Raises:
        ValueError: If `logits` is not floating or has no dimension.

    Reference:
        Zoph et al., "ST-MoE: Designing Stable and Transferable Sparse Expert Models", 2022, eq. 5.
        arXiv:2202.08906. Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", 2022,
        section 5. arXiv:2204.02311

    Examples:
        >>> import torch
        >>> z_loss(torch.tensor([[1.0, 2.0, -1.0], [0.0, -torch.inf, -torch.inf]]))
        tensor([5.5179, 0.0000])
    """
    if logits.dim() < 1 or not logits.is_floating_point():
        raise ValueError(
            f"expected floating logits of shape (*, V), got {logits.dtype} {tuple(logits.shape)}"
        )

    wide = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(wide).logsumexp(-1).square().to(logits.dtype)


def load_balancing_loss(
    router_logits: Tensor, mask: Tensor | None = None, *, top_k: int = 1
) -> Tensor:
    """Load balancing loss of a mixture of E experts, one value for all tokens.

    With the share f_e of the assignments that expert e gets, each token having `top_k`, and the
    mean P_e of its probability, softmax(router_logits)_e:

        loss = E sum_e f_e P_e

    f sums to 1 and is a constant: the gradient is P's. The value is 1 where all probabilities are
    equal, and E / top_k where the same experts get everything.

    It is a product of two means, so no mean of it over layers, batches or devices is the loss of
    all: call it once for each layer, with all tokens of the step. `lossbook.gathered` brings those
    of other devices.

    Args:
        router_logits: Scores of the experts, shape `(*, E)`. No softmax before this loss.
        mask: True where a token counts, bool, shape `(*)`; None counts all. What it hides reaches
            neither value nor gradient.
        top_k: Number of experts for each token, in [1, E].

    Returns:
        The loss, shape `()`, in the dtype of `router_logits`; 0 where no token counts. No
        coefficient: the paper's is 1e-2.

    Raises:
        ValueError: If `router_logits` is not floating or has no dimension, `mask` is not bool or
            has another shape, or `top_k` is not an integer in [1, E].

    Reference:
        Fedus, Zoph and Shazeer, "Switch Transformers: Scaling to Trillion Parameter Models with
        Simple and Efficient Sparsity", JMLR 23, 2022, eqs. 4 to 6. arXiv:2101.03961

    Examples:
        >>> import torch
        >>> load_balancing_loss(torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]))
        tensor(1.0846)
    """
    if router_logits.dim() < 1 or not router_logits.is_floating_point():
        raise ValueError(
            f"expected floating router_logits of shape (*, E), "
            f"got {router_logits.dtype} {tuple(router_logits.shape)}"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != router_logits.shape[:-1]):
        raise ValueError(
            f"expected mask of dtype bool and shape {tuple(router_logits.shape[:-1])}, "
            f"got {mask.dtype} {tuple(mask.shape)}"
        )
    experts = router_logits.shape[-1]
    if type(top_k) is not int or not 1 <= top_k <= experts:
        raise ValueError(f"expected top_k to be an integer in [1, {experts}], got {top_k}")

    x = router_logits.reshape(-1, experts)
    kept = x.new_ones(x.shape[:1], dtype=torch.bool) if mask is None else mask.reshape(-1)
    hidden = ~kept.unsqueeze(1)
    wide = torch.promote_types(x.dtype, torch.float32)
    x = x.to(wide).masked_fill(hidden, 0)
    p, chosen = x.softmax(1), torch.zeros_like(x).scatter(1, x.detach().topk(top_k).indices, 1)
    shares, likelihoods = (z.masked_fill(hidden, 0).sum(0) for z in (chosen, p))
    tokens = kept.sum().clamp_min(1)
    loss = experts * (shares / (top_k * tokens) * (likelihoods / tokens)).sum()
    return loss.to(router_logits.dtype)
