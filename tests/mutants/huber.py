import math

import torch

from tests.mutants import Mutants

MUTANTS = Mutants()


def checked(predictions, targets, delta):
    if predictions.shape != targets.shape:
        expected, got = tuple(predictions.shape), tuple(targets.shape)
        raise ValueError(f"expected targets of shape {expected}, got {got}")
    if not delta > 0:
        raise ValueError(f"expected delta > 0, got {delta}")


def huber(r, delta):
    return torch.where(r.abs() <= delta, r**2 / 2, delta * (r.abs() - delta / 2))


@MUTANTS.of("huber_loss", "(N, 1) against (N,) broadcasts to N x N", killed_by="errors")
def _(predictions, targets, *, delta=1.0):
    return huber(predictions - targets, delta)


@MUTANTS.of("huber_loss", "shapes checked by assert", killed_by="errors")
def _(predictions, targets, *, delta=1.0):
    assert predictions.shape == targets.shape
    return huber(predictions - targets, delta)


@MUTANTS.of("huber_loss", "delta <= 0 lets nan pass", killed_by="errors")
def _(predictions, targets, *, delta=1.0):
    checked(predictions, targets, 1.0)
    if delta <= 0:
        raise ValueError(f"expected delta > 0, got {delta}")
    return huber(predictions - targets, delta)


@MUTANTS.of("huber_loss", "square without the half", killed_by="value")
def _(predictions, targets, *, delta=1.0):
    r = (predictions - targets).abs()
    return torch.where(r <= delta, r**2, 2 * delta * r - delta**2)


@MUTANTS.of("huber_loss", "tail right only at delta 1", killed_by="value")
def _(predictions, targets, *, delta=1.0):
    r = (predictions - targets).abs()
    return torch.where(r <= delta, r**2 / 2, delta * r - delta / 2)


@MUTANTS.of("huber_loss", "the square is compared with delta", killed_by="value")
def _(predictions, targets, *, delta=1.0):
    r = (predictions - targets).abs()
    return torch.where(r**2 <= delta, r**2 / 2, delta * (r - delta / 2))


@MUTANTS.of("huber_loss", "smooth L1 under Huber's name", killed_by="value")
def _(predictions, targets, *, delta=1.0):
    return huber(predictions - targets, delta) / delta


@MUTANTS.of("huber_loss", "pseudo-Huber under Huber's name", killed_by="value")
def _(predictions, targets, *, delta=1.0):
    return delta**2 * ((1 + ((predictions - targets) / delta) ** 2).sqrt() - 1)


@MUTANTS.of("huber_loss", "already averaged", killed_by="value")
def _(predictions, targets, *, delta=1.0):
    return huber(predictions - targets, delta).mean()


@MUTANTS.of("huber_loss", "no gradient for the targets", killed_by="gradient")
def _(predictions, targets, *, delta=1.0):
    return huber(predictions - targets.detach(), delta)


@MUTANTS.of("huber_loss", "float32 from half precision", killed_by="float16")
def _(predictions, targets, *, delta=1.0):
    return huber(predictions.float() - targets.float(), delta).to(
        torch.float64 if predictions.dtype == torch.float64 else torch.float32
    )


@MUTANTS.of("huber_loss", "a branch on tensor values", killed_by="vmap")
def _(predictions, targets, *, delta=1.0):
    r = predictions - targets
    return r**2 / 2 if (r.abs() <= delta).all() else huber(r, delta)


@MUTANTS.of("huber_loss", "a value read for the log", killed_by="compile")
def _(predictions, targets, *, delta=1.0):
    loss = huber(predictions - targets, delta)
    if math.isnan(loss.sum().item()):
        raise ValueError("expected finite inputs, got nan")
    return loss


@MUTANTS.of("huber_loss", "the residual overwrites the prediction", killed_by="inputs unchanged")
def _(predictions, targets, *, delta=1.0):
    return huber(predictions.sub_(targets), delta)


@MUTANTS.of("huber_loss", "a view of what may not be contiguous", killed_by="layout")
def _(predictions, targets, *, delta=1.0):
    return huber(predictions.view(-1) - targets.view(-1), delta).view(predictions.shape)


@MUTANTS.of("huber_loss", "the tail's square overflows under the mask", killed_by="extremes")
def _(predictions, targets, *, delta=1.0):
    r = predictions - targets
    inside = (r.abs() <= delta).to(r.dtype)
    return inside * r**2 / 2 + (1 - inside) * delta * (r.abs() - delta / 2)


@MUTANTS.of(
    "huber_loss", "targets truncated to the integers of the predictions", killed_by="errors"
)
def _(predictions, targets, *, delta=1.0):
    checked(predictions, targets, delta)
    return huber(predictions - targets.to(predictions.dtype), delta)


@MUTANTS.of("smooth_l1_loss", "Huber under smooth L1's name", killed_by="value")
def _(predictions, targets, *, beta=1.0):
    r = predictions - targets
    return huber(r, beta) if beta else r.abs()


@MUTANTS.of("smooth_l1_loss", "0 / 0 at beta 0", killed_by="value")
def _(predictions, targets, *, beta=1.0):
    r = (predictions - targets).abs()
    inside = (r <= beta).to(r.dtype)
    return inside * r**2 / (2 * beta + r * 0) + (1 - inside) * (r - beta / 2)


@MUTANTS.of("smooth_l1_loss", "beta 0 refused", killed_by="value")
def _(predictions, targets, *, beta=1.0):
    if not beta > 0:
        raise ValueError(f"expected beta > 0, got {beta}")
    return huber(predictions - targets, beta) / beta


@MUTANTS.of("smooth_l1_loss", "a jump at the knee", killed_by="value")
def _(predictions, targets, *, beta=1.0):
    r = (predictions - targets).abs()
    return torch.where(r < beta, r**2 / (2 * beta or 1), r - beta)


@MUTANTS.of("smooth_l1_loss", "beta taken for Fast R-CNN's sigma", killed_by="value")
def _(predictions, targets, *, beta=1.0):
    r = (predictions - targets).abs()
    s2 = beta**2
    return torch.where(r * s2 < 1, s2 * r**2 / 2, r - 0.5 / (s2 or 1))


@MUTANTS.of("smooth_l1_loss", "summed over the four numbers of a box", killed_by="value")
def _(predictions, targets, *, beta=1.0):
    r = predictions - targets
    return (huber(r, beta) / beta if beta else r.abs()).sum(-1)


@MUTANTS.of("smooth_l1_loss", "(N, 1) against (N,) broadcasts", killed_by="errors")
def _(predictions, targets, *, beta=1.0):
    if not beta >= 0:
        raise ValueError(f"expected beta >= 0, got {beta}")
    r = predictions - targets
    return huber(r, beta) / beta if beta else r.abs()


@MUTANTS.of("smooth_l1_loss", "negative beta accepted", killed_by="errors")
def _(predictions, targets, *, beta=1.0):
    checked(predictions, targets, 1.0)
    r = predictions - targets
    return huber(r, beta) / beta if beta else r.abs()


@MUTANTS.of("smooth_l1_loss", "the root of r^2 has no slope at 0", killed_by="extremes")
def _(predictions, targets, *, beta=1.0):
    r = predictions - targets
    return huber(r, beta) / beta if beta else (r**2).sqrt()


@MUTANTS.of(
    "smooth_l1_loss", "clipped before the division", killed_by="test_beta_below_half_precision"
)
def _(predictions, targets, *, beta=1.0):
    r = predictions - targets
    clipped = r.clamp(-beta, beta)
    return clipped * (r - clipped / 2) / beta
