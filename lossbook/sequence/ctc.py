"""CTC loss: the negative log-probability of a label sequence, however it is aligned in time.

Chapter: https://lossbook.example/sequence/ctc/
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["ctc_loss"]


def ctc_loss(
    logits: Tensor,
    labels: Tensor,
    logit_lengths: Tensor | Sequence[int],
    label_lengths: Tensor | Sequence[int],
    *,
    blank: int = 0,
) -> Tensor:
    """CTC loss, one value per sequence, in nats.

    An alignment a names one class per frame. It spells the labels if they are what is left when
    repetitions are merged and then blanks removed. With p_t the softmax of frame t:

        loss = -log sum_a prod_t p_t(a_t)     over all alignments a that spell the labels

    The labels need one frame each, and one more for each that repeats the one before it. With
    fewer frames the loss is inf and its gradient 0. A log-probability below finfo.min / (4 T + 8)
    counts as -inf.

    On a CPU it takes 6 times as long as `torch.nn.functional.ctc_loss` for one sequence and as long
    for 16 (200 frames, 20 labels, one thread), on a GPU about 20 times for 16. In return logits are
    raw, half precision works, so do second derivatives by a second backward, and a wrong label
    raises, where there it reads or writes memory outside of the tensor.

    Args:
        logits: Unnormalized scores, shape `(N, T, C)`. No softmax before this loss.
        labels: Integer classes in [0, C) without the blank, int64, shape `(N, L)`. Entries past
            `label_lengths` are ignored, whatever they hold.
        logit_lengths: Number of frames of each sequence, in [0, T], integers, shape `(N,)`: a
            tensor or a list. Frames past it are ignored.
        label_lengths: Number of labels of each sequence, in [0, L], integers, shape `(N,)`: a
            tensor or a list.
        blank: Class that says nothing, in [0, C). The default 0 is PyTorch's; the paper names no
            index.

    Returns:
        The loss of each sequence, shape `(N,)`, in the dtype of `logits`. It adds up rounded
        log-probabilities: in float32 what lies below 1e-7 nats a frame is lost.

    Raises:
        ValueError: If `logits` is not floating or not of three dimensions, another shape does not
            match, `labels` is not int64, lengths are not integers, `blank` is outside [0, C), a
            length is out of range, or a label is outside [0, C) or the blank. The checks read
            values, which waits for a GPU.

    Reference:
        Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data
        with Recurrent Neural Networks", ICML 2006. doi:10.1145/1143844.1143891

    Examples:
        >>> import torch
        >>> logits, labels = torch.zeros(2, 3, 4), torch.tensor([[1, 2], [3, 3]])
        >>> ctc_loss(logits, labels, torch.tensor([3, 2]), torch.tensor([2, 2]))
        tensor([2.5494,    inf])
    """
    if logits.dim() != 3 or not logits.is_floating_point():
        raise ValueError(
            f"expected floating logits of shape (N, T, C), got {logits.dtype} {tuple(logits.shape)}"
        )
    N, T, C = logits.shape
    if labels.dim() != 2 or len(labels) != N:
        raise ValueError(f"expected labels of shape ({N}, L), got {tuple(labels.shape)}")
    L = labels.shape[1]
    if not 0 <= blank < C:
        raise ValueError(f"expected blank in [0, {C}), got {blank}")
    if labels.dtype != torch.int64:
        raise ValueError(f"expected labels of dtype int64 (labels.long()), got {labels.dtype}")
    logit_lengths = torch.as_tensor(logit_lengths, device=logits.device)
    label_lengths = torch.as_tensor(label_lengths, device=logits.device)
    for name, lengths, most in (
        ("logit_lengths", logit_lengths, T),
        ("label_lengths", label_lengths, L),
    ):
        if N and lengths.is_floating_point():
            raise ValueError(f"expected integer {name}, got {lengths.dtype}")
        if lengths.shape != (N,):
            raise ValueError(f"expected {name} of shape ({N},), got {tuple(lengths.shape)}")
        wrong = lengths[(lengths < 0) | (lengths > most)]
        if len(wrong):
            raise ValueError(f"expected {name} in [0, {most}], got {wrong[0]}")
    known = (labels >= 0) & (labels < C) & (labels != blank)
    wrong = labels[~known & (torch.arange(L, device=labels.device) < label_lengths[:, None])]
    if len(wrong):
        raise ValueError(f"expected labels in [0, {C}) other than blank = {blank}, got {wrong[0]}")

    wide = torch.promote_types(logits.dtype, torch.float32)
    inputs = logits.to(wide), labels, logit_lengths.long(), label_lengths.long()
    if torch.is_grad_enabled() and logits.requires_grad:
        losses: Tensor = _CTC.apply(blank, *inputs)[0]  # type: ignore[no-untyped-call]
    else:
        losses, _ = _forward_backward(blank, *inputs, with_slopes=False)
    return losses.to(logits.dtype)


class _CTC(torch.autograd.Function):
    """Computes the gradient along with the loss, so that no step of the recursion is kept."""

    @staticmethod
    def forward(blank: int, *inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        return _forward_backward(blank, *inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.blank, *tensors = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*tensors, output[1])
        ctx.save_for_forward(*tensors, output[1])

    @staticmethod
    def slopes(ctx: Any) -> Any:
        *inputs, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # For second derivatives: record how the slopes come about.
            _, slopes = _forward_backward(ctx.blank, *inputs)
        return slopes

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        return None, _CTC.slopes(ctx) * gradient[:, None, None], None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None]:
        return (_CTC.slopes(ctx) * tangents[1]).sum((1, 2)), None


def _forward_backward(
    blank: int,
    logits: Tensor,
    labels: Tensor,
    logit_lengths: Tensor,
    label_lengths: Tensor,
    *,
    with_slopes: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Compute the losses (N,) and their gradients (N, T, C), or the losses alone."""
    N, T, _ = logits.shape
    K = labels.shape[1] + 1
    rows, frames, counts = (torch.arange(n, device=logits.device) for n in (N, T, K))
    log_p = logits.log_softmax(2)
    # The logarithm of 0; its sum over all frames is still finite, as inf - inf would give nan.
    never = torch.finfo(log_p.dtype).min / (4 * T + 8)

    # Column k is for label k; no frame says column 0 or the padding.
    real = (counts > 0) & (counts <= label_lengths[:, None])
    labels = pad(labels, (1, 0)).where(real, blank)
    spoken = log_p.gather(2, labels[:, None].expand(-1, T, -1)).clamp_min(never)
    spoken = spoken.where(real[:, None], never).transpose(0, 1)
    silent = log_p[:, :, blank, None].clamp_min(never).transpose(0, 1)

    # What is left of a sequence after k labels is the beginning of the same one read backwards.
    frames_left = (logit_lengths - 1 - frames[:, None]).clamp_min(0)
    blanks_left = (label_lengths[:, None] - counts) % K
    labels_left = (blanks_left + 1) % K

    def reverse(x: Tensor, columns: Tensor) -> Tensor:
        return x[frames_left, rows].gather(2, columns.expand(T, -1, -1))

    lattice = [silent, spoken, labels]
    if with_slopes:
        mirror = [
            silent[frames_left, rows],
            reverse(spoken, labels_left),
            labels.gather(1, labels_left),
        ]
        lattice = [torch.cat(pair, -2) for pair in zip(lattice, mirror, strict=True)]
    prefixes, arrivals = _sweep(never, *lattice)
    log_likelihood = prefixes[logit_lengths, rows, label_lengths]
    impossible = log_likelihood < never / 2
    losses = log_likelihood.abs().masked_fill(impossible, math.inf)
    if not with_slopes:
        return losses, None

    # Of all alignments, the share that is in each state at each frame.
    through_blank = prefixes[:T, :N] + silent + reverse(prefixes[:, N:], blanks_left)
    through_label = arrivals[:T, :N] + spoken + reverse(arrivals[:, N:], labels_left)
    shares = torch.cat([through_blank, through_label[:, :, 1:]], 2).softmax(2).transpose(0, 1)
    shares = torch.cat([shares[:, :, :K].sum(2, keepdim=True), shares[:, :, K:]], 2)
    slopes = log_p.exp().scatter_add(2, labels[:, None].expand(-1, T, -1), -shares)
    counted = (frames < logit_lengths[:, None]) & ~impossible[:, None]
    return losses, slopes.where(counted[:, :, None], 0)


def _sweep(never: float, silent: Tensor, spoken: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Read the frames in order, for all rows and all numbers of labels at once.

    Returns:
        Two tensors of shape (T + 1, N, L + 1), of log-probabilities of what the first t frames
        say: the first k labels; and anything after which the next frame can say label k.
    """
    repeated = pad(labels[:, 1:] == labels[:, :-1], (0, 1))
    # The first k labels are said, and the last frame said label k or was blank.
    on_label = silent.new_full(labels.shape, never)
    on_blank = pad(on_label[:, 1:], (1, 0))
    prefixes, arrivals = [], []
    for silence, speech in zip([*silent, 0], [*spoken, 0], strict=True):
        prefix = torch.logaddexp(on_blank, on_label)
        # Without a blank between them, equal labels would be one.
        ready = torch.where(repeated, on_blank, prefix).roll(1, 1)
        arrival = torch.logaddexp(on_label, ready)
        prefixes.append(prefix)
        arrivals.append(arrival)
        on_blank, on_label = prefix + silence, arrival + speech
    return torch.stack(prefixes), torch.stack(arrivals)
