import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.distribution.jensen_shannon import generalized_jsd, total_variation_distance
from lossbook.distribution.kl_divergence import kl_divergence
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def flat(rng):
    return real(rng.normal(size=(4, 5)) * 2), real(rng.normal(size=(4, 5)) * 2)


def dense(rng):
    return real(rng.normal(size=(2, 3, 4))), real(rng.normal(size=(2, 3, 4)))


def near(rng):
    """Distances from 1 to 1e-6 and 0: of all classes, of one, and beside a common shift."""
    target, step = rng.normal(size=(2, 10, 5)) * 2
    distances = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0, 0, 1e-5])[:, None]
    logits = target + distances * step
    target[8], logits[8] = [1, -2, 0, 3, 0.5], [6, 3, 5, 8, 5.5]
    logits[9, 1:] = target[9, 1:]
    return real(logits), real(target)


def softmax(logits, dim=1):
    e = np.exp(logits)
    return e / e.sum(dim, keepdims=True)


def surprise(p, q):
    """Log p / q where p is not 0."""
    return np.where(p > 0, np.log(p / q), 0)


def jsd(logits, target_logits, beta=0.5, dim=1):
    p, q = softmax(logits, dim), softmax(target_logits, dim)
    m = p + beta * (q - p)  # 1 - beta would be rounded.
    ours, theirs = ((x * surprise(x, m)).sum(dim) for x in (p, q))
    return ours + beta * (theirs - ours)


def jsd_slope(logits, target_logits, beta=0.5):
    p, q = softmax(logits), softmax(target_logits)
    m = beta * q + (1 - beta) * p
    ours, theirs = surprise(p, m), surprise(q, m)
    return (
        (1 - beta) * p * (ours - (p * ours).sum(1, keepdims=True)),
        beta * q * (theirs - (q * theirs).sum(1, keepdims=True)),
    )


def total_variation(logits, target_logits, dim=1):
    p, q = softmax(logits, dim), softmax(target_logits, dim)
    return np.abs(p - q).sum(dim) / 2


def total_variation_slope(logits, target_logits):
    p, q = softmax(logits), softmax(target_logits)
    s = np.where(p > q, 0.5, np.where(p < q, -0.5, 0.0))
    return p * (s - (p * s).sum(1, keepdims=True)), q * ((q * s).sum(1, keepdims=True) - s)


def scipy_jensenshannon(logits, target_logits, beta=0.5):
    from scipy.spatial.distance import jensenshannon

    if beta != 0.5:
        return NotImplemented
    return jensenshannon(logits.softmax(1).numpy(), target_logits.softmax(1).numpy(), axis=1) ** 2


def torch_mixture(logits, target_logits, beta=0.5):
    """Two calls of torch's KL, whose first argument is the log of the mixture."""
    log_p, log_q = logits.log_softmax(1), target_logits.log_softmax(1)
    log_m = ((1 - beta) * log_p.exp() + beta * log_q.exp()).log()
    kl = [F.kl_div(log_m, x, reduction="none", log_target=True).sum(1) for x in (log_q, log_p)]
    return beta * kl[0] + (1 - beta) * kl[1]


def liger_jsd(logits, target_logits, beta=0.5):
    from liger_kernel.chunked_loss.jsd_loss import LigerFusedLinearJSDFunction

    rows = [x.movedim(1, -1).reshape(-1, x.shape[1]) for x in (logits, target_logits)]
    return LigerFusedLinearJSDFunction.distillation_loss_fn(*rows, beta=beta) / len(rows[0])


