import math

import torch
from torch.nn import functional as F

from lossbook.classification.bi_tempered import bi_tempered_loss, tempered_softmax
from tests.mutants import Mutants

MUTANTS = Mutants()


def log_t(x, t):
    return x.log() if t == 1 else (x ** (1 - t) - 1) / (1 - t)


def exp_t(x, t):
    return x.exp() if t == 1 else (1 + (1 - t) * x).relu() ** (1 / (1 - t))


def fixed_point(a, t, steps, dim=1):
    """The published algorithm for t above 1."""
    top = a.amax(dim, keepdim=True)
    scaled = a - top
    for _ in range(steps):
        scaled = (a - top) * exp_t(scaled, t).sum(dim, keepdim=True) ** (1 - t)
    total = exp_t(scaled, t).sum(dim, keepdim=True)
    return exp_t(a - top + log_t(1 / total, t), t)


def bisection(a, t, steps, dim=1):
    """The published algorithm for t below 1, here for any t but 1."""
    low = a.amax(dim, keepdim=True)
    high = low - log_t(torch.ones_like(low) / a.shape[dim], t)
    for _ in range(steps):
        middle = (low + high) / 2
        above = exp_t(a - middle, t).sum(dim, keepdim=True) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return exp_t(a - (low + high) / 2, t)


def divergence(p, labels, t1, label_smoothing=0.0):
    C = p.shape[1]
    q = labels if labels.is_floating_point() else F.one_hot(labels, C).to(p)
    if label_smoothing:
        q = (1 - label_smoothing * C / (C - 1)) * q + label_smoothing / (C - 1)
    surprises = torch.where(q > 0, q * (log_t(q.clamp_min(1e-300), t1) - log_t(p, t1)), 0)
    return (surprises - (q ** (2 - t1) - p ** (2 - t1)) / (2 - t1)).sum(1)


