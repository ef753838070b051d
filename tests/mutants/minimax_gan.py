import torch
from torch.nn import functional as F

from lossbook.generative.minimax_gan import (
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
)
from tests.mutants import Mutants

MUTANTS = Mutants()


def called(logits, label):
    labels = torch.full_like(logits, label)
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


@MUTANTS.of("minimax_discriminator_loss", "real and fake exchanged", killed_by="value")
def _(real_logits, fake_logits):
    return minimax_discriminator_loss(fake_logits, real_logits)


@MUTANTS.of("minimax_discriminator_loss", "maximized, as the paper writes it", killed_by="value")
def _(real_logits, fake_logits):
    return -minimax_discriminator_loss(real_logits, fake_logits)


@MUTANTS.of("minimax_discriminator_loss", "half of the sum", killed_by="value")
def _(real_logits, fake_logits):
    return minimax_discriminator_loss(real_logits, fake_logits) / 2


@MUTANTS.of("minimax_discriminator_loss", "the fakes called real, too", killed_by="value")
def _(real_logits, fake_logits):
    return called(real_logits, 1.0) + called(fake_logits, 1.0)


@MUTANTS.of("minimax_discriminator_loss", "real labels smoothed to 0.9", killed_by="value")
def _(real_logits, fake_logits):
    return called(real_logits, 0.9) + called(fake_logits, 0.0)


@MUTANTS.of("minimax_discriminator_loss", "a sigmoid before the loss", killed_by="value")
def _(real_logits, fake_logits):
    return minimax_discriminator_loss(real_logits.sigmoid(), fake_logits.sigmoid())


@MUTANTS.of("minimax_discriminator_loss", "log of 1 - sigmoid", killed_by="value")
def _(real_logits, fake_logits):
    return -real_logits.sigmoid().log() - (1 - fake_logits.sigmoid()).log()


@MUTANTS.of("minimax_discriminator_loss", "an epsilon in the logarithms", killed_by="value")
def _(real_logits, fake_logits):
    return -(real_logits.sigmoid() + 1e-8).log() - (1 - fake_logits.sigmoid() + 1e-8).log()


@MUTANTS.of("minimax_discriminator_loss", "exponentials that overflow", killed_by="value")
def _(real_logits, fake_logits):
    return (1 + (-real_logits).exp()).log() + (1 + fake_logits.exp()).log()


@MUTANTS.of("minimax_discriminator_loss", "already averaged", killed_by="value")
def _(real_logits, fake_logits):
    return called(real_logits, 1.0).mean() + called(fake_logits, 0.0).mean()


@MUTANTS.of("minimax_discriminator_loss", "the two sides joined, not added", killed_by="value")
def _(real_logits, fake_logits):
    return torch.cat([called(real_logits, 1.0), called(fake_logits, 0.0)])


@MUTANTS.of("minimax_discriminator_loss", "(N, 1) against (N,) broadcasts", killed_by="errors")
def _(real_logits, fake_logits):
    return F.softplus(-real_logits) + F.softplus(fake_logits)


@MUTANTS.of("minimax_discriminator_loss", "the fake side without a gradient", killed_by="gradient")
def _(real_logits, fake_logits):
    return minimax_discriminator_loss(real_logits, fake_logits.detach())


@MUTANTS.of("minimax_discriminator_loss", "float32 from half precision", killed_by="bfloat16")
def _(real_logits, fake_logits):
    if real_logits.dtype == torch.float64:
        return minimax_discriminator_loss(real_logits, fake_logits)
    return minimax_discriminator_loss(real_logits.float(), fake_logits.float())


@MUTANTS.of("minimax_generator_loss", "the sign of the descent lost", killed_by="value")
def _(fake_logits):
    return -minimax_generator_loss(fake_logits)


@MUTANTS.of("minimax_generator_loss", "1 - log D: the gradient of -log D", killed_by="value")
def _(fake_logits):
    return 1 - F.logsigmoid(fake_logits)


