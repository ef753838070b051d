import inspect
import math

import numpy as np
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.ranking.margin_ranking import margin_ranking_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def floats(rng):
    first, second = rng.normal(size=(2, 5, 3)) * 2
    return real(first), real(second), real(rng.choice([-1.0, 1.0], size=(5, 3)))


def integers(rng):
    first, second = rng.normal(size=(2, 7)) * 2
    return real(first), real(second), integer(rng.choice([-1, 1], size=7))


def near(rng):
    """Leads that are the margin 0.5 but for 1 down to 1e-6, and the margin itself."""
    losers = rng.integers(4, 8, size=8) / 4.0
    short = np.array([1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    return real(losers + 0.5 - short), real(losers), real(np.ones(8))


def ranking(scores1, scores2, targets, margin):
    """The winner's score is the first's where the target is 1, else the second's."""
    winners = np.where(targets > 0, scores1, scores2)
    losers = np.where(targets > 0, scores2, scores1)
    short = losers + margin - winners
    return np.where(short > 0, short, 0)


def slope(scores1, scores2, targets, margin):
    short = (scores2 - scores1) * targets + margin
    active = np.where(short > 0, 1.0, 0.0)
    # The two slopes meet at the margin, where the chapter gives none.
    active = np.where(short == 0, np.nan, active)
    return -active * targets, active * targets


def torch_ranking(scores1, scores2, targets, margin):
    return F.margin_ranking_loss(scores1, scores2, targets, margin=margin, reduction="none")


ONE = (real([1.0]), real([0.0]), real([1.0]))
ADVERSARIAL = {
    "a tie": (real([2.0, 2.0]), real([2.0, 2.0]), real([1.0, -1.0])),
    "right by 1e4": (real([1e4, -1e4]), real([-1e4, 1e4]), real([1.0, -1.0])),
    "wrong by 1e4": (real([1e4, -1e4]), real([-1e4, 1e4]), real([-1.0, 1.0])),
    "exactly the margin": (real([0.5, 0.0]), real([0.0, 0.5]), real([1.0, -1.0])),
    "one ulp around the margin": (
        real([0.5 - 2**-54, 0.5 + 2**-53]),
        real([0.0, 0.0]),
        real([1.0, 1.0]),
    ),
}


def cases():
    return [
        Case(
            loss=margin_ranking_loss,
            inputs=(floats, integers),
            reference=ranking,
            settings=({"margin": 0.5}, {"margin": 0.0}, {"margin": 3.0}),
            ranges={"margin": (0.0, 4.0)},
            near=near,
            adversarial=ADVERSARIAL,
            domains={2: None},
            differentiable=(0, 1),
            gradient=slope,
            invariances={
                "shift of both scores": lambda a, b, t: (a + 0.75, b + 0.75, t),
                "items exchanged": lambda a, b, t: (b, a, -t),
                "signs of the scores and the order": lambda a, b, t: (-a, -b, -t),
            },
            relations={
                "margin 1 is the hinge loss of the difference": lambda loss, a, b, t: (
                    loss(a, b, t, margin=1.0),
                    F.relu(1 - t * (a - b)),
                ),
                "scaling scores and margin by 3": lambda loss, a, b, t: (
                    loss(3 * a, 3 * b, t, margin=3.0),
                    3 * loss(a, b, t, margin=1.0),
                ),
                "both orders of a pair": lambda loss, a, b, t: (
                    loss(a, b, t, margin=0.0) + loss(a, b, -t, margin=0.0),
                    (a - b).abs(),
                ),
            },
            peers={"torch": torch_ranking},
            errors=[
                (
                    (torch.zeros(3).long(), torch.zeros(3), torch.zeros(3)),
                    {"margin": 1.0},
                    "floating scores1, got torch.int64",
                ),
                (
                    (torch.zeros(3), torch.zeros(3).long(), torch.zeros(3)),
                    {"margin": 1.0},
                    "floating scores2, got torch.int64",
                ),
                (
                    (torch.zeros(3, 1), torch.zeros(3), torch.zeros(3)),
                    {"margin": 1.0},
                    r"scores2 of shape \(3, 1\), got \(3,\)",
                ),
                (
                    (torch.zeros(3), torch.zeros(3), torch.zeros(3, 1)),
                    {"margin": 1.0},
                    r"targets of shape \(3,\), got \(3, 1\)",
                ),
                (
                    (torch.zeros(3), torch.zeros(3), torch.ones(())),
                    {"margin": 1.0},
                    r"targets of shape \(3,\), got \(\)",
                ),
                (
                    (torch.zeros(4, 3), torch.zeros(1, 3), torch.zeros(4, 3)),
                    {"margin": 1.0},
                    r"scores2 of shape \(4, 3\), got \(1, 3\)",
                ),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": (ONE, 0.0),
                # Equal scores: the margin.
                "chance": (ADVERSARIAL["a tie"], 0.5, "a tie costs the margin"),
                "convex": True,
            },
        ),
    ]


def rows():
    def inputs(n):
        return bench.leaf(n), bench.leaf(n), torch.randint(2, (n,)).float() * 2 - 1

    return [
        Row(
            margin_ranking_loss,
            slower=bench.CALL,
            shape="{}",
            n=n,
            settings={"margin": 1.0},
            inputs=inputs,
            peers={
                "torch": lambda a, b, t: F.margin_ranking_loss(a, b, t, margin=1.0),
                FORMULA: lambda a, b, t: (1 - t * (a - b)).clamp_min(0).mean(),
            },
        )
        for n in (1 << 22, 1 << 16)
    ]


def test_values_by_hand():
    # max(0, 1 - (2 - 0)), max(0, 1 - (0.5 - 0)), max(0, 1 + (0.5 - 0)), max(0, 1 + (0 - 3))
    a, b, t = real([2.0, 0.5, 0.5, 0.0]), real([0.0, 0.0, 0.0, 3.0]), real([1.0, 1.0, -1.0, -1.0])
    assert margin_ranking_loss(a, b, t, margin=1.0).tolist() == [0, 0.5, 1.5, 0]


def test_margin_has_no_default():
    margin = inspect.signature(margin_ranking_loss).parameters["margin"]
    assert margin.default is inspect.Parameter.empty


def test_at_margin_0_constant_scores_cost_nothing():
    a, t = torch.zeros(4).double(), real([1.0, -1.0, 1.0, 1.0])
    assert margin_ranking_loss(a, a, t, margin=0.0).tolist() == [0] * 4
    assert margin_ranking_loss(a, a, t, margin=0.25).tolist() == [0.25] * 4


def test_a_label_of_0_costs_the_margin_and_teaches_nothing():
    a = real([3.0]).requires_grad_()
    losses = margin_ranking_loss(a, real([1.0]), real([0.0]), margin=0.5)
    (slope,) = torch.autograd.grad(losses.sum(), a)
    assert (losses.item(), slope.item()) == (0.5, 0)


def test_the_slope_is_one_until_the_margin_is_reached():
    a = real([-1e4, 0.0, 0.4, 0.6, 1e4]).requires_grad_()
    b, t = torch.zeros(5).double(), torch.ones(5).double()
    (slope,) = torch.autograd.grad(margin_ranking_loss(a, b, t, margin=0.5).sum(), a)
    assert slope.tolist() == [-1, -1, -1, 0, 0]


def test_scores_that_start_equal_are_pulled_apart_at_margin_0():
    # At the kink the slope is the one of the side that costs, as in torch.
    a, b, t = real([0.0]).requires_grad_(), real([0.0]), real([1.0])
    (ours,) = torch.autograd.grad(margin_ranking_loss(a, b, t, margin=0.0).sum(), a)
    (theirs,) = torch.autograd.grad(torch_ranking(a, b, t, margin=0.0).sum(), a)
    assert (ours.item(), theirs.item()) == (-1, -1)


def test_half_precision_keeps_what_is_left_of_the_margin():
    # 1 - (1000.5 - 1000) in float16 steps of 0.5, and 0.001 - 0.0009 in steps of 1e-6.
    a, b = torch.tensor([1000.5, 1.0]).half(), torch.tensor([1000.0, 0.0]).half()
    losses = margin_ranking_loss(a, b, torch.ones(2), margin=1.0001)
    np.testing.assert_allclose(losses.float(), [0.5001, 0.0001], rtol=2e-3)


def test_a_pair_in_order_costs_plain_zero():
    loss = margin_ranking_loss(real([3.0]), real([0.0]), real([1.0]), margin=1.0)
    assert str(loss.item()) == "0.0"


def test_a_lead_past_the_largest_number_costs_nothing():
    most = torch.finfo(torch.float32).max
    x = torch.tensor([most]).requires_grad_()
    value = margin_ranking_loss(x, torch.tensor([-most]), torch.ones(1), margin=1.0)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.item() == 0
    assert slope.item() == 0
