import torch
from torch.nn import functional as F

from lossbook.detection.iou_balanced import (
    iou_balanced_classification_loss,
    iou_balanced_localization_loss,
)
from tests.mutants import Mutants

MUTANTS = Mutants()


def parts(logits, labels, ious, eta):
    """Cross entropies, positives and powers of the IoU."""
    return F.cross_entropy(logits, labels, reduction="none"), labels > 0, ious**eta


def joined(costs, positive, powers, total):
    weights = powers * costs[positive].sum() / total
    return costs * weights.where(positive & (total > 0), 1)


@MUTANTS.of(
    "iou_balanced_classification_loss",
    "a live normalizer",
    killed_by="gradient",
)
def _(logits, labels, ious, *, eta=1.5):
    costs, positive, powers = parts(logits, labels, ious.detach(), eta)
    return joined(costs, positive, powers, (powers * costs)[positive].sum())


@MUTANTS.of("iou_balanced_classification_loss", "a gradient to the IoU", killed_by="gradient")
def _(logits, labels, ious, *, eta=1.5):
    costs, positive, powers = parts(logits, labels, ious, eta)
    fixed = costs.detach()
    total = (powers * fixed)[positive].sum()
    return costs * (powers * fixed[positive].sum() / total).where(positive & (total > 0), 1)


@MUTANTS.of("iou_balanced_classification_loss", "no normalizer", killed_by="value")
def _(logits, labels, ious, *, eta=1.5):
    costs, positive, powers = parts(logits, labels, ious.detach(), eta)
    return costs * powers.where(positive, 1)


@MUTANTS.of("iou_balanced_classification_loss", "1e-6 in the denominator", killed_by="value")
def _(logits, labels, ious, *, eta=1.5):
    costs, positive, powers = parts(logits, labels, ious.detach(), eta)
    fixed = costs.detach()
    weights = powers * fixed[positive].sum() / ((powers * fixed)[positive].sum() + 1e-6)
    return costs * weights.where(positive, 1)


@MUTANTS.of("iou_balanced_classification_loss", "0/0 where nothing overlaps", killed_by="value")
def _(logits, labels, ious, *, eta=1.5):
    costs, positive, powers = parts(logits, labels, ious.detach(), eta)
    fixed = costs.detach()
    weights = powers * fixed[positive].sum() / (powers * fixed)[positive].sum()
    return costs * weights.where(positive, 1)


@MUTANTS.of("iou_balanced_classification_loss", "weights that sum to the count", killed_by="value")
def _(logits, labels, ious, *, eta=1.5):
    costs, positive, powers = parts(logits, labels, ious.detach(), eta)
    weights = powers * positive.sum() / powers[positive].sum()
    return costs * weights.where(positive & (powers.sum() > 0), 1)


@MUTANTS.of("iou_balanced_classification_loss", "sums over the background, too", killed_by="value")
def _(logits, labels, ious, *, eta=1.5):
    costs, positive, powers = parts(logits, labels, ious.detach(), eta)
    fixed = costs.detach()
    total = (powers * fixed).sum()
    return costs * (powers * fixed.sum() / total).where(positive & (total > 0), 1)


@MUTANTS.of("iou_balanced_classification_loss", "the background weighted", killed_by="value")
def _(logits, labels, ious, *, eta=1.5):
    losses = iou_balanced_classification_loss(logits, labels, ious, eta=eta)
    return losses * (ious**eta).where(labels == 0, 1)


@MUTANTS.of("iou_balanced_classification_loss", "the IoU turned around", killed_by="value")
def _(logits, labels, ious, *, eta=1.5):
    return iou_balanced_classification_loss(logits, labels, 1 - ious, eta=eta)


@MUTANTS.of("iou_balanced_classification_loss", "eta left out", killed_by="value")
def _(logits, labels, ious, *, eta=1.5):
    return iou_balanced_classification_loss(logits, labels, ious, eta=min(eta, 1.0))


@MUTANTS.of("iou_balanced_classification_loss", "powers of the IoU underflow", killed_by="value")
def _(logits, labels, ious, *, eta=1.5):
    costs, positive, powers = parts(logits, labels, ious.detach(), eta)
    total = (powers * costs.detach())[positive].sum()
    return joined(costs, positive, powers, total)


