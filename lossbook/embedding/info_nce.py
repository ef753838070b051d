"""InfoNCE: pick the one true key out of a batch of keys.

Chapter: https://lossbook.example/embedding/info_nce/
"""

import torch
from torch import Tensor

__all__ = ["info_nce", "nt_xent"]


def info_nce(queries: Tensor, keys: Tensor, *, temperature: float | Tensor = 0.07) -> Tensor:
    """InfoNCE with negatives from the batch, one value per query, in nats.

    With s_ij the cosine of query i and key j, and tau the temperature:

        loss_i = -log(exp(s_ii / tau) / sum_j exp(s_ij / tau))

    Key i is the positive of query i, the other N - 1 keys are its negatives. Equal similarities
    give log N. The paper scores pairs by a bilinear form; the cosine over a temperature came
    later. A zero vector has cosine 0 with everything and gets no gradient. On several devices,
    `lossbook.gathered` brings all rows together first; so for NT-Xent.

    Args:
        queries: Embeddings, shape `(N, D)`, of any length.
        keys: Embeddings of the positives, shape `(N, D)`. They get a gradient, too.
        temperature: Positive, a number or a tensor of shape `()`, as one that is learned. The
            default 0.07 is that of Wu et al. (2018) and MoCo.

    Returns:
        The loss of each query, shape `(N,)`, in the dtype of `queries`.

    Raises:
        ValueError: If `queries` or `keys` is not floating, `queries` is not of two dimensions, the
            shapes differ, or `temperature` is not positive or a tensor of another shape. A
            tensor's value is not checked.

    Reference:
        van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive
        Coding", 2018, eq. 4. arXiv:1807.03748

    Examples:
        >>> import torch
        >>> queries = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> info_nce(queries, torch.tensor([[3.0, 0.0], [1.0, 0.0]]), temperature=1.0)
        tensor([0.6931, 0.6931])
    """
    _check("queries", queries, "keys", keys, temperature)

    wide = torch.promote_types(queries.dtype, torch.float32)
    x, y = _unit(queries.to(wide)), _unit(keys.to(wide))
    x = (x / temperature).to(wide)
    with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
        scores = x @ y.T
    return _pick((x * y).sum(1), scores).to(queries.dtype)


def nt_xent(views1: Tensor, views2: Tensor, *, temperature: float | Tensor = 0.5) -> Tensor:
    """NT-Xent, the loss of SimCLR, one value per view, in nats.

    With s_ij the cosine of views i and j out of all 2N, p(i) the other view of the same example,
    and tau the temperature:

        loss_i = -log(exp(s_ip(i) / tau) / sum_(j != i) exp(s_ij / tau))

    Each view is an anchor, and all but itself are its candidates: equal similarities give
    log(2N - 1). A zero vector has cosine 0 with everything and gets no gradient.

    Args:
        views1: Embeddings of one view of each example, shape `(N, D)`, of any length.
        views2: Embeddings of the other view, shape `(N, D)`.
        temperature: Positive, a number or a tensor of shape `()`, as one that is learned. The
            default 0.5 is the paper's for its CIFAR-10 models; on ImageNet it uses 0.1.

    Returns:
        The loss of each anchor, first those of `views1`, then those of `views2`, shape `(2N,)`,
        in the dtype of `views1`.

    Raises:
        ValueError: If `views1` or `views2` is not floating, `views1` is not of two dimensions, the
            shapes differ, or `temperature` is not positive or a tensor of another shape. A
            tensor's value is not checked.

    Reference:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML
        2020, eq. 1. arXiv:2002.05709

    Examples:
        >>> import torch
        >>> views1 = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> nt_xent(views1, torch.tensor([[3.0, 0.0], [1.0, 0.0]]))
        tensor([0.7586, 1.0986, 0.7586, 2.7586])
    """
    _check("views1", views1, "views2", views2, temperature)

    wide = torch.promote_types(views1.dtype, torch.float32)
    x = _unit(torch.cat([views1.to(wide), views2.to(wide)]))
    warm = (x / temperature).to(wide)
    with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
        scores = warm @ x.T
    # The other view is n rows on, with the same cosine; nobody is its own candidate.
    n = len(views1)
    own = (warm[:n] * x[n:]).sum(1)
    scores.diagonal(n).fill_(-torch.inf)
    scores.diagonal(-n).fill_(-torch.inf)
    return _pick(torch.cat([own, own]), scores).to(views1.dtype)


def _check(name1: str, x: Tensor, name2: str, y: Tensor, temperature: float | Tensor) -> None:
    if x.dim() != 2 or not x.is_floating_point():
        raise ValueError(
            f"expected floating {name1} of shape (N, D), got {x.dtype} {tuple(x.shape)}"
        )
    if y.shape != x.shape:
        raise ValueError(f"expected {name2} of shape {tuple(x.shape)}, got {tuple(y.shape)}")
    if not y.is_floating_point():
        raise ValueError(f"expected floating {name2}, got {y.dtype}")
    if isinstance(temperature, Tensor):
        if temperature.dim():
            raise ValueError(f"expected temperature of shape (), got {tuple(temperature.shape)}")
    elif not temperature > 0:
        raise ValueError(f"expected temperature > 0, got {temperature}")


def _pick(own: Tensor, scores: Tensor) -> Tensor:
    """Cross entropy of each row's own score against the others; the diagonal is overwritten."""
    # As softplus of what the others have over it: 1 + a small sum would have no digits of it.
    scores.diagonal().fill_(torch.finfo(scores.dtype).min)
    return -torch.nn.functional.logsigmoid(own - scores.logsumexp(1))


def _unit(x: Tensor) -> Tensor:
    # Over its largest entry first, so that squares neither overflow nor vanish. A zero vector is
    # divided by infinity, which leaves it 0 and stops its gradient.
    largest = x.detach().abs().amax(1, keepdim=True)
    x = x / largest.where(largest > 0, torch.inf)
    return x / (x * x).sum(1, keepdim=True).clamp_min(1).sqrt()
