import torch
from torch.nn import functional as F

from lossbook.preference.dpo import dpo_loss, ipo_loss, kto_loss, sequence_log_probs
from tests.mutants import Mutants

MUTANTS = Mutants()


def picked(logits, labels, dim=2):
    return logits.log_softmax(dim).gather(2, labels.unsqueeze(2)).squeeze(2)


@MUTANTS.of("sequence_log_probs", "the mask inverted", killed_by="value")
def _(logits, labels, mask, *, average=False):
    return sequence_log_probs(logits, labels, ~mask, average=average)


@MUTANTS.of("sequence_log_probs", "an average by default", killed_by="value")
def _(logits, labels, mask, *, average=True):
    return sequence_log_probs(logits, labels, mask, average=average)


@MUTANTS.of("sequence_log_probs", "averaged over padding as well", killed_by="value")
def _(logits, labels, mask, *, average=False):
    sums = sequence_log_probs(logits, labels, mask)
    return sums / mask.shape[1] if average else sums


@MUTANTS.of("sequence_log_probs", "prompt and padding summed", killed_by="value")
def _(logits, labels, mask, *, average=False):
    sums = picked(logits, labels.clamp(0, logits.shape[2] - 1)).sum(1)
    return sums / mask.sum(1) if average else sums


@MUTANTS.of("sequence_log_probs", "shifted inside", killed_by="value")
def _(logits, labels, mask, *, average=False):
    return sequence_log_probs(logits[:, :-1], labels[:, 1:], mask[:, 1:], average=average)


@MUTANTS.of("sequence_log_probs", "a softmax over time", killed_by="value")
def _(logits, labels, mask, *, average=False):
    sums = (picked(logits, labels.where(mask, 0), 1) * mask).sum(1)
    return sums / mask.sum(1) if average else sums


@MUTANTS.of("sequence_log_probs", "0 times nan", killed_by="value")
def _(logits, labels, mask, *, average=False):
    sums = (picked(logits, labels.where(mask, 0)) * mask).sum(1)
    return sums / mask.sum(1).clamp_min(1) if average else sums


@MUTANTS.of(
    "sequence_log_probs", "masked after the nan", killed_by="test_what_the_mask_hides_moves_nothing"
)
def _(logits, labels, mask, *, average=False):
    sums = picked(logits, labels.where(mask, 0)).where(mask, 0).sum(1)
    return sums / mask.sum(1).clamp_min(1) if average else sums


@MUTANTS.of("sequence_log_probs", "0 / 0 where nothing is left", killed_by="value")
def _(logits, labels, mask, *, average=False):
    sums = sequence_log_probs(logits, labels, mask)
    return sums / mask.sum(1) if average else sums


@MUTANTS.of("sequence_log_probs", "a loss: its sign", killed_by="value")
def _(logits, labels, mask, *, average=False):
    return -sequence_log_probs(logits, labels, mask, average=average)


@MUTANTS.of("sequence_log_probs", "the label -100 indexes from the end", killed_by="value")
def _(logits, labels, mask, *, average=False):
    return sequence_log_probs(logits, labels, mask & (labels > 0), average=average)


@MUTANTS.of(
    "sequence_log_probs",
    "one by one in bfloat16",
    killed_by="test_many_tokens_are_summed_in_float32",
)
def _(logits, labels, mask, *, average=False):
    tokens = picked(logits, labels.where(mask, 0)).where(mask, 0)
    sums = tokens[:, :0].sum(1)
    for t in range(tokens.shape[1]):
        sums = sums + tokens[:, t]
    return sums / mask.sum(1).clamp_min(1) if average else sums


@MUTANTS.of("sequence_log_probs", "an integer mask taken", killed_by="errors")
def _(logits, labels, mask, *, average=False):
    return sequence_log_probs(logits, labels, mask.bool(), average=average)


def lead(c, r, c_ref, r_ref):
    return (c - c_ref.detach()) - (r - r_ref.detach())


@MUTANTS.of("dpo_loss", "chosen and rejected exchanged", killed_by="value")
def _(c, r, c_ref, r_ref, **settings):
    return dpo_loss(r, c, r_ref, c_ref, **settings)


@MUTANTS.of("dpo_loss", "no reference", killed_by="value")
def _(c, r, c_ref, r_ref, **settings):
    return dpo_loss(c, r, 0 * c_ref, 0 * r_ref, **settings)


@MUTANTS.of("dpo_loss", "the references added", killed_by="value")
def _(c, r, c_ref, r_ref, **settings):
    return dpo_loss(c, r, -c_ref, -r_ref, **settings)


