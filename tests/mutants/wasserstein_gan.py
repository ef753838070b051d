import torch

from lossbook.generative.wasserstein_gan import (
    gradient_penalty,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
)
from tests.mutants import Mutants

MUTANTS = Mutants()


@MUTANTS.of("wasserstein_critic_loss", "real - fake, as it is maximized", killed_by="value")
def _(real_scores, fake_scores):
    return wasserstein_critic_loss(fake_scores, real_scores)


@MUTANTS.of("wasserstein_critic_loss", "the distance: no sign", killed_by="value")
def _(real_scores, fake_scores):
    return wasserstein_critic_loss(real_scores, fake_scores).abs()


@MUTANTS.of("wasserstein_critic_loss", "the sum of both", killed_by="value")
def _(real_scores, fake_scores):
    return real_scores + fake_scores


@MUTANTS.of("wasserstein_critic_loss", "half of the difference", killed_by="value")
def _(real_scores, fake_scores):
    return wasserstein_critic_loss(real_scores, fake_scores) / 2


@MUTANTS.of("wasserstein_critic_loss", "a sigmoid at the end of the critic", killed_by="value")
def _(real_scores, fake_scores):
    return wasserstein_critic_loss(real_scores.sigmoid(), fake_scores.sigmoid())


@MUTANTS.of("wasserstein_critic_loss", "already averaged", killed_by="value")
def _(real_scores, fake_scores):
    return wasserstein_critic_loss(real_scores, fake_scores).mean()


@MUTANTS.of("wasserstein_critic_loss", "the mean fake under each real", killed_by="value")
def _(real_scores, fake_scores):
    return fake_scores.mean() - real_scores


@MUTANTS.of("wasserstein_critic_loss", "hinges", killed_by="value")
def _(real_scores, fake_scores):
    return (1 - real_scores).clamp_min(0) + (1 + fake_scores).clamp_min(0)


@MUTANTS.of("wasserstein_critic_loss", "a drift term that comes along", killed_by="value")
def _(real_scores, fake_scores):
    return wasserstein_critic_loss(real_scores, fake_scores) + 1e-3 * real_scores**2


@MUTANTS.of("wasserstein_critic_loss", "(N, 1) against (N,) broadcasts", killed_by="errors")
def _(real_scores, fake_scores):
    return fake_scores - real_scores


@MUTANTS.of("wasserstein_critic_loss", "the real side without a gradient", killed_by="gradient")
def _(real_scores, fake_scores):
    return wasserstein_critic_loss(real_scores.detach(), fake_scores)


@MUTANTS.of(
    "wasserstein_critic_loss",
    "the real pushed down",
    killed_by="test_critic_learns_to_score_the_real_higher",
)
def _(real_scores, fake_scores):
    return real_scores - fake_scores


@MUTANTS.of("wasserstein_generator_loss", "the sign lost", killed_by="value")
def _(fake_scores):
    return -wasserstein_generator_loss(fake_scores)


@MUTANTS.of("wasserstein_generator_loss", "a sigmoid at the end of the critic", killed_by="value")
def _(fake_scores):
    return wasserstein_generator_loss(fake_scores.sigmoid())


@MUTANTS.of("wasserstein_generator_loss", "-log of the score's sigmoid", killed_by="value")
def _(fake_scores):
    return -torch.nn.functional.logsigmoid(fake_scores)


@MUTANTS.of("wasserstein_generator_loss", "a hinge in the generator", killed_by="value")
def _(fake_scores):
    return (1 - fake_scores).clamp_min(0)


@MUTANTS.of("wasserstein_generator_loss", "already averaged", killed_by="value")
def _(fake_scores):
    return wasserstein_generator_loss(fake_scores).mean()


@MUTANTS.of("wasserstein_generator_loss", "patches averaged", killed_by="value")
def _(fake_scores):
    return wasserstein_generator_loss(fake_scores).reshape(len(fake_scores), -1).mean(1)


