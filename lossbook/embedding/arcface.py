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
    scale: float | Tensor = 64.0,
    margin: float | Tensor = 0.5,
) -> Tensor:
    """ArcFace, the additive angular margin loss, one value per embedding, in nats.

    With theta_j the angle between an embedding and prototype j, and y its class:

        loss = -log(exp(scale psi) / (exp(scale psi) + sum_(j != y) exp(scale cos theta_j)))
        psi  = cos(theta_y + margin)               where theta_y + margin <= pi
               cos theta_y - margin sin(margin)    beyond

    Past pi the cosine would rise again and reward the worst angles, so there psi goes on falling
    with cos theta_y, after a jump down at theta_y = pi - margin. Lengths do not count. A zero
    vector has cosine 0 with everything and gets no gradient.

    Args:
        embeddings: Embeddings, shape `(N, D)`, of any length.
        prototypes: Learned centers of the classes, shape `(C, D)`, of any length. They get a
            gradient.
        labels: Integer classes in [0, C), int64, shape `(N,)`.
        scale: Factor of the cosines, at least 0, a number or a tensor of shape `()`. The paper's
            64.0 is the default.
        margin: Angle added to the true one, in radians, in [0, pi/2], a number or a tensor of
            shape `()`, as one that is learned; 0 is cross entropy of the scaled cosines. The
            paper's 0.5 is the default.

    Returns:
        The loss of each embedding, shape `(N,)`, in the dtype of `embeddings`.

    Raises:
        ValueError: If `embeddings` or `prototypes` is not floating or not of two dimensions, the
            shapes disagree, `labels` are uint8, `scale` is negative, `margin` is outside
            [0, pi/2], or either is a tensor of another shape. Tensors' values are not checked.

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
    for name, setting in {"scale": scale, "margin": margin}.items():
        if isinstance(setting, Tensor) and setting.dim():
            raise ValueError(f"expected {name} of shape (), got {tuple(setting.shape)}")
    if not isinstance(scale, Tensor) and not scale >= 0:
        raise ValueError(f"expected scale >= 0, got {scale}")
    if not isinstance(margin, Tensor) and not 0 <= margin <= math.pi / 2:
        raise ValueError(f"expected margin in [0, pi/2] radians, got {margin}")

    wide = torch.promote_types(embeddings.dtype, torch.float32)
    margin = torch.as_tensor(margin, dtype=wide)
    x, lengths = _shorten(embeddings.to(wide))
    x = x / lengths[:, None]
    weights, lengths = _shorten(prototypes.to(wide))
    own = weights[labels] / lengths[labels][:, None]
    cosines = (x * own).sum(1)
    # The sine as a distance: sqrt(1 - cos^2) has no digits and no finite slope where cos is +-1.
    # A zero vector stands at a right angle.
    zero = (x == 0).all(1)
    across = (x - cosines[:, None] * own).masked_fill(zero[:, None], 1)
    sines = torch.linalg.vector_norm(across, dim=1).masked_fill(zero, 1)
    targets = torch.where(
        cosines >= -margin.cos(),
        margin.cos() * cosines - margin.sin() * sines,
        cosines - margin * margin.sin(),
    )
    with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
        logits = ((scale * x).to(wide) @ weights.T) / lengths
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
    step; the official code mixes it in slowly, and never wholly. A zero prototype gets no gradient,
    a zero embedding that of the other logits.

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
        ValueError: If `embeddings` or `prototypes` is not floating or not of two dimensions, the
            shapes disagree, `labels` are uint8, or `margin` is not an integer of at least 1.

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
    x = embeddings.to(wide)
    units, lengths = _shorten(x)
    units = units / lengths[:, None]
    weights, lengths = _shorten(prototypes.to(wide))
    own = weights[labels] / lengths[labels][:, None]
    cosines = (units * own).sum(1)
    cosines = cosines - (cosines - cosines.clamp(-1, 1)).detach()  # Rounding, which has no slope.
    k = (margin / math.pi * cosines.detach().acos()).floor()
    # cos(m theta) as Chebyshev's polynomial of the cosine: no slope of an arc cosine to overflow.
    before, multiple = torch.ones_like(cosines), cosines
    for _ in range(margin - 1):
        before, multiple = multiple, 2 * cosines * multiple - before
    psi = (1 - 2 * (k % 2)) * multiple - 2 * k
    with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
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
    if not prototypes.is_floating_point():
        raise ValueError(f"expected floating prototypes, got {prototypes.dtype}")
    if labels.dtype == torch.uint8:
        raise ValueError("expected labels of int64, got torch.uint8: call labels.long()")
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"expected labels of shape {tuple(embeddings.shape[:1])}, got {tuple(labels.shape)}"
        )


def _shorten(x: Tensor) -> tuple[Tensor, Tensor]:
    # Over the largest entry, so that squares neither overflow nor vanish: lengths are then 1 or
    # more. A zero vector is divided by infinity, which leaves it 0 and stops its gradient.
    largest = x.detach().abs().amax(1, keepdim=True)
    x = x / largest.where(largest > 0, torch.inf)
    return x, (x * x).sum(1).clamp_min(1).sqrt()


def _cross_entropy(logits: Tensor, own: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, with the logit of the true class replaced by `own`."""
    # As softplus of what the others have over it: 1 + a small sum would have no digits of it.
    rivals = logits.scatter(1, labels[:, None], torch.finfo(logits.dtype).min).logsumexp(1)
    return -torch.nn.functional.logsigmoid(own - rivals)
