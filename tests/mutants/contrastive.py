import torch
from torch.nn import functional as F

from lossbook.embedding.contrastive import contrastive_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def norm(x):
    return torch.linalg.vector_norm(x, dim=1)


@MUTANTS.of("contrastive_loss", "the paper's Y taken for is_same", killed_by="value")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    return contrastive_loss(embeddings1, embeddings2, ~is_same, margin=margin)


@MUTANTS.of("contrastive_loss", "no 1/2", killed_by="value")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    return 2 * contrastive_loss(embeddings1, embeddings2, is_same, margin=margin)


@MUTANTS.of("contrastive_loss", "the distance unsquared", killed_by="value")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    d = norm(embeddings1 - embeddings2)
    return torch.where(is_same, d, (margin - d).clamp_min(0)) / 2


@MUTANTS.of("contrastive_loss", "margin - d^2", killed_by="value")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    d2 = (embeddings1 - embeddings2).square().sum(1)
    return torch.where(is_same, d2, (margin - d2).clamp_min(0)) / 2


@MUTANTS.of("contrastive_loss", "margin^2 - d^2", killed_by="value")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    d2 = (embeddings1 - embeddings2).square().sum(1)
    return torch.where(is_same, d2, (margin**2 - d2).clamp_min(0)) / 2


@MUTANTS.of("contrastive_loss", "no floor: far pairs are pulled back", killed_by="value")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    d = norm(embeddings1 - embeddings2)
    return torch.where(is_same, d, margin - d).square() / 2


@MUTANTS.of("contrastive_loss", "a root with a nan slope at 0", killed_by="extremes")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    d = (embeddings1 - embeddings2).square().sum(1).sqrt()
    return torch.where(is_same, d, (margin - d).clamp_min(0)).square() / 2


@MUTANTS.of("contrastive_loss", "an epsilon under the root", killed_by="value")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    d = ((embeddings1 - embeddings2).square().sum(1) + 1e-6).sqrt()
    return torch.where(is_same, d, (margin - d).clamp_min(0)).square() / 2


@MUTANTS.of(
    "contrastive_loss",
    "torch's epsilon in each coordinate",
    killed_by="test_different_but_identical",
)
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    d = F.pairwise_distance(embeddings1, embeddings2)
    return torch.where(is_same, d, (margin - d).clamp_min(0)).square() / 2


@MUTANTS.of("contrastive_loss", "the mean over the coordinates", killed_by="value")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    d = (embeddings1 - embeddings2).square().mean(1).sqrt()
    return torch.where(is_same, d, (margin - d).clamp_min(0)).square() / 2


@MUTANTS.of("contrastive_loss", "the embeddings normalized inside", killed_by="value")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    embeddings1, embeddings2 = F.normalize(embeddings1), F.normalize(embeddings2)
    return contrastive_loss(embeddings1, embeddings2, is_same, margin=margin)


@MUTANTS.of("contrastive_loss", "one branch of the pair detached", killed_by="gradient")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    return contrastive_loss(embeddings1, embeddings2.detach(), is_same, margin=margin)


@MUTANTS.of("contrastive_loss", "labels of 0 and 1 accepted", killed_by="errors")
def _(embeddings1, embeddings2, is_same, *, margin=1.0):
    return contrastive_loss(embeddings1, embeddings2, is_same.bool(), margin=margin)
