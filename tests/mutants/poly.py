import torch
from torch.nn import functional as F

from lossbook.classification.poly import poly1_cross_entropy, poly1_focal_loss, poly_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def ce(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def bce(logits, targets):
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def of_truth(logits, labels):
    return logits.softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)


def series(losses, miss, epsilons):
    return losses + sum(e * miss**j for j, e in enumerate(epsilons, 1))


@MUTANTS.of("poly1_cross_entropy", "the probability, not the miss", killed_by="value")
def _(logits, labels, *, epsilon=1.0):
    return ce(logits, labels) + epsilon * of_truth(logits, labels)


@MUTANTS.of("poly1_cross_entropy", "epsilon taken away", killed_by="value")
def _(logits, labels, *, epsilon=1.0):
    return ce(logits, labels) - epsilon * (1 - of_truth(logits, labels))


@MUTANTS.of("poly1_cross_entropy", "the series cut after its first term", killed_by="value")
def _(logits, labels, *, epsilon=1.0):
    return (1 + epsilon) * (1 - of_truth(logits, labels))


@MUTANTS.of("poly1_cross_entropy", "epsilon for the coefficient itself", killed_by="value")
def _(logits, labels, *, epsilon=1.0):
    return ce(logits, labels) + (epsilon - 1) * (1 - of_truth(logits, labels))


@MUTANTS.of("poly1_cross_entropy", "p_t from the averaged cross entropy", killed_by="value")
def _(logits, labels, *, epsilon=1.0):
    losses = ce(logits, labels)
    return losses + epsilon * (1 - (-losses.mean()).exp())


@MUTANTS.of("poly1_cross_entropy", "p_t of the predicted class", killed_by="value")
def _(logits, labels, *, epsilon=1.0):
    return ce(logits, labels) + epsilon * (1 - logits.softmax(1).amax(1))


