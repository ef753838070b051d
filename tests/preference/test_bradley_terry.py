import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.binary_cross_entropy import binary_cross_entropy
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.preference.bradley_terry import bradley_terry_loss
from lossbook.preference.dpo import dpo_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def pairs(rng):
    return real(rng.normal(size=(4, 3)) * 2), real(rng.normal(size=(4, 3)) * 2), None


def with_margins(rng):
    return real(rng.normal(size=5)), real(rng.normal(size=5)), real(rng.random(5) * 3)


def rated(rng):
    return real(rng.normal(size=5)), real(rng.normal(size=5)), integer(rng.integers(0, 4, 5))


def near(rng):
    """Leads whose loss is 0.3 down to 1e-34, and 0."""
    rest = rng.integers(-8, 8, size=8) / 4.0
    return real(rest + np.array([1, 2, 5, 10, 20, 40, 75, 900])), real(rest), None


def probability(chosen, rejected, margins=None):
    margins = 0 if margins is None else margins
    return np.exp(chosen) / (np.exp(chosen) + np.exp(rejected + margins))


def equation(chosen, rejected, margins=None):
    return -np.log(probability(chosen, rejected, margins))


def slope(chosen, rejected, margins=None):
    loses = 1 - probability(chosen, rejected, margins)
    return -loses, loses, *([] if margins is None else [loses])


def torch_binary(chosen, rejected, margins=None):
    lead = chosen - rejected - (0 if margins is None else margins)
    return F.binary_cross_entropy_with_logits(lead, torch.ones_like(lead), reduction="none")


def torch_soft_margin(chosen, rejected, margins=None):
    lead = chosen - rejected - (0 if margins is None else margins)
    return F.soft_margin_loss(lead, torch.ones_like(lead), reduction="none")


TIE = (real([2.0, -7.0]), real([2.0, -7.0]))
SURE = (real([1e4, 5.0]), real([-1e4, -1e3]))


def cases():
    return [
        Case(
            loss=bradley_terry_loss,
            inputs=(pairs, with_margins, rated),
            reference=equation,
            near=near,
            adversarial={
                "a tie": (*TIE, None),
                "right by 1e4": (*SURE, None),
                "wrong by 1e4": (*SURE[::-1], None),
                "wrong by 200": (real([-100.0]), real([100.0]), None),
                "a margin of 1e4": (*TIE, real([1e4, 0.0])),
            },
            gradient=slope,
            invariances={
                "shift of both rewards": lambda a, b, m: (a + 2.5, b + 2.5, m),
                "the margin as a reward": lambda a, b, m: (
                    a,
                    b if m is None else b + m,
                    None,
                ),
            },
            relations={
                "cross entropy of two classes": lambda loss, a, b, _: (
                    loss(a, b).flatten(),
                    cross_entropy(
                        torch.stack([a.flatten(), b.flatten()], 1), torch.zeros(a.numel()).long()
                    ),
                ),
                "binary cross entropy of the lead": lambda loss, a, b, m: (
                    loss(a, b, m),
                    binary_cross_entropy(a - b - (0 if m is None else m), torch.ones_like(a)),
                ),
                "either wins": lambda loss, a, b, _: (
                    (-loss(a, b)).exp() + (-loss(b, a)).exp(),
                    torch.ones_like(a),
                ),
                "DPO of rewards beta log-ratio": lambda loss, a, b, _: (
                    loss(0.2 * a, 0.2 * b),
                    dpo_loss(a, b, 0 * a, 0 * b, beta=0.2),
                ),
            },
            peers={"torch": torch_binary, "torch soft_margin_loss": torch_soft_margin},
            errors=[
                ((torch.zeros(3).long(), torch.zeros(3)), {}, "floating chosen_rewards, got"),
                ((torch.zeros(3), torch.zeros(3).long()), {}, "floating rejected_rewards, got"),
                *(
                    ((torch.zeros(3), torch.zeros(shape)), {}, r"rejected_rewards of shape \(3,\)")
                    for shape in ((3, 1), (1,), ())
                ),
                *(
                    ((torch.zeros(3), torch.zeros(3), torch.zeros(shape)), {}, "margins of shape")
                    for shape in ((3, 1), (1,), ())
                ),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": (SURE, 0.0),
                "chance": (TIE, math.log(2), "a tie: log 2"),
                "convex": True,
            },
        ),
    ]


def rows():
    return [
        Row(
            bradley_terry_loss,
            shape="{}",
            n=n,
            slower=bench.CALL
            if n == 64
            else "a lag of any size: softplus, which neither rounds "
            "small losses to 0 nor overflows",
            inputs=lambda n: (bench.leaf(n), bench.leaf(n)),
            peers={
                "torch": lambda a, b: F.binary_cross_entropy_with_logits(a - b, torch.ones_like(a)),
                FORMULA: lambda a, b: -(a - b).sigmoid().log().mean(),
            },
        )
        for n in (1 << 20, 64)
    ]


def test_values_by_hand():
    # log(1 + e^-1), log 2, and with a margin log(1 + e^-0.5).
    losses = bradley_terry_loss(real([1.0, 3.0]), real([0.0, 3.0]))
    np.testing.assert_allclose(losses, [0.3132616875, math.log(2)], rtol=1e-9)
    loss = bradley_terry_loss(real([1.0]), real([0.0]), real([0.5]))
    assert loss.item() == pytest.approx(0.4740769842, rel=1e-9)


def test_margins_may_be_ratings():
    a, b, m = rated(np.random.default_rng(0))
    assert bradley_terry_loss(a, b, m).equal(bradley_terry_loss(a, b, m.double()))


def test_a_half_reward_keeps_the_digits_of_the_other():
    # float16 steps by 0.0625 at 100: what is left of 100 - 99.99 is 0.01.
    loss = bradley_terry_loss(torch.tensor([100.0]).half(), torch.tensor([99.99]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-0.01)), rel=1e-3)


def test_a_pair_that_is_won_costs_0():
    assert str(bradley_terry_loss(real([1e4]), real([0.0])).item()) == "0.0"
