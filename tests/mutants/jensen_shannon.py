import torch

from lossbook.distribution.jensen_shannon import generalized_jsd, total_variation_distance
from tests.mutants import Mutants

MUTANTS = Mutants()


def kl(log_q, log_p, dim=1):
    return (log_q.exp() * (log_q - log_p).where(log_q.exp() > 0, 0)).sum(dim)


def mixture(log_p, log_q, beta):
    return (beta * log_q.exp() + (1 - beta) * log_p.exp()).log()


def plain(log_p, log_q, beta, dim=1):
    log_m = mixture(log_p, log_q, beta)
    return beta * kl(log_q, log_m, dim) + (1 - beta) * kl(log_p, log_m, dim)


def logs(*logits, dim=1):
    return (x.log_softmax(dim) for x in logits)


@MUTANTS.of("generalized_jsd", "teacher and student exchanged in the mixture", killed_by="value")
def _(logits, target_logits, *, beta=0.5, dim=1):
    log_p, log_q = logs(logits, target_logits, dim=dim)
    log_m = mixture(log_q, log_p, beta)
    return beta * kl(log_q, log_m, dim) + (1 - beta) * kl(log_p, log_m, dim)


@MUTANTS.of("generalized_jsd", "the weights of the two divergences exchanged", killed_by="value")
def _(logits, target_logits, *, beta=0.5, dim=1):
    log_p, log_q = logs(logits, target_logits, dim=dim)
    log_m = mixture(log_p, log_q, beta)
    return (1 - beta) * kl(log_q, log_m, dim) + beta * kl(log_p, log_m, dim)


@MUTANTS.of("generalized_jsd", "beta weighs the prediction", killed_by="value")
def _(logits, target_logits, *, beta=0.5, dim=1):
    return generalized_jsd(logits, target_logits, beta=1 - beta, dim=dim)


@MUTANTS.of("generalized_jsd", "divergences of the mixture, not from it", killed_by="value")
def _(logits, target_logits, *, beta=0.5, dim=1):
    log_p, log_q = logs(logits, target_logits, dim=dim)
    log_m = mixture(log_p, log_q, beta)
    return beta * kl(log_m, log_q, dim) + (1 - beta) * kl(log_m, log_p, dim)


@MUTANTS.of("generalized_jsd", "logits mixed, not probabilities", killed_by="value")
def _(logits, target_logits, *, beta=0.5, dim=1):
    log_p, log_q = logs(logits, target_logits, dim=dim)
    log_m = (beta * log_q + (1 - beta) * log_p).log_softmax(dim)
    return beta * kl(log_q, log_m, dim) + (1 - beta) * kl(log_p, log_m, dim)


@MUTANTS.of("generalized_jsd", "the distance: its square root", killed_by="value")
def _(logits, target_logits, *, beta=0.5, dim=1):
    return generalized_jsd(logits, target_logits, beta=beta, dim=dim).sqrt()


@MUTANTS.of("generalized_jsd", "terms that cancel", killed_by="next to the optimum")
def _(logits, target_logits, *, beta=0.5, dim=1):
    return plain(*logs(logits, target_logits, dim=dim), beta, dim).clamp_min(0)


@MUTANTS.of("generalized_jsd", "nan where both rule a class out", killed_by="infinite")
def _(logits, target_logits, *, beta=0.5, dim=1):
    log_p, log_q = logs(logits, target_logits, dim=dim)
    p, q = log_p.exp(), log_q.exp()
    m = beta * q + (1 - beta) * p
    return (beta * q * (q / m).log() + (1 - beta) * p * (p / m).log()).sum(dim)


@MUTANTS.of("generalized_jsd", "clipped at 1e-7", killed_by="value")
def _(logits, target_logits, *, beta=0.5, dim=1):
    log_p, log_q = (x.exp().clamp_min(1e-7).log() for x in logs(logits, target_logits, dim=dim))
    return plain(log_p, log_q, beta, dim)


@MUTANTS.of("generalized_jsd", "the ends are forward and reverse KL", killed_by="errors")
def _(logits, target_logits, *, beta=0.5, dim=1):
    log_p, log_q = logs(logits, target_logits, dim=dim)
    if beta == 0:
        return kl(log_q, log_p, dim)
    return kl(log_p, log_q, dim) if beta == 1 else plain(log_p, log_q, beta, dim)