@MUTANTS.of("dpo_loss", "the references exchanged", killed_by="value")
def _(c, r, c_ref, r_ref, **settings):
    return dpo_loss(c, r, r_ref, c_ref, **settings)


@MUTANTS.of("dpo_loss", "beta outside of the sigmoid", killed_by="value")
def _(c, r, c_ref, r_ref, *, beta=0.1, label_smoothing=0.0):
    return beta * dpo_loss(c, r, c_ref, r_ref, beta=1.0, label_smoothing=label_smoothing)


@MUTANTS.of("dpo_loss", "beta on the chosen answer alone", killed_by="value")
def _(c, r, c_ref, r_ref, *, beta=0.1, label_smoothing=0.0):
    x = beta * (c - c_ref) - (r - r_ref)
    return -(1 - label_smoothing) * F.logsigmoid(x) - label_smoothing * F.logsigmoid(-x)


@MUTANTS.of("dpo_loss", "no logarithm", killed_by="value")
def _(c, r, c_ref, r_ref, *, beta=0.1, label_smoothing=0.0):
    return 1 - label_smoothing - (beta * lead(c, r, c_ref, r_ref)).sigmoid()


@MUTANTS.of("dpo_loss", "robust DPO's smoothing", killed_by="value")
def _(c, r, c_ref, r_ref, *, beta=0.1, label_smoothing=0.0):
    x, e = beta * lead(c, r, c_ref, r_ref), label_smoothing
    return (e * F.logsigmoid(-x) - (1 - e) * F.logsigmoid(x)) / (1 - 2 * e)


@MUTANTS.of("dpo_loss", "smoothing ignored", killed_by="value")
def _(c, r, c_ref, r_ref, *, beta=0.1, **_):
    return dpo_loss(c, r, c_ref, r_ref, beta=beta)


@MUTANTS.of("dpo_loss", "the logarithm of a sigmoid that underflows", killed_by="value")
def _(c, r, c_ref, r_ref, *, beta=0.1, label_smoothing=0.0):
    x = beta * lead(c, r, c_ref, r_ref)
    return -(1 - label_smoothing) * x.sigmoid().log() - label_smoothing * (-x).sigmoid().log()


@MUTANTS.of("dpo_loss", "the digits of 1 - sigmoid lost", killed_by="next to the optimum")
def _(c, r, c_ref, r_ref, *, beta=0.1, label_smoothing=0.0):
    x = beta * lead(c, r, c_ref, r_ref)
    return (1 + (-x).exp()).log() + label_smoothing * x


@MUTANTS.of("dpo_loss", "the reference learns", killed_by="gradient")
def _(c, r, c_ref, r_ref, *, beta=0.1, label_smoothing=0.0):
    x = beta * ((c - c_ref) - (r - r_ref))
    return -F.logsigmoid(x) + label_smoothing * x


@MUTANTS.of("dpo_loss", "the rejected answer detached", killed_by="gradient")
def _(c, r, c_ref, r_ref, **settings):
    return dpo_loss(c, r.detach(), c_ref, r_ref, **settings)


@MUTANTS.of("dpo_loss", "shapes that broadcast", killed_by="errors")
def _(c, r, c_ref, r_ref, **settings):
    return dpo_loss(*torch.broadcast_tensors(c, r, c_ref, r_ref), **settings)


@MUTANTS.of("ipo_loss", "half of it", killed_by="value")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    return ipo_loss(c, r, c_ref, r_ref, tau=tau) / 2


@MUTANTS.of("ipo_loss", "the target 1 / tau", killed_by="value")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    return (lead(c, r, c_ref, r_ref) - 1 / tau) ** 2


@MUTANTS.of("ipo_loss", "the target tau / 2", killed_by="value")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    return (lead(c, r, c_ref, r_ref) - tau / 2) ** 2


@MUTANTS.of("ipo_loss", "tau times the lead", killed_by="value")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    return (tau * lead(c, r, c_ref, r_ref) - 1 / 2) ** 2


@MUTANTS.of("ipo_loss", "past the target it costs nothing", killed_by="value")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    return (1 / (2 * tau) - lead(c, r, c_ref, r_ref)).clamp_min(0) ** 2


@MUTANTS.of("ipo_loss", "the distance, not its square", killed_by="value")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    return (lead(c, r, c_ref, r_ref) - 1 / (2 * tau)).abs()


@MUTANTS.of("ipo_loss", "chosen and rejected exchanged", killed_by="value")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    return ipo_loss(r, c, r_ref, c_ref, tau=tau)