INF = math.inf
SAME = (real([[1.0, -2.0, 1e4], [0.0, 0.0, 0.0]]), real([[1.0, -2.0, 1e4], [5.0, 5.0, 5.0]]))
APART = (real([[0.0, -INF, -INF]]), real([[-INF, 0.0, 0.0]]))
ADVERSARIAL = {
    "the same distribution": SAME,
    "the same up to 1e-9": (real([[0.0, 1.0]]), real([[1e-9, 1.0]])),
    "opposite by 1e4": (real([[1e4, 0.0, -1e4]]), real([[-1e4, 0.0, 1e4]])),
    "target underflows": (real([[0.0, 1.0, 2.0]]), real([[1e4, 0.0, -1e4]])),
    "prediction underflows": (real([[-1e4, 0.0, 1e4]]), real([[0.0, 1.0, 2.0]])),
    "target 0": (real([[0.0, 1.0, 2.0]]), real([[-INF, 0.0, 1.0]])),
    "prediction 0": (real([[-INF, 1.0, 2.0]]), real([[-1.0, 0.0, 1.0]])),
    "both 0": (real([[-INF, 1.0, 2.0]]), real([[-INF, 0.0, 1.5]])),
    "both one-hot": (real([[-INF, 3.0, -INF]]), real([[-INF, 0.0, -INF]])),
    "nothing in common": APART,
}
INFINITE = {
    "nothing in common": (real([[0.0, -INF, -INF]]), real([[-INF, 0.0, 0.0]])),
    "a class that the target rules out": (real([[0.0, 0.0]]), real([[0.0, -INF]])),
    "a class that both rule out": (real([[0.0, 0.0, -INF]]), real([[0.0, 0.0, -INF]])),
}
ERRORS = [
    ((integer([[1, 2]]), real([[1.0, 2.0]])), {}, "floating logits, got torch.int64"),
    ((real([[1.0, 2.0]]), integer([[1, 2]])), {}, "floating target_logits, got"),
    ((torch.zeros(2, 3), torch.zeros(3)), {}, r"of shape \(2, 3\), got \(3,\)"),
    ((torch.zeros(2, 3), torch.zeros(1, 3)), {}, r"of shape \(2, 3\), got \(1, 3\)"),
    ((torch.zeros(2, 3), torch.zeros(())), {}, r"of shape \(2, 3\), got \(\)"),
]
PAIR = torch.zeros(2, 3), torch.zeros(2, 3)
# (1/2) (log 1 - log 3/4) + (1/2) (1/2) (log 1/2 - log 3/4 + log 1/2 - log 1/4).
HALF = 0.5 * math.log(4 / 3) + 0.25 * math.log(4 / 3)


def cases():
    shared = {
        "inputs": (flat, dense),
        "adversarial": ADVERSARIAL,
        "classes": {0: 1, 1: 1},
        "near": near,
    }
    shifts = {
        "shift of the logits": lambda x, t: (x + 5.0, t),
        "shift of the target's logits": lambda x, t: (x, t - 5.0),
        "log-probabilities for logits": lambda x, t: (x.log_softmax(1), t.log_softmax(1)),
    }
    return [
        Case(
            loss=generalized_jsd,
            reference=jsd,
            settings=({}, {"beta": 0.1}, {"beta": 0.9}),
            ranges={"beta": (0.02, 0.98)},
            gradient=jsd_slope,
            invariances=shifts,
            relations={
                "arguments exchanged, beta for 1 - beta": lambda loss, x, t: (
                    loss(x, t, beta=0.3),
                    loss(t, x, beta=0.7),
                ),
                "two divergences from the mixture": lambda loss, x, t: (
                    loss(x, t, beta=0.3),
                    0.3 * kl_divergence((0.3 * t.softmax(1) + 0.7 * x.softmax(1)).log(), t)
                    + 0.7 * kl_divergence((0.3 * t.softmax(1) + 0.7 * x.softmax(1)).log(), x),
                ),
                "dim counts the axis": lambda loss, x, t: (
                    loss(x.movedim(1, -1), t.movedim(1, -1), dim=-1),
                    loss(x, t),
                ),
            },
            peers={
                "torch": torch_mixture,
                "scipy": scipy_jensenshannon,
                "liger-kernel": liger_jsd,
            },
            infinite={
                name: (inputs, value)
                for (name, inputs), value in zip(
                    INFINITE.items(),
                    # The last: both are uniform over the two classes.
                    ([math.log(2)], [HALF], [0.0]),
                    strict=True,
                )
            },
            errors=[
                *ERRORS,
                *((PAIR, {"beta": b}, r"beta in \(0, 1\), got") for b in (0.0, 1.0, -0.1, 1.5)),
                (PAIR, {"beta": math.nan}, r"beta in \(0, 1\), got nan"),
            ],
            facts={
                "range": (0.0, math.log(2)),
                "perfect": (SAME, 0.0),
                "chance": (
                    (real([[0.0, 0.0]]), real([[0.0, -INF]])),
                    HALF,
                    "uniform, of a sure target, with C = 2",
                ),
                "convex": False,
            },
            **shared,
        ),
        Case(
            loss=total_variation_distance,
            reference=total_variation,
            gradient=total_variation_slope,
            invariances={
                **shifts,
                "arguments exchanged": lambda x, t: (t, x),
            },
            relations={
                "1 less what both have": lambda loss, x, t: (
                    loss(x, t),
                    1 - torch.minimum(x.softmax(1), t.softmax(1)).sum(1),
                ),
                "two classes: the difference of one": lambda loss, x, t: (
                    loss(x[:, :2], t[:, :2]),
                    (x[:, :2].softmax(1) - t[:, :2].softmax(1))[:, 0].abs(),
                ),
                "where the target is one-hot, 1 less its probability": lambda loss, x, _: (
                    loss(x, torch.full_like(x, -INF).index_fill(1, torch.tensor([1]), 0.0)),
                    1 - x.softmax(1).select(1, 1),
                ),
                "Pinsker: at most the root of half of KL": lambda loss, x, t: (
                    loss(x, t).clamp_max((kl_divergence(x, t) / 2).sqrt()),
                    loss(x, t),
                ),
                "dim counts the axis": lambda loss, x, t: (
                    loss(x.movedim(1, -1), t.movedim(1, -1), dim=-1),
                    loss(x, t),
                ),
            },
            peers={
                "torch": lambda x, t: (
                    F.l1_loss(x.softmax(1), t.softmax(1), reduction="none").sum(1) / 2
                ),
            },
            infinite={
                name: (inputs, value)
                for (name, inputs), value in zip(
                    INFINITE.items(), ([1.0], [0.5], [0.0]), strict=True
                )
            },
            errors=ERRORS,
            facts={
                "range": (0.0, 1.0),
                "perfect": (SAME, 0.0),
                # Uniform predictions of three classes, a one-hot target.
                "chance": (
                    (real([[0.0, 0.0, 0.0]]), real([[0.0, -INF, -INF]])),
                    2 / 3,
                    "uniform, of a sure target: 1 - 1/C, with C = 3",
                ),
                "convex": False,
            },
            **shared,
        ),
    ]


