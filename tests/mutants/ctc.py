import math

import torch
from torch.nn import functional as F

from lossbook.sequence.ctc import ctc_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def walk(log_p, text, blank, jumps, ends=2):
    """Log-likelihood of one text: sums over the lattice of labels with blanks around them.

    `jumps` says from its neighbors whether a label can follow the one before without a blank.
    """
    states = [blank]
    for label in text:
        states += [label, blank]
    alpha = [log_p[0, c] if i < 2 else log_p.new_tensor(-math.inf) for i, c in enumerate(states)]
    for p in log_p[1:]:
        alpha = [
            p[c]
            + torch.stack(
                [
                    alpha[i],
                    *alpha[max(i - 1, 0) : i],
                    *([alpha[i - 2]] if i > 2 and i % 2 and jumps(c, states[i - 2]) else []),
                ]
            ).logsumexp(0)
            for i, c in enumerate(states)
        ]
    return torch.stack(alpha[-ends:]).logsumexp(0)


def summed(
    logits, labels, logit_lengths, label_lengths, blank, *, jumps=lambda a, b: a != b, ends=2
):
    rows = [
        -walk(x[:frames].log_softmax(1), y[:length].tolist(), blank, jumps, ends)
        for x, y, frames, length in zip(logits, labels, logit_lengths, label_lengths, strict=True)
    ]
    return torch.stack(rows)


def of_torch(logits, labels, logit_lengths, label_lengths, blank, **settings):
    log_p = logits.log_softmax(2).transpose(0, 1)
    return F.ctc_loss(
        log_p, labels, logit_lengths, label_lengths, blank, reduction="none", **settings
    )


@MUTANTS.of("ctc_loss", "equal labels merge without a blank between them", killed_by="value")
def _(*inputs, blank=0):
    return summed(*inputs, blank, jumps=lambda *_: True)


@MUTANTS.of("ctc_loss", "a blank between any two labels", killed_by="value")
def _(*inputs, blank=0):
    return summed(*inputs, blank, jumps=lambda *_: False)


@MUTANTS.of("ctc_loss", "the text must end with a blank", killed_by="value")
def _(*inputs, blank=0):
    return summed(*inputs, blank, ends=1)


@MUTANTS.of("ctc_loss", "the best alignment, not all", killed_by="value")
def _(*inputs, blank=0):
    # Cold softmaxes choose; the temperature is undone.
    logits, *rest = inputs
    log_p = logits.log_softmax(2)
    sharp = ctc_loss(100 * log_p, *rest, blank=blank)
    norms = (100 * log_p).logsumexp(2)
    counted = torch.arange(logits.shape[1]) < rest[1][:, None]
    return (sharp - (norms * counted).sum(1)) / 100


@MUTANTS.of("ctc_loss", "probabilities taken for logits", killed_by="value")
def _(logits, *rest, blank=0):
    return ctc_loss(logits.softmax(2), *rest, blank=blank)


@MUTANTS.of("ctc_loss", "no softmax at all", killed_by="value")
def _(logits, labels, logit_lengths, label_lengths, *, blank=0):
    losses = ctc_loss(logits, labels, logit_lengths, label_lengths, blank=blank)
    counted = torch.arange(logits.shape[1]) < logit_lengths[:, None]
    return losses - logits.logsumexp(2).where(counted, 0).sum(1)


@MUTANTS.of("ctc_loss", "the blank is the last class", killed_by="value")
def _(logits, labels, logit_lengths, label_lengths, *, blank=0):
    at = logits.shape[2] - 1 if blank == 0 else blank
    return ctc_loss(logits, labels, logit_lengths, label_lengths, blank=at)


@MUTANTS.of("ctc_loss", "the blank is class 0, whatever is asked", killed_by="value")
def _(*inputs, blank=0):
    return ctc_loss(*inputs, blank=0 * blank)


@MUTANTS.of("ctc_loss", "frames of padding counted", killed_by="value")
def _(logits, labels, logit_lengths, label_lengths, *, blank=0):
    frames = torch.full_like(logit_lengths, logits.shape[1])
    return ctc_loss(logits, labels, frames, label_lengths, blank=blank)


@MUTANTS.of("ctc_loss", "labels of padding counted", killed_by="value")
def _(logits, labels, logit_lengths, label_lengths, *, blank=0):
    return ctc_loss(
        logits, labels.clamp(1, 2), logit_lengths, 0 * label_lengths + labels.shape[1], blank=blank
    )


@MUTANTS.of("ctc_loss", "labels of padding checked", killed_by="value")
def _(logits, labels, logit_lengths, label_lengths, *, blank=0):
    wrong = (labels < 0) | (labels >= logits.shape[2])
    if wrong.any():
        raise ValueError(f"expected labels in [0, {logits.shape[2]}), got {labels[wrong][0]}")
    return ctc_loss(logits, labels, logit_lengths, label_lengths, blank=blank)


