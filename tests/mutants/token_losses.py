import torch

from lossbook.language.token_losses import dft_loss, unlikelihood_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def log_p(logits, labels, dim=-1):
    return logits.log_softmax(dim).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def p_log_p(log_p):
    return log_p.exp() * log_p.masked_fill(log_p.isneginf(), 0)


@MUTANTS.of("dft_loss", "a live weight", killed_by="gradient")
def _(logits, labels):
    return -p_log_p(log_p(logits, labels))


@MUTANTS.of("dft_loss", "cross entropy", killed_by="value")
def _(logits, labels):
    return -log_p(logits, labels)


@MUTANTS.of("dft_loss", "1 - p: its gradient, not its value", killed_by="value")
def _(logits, labels):
    return 1 - log_p(logits, labels).exp()


@MUTANTS.of("dft_loss", "focal's weight, 1 - p", killed_by="value")
def _(logits, labels):
    x = log_p(logits, labels)
    return (1 - x.exp()).detach() * -x.masked_fill(x.isneginf(), 0)


@MUTANTS.of("dft_loss", "its sign", killed_by="value")
def _(logits, labels):
    return -dft_loss(logits, labels)


@MUTANTS.of("dft_loss", "0 times -inf", killed_by="value")
def _(logits, labels):
    x = log_p(logits, labels)
    return -x.exp().detach() * x


@MUTANTS.of("dft_loss", "the weight exp(-logit)", killed_by="value")
def _(logits, labels):
    own = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    x = log_p(logits, labels)
    return -(-own).exp().detach() * x.masked_fill(x.isneginf(), 0)


@MUTANTS.of("dft_loss", "the entropy of the whole vocabulary", killed_by="value")
def _(logits, labels):
    return -p_log_p(logits.log_softmax(-1)).sum(-1) + 0 * labels


@MUTANTS.of("dft_loss", "the vocabulary on dimension 1", killed_by="value")
def _(logits, labels):
    return dft_loss(logits.movedim(1, -1), labels % logits.shape[1])


@MUTANTS.of("dft_loss", "clipped at 1e-4", killed_by="next to the optimum")
def _(logits, labels):
    x = log_p(logits, labels).clamp_max(-1e-4)
    return -x.exp().detach() * x.masked_fill(x.isneginf(), 0)


@MUTANTS.of("dft_loss", "the digits of a sure label lost", killed_by="next to the optimum")
def _(logits, labels):
    x = log_p(logits, labels)
    return -x.exp().detach() * x.masked_fill(x.isneginf(), 0)


@MUTANTS.of("dft_loss", "floating labels cut", killed_by="errors")
def _(logits, labels):
    return dft_loss(logits, labels.long())


def plain(logits, negatives):
    return (-(-logits.softmax(-1)).log1p()).where(negatives, 0).sum(-1)


@MUTANTS.of("unlikelihood_loss", "1 - p clamped at 1e-5", killed_by="value")
def _(logits, negatives):
    return -((1 - logits.softmax(-1)).clamp_min(1e-5).log().where(negatives, 0)).sum(-1)


@MUTANTS.of("unlikelihood_loss", "1 - p of nearly 1: inf", killed_by="value")
def _(logits, negatives):
    return plain(logits, negatives)


@MUTANTS.of(
    "unlikelihood_loss",
    "the clamp stops the gradient",
    killed_by="test_a_certain_negative_is_still_pushed_down",
)
def _(logits, negatives):
    return -((1 - logits.softmax(-1)).clamp_min(1e-5).log().where(negatives, 0)).sum(-1)


@MUTANTS.of("unlikelihood_loss", "the negatives taken together", killed_by="value")
def _(logits, negatives):
    return -(-logits.softmax(-1).where(negatives, 0).sum(-1)).log1p()


@MUTANTS.of("unlikelihood_loss", "averaged over the negatives", killed_by="value")
def _(logits, negatives):
    return unlikelihood_loss(logits, negatives) / negatives.sum(-1).clamp_min(1)


@MUTANTS.of("unlikelihood_loss", "the likelihood of the negatives", killed_by="value")
def _(logits, negatives):
    return -logits.log_softmax(-1).where(negatives, 0).sum(-1)


@MUTANTS.of("unlikelihood_loss", "driven up: log p", killed_by="value")
def _(logits, negatives):
    return logits.log_softmax(-1).where(negatives, 0).sum(-1)


@MUTANTS.of("unlikelihood_loss", "its sign", killed_by="value")
def _(logits, negatives):
    return -unlikelihood_loss(logits, negatives)


@MUTANTS.of("unlikelihood_loss", "everything but the negatives", killed_by="value")
def _(logits, negatives):
    return unlikelihood_loss(logits, ~negatives)


@MUTANTS.of("unlikelihood_loss", "a sigmoid for each token", killed_by="value")
def _(logits, negatives):
    return torch.nn.functional.softplus(logits).where(negatives, 0).sum(-1)


@MUTANTS.of("unlikelihood_loss", "one value for each token", killed_by="value")
def _(logits, negatives):
    return (-(-logits.softmax(-1)).log1p()).where(negatives, 0)


@MUTANTS.of(
    "unlikelihood_loss",
    "nan where a token is alone",
    killed_by="test_the_only_token_left_has_a_finite_slope",
)
def _(logits, negatives):
    top, best = logits.max(-1, keepdim=True)
    rest = logits.scatter(-1, best, -torch.inf).logsumexp(-1, keepdim=True)
    surprises = -(-logits.softmax(-1).scatter(-1, best, 0)).log1p()
    surprises = surprises.scatter(-1, best, torch.nn.functional.softplus(top - rest))
    return surprises.where(negatives, 0).sum(-1)


@MUTANTS.of("unlikelihood_loss", "integer negatives inverted", killed_by="errors")
def _(logits, negatives):
    return plain(logits, negatives.bool())


@MUTANTS.of("unlikelihood_loss", "the digits of a small p lost", killed_by="next to the optimum")
def _(logits, negatives):
    return -(1 - logits.softmax(-1)).log().where(negatives, 0).sum(-1)