@MUTANTS.of("minimax_generator_loss", "the non-saturating loss under this name", killed_by="value")
def _(fake_logits):
    return non_saturating_generator_loss(fake_logits)


@MUTANTS.of("minimax_generator_loss", "log D, to be maximized", killed_by="value")
def _(fake_logits):
    return F.logsigmoid(fake_logits)


@MUTANTS.of("minimax_generator_loss", "log of 1 - sigmoid", killed_by="value")
def _(fake_logits):
    return (1 - fake_logits.sigmoid()).log()


@MUTANTS.of("minimax_generator_loss", "clamped at -100, as torch's BCE", killed_by="value")
def _(fake_logits):
    return minimax_generator_loss(fake_logits).clamp_min(-100)


@MUTANTS.of("minimax_generator_loss", "a sigmoid before the loss", killed_by="value")
def _(fake_logits):
    return minimax_generator_loss(fake_logits.sigmoid())


@MUTANTS.of("minimax_generator_loss", "already averaged", killed_by="value")
def _(fake_logits):
    return minimax_generator_loss(fake_logits).mean()


@MUTANTS.of("minimax_generator_loss", "the generator detached", killed_by="gradient")
def _(fake_logits):
    return minimax_generator_loss(fake_logits.detach()) + 0 * fake_logits


@MUTANTS.of("minimax_generator_loss", "integers taken", killed_by="errors")
def _(fake_logits):
    return minimax_generator_loss(
        fake_logits.to(torch.promote_types(fake_logits.dtype, torch.half))
    )


@MUTANTS.of("non_saturating_generator_loss", "the sign of the ascent", killed_by="value")
def _(fake_logits):
    return -non_saturating_generator_loss(fake_logits)


@MUTANTS.of("non_saturating_generator_loss", "the saturating loss", killed_by="value")
def _(fake_logits):
    return minimax_generator_loss(fake_logits)


@MUTANTS.of("non_saturating_generator_loss", "what the discriminator pays", killed_by="value")
def _(fake_logits):
    return called(fake_logits, 0.0)


@MUTANTS.of("non_saturating_generator_loss", "fakes called 0.9 real", killed_by="value")
def _(fake_logits):
    return called(fake_logits, 0.9)


@MUTANTS.of("non_saturating_generator_loss", "log of a sigmoid that is 0", killed_by="value")
def _(fake_logits):
    return -fake_logits.sigmoid().log()


@MUTANTS.of("non_saturating_generator_loss", "clamped at 100, as torch's BCE", killed_by="value")
def _(fake_logits):
    return F.binary_cross_entropy(
        fake_logits.sigmoid(), torch.ones_like(fake_logits), reduction="none"
    )


@MUTANTS.of("non_saturating_generator_loss", "an epsilon in the logarithm", killed_by="value")
def _(fake_logits):
    return -(fake_logits.sigmoid() + 1e-8).log()


@MUTANTS.of("non_saturating_generator_loss", "a sigmoid before the loss", killed_by="value")
def _(fake_logits):
    return non_saturating_generator_loss(fake_logits.sigmoid())


@MUTANTS.of("non_saturating_generator_loss", "already averaged", killed_by="value")
def _(fake_logits):
    return non_saturating_generator_loss(fake_logits).mean()


@MUTANTS.of("non_saturating_generator_loss", "patches averaged", killed_by="value")
def _(fake_logits):
    return non_saturating_generator_loss(fake_logits).reshape(len(fake_logits), -1).mean(1)


@MUTANTS.of("non_saturating_generator_loss", "relu in place of softplus", killed_by="value")
def _(fake_logits):
    return F.relu(-fake_logits)


@MUTANTS.of(
    "non_saturating_generator_loss",
    "the paper's loss under the other name",
    killed_by="test_only_one_of_the_two_saturates",
)
def _(fake_logits):
    return minimax_generator_loss(fake_logits)