@MUTANTS.of("iou_balanced_classification_loss", "class 0 taken for an object", killed_by="value")
def _(logits, labels, ious, *, eta=1.5):
    wide = F.pad(logits, (1, 0), value=-torch.inf)
    return iou_balanced_classification_loss(wide, labels + 1, ious, eta=eta)


@MUTANTS.of(
    "iou_balanced_classification_loss",
    "inf times 0",
    killed_by="test_a_positive_that_costs_nothing_stays_finite",
)
def _(logits, labels, ious, *, eta=1.5):
    costs, positive, _ = parts(logits, labels, ious, eta)
    powers, logs = eta * ious.log(), costs.detach().log().where(positive, -torch.inf)
    weights = (powers + logs.logsumexp(0) - (powers + logs).logsumexp(0)).exp()
    return costs * weights.where(positive, 1)


@MUTANTS.of("iou_balanced_classification_loss", "IoUs of (P, 1) broadcast", killed_by="errors")
def _(logits, labels, ious, *, eta=1.5):
    return iou_balanced_classification_loss(logits, labels, ious.reshape(-1), eta=eta)


@MUTANTS.of("iou_balanced_localization_loss", "a gradient to the IoU", killed_by="gradient")
def _(offsets, target_offsets, ious, *, lam=1.5, beta=1.0):
    each = F.smooth_l1_loss(offsets, target_offsets, reduction="none", beta=beta)
    return ious**lam * each.sum(1)


@MUTANTS.of("iou_balanced_localization_loss", "the mean over the offsets", killed_by="value")
def _(offsets, target_offsets, ious, *, lam=1.5, beta=1.0):
    return iou_balanced_localization_loss(offsets, target_offsets, ious, lam=lam, beta=beta) / 4


@MUTANTS.of("iou_balanced_localization_loss", "Huber for smooth L1", killed_by="value")
def _(offsets, target_offsets, ious, *, lam=1.5, beta=1.0):
    scale = beta or 1.0
    return scale * iou_balanced_localization_loss(offsets, target_offsets, ious, lam=lam, beta=beta)


@MUTANTS.of("iou_balanced_localization_loss", "absolute differences", killed_by="value")
def _(offsets, target_offsets, ious, *, lam=1.5, beta=1.0):
    plain = iou_balanced_localization_loss(offsets, target_offsets, ious, lam=lam, beta=0.0)
    return plain + 0 * beta


@MUTANTS.of("iou_balanced_localization_loss", "a square without a tail", killed_by="value")
def _(offsets, target_offsets, ious, *, lam=1.5, beta=1.0):
    squares = (offsets - target_offsets).square().sum(1) / (2 * (beta or 1.0))
    return ious.detach() ** lam * squares


@MUTANTS.of("iou_balanced_localization_loss", "lam left out", killed_by="value")
def _(offsets, target_offsets, ious, *, lam=1.5, beta=1.0):
    once = min(lam, 1.0)
    return iou_balanced_localization_loss(offsets, target_offsets, ious, lam=once, beta=beta)


@MUTANTS.of("iou_balanced_localization_loss", "the IoU turned around", killed_by="value")
def _(offsets, target_offsets, ious, *, lam=1.5, beta=1.0):
    return iou_balanced_localization_loss(offsets, target_offsets, 1 - ious, lam=lam, beta=beta)


@MUTANTS.of("iou_balanced_localization_loss", "weights that sum to the count", killed_by="value")
def _(offsets, target_offsets, ious, *, lam=1.5, beta=1.0):
    losses = iou_balanced_localization_loss(offsets, target_offsets, ious, lam=lam, beta=beta)
    return losses * len(ious) / (ious**lam).sum().clamp_min(1e-9)


@MUTANTS.of("iou_balanced_localization_loss", "0/0 at beta 0", killed_by="value")
def _(offsets, target_offsets, ious, *, lam=1.5, beta=1.0):
    r = offsets - target_offsets
    clipped = (r / beta).clamp(-1, 1) if beta else r / r.abs()
    return ious.detach() ** lam * (clipped * (r - beta * clipped / 2)).sum(1)


@MUTANTS.of("iou_balanced_localization_loss", "one target for all", killed_by="errors")
def _(offsets, target_offsets, ious, *, lam=1.5, beta=1.0):
    targets = target_offsets.expand(offsets.shape)
    return iou_balanced_localization_loss(offsets, targets, ious, lam=lam, beta=beta)
