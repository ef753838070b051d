import math

import torch
from torch.nn import functional as F

from lossbook.embedding.arcface import arcface_loss, sphereface_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def cosines(x, w):
    return F.normalize(x) @ F.normalize(w).T


def finish(c, t, y, scale):
    logits = scale * c.scatter(1, y[:, None], t[:, None])
    return F.cross_entropy(logits, y, reduction="none")


def true_column(c, y):
    return c.gather(1, y[:, None]).squeeze(1)


def with_margin(t, margin):
    sines = (1 - t * t).clamp_min(1e-20).sqrt()
    added = t * math.cos(margin) - sines * math.sin(margin)
    return torch.where(t >= -math.cos(margin), added, t - margin * math.sin(margin))


@MUTANTS.of("arcface_loss", "past pi the worst are rewarded", killed_by="value")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = cosines(embeddings, prototypes)
    t = true_column(c, labels)
    t = t * math.cos(margin) - (1 - t * t).clamp_min(1e-20).sqrt() * math.sin(margin)
    return finish(c, t, labels, scale)


@MUTANTS.of("arcface_loss", "the easy margin: none past a right angle", killed_by="value")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = cosines(embeddings, prototypes)
    t = true_column(c, labels)
    return finish(c, torch.where(t > 0, with_margin(t, margin), t), labels, scale)


@MUTANTS.of("arcface_loss", "the margin left out of the backward", killed_by="gradient")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = cosines(embeddings, prototypes)
    t = true_column(c, labels)
    return finish(c, t + (with_margin(t, margin) - t).detach(), labels, scale)


@MUTANTS.of("arcface_loss", "an arc cosine whose slope is infinite at 1", killed_by="extremes")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = cosines(embeddings, prototypes)
    t = true_column(c, labels)
    t = torch.where(t >= -math.cos(margin), (t.acos() + margin).cos(), t - margin)
    return finish(c, t, labels, scale)


@MUTANTS.of("arcface_loss", "clipped to 1 - 1e-7: off where it matters most", killed_by="value")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = cosines(embeddings, prototypes)
    t = true_column(c, labels).clamp(-1 + 1e-7, 1 - 1e-7)
    return finish(c, with_margin(t, margin), labels, scale)


@MUTANTS.of(
    "arcface_loss", "a sine from 1 - cos^2", killed_by="test_the_slope_in_the_angle_is_exact"
)
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = cosines(embeddings, prototypes)
    t = true_column(c, labels)
    return finish(c, with_margin(t, margin), labels, scale)


@MUTANTS.of("arcface_loss", "the margin of CosFace", killed_by="value")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = cosines(embeddings, prototypes)
    return finish(c, true_column(c, labels) - margin, labels, scale)


@MUTANTS.of("arcface_loss", "the margin in degrees", killed_by="value")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    return arcface_loss(embeddings, prototypes, labels, scale=scale, margin=math.radians(margin))


@MUTANTS.of("arcface_loss", "the margin on every class", killed_by="value")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = with_margin(cosines(embeddings, prototypes), margin)
    return F.cross_entropy(scale * c, labels, reduction="none")


@MUTANTS.of("arcface_loss", "prototypes not normalized", killed_by="invariances")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = (F.normalize(embeddings) @ prototypes.T).clamp(-1, 1)
    return finish(c, with_margin(true_column(c, labels), margin), labels, scale)


@MUTANTS.of("arcface_loss", "embeddings not normalized", killed_by="invariances")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = (embeddings @ F.normalize(prototypes).T).clamp(-1, 1)
    return finish(c, with_margin(true_column(c, labels), margin), labels, scale)


@MUTANTS.of("arcface_loss", "no scale", killed_by="value")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    losses = arcface_loss(embeddings, prototypes, labels, scale=1.0, margin=margin)
    return losses + 0 * scale


@MUTANTS.of("arcface_loss", "1e12 at a zero", killed_by="test_a_zero_vector_moves_nowhere")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = cosines(embeddings, prototypes)
    return finish(c, with_margin(true_column(c, labels), margin), labels, scale)


