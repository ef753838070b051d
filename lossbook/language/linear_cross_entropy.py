"""Linear cross entropy: a language model's head and its loss, without the table of logits.

Chapter: https://lossbook.example/language/linear_cross_entropy/
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["linear_cross_entropy"]

_BLOCK = 1 << 22  # Logits that are held at once.


class _Logits(torch.autograd.Function):
    """The label's logit and the logsumexp of the others, (N, 2), a block of tokens at a time."""

    generate_vmap_rule = True

    @staticmethod
    def forward(hidden: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        found = []
        for h, y in _blocks(weight, hidden, labels):
            logits = _logits(h, weight)
            others = logits.scatter(1, y, -math.inf).logsumexp(1, keepdim=True)
            found.append(torch.cat([logits.gather(1, y), others], 1))
        return torch.cat(found)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)
        ctx.save_for_forward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, labels, weight, output = ctx.saved_tensors
        to_hidden, _, to_weight = ctx.needs_input_grad  # One may be frozen.
        slopes, total = [], torch.zeros((), dtype=output.dtype, device=output.device)
        for h, y, out, g in _blocks(weight, hidden, labels, output, gradient):
            # The others share the slope of their logsumexp by softmax; the label has its own.
            slope = (_shares(h, y, weight, out) * g[:, 1:]).scatter(1, y, g[:, :1]).to(h.dtype)
            if to_hidden:
                slopes.append(slope @ weight.to(h.dtype))
            if to_weight:
                part = (slope.T @ h).to(output.dtype)  # The sum over all blocks is in float32.
                total = total.add_(part) if total.dim() else part
                del part
            del slope  # Or the next block would stand beside it.
        return (
            torch.cat(slopes) if to_hidden else None,
            None,
            total.to(weight.dtype) if to_weight else None,
        )


class _WithForwardMode(_Logits):
    """Apart, since torch.compile takes no function that has a jvp."""

    @staticmethod
    def jvp(ctx: Any, hidden_change: Tensor, _: None, weight_change: Tensor) -> Tensor:
        hidden, labels, weight, output = ctx.saved_tensors
        found = []
        for h, y, out, change in _blocks(weight, hidden, labels, output, hidden_change):
            logits = _logits(change, weight) + _logits(h, weight_change)
            others = (_shares(h, y, weight, out) * logits).sum(1, keepdim=True)
            found.append(torch.cat([logits.gather(1, y), others], 1))
        return torch.cat(found)


def _blocks(weight: Tensor, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    size = max(1, _BLOCK // len(weight))
    return zip(*(torch.split(x, size) for x in rows), strict=True)


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    logits = hidden @ weight.to(hidden.dtype).T
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _shares(hidden: Tensor, labels: Tensor, weight: Tensor, output: Tensor) -> Tensor:
    """The softmax over all tokens but the label, which gets 0."""
    total = output[:, 1:].clamp_min(torch.finfo(output.dtype).min)  # -inf where there is no other.
    return (_logits(hidden, weight).scatter(1, labels, -math.inf) - total).exp()


def linear_cross_entropy(
    hidden: Tensor, labels: Tensor, weight: Tensor, *, z_weight: float | Tensor = 0.0
) -> Tensor:
    """Cross entropy of a linear layer's logits, one value per token, in nats.

    With the hidden state h of a token, its label y, and the vocabulary's vectors w_j:

        loss = log Z - h . w_y + z_weight (log Z)^2,    log Z = log sum_j exp(h . w_j)

    The logits are formed for a block of tokens at a time and again in the backward: 4 matrix
    products in place of 3, or 3 in place of 2 where `hidden` or `weight` is frozen, and no table of
    N x V. Rows whose label is ignored still cost: leave them out by index. For a bias, append 1 to
    each h and a column to the vectors.

    Args:
        hidden: Inputs of the last layer, shape `(*, D)`.
        labels: Tokens in [0, V), int64, shape `(*)`.
        weight: Vectors of the vocabulary, shape `(V, D)`, as `torch.nn.Linear` holds them. They get
            a gradient, too.
        z_weight: Weight of the squared log Z, at least 0. A number or a tensor of shape `()`, whose
            value is not checked. PaLM has 1e-4.

    Returns:
        The loss of each token, shape `(*)`, in the dtype of `hidden`. In half precision the logits
        are computed in it, and their exponentials are summed in float32.

    Raises:
        ValueError: If `hidden` or `weight` is not floating, `labels` is not int64, the shapes do
            not fit, or `z_weight` is a negative number or a tensor of another shape.

    Reference:
        Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", ICLR 2025.
        arXiv:2411.09009. The squared log Z: Chowdhery et al., "PaLM: Scaling Language Modeling with
        Pathways", 2022, section 5. arXiv:2204.02311

    Examples:
        >>> import torch
        >>> hidden, labels = torch.tensor([[1.0, 2.0]]), torch.tensor([1])
        >>> weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
        >>> linear_cross_entropy(hidden, labels, weight)
        tensor([0.3490])
    """
    for name, x in (("hidden", hidden), ("weight", weight)):
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
    if labels.dtype != torch.int64:
        raise ValueError(f"expected labels of dtype int64 (labels.long()), got {labels.dtype}")
    if labels.shape != hidden.shape[:-1]:
        raise ValueError(
            f"expected labels of shape {tuple(hidden.shape[:-1])}, got {tuple(labels.shape)}"
        )
    if weight.dim() != 2 or weight.shape[1:] != hidden.shape[-1:]:
        raise ValueError(
            f"expected weight of shape (V, D) for hidden of shape {tuple(hidden.shape)}, "
            f"got {tuple(weight.shape)}"
        )
    if isinstance(z_weight, Tensor):
        if z_weight.dim():
            raise ValueError(f"expected z_weight of shape (), got {tuple(z_weight.shape)}")
    elif not z_weight >= 0:
        raise ValueError(f"expected z_weight >= 0, got {z_weight}")

    logits = _Logits if torch.compiler.is_compiling() else _WithForwardMode
    rows, truths = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1, 1)
    with torch.autocast("cpu" if hidden.is_meta else hidden.device.type, enabled=False):
        found: Tensor = logits.apply(rows, truths, weight)  # type: ignore[no-untyped-call]
    # The others' sum alone has the digits of a small loss, log(1 + sum_others exp / exp(own)).
    own, others = found.reshape(*labels.shape, 2).unbind(-1)
    losses = 0 - logsigmoid(own - others)  # No -0.0.
    if isinstance(z_weight, Tensor) or z_weight > 0:
        losses = losses + z_weight * (losses + own).square()
    return losses.to(hidden.dtype)
