"""Total variation: how much an image changes from each pixel to the next.

Chapter: https://lossbook.example/image/total_variation/
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["total_variation"]


def total_variation(images: Tensor, *, kind: str = "anisotropic") -> Tensor:
    """Total variation, one value per image.

    With d_x and d_y the differences to the right and to the lower neighbor, summed over channels
    and pixels:

        anisotropic: sum |d_x| + |d_y|
        isotropic:   sum sqrt(d_x^2 + d_y^2)
        squared:     sum d_x^2 + d_y^2

    The last column has no d_x and the last row no d_y: there the other stands alone. The first
    two let edges stand and remove noise; the square blurs both.

    Args:
        images: Images, shape `(N, C, H, W)`, any real numbers.
        kind: "anisotropic", "isotropic" (the paper's) or "squared".

    Returns:
        The sum of each image, shape `(N,)`, in the dtype of `images`. It grows with the number of
        pixels.

    Raises:
        ValueError: If `images` is not floating or not of four dimensions, or `kind` is unknown.

    Reference:
        Rudin, Osher and Fatemi, "Nonlinear Total Variation Based Noise Removal Algorithms",
        Physica D 60, 1992. doi:10.1016/0167-2789(92)90242-F

    Examples:
        >>> import torch
        >>> images = torch.tensor([[[[0.0, 4.0], [3.0, 3.0]]]])
        >>> for kind in ("anisotropic", "isotropic", "squared"):
        ...     print(total_variation(images, kind=kind))
        tensor([8.])
        tensor([6.])
        tensor([26.])
    """
    if images.dim() != 4 or not images.is_floating_point():
        raise ValueError(
            "expected floating images of shape (N, C, H, W), "
            f"got {images.dtype} {tuple(images.shape)}"
        )
    if kind not in ("anisotropic", "isotropic", "squared"):
        raise ValueError(
            f"expected kind to be 'anisotropic', 'isotropic' or 'squared', got {kind!r}"
        )

    wide = torch.promote_types(images.dtype, torch.float32)
    right, down = (images.to(wide).diff(dim=axis) for axis in (3, 2))
    if kind == "isotropic":
        right, down = pad(right, (0, 1)), pad(down, (0, 0, 0, 1))
        # The root has no slope at 0, where a mask behind it would come too late.
        flat = (right == 0) & (down == 0)
        lengths = torch.hypot(right.masked_fill(flat, 1), down).masked_fill(flat, 0)
        total = lengths.sum((1, 2, 3))
    elif kind == "squared":
        total = right.square().sum((1, 2, 3)) + down.square().sum((1, 2, 3))
    else:
        total = right.abs().sum((1, 2, 3)) + down.abs().sum((1, 2, 3))
    return total.to(images.dtype)