@MUTANTS.of("wasserstein_generator_loss", "the distance: no sign", killed_by="value")
def _(fake_scores):
    return fake_scores.abs()


@MUTANTS.of("wasserstein_generator_loss", "centered on the batch", killed_by="value")
def _(fake_scores):
    return fake_scores.mean() - fake_scores


@MUTANTS.of("wasserstein_generator_loss", "the fakes detached", killed_by="gradient")
def _(fake_scores):
    return 0 * fake_scores - fake_scores.detach()


@MUTANTS.of("wasserstein_generator_loss", "integers taken", killed_by="errors")
def _(fake_scores):
    return -fake_scores


@MUTANTS.of(
    "wasserstein_generator_loss", "the scores negated in place", killed_by="inputs unchanged"
)
def _(fake_scores):
    return fake_scores.neg_() if fake_scores.is_floating_point() else -fake_scores


def penalty(
    critic,
    real,
    fake,
    target,
    epsilon,
    *,
    norm=lambda g: torch.linalg.vector_norm(g.flatten(1), dim=1),
    gap=lambda norms, target: (norms - target).square(),
    create_graph=True,
    between=lambda share, real, fake: share * real + (1 - share) * fake,
):
    """The penalty with one part exchanged; what is checked first is checked as it should be."""
    if real.dim() < 2 or fake.shape != real.shape or len(real) != len(torch.as_tensor(epsilon)):
        return gradient_penalty(critic, real, fake, target=target, epsilon=epsilon)
    share = epsilon.to(real.dtype).reshape(-1, *[1] * (real.dim() - 1))
    points = between(share, real, fake).requires_grad_()
    (slopes,) = torch.autograd.grad(critic(points).sum(), points, create_graph=create_graph)
    return gap(norm(slopes), target)


def drawn(real, epsilon):
    return torch.rand(len(real), dtype=real.dtype) if epsilon is None else epsilon


