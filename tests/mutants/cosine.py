import torch
from torch.nn import functional as F

from lossbook.embedding.cosine import cosine_distance, cosine_embedding_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def cosine(u, v, dim=-1):
    return 1 - cosine_distance(u, v, dim=dim)


@MUTANTS.of("cosine_distance", "the proximity: minus the cosine", killed_by="value")
def _(predictions, targets, *, dim=-1):
    return -cosine(predictions, targets, dim)


@MUTANTS.of("cosine_distance", "the cosine itself, to be minimized", killed_by="value")
def _(predictions, targets, *, dim=-1):
    return cosine(predictions, targets, dim)


@MUTANTS.of("cosine_distance", "the dot product of vectors as they come", killed_by="invariances")
def _(predictions, targets, *, dim=-1):
    return 1 - (predictions * targets).sum(dim)


@MUTANTS.of("cosine_distance", "only one of the two normalized", killed_by="invariances")
def _(predictions, targets, *, dim=-1):
    return 1 - (F.normalize(predictions, dim=dim) * targets).sum(dim)


@MUTANTS.of("cosine_distance", "0/0 at a zero vector", killed_by="extremes")
def _(predictions, targets, *, dim=-1):
    lengths = predictions.norm(dim=dim) * targets.norm(dim=dim)
    return 1 - (predictions * targets).sum(dim) / lengths


@MUTANTS.of("cosine_distance", "a slope of 1e8 at a zero vector", killed_by="gradient")
def _(predictions, targets, *, dim=-1):
    return 1 - F.cosine_similarity(predictions, targets, dim=dim)


@MUTANTS.of("cosine_distance", "1e-8 added to the lengths", killed_by="value")
def _(predictions, targets, *, dim=-1):
    lengths = predictions.norm(dim=dim) * targets.norm(dim=dim)
    return 1 - (predictions * targets).sum(dim) / (lengths + 1e-8)


@MUTANTS.of("cosine_distance", "the targets detached", killed_by="gradient")
def _(predictions, targets, *, dim=-1):
    return cosine_distance(predictions, targets.detach(), dim=dim)


@MUTANTS.of("cosine_distance", "dim counted from the end", killed_by="value")
def _(predictions, targets, *, dim=-1):
    return cosine_distance(predictions, targets, dim=-abs(dim))


@MUTANTS.of("cosine_distance", "opposite as near as a right angle", killed_by="value")
def _(predictions, targets, *, dim=-1):
    return 1 - cosine(predictions, targets, dim).clamp_min(0)


@MUTANTS.of("cosine_distance", "shapes broadcast", killed_by="errors")
def _(predictions, targets, *, dim=-1):
    return cosine_distance(*torch.broadcast_tensors(predictions, targets), dim=dim)


@MUTANTS.of("cosine_embedding_loss", "targets taken as 0 and 1", killed_by="value")
def _(embeddings1, embeddings2, targets, *, margin=0.0):
    c = cosine(embeddings1, embeddings2)
    return targets * (1 - c) + (1 - targets) * (c - margin).clamp_min(0)


@MUTANTS.of("cosine_embedding_loss", "alike and different swapped", killed_by="value")
def _(embeddings1, embeddings2, targets, *, margin=0.0):
    return cosine_embedding_loss(embeddings1, embeddings2, -targets, margin=margin)


@MUTANTS.of("cosine_embedding_loss", "the margin on pairs that match", killed_by="value")
def _(embeddings1, embeddings2, targets, *, margin=0.0):
    c = cosine(embeddings1, embeddings2)
    return torch.where(targets > 0, (1 - c - margin).clamp_min(0), c.clamp_min(0))


@MUTANTS.of("cosine_embedding_loss", "the margin of a distance", killed_by="value")
def _(embeddings1, embeddings2, targets, *, margin=0.0):
    c = cosine(embeddings1, embeddings2)
    return torch.where(targets > 0, 1 - c, (margin - (1 - c)).clamp_min(0))


@MUTANTS.of("cosine_embedding_loss", "no floor at 0", killed_by="value")
def _(embeddings1, embeddings2, targets, *, margin=0.0):
    c = cosine(embeddings1, embeddings2)
    return torch.where(targets > 0, 1 - c, c - margin)


@MUTANTS.of("cosine_embedding_loss", "squared", killed_by="value")
def _(embeddings1, embeddings2, targets, *, margin=0.0):
    return cosine_embedding_loss(embeddings1, embeddings2, targets, margin=margin) ** 2


@MUTANTS.of(
    "cosine_embedding_loss",
    "a target of 0 costs nothing",
    killed_by="test_a_target_of_0_is_a_pair_that_differs",
)
def _(embeddings1, embeddings2, targets, *, margin=0.0):
    losses = cosine_embedding_loss(embeddings1, embeddings2, targets, margin=margin)
    return torch.where(targets == 0, 0.0, losses)


@MUTANTS.of("cosine_embedding_loss", "a target for each coordinate", killed_by="errors")
def _(embeddings1, embeddings2, targets, *, margin=0.0):
    c = cosine(embeddings1, embeddings2)
    return torch.where(targets > 0, 1 - c, (c - margin).clamp_min(0))


@MUTANTS.of(
    "cosine_embedding_loss",
    "a slope of 1e8 at a zero vector",
    killed_by="test_a_zero_vector_moves_nowhere_and_pulls_nothing",
)
def _(embeddings1, embeddings2, targets, *, margin=0.0):
    return F.cosine_embedding_loss(
        embeddings1, embeddings2, targets, margin=margin, reduction="none"
    )


@MUTANTS.of("cosine_embedding_loss", "the mean", killed_by="value")
def _(embeddings1, embeddings2, targets, *, margin=0.0):
    return cosine_embedding_loss(embeddings1, embeddings2, targets, margin=margin).mean()
