"""Cosine distance: the angle between two vectors, whatever their lengths.

Chapter: https://lossbook.example/embedding/cosine/
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

__all__ = ["cosine_distance", "cosine_embedding_loss"]


def cosine_distance(predictions: Tensor, targets: Tensor, *, dim: int = -1) -> Tensor:
    """Cosine distance, one value per pair of vectors, in [0, 2].

    For a prediction u and a target v:

        loss = 1 - (u . v) / (|u| |v|) = |u / |u| - v / |v||^2 / 2

    It is 0 for equal directions, 1 at a right angle and 2 for opposite ones. Cosine proximity,
    which some libraries minimize, is this minus 1. A zero vector has no direction: its distance
    to everything is 1 and its gradient 0. Half the squared chord keeps its digits where the
    directions nearly agree, 1 minus a cosine does not.

    Args:
        predictions: Predicted vectors, shape `(*)`, of any length.
        targets: True vectors, shape `(*)`. They get a gradient, too.
        dim: Dimension along which the vectors lie, from either end. The default, the last one, is
            the book's.

    Returns:
        The distance of each pair, shape `(*)` without `dim`, in the dtype of `predictions`.

    Raises:
        ValueError: If `predictions` is not floating or the shapes differ.

    Reference:
        Salton, Wong and Yang, "A Vector Space Model for Automatic Indexing", Communications of
        the ACM 18, 1975.

    Examples:
        >>> import torch
        >>> predictions = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
        >>> cosine_distance(predictions, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor([0.4000, 1.0000])
    """
    if not predictions.is_floating_point():
        raise ValueError(f"expected floating predictions, got {predictions.dtype}")
    if predictions.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(predictions.shape)}, got {tuple(targets.shape)}"
        )

    wide = torch.promote_types(predictions.dtype, torch.float32)
    return _distance(predictions.to(wide), targets.to(wide), dim).to(predictions.dtype)


def cosine_embedding_loss(
    embeddings1: Tensor, embeddings2: Tensor, targets: Tensor, *, margin: float | Tensor = 0.0
) -> Tensor:
    """Cosine embedding loss, one value per pair of embeddings.

    With the cosine of the two embeddings:

        loss = 1 - cosine                where the target is 1
               max(0, cosine - margin)   where it is -1

    Args:
        embeddings1: First embeddings, shape `(N, D)`, of any length.
        embeddings2: Second embeddings, shape `(N, D)`.
        targets: 1 for a pair that belongs together, -1 for one that does not, shape `(N,)`.
            Values are not checked; whatever is not positive counts as -1.
        margin: Cosine up to which a pair that does not belong together costs nothing, from -1 to
            1, a number or a tensor of shape `()`. The default 0.0, a right angle, is PyTorch's.

    Returns:
        The loss of each pair, shape `(N,)`, in the dtype of `embeddings1`.

    Raises:
        ValueError: If `embeddings1` or `embeddings2` is not floating, `embeddings1` is not of two
            dimensions, the shapes disagree, or `margin` is a tensor of another shape.

    Reference:
        The form is that of Lua Torch's CosineEmbeddingCriterion: Collobert, Kavukcuoglu and
        Farabet, "Torch7: A Matlab-like Environment for Machine Learning", BigLearn, 2011.

    Examples:
        >>> import torch
        >>> embeddings1 = torch.tensor([[3.0, 4.0], [3.0, 4.0]])
        >>> embeddings2 = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> cosine_embedding_loss(embeddings1, embeddings2, torch.tensor([1, -1]))
        tensor([0.4000, 0.6000])
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
    if targets.shape != embeddings1.shape[:1]:
        raise ValueError(
            f"expected targets of shape {tuple(embeddings1.shape[:1])}, got {tuple(targets.shape)}"
        )
    if isinstance(margin, Tensor) and margin.dim():
        raise ValueError(f"expected margin of shape (), got {tuple(margin.shape)}")

    wide = torch.promote_types(embeddings1.dtype, torch.float32)
    distances = _distance(embeddings1.to(wide), embeddings2.to(wide), -1)
    losses = torch.where(targets > 0, distances, (1 - distances - margin).clamp_min(0))
    return losses.to(embeddings1.dtype)


def _distance(x: Tensor, y: Tensor, dim: int) -> Tensor:
    if not _in_reverse_mode(x, y):
        return _formula(x, y, dim)
    distances: Tensor = _Distance.apply(x, y, dim)  # type: ignore[no-untyped-call]
    return distances


def _formula(x: Tensor, y: Tensor, dim: int) -> Tensor:
    # A length is a constant here, since none matters.
    x, y = x / _units(x.detach(), dim)[1], y / _units(y.detach(), dim)[1]
    squares = [z.square().sum(dim) for z in (x, y)]
    zero = (squares[0] == 0) | (squares[1] == 0)
    # Lengths that are 1 but for rounding, or past the largest number. With them, half the
    # squared chord of x / a and y / b is (|x - y|^2 - (a - b)^2) / (2 a b).
    a, b = (square.masked_fill(zero, 1).sqrt() for square in squares)
    chords = (x - y).square().sum(dim) - (a - b).square()
    distances: Tensor = chords / (2 * a * b)
    # Rounding may pass the ends. The cut is a constant, so that slopes go on there.
    distances = distances + (distances.clamp(0, 2) - distances).detach()
    return distances.masked_fill(zero, 1)


class _Distance(torch.autograd.Function):
    """The same in half the time: with unit vectors u and v, the slope is (u - v - d u) / |x|."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        (u, x_length), (v, y_length) = _units(x, dim), _units(y, dim)
        zero = x_length.isposinf() | y_length.isposinf()
        d = (u - v).square_().sum(dim, keepdim=True).div_(2).clamp_max_(2).masked_fill_(zero, 1)
        ctx.save_for_backward(x, y, u, v, x_length, y_length, d)
        return d.squeeze(dim).clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, y, u, v, x_length, y_length, d = ctx.saved_tensors
        to_x, to_y = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # A second derivative is that of the formula.
            x, y = x.view_as(x), y.view_as(y)  # So that neither is computed from the other.
            distances = _formula(x, y, ctx.dim)
            of_x, of_y = (
                torch.autograd.grad(distances, z, gradient, create_graph=True)[0]
                if wanted
                else None
                for z, wanted in ((x, to_x), (y, to_y))
            )
            return of_x, of_y, None
        chord, gradient = u - v, gradient.unsqueeze(ctx.dim)
        # Divided once, since the gradient over the length of a short vector may overflow.
        of_x = torch.addcmul(chord, d, u, value=-1) / (x_length / gradient) if to_x else None
        of_y = chord.addcmul_(d, v) / (-y_length / gradient) if to_y else None
        return of_x, of_y, None


def _in_reverse_mode(*inputs: Tensor) -> bool:
    """Whether an own backward helps.

    Not torch.compile, which needs no help, nor torch.func and forward mode, where such a function
    is slow and cannot be nested.
    """
    in_torch_func = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)()
    in_forward_mode = any(unpack_dual(x).tangent is not None for x in inputs)  # type: ignore[no-untyped-call]
    return not (torch.compiler.is_compiling() or in_torch_func or in_forward_mode)


def _units(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Compute x over its length, and that; a zero vector alone is infinitely long, and stays 0."""
    # By way of the largest entry, so that squares neither overflow nor vanish.
    largest = x.abs().amax(dim, keepdim=True)
    largest = largest.where(largest > 0, torch.inf)
    unit = x / largest
    length = torch.linalg.vector_norm(unit, dim=dim, keepdim=True).clamp_min(1)
    size = (largest * length).clamp_max(torch.finfo(x.dtype).max)
    return unit / length, torch.maximum(size, largest)
