import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.binary_cross_entropy import binary_cross_entropy
from lossbook.generative.minimax_gan import (
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
)
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def scores(rng):
    return real(rng.normal(size=(4, 1)) * 2), real(rng.normal(size=(4, 1)) * 2)


def patches(rng):
    """A score per patch of an image."""
    return real(rng.normal(size=(2, 1, 2, 3)) * 2), real(rng.normal(size=(2, 1, 2, 3)) * 2)


def fakes(rng):
    return (real(rng.normal(size=5) * 2),)


def fake_patches(rng):
    return (real(rng.normal(size=(2, 1, 2, 3)) * 2),)


def sure(rng):
    """Logits whose losses go from 1 down to 1e-6."""
    return real(rng.uniform(1, 2, size=(7, 3))) * torch.arange(0.0, 14.0, 2.0).double()[:, None]


def near(rng):
    return sure(rng), -sure(rng)


def near_fakes(rng):
    return (sure(rng),)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def discriminator(real_logits, fake_logits):
    return -np.log(sigmoid(real_logits)) - np.log(1 - sigmoid(fake_logits))


def discriminator_slope(real_logits, fake_logits):
    return sigmoid(real_logits) - 1, sigmoid(fake_logits)


def generator(fake_logits):
    return np.log(1 - sigmoid(fake_logits))


def generator_slope(fake_logits):
    return -sigmoid(fake_logits)


def non_saturating(fake_logits):
    return -np.log(sigmoid(fake_logits))


def non_saturating_slope(fake_logits):
    return sigmoid(fake_logits) - 1


def called(logits, label):
    """Torch's cross entropy of logits whose label is 1 for real, 0 for fake."""
    labels = torch.full_like(logits, label)
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def monai(logits, target_is_real, for_discriminator):
    from monai.losses import PatchAdversarialLoss

    loss = PatchAdversarialLoss(criterion="bce", reduction="none")
    (losses,) = loss([logits], target_is_real, for_discriminator)
    return losses


def optax_bce(logits, label):
    import optax

    logits = logits.float().numpy()
    return optax.sigmoid_binary_cross_entropy(logits, np.full_like(logits, label))


FAR = {
    "1e4": (real([1e4, -1e4, 0.0]),),
    "60": (real([60.0, -60.0]),),
    "800, where sigmoids underflow": (real([800.0, -800.0]),),
}
PAIRS = {
    "right by 1e4": (real([1e4]), real([-1e4])),
    "wrong by 1e4": (real([-1e4]), real([1e4])),
    "right by 60": (real([60.0]), real([-60.0])),
    "all called real": (real([1e4]), real([1e4])),
    "zero": (real([0.0]), real([0.0])),
}


INF = math.inf
ENDS = (real([INF, -INF]),)


def cases():
    return [
        Case(
            loss=minimax_discriminator_loss,
            inputs=(scores, patches),
            reference=discriminator,
            adversarial=PAIRS,
            near=near,
            infinite={
                "right": ((real([INF, 0.0]), real([-INF, -INF])), real([0.0, math.log(2)])),
                "wrong": ((real([-INF, 0.0, -INF]), real([-INF, INF, INF])), real([INF, INF, INF])),
            },
            gradient=discriminator_slope,
            invariances={"real and fake exchanged": lambda r, f: (-f, -r)},
            relations={
                "binary cross entropy, real 1 and fake 0": lambda loss, r, f: (
                    loss(r, f),
                    binary_cross_entropy(r, torch.ones_like(r))
                    + binary_cross_entropy(f, torch.zeros_like(f)),
                ),
                "two terms, of which the generator plays against one": lambda loss, r, f: (
                    loss(r, f),
                    non_saturating_generator_loss(r) - minimax_generator_loss(f),
                ),
            },
            peers={
                "torch": lambda r, f: called(r, 1.0) + called(f, 0.0),
                "optax": lambda r, f: optax_bce(r, 1) + optax_bce(f, 0),
                "monai": lambda r, f: monai(r, True, True) + monai(f, False, True),
            },
            errors=[
                ((torch.zeros(3, 1), torch.zeros(3)), {}, r"of shape \(3, 1\), got \(3,\)"),
                ((torch.zeros(3), torch.zeros(1)), {}, r"fake_logits of shape \(3,\), got \(1,\)"),
                ((torch.zeros(3), torch.tensor(0.0)), {}, r"of shape \(3,\), got \(\)"),
                ((integer([1]), real([1.0])), {}, "floating real_logits, got torch.int64"),
                ((real([1.0]), integer([1])), {}, "floating fake_logits, got torch.int64"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": (PAIRS["right by 1e4"], 0.0),
                "chance": (PAIRS["zero"], 2 * math.log(2), "logits of 0: 2 log 2"),
                "convex": True,
            },
        ),
        Case(
            loss=minimax_generator_loss,
            inputs=(fakes, fake_patches),
            reference=generator,
            adversarial=FAR,
            infinite={"both": (ENDS, real([-INF, 0.0]))},
            gradient=generator_slope,
            relations={
                "minus the discriminator's cross entropy": lambda loss, f: (
                    loss(f),
                    -binary_cross_entropy(f, torch.zeros_like(f)),
                ),
                "log(1 - D) is log D less the logit": lambda loss, f: (
                    loss(f),
                    -non_saturating_generator_loss(f) - f,
                ),
            },
            peers={
                "torch": lambda f: -called(f, 0.0),
                "optax": lambda f: -optax_bce(f, 0),
                "monai": lambda f: -monai(f, False, True),
            },
            errors=[((integer([1]),), {}, "floating fake_logits, got torch.int64")],
            facts={
                "range": (-math.inf, 0.0),
                "chance": ((real([0.0]),), -math.log(2), "a logit of 0: -log 2"),
                "convex": False,
            },
        ),
        Case(
            loss=non_saturating_generator_loss,
            inputs=(fakes, fake_patches),
            reference=non_saturating,
            adversarial=FAR,
            near=near_fakes,
            infinite={"both": (ENDS, real([0.0, INF]))},
            gradient=non_saturating_slope,
            relations={
                "cross entropy of fakes called real": lambda loss, f: (
                    loss(f),
                    binary_cross_entropy(f, torch.ones_like(f)),
                ),
                "what the discriminator pays for a real": lambda loss, f: (
                    loss(f),
                    minimax_discriminator_loss(f, torch.full_like(f, -math.inf)),
                ),
                "minus the saturating loss of the opposite logit": lambda loss, f: (
                    loss(f),
                    -minimax_generator_loss(-f),
                ),
            },
            peers={
                "torch": lambda f: called(f, 1.0),
                "optax": lambda f: optax_bce(f, 1),
                "monai": lambda f: monai(f, True, False),
            },
            errors=[((integer([1]),), {}, "floating fake_logits, got torch.int64")],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([1e4]),), 0.0),
                "chance": ((real([0.0]),), math.log(2), "a logit of 0: log 2"),
                "convex": True,
            },
        ),
    ]