@MUTANTS.of("generalized_jsd", "the target detached", killed_by="gradient")
def _(logits, target_logits, *, beta=0.5, dim=1):
    return generalized_jsd(logits, target_logits.detach(), beta=beta, dim=dim)


@MUTANTS.of("generalized_jsd", "a beta that is learned is cut off", killed_by="settings")
def _(logits, target_logits, *, beta=0.5, dim=1):
    beta = beta.detach() if isinstance(beta, torch.Tensor) else beta
    return generalized_jsd(logits, target_logits, beta=beta, dim=dim)


@MUTANTS.of("generalized_jsd", "classes on the last axis, whatever dim says", killed_by="shapes")
def _(logits, target_logits, *, beta=0.5, **_):
    return generalized_jsd(logits, target_logits, beta=beta, dim=-1)


@MUTANTS.of("generalized_jsd", "divided by the number of classes", killed_by="value")
def _(logits, target_logits, *, beta=0.5, dim=1):
    losses = generalized_jsd(logits, target_logits, beta=beta, dim=dim)
    return losses / logits.shape[dim]


@MUTANTS.of("generalized_jsd", "flat at the target", killed_by="test_it_bends_at_the_target")
def _(logits, target_logits, *, beta=0.5, dim=1):
    log_p, log_q = logs(logits, target_logits, dim=dim)
    gap, ahead = -(log_p - log_q).abs(), log_p > log_q
    w = torch.where(ahead, beta, 1 - beta)
    drop = -w * gap.expm1()
    terms = w * gap * gap.exp() - (1 - drop) * (-drop).log1p()
    return (torch.maximum(log_p, log_q).exp() * terms).sum(dim)


@MUTANTS.of("total_variation_distance", "no half", killed_by="value")
def _(logits, target_logits, *, dim=1):
    return 2 * total_variation_distance(logits, target_logits, dim=dim)


@MUTANTS.of("total_variation_distance", "the largest difference of a class", killed_by="value")
def _(logits, target_logits, *, dim=1):
    return (logits.softmax(dim) - target_logits.softmax(dim)).abs().amax(dim)


@MUTANTS.of("total_variation_distance", "Euclidean", killed_by="value")
def _(logits, target_logits, *, dim=1):
    return (logits.softmax(dim) - target_logits.softmax(dim)).norm(dim=dim) / 2


@MUTANTS.of("total_variation_distance", "averaged over the classes", killed_by="value")
def _(logits, target_logits, *, dim=1):
    return (logits.softmax(dim) - target_logits.softmax(dim)).abs().mean(dim) / 2


@MUTANTS.of("total_variation_distance", "logits taken for probabilities", killed_by="value")
def _(logits, target_logits, *, dim=1):
    return (logits - target_logits).abs().sum(dim) / 2


@MUTANTS.of("total_variation_distance", "sums over cumulated classes", killed_by="value")
def _(logits, target_logits, *, dim=1):
    p, q = logits.softmax(dim), target_logits.softmax(dim)
    return (p - q).cumsum(dim).abs().sum(dim) / 2


@MUTANTS.of("total_variation_distance", "probabilities cancel", killed_by="next to the optimum")
def _(logits, target_logits, *, dim=1):
    return (logits.softmax(dim) - target_logits.softmax(dim)).abs().sum(dim) / 2


@MUTANTS.of(
    "total_variation_distance",
    "the difference of rounded log-probabilities",
    killed_by="next to the optimum",
)
def _(logits, target_logits, *, dim=1):
    log_p, log_q = logs(logits, target_logits, dim=dim)
    larger = torch.maximum(log_p, log_q).exp()
    return (larger * -(-(log_p - log_q).abs()).expm1()).sum(dim) / 2


@MUTANTS.of("total_variation_distance", "the target detached", killed_by="gradient")
def _(logits, target_logits, *, dim=1):
    return total_variation_distance(logits, target_logits.detach(), dim=dim)


@MUTANTS.of("total_variation_distance", "the last axis, whatever dim says", killed_by="shapes")
def _(logits, target_logits, **_):
    return total_variation_distance(logits, target_logits, dim=-1)


@MUTANTS.of("total_variation_distance", "one target broadcast", killed_by="errors")
def _(logits, target_logits, *, dim=1):
    return (logits.softmax(dim) - target_logits.softmax(-1)).abs().sum(dim) / 2
