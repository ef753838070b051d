import torch
from torch.nn import functional as F

from lossbook import focal_loss, sigmoid_focal_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def ce(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def bce(logits, targets):
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def weigh(losses, labels, alpha):
    return losses if alpha is None else alpha.to(losses)[labels] * losses


def balance(losses, targets, alpha):
    if alpha is None:
        return losses
    return (alpha * targets + (1 - alpha) * (1 - targets)) * losses


@MUTANTS.of("focal_loss", "p_t from the averaged cross entropy", killed_by="value")
def _(logits, labels, *, gamma=2.0, alpha=None):
    losses = ce(logits, labels)
    return weigh((1 - (-losses.mean()).exp()) ** gamma * losses, labels, alpha)


@MUTANTS.of("focal_loss", "p_t from the weighted cross entropy", killed_by="value")
def _(logits, labels, *, gamma=2.0, alpha=None):
    losses = weigh(ce(logits, labels), labels, alpha)
    return (1 - (-losses).exp()) ** gamma * losses


@MUTANTS.of("focal_loss", "the modulating factor detached", killed_by="gradient")
def _(logits, labels, *, gamma=2.0, alpha=None):
    losses = ce(logits, labels)
    return weigh((1 - (-losses).exp()).detach() ** gamma * losses, labels, alpha)


@MUTANTS.of("focal_loss", "infinite slope of the power at p_t = 1", killed_by="extremes")
def _(logits, labels, *, gamma=2.0, alpha=None):
    losses = ce(logits, labels)
    return weigh((1 - (-losses).exp()) ** gamma * losses, labels, alpha)


@MUTANTS.of("focal_loss", "p_t^gamma: hard examples fade", killed_by="value")
def _(logits, labels, *, gamma=2.0, alpha=None):
    losses = ce(logits, labels)
    return weigh((-losses).exp() ** gamma * losses, labels, alpha)


@MUTANTS.of("focal_loss", "averaged over the classes, too", killed_by="value")
def _(logits, labels, *, gamma=2.0, alpha=None):
    losses = ce(logits, labels)
    return weigh((1 - (-losses).exp()) ** gamma * losses, labels, alpha) / logits.shape[1]


@MUTANTS.of("focal_loss", "one sigmoid a class for the softmax", killed_by="value")
def _(logits, labels, *, gamma=2.0, alpha=None):
    truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits)
    losses = bce(logits, truth)
    return weigh(((1 - (-losses).exp()) ** gamma * losses).sum(1), labels, alpha)


@MUTANTS.of("focal_loss", "p_t with 1e-8 in the logarithm", killed_by="value")
def _(logits, labels, *, gamma=2.0, alpha=None):
    p_t = logits.softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return weigh(-((1 - p_t) ** gamma) * (p_t + 1e-8).log(), labels, alpha)


@MUTANTS.of("focal_loss", "`gamma or 2.0` makes 0 the default", killed_by="relations")
def _(logits, labels, *, gamma=2.0, alpha=None):
    losses = ce(logits, labels)
    return weigh((1 - (-losses).exp()) ** (gamma or 2.0) * losses, labels, alpha)


@MUTANTS.of("focal_loss", "a single alpha accepted for many classes", killed_by="errors")
def _(logits, labels, *, gamma=2.0, alpha=None):
    if not isinstance(alpha, float):
        return focal_loss(logits, labels, gamma=gamma, alpha=alpha)
    return alpha * focal_loss(logits, labels, gamma=gamma)


@MUTANTS.of("focal_loss", "alpha of the predicted class", killed_by="value")
def _(logits, labels, *, gamma=2.0, alpha=None):
    losses = ce(logits, labels)
    return weigh((1 - (-losses).exp()) ** gamma * losses, logits.argmax(1), alpha)


@MUTANTS.of("focal_loss", "alpha by position, not by class", killed_by="invariances")
def _(logits, labels, *, gamma=2.0, alpha=None):
    losses = (1 - (-ce(logits, labels)).exp()) ** gamma * ce(logits, labels)
    places = torch.arange(losses.numel()).view_as(losses)
    return losses if alpha is None else alpha[places % len(alpha)] * losses


