import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.generative.least_squares_gan import (
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def scores(rng):
    return real(rng.normal(size=(4, 1))), real(rng.normal(size=(4, 1)))


def patches(rng):
    """A score per patch of an image."""
    return real(rng.normal(size=(2, 1, 2, 3))), real(rng.normal(size=(2, 1, 2, 3)))


def fakes(rng):
    return (real(rng.normal(size=5)),)


def fake_patches(rng):
    return (real(rng.normal(size=(2, 1, 2, 3))),)


def discriminator(real_scores, fake_scores, a=0.0, b=1.0):
    return 0.5 * (real_scores - b) ** 2 + 0.5 * (fake_scores - a) ** 2


def discriminator_slope(real_scores, fake_scores, a=0.0, b=1.0):
    return real_scores - b, fake_scores - a


def generator(fake_scores, c=1.0):
    return 0.5 * (fake_scores - c) ** 2


def generator_slope(fake_scores, c=1.0):
    return fake_scores - c


def half_mse(scores, label):
    return F.mse_loss(scores, torch.full_like(scores, label), reduction="none") / 2


def optax_half(scores, label):
    import optax

    scores = scores.float().numpy()
    return optax.losses.l2_loss(scores, np.full_like(scores, label))


def monai_half(scores, target_is_real, for_discriminator):
    from monai.losses import PatchAdversarialLoss

    # By default it sends the scores through a leaky ReLU, in which a score of -1 is -0.05.
    loss = PatchAdversarialLoss(
        criterion="least_squares", reduction="none", no_activation_leastsq=True
    )
    (losses,) = loss([scores], target_is_real, for_discriminator)
    return losses / 2


def steps(rng):
    """Distances from 1 down to 1e-6, and none."""
    away = real(rng.normal(size=(7, 3))) * 10.0 ** -torch.arange(7.0).double()[:, None]
    away[-1] = 0
    return away


def near(rng):
    return 1 + steps(rng), steps(rng)


def near_fakes(rng):
    return (1 + steps(rng),)


PAIRS = {
    "as coded": (real([1.0]), real([0.0])),
    "exchanged": (real([0.0]), real([1.0])),
    "far": (real([1e4, -1e4]), real([1e4, 1e4])),
    "squares that overflow float16, but not their half": (real([300.0]), real([0.0])),
    "squares overflow": (real([1e200]), real([-1e200])),
}
FAKES = {
    "as wanted": (real([1.0]),),
    "far": (real([1e4, -1e4, 0.0]),),
    "squares that overflow float16, but not their half": (real([300.0]),),
    "squares overflow": (real([-1e200]),),
}
PEARSON = {"a": -1.0, "b": 1.0}


def cases():
    return [
        Case(
            loss=least_squares_discriminator_loss,
            inputs=(scores, patches),
            reference=discriminator,
            settings=({}, PEARSON, {"a": 0.3, "b": 0.9}),
            adversarial=PAIRS,
            ranges={"a": (-1.0, 1.0), "b": (-1.0, 2.0)},
            near=near,
            gradient=discriminator_slope,
            relations={
                "half the squared errors of both": lambda loss, r, f: (
                    loss(r, f, a=0.3, b=0.9),
                    half_mse(r, 0.9) + half_mse(f, 0.3),
                ),
                "the sides exchanged with their numbers": lambda loss, r, f: (
                    loss(r, f, a=0.3, b=0.9),
                    loss(f, r, a=0.9, b=0.3),
                ),
                "the two codings differ by a scale of 2": lambda loss, r, f: (
                    4 * loss(r, f),
                    loss(2 * r - 1, 2 * f - 1, **PEARSON),
                ),
            },
            peers={
                "torch": lambda r, f, a=0.0, b=1.0: half_mse(r, b) + half_mse(f, a),
                "optax": lambda r, f, a=0.0, b=1.0: optax_half(r, b) + optax_half(f, a),
                "monai": lambda r, f, a=0.0, b=1.0: (
                    monai_half(r, True, True) + monai_half(f, False, True)
                    if (a, b) == (0, 1)
                    else NotImplemented
                ),
            },
            errors=[
                ((torch.zeros(3, 1), torch.zeros(3)), {}, r"of shape \(3, 1\), got \(3,\)"),
                ((torch.zeros(3), torch.zeros(1)), {}, r"fake_scores of shape \(3,\), got \(1,\)"),
                ((torch.zeros(3), torch.tensor(0.0)), {}, r"of shape \(3,\), got \(\)"),
                ((integer([1]), real([1.0])), {}, "floating real_scores, got torch.int64"),
                ((real([1.0]), integer([1])), {}, "floating fake_scores, got torch.int64"),
                (PAIRS["far"], {"a": torch.ones(2)}, r"a of shape \(\), got \(2,\)"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": (PAIRS["as coded"], 0.0),
                # Both get the number halfway: (1/2)^2 / 2, twice.
                "chance": ((real([0.5]), real([0.5])), 0.25, "both scores 1/2"),
                "convex": True,
            },
        ),
        Case(
            loss=least_squares_generator_loss,
            inputs=(fakes, fake_patches),
            reference=generator,
            settings=({}, {"c": 0.0}, {"c": 0.9}),
            adversarial=FAKES,
            ranges={"c": (-1.0, 2.0)},
            near=near_fakes,
            gradient=generator_slope,
            relations={
                "what the discriminator pays for a real": lambda loss, f: (
                    loss(f),
                    least_squares_discriminator_loss(f, torch.zeros_like(f)),
                ),
                "c moves the scores": lambda loss, f: (loss(f + 0.7, c=1.7), loss(f)),
            },
            peers={
                "torch": lambda f, c=1.0: half_mse(f, c),
                "optax": lambda f, c=1.0: optax_half(f, c),
                "monai": lambda f, c=1.0: monai_half(f, True, False) if c == 1 else NotImplemented,
            },
            errors=[((integer([1]),), {}, "floating fake_scores, got torch.int64")],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([1.0]),), 0.0),
                "chance": ((real([0.5]),), 0.125, "a score of 1/2"),
                "convex": True,
            },
        ),
    ]