@MUTANTS.of("arcface_loss", "autocast rounds the cosines", killed_by="autocast")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    c = cosines(embeddings, prototypes).float()
    return finish(c, with_margin(true_column(c, labels), margin), labels, scale)


@MUTANTS.of("arcface_loss", "a margin of 28.6 accepted", killed_by="errors")
def _(embeddings, prototypes, labels, *, scale=64.0, margin=0.5):
    margin = math.radians(margin) if margin > 2 else margin
    return arcface_loss(embeddings, prototypes, labels, scale=scale, margin=margin)


def angles(x, w, y):
    c = cosines(x, w)
    return c, true_column(c, y).clamp(-1 + 1e-12, 1 - 1e-12).acos()


def lengths(x):
    return x.norm(dim=1, keepdim=True)


def steps(theta, margin):
    k = (margin * theta.detach() / math.pi).floor()
    return (1 - 2 * (k % 2)) * (margin * theta).cos() - 2 * k


@MUTANTS.of("sphereface_loss", "cos(m theta), which comes back up", killed_by="value")
def _(embeddings, prototypes, labels, *, margin=4):
    c, theta = angles(embeddings, prototypes, labels)
    return finish(c, (margin * theta).cos(), labels, lengths(embeddings))


@MUTANTS.of("sphereface_loss", "no step of 2k", killed_by="value")
def _(embeddings, prototypes, labels, *, margin=4):
    c, theta = angles(embeddings, prototypes, labels)
    k = (margin * theta / math.pi).floor()
    return finish(c, (1 - 2 * (k % 2)) * (margin * theta).cos(), labels, lengths(embeddings))


@MUTANTS.of("sphereface_loss", "no alternating sign", killed_by="value")
def _(embeddings, prototypes, labels, *, margin=4):
    c, theta = angles(embeddings, prototypes, labels)
    k = (margin * theta / math.pi).floor()
    return finish(c, (margin * theta).cos() - 2 * k, labels, lengths(embeddings))


@MUTANTS.of("sphereface_loss", "annealed as in the official code", killed_by="value")
def _(embeddings, prototypes, labels, *, margin=4):
    c, theta = angles(embeddings, prototypes, labels)
    t = (5 * theta.cos() + steps(theta, margin)) / 6
    return finish(c, t, labels, lengths(embeddings))


@MUTANTS.of("sphereface_loss", "embeddings normalized, too", killed_by="value")
def _(embeddings, prototypes, labels, *, margin=4):
    return sphereface_loss(F.normalize(embeddings), prototypes, labels, margin=margin)


@MUTANTS.of("sphereface_loss", "prototypes not normalized", killed_by="invariances")
def _(embeddings, prototypes, labels, *, margin=4):
    _, theta = angles(embeddings, prototypes, labels)
    logits, size = embeddings @ prototypes.T, lengths(embeddings)
    own = size * steps(theta, margin)[:, None]
    return F.cross_entropy(logits.scatter(1, labels[:, None], own), labels, reduction="none")


@MUTANTS.of("sphereface_loss", "the slope of the arc cosine at 1", killed_by="extremes")
def _(embeddings, prototypes, labels, *, margin=4):
    c = cosines(embeddings, prototypes)
    theta = true_column(c, labels).acos()
    return finish(c, steps(theta, margin), labels, lengths(embeddings))


@MUTANTS.of("sphereface_loss", "the length detached", killed_by="gradient")
def _(embeddings, prototypes, labels, *, margin=4):
    c, theta = angles(embeddings, prototypes, labels)
    return finish(c, steps(theta, margin), labels, lengths(embeddings.detach()))


@MUTANTS.of("sphereface_loss", "the margin of ArcFace", killed_by="value")
def _(embeddings, prototypes, labels, *, margin=4):
    c, theta = angles(embeddings, prototypes, labels)
    return finish(c, (theta + margin / 8).cos(), labels, lengths(embeddings))


@MUTANTS.of("sphereface_loss", "a margin of 2.5 accepted", killed_by="errors")
def _(embeddings, prototypes, labels, *, margin=4):
    margin = int(margin) if margin > 1 else margin
    return sphereface_loss(embeddings, prototypes, labels, margin=margin)