@MUTANTS.of("ctc_loss", "divided by the number of labels", killed_by="value")
def _(logits, labels, logit_lengths, label_lengths, *, blank=0):
    losses = ctc_loss(logits, labels, logit_lengths, label_lengths, blank=blank)
    return losses / label_lengths.clamp_min(1)


@MUTANTS.of("ctc_loss", "already averaged", killed_by="value")
def _(*inputs, blank=0):
    return ctc_loss(*inputs, blank=blank).mean()


@MUTANTS.of("ctc_loss", "0 where there is no room", killed_by="value")
def _(*inputs, blank=0):
    return of_torch(*inputs, blank, zero_infinity=True)


@MUTANTS.of("ctc_loss", "a log 0 of -1e5", killed_by="value")
def _(*inputs, blank=0):
    return ctc_loss(*inputs, blank=blank).clamp_max(1e5)


@MUTANTS.of("ctc_loss", "a nan gradient where there is no room", killed_by="gradient")
def _(*inputs, blank=0):
    return of_torch(*inputs, blank)


@MUTANTS.of("ctc_loss", "one row without room spoils all", killed_by="gradient")
def _(logits, *rest, blank=0):
    losses = ctc_loss(logits, *rest, blank=blank)
    return losses + 0 * logits.mean() * losses.detach().sum()


@MUTANTS.of("ctc_loss", "the softmax left out of the gradient", killed_by="gradient")
def _(logits, *rest, blank=0):
    losses = ctc_loss(logits, *rest, blank=blank)
    constant = logits.logsumexp(2).sum(1)
    return losses + constant.detach() - constant


@MUTANTS.of("ctc_loss", "a gradient in the frames of padding", killed_by="gradient")
def _(logits, *rest, blank=0):
    log_p = logits.log_softmax(2)[:, :, blank].sum(1)
    return ctc_loss(logits, *rest, blank=blank) + log_p - log_p.detach()


@MUTANTS.of("ctc_loss", "probabilities multiplied until nothing is left", killed_by="value")
def _(*inputs, blank=0):
    likelihood = ctc_loss(*inputs, blank=blank).neg().exp()
    return -likelihood.log()


@MUTANTS.of("ctc_loss", "an epsilon in the logarithm", killed_by="value")
def _(*inputs, blank=0):
    return -(ctc_loss(*inputs, blank=blank).neg().exp() + 1e-8).log()


@MUTANTS.of("ctc_loss", "the second derivative is 0", killed_by="second gradient")
def _(logits, *rest, blank=0):
    losses = ctc_loss(logits, *rest, blank=blank)
    if not logits.requires_grad:
        return losses
    (slope,) = torch.autograd.grad(losses.sum(), logits, retain_graph=True)
    return losses.detach() + (slope.detach() * (logits - logits.detach())).sum((1, 2))


@MUTANTS.of("ctc_loss", "a label out of range is the nearest class", killed_by="errors")
def _(logits, labels, *rest, blank=0):
    return ctc_loss(logits, labels.clamp(0, logits.shape[-1] - 1), *rest, blank=blank)


@MUTANTS.of("ctc_loss", "a negative label counts from the end", killed_by="errors")
def _(logits, labels, *rest, blank=0):
    labels = torch.where((labels < 0) & (labels > -5), labels + logits.shape[-1], labels)
    return ctc_loss(logits, labels, *rest, blank=blank)


@MUTANTS.of("ctc_loss", "lengths cut to fit", killed_by="errors")
def _(logits, labels, logit_lengths, label_lengths, *, blank=0):
    logit_lengths = logit_lengths.clamp(0, logits.shape[1])
    return ctc_loss(logits, labels, logit_lengths, label_lengths, blank=blank)


@MUTANTS.of("ctc_loss", "float32 from half precision", killed_by="float16")
def _(*inputs, blank=0):
    logits, *rest = inputs
    if logits.dtype != torch.float16:
        return ctc_loss(*inputs, blank=blank)
    return ctc_loss(logits.log_softmax(2), *rest, blank=blank).float()


@MUTANTS.of("ctc_loss", "a loop over the rows", killed_by="test_the_loop_is_over_frames_alone")
def _(*inputs, blank=0):
    rows = [ctc_loss(*(x[None] for x in row), blank=blank) for row in zip(*inputs, strict=True)]
    return torch.cat(rows)


@MUTANTS.of(
    "ctc_loss",
    "float32 as it comes",
    killed_by="test_slopes_of_long_sequences_in_float32",
)
def _(*inputs, blank=0):
    return of_torch(*inputs, blank)


@MUTANTS.of(
    "ctc_loss",
    "nan taken for a sequence without room",
    killed_by="test_nan_is_not_taken_for_a_sequence_without_room",
)
def _(logits, *rest, blank=0):
    return ctc_loss(logits.nan_to_num(-math.inf), *rest, blank=blank)
