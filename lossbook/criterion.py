"""Criterion: any loss of lossbook as a module, with its settings, reduction, weights and masks.

Chapter: https://lossbook.example/foundations/weights_masks_means/
"""

import functools
import inspect
import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Criterion"]


class Criterion(nn.Module):
    """Weighs and reduces the values of a lossbook function.

    The mean is one quotient over everything that is passed in:

        mean = sum(weights * losses) / sum(weights),    or    / normalizer

    Class weights, masks, padding, gradient accumulation and several devices are all choices of
    `weights` and `normalizer`. A mask is weights of 0 and 1.

    Args:
        loss: A lossbook function, or any other: tensors in, unreduced losses out.
        reduction: `"mean"`, `"sum"` (of weights * losses) or `"none"` (weights * losses).
        ignore_index: Label whose positions get weight 0, for losses whose second input is
            integer labels; the loss sees label 0 there. It is not for losses that compare rows
            with each other: leave the rows out of those.
        **settings: Keyword arguments of `loss`. Parameters among them are parameters of the
            module, other tensors buffers.

    Raises:
        ValueError: If `reduction` is none of the three, or `ignore_index` is given for a lossbook
            function of `embeddings`, `box_offsets` or `student_logits`.
        TypeError: If `loss` has no setting of a given name.

    Examples:
        >>> import torch
        >>> from lossbook import cross_entropy
        >>> logits, labels = torch.zeros(3, 4), torch.tensor([1, 2, -100])
        >>> Criterion(cross_entropy, ignore_index=-100)(logits, labels)
        tensor(1.3863)
    """

    def __init__(
        self,
        loss: Callable[..., Tensor],
        *,
        reduction: Literal["mean", "sum", "none"] = "mean",
        ignore_index: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
        try:
            signature = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss)
        except ValueError:  # Of a function written in C.
            names = []
        else:
            signature.bind_partial(**settings)
            names = list(signature.parameters)
        first = next(iter(names), None)
        if ignore_index is not None and first in _ROWS and _is_ours(loss):
            raise ValueError(
                f"expected no ignore_index for a loss of {first} (leave the ignored rows out of "
                f"its inputs), got {ignore_index}"
            )
        self.loss = loss
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.second = names[1] if len(names) > 1 else "labels"
        self.names = tuple(settings)
        for name, value in settings.items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                self.register_buffer(f"setting_{name}", value)
            else:
                setattr(self, f"setting_{name}", value)

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, f"setting_{name}") for name in self.names}

    if TYPE_CHECKING:

        def __call__(
            self,
            *inputs: Any,
            weights: Tensor | None = None,
            normalizer: float | Tensor | None = None,
            **named: Any,
        ) -> Tensor:
            """Call `forward`: nn.Module itself promises no type."""

    def forward(
        self,
        *inputs: Any,
        weights: Tensor | None = None,
        normalizer: float | Tensor | None = None,
        **named: Any,
    ) -> Tensor:
        """Compute the loss of the inputs and reduce it.

        Args:
            *inputs: The tensors that the loss takes.
            weights: Weight of each unreduced value, exactly of their shape; bool, integer or
                floating. A weight of 0 removes its value, nan and inf included, and sends exactly
                0 back into the loss and to the weight. The loss's own backward may still make a
                nan of that where an input is nan or infinite, or its slope overflows: replace such
                inputs before the call.
            normalizer: What the mean divides by in place of the sum of the weights, positive: a
                global count, when one mean is spread over several batches or devices.
            **named: Inputs by name.

        Returns:
            A scalar in float32, or wider where the losses or the weights are; when `reduction` is
            `"none"`, the weighted losses in their own shape and dtype. Where all weights are 0, or
            the batch is empty, the mean is 0 with zero gradient. Weights of both signs that cancel
            need a normalizer: the mean divides by their sum, 0.

        Raises:
            ValueError: If `weights` or the labels for `ignore_index` have another shape than the
                unreduced loss, those labels are not integers, or `normalizer` is a number that is
                not positive or a tensor of several elements.
        """
        if self.reduction != "mean":
            normalizer = None
        if isinstance(normalizer, Tensor):
            if normalizer.numel() != 1:
                shape = tuple(normalizer.shape)
                raise ValueError(f"expected normalizer of one element, got {shape}")
        elif normalizer is not None and not normalizer > 0:
            raise ValueError(f"expected normalizer > 0, got {normalizer}")
        kept = None
        if self.ignore_index is not None:
            labels = inputs[1] if len(inputs) > 1 else named.get(self.second)
            if not isinstance(labels, Tensor) or labels.is_floating_point():
                given = labels.dtype if isinstance(labels, Tensor) else labels
                raise ValueError(
                    f"expected integer labels as second input for ignore_index, got {given}"
                )
            kept = labels != self.ignore_index
            labels = labels.where(kept, 0)
            if len(inputs) > 1:
                inputs = (inputs[0], labels, *inputs[2:])
            else:
                named[self.second] = labels

        losses = self.loss(*inputs, **named, **self._settings())
        for what, mask in (("weights", weights), ("labels for ignore_index", kept)):
            if mask is not None and mask.shape != losses.shape:
                raise ValueError(
                    f"expected {what} of shape {tuple(losses.shape)}, got {tuple(mask.shape)}"
                )

        wide = torch.promote_types(losses.dtype, torch.float32)
        if weights is not None and weights.is_floating_point():
            wide = torch.promote_types(wide, weights.dtype)
        if kept is not None:
            weights = kept.to(wide) if weights is None else weights.to(wide).where(kept, 0)
        values = losses.to(wide)
        if weights is not None:
            weights = weights.to(wide)
            weighs = weights != 0
            values = weights * values.where(weighs, 0)
        if self.reduction == "none":
            return values.to(losses.dtype) if losses.is_floating_point() else values
        total = values.sum()
        if self.reduction == "sum":
            return total

        if isinstance(normalizer, Tensor):
            divisor = normalizer.to(total).reshape(())
        elif normalizer is not None:
            return total / normalizer  # A Python number keeps its digits.
        elif weights is not None:
            divisor = weights.where(weighs, 0).sum()
        else:  # The slope of mean() would be a tensor as large as the losses.
            return total / max(losses.numel(), 1)
        left = torch.ones_like(losses, dtype=torch.bool) if weights is None else weighs
        return total / divisor.where(left.any(), 1)

    def extra_repr(self) -> str:
        """Describe the loss and its settings; of a tensor, its shape alone."""
        parts = [getattr(self.loss, "__name__", type(self.loss).__name__)]
        parts.append(f"reduction={self.reduction!r}")
        if self.ignore_index is not None:
            parts.append(f"ignore_index={self.ignore_index}")
        for name, value in self._settings().items():
            if isinstance(value, Tensor):
                parts.append(f"{name}={type(value).__name__}{tuple(value.shape)}")
            else:
                parts.append(f"{name}={reprlib.repr(value)}")
        return ", ".join(parts)


# First inputs of the losses that compare rows with each other, or have labels elsewhere.
_ROWS = ("embeddings", "box_offsets", "student_logits")


def _is_ours(loss: Callable[..., Tensor]) -> bool:
    while isinstance(loss, functools.partial):
        loss = loss.func
    return str(getattr(loss, "__module__", None)).split(".")[0] == "lossbook"
