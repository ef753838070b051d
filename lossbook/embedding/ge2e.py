"""GE2E: each utterance must lie nearest to the centroid of its own speaker.

Chapter: https://lossbook.example/embedding/ge2e/
"""

import torch
from torch import Tensor

__all__ = ["ge2e_contrast_loss", "ge2e_softmax_loss"]


def ge2e_softmax_loss(embeddings: Tensor, scale: float | Tensor, offset: float | Tensor) -> Tensor:
    """Generalized end-to-end loss, softmax form, one value per utterance, in nats.

    With c_k the mean of speaker k's embeddings, or for an utterance e of that speaker the mean of
    all but e, and with the learned scale w and offset b:

        S_k  = w cos(e, c_k) + b
        loss = -S_own + log sum_k exp(S_k)

    Means are of the embeddings as given: longer ones weigh more in theirs. The paper scales each
    to length 1 first. The offset cancels. A zero vector has cosine 0 with everything and gets no
    gradient through it.

    Args:
        embeddings: Utterances by speaker, shape `(S, U, D)`, of any length.
        scale: The learned w, a tensor of shape `()` or a number, kept positive by whoever trains
            it; the paper starts from 10.
        offset: The learned b, a tensor of shape `()` or a number; the paper starts from -5.

    Returns:
        The loss of each utterance, shape `(S, U)`, in the dtype of `embeddings`. The paper adds
        them up.

    Raises:
        ValueError: If `embeddings` is not floating, is not of three dimensions or has fewer than
            two speakers or utterances a speaker, or `scale` or `offset` is a tensor of another
            shape.

    Reference:
        Wan et al., "Generalized End-to-End Loss for Speaker Verification", ICASSP 2018, eq. 6.
        arXiv:1710.10467

    Examples:
        >>> import torch
        >>> embeddings = torch.tensor([[[1.0, 0.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 2.0]]])
        >>> ge2e_softmax_loss(embeddings, torch.tensor(10.0), torch.tensor(-5.0))
        tensor([[0.0025, 2.1269],
                [0.0521, 0.0521]])
    """
    own, rivals = _scores(embeddings, scale, offset)
    # As softplus of what the others have over it: 1 + a small sum would have no digits of it.
    leads = own - rivals.logsumexp(2)
    return -torch.nn.functional.logsigmoid(leads).to(embeddings.dtype)


def ge2e_contrast_loss(embeddings: Tensor, scale: float | Tensor, offset: float | Tensor) -> Tensor:
    """Generalized end-to-end loss, contrast form, one value per utterance, in [0, 2].

    With c_k the mean of speaker k's embeddings, or for an utterance e of that speaker the mean of
    all but e, and with the learned scale w and offset b:

        S_k  = w cos(e, c_k) + b
        loss = 1 - sigmoid(S_own) + max over the other speakers of sigmoid(S_k)

    Means are of the embeddings as given: longer ones weigh more in theirs. The paper scales each
    to length 1 first. A zero vector has cosine 0 with everything and gets no gradient through it.

    Args:
        embeddings: Utterances by speaker, shape `(S, U, D)`, of any length.
        scale: The learned w, a tensor of shape `()` or a number, kept positive by whoever trains
            it; the paper starts from 10.
        offset: The learned b, a tensor of shape `()` or a number; the paper starts from -5.

    Returns:
        The loss of each utterance, shape `(S, U)`, in the dtype of `embeddings`. The paper adds
        them up.

    Raises:
        ValueError: If `embeddings` is not floating, is not of three dimensions or has fewer than
            two speakers or utterances a speaker, or `scale` or `offset` is a tensor of another
            shape.

    Reference:
        Wan et al., "Generalized End-to-End Loss for Speaker Verification", ICASSP 2018, eq. 7.
        arXiv:1710.10467

    Examples:
        >>> import torch
        >>> embeddings = torch.tensor([[[1.0, 0.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 2.0]]])
        >>> ge2e_contrast_loss(embeddings, torch.tensor(10.0), torch.tensor(-5.0))
        tensor([[0.2756, 1.2215],
                [0.8948, 0.8948]])
    """
    own, rivals = _scores(embeddings, scale, offset)
    # The largest sigmoid is that of the largest score.
    return ((-own).sigmoid() + rivals.amax(2).sigmoid()).to(embeddings.dtype)


def _scores(
    embeddings: Tensor, scale: float | Tensor, offset: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Score each utterance against its speaker, (S, U), and the others, (S, U, S): there -inf."""
    shape = tuple(embeddings.shape)
    if embeddings.dim() != 3 or not embeddings.is_floating_point():
        raise ValueError(
            f"expected floating embeddings of shape (S, U, D), got {embeddings.dtype} {shape}"
        )
    if shape[0] < 2 or shape[1] < 2:
        raise ValueError(f"expected embeddings of S >= 2 and U >= 2, got shape {shape}")
    for name, given in {"scale": scale, "offset": offset}.items():
        if isinstance(given, Tensor) and given.dim():
            raise ValueError(f"expected {name} of shape (), got {tuple(given.shape)}")

    wide = torch.promote_types(embeddings.dtype, torch.float32)
    x = embeddings.to(wide) / shape[1]  # A sum of U of these does not overflow.
    # Sums have the directions of the means. The sum of the others is not the whole less one,
    # since of a small remainder that would leave only rounding.
    others = 1 - torch.eye(shape[1], dtype=wide, device=x.device)
    units = _unit(x)
    own = torch.eye(shape[0], dtype=torch.bool, device=x.device)[:, None]
    with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
        cosines = (units * _unit(others @ x)).sum(2)
        rivals = units @ _unit(x.sum(1)).T
    rivals = (scale * rivals + offset).to(wide).masked_fill(own, -torch.inf)
    return (scale * cosines + offset).to(wide), rivals


def _unit(x: Tensor) -> Tensor:
    # Over its largest entry first, so that squares neither overflow nor vanish. A zero vector is
    # divided by infinity, which leaves it 0 and stops its gradient.
    largest = x.detach().abs().amax(-1, keepdim=True)
    x = x / largest.where(largest > 0, torch.inf)
    return x / (x * x).sum(-1, keepdim=True).clamp_min(1).sqrt()