@MUTANTS.of("gradient_penalty", "norm over the channels alone", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    def norm(slopes):
        return slopes.norm(2, dim=1).reshape(len(slopes), -1).mean(1)

    return penalty(critic, real, fake, target, epsilon, norm=norm)


@MUTANTS.of("gradient_penalty", "the norm squared", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    def norm(slopes):
        return slopes.flatten(1).square().sum(1)

    return penalty(critic, real, fake, target, epsilon, norm=norm)


@MUTANTS.of("gradient_penalty", "times the paper's 10", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    return 10 * gradient_penalty(critic, real, fake, target=target, epsilon=epsilon)


@MUTANTS.of("gradient_penalty", "one-sided", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    def gap(norms, target):
        return (norms - target).clamp_min(0).square()

    return penalty(critic, real, fake, target, epsilon, gap=gap)


@MUTANTS.of("gradient_penalty", "the target is 1, whatever is asked", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    return gradient_penalty(critic, real, fake, target=1 + 0 * target, epsilon=epsilon)


@MUTANTS.of("gradient_penalty", "epsilon is the share of the fake", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    return gradient_penalty(critic, fake, real, target=target, epsilon=epsilon)


@MUTANTS.of("gradient_penalty", "real plus noise, no fake", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    def between(share, real, fake):
        return real + share * fake.std()

    return penalty(critic, real, fake, target, epsilon, between=between)


@MUTANTS.of("gradient_penalty", "one epsilon for the batch", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    epsilon = epsilon if epsilon is None or epsilon.dim() != 1 else epsilon[:1].expand(len(epsilon))
    return gradient_penalty(critic, real, fake, target=target, epsilon=epsilon)


@MUTANTS.of("gradient_penalty", "already averaged", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    return gradient_penalty(critic, real, fake, target=target, epsilon=epsilon).mean()


@MUTANTS.of("gradient_penalty", "not differentiable again", killed_by="gradient")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    losses = penalty(critic, real, fake, target, epsilon, create_graph=False)
    return losses + 0 * (real + fake).flatten(1).sum(1)


@MUTANTS.of("gradient_penalty", "a root of 0 has no slope", killed_by="extremes")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    def norm(slopes):
        return slopes.flatten(1).square().sum(1).sqrt()

    return penalty(critic, real, fake, target, epsilon, norm=norm)


@MUTANTS.of("gradient_penalty", "an epsilon under the root", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    def norm(slopes):
        return (slopes.flatten(1).square().sum(1) + 1e-6).sqrt()

    return penalty(critic, real, fake, target, epsilon, norm=norm)


@MUTANTS.of("gradient_penalty", "a mean over the coordinates in the norm", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    def norm(slopes):
        return slopes.flatten(1).square().mean(1).sqrt()

    return penalty(critic, real, fake, target, epsilon, norm=norm)


@MUTANTS.of("gradient_penalty", "the real samples detached", killed_by="gradient")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    return gradient_penalty(critic, real.detach(), fake, target=target, epsilon=epsilon)


@MUTANTS.of("gradient_penalty", "a mean score, a gradient N times too small", killed_by="value")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    return gradient_penalty(
        lambda x: critic(x) / len(x), real, fake, target=target, epsilon=epsilon
    )


@MUTANTS.of("gradient_penalty", "a fake of length 1 broadcasts", killed_by="errors")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    fake = fake.expand_as(real)
    return gradient_penalty(critic, real, fake, target=target, epsilon=epsilon)


@MUTANTS.of("gradient_penalty", "epsilon of length 1 broadcasts", killed_by="errors")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    if isinstance(epsilon, torch.Tensor) and epsilon.shape == (1,):
        epsilon = epsilon.expand(len(real))
    return gradient_penalty(critic, real, fake, target=target, epsilon=epsilon)


@MUTANTS.of("gradient_penalty", "the mean of the scores accepted", killed_by="errors")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    return gradient_penalty(
        lambda x: critic(x).reshape(-1)[:1].expand(len(x)),
        real,
        fake,
        target=target,
        epsilon=epsilon,
    )


@MUTANTS.of("gradient_penalty", "normal noise for epsilon", killed_by="test_one_epsilon_per_sample")
def _(critic, real, fake, *, target=1.0, epsilon=None):
    epsilon = torch.randn(len(real)) if epsilon is None else epsilon
    return gradient_penalty(critic, real, fake, target=target, epsilon=epsilon)


@MUTANTS.of(
    "gradient_penalty", "an epsilon for each number", killed_by="test_one_epsilon_per_sample"
)
def _(critic, real, fake, *, target=1.0, epsilon=None):
    shares = torch.rand_like(real)
    points = shares * real + (1 - shares) * fake
    ones = torch.ones(len(real)) if epsilon is None else epsilon
    return gradient_penalty(critic, points, points, target=target, epsilon=ones)


@MUTANTS.of(
    "gradient_penalty",
    "the critic's parameters get nothing",
    killed_by="test_parameters_of_the_critic_get_the_gradient",
)
def _(critic, real, fake, *, target=1.0, epsilon=None):
    epsilon = drawn(real, epsilon)
    losses = penalty(critic, real, fake, target, epsilon, create_graph=False)
    return losses + 0 * critic(real).sum()


@MUTANTS.of(
    "gradient_penalty",
    "nan for the parameters at a zero gradient",
    killed_by="test_a_zero_gradient_is_safe_for_the_parameters",
)
def _(critic, real, fake, *, target=1.0, epsilon=None):
    def norm(slopes):
        return slopes.flatten(1).square().sum(1).sqrt()

    return penalty(critic, real, fake, target, drawn(real, epsilon), norm=norm)


@MUTANTS.of(
    "gradient_penalty",
    "a graph under no_grad",
    killed_by="test_without_gradients_it_still_measures",
)
def _(critic, real, fake, *, target=1.0, epsilon=None):
    with torch.enable_grad():
        return gradient_penalty(critic, real, fake, target=target, epsilon=epsilon)
