from torch.nn import functional as F

from lossbook.preference.bradley_terry import bradley_terry_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def lead(chosen, rejected, margins=None):
    return chosen - rejected - (0 if margins is None else margins)


@MUTANTS.of("bradley_terry_loss", "chosen and rejected exchanged", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    return bradley_terry_loss(rejected_rewards, chosen_rewards, margins)


@MUTANTS.of("bradley_terry_loss", "the margin added", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    margins = None if margins is None else -margins
    return bradley_terry_loss(chosen_rewards, rejected_rewards, margins)


@MUTANTS.of("bradley_terry_loss", "the margin ignored", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    if margins is not None and margins.shape != chosen_rewards.shape:
        raise ValueError("expected margins of another shape, got these")
    return bradley_terry_loss(chosen_rewards, rejected_rewards)


@MUTANTS.of("bradley_terry_loss", "exp overflows", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    return (1 + (-lead(chosen_rewards, rejected_rewards, margins)).exp()).log()


@MUTANTS.of("bradley_terry_loss", "the logarithm of a sigmoid that underflows", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    return -lead(chosen_rewards, rejected_rewards, margins).sigmoid().log()


@MUTANTS.of("bradley_terry_loss", "1e-8 in the logarithm", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    return -(lead(chosen_rewards, rejected_rewards, margins).sigmoid() + 1e-8).log()


@MUTANTS.of("bradley_terry_loss", "a hinge", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    return (1 - lead(chosen_rewards, rejected_rewards, margins)).clamp_min(0)


@MUTANTS.of("bradley_terry_loss", "no logarithm", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    return (-lead(chosen_rewards, rejected_rewards, margins)).sigmoid()


@MUTANTS.of("bradley_terry_loss", "its sign", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    return -bradley_terry_loss(chosen_rewards, rejected_rewards, margins)


@MUTANTS.of("bradley_terry_loss", "each answer against 0", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    margin = 0 if margins is None else margins
    return -F.logsigmoid(chosen_rewards - margin) - F.logsigmoid(-rejected_rewards)


@MUTANTS.of("bradley_terry_loss", "rewards centered at 0 as well", killed_by="invariances")
def _(chosen_rewards, rejected_rewards, margins=None):
    losses = bradley_terry_loss(chosen_rewards, rejected_rewards, margins)
    return losses + 0.01 * (chosen_rewards + rejected_rewards) ** 2


@MUTANTS.of("bradley_terry_loss", "averaged over the batch", killed_by="value")
def _(chosen_rewards, rejected_rewards, margins=None):
    return bradley_terry_loss(chosen_rewards, rejected_rewards, margins).mean()


@MUTANTS.of("bradley_terry_loss", "the rejected reward detached", killed_by="gradient")
def _(chosen_rewards, rejected_rewards, margins=None):
    return bradley_terry_loss(chosen_rewards, rejected_rewards.detach(), margins)


@MUTANTS.of("bradley_terry_loss", "every pair of the batch", killed_by="errors")
def _(chosen_rewards, rejected_rewards, margins=None):
    return -F.logsigmoid(lead(chosen_rewards, rejected_rewards, margins))


@MUTANTS.of("bradley_terry_loss", "rewards of a half subtracted in it", killed_by="dtypes")
def _(chosen_rewards, rejected_rewards, margins=None):
    half = chosen_rewards.dtype
    margins = None if margins is None else margins.to(half)
    return -F.logsigmoid(lead(chosen_rewards, rejected_rewards.to(half), margins))


@MUTANTS.of("bradley_terry_loss", "minus zero", killed_by="test_a_pair_that_is_won_costs_0")
def _(chosen_rewards, rejected_rewards, margins=None):
    return -F.logsigmoid(lead(chosen_rewards, rejected_rewards, margins))
