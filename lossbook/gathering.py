"""gathered: the rows of every process in one batch, for losses whose negatives are the batch.

Chapter: https://lossbook.example/foundations/weights_masks_means/
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["gathered"]


def gathered(x: Tensor) -> Tensor:
    """Concatenate the rows of all processes of the default group, in the order of their ranks.

    A loss over the whole batch then sees all R processes' rows. Where the gradients of the
    processes are averaged, as DistributedDataParallel does:

        loss(gathered(queries), gathered(keys)).mean()

    gives every process the value, and the average the gradient, of one process with all the rows.

    Args:
        x: Rows of this process, shape `(N, *)`, the same N and the same shape on each. Every
            process of the group must call, and go backward, in the same order.

    Returns:
        The rows of all, shape `(R N, *)`. A row's gradient comes home from all processes, summed
        in the dtype of `x`, and has no second derivative: that raises. Without a process group it
        is `x` itself.

    Raises:
        ValueError: If the processes hold different shapes, such as an uneven last batch, or
            dtypes. Each raises it, so that none waits.

    Examples:
        >>> import torch
        >>> gathered(torch.tensor([[1.0, 2.0]]))  # One process alone.
        tensor([[1., 2.]])
    """
    if not (dist.is_available() and dist.is_initialized()):
        return x
    kinds: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(kinds, (tuple(x.shape), str(x.dtype)))
    if len(set(kinds)) > 1:
        raise ValueError(f"expected rows of one shape and dtype on all processes, got {kinds}")
    rows: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return rows


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