@MUTANTS.of("poly1_cross_entropy", "softmax over the last axis", killed_by="value")
def _(logits, labels, *, epsilon=1.0):
    p = logits.softmax(-1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return ce(logits, labels) + epsilon * (1 - p)


@MUTANTS.of("poly1_cross_entropy", "p_t detached", killed_by="gradient")
def _(logits, labels, *, epsilon=1.0):
    return ce(logits, labels) + epsilon * (1 - of_truth(logits, labels).detach())


@MUTANTS.of("poly1_cross_entropy", "log(p_t + 1e-8)", killed_by="value")
def _(logits, labels, *, epsilon=1.0):
    p = of_truth(logits, labels)
    return -(p + 1e-8).log() + epsilon * (1 - p)


@MUTANTS.of("poly1_cross_entropy", "softmax before the softmax", killed_by="value")
def _(logits, labels, *, epsilon=1.0):
    return poly1_cross_entropy(logits.softmax(1), labels, epsilon=epsilon)


@MUTANTS.of("poly1_cross_entropy", "labels of shape (N, 1) squeezed", killed_by="errors")
def _(logits, labels, *, epsilon=1.0):
    if logits.dim() == labels.dim() == 2:
        labels = labels.squeeze(1)
    return poly1_cross_entropy(logits, labels, epsilon=epsilon)


@MUTANTS.of("poly1_focal_loss", "alpha on the focal term only", killed_by="value")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    miss = 1 - (-bce(logits, targets)).exp()
    focal = miss**gamma * bce(logits, targets)
    if alpha is not None:
        focal = (alpha * targets + (1 - alpha) * (1 - targets)) * focal
    return focal + epsilon * miss ** (gamma + 1)


@MUTANTS.of("poly1_focal_loss", "alpha on the negatives", killed_by="value")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    flipped = None if alpha is None else 1 - alpha
    return poly1_focal_loss(logits, targets, epsilon=epsilon, gamma=gamma, alpha=flipped)


@MUTANTS.of("poly1_focal_loss", "the power gamma in both terms", killed_by="value")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    miss = 1 - (-bce(logits, targets)).exp()
    focal = poly1_focal_loss(logits, targets, epsilon=0.0, gamma=gamma, alpha=alpha)
    weight = 1 if alpha is None else alpha * targets + (1 - alpha) * (1 - targets)
    return focal + weight * epsilon * miss**gamma


@MUTANTS.of("poly1_focal_loss", "1 - p_t without its power", killed_by="value")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    miss = 1 - (-bce(logits, targets)).exp()
    focal = poly1_focal_loss(logits, targets, epsilon=0.0, gamma=gamma, alpha=alpha)
    weight = 1 if alpha is None else alpha * targets + (1 - alpha) * (1 - targets)
    return focal + weight * epsilon * miss


@MUTANTS.of("poly1_focal_loss", "1 - p for negatives, too", killed_by="value")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    miss = logits.neg().sigmoid()
    losses = miss**gamma * bce(logits, targets) + epsilon * miss ** (gamma + 1)
    return losses if alpha is None else (alpha * targets + (1 - alpha) * (1 - targets)) * losses


@MUTANTS.of("poly1_focal_loss", "nan slope where the sigmoid is 0", killed_by="extremes")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    miss = torch.sigmoid((1 - 2 * targets) * logits)
    losses = miss**gamma * bce(logits, targets) + epsilon * miss ** (gamma + 1)
    return losses if alpha is None else (alpha * targets + (1 - alpha) * (1 - targets)) * losses


@MUTANTS.of("poly1_focal_loss", "the modulating factor detached", killed_by="gradient")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    miss = torch.sigmoid((1 - 2 * targets) * logits).detach()
    losses = miss**gamma * bce(logits, targets) + epsilon * miss ** (gamma + 1)
    return losses if alpha is None else (alpha * targets + (1 - alpha) * (1 - targets)) * losses


@MUTANTS.of("poly1_focal_loss", "p_t from the averaged cross entropy", killed_by="value")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    miss = 1 - (-bce(logits, targets).mean()).exp()
    losses = miss**gamma * bce(logits, targets) + epsilon * miss ** (gamma + 1)
    return losses if alpha is None else (alpha * targets + (1 - alpha) * (1 - targets)) * losses


@MUTANTS.of("poly1_focal_loss", "`gamma or 2.0` makes 0 the default", killed_by="value")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    return poly1_focal_loss(logits, targets, epsilon=epsilon, gamma=gamma or 2.0, alpha=alpha)


@MUTANTS.of("poly1_focal_loss", "`if alpha` turns 0 off", killed_by="test_alpha_zero_counts")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    return poly1_focal_loss(logits, targets, epsilon=epsilon, gamma=gamma, alpha=alpha or None)


@MUTANTS.of("poly1_focal_loss", "alpha of 1.5 accepted", killed_by="errors")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    extra = 1.0 if alpha is None else max(alpha, 1.0)
    alpha = alpha if alpha is None else min(alpha, 1.0)
    return extra * poly1_focal_loss(logits, targets, epsilon=epsilon, gamma=gamma, alpha=alpha)


@MUTANTS.of("poly1_focal_loss", "divided by the positives inside", killed_by="value")
def _(logits, targets, *, epsilon=1.0, gamma=2.0, alpha=0.25):
    losses = poly1_focal_loss(logits, targets, epsilon=epsilon, gamma=gamma, alpha=alpha)
    return losses / targets.sum().clamp_min(1)


@MUTANTS.of("poly_loss", "powers from 0 on", killed_by="value")
def _(logits, labels, *, epsilons):
    miss = 1 - of_truth(logits, labels)
    return ce(logits, labels) + sum(e * miss**j for j, e in enumerate(epsilons))


@MUTANTS.of("poly_loss", "highest power first", killed_by="value")
def _(logits, labels, *, epsilons):
    return poly_loss(logits, labels, epsilons=list(epsilons)[::-1])


@MUTANTS.of("poly_loss", "every epsilon on the first power", killed_by="value")
def _(logits, labels, *, epsilons):
    return poly1_cross_entropy(logits, labels, epsilon=sum(epsilons))


@MUTANTS.of("poly_loss", "the first epsilon only", killed_by="value")
def _(logits, labels, *, epsilons):
    return poly_loss(logits, labels, epsilons=epsilons[:1])


@MUTANTS.of("poly_loss", "the series cut after the last epsilon", killed_by="value")
def _(logits, labels, *, epsilons):
    miss = 1 - of_truth(logits, labels)
    return series(0 * miss, miss, [1 / j + e for j, e in enumerate(epsilons, 1)])


@MUTANTS.of("poly_loss", "epsilons divided by their power", killed_by="value")
def _(logits, labels, *, epsilons):
    return poly_loss(logits, labels, epsilons=[e / j for j, e in enumerate(epsilons, 1)])


@MUTANTS.of("poly_loss", "powers of p_t", killed_by="value")
def _(logits, labels, *, epsilons):
    return series(ce(logits, labels), of_truth(logits, labels), epsilons)


@MUTANTS.of("poly_loss", "the miss of the predicted class", killed_by="value")
def _(logits, labels, *, epsilons):
    return series(ce(logits, labels), 1 - logits.softmax(1).amax(1), epsilons)


@MUTANTS.of("poly_loss", "p_t detached", killed_by="gradient")
def _(logits, labels, *, epsilons):
    return series(ce(logits, labels), 1 - of_truth(logits, labels).detach(), epsilons)


@MUTANTS.of("poly_loss", "averaged over the batch", killed_by="value")
def _(logits, labels, *, epsilons):
    return poly_loss(logits, labels, epsilons=epsilons).mean()


@MUTANTS.of("poly_loss", "no epsilons refused", killed_by="value")
def _(logits, labels, *, epsilons):
    if len(epsilons) == 0:
        raise ValueError("expected epsilons to be given, got []")
    return poly_loss(logits, labels, epsilons=epsilons)


@MUTANTS.of("poly_loss", "labels of shape (N, 1) squeezed", killed_by="errors")
def _(logits, labels, *, epsilons):
    if logits.dim() == labels.dim() == 2:
        labels = labels.squeeze(1)
    return poly_loss(logits, labels, epsilons=epsilons)
