import math

import torch

from tests.mutants import Mutants

MUTANTS = Mutants()


def checked(predictions, targets):
    if predictions.shape != targets.shape:
        expected, got = tuple(predictions.shape), tuple(targets.shape)
        raise ValueError(f"expected targets of shape {expected}, got {got}")


@MUTANTS.of("absolute_error", "(N, 1) against (N,) broadcasts to N x N", killed_by="errors")
def _(predictions, targets):
    return (predictions - targets).abs()


@MUTANTS.of("absolute_error", "shapes that broadcast are accepted", killed_by="errors")
def _(predictions, targets):
    try:
        predictions, targets = torch.broadcast_tensors(predictions, targets)
    except RuntimeError:
        checked(predictions, targets)
    return (predictions - targets).abs()


@MUTANTS.of("absolute_error", "no absolute value: errors cancel", killed_by="value")
def _(predictions, targets):
    return predictions - targets


@MUTANTS.of("absolute_error", "already averaged", killed_by="value")
def _(predictions, targets):
    return (predictions - targets).abs().mean()


@MUTANTS.of("absolute_error", "summed over the last axis", killed_by="value")
def _(predictions, targets):
    return (predictions - targets).abs().sum(-1)


@MUTANTS.of("absolute_error", "in percent of the target", killed_by="value")
def _(predictions, targets):
    return (predictions - targets).abs() / targets.abs()


@MUTANTS.of("absolute_error", "smooth L1 under its name", killed_by="value")
def _(predictions, targets):
    r = (predictions - targets).abs()
    return torch.where(r < 1, r**2 / 2, r - 0.5)


@MUTANTS.of("absolute_error", "log cosh: overflows, and rounds the corner", killed_by="value")
def _(predictions, targets):
    return (predictions - targets).cosh().log()


@MUTANTS.of("absolute_error", "the difference of absolute values", killed_by="value")
def _(predictions, targets):
    return (predictions.abs() - targets.abs()).abs()


@MUTANTS.of("absolute_error", "the root of r^2 has no slope at 0", killed_by="extremes")
def _(predictions, targets):
    return ((predictions - targets) ** 2).sqrt()


@MUTANTS.of("absolute_error", "the square overflows in half precision", killed_by="extremes")
def _(predictions, targets):
    r = predictions - targets
    return (r**2 + torch.finfo(r.dtype).tiny).sqrt()


@MUTANTS.of("absolute_error", "an epsilon under the root: 1e-4 at a perfect fit", killed_by="facts")
def _(predictions, targets):
    return ((predictions - targets) ** 2 + 1e-8).sqrt()


@MUTANTS.of("absolute_error", "relu of both signs, but slope 1 at 0", killed_by="gradient")
def _(predictions, targets):
    r = predictions - targets
    return r * torch.where(r >= 0, 1.0, -1.0).to(r.dtype)


@MUTANTS.of("absolute_error", "no gradient for the targets", killed_by="gradient")
def _(predictions, targets):
    return (predictions - targets.detach()).abs()


@MUTANTS.of("absolute_error", "float32 out of half precision", killed_by="bfloat16")
def _(predictions, targets):
    wide = torch.promote_types(predictions.dtype, torch.float32)
    return (predictions.to(wide) - targets.to(wide)).abs()


@MUTANTS.of("absolute_error", "a value read for the log", killed_by="compile")
def _(predictions, targets):
    losses = (predictions - targets).abs()
    if math.isnan(losses.sum().item()):
        raise ValueError("expected finite inputs, got nan")
    return losses


@MUTANTS.of(
    "absolute_error", "the residual overwrites the prediction", killed_by="inputs unchanged"
)
def _(predictions, targets):
    return predictions.sub_(targets).abs()


@MUTANTS.of(
    "absolute_error",
    "the dtype of the wider input",
    killed_by="test_targets_take_the_dtype_of_the_predictions",
)
def _(predictions, targets):
    checked(predictions, targets)
    return (predictions - targets).abs()
