import math

import torch

from tests.mutants import Mutants

MUTANTS = Mutants()


def checked(predictions, targets):
    if predictions.shape != targets.shape:
        expected, got = tuple(predictions.shape), tuple(targets.shape)
        raise ValueError(f"expected targets of shape {expected}, got {got}")


@MUTANTS.of("squared_error", "(N, 1) against (N,) broadcasts to N x N", killed_by="errors")
def _(predictions, targets):
    return (predictions - targets) ** 2


@MUTANTS.of("squared_error", "numbers of elements compared, not shapes", killed_by="errors")
def _(predictions, targets):
    if predictions.numel() != targets.numel():
        raise ValueError(f"expected {predictions.numel()} targets, got {targets.numel()}")
    return (predictions - targets) ** 2


@MUTANTS.of("squared_error", "half of it, the l2_loss of other libraries", killed_by="value")
def _(predictions, targets):
    return (predictions - targets) ** 2 / 2


@MUTANTS.of("squared_error", "already averaged", killed_by="value")
def _(predictions, targets):
    return ((predictions - targets) ** 2).mean()


@MUTANTS.of("squared_error", "averaged over the last axis", killed_by="value")
def _(predictions, targets):
    return ((predictions - targets) ** 2).mean(-1)


@MUTANTS.of("squared_error", "the root of the mean", killed_by="value")
def _(predictions, targets):
    return ((predictions - targets) ** 2).mean().sqrt()


@MUTANTS.of("squared_error", "divided by the target, squared", killed_by="value")
def _(predictions, targets):
    return ((predictions - targets) / targets) ** 2


@MUTANTS.of("squared_error", "multiplied out: small differences cancel", killed_by="value")
def _(predictions, targets):
    return predictions**2 - 2 * predictions * targets + targets**2


@MUTANTS.of("squared_error", "float32 inside", killed_by="value")
def _(predictions, targets):
    return (predictions.float() - targets.float()) ** 2


@MUTANTS.of("squared_error", "a root squared: no slope at 0", killed_by="extremes")
def _(predictions, targets):
    r = predictions - targets
    return (r * r).sqrt() ** 2


@MUTANTS.of("squared_error", "residuals clipped at 100", killed_by="value")
def _(predictions, targets):
    return (predictions - targets).clamp(-100, 100) ** 2


@MUTANTS.of("squared_error", "no gradient for the targets", killed_by="gradient")
def _(predictions, targets):
    return (predictions - targets.detach()) ** 2


@MUTANTS.of("squared_error", "one of two factors detached: half the slope", killed_by="gradient")
def _(predictions, targets):
    r = predictions - targets
    return r * r.detach()


@MUTANTS.of("squared_error", "float32 out of half precision", killed_by="float16")
def _(predictions, targets):
    wide = torch.promote_types(predictions.dtype, torch.float32)
    return (predictions.to(wide) - targets.to(wide)) ** 2


@MUTANTS.of("squared_error", "a branch on tensor values", killed_by="vmap")
def _(predictions, targets):
    r = predictions - targets
    return r**2 if r.any() else torch.zeros_like(r)


@MUTANTS.of("squared_error", "a value read for the log", killed_by="compile")
def _(predictions, targets):
    losses = (predictions - targets) ** 2
    if math.isnan(losses.sum().item()):
        raise ValueError("expected finite inputs, got nan")
    return losses


@MUTANTS.of("squared_error", "the residual overwrites the prediction", killed_by="inputs unchanged")
def _(predictions, targets):
    return predictions.sub_(targets) ** 2


@MUTANTS.of("squared_error", "a view of what may not be contiguous", killed_by="layout")
def _(predictions, targets):
    return ((predictions.view(-1) - targets.view(-1)) ** 2).view(predictions.shape)


@MUTANTS.of(
    "squared_error",
    "the dtype of the wider input",
    killed_by="test_targets_take_the_dtype_of_the_predictions",
)
def _(predictions, targets):
    checked(predictions, targets)
    return (predictions - targets) ** 2