def rows():
    def naive(x, t):
        p, q = x.softmax(1), t.softmax(1)
        m = (p + q) / 2
        return ((q * (q / m).log() + p * (p / m).log()).sum(1) / 2).mean()

    return [
        Row(
            loss,
            shape=f"{{}} x {c}",
            n=n,
            inputs=lambda n, c=c: (bench.leaf(n, c), torch.randn(n, c)),
            peers=peers,
            slower=slower,
        )
        for n, c in ((512, 8000), (32, 10))
        for loss, peers, slower in (
            (
                generalized_jsd,
                {"torch": lambda x, t: torch_mixture(x, t).mean(), FORMULA: naive},
                "exact next to the target: expm1, log1p and exp of the difference of the "
                "logits, and the same again for the slope",
            ),
            (
                total_variation_distance,
                {FORMULA: lambda x, t: (x.softmax(1) - t.softmax(1)).abs().sum(1).mean() / 2},
                "exact next to the target, where p - q has no digits: a tanh of the difference of "
                "the logits, and the softmax again for the slope",
            ),
        )
    ]


LOGITS, UNIFORM = real([[1.0, 0.0, 0.0]]), real([[0.0, 0.0, 0.0]])


def test_values_by_hand():
    # Computed in 30 digits from p = (e, 1, 1) / (e + 2) and thirds.
    for beta, value in ((0.5, 0.03002762265), (0.1, 0.01074862883), (0.9, 0.01101745963)):
        assert generalized_jsd(LOGITS, UNIFORM, beta=beta).item() == pytest.approx(value, rel=1e-9)
    # e / (e + 2) - 1/3.
    distance = total_variation_distance(LOGITS, UNIFORM).item()
    assert distance == pytest.approx(0.2427835514, rel=1e-9)


def test_beta_weighs_the_target():
    # All mass on class 0 against class 1: beta log(1 / beta) + (1 - beta) log(1 / (1 - beta)), and
    # against halves, of which the target has one: m = (1 - beta / 2, beta / 2).
    x, t = real([[0.0, -INF]]), real([[0.0, 0.0]])
    kl_target = 0.5 * math.log(0.5 / 0.95) + 0.5 * math.log(0.5 / 0.05)
    loss = generalized_jsd(x, t, beta=0.1).item()
    assert loss == pytest.approx(0.1 * kl_target + 0.9 * math.log(1 / 0.95), rel=1e-12)


