from lossbook.segmentation.dice import dice_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def sums(probabilities, targets, squared=False):
    """Overlap and both sizes."""
    p, t = (x.double().unsqueeze(-1).flatten(2) for x in (probabilities, targets))
    if squared:
        return (p * t).sum(2), p.square().sum(2), t.square().sum(2)
    return (p * t).sum(2), p.sum(2), t.sum(2)


@MUTANTS.of("dice_loss", "smooth only below: an empty mask costs 1", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    i, p, t = sums(probabilities, targets, squared)
    return 1 - 2 * i / (p + t + smooth)


@MUTANTS.of("dice_loss", "smooth only above", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    i, p, t = sums(probabilities, targets, squared)
    return 1 - (2 * i + smooth) / (p + t)


@MUTANTS.of("dice_loss", "the denominator clamped, not smoothed", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    i, p, t = sums(probabilities, targets, squared)
    return 1 - (2 * i + smooth) / (p + t).clamp_min(smooth)


@MUTANTS.of("dice_loss", "twice the overlap once", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    i, p, t = sums(probabilities, targets, squared)
    return 1 - (i + smooth) / (p + t + smooth)


@MUTANTS.of("dice_loss", "smooth doubled with the overlap", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    i, p, t = sums(probabilities, targets, squared)
    return 1 - 2 * (i + smooth) / (p + t + smooth)


@MUTANTS.of("dice_loss", "the batch flattened", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    i, p, t = (x.sum(0) for x in sums(probabilities, targets, squared))
    return (1 - (2 * i + smooth) / (p + t + smooth)).expand(probabilities.shape[:2])


@MUTANTS.of("dice_loss", "the classes flattened", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    i, p, t = (x.sum(1, keepdim=True) for x in sums(probabilities, targets, squared))
    return (1 - (2 * i + smooth) / (p + t + smooth)).expand(probabilities.shape[:2])


@MUTANTS.of("dice_loss", "classes without truth are free", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    losses = dice_loss(probabilities, targets, smooth=smooth, squared=squared)
    return losses * (targets.unsqueeze(-1).flatten(2).sum(2) > 0)


@MUTANTS.of("dice_loss", "minus the Dice, at best -1", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    return dice_loss(probabilities, targets, smooth=smooth, squared=squared) - 1


@MUTANTS.of("dice_loss", "masks cut at 1/2", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    hard = (probabilities > 0.5).to(probabilities) + 0 * probabilities
    return dice_loss(hard, targets, smooth=smooth, squared=squared)


@MUTANTS.of("dice_loss", "a sigmoid of probabilities", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    return dice_loss(probabilities.sigmoid(), targets, smooth=smooth, squared=squared)


@MUTANTS.of("dice_loss", "squares by default", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=True):
    return dice_loss(probabilities, targets, smooth=smooth, squared=squared)


@MUTANTS.of("dice_loss", "squared sums for sums of squares", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    i, p, t = sums(probabilities, targets)
    sizes = p.square() + t.square() if squared else p + t
    return 1 - (2 * i + smooth) / (sizes + smooth)


@MUTANTS.of("dice_loss", "only the prediction squared", killed_by="value")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    i, p, _ = sums(probabilities, targets, squared)
    return 1 - (2 * i + smooth) / (p + sums(probabilities, targets)[2] + smooth)


@MUTANTS.of("dice_loss", "`smooth or 1.0` makes 0 the other default", killed_by="relations")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    return dice_loss(probabilities, targets, smooth=smooth or 1.0, squared=squared)


@MUTANTS.of("dice_loss", "the hand-made gradient of the overlap alone", killed_by="gradient")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    i, p, t = sums(probabilities, targets, squared)
    return 1 - (2 * i + smooth) / (p + t + smooth).detach()


@MUTANTS.of("dice_loss", "one mask broadcast to all classes", killed_by="errors")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    if not smooth >= 0 or targets.dim() != probabilities.dim() or probabilities.dim() < 2:
        return dice_loss(probabilities, targets, smooth=smooth, squared=squared)
    targets = targets.expand_as(probabilities)
    return dice_loss(probabilities, targets, smooth=smooth, squared=squared)


@MUTANTS.of("dice_loss", "a negative smooth accepted", killed_by="errors")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    return dice_loss(probabilities, targets, smooth=abs(smooth), squared=squared)


@MUTANTS.of("dice_loss", "sums in half", killed_by="test_half_precision_at_1024_by_1024")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    p = probabilities.square() if squared else probabilities
    i = (probabilities * targets).flatten(2).sum(2)
    t = targets.to(p).flatten(2).sum(2)
    return 1 - (2 * i + smooth) / (p.flatten(2).sum(2) + t + smooth)


@MUTANTS.of(
    "dice_loss", "1 / smooth overflows", killed_by="test_the_slope_of_an_empty_mask_fits_float16"
)
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    return dice_loss(probabilities.float(), targets, smooth=smooth, squared=squared).to(
        probabilities.dtype
    )


@MUTANTS.of("dice_loss", "a look for empty masks", killed_by="vmap")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    if not targets.any():
        return probabilities.unsqueeze(-1).flatten(2).mean(2)
    return dice_loss(probabilities, targets, smooth=smooth, squared=squared)


@MUTANTS.of("dice_loss", "a view of what may not be contiguous", killed_by="layout")
def _(probabilities, targets, *, smooth=1e-5, squared=False):
    shape = (*probabilities.shape[:2], probabilities[0, 0].numel())
    return dice_loss(probabilities.view(shape), targets.view(shape), smooth=smooth, squared=squared)
