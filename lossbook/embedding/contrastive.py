"""Contrastive loss: pairs that belong together attract, the others repel up to a margin.

Chapter: https://lossbook.example/embedding/contrastive/
"""

import torch
from torch import Tensor

__all__ = ["contrastive_loss"]


def contrastive_loss(
    embeddings1: Tensor, embeddings2: Tensor, is_same: Tensor, *, margin: float | Tensor = 1.0
) -> Tensor:
    """Contrastive loss, one value per pair of embeddings.

    With d the Euclidean distance between the two embeddings:

        loss = d^2 / 2                    where the pair is the same
               max(0, margin - d)^2 / 2   where it is different

    Embeddings are used as given. A different pair at one point costs margin^2 / 2 and gets no
    gradient, since no direction leads apart sooner than another.

    Args:
        embeddings1: First embeddings, shape `(N, D)`, any real numbers.
        embeddings2: Second embeddings, shape `(N, D)`.
        is_same: Whether the two belong together, bool, shape `(N,)`. The paper's Y is the
            opposite: 0 for a similar pair.
        margin: Distance from which a different pair costs nothing, positive, in the unit of the
            embeddings, a number or a tensor of shape `()`. The default 1.0 is the common one; the
            paper gives none.

    Returns:
        The loss of each pair, shape `(N,)`, in the dtype of `embeddings1`: infinite in float16 from
        a distance of 362 on.

    Raises:
        ValueError: If `embeddings1` or `embeddings2` is not floating, `embeddings1` is not of two
            dimensions, the shapes disagree, `is_same` is not bool, or `margin` is a tensor of
            another shape.

    Reference:
        Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping",
        CVPR 2006, eq. 4. doi:10.1109/CVPR.2006.100

    Examples:
        >>> import torch
        >>> embeddings1 = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
        >>> embeddings2 = torch.tensor([[0.3, 0.4], [0.3, 0.4]])
        >>> contrastive_loss(embeddings1, embeddings2, torch.tensor([True, False]))
        tensor([0.1250, 0.1250])
    """
    if embeddings1.dim() != 2 or not embeddings1.is_floating_point():
        raise ValueError(
            "expected floating embeddings1 of shape (N, D), "
            f"got {embeddings1.dtype} {tuple(embeddings1.shape)}"
        )
    if embeddings2.shape != embeddings1.shape:
        raise ValueError(
            f"expected embeddings2 of shape {tuple(embeddings1.shape)}, "
            f"got {tuple(embeddings2.shape)}"
        )
    if not embeddings2.is_floating_point():
        raise ValueError(f"expected floating embeddings2, got {embeddings2.dtype}")
    if is_same.shape != embeddings1.shape[:1] or is_same.dtype != torch.bool:
        raise ValueError(
            f"expected bool is_same of shape {tuple(embeddings1.shape[:1])}, "
            f"got {is_same.dtype} {tuple(is_same.shape)}"
        )
    if isinstance(margin, Tensor) and margin.dim():
        raise ValueError(f"expected margin of shape (), got {tuple(margin.shape)}")

    wide = torch.promote_types(embeddings1.dtype, torch.float32)
    apart = embeddings1.to(wide) - embeddings2.to(wide)
    squares = (apart * apart).sum(1)
    # The root of 0 has an infinite slope, which no mask behind it stops.
    distances = squares.where(squares != 0, 1).sqrt().where(squares != 0, 0)
    losses = torch.where(is_same, squares, (margin - distances).clamp_min(0).square()) / 2
    return losses.to(embeddings1.dtype)
