import math

import numpy as np
import pytest
import torch

from lossbook.book.pages.speed import FORMULA
from lossbook.distribution.earth_mover import earth_mover_distance
from lossbook.generative.wasserstein_gan import (
    gradient_penalty,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
)
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


class Bowl:
    """The critic w x + q |x|^2 / 2, summed over a sample: its gradient is w + q x."""

    def __init__(self, w, q):
        self.w, self.q = w, q

    def __call__(self, x):
        return (self.w * x + self.q * x.square() / 2).flatten(1).sum(1)

    def gradient(self, x):
        return self.w + self.q * x


def pair(rng):
    return real(rng.normal(size=(4, 1))), real(rng.normal(size=(4, 1)))


def patches(rng):
    return real(rng.normal(size=(2, 1, 2, 3))), real(rng.normal(size=(2, 1, 2, 3)))


def fakes(rng):
    return (real(rng.normal(size=5)),)


def fake_patches(rng):
    return (real(rng.normal(size=(2, 1, 2, 3))),)


def points(rng):
    return Bowl(6.0, 0.5), real(rng.normal(size=(4, 3))), real(rng.normal(size=(4, 3)))


def images(rng):
    return Bowl(6.0, 0.5), *(real(rng.normal(size=(4, 2, 3, 2))) for _ in range(2))


def near(rng):
    """Samples at which the gradient of |x|^2 / 2, x, has a length near 1."""
    away = real(rng.normal(size=4)) * 10.0 ** -real(rng.integers(0, 7, 4))
    away[rng.integers(4)] = 0
    x = real(np.eye(4, 3)) * (1 + away)[:, None]
    return Bowl(0.0, 1.0), x, x.clone()


def mixture(real, fake, epsilon):
    share = epsilon.reshape(len(real), *[1] * (real.ndim - 1))
    return share, fake + share * (real - fake)


def penalty(critic, real, fake, target=1.0, epsilon=None):
    slopes = critic.gradient(mixture(real, fake, epsilon)[1])
    norms = np.asarray([(g * g).sum() ** 0.5 for g in slopes])
    return (norms - target) ** 2


def penalty_slope(critic, real, fake, target=1.0, epsilon=None):
    share, x = mixture(real, fake, epsilon)
    g = critic.gradient(x)
    norms = ((g * g).reshape(len(real), -1).sum(1) ** 0.5).reshape(share.shape)
    # Where g is 0 its norm has no slope.
    to_point = np.where(norms == 0, np.nan, 2 * (norms - target) / norms * g * critic.q)
    return share * to_point, (1 - share) * to_point


def one_by_one(critic, real, fake, target=1.0, epsilon=None):
    """The same by torch.func, a gradient for each sample by itself."""
    slope = torch.func.grad(lambda x: critic(x[None]).sum())
    slopes = torch.vmap(slope)(mixture(real, fake, epsilon)[1])
    return (slopes.flatten(1).norm(dim=1) - target) ** 2


PAIRS = {
    "far": (real([1e4, -1e4]), real([-1e4, 1e4])),
    "equal": (real([0.3, -2.0]), real([0.3, -2.0])),
    "nearly equal": (real([1e4]), real([1e4 + 1e-3])),
}
SHARES = real([0.2, 0.0, 1.0, 0.7])
# As many samples as epsilons; a zero gradient at the first, and one of length 1 at the second.
CORNERS = real([[-3.0, -3.0], [-1.0, -3.0], [1e4, -1e4], [0.0, 0.0]])