def torch_pair(r, f):
    return (F.mse_loss(r, torch.ones_like(r)) + F.mse_loss(f, torch.zeros_like(f))) / 2


def rows():
    return [
        Row(
            least_squares_discriminator_loss,
            shape="{}",
            n=n,
            slower=bench.FUSED,
            inputs=lambda n: (bench.leaf(n), bench.leaf(n)),
            peers={
                "torch idiom": torch_pair,
                FORMULA: lambda r, f: ((r - 1) ** 2 / 2 + f**2 / 2).mean(),
            },
        )
        for n in (bench.M, 64)
    ] + [
        Row(
            least_squares_generator_loss,
            shape="{}",
            n=n,
            slower=bench.FUSED,
            inputs=lambda n: (bench.leaf(n),),
            peers={
                "torch idiom": lambda f: F.mse_loss(f, torch.ones_like(f)) / 2,
                FORMULA: lambda f: ((f - 1) ** 2 / 2).mean(),
            },
        )
        for n in (bench.M, 64)
    ]


def test_values_by_hand():
    # (3 - 1)^2 / 2 + (-1 - 0)^2 / 2, and with -1 and 1 for fake and real (3 - 1)^2 / 2 + 0.
    reals, fakes = real([3.0]), real([-1.0])
    assert least_squares_discriminator_loss(reals, fakes).item() == 2.5
    assert least_squares_discriminator_loss(reals, fakes, **PEARSON).item() == 2
    # (-1 - 1)^2 / 2 and (-1 - 0)^2 / 2.
    assert least_squares_generator_loss(fakes).item() == 2
    assert least_squares_generator_loss(fakes, c=0.0).item() == 0.5


def test_real_and_fake_are_not_exchanged():
    # a is for fakes, b for the real: the coding is easily turned around.
    loss = least_squares_discriminator_loss(real([5.0]), real([2.0]), a=2.0, b=5.0)
    assert loss.item() == 0


def test_best_discriminator_is_the_mean_of_the_codes():
    # Where the densities are p and q, D* = (b p + a q) / (p + q), the paper's equation for it.
    p, q, a, b = 0.6, 0.1, -0.5, 2.0
    best = real([(b * p + a * q) / (p + q)]).requires_grad_()
    reals = least_squares_discriminator_loss(best, real([a]), a=a, b=b)
    fakes = least_squares_discriminator_loss(real([b]), best, a=a, b=b)
    (slope,) = torch.autograd.grad((p * reals + q * fakes).sum(), best)
    assert slope.item() == pytest.approx(0, abs=1e-15)


def test_pearsons_divergence():
    # At D* of a = -1, b = 1, c = 0 twice the generator's loss, reals included, is the Pearson
    # chi-squared divergence of p + q from 2 q.
    p, q = real([0.6, 0.3, 0.1]), real([0.1, 0.5, 0.4])
    best = (p - q) / (p + q)
    loss = ((p + q) * least_squares_generator_loss(best, c=0.0)).sum()
    divergence = ((2 * q - (p + q)).square() / (p + q)).sum()
    assert 2 * loss.item() == pytest.approx(divergence.item())


def test_a_score_too_good_costs_too():
    x = real([3.0]).requires_grad_()
    (slope,) = torch.autograd.grad(least_squares_generator_loss(x).sum(), x)
    assert slope.item() == 2
