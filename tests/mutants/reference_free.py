from torch.nn import functional as F

from lossbook.preference.reference_free import orpo_loss, simpo_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


@MUTANTS.of("simpo_loss", "chosen and rejected exchanged", killed_by="value")
def _(chosen, rejected, **settings):
    return simpo_loss(rejected, chosen, **settings)


@MUTANTS.of("simpo_loss", "gamma inside of beta", killed_by="value")
def _(chosen, rejected, *, beta=2.0, gamma=0.5):
    return -F.logsigmoid(beta * (chosen - rejected - gamma))


@MUTANTS.of("simpo_loss", "gamma taken for the ratio gamma / beta", killed_by="value")
def _(chosen, rejected, *, beta=2.0, gamma=0.25):
    return -F.logsigmoid(beta * (chosen - rejected) - gamma * beta)


@MUTANTS.of("simpo_loss", "gamma added", killed_by="value")
def _(chosen, rejected, *, beta=2.0, gamma=0.5):
    return -F.logsigmoid(beta * (chosen - rejected) + gamma)


@MUTANTS.of("simpo_loss", "TRL's beta", killed_by="value")
def _(chosen, rejected, *, beta=0.1, gamma=0.5):
    return simpo_loss(chosen, rejected, beta=beta, gamma=gamma)


@MUTANTS.of("simpo_loss", "no margin", killed_by="value")
def _(chosen, rejected, *, beta=2.0, **_):
    return -F.logsigmoid(beta * (chosen - rejected))


@MUTANTS.of("simpo_loss", "a hinge", killed_by="value")
def _(chosen, rejected, *, beta=2.0, gamma=0.5):
    return (gamma - beta * (chosen - rejected)).clamp_min(0)


@MUTANTS.of("simpo_loss", "the likelihood of the chosen added", killed_by="value")
def _(chosen, rejected, **settings):
    return simpo_loss(chosen, rejected, **settings) - chosen


@MUTANTS.of("simpo_loss", "exp overflows", killed_by="value")
def _(chosen, rejected, *, beta=2.0, gamma=0.5):
    return (1 + (gamma - beta * (chosen - rejected)).exp()).log()


@MUTANTS.of("simpo_loss", "the rejected answer detached", killed_by="gradient")
def _(chosen, rejected, **settings):
    return simpo_loss(chosen, rejected.detach(), **settings)


@MUTANTS.of("simpo_loss", "every pair of the batch", killed_by="errors")
def _(chosen, rejected, *, beta=2.0, gamma=0.5):
    return -F.logsigmoid(beta * (chosen - rejected) - gamma)


def log_odds(log_p):
    return log_p - (-log_p.expm1()).log()


@MUTANTS.of("orpo_loss", "no likelihood", killed_by="value")
def _(chosen, rejected, *, lam=0.1):
    return orpo_loss(chosen, rejected, lam=lam) + chosen


@MUTANTS.of("orpo_loss", "the odds term subtracted", killed_by="value")
def _(chosen, rejected, *, lam=0.1):
    return 2 * -chosen - orpo_loss(chosen, rejected, lam=lam)


@MUTANTS.of("orpo_loss", "probabilities, not odds", killed_by="value")
def _(chosen, rejected, *, lam=0.1):
    return -chosen - lam * F.logsigmoid(chosen - rejected)


@MUTANTS.of("orpo_loss", "the odds exchanged", killed_by="value")
def _(chosen, rejected, *, lam=0.1):
    return orpo_loss(rejected, chosen, lam=lam) + rejected - chosen


@MUTANTS.of("orpo_loss", "the likelihood of the rejected", killed_by="value")
def _(chosen, rejected, *, lam=0.1):
    return orpo_loss(chosen, rejected, lam=lam) + chosen - rejected


@MUTANTS.of("orpo_loss", "lam on both terms", killed_by="value")
def _(chosen, rejected, *, lam=0.1):
    return lam * orpo_loss(chosen, rejected, lam=1.0)


@MUTANTS.of("orpo_loss", "no lam", killed_by="value")
def _(chosen, rejected, *, lam=1.0):
    return orpo_loss(chosen, rejected, lam=lam)


@MUTANTS.of("orpo_loss", "the ratio of odds without its logarithm", killed_by="value")
def _(chosen, rejected, *, lam=0.1):
    return lam * (-(log_odds(chosen) - log_odds(rejected)).sigmoid() + 1) - chosen


@MUTANTS.of("orpo_loss", "log1p(-exp) has no digits", killed_by="value")
def _(chosen, rejected, *, lam=0.1):
    odds = [x - (-x.exp()).log1p() for x in (chosen, rejected)]
    return -chosen - lam * F.logsigmoid(odds[0] - odds[1])


@MUTANTS.of(
    "orpo_loss",
    "a slope of nan at 1",
    killed_by="test_a_chosen_answer_that_is_certain_has_a_finite_slope",
)
def _(chosen, rejected, *, lam=0.1):
    return -chosen - lam * F.logsigmoid(log_odds(chosen) - log_odds(rejected))


@MUTANTS.of("orpo_loss", "a sum that cancels", killed_by="next to the optimum")
def _(chosen, rejected, *, lam=0.1):
    p, q = chosen.exp(), rejected.exp()
    odds = (p * (1 - q) + q * (1 - p)).log() - chosen - (1 - q).log()
    return lam * odds - chosen


@MUTANTS.of("orpo_loss", "clipped at a probability of 0.999", killed_by="value")
def _(chosen, rejected, *, lam=0.1):
    kept = (x.clamp_max(-1e-3) for x in (chosen, rejected))
    return orpo_loss(*kept, lam=lam)


@MUTANTS.of("orpo_loss", "the rejected answer detached", killed_by="gradient")
def _(chosen, rejected, *, lam=0.1):
    return orpo_loss(chosen, rejected.detach(), lam=lam)


@MUTANTS.of("orpo_loss", "a negative lam accepted", killed_by="errors")
def _(chosen, rejected, *, lam=0.1):
    return -chosen - lam * F.logsigmoid(log_odds(chosen) - log_odds(rejected))