@MUTANTS.of("bi_tempered_loss", "five fixed-point steps", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    p = logits.softmax(1) if t2 == 1 else fixed_point(logits, t2, 5)
    return divergence(p, labels, t1, label_smoothing)


@MUTANTS.of("bi_tempered_loss", "five steps of bisection", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    p = logits.softmax(1) if t2 == 1 else bisection(logits, t2, 5)
    return divergence(p, labels, t1, label_smoothing)


@MUTANTS.of("bi_tempered_loss", "lambda held constant in the gradient", killed_by="gradient")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    if t2 == 1:
        return bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)
    p = tempered_softmax(logits.detach(), t=t2)
    shift = logits.detach() - torch.where(p > 0, log_t(p.clamp_min(1e-300), t2), -math.inf)
    p = exp_t(logits - shift.amin(1, keepdim=True), t2)
    return divergence(p, labels, t1, label_smoothing)


@MUTANTS.of("bi_tempered_loss", "a second derivative that is not one", killed_by="second gradient")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    losses = bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)

    # The gradient is right, but computed from a detached copy.
    def slope(upstream):
        x = logits.detach().requires_grad_()
        with torch.enable_grad():
            again = bi_tempered_loss(x, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)
        return torch.autograd.grad(again, x, upstream)[0]

    class Detached(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # noqa: ARG004
            return losses.detach()

        @staticmethod
        def backward(ctx, upstream):  # noqa: ARG004
            return slope(upstream) + 0 * upstream.sum()

    return Detached.apply(logits)


@MUTANTS.of("bi_tempered_loss", "p^(1 - t1) has no slope at 0", killed_by="extremes")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    return divergence(tempered_softmax(logits, t=t2), labels, t1, label_smoothing)


@MUTANTS.of("bi_tempered_loss", "only the tempered logarithm", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    p = tempered_softmax(logits, t=t2)
    power = 2 - t1
    losses = divergence(p, labels, t1, label_smoothing)
    return losses + (1 - (p**power).sum(1)) / power


@MUTANTS.of("bi_tempered_loss", "the power 1 - t1 in the second term", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    p = tempered_softmax(logits, t=t2)
    power = 2 - t1
    losses = divergence(p, labels, t1, label_smoothing)
    return losses - (p**power).sum(1) / power + (p ** (1 - t1)).sum(1) / (2 - t1)


@MUTANTS.of("bi_tempered_loss", "the temperatures exchanged", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    p = tempered_softmax(logits, t=t1) if t1 else logits.softmax(1)
    return divergence(p, labels, t2, label_smoothing)


@MUTANTS.of("bi_tempered_loss", "t2 for a softmax of logits / t2", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    return divergence((logits / t2).softmax(1), labels, t1, label_smoothing)


@MUTANTS.of("bi_tempered_loss", "0 / 0 at temperatures of 1", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    p = tempered_softmax(logits, t=t2)
    tempered = (p ** (1 - t1) - 1) / torch.full_like(p, 1 - t1)
    hits = tempered.gather(1, labels.unsqueeze(1)).squeeze(1) if labels.dim() == 1 else 0
    return bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing) + 0 * (
        hits + tempered.sum(1)
    )


@MUTANTS.of("bi_tempered_loss", "1e-10 in the logarithm", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    p = tempered_softmax(logits, t=t2)
    return divergence(p + 1e-10, labels, t1, label_smoothing)


@MUTANTS.of("bi_tempered_loss", "1 for all that is near it", killed_by="test_near_one")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    t1, t2 = (1.0 if abs(1 - t) < 1e-2 else t for t in (t1, t2))
    return bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)


@MUTANTS.of("bi_tempered_loss", "digits lost near 1", killed_by="test_near_one")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    return divergence(tempered_softmax(logits, t=t2), labels, t1, label_smoothing)


@MUTANTS.of("bi_tempered_loss", "smoothing over all classes", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    C = logits.shape[1]
    label_smoothing = label_smoothing * (C - 1) / C
    return bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)


@MUTANTS.of("bi_tempered_loss", "smoothing forgotten for probabilities", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    if labels.is_floating_point():
        label_smoothing = 0.0
    return bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)


@MUTANTS.of("bi_tempered_loss", "soft targets hardened", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    labels = labels.argmax(1) if labels.is_floating_point() else labels
    return bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)


@MUTANTS.of("bi_tempered_loss", "the entropy of soft targets left out", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    losses = bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)
    if not labels.is_floating_point():
        return losses
    return losses - (labels * log_t(labels.clamp_min(1e-300), t1)).sum(1)


@MUTANTS.of("bi_tempered_loss", "averaged over the batch", killed_by="value")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    return bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing).mean()


@MUTANTS.of("bi_tempered_loss", "no gradient for soft targets", killed_by="gradient")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    labels = labels.detach()
    return bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)


@MUTANTS.of(
    "bi_tempered_loss",
    "a difference of numbers near 1",
    killed_by="test_near_a_perfect_fit_float32_keeps_its_digits",
)
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    return divergence(tempered_softmax(logits, t=t2), labels, t1, label_smoothing)


@MUTANTS.of("bi_tempered_loss", "t1 above t2 accepted", killed_by="errors")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    if 0 <= t1 <= 1 and 0 < t2 < t1:
        return divergence(tempered_softmax(logits, t=t2), labels, t1, label_smoothing)
    return bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)


@MUTANTS.of("bi_tempered_loss", "t1 above 1 accepted", killed_by="errors")
def _(logits, labels, *, t1=0.8, t2=1.2, label_smoothing=0.0):
    if 1 < t1 <= t2:
        return divergence(tempered_softmax(logits, t=t2), labels, t1, label_smoothing)
    return bi_tempered_loss(logits, labels, t1=t1, t2=t2, label_smoothing=label_smoothing)


@MUTANTS.of("tempered_softmax", "five fixed-point steps", killed_by="value")
def _(logits, *, t, dim=1):
    return logits.softmax(dim) if t == 1 else fixed_point(logits, t, 5, dim)


@MUTANTS.of("tempered_softmax", "twenty steps of bisection", killed_by="value")
def _(logits, *, t, dim=1):
    return logits.softmax(dim) if t == 1 else bisection(logits, t, 20, dim)


@MUTANTS.of("tempered_softmax", "a sum of 1 by force", killed_by="value")
def _(logits, *, t, dim=1):
    q = exp_t(logits - logits.amax(dim, keepdim=True), t)
    return q / q.sum(dim, keepdim=True)


@MUTANTS.of("tempered_softmax", "the softmax of logits / t", killed_by="value")
def _(logits, *, t, dim=1):
    return (logits / t).softmax(dim)


@MUTANTS.of("tempered_softmax", "the last axis, whatever is asked", killed_by="value")
def _(logits, *, t, dim=1):  # noqa: ARG001
    return tempered_softmax(logits, t=t, dim=-1)


@MUTANTS.of("tempered_softmax", "the maximum of the batch", killed_by="extremes")
def _(logits, *, t, dim=1):
    if t != 1:
        return tempered_softmax(logits, t=t, dim=dim)
    e = (logits - logits[logits.isfinite()].max()).exp()
    return e / e.sum(dim, keepdim=True)


@MUTANTS.of("tempered_softmax", "lambda held constant in the gradient", killed_by="gradient")
def _(logits, *, t, dim=1):
    p = tempered_softmax(logits.detach(), t=t, dim=dim)
    if t == 1:
        return p * (logits - logits.detach()).exp()
    shift = logits.detach() - torch.where(p > 0, log_t(p.clamp_min(1e-300), t), -math.inf)
    return exp_t(logits - shift.amin(dim, keepdim=True), t)


@MUTANTS.of("tempered_softmax", "the softmax's own gradient", killed_by="gradient")
def _(logits, *, t, dim=1):
    p = tempered_softmax(logits.detach(), t=t, dim=dim)
    change = logits - logits.detach()
    return p + p.detach() * (change - (p.detach() * change).sum(dim, keepdim=True))


@MUTANTS.of("tempered_softmax", "a gradient without its own", killed_by="second gradient")
def _(logits, *, t, dim=1):
    p = tempered_softmax(logits.detach(), t=t, dim=dim)
    powers = torch.where(p > 0, p**t, 0)
    change = logits - logits.detach()
    mean = (powers * change).sum(dim, keepdim=True) / powers.sum(dim, keepdim=True)
    return p + powers * (change - mean)


@MUTANTS.of("tempered_softmax", "the power of a clipped 0 has no slope", killed_by="extremes")
def _(logits, *, t, dim=1):
    p = tempered_softmax(logits, t=t, dim=dim)
    return (p**t) ** (1 / t)


@MUTANTS.of("tempered_softmax", "1e-8 everywhere", killed_by="value")
def _(logits, *, t, dim=1):
    p = tempered_softmax(logits, t=t, dim=dim) + 1e-8
    return p / p.sum(dim, keepdim=True)


@MUTANTS.of("tempered_softmax", "iterated until it no longer moves", killed_by="compile")
def _(logits, *, t, dim=1):
    before, p = logits, tempered_softmax(logits, t=t, dim=dim)
    while (p - before).abs().max() > 1e-12:
        before, p = p, tempered_softmax(logits, t=t, dim=dim)
    return p


@MUTANTS.of("tempered_softmax", "computed in float16", killed_by="float16")
def _(logits, *, t, dim=1):
    return logits.softmax(dim) if t == 1 else bisection(logits, t, 60, dim)


@MUTANTS.of("tempered_softmax", "t of 0 accepted", killed_by="errors")
def _(logits, *, t, dim=1):
    return tempered_softmax(logits, t=t or 1e-12, dim=dim)
