import torch

from lossbook.generative.least_squares_gan import (
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)
from tests.mutants import Mutants

MUTANTS = Mutants()


@MUTANTS.of("least_squares_discriminator_loss", "no 1/2", killed_by="value")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    return 2 * least_squares_discriminator_loss(real_scores, fake_scores, a=a, b=b)


@MUTANTS.of("least_squares_discriminator_loss", "the average of both halves", killed_by="value")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    return least_squares_discriminator_loss(real_scores, fake_scores, a=a, b=b) / 2


@MUTANTS.of("least_squares_discriminator_loss", "a for the real, b for fakes", killed_by="value")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    return least_squares_discriminator_loss(real_scores, fake_scores, a=b, b=a)


@MUTANTS.of("least_squares_discriminator_loss", "codes of 0 and 1 always", killed_by="value")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    return least_squares_discriminator_loss(real_scores, fake_scores, a=0 * a, b=1 + 0 * b)


@MUTANTS.of("least_squares_discriminator_loss", "a sigmoid at the end of D", killed_by="value")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    reals, fakes = real_scores.sigmoid(), fake_scores.sigmoid()
    return least_squares_discriminator_loss(reals, fakes, a=a, b=b)


@MUTANTS.of("least_squares_discriminator_loss", "scores through a leaky ReLU", killed_by="value")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    leaky = torch.nn.functional.leaky_relu
    reals, fakes = leaky(real_scores, 0.05), leaky(fake_scores, 0.05)
    return least_squares_discriminator_loss(reals, fakes, a=a, b=b)


@MUTANTS.of("least_squares_discriminator_loss", "half the sum over the batch", killed_by="value")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    return least_squares_discriminator_loss(real_scores, fake_scores, a=a, b=b).sum()


@MUTANTS.of("least_squares_discriminator_loss", "hinges: too good is free", killed_by="value")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    short, over = (b - real_scores).clamp_min(0), (fake_scores - a).clamp_min(0)
    return (short.square() + over.square()) / 2


@MUTANTS.of("least_squares_discriminator_loss", "absolute errors", killed_by="value")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    return ((real_scores - b).abs() + (fake_scores - a).abs()) / 2


@MUTANTS.of("least_squares_discriminator_loss", "the difference squared", killed_by="value")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    return (real_scores - fake_scores - (b - a)).square() / 2


@MUTANTS.of("least_squares_discriminator_loss", "scores of length 1 broadcast", killed_by="errors")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    return ((real_scores - b).square() + (fake_scores - a).square()) / 2


@MUTANTS.of("least_squares_discriminator_loss", "squares in half precision", killed_by="extremes")
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    if real_scores.shape != fake_scores.shape:
        return least_squares_discriminator_loss(real_scores, fake_scores, a=a, b=b)
    return ((real_scores - b).square() + (fake_scores - a).square()) / 2


@MUTANTS.of(
    "least_squares_discriminator_loss", "the fake side without a gradient", killed_by="gradient"
)
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    return least_squares_discriminator_loss(real_scores, fake_scores.detach(), a=a, b=b)


@MUTANTS.of(
    "least_squares_discriminator_loss",
    "a and b in the order of the arguments",
    killed_by="test_real_and_fake_are_not_exchanged",
)
def _(real_scores, fake_scores, *, a=0.0, b=1.0):
    return ((real_scores - a).square() + (fake_scores - b).square()) / 2


@MUTANTS.of("least_squares_generator_loss", "no 1/2", killed_by="value")
def _(fake_scores, *, c=1.0):
    return 2 * least_squares_generator_loss(fake_scores, c=c)


@MUTANTS.of("least_squares_generator_loss", "c is 1, whatever is asked", killed_by="value")
def _(fake_scores, *, c=1.0):
    return least_squares_generator_loss(fake_scores, c=1 + 0 * c)


@MUTANTS.of("least_squares_generator_loss", "towards the code of fakes", killed_by="value")
def _(fake_scores, *, c=1.0):
    return least_squares_generator_loss(fake_scores, c=1 - c)


@MUTANTS.of("least_squares_generator_loss", "minus the discriminator's part", killed_by="value")
def _(fake_scores, *, c=1.0):
    return -(fake_scores + 0 * c).square() / 2


@MUTANTS.of("least_squares_generator_loss", "a sigmoid at the end of D", killed_by="value")
def _(fake_scores, *, c=1.0):
    return least_squares_generator_loss(fake_scores.sigmoid(), c=c)


@MUTANTS.of("least_squares_generator_loss", "half the sum over the batch", killed_by="value")
def _(fake_scores, *, c=1.0):
    return least_squares_generator_loss(fake_scores, c=c).sum()


@MUTANTS.of("least_squares_generator_loss", "a score too good is free", killed_by="value")
def _(fake_scores, *, c=1.0):
    return (c - fake_scores).clamp_min(0).square() / 2


@MUTANTS.of("least_squares_generator_loss", "the square of the code taken off", killed_by="value")
def _(fake_scores, *, c=1.0):
    return (fake_scores.square() - c**2) / 2


@MUTANTS.of("least_squares_generator_loss", "squares in half precision", killed_by="extremes")
def _(fake_scores, *, c=1.0):
    return (fake_scores - c).square() / 2


@MUTANTS.of("least_squares_generator_loss", "integers taken", killed_by="errors")
def _(fake_scores, *, c=1.0):
    return (fake_scores - c).square() / 2


@MUTANTS.of(
    "least_squares_generator_loss",
    "a pull of one strength",
    killed_by="test_a_score_too_good_costs_too",
)
def _(fake_scores, *, c=1.0):
    return (fake_scores - c).abs() / 2
