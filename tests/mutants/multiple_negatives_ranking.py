import torch
from torch.nn import functional as F

from lossbook.embedding.multiple_negatives_ranking import multiple_negatives_ranking_loss
from tests.mutants import Mutants

MUTANTS = Mutants()
NAME = "multiple_negatives_ranking_loss"


def candidates(positives, negatives):
    return positives if negatives is None else torch.cat([positives, negatives])


def cosines(x, y):
    return F.normalize(x) @ F.normalize(y).T


def own_first(scores):
    return -scores.log_softmax(1).diagonal()


@MUTANTS.of(NAME, "dot products of vectors as they come", killed_by="invariances")
def _(anchors, positives, negatives=None, *, scale=20.0):
    return own_first(scale * anchors @ candidates(positives, negatives).T)


@MUTANTS.of(NAME, "scale taken for a temperature", killed_by="value")
def _(anchors, positives, negatives=None, *, scale=20.0):
    return own_first(cosines(anchors, candidates(positives, negatives)) / (scale + 1e-9))


@MUTANTS.of(NAME, "hard negatives ignored", killed_by="value")
def _(anchors, positives, negatives=None, *, scale=20.0):
    negatives = None if negatives is None else negatives[:0]
    return multiple_negatives_ranking_loss(anchors, positives, negatives, scale=scale)


@MUTANTS.of(NAME, "hard negatives before the positives", killed_by="value")
def _(anchors, positives, negatives=None, *, scale=20.0):
    every = positives if negatives is None else torch.cat([negatives, positives])
    return own_first(scale * cosines(anchors, every))


@MUTANTS.of(NAME, "only the hard negatives are negatives", killed_by="value")
def _(anchors, positives, negatives=None, *, scale=20.0):
    own = F.cosine_similarity(anchors, positives)[:, None]
    others = cosines(anchors, positives if negatives is None else negatives)
    return -(scale * torch.cat([own, others], 1)).log_softmax(1)[:, 0]


@MUTANTS.of(NAME, "anchors are negatives, too", killed_by="value")
def _(anchors, positives, negatives=None, *, scale=20.0):
    every = torch.cat([candidates(positives, negatives), anchors])
    return own_first(scale * cosines(anchors, every))


@MUTANTS.of(NAME, "the answers look for anchors", killed_by="value")
def _(anchors, positives, negatives=None, *, scale=20.0):
    return own_first(scale * cosines(positives, candidates(anchors, negatives)))


@MUTANTS.of(NAME, "the positive not in the sum", killed_by="value")
def _(anchors, positives, negatives=None, *, scale=20.0):
    scores = scale * cosines(anchors, candidates(positives, negatives))
    own = torch.eye(*scores.shape, dtype=torch.bool)
    return scores.masked_fill(own, -torch.inf).logsumexp(1) - scores.diagonal()


@MUTANTS.of(NAME, "the answers detached", killed_by="gradient")
def _(anchors, positives, negatives=None, *, scale=20.0):
    negatives = None if negatives is None else negatives.detach()
    return multiple_negatives_ranking_loss(anchors, positives.detach(), negatives, scale=scale)


@MUTANTS.of(NAME, "`scale or 20` makes 0 the default", killed_by="relations")
def _(anchors, positives, negatives=None, *, scale=20.0):
    return multiple_negatives_ranking_loss(anchors, positives, negatives, scale=scale or 20.0)


@MUTANTS.of(NAME, "the default is that of InfoNCE", killed_by="test_the_default_scale_is_20")
def _(anchors, positives, negatives=None, *, scale=1 / 0.07):
    return multiple_negatives_ranking_loss(anchors, positives, negatives, scale=scale)


@MUTANTS.of(NAME, "nan at a zero vector", killed_by="extremes")
def _(anchors, positives, negatives=None, *, scale=20.0):
    every = candidates(positives, negatives)
    anchors, every = (x / x.norm(dim=1, keepdim=True) for x in (anchors, every))
    return own_first(scale * anchors @ every.T)


@MUTANTS.of(NAME, "a slope of 1e12 at a zero", killed_by="test_a_zero_vector_moves_nowhere")
def _(anchors, positives, negatives=None, *, scale=20.0):
    return own_first(scale * cosines(anchors, candidates(positives, negatives)))


@MUTANTS.of(NAME, "autocast rounds the scores", killed_by="autocast")
def _(anchors, positives, negatives=None, *, scale=20.0):
    return own_first(scale * cosines(anchors, candidates(positives, negatives)))


@MUTANTS.of(NAME, "a negative scale accepted", killed_by="errors")
def _(anchors, positives, negatives=None, *, scale=20.0):
    return multiple_negatives_ranking_loss(anchors, positives, negatives, scale=abs(scale))
