import torch

from lossbook.segmentation.dice import dice_loss
from lossbook.segmentation.jaccard import jaccard_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def sums(probabilities, targets):
    """Overlap and both sizes."""
    p, t = (x.double().unsqueeze(-1).flatten(2) for x in (probabilities, targets))
    return (p * t).sum(2), p.sum(2), t.sum(2)


@MUTANTS.of("jaccard_loss", "the overlap counted twice in the union", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    i, p, t = sums(probabilities, targets)
    return 1 - (i + smooth) / (p + t + smooth)


@MUTANTS.of("jaccard_loss", "Dice under Jaccard's name", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    return dice_loss(probabilities, targets, smooth=smooth)


@MUTANTS.of("jaccard_loss", "smooth only below: an empty mask costs 1", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    i, p, t = sums(probabilities, targets)
    return 1 - i / (p + t - i + smooth)


@MUTANTS.of("jaccard_loss", "times smooth", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    return jaccard_loss(probabilities, targets, smooth=smooth) * smooth


@MUTANTS.of("jaccard_loss", "the larger of both for the union", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    p, t = (x.unsqueeze(-1).flatten(2) for x in (probabilities, targets))
    return 1 - (torch.minimum(p, t).sum(2) + smooth) / (torch.maximum(p, t).sum(2) + smooth)


@MUTANTS.of("jaccard_loss", "squares in the union", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    i = sums(probabilities, targets)[0]
    p, t = (sums(x, x)[0] for x in (probabilities, targets))
    return 1 - (i + smooth) / (p + t - i + smooth)


@MUTANTS.of("jaccard_loss", "minus the logarithm", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    return -(1 - jaccard_loss(probabilities, targets, smooth=smooth)).log()


@MUTANTS.of("jaccard_loss", "the index, not one minus it", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    return 1 - jaccard_loss(probabilities, targets, smooth=smooth)


@MUTANTS.of("jaccard_loss", "the batch flattened", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    i, p, t = (x.sum(0) for x in sums(probabilities, targets))
    return (1 - (i + smooth) / (p + t - i + smooth)).expand(probabilities.shape[:2])


@MUTANTS.of("jaccard_loss", "averaged over the classes", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    return jaccard_loss(probabilities, targets, smooth=smooth).mean(1)


@MUTANTS.of("jaccard_loss", "masks cut at 1/2", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5):
    hard = (probabilities > 0.5).to(probabilities) + 0 * probabilities
    return jaccard_loss(hard, targets, smooth=smooth)


@MUTANTS.of("jaccard_loss", "a union without a slope", killed_by="gradient")
def _(probabilities, targets, *, smooth=1e-5):
    i, p, t = sums(probabilities, targets)
    return 1 - (i + smooth) / (p + t - i + smooth).detach()


@MUTANTS.of("jaccard_loss", "one mask broadcast to all classes", killed_by="errors")
def _(probabilities, targets, *, smooth=1e-5):
    if not smooth >= 0 or targets.dim() != probabilities.dim() or probabilities.dim() < 2:
        return jaccard_loss(probabilities, targets, smooth=smooth)
    return jaccard_loss(probabilities, targets.expand_as(probabilities), smooth=smooth)


@MUTANTS.of("jaccard_loss", "smooth < 0 lets nan pass", killed_by="errors")
def _(probabilities, targets, *, smooth=1e-5):
    return jaccard_loss(probabilities, targets, smooth=smooth if smooth < 0 else 1.0)


@MUTANTS.of("jaccard_loss", "sums in half", killed_by="test_half_precision_at_1024_by_1024")
def _(probabilities, targets, *, smooth=1e-5):
    i = (probabilities * targets).flatten(2).sum(2)
    sizes = probabilities.flatten(2).sum(2) + targets.to(probabilities).flatten(2).sum(2)
    return 1 - (i + smooth) / (sizes - i + smooth)


@MUTANTS.of(
    "jaccard_loss",
    "1 / smooth overflows",
    killed_by="test_the_slope_of_an_empty_mask_fits_float16",
)
def _(probabilities, targets, *, smooth=1e-5):
    return jaccard_loss(probabilities.float(), targets, smooth=smooth).to(probabilities.dtype)
