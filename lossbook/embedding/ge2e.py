"""GE2E: each utterance must lie nearest to the centroid of its own speaker.

Chapter: https://lossbook.example/embedding/ge2e/
"""

import torch
from torch import Tensor

__all__ = ["ge2e_contrast_loss", "ge2e_softmax_loss"]


def ge2e_softmax_loss(embeddings: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Generalized end-to-end loss, softmax form, one value per utterance, in nats.

    With c_k the mean of speaker k's embeddings, or for an utterance e of that speaker the mean of
    all but e, and with the learned scale w and offset b:

        S_k  = w cos(e, c_k) + b
        loss = -S_own + log sum_k exp(S_k)

    Means are of the embeddings as given; only the cosine normalizes. The offset cancels. A zero
    vector has cosine 0 with everything and gets no gradient through it.

    Args:
        embeddings: Utterances by speaker, shape `(S, U, D)`, of any length.
        scale: The learned w, shape `()`, kept positive by whoever trains it; the paper starts
            from 10.
        offset: The learned b, shape `()`; the paper starts from -5.

    Returns:
        The loss of each utterance, shape `(S, U)`, in the dtype of `embeddings`. The paper adds
        them up.

    Raises:
        ValueError: If `embeddings` is not floating, is not of three dimensions or has fewer than
            two speakers or utterances a speaker, or `scale` or `offset` is not a scalar.

    Reference:
        Wan et al., "Generalized End-to-End Loss for Speaker Verification", ICASSP 2018, eq. 6.
        arXiv:1710.10467

    Examples:
        >>> import torch
        >>> embeddings = torch.tensor([[[1.0, 0.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 2.0]]])
        >>> ge2e_softmax_loss(embeddings, torch.tensor(10.0), torch.tensor(-5.0))
        tensor([[2.4757e-03, 2.1269e+00],
                [1.1298e-04, 1.1298e-04]])
    """
    scores, own = _scores(embeddings, scale, offset)
    return -scores.log_softmax(2).where(own, 0).sum(2).to(embeddings.dtype)