@pytest.mark.parametrize("swapped", [False, True])
def test_next_to_its_ends_it_is_beta_times_a_divergence(swapped):
    x, t = flat(np.random.default_rng(0))
    losses = generalized_jsd(x, t, beta=1 - 1e-7 if swapped else 1e-7)
    expected = kl_divergence(t, x) if swapped else kl_divergence(x, t)
    torch.testing.assert_close(losses / 1e-7, expected, rtol=1e-5, atol=0)


def test_it_bends_at_the_target():
    x = real([[0.3, -1.0, 2.0]])
    bend = torch.autograd.functional.hessian(
        lambda y: generalized_jsd(y, x, beta=0.2).sum(), x.clone()
    )
    p = x[0].softmax(0)
    torch.testing.assert_close(bend[0, :, 0], 0.16 * (torch.diag(p) - torch.outer(p, p)))


def test_at_equality_nothing_pulls():
    x = real([[0.3, -1.0, 2.0]]).requires_grad_()
    t = x.detach().clone().requires_grad_()
    for loss in (generalized_jsd, total_variation_distance):
        losses = loss(x, t)
        assert losses.item() == 0
        for slope in torch.autograd.grad(losses.sum(), (x, t)):
            assert slope.tolist() == [[0, 0, 0]]


def test_float32_keeps_the_digits_of_a_small_distance():
    # One of 1000 classes moves by 1e-4: the others share what it gains.
    t = real(np.random.default_rng(0).normal(size=(1, 1000))).float()
    x = t.clone()
    x[0, 3] += 1e-4
    for loss in (generalized_jsd, total_variation_distance):
        torch.testing.assert_close(
            loss(x, t).double(), loss(x.double(), t.double()), rtol=1e-2, atol=0
        )


def test_the_slope_does_not_stop_at_the_likeliest_class():
    # The maximum is subtracted from both, and the slope of its own class goes on.
    x = real([[3.0, 0.0]]).requires_grad_()
    (slope,) = torch.autograd.grad(total_variation_distance(x, real([[3.0, 1.0]])).sum(), x)
    p = x.detach().softmax(1)[0]
    torch.testing.assert_close(slope[0], p.prod() * real([1.0, -1.0]))


def test_a_draft_is_accepted_at_the_rate_of_1_less_the_distance():
    # Speculative decoding: a token of the draft p is kept with probability min(1, q / p).
    rng = np.random.default_rng(0)
    x, t = flat(rng)
    p, q = x[0].softmax(0).numpy(), t[0].softmax(0).numpy()
    drafts = rng.choice(5, size=200_000, p=p)
    kept = (rng.random(200_000) < q[drafts] / p[drafts]).mean()
    assert kept == pytest.approx(1 - total_variation_distance(x, t)[0].item(), abs=4e-3)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_every_dim_of_every_rank(dim):
    x, t = dense(np.random.default_rng(0))
    for loss in (generalized_jsd, total_variation_distance):
        torch.testing.assert_close(loss(x.movedim(1, dim), t.movedim(1, dim), dim=dim), loss(x, t))


def test_rounding_leaves_nothing_below_0():
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.normal(size=(2000, 3))).float()
    logits = target + 1e-6 * torch.from_numpy(rng.normal(size=(2000, 3))).float()
    for beta in (0.1, 0.5, 0.9):
        assert (generalized_jsd(logits, target, beta=beta) >= 0).all()


@pytest.mark.parametrize("side", [0, 1])
def test_a_nan_is_hidden_neither_from_the_value_nor_from_the_slopes(side):
    inputs = [torch.tensor([[0.0, 1.0, 2.0]], requires_grad=True) for _ in range(2)]
    with torch.no_grad():
        inputs[side][0, 0] = math.nan
    loss = generalized_jsd(*inputs)
    assert loss.isnan().all()
    assert all(slope.isnan().all() for slope in torch.autograd.grad(loss.sum(), inputs))


def test_an_offset_of_one_of_them_changes_nothing():
    exact = 0.7390446  # Of logits (0, -inf, -inf) and (0.3, 1.1, -0.2).
    for offset in (1e4, 1e6, 1e10):
        value = total_variation_distance(
            torch.tensor([[offset, 0.0, 0.3]]), torch.tensor([[0.3, 1.1, -0.2]])
        )
        assert abs(value.item() - exact) < 2e-7