@MUTANTS.of("ipo_loss", "no reference", killed_by="value")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    return ipo_loss(c, r, 0 * c_ref, 0 * r_ref, tau=tau)


@MUTANTS.of("ipo_loss", "the square opened: its terms cancel", killed_by="next to the optimum")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    x = lead(c, r, c_ref, r_ref)
    return x**2 - x / tau + 1 / (4 * tau**2)


@MUTANTS.of("ipo_loss", "the reference learns", killed_by="gradient")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    return ((c - c_ref) - (r - r_ref) - 1 / (2 * tau)) ** 2


@MUTANTS.of("ipo_loss", "tau 0 accepted", killed_by="errors")
def _(c, r, c_ref, r_ref, *, tau=0.1):
    return ipo_loss(c, r, c_ref, r_ref, tau=tau or 0.1)


def sides(log_probs, reference, kl, beta):
    return beta * (log_probs - reference.detach() - kl.detach().clamp_min(0))


@MUTANTS.of("kto_loss", "desirable and undesirable exchanged", killed_by="value")
def _(log_probs, reference, is_desirable, kl, **settings):
    return kto_loss(log_probs, reference, ~is_desirable, kl, **settings)


@MUTANTS.of("kto_loss", "a logarithm, as BCO has it", killed_by="value")
def _(log_probs, reference, is_desirable, kl, *, beta=0.1, **weights):
    x = sides(log_probs, reference, kl, beta)
    a, b = (weights.get(f"{name}_weight", 1.0) for name in ("desirable", "undesirable"))
    return torch.where(is_desirable, -a * F.logsigmoid(x), -b * F.logsigmoid(-x))


@MUTANTS.of("kto_loss", "kl added", killed_by="value")
def _(log_probs, reference, is_desirable, kl, **settings):
    return kto_loss(log_probs + 2 * kl.clamp_min(0), reference, is_desirable, kl, **settings)


@MUTANTS.of("kto_loss", "kl may be negative", killed_by="value")
def _(log_probs, reference, is_desirable, kl, **settings):
    low = kl.clamp_max(0).detach()
    return kto_loss(log_probs - low, reference, is_desirable, kl, **settings)


@MUTANTS.of("kto_loss", "no kl", killed_by="value")
def _(log_probs, reference, is_desirable, kl, **settings):
    return kto_loss(log_probs, reference, is_desirable, 0 * kl, **settings)


@MUTANTS.of("kto_loss", "beta not on kl", killed_by="value")
def _(log_probs, reference, is_desirable, kl, *, beta=0.1, **weights):
    shift = (kl.clamp_min(0) * (1 - 1 / beta)).detach()
    return kto_loss(log_probs + shift, reference, is_desirable, kl, beta=beta, **weights)


@MUTANTS.of("kto_loss", "the value, not the loss", killed_by="value")
def _(log_probs, reference, is_desirable, kl, **settings):
    return -kto_loss(log_probs, reference, ~is_desirable, kl, **settings)


@MUTANTS.of("kto_loss", "the weights exchanged", killed_by="value")
def _(
    log_probs, reference, is_desirable, kl, *, beta=0.1, desirable_weight=1.0, undesirable_weight=1
):
    return kto_loss(
        log_probs,
        reference,
        is_desirable,
        kl,
        beta=beta,
        desirable_weight=undesirable_weight,
        undesirable_weight=desirable_weight,
    )


@MUTANTS.of("kto_loss", "1 less a sigmoid of nearly 1", killed_by="next to the optimum")
def _(
    log_probs, reference, is_desirable, kl, *, beta=0.1, desirable_weight=1.0, undesirable_weight=1
):
    x = sides(log_probs, reference, kl, beta)
    good, bad = desirable_weight * (1 - x.sigmoid()), undesirable_weight * (1 - (-x).sigmoid())
    return torch.where(is_desirable, good, bad)


@MUTANTS.of("kto_loss", "kl gets a gradient", killed_by="gradient")
def _(log_probs, reference, is_desirable, kl, *, beta=0.1, **_):
    x = beta * (log_probs - reference.detach() - kl.clamp_min(0))
    return torch.where(is_desirable, -x, x).sigmoid()


@MUTANTS.of("kto_loss", "kl of each answer", killed_by="errors")
def _(log_probs, reference, is_desirable, kl, *, beta=0.1, **_):
    x = beta * (log_probs - reference.detach() - kl.detach().clamp_min(0))
    return torch.where(is_desirable.bool(), -x, x).sigmoid()
