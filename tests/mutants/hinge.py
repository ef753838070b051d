import math

import torch
from torch.nn import functional as F

from lossbook.classification.hinge import crammer_singer_loss, weston_watkins_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def hinge(scores, targets):
    return (1 - targets * scores).relu()


def checked(scores, targets):
    if scores.shape != targets.shape:
        raise ValueError(f"expected {tuple(scores.shape)}, got {tuple(targets.shape)}")


@MUTANTS.of("hinge_loss", "labels of 0 and 1 mapped to -1 and 1", killed_by="value")
def _(scores, targets):
    return hinge(scores, 2 * targets - 1)


@MUTANTS.of("hinge_loss", "negatives taken for 0", killed_by="value")
def _(scores, targets):
    return hinge(scores, targets.relu())


@MUTANTS.of("hinge_loss", "the embedding loss of the same name", killed_by="value")
def _(scores, targets):
    return F.hinge_embedding_loss(scores, targets, reduction="none")


@MUTANTS.of("hinge_loss", "tanh before the loss", killed_by="value")
def _(scores, targets):
    return hinge(scores.tanh(), targets)


@MUTANTS.of("hinge_loss", "the perceptron's: no margin", killed_by="value")
def _(scores, targets):
    return (-targets * scores).relu()


@MUTANTS.of("hinge_loss", "no floor: right scores pay for the wrong ones", killed_by="value")
def _(scores, targets):
    return 1 - targets * scores


@MUTANTS.of("hinge_loss", "slope on the flat side of the kink", killed_by="gradient")
def _(scores, targets):
    return (1 - targets * scores).clamp_min(0)


@MUTANTS.of("hinge_loss", "smoothed by a softplus", killed_by="value")
def _(scores, targets):
    return F.softplus(1 - targets * scores)


@MUTANTS.of("hinge_loss", "averaged over the last axis", killed_by="value")
def _(scores, targets):
    return hinge(scores, targets).mean(-1)


@MUTANTS.of("hinge_loss", "(N, 1) against (N,) broadcasts", killed_by="errors")
def _(scores, targets):
    return hinge(scores, targets)


@MUTANTS.of("hinge_loss", "float32 from half precision", killed_by="float16")
def _(scores, targets):
    checked(scores, targets)
    return hinge(scores.to(torch.promote_types(scores.dtype, torch.float32)), targets)


@MUTANTS.of("squared_hinge_loss", "not squared", killed_by="value")
def _(scores, targets):
    return hinge(scores, targets)


@MUTANTS.of("squared_hinge_loss", "squared before the floor", killed_by="value")
def _(scores, targets):
    return (1 - targets * scores).square().relu()


@MUTANTS.of("squared_hinge_loss", "halved", killed_by="value")
def _(scores, targets):
    return hinge(scores, targets) ** 2 / 2


@MUTANTS.of("squared_hinge_loss", "the square of the product", killed_by="value")
def _(scores, targets):
    return (1 - (targets * scores) ** 2).relu()


@MUTANTS.of("squared_hinge_loss", "labels of 0 and 1 mapped to -1 and 1", killed_by="value")
def _(scores, targets):
    return hinge(scores, 2 * targets - 1) ** 2


@MUTANTS.of("squared_hinge_loss", "right scores squared, too, then hidden", killed_by="extremes")
def _(scores, targets):
    gap = 1 - targets * scores
    return (gap > 0).to(gap) * gap**2


@MUTANTS.of("squared_hinge_loss", "one factor detached", killed_by="gradient")
def _(scores, targets):
    return hinge(scores, targets) * hinge(scores, targets).detach()


@MUTANTS.of("squared_hinge_loss", "quadratic only near the margin", killed_by="value")
def _(scores, targets):
    gap = hinge(scores, targets)
    return torch.where(gap < 2, gap**2, 4 * (gap - 1))


@MUTANTS.of("squared_hinge_loss", "(N, 1) against (N,) broadcasts", killed_by="errors")
def _(scores, targets):
    return hinge(scores, targets) ** 2


@MUTANTS.of("squared_hinge_loss", "already averaged", killed_by="value")
def _(scores, targets):
    return (hinge(scores, targets) ** 2).mean()


def of_truth(scores, labels):
    return scores.gather(1, labels.unsqueeze(1))


def without_truth(scores, labels):
    return scores.scatter(1, labels.unsqueeze(1), -math.inf)


@MUTANTS.of("crammer_singer_loss", "the truth among the rivals", killed_by="value")
def _(scores, labels, *, margin=1.0):
    return (margin + scores.amax(1) - of_truth(scores, labels).squeeze(1)).relu()


@MUTANTS.of("crammer_singer_loss", "the truth hidden under a 0", killed_by="value")
def _(scores, labels, *, margin=1.0):
    rival = scores.scatter(1, labels.unsqueeze(1), 0).amax(1)
    return (margin + rival - of_truth(scores, labels).squeeze(1)).relu()


@MUTANTS.of("crammer_singer_loss", "the truth hidden under -1000", killed_by="value")
def _(scores, labels, *, margin=1.0):
    rival = scores.scatter(1, labels.unsqueeze(1), -1000).amax(1)
    return (margin + rival - of_truth(scores, labels).squeeze(1)).relu()


