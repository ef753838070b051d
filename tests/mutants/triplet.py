import torch
from torch.nn import functional as F

from lossbook.embedding.triplet import batch_hard_triplet_loss, triplet_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def squared(x, y):
    return (x - y).square().sum(1)


def norm(x):
    return torch.linalg.vector_norm(x, dim=-1)


def masks(embeddings, labels):
    same = labels[:, None] == labels
    return norm(embeddings[:, None] - embeddings), same, torch.eye(len(labels), dtype=torch.bool)


def finish(d_p, d_n, same, margin):
    usable = (same.sum(1) > 1) & ~same.all(1)
    return (margin + d_p - d_n).clamp_min(0).where(usable, 0)


@MUTANTS.of("triplet_loss", "distances unsquared", killed_by="value")
def _(anchors, positives, negatives, *, margin=0.2):
    gap = norm(anchors - positives) - norm(anchors - negatives)
    return (gap + margin).clamp_min(0)


@MUTANTS.of("triplet_loss", "torch's loss and its epsilon", killed_by="value")
def _(anchors, positives, negatives, *, margin=0.2):
    return F.triplet_margin_loss(anchors, positives, negatives, margin=margin, reduction="none")


@MUTANTS.of("triplet_loss", "the margin subtracted", killed_by="value")
def _(anchors, positives, negatives, *, margin=0.2):
    return triplet_loss(anchors, positives, negatives, margin=-margin)


@MUTANTS.of("triplet_loss", "positives and negatives swapped", killed_by="value")
def _(anchors, positives, negatives, *, margin=0.2):
    return triplet_loss(anchors, negatives, positives, margin=margin)


@MUTANTS.of("triplet_loss", "the negative's distance from the positive", killed_by="value")
def _(anchors, positives, negatives, *, margin=0.2):
    gap = squared(anchors, positives) - squared(positives, negatives)
    return (gap + margin).clamp_min(0)


@MUTANTS.of("triplet_loss", "no floor at 0", killed_by="value")
def _(anchors, positives, negatives, *, margin=0.2):
    return squared(anchors, positives) - squared(anchors, negatives) + margin


@MUTANTS.of("triplet_loss", "the mean over the coordinates", killed_by="value")
def _(anchors, positives, negatives, *, margin=0.2):
    gap = squared(anchors, positives) - squared(anchors, negatives)
    return (gap / anchors.shape[1] + margin).clamp_min(0)


@MUTANTS.of("triplet_loss", "the embeddings normalized inside", killed_by="value")
def _(anchors, positives, negatives, *, margin=0.2):
    given = (F.normalize(x) for x in (anchors, positives, negatives))
    return triplet_loss(*given, margin=margin)


@MUTANTS.of("triplet_loss", "the negatives detached", killed_by="gradient")
def _(anchors, positives, negatives, *, margin=0.2):
    return triplet_loss(anchors, positives, negatives.detach(), margin=margin)


@MUTANTS.of("triplet_loss", "inf - inf far away", killed_by="extremes")
def _(anchors, positives, negatives, *, margin=0.2):
    gap = squared(anchors, positives) - squared(anchors, negatives)
    return (gap + margin).clamp_min(0)


@MUTANTS.of("triplet_loss", "the swapped triplet, too, where it is harder", killed_by="value")
def _(anchors, positives, negatives, *, margin=0.2):
    far = torch.minimum(squared(anchors, negatives), squared(positives, negatives))
    return (squared(anchors, positives) - far + margin).clamp_min(0)


@MUTANTS.of("triplet_loss", "shapes broadcast", killed_by="errors")
def _(anchors, positives, negatives, *, margin=0.2):
    given = torch.broadcast_tensors(anchors, positives, negatives)
    return triplet_loss(*given, margin=margin)


@MUTANTS.of(
    "batch_hard_triplet_loss",
    "negatives masked by a product: the minimum is 0",
    killed_by="test_the_hardest_negative_is_not_a_masked_zero",
)
def _(embeddings, labels, *, margin=0.2):
    d, same, _ = masks(embeddings, labels)
    return finish((d * same).amax(1), (d * ~same).amin(1), same, margin)


