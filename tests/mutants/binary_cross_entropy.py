import torch
from torch.nn import functional as F

from lossbook.classification.binary_cross_entropy import binary_cross_entropy
from tests.mutants import Mutants

MUTANTS = Mutants()


def weights(logits, pos_weight):
    if isinstance(pos_weight, torch.Tensor):
        return pos_weight.to(logits).view(-1, *[1] * (logits.dim() - 2))
    return 1.0 if pos_weight is None else pos_weight


def bce(logits, targets, pos_weight=None):
    w = weights(logits, pos_weight)
    return w * targets * F.softplus(-logits) + (1 - targets) * F.softplus(logits)


@MUTANTS.of("binary_cross_entropy", "sigmoid before the sigmoid", killed_by="value")
def _(logits, targets, *, pos_weight=None):
    return bce(logits.sigmoid(), targets, pos_weight)


@MUTANTS.of("binary_cross_entropy", "logs of probabilities stop at -100", killed_by="value")
def _(logits, targets, *, pos_weight=None):
    p = logits.sigmoid()
    yes, no = p.log().clamp_min(-100), (-p).log1p().clamp_min(-100)
    return -weights(logits, pos_weight) * targets * yes - (1 - targets) * no


@MUTANTS.of("binary_cross_entropy", "log(p + 1e-8)", killed_by="value")
def _(logits, targets, *, pos_weight=None):
    p = logits.sigmoid()
    yes, no = (p + 1e-8).log(), (1 - p + 1e-8).log()
    return -weights(logits, pos_weight) * targets * yes - (1 - targets) * no


@MUTANTS.of("binary_cross_entropy", "log(1 + exp(x)) overflows", killed_by="extremes")
def _(logits, targets, *, pos_weight=None):
    w = weights(logits, pos_weight)
    yes, no = (1 + (-logits).exp()).log(), (1 + logits.exp()).log()
    return w * targets * yes + (1 - targets) * no


@MUTANTS.of("binary_cross_entropy", "softplus of a clamped logit", killed_by="value")
def _(logits, targets, *, pos_weight=None):
    return bce(logits.clamp(-100, 100), targets, pos_weight)


@MUTANTS.of("binary_cross_entropy", "the negative term is forgotten", killed_by="value")
def _(logits, targets, *, pos_weight=None):
    return weights(logits, pos_weight) * targets * F.softplus(-logits)


@MUTANTS.of("binary_cross_entropy", "soft targets hardened", killed_by="value")
def _(logits, targets, *, pos_weight=None):
    return bce(logits, targets.round(), pos_weight)


@MUTANTS.of("binary_cross_entropy", "labels of -1 and 1 expected", killed_by="value")
def _(logits, targets, *, pos_weight=None):
    return bce(logits, (targets + 1) / 2, pos_weight)


@MUTANTS.of("binary_cross_entropy", "pos_weight on both terms", killed_by="value")
def _(logits, targets, *, pos_weight=None):
    return weights(logits, pos_weight) * bce(logits, targets)


@MUTANTS.of("binary_cross_entropy", "pos_weight on the negatives", killed_by="value")
def _(logits, targets, *, pos_weight=None):
    return bce(-logits, 1 - targets, pos_weight)


@MUTANTS.of(
    "binary_cross_entropy",
    "pos_weight on the last axis",
    killed_by="test_pos_weight_lies_on_dimension_1",
)
def _(logits, targets, *, pos_weight=None):
    return bce(logits.movedim(-1, 1), targets.movedim(-1, 1), pos_weight).movedim(1, -1)


@MUTANTS.of(
    "binary_cross_entropy", "`if pos_weight` turns 0 off", killed_by="test_pos_weight_zero_counts"
)
def _(logits, targets, *, pos_weight=None):
    if isinstance(pos_weight, torch.Tensor):
        return bce(logits, targets, pos_weight)
    return bce(logits, targets, pos_weight if pos_weight else None)


@MUTANTS.of(
    "binary_cross_entropy",
    "pos_weight detached",
    killed_by="test_pos_weight_gets_a_gradient",
)
def _(logits, targets, *, pos_weight=None):
    w = pos_weight.detach().requires_grad_() if isinstance(pos_weight, torch.Tensor) else pos_weight
    return bce(logits, targets, w) + 0 * (0 if pos_weight is None else pos_weight)


@MUTANTS.of("binary_cross_entropy", "averaged over the last axis", killed_by="value")
def _(logits, targets, *, pos_weight=None):
    return bce(logits, targets, pos_weight).mean(-1)


@MUTANTS.of("binary_cross_entropy", "no gradient for soft targets", killed_by="gradient")
def _(logits, targets, *, pos_weight=None):
    return bce(logits, targets.detach(), pos_weight)


@MUTANTS.of("binary_cross_entropy", "(N, 1) against (N,) broadcasts", killed_by="errors")
def _(logits, targets, *, pos_weight=None):
    return bce(logits, targets, pos_weight)


@MUTANTS.of("binary_cross_entropy", "a weight for each item of the batch", killed_by="errors")
def _(logits, targets, *, pos_weight=None):
    if isinstance(pos_weight, torch.Tensor) and pos_weight.dim() == 1 and logits.dim() > 1:
        pos_weight = pos_weight.mean()
    return binary_cross_entropy(logits, targets, pos_weight=pos_weight)


@MUTANTS.of(
    "binary_cross_entropy",
    "|x| has no second derivative at 0",
    killed_by="test_second_derivative_at_zero_is_a_quarter",
)
def _(logits, targets, *, pos_weight=None):
    assert pos_weight is None
    size = logits.abs()
    return size / 2 + (0.5 - targets) * logits + F.softplus(-size)


@MUTANTS.of("binary_cross_entropy", "computed in bfloat16", killed_by="bfloat16")
def _(logits, targets, *, pos_weight=None):
    p = logits.sigmoid()
    yes, no = p.log(), (1 - p).log()
    return -weights(logits, pos_weight) * targets * yes - (1 - targets) * no
