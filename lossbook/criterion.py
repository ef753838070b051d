"""Criterion: any loss of lossbook as a module, with its settings, reduction, weights and masks.

Chapter: https://lossbook.example/foundations/weights_masks_means/
"""

import inspect
from collections.abc import Callable
from typing import Any

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
        loss: A lossbook function: tensors in, unreduced losses out.
        reduction: `"mean"`, `"sum"` (of weights * losses) or `"none"` (weights * losses).
        ignore_index: Label whose positions get weight 0, for losses whose second input is
            integer labels; the loss sees label 0 there.
        **settings: Keyword arguments of `loss`. Tensors among them move with the module.

    Raises:
        ValueError: If `reduction` is none of the three.
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
        reduction: str = "mean",
        ignore_index: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
        inspect.signature(loss).bind_partial(**settings)
        self.loss = loss
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.names = tuple(settings)
        for name, value in settings.items():
            if isinstance(value, Tensor):
                self.register_buffer(f"setting_{name}", value)
            else:
                setattr(self, f"setting_{name}", value)

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, f"setting_{name}") for name in self.names}

    def forward(
        self,
        *inputs: Tensor,
        weights: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of `inputs` and reduce it.

        Args:
            *inputs: The tensors that the loss takes.
            weights: Weight of each unreduced value, exactly of their shape; bool, integer or
                floating. A weight of 0 removes its value, nan and inf included.
            normalizer: What the mean divides by in place of the sum of the weights, positive: a
                global count, when one mean is spread over several batches or devices.

        Returns:
            A scalar, or the shape of the unreduced loss when `reduction` is `"none"`; in the
            dtype of the loss, summed in float32 or wider. Where all weights are 0, or the batch
            is empty, the mean is 0 with zero gradient.

        Raises:
            ValueError: If `weights` or the labels for `ignore_index` have another shape than the
                unreduced loss, those labels are not integers, or `normalizer` is a number that is
                not positive or a tensor of several elements.
        """
        if self.reduction != "mean":
            normalizer = None
        if isinstance(normalizer, (int, float)) and not normalizer > 0:
            raise ValueError(f"expected normalizer > 0, got {normalizer}")
        if isinstance(normalizer, Tensor) and normalizer.numel() != 1:
            raise ValueError(f"expected normalizer of one element, got {tuple(normalizer.shape)}")
        kept = None
        if self.ignore_index is not None:
            labels = inputs[1] if len(inputs) > 1 else None
            if not isinstance(labels, Tensor) or labels.is_floating_point():
                raise ValueError("expected integer labels as second input for ignore_index")
            kept = labels != self.ignore_index
            inputs = (inputs[0], labels.where(kept, 0), *inputs[2:])

        losses = self.loss(*inputs, **self._settings())
        for what, given in (("weights", weights), ("labels for ignore_index", kept)):
            if given is not None and given.shape != losses.shape:
                raise ValueError(
                    f"expected {what} of shape {tuple(losses.shape)}, got {tuple(given.shape)}"
                )

        wide = torch.promote_types(losses.dtype, torch.float32)
        if weights is not None and weights.is_floating_point():
            wide = torch.promote_types(wide, weights.dtype)
        if kept is not None:
            weights = kept.to(wide) if weights is None else weights.to(wide).where(kept, 0)
        values = losses.to(wide)
        if weights is not None:
            weights = weights.to(wide)
            values = weights * values.where(weights != 0, 0)
        if self.reduction == "none":
            return values.to(losses.dtype)
        total = values.sum()
        if self.reduction == "sum":
            return total.to(losses.dtype)

        count = total.new_full((), losses.numel()) if weights is None else weights.sum()
        divisor = count if normalizer is None else torch.as_tensor(normalizer).to(count).reshape(())
        mean = total / divisor.where(count != 0, 1)
        if normalizer is None:
            mean = mean.where(count != 0, 0)  # Also where weights of both signs cancel.
        return mean.to(losses.dtype)

    def extra_repr(self) -> str:
        """Describe the loss and its settings."""
        parts = [getattr(self.loss, "__name__", repr(self.loss)), f"reduction={self.reduction!r}"]
        if self.ignore_index is not None:
            parts.append(f"ignore_index={self.ignore_index}")
        return ", ".join(parts + [f"{name}={value!r}" for name, value in self._settings().items()])
