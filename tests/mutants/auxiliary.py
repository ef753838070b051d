import torch
from torch.nn import functional as F

from lossbook.language.auxiliary import load_balancing_loss, z_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


@MUTANTS.of("z_loss", "log Z, not squared", killed_by="value")
def _(logits):
    return logits.logsumexp(-1)


@MUTANTS.of("z_loss", "its size, not squared", killed_by="value")
def _(logits):
    return logits.logsumexp(-1).abs()


@MUTANTS.of("z_loss", "a half", killed_by="value")
def _(logits):
    return z_loss(logits) / 2


@MUTANTS.of("z_loss", "PaLM's coefficient inside", killed_by="value")
def _(logits):
    return 1e-4 * z_loss(logits)


@MUTANTS.of("z_loss", "the mean of the exponentials", killed_by="value")
def _(logits):
    return (logits.logsumexp(-1) - torch.tensor(logits.shape[-1]).log()) ** 2


@MUTANTS.of("z_loss", "classes on dimension 1", killed_by="value")
def _(logits):
    return z_loss(logits.movedim(1, -1))


@MUTANTS.of("z_loss", "the largest logit", killed_by="value")
def _(logits):
    return logits.amax(-1) ** 2


@MUTANTS.of("z_loss", "exp overflows", killed_by="value")
def _(logits):
    return logits.exp().sum(-1).log() ** 2


@MUTANTS.of("z_loss", "Z itself", killed_by="value")
def _(logits):
    return logits.logsumexp(-1).exp() ** 2


@MUTANTS.of("z_loss", "squares of the logits", killed_by="value")
def _(logits):
    return (logits**2).sum(-1)


@MUTANTS.of("z_loss", "averaged over the tokens", killed_by="value")
def _(logits):
    return z_loss(logits).mean()


@MUTANTS.of("z_loss", "the shift detached: no slope", killed_by="gradient")
def _(logits):
    top = logits.amax(-1).detach()
    return (top + (logits - logits.amax(-1, keepdim=True)).logsumexp(-1)) ** 2


def parts(router_logits, mask, top_k):
    rows = router_logits.reshape(-1, router_logits.shape[-1])
    if mask is not None:
        rows = rows[mask.reshape(-1)]
    chosen = torch.zeros_like(rows).scatter(1, rows.topk(top_k).indices, 1)
    return rows.softmax(1), chosen


def balanced(p, chosen, top_k):
    if not len(p):
        return p.sum()
    return p.shape[1] * (chosen.mean(0) / top_k * p.mean(0)).sum()


@MUTANTS.of("load_balancing_loss", "no E", killed_by="value")
def _(router_logits, mask=None, *, top_k=1):
    return load_balancing_loss(router_logits, mask, top_k=top_k) / router_logits.shape[-1]


@MUTANTS.of("load_balancing_loss", "not divided by top_k", killed_by="value")
def _(router_logits, mask=None, *, top_k=1):
    return load_balancing_loss(router_logits, mask, top_k=top_k) * top_k


@MUTANTS.of("load_balancing_loss", "the first choice alone", killed_by="value")
def _(router_logits, mask=None, **_):
    return load_balancing_loss(router_logits, mask)


@MUTANTS.of("load_balancing_loss", "padding counted", killed_by="value")
def _(router_logits, mask=None, *, top_k=1):
    assert mask is None or mask.dtype == torch.bool
    return load_balancing_loss(router_logits, top_k=top_k)


@MUTANTS.of("load_balancing_loss", "the mask inverted", killed_by="value")
def _(router_logits, mask=None, *, top_k=1):
    return load_balancing_loss(router_logits, None if mask is None else ~mask, top_k=top_k)


@MUTANTS.of("load_balancing_loss", "padding in the number of tokens", killed_by="value")
def _(router_logits, mask=None, *, top_k=1):
    loss = load_balancing_loss(router_logits, mask, top_k=top_k)
    return loss if mask is None else loss * mask.sum() ** 2 / mask.numel() ** 2


@MUTANTS.of("load_balancing_loss", "the squares of the shares", killed_by="value")
def _(router_logits, mask=None, *, top_k=1):
    p, chosen = parts(router_logits, mask, top_k)
    return balanced(chosen + 0 * p, chosen, top_k)


@MUTANTS.of("load_balancing_loss", "the squares of the probabilities", killed_by="value")
def _(router_logits, mask=None, *, top_k=1):
    p, _ = parts(router_logits, mask, top_k)
    return balanced(p, top_k * p, top_k)


@MUTANTS.of("load_balancing_loss", "the mean of the products of each token", killed_by="value")
def _(router_logits, mask=None, *, top_k=1):
    p, chosen = parts(router_logits, mask, top_k)
    return p.shape[1] * (chosen / top_k * p).sum() / max(len(p), 1)


@MUTANTS.of("load_balancing_loss", "probabilities of the chosen alone", killed_by="value")
def _(router_logits, mask=None, *, top_k=1):
    p, chosen = parts(router_logits, mask, top_k)
    return balanced(p * chosen, chosen, top_k)


@MUTANTS.of("load_balancing_loss", "one value for each row of the batch", killed_by="value")
def _(router_logits, mask=None, *, top_k=1):
    if mask is None:
        return load_balancing_loss(router_logits, top_k=top_k)
    losses = [
        load_balancing_loss(x, m, top_k=top_k)
        for x, m in zip(router_logits.unbind(), mask.unbind(), strict=True)
    ]
    return torch.stack(losses).mean() if mask.dim() > 1 else losses[0]


@MUTANTS.of(
    "load_balancing_loss", "0 times nan", killed_by="test_what_the_mask_hides_moves_nothing"
)
def _(router_logits, mask=None, *, top_k=1):
    weight = torch.ones(router_logits.shape[:-1]) if mask is None else mask
    p = router_logits.softmax(-1) * weight.unsqueeze(-1)
    chosen = F.one_hot(router_logits.argmax(-1), p.shape[-1]) * weight.unsqueeze(-1)
    p, chosen = (x.reshape(-1, p.shape[-1]).sum(0) / weight.sum() for x in (p, chosen))
    return len(p) * (p * chosen).sum() / top_k


@MUTANTS.of("load_balancing_loss", "0 / 0 without tokens", killed_by="facts")
def _(router_logits, mask=None, *, top_k=1):
    p, chosen = parts(router_logits, mask, top_k)
    return p.shape[1] * (chosen.mean(0) / top_k * p.mean(0)).sum()


@MUTANTS.of(
    "load_balancing_loss", "the probabilities detached", killed_by="test_the_shares_are_constants"
)
def _(router_logits, mask=None, *, top_k=1):
    return load_balancing_loss(router_logits.detach(), mask, top_k=top_k) + 0 * router_logits.sum()


@MUTANTS.of("load_balancing_loss", "as many experts as there are", killed_by="errors")
def _(router_logits, mask=None, *, top_k=1):
    return load_balancing_loss(router_logits, mask, top_k=min(int(top_k), router_logits.shape[-1]))
