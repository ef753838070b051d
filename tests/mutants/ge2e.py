import torch
from torch.nn import functional as F

from lossbook.embedding.ge2e import ge2e_contrast_loss, ge2e_softmax_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def cosines(x, own=True, normalize=False, floor=None):
    """Compare (S, U, 1, D) with (S, U, S, D), every utterance's own centroids."""
    s, u, _ = x.shape
    members = F.normalize(x, dim=2) if normalize else x
    sums = members.sum(1).expand(s, u, s, -1)
    if own:
        diagonal = torch.eye(s, dtype=torch.bool)[:, None, :, None]
        sums = torch.where(diagonal, sums - members[:, :, None], sums)
    c = F.cosine_similarity(x[:, :, None], sums, dim=3)
    return c if floor is None else c.clamp_min(floor)


def softmax_form(scores):
    return -scores.log_softmax(2).diagonal(dim1=0, dim2=2).T


def contrast_form(scores, largest=lambda hits: hits.amax(2)):
    hits = scores.sigmoid()
    own = torch.eye(len(hits), dtype=torch.bool)[:, None]
    return 1 - hits.diagonal(dim1=0, dim2=2).T + largest(hits.masked_fill(own, 0))


FORMS = {"ge2e_softmax_loss": softmax_form, "ge2e_contrast_loss": contrast_form}
LOSSES = {"ge2e_softmax_loss": ge2e_softmax_loss, "ge2e_contrast_loss": ge2e_contrast_loss}

for name, form in FORMS.items():
    right = LOSSES[name]

    @MUTANTS.of(name, "the utterance left in its centroid", killed_by="value")
    def _(embeddings, scale, offset, form=form):
        return form(scale * cosines(embeddings, own=False) + offset)

    @MUTANTS.of(name, "left out of all speakers' columns, too", killed_by="value")
    def _(embeddings, scale, offset, form=form):
        sums = embeddings.sum(1)[None, None] - embeddings[:, :, None]
        return form(scale * F.cosine_similarity(embeddings[:, :, None], sums, dim=3) + offset)

    @MUTANTS.of(name, "negative cosines flattened to 1e-6", killed_by="value")
    def _(embeddings, scale, offset, form=form):
        return form(scale * cosines(embeddings, floor=1e-6) + offset)

    @MUTANTS.of(name, "embeddings normalized before the mean", killed_by="value")
    def _(embeddings, scale, offset, form=form):
        return form(scale * cosines(embeddings, normalize=True) + offset)

    @MUTANTS.of(name, "the whole less one: rounding for a centroid", killed_by="value")
    def _(embeddings, scale, offset, form=form):
        return form(scale * cosines(embeddings) + offset)

    @MUTANTS.of(name, "centroids detached", killed_by="gradient")
    def _(embeddings, scale, offset, form=form):
        s, u, _ = embeddings.shape
        others = (1 - torch.eye(u).to(embeddings)) @ embeddings.detach()
        sums = embeddings.detach().sum(1).expand(s, u, s, -1)
        diagonal = torch.eye(s, dtype=torch.bool)[:, None, :, None]
        sums = torch.where(diagonal, others[:, :, None], sums)
        return form(scale * F.cosine_similarity(embeddings[:, :, None], sums, dim=3) + offset)

    @MUTANTS.of(name, "added up", killed_by="value")
    def _(embeddings, scale, offset, right=right):
        return right(embeddings, scale, offset).sum()

    @MUTANTS.of(name, "one utterance a speaker gives 0/0", killed_by="errors")
    def _(embeddings, scale, offset, right=right):
        if embeddings.dim() == 3 and embeddings.shape[1] == 1:
            embeddings = embeddings.expand(-1, 2, -1)
        return right(embeddings, scale, offset)


@MUTANTS.of("ge2e_softmax_loss", "1e-6 in the logarithm", killed_by="value")
def _(embeddings, scale, offset):
    scores = scale * cosines(embeddings) + offset
    total = (scores.exp().sum(2) + 1e-6).log()
    return total - scores.diagonal(dim1=0, dim2=2).T


@MUTANTS.of("ge2e_softmax_loss", "the paper's misprinted sign", killed_by="value")
def _(embeddings, scale, offset):
    return -ge2e_softmax_loss(embeddings, scale, offset)


@MUTANTS.of("ge2e_contrast_loss", "the mean over the rivals", killed_by="value")
def _(embeddings, scale, offset):
    scores = scale * cosines(embeddings) + offset
    return contrast_form(scores, lambda hits: hits.sum(2) / (len(hits) - 1))


@MUTANTS.of("ge2e_contrast_loss", "the utterance's speaker a rival", killed_by="value")
def _(embeddings, scale, offset):
    hits = (scale * cosines(embeddings) + offset).sigmoid()
    return 1 - hits.diagonal(dim1=0, dim2=2).T + hits.amax(2)


@MUTANTS.of("ge2e_contrast_loss", "scores without the sigmoid", killed_by="value")
def _(embeddings, scale, offset):
    scores = scale * cosines(embeddings) + offset
    own = torch.eye(len(scores), dtype=torch.bool)[:, None]
    return 1 - scores.diagonal(dim1=0, dim2=2).T + scores.masked_fill(own, -torch.inf).amax(2)


@MUTANTS.of("ge2e_contrast_loss", "a rival masked by a score of 0", killed_by="value")
def _(embeddings, scale, offset):
    scores = scale * cosines(embeddings) + offset
    own = torch.eye(len(scores), dtype=torch.bool)[:, None]
    rivals = scores.masked_fill(own, 0).amax(2)
    return 1 - scores.diagonal(dim1=0, dim2=2).T.sigmoid() + rivals.sigmoid()


@MUTANTS.of("ge2e_softmax_loss", "autocast rounds the cosines", killed_by="autocast")
def _(embeddings, scale, offset):
    x = F.normalize(embeddings, dim=2)
    own = (x * F.normalize(embeddings.sum(1, keepdim=True) - embeddings, dim=2)).sum(2)
    c = x @ F.normalize(embeddings.sum(1), dim=1).T
    return softmax_form(scale * c.float().diagonal_scatter(own.T, dim1=0, dim2=2) + offset)


@MUTANTS.of("ge2e_contrast_loss", "the offset inside the scale", killed_by="value")
def _(embeddings, scale, offset):
    return contrast_form(scale * (cosines(embeddings) + offset))
