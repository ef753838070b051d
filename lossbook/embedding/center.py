"""Center loss: each embedding is drawn to the center of its class.

Chapter: https://lossbook.example/embedding/center/
"""

import torch
from torch import Tensor

__all__ = ["center_loss", "update_centers"]


def center_loss(embeddings: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
    """Center loss, one value per embedding.

    With x an embedding and c_y the center of its class:

        loss = |x - c_y|^2 / 2

    Centers get no gradient: they follow by `update_centers`. The loss alone is least, too, where
    all embeddings coincide, so the paper adds it, times 0.003, to a softmax cross entropy.

    Args:
        embeddings: Embeddings, shape `(N, D)`, any real numbers.
        centers: Centers of the classes, shape `(C, D)`, in the unit of the embeddings.
        labels: Integer classes in [0, C), int64, shape `(N,)`.

    Returns:
        The loss of each embedding, shape `(N,)`, in the dtype of `embeddings`; inf where that
        cannot hold it (in float16 at 512 coordinates of 16). The paper adds them up.

    Raises:
        ValueError: If `embeddings` or `centers` is not floating or not of two dimensions, the
            shapes disagree, or `labels` are uint8.

    Reference:
        Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV
        2016, eq. 2. doi:10.1007/978-3-319-46478-7_31

    Examples:
        >>> import torch
        >>> centers = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
        >>> center_loss(torch.zeros(2, 2), centers, torch.tensor([0, 1]))
        tensor([ 0.0000, 12.5000])
    """
    _check(embeddings, centers, labels)

    wide = torch.promote_types(embeddings.dtype, torch.float32)
    errors = embeddings.to(wide) - centers.detach().index_select(0, labels).to(wide)
    return ((errors * errors).sum(1) / 2).to(embeddings.dtype)


def update_centers(
    embeddings: Tensor, centers: Tensor, labels: Tensor, *, alpha: float = 0.5
) -> Tensor:
    """Move the centers of center loss towards a batch: the new centers, one row per class.

    Helper of `center_loss`.

    With n_j the number of embeddings of class j in the batch, summed over just those:

        new c_j = c_j - alpha sum_i (c_j - x_i) / (1 + n_j)

    The 1 leaves a class without embeddings where it is, and damps one with few: at alpha 1 a
    single embedding draws its center half of the way.

    Args:
        embeddings: Embeddings, shape `(N, D)`, any real numbers.
        centers: Centers of the classes, shape `(C, D)`. They are not changed.
        labels: Integer classes in [0, C), int64, shape `(N,)`.
        alpha: Rate in [0, 1]; 0 keeps the centers. The paper's 0.5 is the default.

    Returns:
        The new centers, shape `(C, D)`, in the dtype of `centers` and without a gradient.

    Raises:
        ValueError: If `embeddings` or `centers` is not floating or not of two dimensions, the
            shapes disagree, `labels` are uint8, or `alpha` is outside [0, 1].

    Reference:
        Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV
        2016, eq. 4. doi:10.1007/978-3-319-46478-7_31

    Examples:
        >>> import torch
        >>> centers = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
        >>> update_centers(torch.tensor([[4.0, 8.0]]), centers, torch.tensor([0]))
        tensor([[1., 2.],
                [3., 4.]])
    """
    _check(embeddings, centers, labels)
    if not 0 <= alpha <= 1:
        raise ValueError(f"expected alpha in [0, 1], got {alpha}")

    wide = torch.promote_types(centers.dtype, torch.float32)
    old = centers.detach().to(wide)
    pulls = embeddings.detach().to(wide) - old.index_select(0, labels)
    totals = torch.zeros_like(old).index_add(0, labels, pulls)
    counts = torch.zeros_like(old[:, 0]).index_add(0, labels, torch.ones_like(pulls[:, 0]))
    return (old + alpha * totals / (1 + counts)[:, None]).to(centers.dtype)


def _check(embeddings: Tensor, centers: Tensor, labels: Tensor) -> None:
    if embeddings.dim() != 2 or not embeddings.is_floating_point():
        raise ValueError(
            "expected floating embeddings of shape (N, D), "
            f"got {embeddings.dtype} {tuple(embeddings.shape)}"
        )
    if centers.dim() != 2 or centers.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"expected centers of shape (C, {embeddings.shape[1]}), got {tuple(centers.shape)}"
        )
    if not centers.is_floating_point():
        raise ValueError(f"expected floating centers, got {centers.dtype}")
    if labels.dtype == torch.uint8:
        raise ValueError("expected labels of int64, got torch.uint8: call labels.long()")
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"expected labels of shape {tuple(embeddings.shape[:1])}, got {tuple(labels.shape)}"
        )
