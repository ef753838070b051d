import torch
from torch.nn import functional as F

import lossbook
from tests.mutants import Mutants

MUTANTS = Mutants()


def cross_entropy(log_p, labels, label_smoothing=0.0):
    C = log_p.shape[1]
    q = labels if labels.is_floating_point() else F.one_hot(labels, C).movedim(-1, 1)
    q = (1 - label_smoothing) * q.to(log_p) + label_smoothing / C
    return -torch.where(q == 0, 0, q * log_p).sum(1)


@MUTANTS.of("cross_entropy", "softmax before the softmax", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    return cross_entropy(logits.softmax(1).log_softmax(1), labels, label_smoothing)


@MUTANTS.of("cross_entropy", "exp without subtracting the maximum", killed_by="extremes")
def _(logits, labels, *, label_smoothing=0.0):
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    return cross_entropy(log_p, labels, label_smoothing)


@MUTANTS.of("cross_entropy", "the maximum of the batch, not of the row", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    z = logits - logits.max()
    log_p = z - z.exp().sum(1, keepdim=True).log()
    return cross_entropy(log_p, labels, label_smoothing)


@MUTANTS.of("cross_entropy", "log(p + 1e-8)", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    return cross_entropy((logits.softmax(1) + 1e-8).log(), labels, label_smoothing)


@MUTANTS.of(
    "cross_entropy", "p clipped at 1e-7: the worst errors get no gradient", killed_by="value"
)
def _(logits, labels, *, label_smoothing=0.0):
    return cross_entropy(logits.softmax(1).clamp(1e-7, 1).log(), labels, label_smoothing)


@MUTANTS.of("cross_entropy", "classes on the last axis", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    return cross_entropy(logits.log_softmax(-1), labels, label_smoothing)


@MUTANTS.of("cross_entropy", "view where permute is meant", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    C = logits.shape[1]
    log_p = logits.reshape(-1, C).log_softmax(1)
    if labels.is_floating_point():
        return cross_entropy(log_p, labels.reshape(-1, C), label_smoothing)
    return cross_entropy(log_p, labels.flatten(), label_smoothing).view(labels.shape)


@MUTANTS.of("cross_entropy", "averaged over the batch", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    return cross_entropy(logits.log_softmax(1), labels, label_smoothing).mean()


@MUTANTS.of("cross_entropy", "smoothing over the wrong classes only", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    C = logits.shape[1]
    return cross_entropy(logits.log_softmax(1), labels, label_smoothing * C / (C - 1))


@MUTANTS.of("cross_entropy", "smoothing forgotten for probabilities", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    soft = labels.is_floating_point()
    return cross_entropy(logits.log_softmax(1), labels, 0.0 if soft else label_smoothing)


@MUTANTS.of("cross_entropy", "smoothed targets that sum to more than 1", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    log_p = logits.log_softmax(1)
    return cross_entropy(log_p, labels) - label_smoothing * log_p.mean(1)


@MUTANTS.of("cross_entropy", "soft targets hardened", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    hard = labels.argmax(1) if labels.is_floating_point() else labels
    return cross_entropy(logits.log_softmax(1), hard, label_smoothing)


@MUTANTS.of("cross_entropy", "0 log 0 is nan", killed_by="value")
def _(logits, labels, *, label_smoothing=0.0):
    log_p, C = logits.log_softmax(1), logits.shape[1]
    q = labels if labels.is_floating_point() else F.one_hot(labels, C).movedim(-1, 1)
    return -(((1 - label_smoothing) * q.to(log_p) + label_smoothing / C) * log_p).sum(1)


@MUTANTS.of("cross_entropy", "probabilities where logs are meant", killed_by="facts")
def _(logits, labels, *, label_smoothing=0.0):
    return cross_entropy(logits.softmax(1), labels, label_smoothing)


@MUTANTS.of("cross_entropy", "as many classes as this batch has seen", killed_by="vmap")
def _(logits, labels, *, label_smoothing=0.0):
    if not labels.is_floating_point():
        labels = F.one_hot(labels).movedim(-1, 1).to(logits)
    return cross_entropy(logits.log_softmax(1), labels, label_smoothing)


@MUTANTS.of("cross_entropy", "computed in bfloat16", killed_by="bfloat16")
def _(logits, labels, *, label_smoothing=0.0):
    z = logits - logits.amax(1, keepdim=True)
    log_p = z - z.exp().sum(1, keepdim=True).log()
    return cross_entropy(log_p, labels, label_smoothing)


@MUTANTS.of("cross_entropy", "no gradient for soft targets", killed_by="gradient")
def _(logits, labels, *, label_smoothing=0.0):
    return cross_entropy(logits.log_softmax(1), labels.detach(), label_smoothing)


@MUTANTS.of("cross_entropy", "labels of shape (N, 1) squeezed", killed_by="errors")
def _(logits, labels, *, label_smoothing=0.0):
    if logits.dim() < 2 or not logits.is_floating_point():
        return lossbook.cross_entropy(logits, labels)
    if not labels.is_floating_point() and labels.dim() == logits.dim():
        labels = labels.squeeze(1)
    return cross_entropy(logits.log_softmax(1), labels, label_smoothing)


@MUTANTS.of("cross_entropy", "a loss of integers truncated to an integer", killed_by="errors")
def _(logits, labels, *, label_smoothing=0.0):
    floating = logits if logits.is_floating_point() else logits.float()
    loss = lossbook.cross_entropy(floating, labels, label_smoothing=label_smoothing)
    return loss.to(logits.dtype)
