import torch
from torch.nn import functional as F

from lossbook.embedding.info_nce import info_nce, nt_xent
from tests.mutants import Mutants

MUTANTS = Mutants()


def cosines(x, y):
    return F.normalize(x) @ F.normalize(y).T


def own_key(scores):
    return -scores.log_softmax(1).diagonal()


def other_view(scores):
    n = len(scores) // 2
    log_p = scores.log_softmax(1)
    return -torch.cat([log_p.diagonal(n), log_p.diagonal(-n)])


def no_self(scores):
    return scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -torch.inf)


@MUTANTS.of("info_nce", "dot products of vectors as they come", killed_by="invariances")
def _(queries, keys, *, temperature=0.07):
    return own_key(queries @ keys.T / temperature)


@MUTANTS.of("info_nce", "times the temperature", killed_by="value")
def _(queries, keys, *, temperature=0.07):
    return own_key(cosines(queries, keys) * temperature)


@MUTANTS.of("info_nce", "keys look for queries", killed_by="value")
def _(queries, keys, *, temperature=0.07):
    return info_nce(keys, queries, temperature=temperature)


@MUTANTS.of("info_nce", "both directions averaged", killed_by="value")
def _(queries, keys, *, temperature=0.07):
    scores = cosines(queries, keys) / temperature
    return (own_key(scores) + own_key(scores.T)) / 2


@MUTANTS.of("info_nce", "the positive not in the denominator", killed_by="value")
def _(queries, keys, *, temperature=0.07):
    scores = cosines(queries, keys) / temperature
    return no_self(scores).logsumexp(1) - scores.diagonal()


@MUTANTS.of("info_nce", "exponentials by hand overflow", killed_by="test_cold_and_certain")
def _(queries, keys, *, temperature=0.07):
    f = (cosines(queries, keys) / temperature).exp()
    return -(f.diagonal() / f.sum(1)).log()


@MUTANTS.of("info_nce", "1e-8 in the logarithm", killed_by="value")
def _(queries, keys, *, temperature=0.07):
    p = (cosines(queries, keys) / temperature).softmax(1).diagonal()
    return -(p + 1e-8).log()


@MUTANTS.of("info_nce", "the keys detached", killed_by="gradient")
def _(queries, keys, *, temperature=0.07):
    return info_nce(queries, keys.detach(), temperature=temperature)


@MUTANTS.of("info_nce", "squared distances for the cosines", killed_by="value")
def _(queries, keys, *, temperature=0.07):
    return own_key(-(torch.cdist(queries, keys) ** 2) / temperature)


@MUTANTS.of("info_nce", "nan at a zero vector", killed_by="extremes")
def _(queries, keys, *, temperature=0.07):
    queries, keys = (x / x.norm(dim=1, keepdim=True) for x in (queries, keys))
    return own_key(queries @ keys.T / temperature)


@MUTANTS.of("info_nce", "a slope of 1e12 at a zero", killed_by="test_a_zero_vector_moves_nowhere")
def _(queries, keys, *, temperature=0.07):
    return own_key(cosines(queries, keys) / temperature)


@MUTANTS.of("info_nce", "autocast rounds the scores", killed_by="autocast")
def _(queries, keys, *, temperature=0.07):
    return own_key(cosines(queries, keys) / temperature)


@MUTANTS.of("info_nce", "temperature 0 accepted", killed_by="errors")
def _(queries, keys, *, temperature=0.07):
    return info_nce(queries, keys, temperature=temperature or 0.07)


@MUTANTS.of("nt_xent", "the anchor among its candidates", killed_by="value")
def _(views1, views2, *, temperature=0.5):
    views = torch.cat([views1, views2])
    return other_view(cosines(views, views) / temperature)


@MUTANTS.of("nt_xent", "the anchor taken off the sum again", killed_by="test_cold_and_certain")
def _(views1, views2, *, temperature=0.5):
    views = torch.cat([views1, views2])
    scores = cosines(views, views) / temperature
    n = len(views1)
    positives = torch.cat([scores.diagonal(n), scores.diagonal(-n)])
    own = scores.diagonal().exp()
    return (scores.exp().sum(1) - own).log() - positives


@MUTANTS.of("nt_xent", "the anchor's score 0, not -inf", killed_by="value")
def _(views1, views2, *, temperature=0.5):
    views = torch.cat([views1, views2])
    scores = cosines(views, views) / temperature
    return other_view(scores * ~torch.eye(len(views), dtype=torch.bool))


@MUTANTS.of("nt_xent", "negatives from the other view only", killed_by="value")
def _(views1, views2, *, temperature=0.5):
    scores = cosines(views1, views2) / temperature
    return torch.cat([own_key(scores), own_key(scores.T)])


@MUTANTS.of("nt_xent", "one direction only", killed_by="value")
def _(views1, views2, *, temperature=0.5):
    return nt_xent(views1, views2, temperature=temperature)[: len(views1)]


@MUTANTS.of("nt_xent", "the two halves swapped", killed_by="test_nt_xent_by_hand")
def _(views1, views2, *, temperature=0.5):
    return nt_xent(views2, views1, temperature=temperature)


@MUTANTS.of("nt_xent", "views taken for interleaved", killed_by="value")
def _(views1, views2, *, temperature=0.5):
    views = torch.stack([views1, views2], 1).flatten(0, 1)
    return other_view(no_self(cosines(views, views) / temperature))


@MUTANTS.of("nt_xent", "dot products of vectors as they come", killed_by="invariances")
def _(views1, views2, *, temperature=0.5):
    views = torch.cat([views1, views2])
    return other_view(no_self(views @ views.T / temperature))


@MUTANTS.of("nt_xent", "the positive not in the denominator", killed_by="value")
def _(views1, views2, *, temperature=0.5):
    views = torch.cat([views1, views2])
    scores = no_self(cosines(views, views) / temperature)
    n = len(views1)
    positives = torch.cat([scores.diagonal(n), scores.diagonal(-n)])
    others = scores.diagonal_scatter(torch.full((n,), -torch.inf).to(scores), n)
    others = others.diagonal_scatter(torch.full((n,), -torch.inf).to(scores), -n)
    return others.logsumexp(1) - positives


@MUTANTS.of("nt_xent", "the anchor masked by a cosine of -1", killed_by="value")
def _(views1, views2, *, temperature=0.5):
    views = torch.cat([views1, views2])
    own = torch.eye(len(views), dtype=torch.bool)
    return other_view(cosines(views, views).masked_fill(own, -1) / temperature)


@MUTANTS.of("nt_xent", "shapes of unequal length accepted", killed_by="errors")
def _(views1, views2, *, temperature=0.5):
    n = min(len(views1), len(views2))
    return nt_xent(views1[:n], views2[:n], temperature=temperature)
