"""Jaccard loss: one minus the intersection over the union of two soft masks.

Chapter: https://lossbook.example/segmentation/jaccard/
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

__all__ = ["jaccard_loss"]


def _sums(p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of p + t and of p + t - 2 p t, which is what differs."""
    if not _in_reverse_mode(p, t):
        # What differs is summed as such: a difference of sums has no digits where little does.
        return p.sum(2) + t.sum(2), torch.addcmul(t, p, torch.rsub(t, 1, alpha=2)).sum(2)
    sizes, differences = _Sums.apply(p, t)  # type: ignore[no-untyped-call]
    return sizes, differences


class _Sums(torch.autograd.Function):
    """The same, whose slopes together are one pass over memory."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(p, t)
        differences = torch.addcmul(t, p, torch.rsub(t, 1, alpha=2))
        return p.sum(2) + t.sum(2), differences.sum(2)

    @staticmethod
    def backward(
        ctx: Any, to_sizes: Tensor, to_differences: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        p, t = ctx.saved_tensors
        alone, both = ((to_sizes + to_differences)[..., None], -2 * to_differences[..., None])
        to_p, to_t = ctx.needs_input_grad
        return (
            torch.addcmul(alone, both, t) if to_p else None,
            torch.addcmul(alone, both, p) if to_t else None,
        )


def _in_reverse_mode(*inputs: Tensor) -> bool:
    """Whether an own backward helps.

    Not torch.compile, which needs no help, nor torch.func and forward mode, where such a function
    is slow and cannot be nested.
    """
    in_torch_func = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)()
    in_forward_mode = any(unpack_dual(x).tangent is not None for x in inputs)  # type: ignore[no-untyped-call]
    return not (torch.compiler.is_compiling() or in_torch_func or in_forward_mode)


def jaccard_loss(
    probabilities: Tensor, targets: Tensor, *, smooth: float | Tensor = 1e-5
) -> Tensor:
    """Jaccard loss (soft IoU), one value per image and class, in [0, 1].

    With p the probabilities and t the targets of one class, summed over the positions:

        loss = 1 - (sum p t + smooth) / (sum p + sum t - sum p t + smooth)
             = sum (p + t - 2 p t) / (sum (p + t - p t) + smooth)

    It orders predictions as Dice loss does: with D that of twice the `smooth`, it is
    2 D / (1 + D). Void positions are left out by a 0 in both inputs. An empty mask predicted as
    such costs 0; with `smooth = 0` it is 0/0, a nan.

    Args:
        probabilities: Probability of each class at each position, shape `(N, C, *)`: a sigmoid,
            or a softmax over the classes. No logits. Values are not checked.
        targets: True masks, one channel a class, shape `(N, C, *)`: 0 and 1, bool or numbers.
            Soft targets in [0, 1] are accepted, but the loss is not 0 where the probabilities
            equal them.
        smooth: Added to numerator and denominator, at least 0, in positions; a number or a tensor
            of shape `()`. The default 1e-5 is that of MONAI's Dice, whose `jaccard=True` counts it
            half; the paper has none. In float16 a positive one counts as 1.53e-5 or more.

    Returns:
        The loss of each class of each image, shape `(N, C)`, in the dtype of `probabilities`.

    Raises:
        ValueError: If `probabilities` is not floating or has fewer than two dimensions, the
            shapes differ, or `smooth` is a negative number or a tensor of another shape.

    Reference:
        Rahman and Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image
        Segmentation", ISVC 2016. doi:10.1007/978-3-319-50835-1_22

    Examples:
        >>> import torch
        >>> probabilities = torch.tensor([[[1.0, 0.5, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]]])
        >>> targets = torch.tensor([[[1, 1, 0, 0], [0, 0, 0, 0]]])
        >>> jaccard_loss(probabilities, targets)
        tensor([[0.4000, 0.0000]])
    """
    if probabilities.dim() < 2 or not probabilities.is_floating_point():
        raise ValueError(
            "expected floating probabilities of shape (N, C, *), "
            f"got {probabilities.dtype} {tuple(probabilities.shape)}"
        )
    if targets.shape != probabilities.shape:
        raise ValueError(
            f"expected targets of shape {tuple(probabilities.shape)}, got {tuple(targets.shape)}"
        )
    if isinstance(smooth, Tensor):
        if smooth.dim():
            raise ValueError(f"expected smooth of shape (), got {tuple(smooth.shape)}")
    elif not smooth >= 0:
        raise ValueError(f"expected smooth >= 0, got {smooth}")

    wide = torch.promote_types(
        torch.promote_types(probabilities.dtype, targets.dtype), torch.float32
    )
    p, t = (x.to(wide).unsqueeze(-1).flatten(2) for x in (probabilities, targets))
    # The slope at two empty masks is 1 / smooth, which must fit.
    least = 1 / torch.finfo(probabilities.dtype).max
    if isinstance(smooth, Tensor):
        smooth = smooth.to(wide)
        smooth = smooth.clamp_min(least).where(smooth > 0, smooth)
    elif smooth > 0:
        smooth = max(smooth, least)
    sizes, differences = _sums(p, t)
    unions = (sizes + differences) / 2
    return (differences / (unions + smooth)).to(probabilities.dtype)
