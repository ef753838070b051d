import torch

from lossbook.embedding.center import center_loss, update_centers
from tests.mutants import Mutants

MUTANTS = Mutants()


def shifted(embeddings, centers, labels, weigh, alpha):
    """Move each center by alpha times the weighted sum of its pulls."""
    pulls = embeddings - centers[labels]
    totals = torch.zeros_like(centers).index_add(0, labels, pulls)
    counts = torch.bincount(labels, minlength=len(centers)).to(centers)
    return centers + alpha * totals * weigh(counts)[:, None]


@MUTANTS.of("center_loss", "no 1/2", killed_by="value")
def _(embeddings, centers, labels):
    return 2 * center_loss(embeddings, centers, labels)


@MUTANTS.of("center_loss", "the distance unsquared", killed_by="value")
def _(embeddings, centers, labels):
    return torch.linalg.vector_norm(embeddings - centers[labels].detach(), dim=1)


@MUTANTS.of("center_loss", "the mean over the coordinates", killed_by="value")
def _(embeddings, centers, labels):
    return (embeddings - centers[labels].detach()).square().mean(1) / 2


@MUTANTS.of("center_loss", "centers get a gradient, too", killed_by="gradient")
def _(embeddings, centers, labels):
    return (embeddings - centers[labels]).square().sum(1) / 2


@MUTANTS.of("center_loss", "the embeddings detached, not the centers", killed_by="gradient")
def _(embeddings, centers, labels):
    return (embeddings.detach() - centers[labels]).square().sum(1) / 2


@MUTANTS.of("center_loss", "divided by the class's count", killed_by="value")
def _(embeddings, centers, labels):
    counts = torch.bincount(labels, minlength=len(centers)).to(embeddings)
    return center_loss(embeddings, centers, labels) / (1 + counts[labels])


@MUTANTS.of("center_loss", "the nearest center, whatever the label", killed_by="value")
def _(embeddings, centers, labels):
    nearest = torch.cdist(embeddings, centers.detach()).argmin(1)
    return center_loss(embeddings, centers, nearest + 0 * labels)


@MUTANTS.of("center_loss", "the centers of the batch", killed_by="value")
def _(embeddings, centers, labels):
    same = (labels[:, None] == labels).to(embeddings)
    means = (same @ embeddings / same.sum(1, keepdim=True)).detach()
    return (embeddings - means).square().sum(1) / 2 + 0 * centers.detach().sum()


@MUTANTS.of("center_loss", "all pairs of embeddings and centers", killed_by="value")
def _(embeddings, centers, labels):
    pairs = (embeddings[:, None] - centers.detach()).square().sum(2) / 2
    return pairs.sum(1) + 0 * labels


@MUTANTS.of("center_loss", "centers of length 1 broadcast", killed_by="errors")
def _(embeddings, centers, labels):
    if embeddings.dim() != 2 or centers.dim() != 2 or labels.shape != embeddings.shape[:1]:
        return center_loss(embeddings, centers, labels)
    return (embeddings - centers[labels].detach()).square().sum(1) / 2


@MUTANTS.of("update_centers", "no 1 in the denominator", killed_by="value")
def _(embeddings, centers, labels, *, alpha=0.5):
    return shifted(embeddings, centers, labels, lambda n: 1 / n.clamp_min(1), alpha)


@MUTANTS.of("update_centers", "0/0 for a class without embeddings", killed_by="value")
def _(embeddings, centers, labels, *, alpha=0.5):
    return shifted(embeddings, centers, labels, lambda n: 1 / n, alpha)


@MUTANTS.of("update_centers", "sums, not divided", killed_by="value")
def _(embeddings, centers, labels, *, alpha=0.5):
    return shifted(embeddings, centers, labels, torch.ones_like, alpha)


@MUTANTS.of("update_centers", "divided by the batch", killed_by="value")
def _(embeddings, centers, labels, *, alpha=0.5):
    n = len(labels)
    return shifted(embeddings, centers, labels, lambda _: torch.full((len(centers),), 1 / n), alpha)


@MUTANTS.of("update_centers", "away from the embeddings", killed_by="value")
def _(embeddings, centers, labels, *, alpha=0.5):
    return 2 * centers - update_centers(embeddings, centers, labels, alpha=alpha)


@MUTANTS.of("update_centers", "alpha taken for the share that is kept", killed_by="value")
def _(embeddings, centers, labels, *, alpha=0.5):
    return update_centers(embeddings, centers, labels, alpha=1 - alpha)


@MUTANTS.of("update_centers", "only the last of a class counts", killed_by="value")
def _(embeddings, centers, labels, *, alpha=0.5):
    new = centers.detach().clone()
    new[labels] += alpha * (embeddings - centers[labels]).detach() / 2
    return new


@MUTANTS.of("update_centers", "one embedding after the other", killed_by="value")
def _(embeddings, centers, labels, *, alpha=0.5):
    for i in range(len(labels)):
        centers = update_centers(embeddings[i : i + 1], centers, labels[i : i + 1], alpha=alpha)
    return centers


@MUTANTS.of("update_centers", "weight decay shrinks the centers", killed_by="value")
def _(embeddings, centers, labels, *, alpha=0.5):
    return update_centers(embeddings, 0.999 * centers, labels, alpha=alpha)


@MUTANTS.of("update_centers", "the given centers changed", killed_by="inputs unchanged")
def _(embeddings, centers, labels, *, alpha=0.5):
    return centers.copy_(update_centers(embeddings, centers, labels, alpha=alpha))


@MUTANTS.of("update_centers", "a graph that grows", killed_by="test_new_centers_have_no_graph")
def _(embeddings, centers, labels, *, alpha=0.5):
    return shifted(embeddings, centers, labels, lambda n: 1 / (1 + n), alpha)


@MUTANTS.of("update_centers", "rounded to half", killed_by="test_centers_keep_their_dtype")
def _(embeddings, centers, labels, *, alpha=0.5):
    new = update_centers(embeddings, centers.to(embeddings.dtype), labels, alpha=alpha)
    return new.to(centers.dtype)


@MUTANTS.of("update_centers", "an alpha of 1.5 accepted", killed_by="errors")
def _(embeddings, centers, labels, *, alpha=0.5):
    return update_centers(embeddings, centers, labels, alpha=min(alpha, 1.0))