@MUTANTS.of("crammer_singer_loss", "Weston and Watkins' sum", killed_by="value")
def _(scores, labels, *, margin=1.0):
    return weston_watkins_loss(scores, labels, margin=margin)


@MUTANTS.of("crammer_singer_loss", "margin always 1", killed_by="value")
def _(scores, labels, *, margin=1.0):  # noqa: ARG001
    rival = without_truth(scores, labels).amax(1)
    return (1 + rival - of_truth(scores, labels).squeeze(1)).relu()


@MUTANTS.of("crammer_singer_loss", "`margin or 1.0` makes 0 the default", killed_by="value")
def _(scores, labels, *, margin=1.0):
    return crammer_singer_loss(scores, labels, margin=margin or 1.0)


@MUTANTS.of("crammer_singer_loss", "no floor", killed_by="value")
def _(scores, labels, *, margin=1.0):
    return margin + without_truth(scores, labels).amax(1) - of_truth(scores, labels).squeeze(1)


@MUTANTS.of("crammer_singer_loss", "the sign of the lead", killed_by="value")
def _(scores, labels, *, margin=1.0):
    rival = without_truth(scores, labels).amax(1)
    return (margin - rival + of_truth(scores, labels).squeeze(1)).relu()


@MUTANTS.of("crammer_singer_loss", "the rival detached", killed_by="gradient")
def _(scores, labels, *, margin=1.0):
    rival = without_truth(scores, labels).amax(1).detach()
    return (margin + rival - of_truth(scores, labels).squeeze(1)).relu()


@MUTANTS.of(
    "crammer_singer_loss",
    "subtracted in half precision",
    killed_by="test_sum_of_scores_and_margin_in_half_precision",
)
def _(scores, labels, *, margin=1.0):
    rival = without_truth(scores, labels).amax(1)
    return (margin + rival - of_truth(scores, labels).squeeze(1)).relu()


@MUTANTS.of("crammer_singer_loss", "one class has no rival", killed_by="errors")
def _(scores, labels, *, margin=1.0):
    if scores.dim() == 2 and scores.shape[1] == 1:
        return scores[:, 0] * 0
    return crammer_singer_loss(scores, labels, margin=margin)


@MUTANTS.of("crammer_singer_loss", "labels of shape (N, 1) squeezed", killed_by="errors")
def _(scores, labels, *, margin=1.0):
    if scores.dim() == labels.dim() == 2:
        labels = labels.squeeze(1)
    return crammer_singer_loss(scores, labels, margin=margin)


@MUTANTS.of("weston_watkins_loss", "divided by the number of classes", killed_by="value")
def _(scores, labels, *, margin=1.0):
    return F.multi_margin_loss(scores, labels, margin=margin, reduction="none")


@MUTANTS.of("weston_watkins_loss", "divided by the number of wrong classes", killed_by="value")
def _(scores, labels, *, margin=1.0):
    return weston_watkins_loss(scores, labels, margin=margin) / (scores.shape[1] - 1)


@MUTANTS.of("weston_watkins_loss", "the truth pays its own margin", killed_by="value")
def _(scores, labels, *, margin=1.0):
    return (margin + scores - of_truth(scores, labels)).relu().sum(1)


@MUTANTS.of("weston_watkins_loss", "1 taken away whatever the margin", killed_by="value")
def _(scores, labels, *, margin=1.0):
    return (margin + scores - of_truth(scores, labels)).relu().sum(1) - 1


@MUTANTS.of("weston_watkins_loss", "violations squared", killed_by="value")
def _(scores, labels, *, margin=1.0):
    return (
        (margin + without_truth(scores, labels) - of_truth(scores, labels)).relu().square().sum(1)
    )


@MUTANTS.of("weston_watkins_loss", "Crammer and Singer's maximum", killed_by="value")
def _(scores, labels, *, margin=1.0):
    return crammer_singer_loss(scores, labels, margin=margin)


@MUTANTS.of("weston_watkins_loss", "one against all: a hinge per class", killed_by="value")
def _(scores, labels, *, margin=1.0):
    signs = 2 * F.one_hot(labels, scores.shape[1]) - 1
    return (margin - signs * scores).relu().sum(1)


@MUTANTS.of("weston_watkins_loss", "the score of the truth detached", killed_by="gradient")
def _(scores, labels, *, margin=1.0):
    gaps = margin + without_truth(scores, labels) - of_truth(scores, labels).detach()
    return gaps.relu().sum(1)


@MUTANTS.of("weston_watkins_loss", "the truth hidden under a 0 competes", killed_by="value")
def _(scores, labels, *, margin=1.0):
    wrong = scores * (1 - F.one_hot(labels, scores.shape[1]))
    return (margin + wrong - of_truth(scores, labels)).relu().sum(1)


@MUTANTS.of(
    "weston_watkins_loss",
    "added one by one in half precision",
    killed_by="test_many_classes_in_half_precision",
)
def _(scores, labels, *, margin=1.0):
    gaps = (margin + without_truth(scores, labels) - of_truth(scores, labels)).relu()
    return sum(gaps.unbind(1))


@MUTANTS.of("weston_watkins_loss", "labels of shape (N, 1) squeezed", killed_by="errors")
def _(scores, labels, *, margin=1.0):
    if scores.dim() == labels.dim() == 2:
        labels = labels.squeeze(1)
    return weston_watkins_loss(scores, labels, margin=margin)