@MUTANTS.of("sigmoid_focal_loss", "alpha on both classes", killed_by="value")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    losses = bce(logits, targets)
    losses = (1 - (-losses).exp()) ** gamma * losses
    return losses if alpha is None else alpha * losses


@MUTANTS.of("sigmoid_focal_loss", "alpha on the negatives", killed_by="value")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    losses = bce(logits, targets)
    return balance((1 - (-losses).exp()) ** gamma * losses, 1 - targets, alpha)


@MUTANTS.of("sigmoid_focal_loss", "p_t from the averaged cross entropy", killed_by="value")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    losses = bce(logits, targets)
    return balance((1 - (-losses.mean()).exp()) ** gamma * losses, targets, alpha)


@MUTANTS.of("sigmoid_focal_loss", "(1 - p)^gamma for negatives, too", killed_by="value")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    return balance((1 - logits.sigmoid()) ** gamma * bce(logits, targets), targets, alpha)


@MUTANTS.of("sigmoid_focal_loss", "the modulating factor detached", killed_by="gradient")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    with torch.no_grad():
        p = logits.sigmoid()
    one, zero = (1 - p) ** gamma * F.softplus(-logits), p**gamma * F.softplus(logits)
    a, b = (1, 1) if alpha is None else (alpha, 1 - alpha)
    return a * targets * one + b * (1 - targets) * zero


@MUTANTS.of("sigmoid_focal_loss", "nan slope where the sigmoid is 0", killed_by="extremes")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    one = logits.neg().sigmoid() ** gamma * F.softplus(-logits)
    zero = logits.sigmoid() ** gamma * F.softplus(logits)
    a, b = (1, 1) if alpha is None else (alpha, 1 - alpha)
    return a * targets * one + b * (1 - targets) * zero


@MUTANTS.of("sigmoid_focal_loss", "logs of probabilities stop at -100", killed_by="value")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    p = logits.sigmoid()
    one, zero = (
        (1 - p) ** gamma * -p.log().clamp_min(-100),
        p**gamma * -(-p).log1p().clamp_min(-100),
    )
    a, b = (1, 1) if alpha is None else (alpha, 1 - alpha)
    return a * targets * one + b * (1 - targets) * zero


@MUTANTS.of("sigmoid_focal_loss", "p clipped at 1e-4 hides rare classes", killed_by="value")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    one, zero = -((1 - p) ** gamma) * p.log(), -(p**gamma) * (1 - p).log()
    a, b = (1, 1) if alpha is None else (alpha, 1 - alpha)
    return a * targets * one + b * (1 - targets) * zero


@MUTANTS.of("sigmoid_focal_loss", "sigmoid before the sigmoid", killed_by="value")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    losses = bce(logits.sigmoid(), targets)
    return balance((1 - (-losses).exp()) ** gamma * losses, targets, alpha)


@MUTANTS.of("sigmoid_focal_loss", "p_t of a soft target", killed_by="relations")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    p = logits.sigmoid()
    p_t = p * targets + (1 - p) * (1 - targets)
    return balance((1 - p_t) ** gamma * bce(logits, targets), targets, alpha)


@MUTANTS.of("sigmoid_focal_loss", "divided by the positives inside", killed_by="value")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    losses = bce(logits, targets)
    losses = balance((1 - (-losses).exp()) ** gamma * losses, targets, alpha)
    return losses / targets.sum().clamp_min(1)


@MUTANTS.of("sigmoid_focal_loss", "`if alpha` turns 0 off", killed_by="test_alpha_zero_counts")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    losses = bce(logits, targets)
    losses = (1 - (-losses).exp()) ** gamma * losses
    return balance(losses, targets, alpha if alpha else None)


@MUTANTS.of("sigmoid_focal_loss", "alpha of 1.5 accepted", killed_by="errors")
def _(logits, targets, *, gamma=2.0, alpha=0.25):
    if alpha is None or 0 <= alpha <= 1:
        return sigmoid_focal_loss(logits, targets, gamma=gamma, alpha=alpha)
    losses = bce(logits, targets)
    return balance((1 - (-losses).exp()) ** gamma * losses, targets, alpha)
