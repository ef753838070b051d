"""Boundary loss: probability, weighed by its signed distance to the true boundary.

Chapter: https://lossbook.example/segmentation/boundary/
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["boundary_loss", "signed_distance_map"]


def boundary_loss(probabilities: Tensor, distance_maps: Tensor) -> Tensor:
    """Boundary loss, one value per image and class, in pixels.

    With s the probabilities of one class and phi the signed distance to its true boundary,
    positive outside of the mask, over the positions q:

        loss = mean_q phi(q) s(q)

    It falls with every probability inside and rises with every one outside, so a right prediction
    is negative, an empty one 0. Alone it may settle on an empty prediction; the paper adds it to
    a loss of overlap, times 0.01 at first and more with every epoch.

    Args:
        probabilities: Probability of each class at each position, shape `(N, C, *)`: a sigmoid,
            or a softmax over the classes. No logits. Values are not checked.
        distance_maps: Signed distances, in pixels, shape `(N, C, *)`: `signed_distance_map` of
            the true masks, made once per image, not once per step.

    Returns:
        The loss of each class of each image, shape `(N, C)`, in the dtype of `probabilities`.
        The paper sums over the positions; its code takes the mean.

    Raises:
        ValueError: If `probabilities` is not floating or has fewer than two dimensions, or the
            shapes differ.

    Reference:
        Kervadec et al., "Boundary Loss for Highly Unbalanced Segmentation", MIDL 2019.
        arXiv:1812.07032

    Examples:
        >>> import torch
        >>> maps = signed_distance_map(torch.tensor([[[[False, True, True, True]]]]))
        >>> boundary_loss(torch.tensor([[[[0.5, 1.0, 1.0, 1.0]]]]), maps)
        tensor([[-0.6250]])
    """
    if probabilities.dim() < 2 or not probabilities.is_floating_point():
        raise ValueError(
            "expected floating probabilities of shape (N, C, *), "
            f"got {probabilities.dtype} {tuple(probabilities.shape)}"
        )
    if distance_maps.shape != probabilities.shape:
        raise ValueError(
            f"expected distance_maps of shape {tuple(probabilities.shape)}, "
            f"got {tuple(distance_maps.shape)}"
        )

    wide = torch.promote_types(
        torch.promote_types(probabilities.dtype, distance_maps.dtype), torch.float32
    )
    losses = probabilities.to(wide) * distance_maps.to(wide)
    return losses.unsqueeze(-1).flatten(2).mean(2).to(probabilities.dtype)


def signed_distance_map(masks: Tensor, *, spacing: Sequence[float] | None = None) -> Tensor:
    """Signed distance to the boundary of each mask, one value per pixel or voxel.

    Helper of `boundary_loss`.

    With d the Euclidean distance from a pixel to the nearest one of the other kind:

        map = d          outside of the mask
              -(d - 1)   inside

    so pixels of the mask that touch the outside have 0, those that touch the mask from outside 1.
    The paper's code has this shift. With `spacing` the shift is the least length, and what
    touches along the axis of that length has 0. Where a mask is empty or full there is no
    boundary, and the map is 0. Without a spacing squared distances are exact up to 2^24, that of
    4096 pixels; roots, and what is longer, are rounded to float32.

    Args:
        masks: True masks, bool, shape `(N, C, H, W)` or `(N, C, D, H, W)`.
        spacing: Length of a pixel along each axis, one positive number for each of H and W or of
            D, H and W, in the unit of the map. None counts pixels. Squares of the quotients of
            lengths must fit float32.

    Returns:
        The map of each mask, float32, shape `(N, C, H, W)` or `(N, C, D, H, W)`: no gradient.

    Raises:
        ValueError: If `masks` is not bool or not of four or five dimensions, or `spacing` is not
            a positive number for each axis.

    Reference:
        The convention: Kervadec et al., "Boundary Loss for Highly Unbalanced Segmentation", MIDL
        2019. arXiv:1812.07032. One axis after another: Felzenszwalb and Huttenlocher, "Distance
        Transforms of Sampled Functions", Theory of Computing 8, 2012.
        doi:10.4086/toc.2012.v008a019

    Examples:
        >>> import torch
        >>> signed_distance_map(torch.tensor([[[[False, False, True, True, True]]]]))
        tensor([[[[ 2.,  1.,  0., -1., -2.]]]])
    """
    if masks.dim() not in (4, 5) or masks.dtype != torch.bool:
        raise ValueError(
            "expected bool masks of shape (N, C, H, W) or (N, C, D, H, W), "
            f"got {masks.dtype} {tuple(masks.shape)}"
        )
    axes = range(2, masks.dim())
    spacing = tuple(spacing) if spacing is not None else (1.0,) * len(axes)
    if len(spacing) != len(axes) or not all(0 < length < math.inf for length in spacing):
        raise ValueError(f"expected spacing to be {len(axes)} positive numbers, got {spacing}")

    if 0 in masks.shape[2:]:
        return torch.zeros_like(masks, dtype=torch.float32)

    # The nearest pixel of the other kind stands in the line, or in the plane across at a pixel of
    # the line. If that pixel is itself of the other kind, going on from it is only longer.
    unit = min(spacing)
    squares = (spacing[-1] / unit * _gaps(masks)).square()
    for axis, length in zip(axes[:-1], spacing, strict=False):
        step, lines = length / unit, squares.movedim(axis, -1)
        few = 1 + 2**16 // (1 + lines.shape[-1])  # So many fit a processor's cache.
        some = torch.split(lines.flatten(0, -2), few)
        across = torch.cat([_least(these, step) for these in some]).view(lines.shape)
        along = (step * _gaps(masks.movedim(axis, -1))).square()
        squares = torch.minimum(along, across).movedim(-1, axis)
    distances = squares.sqrt()
    distances = torch.where(masks, 1 - distances, distances).where(distances < torch.inf, 0)
    return (unit * distances).contiguous()


def _gaps(masks: Tensor) -> Tensor:
    """Steps along the last dimension to the nearest pixel of the other kind, inf without one."""

    def back(masks: Tensor) -> Tensor:
        places = torch.arange(masks.shape[-1], dtype=torch.float32, device=masks.device)
        changes = masks[..., 1:] != masks[..., :-1]
        last = torch.where(changes, places[:-1], -torch.inf)
        return places - pad(last, (1, 0), value=-torch.inf).cummax(-1).values

    return torch.minimum(back(masks), back(masks.flip(-1)).flip(-1))


def _least(squares: Tensor, step: float) -> Tensor:
    """Least over j of (step (i - j))^2 + squares[j], for every i of the last dimension.

    The best j never falls as i rises. So the best of a middle i parts the js: those before it
    serve the lower half, those after it the upper half. All halves are cut at once, log n times.
    """
    n = squares.shape[-1]
    places = torch.arange(n, device=squares.device)

    def key(gap: Tensor, j: Tensor, square: Tensor) -> Tensor:
        # A cost and its j in one integer, since the bits of positive floats are in their order.
        costs = (step * gap.to(square.dtype)).square() + square
        return costs.view(torch.int32).long() << 32 | j

    ends = places[[0, -1]].expand(*squares.shape[:-1], 2)  # The best j on both sides of a part.
    parts = torch.zeros_like(squares, dtype=torch.int64)  # Which part each j serves.
    for level in range(n.bit_length()):
        width = 1 << n.bit_length() - level
        first = width // 2 - 1
        middles = torch.arange(1 << level, device=squares.device) * width + first
        at_ends = squares.gather(-1, ends)
        best = torch.minimum(
            key(middles - ends[..., :-1], ends[..., :-1], at_ends[..., :-1]),
            key(middles - ends[..., 1:], ends[..., 1:], at_ends[..., 1:]),
        )
        inside = key(parts * width + (first - places), places, squares)
        best = best.scatter_reduce(-1, parts, inside, "amin") & 0xFFFFFFFF
        parts = 2 * parts + (places > best.gather(-1, parts))
        halved = torch.stack([ends[..., :-1], best], -1).flatten(-2)
        ends = torch.cat([halved, ends[..., -1:]], -1)
    nearest = ends[..., 1 : n + 1]
    return (step * (places - nearest).to(squares.dtype)).square() + squares.gather(-1, nearest)
