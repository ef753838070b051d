import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.binary_cross_entropy import binary_cross_entropy
from lossbook.preference.bradley_terry import bradley_terry_loss
from lossbook.preference.dpo import dpo_loss, sequence_log_probs
from lossbook.preference.reference_free import orpo_loss, simpo_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real

INF = math.inf


def pairs(rng):
    return real(-rng.random((4, 3)) * 3), real(-rng.random((4, 3)) * 3)


def vectors(rng):
    return real(-rng.random(5) * 3), real(-rng.random(5) * 3)


def near_simpo(rng):
    """Leads that with beta 2 and gamma 0.5 or 1 cost 0.2 down to 1e-34, and 0."""
    rest = rng.integers(-8, 0, size=7) / 4.0
    return real(rest + np.array([1, 2, 5, 10, 20, 36, 900])), real(rest)


def near_orpo(rng):
    """Chosen answers of a probability of 1 but for 1 down to 1e-6, and of 1."""
    chosen = -np.array([1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    return real(chosen), real(-0.1 - 3 * rng.random(8))


def simpo(c, r, beta=2.0, gamma=0.5):
    return np.log(1 + np.exp(gamma - beta * (c - r)))


def simpo_slope(c, r, beta=2.0, gamma=0.5):
    slope = -beta / (1 + np.exp(beta * (c - r) - gamma))
    return slope, -slope


def orpo(c, r, lam=0.1):
    win, lose = (np.exp(x) / -np.expm1(x) for x in (c, r))
    ratio = np.where(r == 0, INF, lose / win)  # Both certain: inf / inf.
    return -c + lam * np.log(1 + ratio) if lam else -c


def orpo_slope(c, r, lam=0.1):
    # 1 / ((1 + OR) (1 - P_c)), multiplied out where P_c may be 1.
    p_c, p_r = np.exp(c), np.where(r == 0, np.nan, np.exp(r))
    either = p_c * (1 - p_r) + p_r * (1 - p_c)
    return -1 - lam * p_r / either, lam * p_r * (1 - p_c) / (either * (1 - p_r))


def liger_simpo(c, r, beta=2.0, gamma=0.5):
    from liger_kernel.chunked_loss.simpo_loss import LigerFusedLinearSimPOFunction

    pairs = torch.zeros(2 * c.numel(), 1)
    return LigerFusedLinearSimPOFunction.preference_loss_fn(
        c.flatten(), r.flatten(), pairs, beta=beta, gamma=gamma
    )[0]


def liger_orpo(c, r, lam=0.1):
    from liger_kernel.chunked_loss.orpo_loss import LigerFusedLinearORPOFunction

    pairs = torch.zeros(2 * c.numel(), 1)
    odds = LigerFusedLinearORPOFunction.preference_loss_fn(
        c.flatten(), r.flatten(), pairs, beta=lam
    )[0]
    return odds - c.mean()  # Its likelihood is added outside.


TIE = (real([-1.0, -300.0]), real([-1.0, -300.0]))
ZEROS = (torch.zeros(3), torch.zeros(3))
ERRORS = [
    ((ZEROS[0].long(), ZEROS[1]), {}, "floating chosen_log_probs, got"),
    ((ZEROS[0], ZEROS[1].long()), {}, "floating rejected_log_probs, got"),
    *(
        ((torch.zeros(3), torch.zeros(shape)), {}, r"rejected_log_probs of shape \(3,\), got")
        for shape in ((3, 1), (1,), ())
    ),
]


def cases():
    return [
        Case(
            loss=simpo_loss,
            infinite={
                "one answer ruled out": ((real([-1.0, -INF]), real([-INF, -1.0])), [0.0, INF]),
            },
            inputs=(pairs, vectors),
            reference=simpo,
            settings=({}, {"gamma": 1.0}, {"beta": 1.0, "gamma": 0.0}),
            ranges={"beta": (0.1, 10.0), "gamma": (0.0, 5.0)},
            near=near_simpo,
            adversarial={
                "a tie": TIE,
                "right by 1e4": (real([-1.0]), real([-1e4])),
                "wrong by 1e4": (real([-1e4]), real([-1.0])),
            },
            gradient=simpo_slope,
            invariances={"both likelier": lambda c, r: (c + 0.5, r + 0.5)},
            relations={
                "a lead of gamma / beta costs log 2": lambda loss, _, r: (
                    loss(r + 0.25, r),
                    torch.full_like(r, math.log(2)),
                ),
                "rewards beta log-probabilities, margin gamma": lambda loss, c, r: (
                    loss(c, r, beta=3.0, gamma=1.0),
                    bradley_terry_loss(3 * c, 3 * r, torch.ones_like(c)),
                ),
                "without a margin, DPO's without a reference": lambda loss, c, r: (
                    loss(c, r, beta=3.0, gamma=0.0),
                    dpo_loss(c, r, 0 * c, 0 * r, beta=3.0),
                ),
                "binary cross entropy of the lead": lambda loss, c, r: (
                    loss(c, r),
                    binary_cross_entropy(2 * (c - r) - 0.5, torch.ones_like(c)),
                ),
            },
            peers={"liger-kernel": liger_simpo},
            errors=[
                *ERRORS,
                *((ZEROS, {"beta": b}, "beta > 0, got") for b in (0.0, -1.0, math.nan)),
                *((ZEROS, {"gamma": g}, "gamma >= 0, got") for g in (-0.1, math.nan)),
            ],
            facts={
                "range": (0.0, INF),
                "perfect": ((real([-1.0]), real([-1e4])), 0.0),
                "chance": (TIE, math.log1p(math.exp(0.5)), "a tie: log(1 + e^gamma)"),
                "convex": True,
            },
        ),
        Case(
            loss=orpo_loss,
            inputs=(pairs, vectors),
            reference=orpo,
            settings=({}, {"lam": 1.0}),
            ranges={"lam": (0.0, 2.0)},
            near=near_orpo,
            domains={0: (-50.0, 0.0), 1: (-50.0, 0.0)},
            adversarial={
                "a tie": TIE,
                "chosen certain": (real([0.0, 0.0]), real([-1.0, -1e4])),
                "chosen certain but for 1e-9": (real([-1e-9, -1e-12]), real([-2.0, -1e-3])),
                "chosen hopeless": (real([-1e4, -1e4]), real([-1.0, -9999.0])),
                "rejected hopeless": (real([-1.0]), real([-1e4])),
                "both nearly certain": (real([-1e-6, -2e-9]), real([-2e-9, -1e-6])),
                "rejected certain": (real([-1.0, 0.0]), real([0.0, 0.0])),
            },
            infinite={
                "both are impossible": ((real([-INF]), real([-INF])), [INF]),
                "the chosen one is": ((real([-INF]), real([-1.0])), [INF]),
                "the rejected one is": ((real([-1.0]), real([-INF])), [1.0]),
            },
            gradient=orpo_slope,
            relations={
                "lam 0 is the likelihood": lambda loss, c, r: (loss(c, r, lam=0.0), -c),
                "either is chosen": lambda loss, c, r: (
                    (-loss(c, r, lam=1.0) - c).exp() + (-loss(r, c, lam=1.0) - r).exp(),
                    torch.ones_like(c),
                ),
                "Bradley and Terry's, of log-odds": lambda loss, c, r: (
                    loss(c, r, lam=0.3),
                    0.3 * bradley_terry_loss(torch.logit(c.exp()), torch.logit(r.exp())) - c,
                ),
                "of rare answers, SimPO's": lambda loss, c, r: (
                    loss(c - 40, r - 40, lam=1.0),
                    simpo_loss(c, r, beta=1.0, gamma=0.0) - c + 40,
                ),
            },
            peers={"liger-kernel": liger_orpo},
            errors=[*ERRORS, *((ZEROS, {"lam": x}, "lam >= 0, got") for x in (-0.1, math.nan))],
            facts={
                "range": (0.0, INF),
                "perfect": ((real([0.0, 0.0]), real([-1.0, -1e4])), 0.0),
                "chance": (
                    (real([-math.log(3)]),) * 2,
                    math.log(3) + 0.1 * math.log(2),
                    "a tie at a probability of 1/3",
                ),
                "convex": False,
            },
        ),
    ]


def rows():
    def inputs(n):
        return (-torch.rand(n) * 3).requires_grad_(), (-torch.rand(n) * 3).requires_grad_()

    def odds(c, r):
        ratio = c - r - ((1 - c.exp()).log() - (1 - r.exp()).log())
        return (0.1 * F.softplus(-ratio) - c).mean()

    return [
        row
        for n in (1 << 20, 64)
        for row in (
            Row(
                simpo_loss,
                slower=bench.CALL,
                shape="{}",
                n=n,
                inputs=lambda n: (bench.leaf(n), bench.leaf(n)),
                peers={FORMULA: lambda c, r: -F.logsigmoid(2 * (c - r) - 0.5).mean()},
            ),
            Row(
                orpo_loss,
                slower="exact where an answer is nearly certain or the lead is large: the larger "
                "and the smaller of the two odds are told apart, some ten passes each way",
                shape="{}",
                n=n,
                inputs=inputs,
                peers={FORMULA: odds},
            ),
        )
    ]


def test_values_by_hand():
    # log(1 + e^-0.5); odds 1 / (e - 1) and 1 / (e^1.5 - 1).
    c, r = real([-1.0]), real([-1.5])
    assert simpo_loss(c, r).item() == pytest.approx(math.log1p(math.exp(-0.5)))
    assert simpo_loss(c, r, beta=0.1).item() == pytest.approx(0.943248946, rel=1e-9)
    ratio = (math.e - 1) / (math.exp(1.5) - 1)
    assert orpo_loss(c, r).item() == pytest.approx(1 + 0.1 * math.log1p(ratio), rel=1e-12)


def test_a_sure_lead_costs_plain_zero():
    assert str(simpo_loss(real([0.0]), real([-1e4])).item()) == "0.0"


def test_a_chosen_answer_that_is_certain_has_a_finite_slope():
    # -1 - lam (1 + odds_l) by the chosen, 0 by the rejected.
    c, r = real([0.0]).requires_grad_(), real([-1.0]).requires_grad_()
    losses = orpo_loss(c, r)
    slopes = torch.autograd.grad(losses.sum(), (c, r))
    odds = 1 / (math.e - 1)
    assert (losses.item(), slopes[1].item()) == (0, 0)
    assert slopes[0].item() == pytest.approx(-1 - 0.1 * odds)


@pytest.mark.parametrize("x", [-1e-8, -1e-7, -1e-3])
def test_float32_keeps_the_odds_of_what_is_nearly_certain(x):
    # log(1 - exp(x)) as log1p(-exp(x)) is -inf from -3e-8 on.
    c, r = torch.tensor([-1.0]).requires_grad_(), torch.tensor([x]).requires_grad_()
    losses = orpo_loss(c, r, lam=1.0)
    slopes = torch.autograd.grad(losses.sum(), (c, r))
    exact = orpo_loss(c.double(), r.double(), lam=1.0)
    torch.testing.assert_close(losses.double(), exact)
    assert slopes[1].item() == pytest.approx(-1 / r.double().expm1().item(), rel=1e-2)


def test_what_is_ruled_out_is_inf_or_costs_nothing():
    c, r = real([-INF, -1.0, -1.0]), real([-1.0, -INF, 0.0])
    assert orpo_loss(c, r).tolist() == [INF, 1, INF]
    assert orpo_loss(c[2:], r[2:], lam=0.0).item() == 1
    assert orpo_loss(c[2:], r[2:], lam=torch.tensor(0.0)).item() == 1


def test_a_rejected_answer_that_is_certain_leaves_the_slope_of_the_chosen():
    c, r = real([-1.0, 0.0]).requires_grad_(), real([0.0, 0.0]).requires_grad_()
    for lam in (0.0, 0.1):
        slopes = torch.autograd.grad(orpo_loss(c, r, lam=lam).sum(), (c, r))
        assert [x.tolist() for x in slopes] == [[-1, -1], [0, 0]]


def test_equal_answers_have_both_slopes():
    c, r = real([-1.0]).requires_grad_(), real([-1.0]).requires_grad_()
    slopes = torch.autograd.grad(orpo_loss(c, r, lam=1.0).sum(), (c, r))
    half = 0.5 / (1 - math.exp(-1))
    assert [x.item() for x in slopes] == pytest.approx([-1 - half, half])


def test_averages_come_from_sequence_log_probs():
    x, y = real(np.random.default_rng(0).normal(size=(2, 3, 4))), integer([[0, 1, 2], [3, 0, 1]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    c, r = sequence_log_probs(x, y, mask, average=True)
    by_hand = -x[0].log_softmax(1)[[0, 1], [0, 1]].mean()
    assert orpo_loss(c, r, lam=0.0).item() == pytest.approx(by_hand.item())


@pytest.mark.parametrize("lam", [0.0, torch.tensor(0.0)])
def test_a_weight_of_0_hides_an_infinity_and_no_nan(lam):
    c = torch.tensor([-1.0, -1.0])
    assert orpo_loss(c, torch.tensor([0.0, -1.0]), lam=lam).tolist() == [1.0, 1.0]
    assert orpo_loss(c, torch.tensor([math.nan, -1.0]), lam=lam).isnan().tolist() == [True, False]