@MUTANTS.of("batch_hard_triplet_loss", "the easiest positive", killed_by="value")
def _(embeddings, labels, *, margin=0.2):
    d, same, own = masks(embeddings, labels)
    d_p = d.masked_fill(~same | own, torch.inf).amin(1)
    return finish(d_p, d.masked_fill(same, torch.inf).amin(1), same, margin)


@MUTANTS.of("batch_hard_triplet_loss", "the easiest negative", killed_by="value")
def _(embeddings, labels, *, margin=0.2):
    d, same, _ = masks(embeddings, labels)
    return finish((d * same).amax(1), (d * ~same).amax(1), same, margin)


@MUTANTS.of("batch_hard_triplet_loss", "distances squared", killed_by="value")
def _(embeddings, labels, *, margin=0.2):
    d, same, _ = masks(embeddings, labels)
    d_p, d_n = (d * same).amax(1), d.masked_fill(same, torch.inf).amin(1)
    return finish(d_p**2, d_n.nan_to_num(posinf=0) ** 2, same, margin)


@MUTANTS.of("batch_hard_triplet_loss", "anchors without a positive count", killed_by="value")
def _(embeddings, labels, *, margin=0.2):
    d, same, _ = masks(embeddings, labels)
    d_n = d.masked_fill(same, torch.inf).amin(1)
    return (margin + (d * same).amax(1) - d_n).clamp_min(0)


@MUTANTS.of("batch_hard_triplet_loss", "anchors without a negative cost inf", killed_by="value")
def _(embeddings, labels, *, margin=0.2):
    d, same, _ = masks(embeddings, labels)
    d_n = d.masked_fill(same, 1e9).amin(1)
    usable = same.sum(1) > 1
    return (margin + (d * same).amax(1) - d_n).abs().where(usable, 0)


@MUTANTS.of("batch_hard_triplet_loss", "a nan slope at distance 0", killed_by="extremes")
def _(embeddings, labels, *, margin=0.2):
    _, same, _ = masks(embeddings, labels)
    d = (embeddings[:, None] - embeddings).square().sum(-1).sqrt()
    return finish((d * same).amax(1), d.masked_fill(same, torch.inf).amin(1), same, margin)


@MUTANTS.of("batch_hard_triplet_loss", "only the anchor is moved", killed_by="gradient")
def _(embeddings, labels, *, margin=0.2):
    d, same, _ = masks(embeddings.detach(), labels)
    p = embeddings.detach()[(d * same).argmax(1)]
    n = embeddings.detach()[d.masked_fill(same, torch.inf).argmin(1)]
    return finish(norm(embeddings - p), norm(embeddings - n), same, margin)


@MUTANTS.of("batch_hard_triplet_loss", "the hardest anchor of the batch only", killed_by="value")
def _(embeddings, labels, *, margin=0.2):
    losses = batch_hard_triplet_loss(embeddings, labels, margin=margin)
    return losses * (losses == losses.max())


@MUTANTS.of(
    "batch_hard_triplet_loss",
    "mined by a product of uncentered embeddings",
    killed_by="test_small_distances_far_from_the_origin",
)
def _(embeddings, labels, *, margin=0.2):
    x, same = embeddings.detach(), labels[:, None] == labels
    lengths = x.square().sum(1)
    d = lengths[:, None] + lengths - 2 * x @ x.T
    p = embeddings[d.masked_fill(~same, -torch.inf).argmax(1)]
    n = embeddings[d.masked_fill(same, torch.inf).argmin(1)]
    return finish(norm(embeddings - p), norm(embeddings - n), same, margin)


@MUTANTS.of(
    "batch_hard_triplet_loss", "a cube of all triplets", killed_by="test_memory_is_not_cubic"
)
def _(embeddings, labels, *, margin=0.2):
    d, same, _ = masks(embeddings, labels)
    wanted = same[:, :, None] & ~same[:, None]
    gaps = (d[:, :, None] - d[:, None]).masked_fill(~wanted, -torch.inf)
    return finish(gaps.flatten(1).amax(1), 0, same, margin)


@MUTANTS.of("batch_hard_triplet_loss", "labels in a column accepted", killed_by="errors")
def _(embeddings, labels, *, margin=0.2):
    return batch_hard_triplet_loss(embeddings, labels.flatten(), margin=margin)