def torch_pair(r, f):
    on_real = F.binary_cross_entropy_with_logits(r, torch.ones_like(r))
    return on_real + F.binary_cross_entropy_with_logits(f, torch.zeros_like(f))


def torch_fakes(f):
    return F.binary_cross_entropy_with_logits(f, torch.ones_like(f))


def rows():
    many = {"shape": "{}", "n": bench.M}
    fakes = {"inputs": lambda n: (bench.leaf(n),), **many}
    return [
        Row(
            minimax_discriminator_loss,
            inputs=lambda n: (bench.leaf(n), bench.leaf(n)),
            peers={"torch idiom": torch_pair},
            **many,
        ),
        Row(
            minimax_generator_loss,
            slower="softplus, which has digits where the formula's 1 - sigmoid has none",
            peers={FORMULA: lambda f: (1 - f.sigmoid()).log().mean()},
            **fakes,
        ),
        Row(
            non_saturating_generator_loss,
            slower=bench.CALL,
            peers={"torch idiom": torch_fakes},
            **fakes,
        ),
    ]


def test_values_by_hand():
    # The odds 3 and 1/4: D(x) = 3/4 and D(G(z)) = 1/5.
    reals, fakes = real([math.log(3)]), real([-math.log(4)])
    losses = minimax_discriminator_loss(reals, fakes)
    torch.testing.assert_close(losses, real([math.log(4 / 3) + math.log(5 / 4)]))
    torch.testing.assert_close(minimax_generator_loss(fakes), real([math.log(4 / 5)]))
    torch.testing.assert_close(non_saturating_generator_loss(fakes), real([math.log(5)]))


def test_the_game_adds_up_to_nothing():
    # What the generator loses on a fake, the discriminator wins: only the real's part is left.
    reals, fakes = patches(np.random.default_rng(0))
    total = minimax_discriminator_loss(reals, fakes) + minimax_generator_loss(fakes)
    torch.testing.assert_close(total, non_saturating_generator_loss(reals))


def slope_of(loss, logit):
    x = real([logit]).requires_grad_()
    return torch.autograd.grad(loss(x).sum(), x)[0].item()


def test_only_one_of_the_two_saturates():
    # The slopes -D and D - 1, where D is 0.0066929, 1/2 and 0.9933071.
    for logit, d in ((-5.0, 0.0066929), (0.0, 0.5), (5.0, 0.9933071)):
        found = slope_of(minimax_generator_loss, logit)
        assert found == pytest.approx(-d, abs=1e-7)
        found = slope_of(non_saturating_generator_loss, logit)
        assert found == pytest.approx(d - 1, abs=1e-7)


def test_a_sure_wrong_answer_keeps_its_tail():
    # log(1 + e^x) is x + e^-x, and its slope 1 - e^-x; torch drops e^-x from 20 on.
    x = real([25.0]).requires_grad_()
    pairs = minimax_discriminator_loss(-x, torch.full_like(x, -math.inf))
    for losses in (pairs, -minimax_generator_loss(x), non_saturating_generator_loss(-x)):
        (slope,) = torch.autograd.grad(losses.sum(), x)
        rests = losses.item() - 25, 1 - slope.item()
        assert rests == pytest.approx((math.exp(-25), math.exp(-25)), rel=1e-3)


def test_best_discriminator_is_the_share_of_the_real_density():
    # Two kinds of samples: real with probability 0.6 and 0.4, fake with 0.1 and 0.9. The paper's
    # D* = p / (p + q), and the loss there is 2 log 2 - 2 JS(p, q).
    p, q = real([0.6, 0.4]), real([0.1, 0.9])
    logits = (p / q).log().requires_grad_()
    fakes = minimax_discriminator_loss(torch.full_like(p, math.inf), logits)
    reals = minimax_discriminator_loss(logits, torch.full_like(p, -math.inf))
    loss = (p * reals + q * fakes).sum()
    assert not torch.autograd.grad(loss, logits, retain_graph=True)[0].abs().max() > 1e-15
    m = (p + q) / 2
    divergence = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
    assert loss.item() == pytest.approx(2 * math.log(2) - 2 * divergence.item())


def test_both_sides_get_their_gradient():
    reals, fakes = (x.requires_grad_() for x in scores(np.random.default_rng(0)))
    slopes = torch.autograd.grad(minimax_discriminator_loss(reals, fakes).sum(), (reals, fakes))
    assert (slopes[0] < 0).all()
    assert (slopes[1] > 0).all()
