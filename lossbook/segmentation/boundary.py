"""Boundary loss: probability, weighed by its signed distance to the true boundary.

Chapter: https://lossbook.example/segmentation/boundary/
"""

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

    wide = torch.promote_types(probabilities.dtype, torch.float32)
    losses = probabilities.to(wide) * distance_maps.to(wide)
    return losses.unsqueeze(-1).flatten(2).mean(2).to(probabilities.dtype)


def signed_distance_map(masks: Tensor) -> Tensor:
    """Signed distance to the boundary of each mask, one value per pixel, in pixels.

    With d the Euclidean distance from a pixel to the nearest one of the other kind:

        map = d          outside of the mask
              -(d - 1)   inside

    so pixels of the mask that touch the outside have 0, those that touch the mask from outside 1.
    The paper's code has this shift. Where a mask is empty or full there is no boundary, and the
    map is 0. Squared distances are exact up to 2^24, that of 4096 pixels; roots, and what is
    longer, are rounded to float32.

    Args:
        masks: True masks, bool, shape `(N, C, H, W)`.

    Returns:
        The map of each mask, float32, shape `(N, C, H, W)`. It has no gradient.

    Raises:
        ValueError: If `masks` is not bool or not of four dimensions.

    Reference:
        The convention: Kervadec et al., "Boundary Loss for Highly Unbalanced Segmentation", MIDL
        2019. arXiv:1812.07032. Columns first, then rows: Felzenszwalb and Huttenlocher, "Distance
        Transforms of Sampled Functions", Theory of Computing 8, 2012.
        doi:10.4086/toc.2012.v008a019

    Examples:
        >>> import torch
        >>> signed_distance_map(torch.tensor([[[[False, False, True, True, True]]]]))
        tensor([[[[ 2.,  1.,  0., -1., -2.]]]])
    """
    if masks.dim() != 4 or masks.dtype != torch.bool:
        raise ValueError(
            f"expected bool masks of shape (N, C, H, W), got {masks.dtype} {tuple(masks.shape)}"
        )
    height, width = masks.shape[-2:]
    if width > height:  # Every pixel looks along its row: let the rows be the shorter lines.
        return signed_distance_map(masks.mT).mT.contiguous()

    # The nearest pixel of the other kind stands in the row, or over or under a pixel of the row.
    # If that pixel is itself of the other kind, going on from it is only longer than `across`.
    across = _gaps(masks).square()
    down = _gaps(masks.mT).mT.square()
    places = torch.arange(width, dtype=torch.float32, device=masks.device)
    steps = (places - places[:, None]).square()
    rows = down.flatten(0, -2).unsqueeze(1)
    # A few rows at a time: every pixel of a row with every other is a square of the width.
    few = 1 + 2**20 // (1 + width**2)
    around = torch.cat([(some + steps).amin(2) for some in torch.split(rows, few)])
    distances = torch.minimum(across, around.view_as(across)).sqrt()
    return torch.where(masks, 1 - distances, distances).where(distances < torch.inf, 0)


def _gaps(masks: Tensor) -> Tensor:
    """Steps along the last dimension to the nearest pixel of the other kind, inf without one."""

    def back(masks: Tensor) -> Tensor:
        places = torch.arange(masks.shape[-1], dtype=torch.float32, device=masks.device)
        changes = masks[..., 1:] != masks[..., :-1]
        last = torch.where(changes, places[:-1], -torch.inf)
        return places - pad(last, (1, 0), value=-torch.inf).cummax(-1).values

    return torch.minimum(back(masks), back(masks.flip(-1)).flip(-1))
