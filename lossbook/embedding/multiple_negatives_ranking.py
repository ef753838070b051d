"""Multiple negatives ranking loss: of all answers in the batch, rank one's own first.

Chapter: https://lossbook.example/embedding/multiple_negatives_ranking/
"""

import torch
from torch import Tensor

__all__ = ["multiple_negatives_ranking_loss"]


def multiple_negatives_ranking_loss(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    scale: float | Tensor = 20.0,
) -> Tensor:
    """Multiple negatives ranking loss, one value per anchor, in nats.

    With s_ij the cosine of anchor i and candidate j, where the candidates are all the positives
    and after them the hard negatives:

        loss_i = -log(exp(scale s_ii) / sum_j exp(scale s_ij))

    Every candidate but positive i counts against anchor i, also the hard negatives of other
    anchors, and a positive that occurs twice. Without hard negatives it is InfoNCE at temperature
    1 / scale. The paper's score is a dot product without a scale. A zero vector has cosine 0 with
    everything and gets no gradient. On several devices, `lossbook.gathered` brings all rows
    together first.

    Args:
        anchors: Embeddings, shape `(N, D)`, of any length.
        positives: Embeddings of the anchors' true answers, shape `(N, D)`.
        negatives: Embeddings of wrong answers, any number of them, shape `(M, D)`, or None.
        scale: Factor of the cosines, at least 0, a number or a tensor of shape `()`, as one that
            is learned. The default 20.0 is that of sentence-transformers, which computes the
            same.

    Returns:
        The loss of each anchor, shape `(N,)`, in the dtype of `anchors`.

    Raises:
        ValueError: If an input is not floating, `anchors` is not of two dimensions, the shapes
            disagree, or `scale` is negative or a tensor of another shape. A tensor's value is not
            checked.

    Reference:
        Henderson et al., "Efficient Natural Language Response Suggestion for Smart Reply", 2017,
        section 4.4. arXiv:1705.00652

    Examples:
        >>> import torch
        >>> anchors = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> positives = torch.tensor([[3.0, 0.0], [3.0, 4.0]])
        >>> multiple_negatives_ranking_loss(anchors, positives, torch.tensor([[0.0, 9.0]]))
        tensor([3.3541e-04, 4.0181e+00])
    """
    if anchors.dim() != 2 or not anchors.is_floating_point():
        raise ValueError(
            f"expected floating anchors of shape (N, D), got {anchors.dtype} {tuple(anchors.shape)}"
        )
    if positives.shape != anchors.shape:
        raise ValueError(
            f"expected positives of shape {tuple(anchors.shape)}, got {tuple(positives.shape)}"
        )
    if negatives is not None and (negatives.dim() != 2 or negatives.shape[1] != anchors.shape[1]):
        raise ValueError(
            f"expected negatives of shape (M, {anchors.shape[1]}), got {tuple(negatives.shape)}"
        )
    for name, given in {"positives": positives, "negatives": negatives}.items():
        if given is not None and not given.is_floating_point():
            raise ValueError(f"expected floating {name}, got {given.dtype}")
    if isinstance(scale, Tensor):
        if scale.dim():
            raise ValueError(f"expected scale of shape (), got {tuple(scale.shape)}")
    elif not scale >= 0:
        raise ValueError(f"expected scale >= 0, got {scale}")

    wide = torch.promote_types(anchors.dtype, torch.float32)
    candidates = positives.to(wide)
    if negatives is not None:
        candidates = torch.cat([candidates, negatives.to(wide)])
    candidates = _unit(candidates)
    x = (scale * _unit(anchors.to(wide))).to(wide)
    own = (x * candidates[: len(x)]).sum(1)
    with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
        rivals = x @ candidates.T
    # As softplus of what the others have over it: 1 + a small sum would have no digits of it.
    rivals.diagonal().fill_(torch.finfo(wide).min)
    return -torch.nn.functional.logsigmoid(own - rivals.logsumexp(1)).to(anchors.dtype)


def _unit(x: Tensor) -> Tensor:
    # Over its largest entry first, so that squares neither overflow nor vanish. A zero vector is
    # divided by infinity, which leaves it 0 and stops its gradient.
    largest = x.detach().abs().amax(1, keepdim=True)
    x = x / largest.where(largest > 0, torch.inf)
    return x / (x * x).sum(1, keepdim=True).clamp_min(1).sqrt()
