import torch
from torch.nn import functional as F

from tests.mutants import Mutants

MUTANTS = Mutants()


def kl(log_p, log_q, dim=1):
    q = log_q.exp()
    return (q * torch.where(q > 0, log_q - log_p, 0)).sum(dim)


@MUTANTS.of("kl_divergence", "the arguments exchanged", killed_by="value")
def _(logits, target_logits, *, dim=1):
    return kl(target_logits.log_softmax(dim), logits.log_softmax(dim), dim)


@MUTANTS.of("kl_divergence", "logits taken for log-probabilities", killed_by="value")
def _(logits, target_logits, *, dim=1):
    return kl(logits, target_logits, dim)


@MUTANTS.of("kl_divergence", "probabilities where torch wants their logarithms", killed_by="value")
def _(logits, target_logits, *, dim=1):
    p, q = logits.softmax(dim), target_logits.softmax(dim)
    return F.kl_div(p, q, reduction="none").sum(dim)


@MUTANTS.of("kl_divergence", "torch's default mean: divided by C as well", killed_by="value")
def _(logits, target_logits, *, dim=1):
    return kl(logits.log_softmax(dim), target_logits.log_softmax(dim), dim) / logits.shape[dim]


@MUTANTS.of("kl_divergence", "averaged over the batch", killed_by="value")
def _(logits, target_logits, *, dim=1):
    return kl(logits.log_softmax(dim), target_logits.log_softmax(dim), dim).mean()


@MUTANTS.of("kl_divergence", "one number for each class", killed_by="value")
def _(logits, target_logits, *, dim=1):
    log_p, q = logits.log_softmax(dim), target_logits.softmax(dim)
    return q.xlogy(q) - q * log_p


@MUTANTS.of("kl_divergence", "cross entropy: the target's entropy stays in", killed_by="value")
def _(logits, target_logits, *, dim=1):
    q = target_logits.softmax(dim)
    return -torch.where(q > 0, q * logits.log_softmax(dim), 0).sum(dim)


@MUTANTS.of("kl_divergence", "0 log 0 is nan", killed_by="value")
def _(logits, target_logits, *, dim=1):
    log_p, log_q = logits.log_softmax(dim), target_logits.log_softmax(dim)
    return (log_q.exp() * (log_q - log_p)).sum(dim)


@MUTANTS.of("kl_divergence", "0 times a predicted -inf is nan", killed_by="value")
def _(logits, target_logits, *, dim=1):
    log_p, q = logits.log_softmax(dim), target_logits.softmax(dim)
    return (torch.xlogy(q, q) - q * log_p).sum(dim)


@MUTANTS.of("kl_divergence", "both clipped at 1e-7", killed_by="value")
def _(logits, target_logits, *, dim=1):
    p, q = (x.softmax(dim).clamp(1e-7, 1) for x in (logits, target_logits))
    return (q * (q / p).log()).sum(dim)


@MUTANTS.of("kl_divergence", "1e-8 added to both", killed_by="value")
def _(logits, target_logits, *, dim=1):
    p, q = (x.softmax(dim) + 1e-8 for x in (logits, target_logits))
    return (q * (q / p).log()).sum(dim)


@MUTANTS.of("kl_divergence", "every -inf forgiven", killed_by="value")
def _(logits, target_logits, *, dim=1):
    log_p, log_q = logits.log_softmax(dim), target_logits.log_softmax(dim)
    return kl(log_p.masked_fill(log_p.isneginf(), 0), log_q, dim)


@MUTANTS.of("kl_divergence", "exp without subtracting the maximum", killed_by="extremes")
def _(logits, target_logits, *, dim=1):
    log_p, log_q = (x - x.exp().sum(dim, keepdim=True).log() for x in (logits, target_logits))
    return kl(log_p, log_q, dim)


@MUTANTS.of("kl_divergence", "the logarithm of a softmax that underflows", killed_by="value")
def _(logits, target_logits, *, dim=1):
    return kl(logits.softmax(dim).log(), target_logits.log_softmax(dim), dim)


@MUTANTS.of("kl_divergence", "masked after the nan, not before", killed_by="extremes")
def _(logits, target_logits, *, dim=1):
    log_p, log_q = logits.log_softmax(dim), target_logits.log_softmax(dim)
    q = log_q.exp()
    return torch.where(q > 0, q * (log_q - log_p), 0).sum(dim)


@MUTANTS.of("kl_divergence", "classes on the last axis, whatever dim says", killed_by="value")
def _(logits, target_logits, **_):
    return kl(logits.log_softmax(-1), target_logits.log_softmax(-1), -1)


@MUTANTS.of("kl_divergence", "classes on axis 1, whatever dim says", killed_by="relations")
def _(logits, target_logits, **_):
    return kl(logits.log_softmax(1), target_logits.log_softmax(1))


@MUTANTS.of("kl_divergence", "one target broadcast over the batch", killed_by="errors")
def _(logits, target_logits, *, dim=1):
    return kl(logits.log_softmax(dim), target_logits.log_softmax(-1), dim)


@MUTANTS.of("kl_divergence", "the target detached", killed_by="gradient")
def _(logits, target_logits, *, dim=1):
    return kl(logits.log_softmax(dim), target_logits.detach().log_softmax(dim), dim)


@MUTANTS.of("kl_divergence", "its weights detached: no slope on average", killed_by="gradient")
def _(logits, target_logits, *, dim=1):
    log_p, log_q = logits.log_softmax(dim), target_logits.log_softmax(dim)
    return (log_q.exp().detach() * (log_q - log_p)).sum(dim)


@MUTANTS.of("kl_divergence", "sums in bfloat16", killed_by="bfloat16")
def _(logits, target_logits, *, dim=1):
    return kl(logits.log_softmax(dim), target_logits.log_softmax(dim), dim)


@MUTANTS.of("kl_divergence", "float32 out of half precision", killed_by="float16")
def _(logits, target_logits, *, dim=1):
    wide = torch.promote_types(logits.dtype, torch.float32)
    return kl(logits.log_softmax(dim, wide), target_logits.log_softmax(dim, wide), dim)


@MUTANTS.of("kl_divergence", "a branch on tensor values", killed_by="vmap")
def _(logits, target_logits, *, dim=1):
    log_p, log_q = logits.log_softmax(dim), target_logits.log_softmax(dim)
    if log_q.isneginf().any():
        return kl(log_p, log_q, dim)
    return (log_q.exp() * (log_q - log_p)).sum(dim)