def cases():
    return [
        Case(
            loss=wasserstein_critic_loss,
            inputs=(pair, patches),
            reference=lambda real_scores, fake_scores: fake_scores - real_scores,
            adversarial=PAIRS,
            gradient=lambda r, f: (r * 0 - 1, f * 0 + 1),
            invariances={"a constant on all scores": lambda r, f: (r + 0.7, f + 0.7)},
            relations={
                "the sides exchanged": lambda loss, r, f: (loss(r, f), -loss(f, r)),
                "the generator's loss of both, subtracted": lambda loss, r, f: (
                    loss(r, f),
                    wasserstein_generator_loss(r) - wasserstein_generator_loss(f),
                ),
                "scores times 3": lambda loss, r, f: (loss(3 * r, 3 * f), 3 * loss(r, f)),
            },
            errors=[
                ((torch.zeros(3, 1), torch.zeros(3)), {}, r"of shape \(3, 1\), got \(3,\)"),
                ((torch.zeros(3), torch.zeros(1)), {}, r"fake_scores of shape \(3,\), got \(1,\)"),
                ((torch.zeros(3), torch.tensor(0.0)), {}, r"of shape \(3,\), got \(\)"),
                ((integer([1]), real([1.0])), {}, "floating real_scores, got torch.int64"),
                ((real([1.0]), integer([1])), {}, "floating fake_scores, got torch.int64"),
            ],
            exempt={"peers": "no library has a difference"},
            facts={
                "range": (-math.inf, math.inf),
                "chance": (PAIRS["equal"], 0.0, "equal scores"),
                "convex": True,
            },
        ),
        Case(
            loss=wasserstein_generator_loss,
            inputs=(fakes, fake_patches),
            reference=lambda fake_scores: 0 - fake_scores,
            adversarial={"far": (real([1e4, -1e4, 0.0]),)},
            gradient=lambda f: f * 0 - 1,
            relations={
                "the fake's part of the critic's loss, negated": lambda loss, f: (
                    loss(f),
                    -wasserstein_critic_loss(torch.zeros_like(f), f),
                ),
            },
            errors=[((integer([1]),), {}, "floating fake_scores, got torch.int64")],
            exempt={"peers": "no library has a minus sign"},
            facts={
                "range": (-math.inf, math.inf),
                "chance": ((real([0.0]),), 0.0, "a score of 0"),
                "convex": True,
            },
        ),
        Case(
            loss=gradient_penalty,
            inputs=(points, images),
            reference=penalty,
            settings=(
                {"epsilon": SHARES},
                {"epsilon": 1 - SHARES, "target": 0.0},
                {"epsilon": SHARES, "target": 2.5},
            ),
            adversarial={
                "a zero gradient": (Bowl(1.5, 0.5), CORNERS, CORNERS),
                "a flat critic": (Bowl(0.0, 0.0), CORNERS, CORNERS),
                "far": (Bowl(1.5, 0.5), 1e4 * CORNERS, -1e4 * CORNERS),
            },
            gradient=penalty_slope,
            ranges={"target": (0.0, 3.0)},
            near=near,
            batch=(1, 2, "epsilon"),
            # The critic computes in half precision.
            tolerances={"float16": 2e-3, "bfloat16": 1.6e-2},
            peers={"torch func": one_by_one},
            invariances={
                "a constant on all scores": lambda critic, r, f: (
                    lambda x: critic(x) + 7,
                    r,
                    f,
                ),
                "critic turned over": lambda critic, r, f: (lambda x: -critic(x), r, f),
                "samples of another shape": lambda critic, r, f: (
                    critic,
                    *(x.reshape(4, 1, -1, 1) for x in (r, f)),
                ),
            },
            relations={
                "an epsilon of 1 is the real, 0 the fake": lambda loss, critic, r, f: (
                    torch.cat([loss(critic, r, f, epsilon=torch.full((4,), e)) for e in (1.0, 0)]),
                    torch.cat([loss(critic, x, x, epsilon=SHARES) for x in (r, f)]),
                ),
                "the sides exchanged": lambda loss, critic, r, f: (
                    loss(critic, r, f, epsilon=SHARES),
                    loss(critic, f, r, epsilon=1 - SHARES),
                ),
                "a critic times 3 reaches 3 times the target": lambda loss, critic, r, f: (
                    loss(lambda x: 3 * critic(x), r, f, epsilon=SHARES, target=3.0),
                    9 * loss(critic, r, f, epsilon=SHARES),
                ),
                "a score per patch is their sum": lambda loss, critic, r, f: (
                    loss(lambda x: critic.w * x + critic.q * x**2 / 2, r, f, epsilon=SHARES),
                    loss(critic, r, f, epsilon=SHARES),
                ),
            },
            errors=[
                (
                    (Bowl(1, 1), torch.zeros(4, 3), torch.zeros(4, 1)),
                    {},
                    r"fake of shape \(4, 3\), got torch.float32 \(4, 1\)",
                ),
                (
                    (Bowl(1, 1), torch.zeros(4, 3), torch.zeros(1, 3)),
                    {},
                    r"fake of shape \(4, 3\), got torch.float32 \(1, 3\)",
                ),
                ((Bowl(1, 1), torch.tensor(0.0), torch.tensor(0.0)), {}, r"shape \(N, \*\), got"),
                (
                    (Bowl(1, 1), integer([[1]]), integer([[1]])),
                    {},
                    r"floating real .* got torch.int64 \(1, 1\)",
                ),
                (
                    (Bowl(1, 1), torch.zeros(4, 3), torch.zeros(4, 3)),
                    {"epsilon": torch.rand(4, 1)},
                    r"epsilon of shape \(4,\) or None",
                ),
                (
                    (Bowl(1, 1), torch.zeros(4, 3), integer(np.zeros((4, 3)))),
                    {},
                    r"floating fake .* got torch.int64 \(4, 3\)",
                ),
                (
                    (Bowl(1, 1), torch.zeros(4, 3), torch.zeros(4, 3)),
                    {"target": torch.ones(4)},
                    r"target of shape \(\), got \(4,\)",
                ),
                (
                    (Bowl(1, 1), torch.zeros(4, 3), torch.zeros(4, 3)),
                    {"epsilon": torch.rand(1)},
                    r"epsilon of shape \(4,\) or None",
                ),
                (
                    (Bowl(1, 1), torch.zeros(4, 3), torch.zeros(4, 3)),
                    {"epsilon": 0.5},
                    r"epsilon of shape \(4,\) or None, got 0.5",
                ),
                (
                    (lambda x: x.mean(), torch.zeros(4, 3), torch.zeros(4, 3)),
                    {},
                    r"a score per sample from critic, got \(\) for 4 samples",
                ),
            ],
            facts={
                "range": (0.0, math.inf),
                # At a zero gradient, the square of the target.
                "chance": (
                    (Bowl(0.0, 1.0), torch.zeros(4, 3), torch.zeros(4, 3)),
                    1.0,
                    "a zero gradient: the target squared",
                ),
                "perfect": (
                    (Bowl(0.5, 0.0), torch.zeros(4, 2, 2), torch.ones(4, 2, 2)),
                    0.0,
                ),
            },
            exempt={
                "vmap": "autograd inside",
                "compile": "autograd inside",
                "inductor": "autograd inside",
                "export": "autograd inside",
                "modes/forward mode": "autograd inside",
                "modes/torch.func.grad": "autograd inside",
                "modes/torch.func.hessian": "autograd inside",
                "facts/passes": "it repeats the samples, and not their epsilons",
            },
        ),
    ]


