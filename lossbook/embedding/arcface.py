"""ArcFace and SphereFace: softmax over angles, with a margin on the true one.

Chapter: https://lossbook.example/embedding/arcface/
"""

import math

import torch
from torch import Tensor

__all__ = ["arcface_loss", "sphereface_loss"]


def arcface_loss(
    embeddings: Tensor,
    prototypes: Tensor,
    labels: Tensor,
    *,
    scale: float = 64.0,
    margin: float = 0.5,
) -> Tensor:
    """ArcFace, the additive angular margin loss, one value per embedding, in nats.

    With theta_j the angle between an embedding and prototype j, and y its class:

        loss = -log(exp(scale t) / (exp(scale t) + sum_(j != y) exp(scale cos theta_j)))
        t    = cos(theta_y + margin)               where theta_y + margin <= pi
               cos theta_y - margin sin(margin)    beyond

    Past pi the cosine would rise again and reward the worst angles, so there t goes on falling
    with cos theta_y, after a jump down at theta_y = pi - margin. Lengths do not count. A zero
    vector has cosine 0 with everything and gets no gradient.

    Args:
        embeddings: Embeddings, shape `(N, D)`, of any length.
        prototypes: Learned centers of the classes, shape `(C, D)`, of any length. They get a
            gradient.
        labels: Integer classes in [0, C), int64, shape `(N,)`.
        scale: Factor of the cosines, at least 0. The paper's 64.0 is the default.
        margin: Angle added to the true one, in radians, in [0, pi/2]; 0 is cross entropy of the
            scaled cosines. The paper's 0.5 is the default.

    Returns:
        The loss of each embedding, shape `(N,)`, in the dtype of `embeddings`.

    Raises:
        ValueError: If `embeddings` is not floating or not of two dimensions, the shapes disagree,
            `scale` is negative or `margin` is outside [0, pi/2].

    Reference:
        Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019,
        eq. 3. arXiv:1801.07698

    Examples:
        >>> import torch
        >>> embeddings = torch.tensor([[3.0, 4.0], [3.0, 4.0]])
        >>> prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> arcface_loss(embeddings, prototypes, torch.tensor([0, 1]), scale=10.0)
        tensor([6.5713, 2.0011])
    """
    _check(embeddings, prototypes, labels)
    if not scale >= 0:
        raise ValueError(f"expected scale >= 0, got {scale}")
    if not 0 <= margin <= math.pi / 2:
        raise ValueError(f"expected margin in [0, pi/2] radians, got {margin}")

    wide = torch.promote_types(embeddings.dtype, torch.float32)
    x, weights = embeddings.to(wide), prototypes.to(wide)
    lengths = _lengths(weights)
    x = x / _lengths(x)[:, None]
    own = weights[labels] / lengths[labels][:, None]
    cosines = (x * own).sum(1)
    # The sine as a distance: sqrt(1 - cos^2) has no digits and no finite slope where cos is +-1.
    # At cosine 0 it is 1, also for a zero vector.
    sines = torch.linalg.vector_norm(x - cosines[:, None] * own, dim=1).where(cosines != 0, 1)
    targets = torch.where(
        cosines >= -math.cos(margin),
        math.cos(margin) * cosines - math.sin(margin) * sines,
        cosines - margin * math.sin(margin),
    )
    with torch.autocast(x.device.type, enabled=False):
        logits = ((scale * x) @ weights.T) / lengths
    return _cross_entropy(logits, scale * targets, labels).to(embeddings.dtype)


def sphereface_loss(
    embeddings: Tensor, prototypes: Tensor, labels: Tensor, *, margin: int = 4
) -> Tensor:
    """SphereFace, the angular softmax (A-Softmax) loss, one value per embedding, in nats.

    With theta_j the angle between an embedding x and prototype j, y its class, m the margin and
    k the whole number for which k pi <= m theta_y <= (k + 1) pi:

        loss = -log(exp(|x| psi) / (exp(|x| psi) + sum_(j != y) exp(|x| cos theta_j)))
        psi  = (-1)^k cos(m theta_y) - 2k

    Prototypes are scaled to length 1, embeddings are not. The margin is there from the first
    step; the official code mixes it in slowly, and never wholly.

    Args:
        embeddings: Embeddings, shape `(N, D)`, whose length sharpens the softmax.
        prototypes: Learned centers of the classes, shape `(C, D)`, of any length. They get a
            gradient.
        labels: Integer classes in [0, C), int64, shape `(N,)`.
        margin: Factor of the true angle, a whole number, at least 1; 1 is cross entropy with
            prototypes of length 1. The paper's 4 is the default.

    Returns:
        The loss of each embedding, shape `(N,)`, in the dtype of `embeddings`.

    Raises:
        ValueError: If `embeddings` is not floating or not of two dimensions, the shapes disagree,
            or `margin` is not an integer of at least 1.

    Reference:
        Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", CVPR 2017,
        eq. 7. arXiv:1704.08063

    Examples:
        >>> import torch
        >>> embeddings = torch.tensor([[3.0, 4.0], [3.0, 4.0]])
        >>> prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> sphereface_loss(embeddings, prototypes, torch.tensor([0, 1]))
        tensor([9.7841, 7.2167])
    """
    _check(embeddings, prototypes, labels)
    if not isinstance(margin, int) or margin < 1:
        raise ValueError(f"expected margin to be an integer >= 1, got {margin}")

    wide = torch.promote_types(embeddings.dtype, torch.float32)
    x, weights = embeddings.to(wide), prototypes.to(wide)
    lengths = _lengths(weights)
    units = x / _lengths(x)[:, None]
    own = weights[labels] / lengths[labels][:, None]
    cosines = (units * own).sum(1).clamp(-1, 1)
    k = (margin / math.pi * cosines.detach().acos()).floor()
    # cos(m theta) as Chebyshev's polynomial of the cosine: no slope of an arc cosine to overflow.
    before, multiple = torch.ones_like(cosines), cosines
    for _ in range(margin - 1):
        before, multiple = multiple, 2 * cosines * multiple - before
    psi = (1 - 2 * (k % 2)) * multiple - 2 * k
    with torch.autocast(x.device.type, enabled=False):
        logits = (x @ weights.T) / lengths
    return _cross_entropy(logits, (units * x).sum(1) * psi, labels).to(embeddings.dtype)


def _check(embeddings: Tensor, prototypes: Tensor, labels: Tensor) -> None:
    if embeddings.dim() != 2 or not embeddings.is_floating_point():
        raise ValueError(
            "expected floating embeddings of shape (N, D), "
            f"got {embeddings.dtype} {tuple(embeddings.shape)}"
        )
    if prototypes.dim() != 2 or prototypes.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"expected prototypes of shape (C, {embeddings.shape[1]}), "
            f"got {tuple(prototypes.shape)}"
        )
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"expected labels of shape {tuple(embeddings.shape[:1])}, got {tuple(labels.shape)}"
        )


def _lengths(x: Tensor) -> Tensor:
    # Of the vectors over their largest entries, so that squares neither overflow nor vanish. A
    # zero vector counts as infinitely long: what is divided by that is 0 and gets no gradient.
    largest = x.detach().abs().amax(1)
    largest = largest.where(largest > 0, torch.inf)
    shortened: Tensor = torch.linalg.vector_norm(x / largest[:, None], dim=1)
    return largest * shortened.clamp_min(1)


def _cross_entropy(logits: Tensor, own: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, with the logit of the true class replaced by `own`."""
    places = labels[:, None]
    log_p = logits.scatter(1, places, own[:, None]).log_softmax(1)
    return -log_p.gather(1, places).squeeze(1)
