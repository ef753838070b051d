import torch

from tests.mutants import Mutants

MUTANTS = Mutants()


def gaps(predictions, targets, dim=1):
    return (predictions - targets).cumsum(dim)


@MUTANTS.of("earth_mover_distance", "no cumulative sum: total variation", killed_by="value")
def _(predictions, targets, *, dim=1):
    return (predictions - targets).abs().sum(dim)


@MUTANTS.of("earth_mover_distance", "no absolute value: gaps that cross cancel", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).sum(dim)


@MUTANTS.of("earth_mover_distance", "the absolute value before the sum", killed_by="value")
def _(predictions, targets, *, dim=1):
    return (predictions - targets).abs().cumsum(dim).sum(dim)


@MUTANTS.of("earth_mover_distance", "the mean over bins", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).abs().mean(dim)


@MUTANTS.of("earth_mover_distance", "the largest gap: Kolmogorov-Smirnov", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).abs().amax(dim)


@MUTANTS.of("earth_mover_distance", "the difference of the means", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).sum(dim).abs()


@MUTANTS.of("earth_mover_distance", "the squared form", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).square().sum(dim)


@MUTANTS.of("earth_mover_distance", "a softmax over probabilities", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions.softmax(dim), targets, dim).abs().sum(dim)


@MUTANTS.of(
    "earth_mover_distance", "normalized again: 0 / 0 for an empty histogram", killed_by="value"
)
def _(predictions, targets, *, dim=1):
    p, q = (x / x.sum(dim, keepdim=True) for x in (predictions, targets))
    return gaps(p, q, dim).abs().sum(dim)


@MUTANTS.of("earth_mover_distance", "the last gap left out", killed_by="value")
def _(predictions, targets, *, dim=1):
    found = gaps(predictions, targets, dim)
    return found.narrow(dim, 0, found.shape[dim] - 1).abs().sum(dim)


@MUTANTS.of("earth_mover_distance", "an epsilon under a root", killed_by="value")
def _(predictions, targets, *, dim=1):
    return (gaps(predictions, targets, dim).square() + 1e-8).sqrt().sum(dim)


@MUTANTS.of("earth_mover_distance", "a root with no slope at 0", killed_by="extremes")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).square().sqrt().sum(dim)


@MUTANTS.of("earth_mover_distance", "the last axis, whatever dim says", killed_by="value")
def _(predictions, targets, **_):
    return gaps(predictions, targets, -1).abs().sum(-1)


@MUTANTS.of("earth_mover_distance", "axis 1, whatever dim says", killed_by="relations")
def _(predictions, targets, **_):
    return gaps(predictions, targets).abs().sum(1)


@MUTANTS.of("earth_mover_distance", "one target for the whole batch", killed_by="errors")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).abs().sum(dim)


@MUTANTS.of("earth_mover_distance", "no gradient for the targets", killed_by="gradient")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets.detach(), dim).abs().sum(dim)


@MUTANTS.of("earth_mover_distance", "the cumulative sum in place", killed_by="inputs unchanged")
def _(predictions, targets, *, dim=1):
    return predictions.sub_(targets).cumsum(dim).abs().sum(dim)


@MUTANTS.of(
    "earth_mover_distance",
    "running sums in half precision",
    killed_by="test_sums_of_half_precision_do_not_stall",
)
def _(predictions, targets, *, dim=1):
    found = torch.zeros_like(predictions.select(dim, 0))
    total = torch.zeros_like(found)
    for p, q in zip(predictions.unbind(dim), targets.unbind(dim), strict=True):
        total = total + (p - q)
        found = found + total.abs()
    return found


@MUTANTS.of("squared_emd_loss", "the distance squared, not its gaps", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).abs().sum(dim).square()


@MUTANTS.of("squared_emd_loss", "the distance, not squared", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).abs().sum(dim)


@MUTANTS.of("squared_emd_loss", "the root of the mean of squares", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).square().mean(dim).sqrt()


@MUTANTS.of("squared_emd_loss", "the mean over classes", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).square().mean(dim)


@MUTANTS.of("squared_emd_loss", "no cumulative sum: the Brier score", killed_by="value")
def _(predictions, targets, *, dim=1):
    return (predictions - targets).square().sum(dim)


@MUTANTS.of("squared_emd_loss", "the square before the cumulative sum", killed_by="value")
def _(predictions, targets, *, dim=1):
    return (predictions - targets).square().cumsum(dim).sum(dim)


@MUTANTS.of("squared_emd_loss", "half of it", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).square().sum(dim) / 2


@MUTANTS.of("squared_emd_loss", "already averaged", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).square().sum(dim).mean()


@MUTANTS.of("squared_emd_loss", "the cumulative sum along the batch", killed_by="value")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, 0).square().sum(dim)


@MUTANTS.of("squared_emd_loss", "axis 1, whatever dim says", killed_by="relations")
def _(predictions, targets, **_):
    return gaps(predictions, targets).square().sum(1)


@MUTANTS.of("squared_emd_loss", "one target for the whole batch", killed_by="errors")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets, dim).square().sum(dim)


@MUTANTS.of("squared_emd_loss", "no gradient for the targets", killed_by="gradient")
def _(predictions, targets, *, dim=1):
    return gaps(predictions, targets.detach(), dim).square().sum(dim)


@MUTANTS.of("squared_emd_loss", "gaps detached on one side: half the slope", killed_by="gradient")
def _(predictions, targets, *, dim=1):
    found = gaps(predictions, targets, dim)
    return (found * found.detach()).sum(dim)


@MUTANTS.of("squared_emd_loss", "float32 out of half precision", killed_by="float16")
def _(predictions, targets, *, dim=1):
    wide = torch.promote_types(predictions.dtype, torch.float32)
    return gaps(predictions.to(wide), targets.to(wide), dim).square().sum(dim)