def plain_penalty(critic, real, fake):
    share = torch.linspace(0, 1, len(real), device=real.device)[:, None]
    points = share * real + (1 - share) * fake
    (slopes,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return ((slopes.norm(2, dim=1) - 1) ** 2).mean()


def rows():
    layers = torch.nn.Linear(784, 256), torch.nn.Softplus(), torch.nn.Linear(256, 1)
    critic = torch.nn.Sequential(*layers)
    many = {"shape": "{}", "n": bench.M, "slower": "a value for each: one more pass each way"}
    return [
        Row(
            wasserstein_critic_loss,
            inputs=lambda n: (bench.leaf(n), bench.leaf(n)),
            peers={FORMULA: lambda r, f: f.mean() - r.mean()},
            **many,
        ),
        Row(
            wasserstein_generator_loss,
            inputs=lambda n: (bench.leaf(n),),
            peers={FORMULA: lambda f: -f.mean()},
            **many,
        ),
        Row(
            gradient_penalty,
            shape="{} x 784, a critic of two layers",
            n=256,
            inputs=lambda n: (critic, bench.leaf(n, 784), bench.leaf(n, 784)),
            settings={"epsilon": torch.linspace(0, 1, 256)},
            peers={FORMULA: plain_penalty},
            compiled=False,
        ),
    ]


def test_values_by_hand():
    assert wasserstein_critic_loss(real([2.0]), real([-1.0])).item() == -3
    assert wasserstein_generator_loss(real([-1.0])).item() == 1
    # A slope of (3, 4) has length 5: (5 - 1)^2, and with the other targets 5^2 and 0.
    slope, x = real([3.0, 4.0]), real([[1.0, 2.0], [3.0, 4.0]])
    for target, expected in ((1.0, 16), (0.0, 25), (5.0, 0)):
        losses = gradient_penalty(lambda x: x @ slope, x, -x, target=target)
        assert losses.tolist() == [expected] * 2


def test_critic_learns_to_score_the_real_higher():
    scores = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    loss = wasserstein_critic_loss(scores[:1], scores[1:]).sum()
    (slope,) = torch.autograd.grad(loss, scores)
    assert slope.tolist() == [-1, 1]


def test_best_critic_of_slope_one_finds_the_distance():
    # On a line of unit bins the best critic climbs by 1 towards the real at each step.
    p, q = real([[0.1, 0.6, 0.1, 0.2]]), real([[0.4, 0.1, 0.3, 0.2]])
    steps = -(p - q).cumsum(1).sign()[:, :-1]
    critic = torch.cat([torch.zeros(1, 1), steps.cumsum(1)], 1)
    loss = wasserstein_critic_loss((p * critic).sum(1), (q * critic).sum(1))
    torch.testing.assert_close(-loss, earth_mover_distance(p, q))


def test_norm_is_over_all_but_the_batch():
    # A critic with gradient 1 / sqrt(12) at each of 12 numbers has slope 1.
    def critic(x):
        return x.flatten(1).sum(1) / math.sqrt(12)

    x = torch.randn(5, 3, 2, 2, dtype=torch.float64)
    assert gradient_penalty(critic, x, -x).abs().max().item() < 1e-30


def test_one_epsilon_per_sample():
    # With fakes of 0 and ones for the real, the gradient x is epsilon at each place of a sample.
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.square().flatten(1).sum(1) / 2

    torch.manual_seed(0)
    gradient_penalty(critic, torch.ones(1000, 2, 3), torch.zeros(1000, 2, 3))
    shares = seen[0].flatten(1)
    assert (shares == shares[:, :1]).all()
    assert shares[:, 0].unique().numel() > 900
    # Uniform: its mean is 1/2 and its variance 1/12, both within four standard errors.
    assert shares.mean().item() == pytest.approx(0.5, abs=0.037)
    assert shares[:, 0].var().item() == pytest.approx(1 / 12, abs=0.01)
    assert shares.min() >= 0
    assert shares.max() <= 1


def test_parameters_of_the_critic_get_the_gradient():
    # d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|, for w = (3, 4) 8 (0.6, 0.8).
    critic = torch.nn.Linear(2, 1).double()
    with torch.no_grad():
        critic.weight.copy_(real([[3.0, 4.0]]))
    x = real([[1.0, 2.0], [0.0, -1.0]])
    gradient_penalty(critic, x, -x).mean().backward()
    torch.testing.assert_close(critic.weight.grad, real([[4.8, 6.4]]))


def test_a_zero_gradient_is_safe_for_the_parameters():
    critic = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    torch.nn.init.zeros_(critic[2].weight)
    losses = gradient_penalty(critic, torch.ones(2, 3), torch.zeros(2, 3))
    assert losses.tolist() == [1, 1]
    losses.sum().backward()
    assert all(w.grad is None or w.grad.isfinite().all() for w in critic.parameters())
    assert critic[2].weight.grad is not None


def test_without_gradients_it_still_measures():
    critic, x, y = Bowl(1.5, 0.5), torch.ones(4, 3), torch.zeros(4, 3)
    expected = gradient_penalty(critic, x, y, epsilon=SHARES)
    with torch.no_grad():
        losses = gradient_penalty(critic, x, y, epsilon=SHARES)
        assert not torch.is_grad_enabled()
    assert not losses.requires_grad
    assert losses.equal(expected.detach())


def test_a_detached_fake_gets_nothing():
    x, y = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    gradient_penalty(Bowl(1.5, 0.5), x, y.detach(), epsilon=SHARES).sum().backward()
    assert x.grad is not None
    assert y.grad is None


def test_points_between_far_samples_in_half_precision():
    # 4e4 - -4e4 has no place in float16, the point three quarters of the way has.
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.sum(1)

    x = torch.full((2, 3), 4e4).half()
    gradient_penalty(critic, x, -x, epsilon=torch.full((2,), 0.75))
    assert (seen[0].dtype, seen[0].tolist()) == (torch.float16, [[2e4] * 3] * 2)


def test_a_norm_near_the_target_in_half_precision():
    # The slope (1, 3/16) has length 1.01743, which float16 rounds to 1.01758.
    slope, x = torch.tensor([1, 3 / 16]).half(), torch.zeros(1, 2).half()
    loss = gradient_penalty(lambda x: x @ slope, x, x).item()
    assert loss == pytest.approx((math.hypot(1, 3 / 16) - 1) ** 2, rel=1e-3)


def test_samples_of_one_number():
    losses = gradient_penalty(lambda x: x**3 / 3, real([2.0, 1.0]), real([2.0, 1.0]))
    assert losses.tolist() == [9, 0]


def test_one_sample_may_give_one_bare_score():
    assert gradient_penalty(lambda x: (2 * x).sum(), torch.ones(1, 1), torch.ones(1, 1)).item() == 1


def test_critic_that_ignores_the_samples_raises():
    weight = torch.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="to not have been used"):
        gradient_penalty(lambda x: weight.expand(len(x)), torch.ones(2, 3), torch.zeros(2, 3))
