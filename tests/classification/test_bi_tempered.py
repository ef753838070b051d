import itertools
import math
import warnings

import numpy as np
import pytest
import torch

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.bi_tempered import bi_tempered_loss, tempered_softmax
from lossbook.classification.cross_entropy import cross_entropy
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, exactly, integer, real

# torch.compile makes such an object of its own to trace any autograd.Function.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


def labels(rng):
    return real(rng.normal(size=(4, 3)) * 2), integer(rng.integers(0, 3, 4))


def probabilities(rng):
    return real(rng.normal(size=(4, 3)) * 2), real(rng.dirichlet(np.ones(3), 4))


def matrices(rng):
    return (real(rng.normal(size=(4, 3)) * 2),)


def dense(rng):
    return (real(rng.normal(size=(2, 3, 2))),)


def near(rng):
    """Target probabilities, and logits a step away from those that give them at t2 = 1."""
    targets, steps = rng.dirichlet(np.ones(3), 8), rng.normal(size=(8, 3))
    distances = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    return real(np.log(targets) + distances * steps), real(targets)


def exp_t(x, t):
    if t == 1:
        return np.exp(x)
    return np.maximum(0, 1 + (1 - t) * x) ** (1 / (1 - t))


def log_t(x, t):
    if t == 1:
        return np.log(x)
    return (x ** (1 - t) - 1) / (1 - t)


def probability(a, t):
    """The tempered softmax over axis 1, its lambda found by Newton's method.

    The sum falls with lambda and is convex: from where it is 1 or more, no step goes too far.
    """
    if t == 1:
        return np.exp(a) / np.exp(a).sum(1, keepdims=True)
    lam = a.max(1, keepdims=True)
    for _ in range(100):
        p = exp_t(a - lam, t)
        further = lam + (p.sum(1, keepdims=True) - 1) / (p**t).sum(1, keepdims=True)
        if not (further > lam).any():
            return p
        lam = np.maximum(lam, further)
    raise AssertionError(f"lambda is not found in 100 steps at t = {t}")


def targets_of(labels, C, label_smoothing):
    q = labels if labels.ndim == 2 else np.eye(C)[labels]
    if label_smoothing == 0:
        return q
    return (1 - label_smoothing * C / (C - 1)) * q + label_smoothing / (C - 1)


def bi_tempered(logits, labels, t1=0.8, t2=1.2, label_smoothing=0.0):
    p = probability(logits, t2)
    q = targets_of(labels, logits.shape[1], label_smoothing)
    surprise = np.where(q > 0, q * (log_t(q, t1) - log_t(p, t1)), 0)
    return (surprise - (q ** (2 - t1) - p ** (2 - t1)) / (2 - t1)).sum(1)


def bi_tempered_slope(logits, labels, t1=0.8, t2=1.2, label_smoothing=0.0):
    p = probability(logits, t2)
    q = targets_of(labels, logits.shape[1], label_smoothing)
    # A class that is cut off stays so, whatever t1: no slope, where 0^0 would be 1.
    g = np.where((p > 0) | (t2 >= 1), (p - q) * p ** (t2 - t1), 0)
    escort = p**t2 / (p**t2).sum(1, keepdims=True)
    to_logits = g - escort * g.sum(1, keepdims=True)
    # A class that has a target and is ruled out costs infinity at t1 = 1: no slope.
    lost = ((q > 0) & (p == 0)).any(1, keepdims=True) & (t1 == 1)
    to_logits = np.where(lost, np.nan, to_logits)
    if labels.ndim == 1:
        return (to_logits,)
    # As many targets as classes: what the smoothing leaves of a change of them.
    kept = 1 - label_smoothing * q.shape[1] / (q.shape[1] - 1)
    return to_logits, np.where((q > 0) & (p > 0), kept * (log_t(q, t1) - log_t(p, t1)), np.nan)


def simplex(a):
    """The nearest point to `a` of the probability simplex, by sorting."""
    ordered = a.sort(1, descending=True).values
    ranks = torch.arange(1, a.shape[1] + 1)
    thresholds = (ordered.cumsum(1) - 1) / ranks
    count = (ordered > thresholds).sum(1, keepdim=True)
    return (a - thresholds.gather(1, count - 1)).clamp_min(0)


ROW = (real([[1.0, 0.0, -1.0]]), integer([2]))
SOFT_ROW = (real([[1.0, 0.0, -1.0]]), real([[0.2, 0.3, 0.5]]))
FAR = {
    "right by 1e4": (real([[1e4, 0.0, -1e4]]), integer([0])),
    "wrong by 1e4": (real([[1e4, 0.0, -1e4]]), integer([2])),
    "equal logits": (real([[1e4] * 3, [0.0] * 3]), integer([0, 1])),
    "right by 40": (real([[40.0, 0.0, 0.0]]), integer([0])),
    "at the edge of the support": (real([[2.0, 0.0, 0.0]]), integer([1])),
    "one-hot probabilities": (real([[30.0, 0.0, 0.0]]), real([[1.0, 0.0, 0.0]])),
    "wrong by 1e4, soft": (real([[1e4, -1e4, 0.0]]), real([[0.0, 0.5, 0.5]])),
    "a tiny target": (real([[0.0, 1.0, 2.0]]), real([[1e-300, 0.5, 0.5]])),
    "a class ruled out": (real([[-math.inf, 0.0, 1.0]]), integer([1])),
    "the truth ruled out": (real([[-math.inf, 0.0]]), integer([0])),
    "a class ruled out, soft": (real([[-math.inf, 0.0, 1.0]]), real([[0.0, 0.5, 0.5]])),
}


def cases():
    return [
        Case(
            loss=bi_tempered_loss,
            inputs=(labels, probabilities),
            reference=bi_tempered,
            settings=(
                {},
                {"t1": 1.0, "t2": 1.0},
                {"t1": 0.8, "t2": 1.0},
                {"t1": 1.0, "t2": 4.0},
                {"t1": 0.5, "t2": 0.5},
                {"t1": 0.0, "t2": 0.7, "label_smoothing": 0.1},
            ),
            adversarial=FAR,
            domains={1: None},
            ranges={"t1": (0.0, 1.0), "t2": (1.0, 4.0), "label_smoothing": (0.05, 0.9)},
            near=near,
            infinite={
                "a class ruled out": (
                    (real([[-math.inf, 0.0, 0.0]]), integer([1])),
                    [(1 - 2**-0.2) / 0.2 - (1 - 2**-0.2) / 1.2],
                ),
                # At most 1 / (1 - t1) = 5: less 1 / 1.2 for what p holds, 2 (1/2)^1.2 of it.
                "the truth ruled out": (
                    (real([[-math.inf, 0.0, 0.0]]), integer([0])),
                    [5 - (1 - 2**-0.2) / 1.2],
                ),
            },
            gradient=bi_tempered_slope,
            exempt={"peers": "no library of this build has it"},
            classes={0: 1, 1: 1},
            invariances={"shift of the logits": lambda x, y: (x + 5.0, y)},
            relations={
                "temperatures of 1 are cross entropy": lambda loss, x, y: (
                    (loss(x, y, t1=1.0, t2=1.0), cross_entropy(x, y))
                    if y.dim() == 1
                    else NotImplemented
                ),
                "temperatures of 1 are KL for soft targets": lambda loss, x, y: (
                    (
                        loss(x, y, t1=1.0, t2=1.0),
                        (y * (y.log() - x.log_softmax(1))).sum(1),
                    )
                    if y.dim() == 2
                    else NotImplemented
                ),
                "temperatures near 1 are nearly that": lambda loss, x, y: (
                    loss(x, y, t1=1 - 1e-12, t2=1 + 1e-12),
                    loss(x, y, t1=1.0, t2=1.0),
                ),
                "one-hot probabilities are labels": lambda loss, x, y: (
                    (loss(x, y), loss(x, torch.eye(3).double()[y]))
                    if y.dim() == 1
                    else NotImplemented
                ),
                "smoothing over the wrong classes": lambda loss, x, y: (
                    (
                        loss(x, y, label_smoothing=0.2),
                        loss(x, 0.1 + 0.7 * torch.eye(3).double()[y]),
                    )
                    if y.dim() == 1
                    else NotImplemented
                ),
                "t1 0 and t2 1 are half the squared error of the softmax": lambda loss, x, y: (
                    loss(x, y, t1=0.0, t2=1.0),
                    (x.softmax(1) - (torch.eye(3).double()[y] if y.dim() == 1 else y))
                    .square()
                    .sum(1)
                    / 2,
                ),
            },
            errors=[
                ((real([1.0, 2.0]), integer([0])), {}, r"shape \(N, C\), got .* \(2,\)"),
                ((torch.zeros(1, 2, 3), integer([[0] * 3])), {}, r"\(N, C\), got .* \(1, 2, 3\)"),
                ((integer([[1, 2]]), integer([0])), {}, "floating logits .*, got torch.int64"),
                ((real([[1.0, 2.0]]), integer([[0]])), {}, r"labels of shape \(1,\), got \(1, 1\)"),
                ((real([[1.0, 2.0]]), real([0.0])), {}, r"of shape \(1, 2\), got \(1,\)"),
                (ROW, {"t1": -0.1}, r"t1 in \[0, 1\], got -0.1"),
                (ROW, {"t1": 1.1, "t2": 2.0}, r"t1 in \[0, 1\], got 1.1"),
                (ROW, {"t1": math.nan}, r"t1 in \[0, 1\], got nan"),
                (ROW, {"t1": 0.0, "t2": 0.0}, r"t2 > 0, got 0.0"),
                (ROW, {"t2": -1.0}, r"t2 > 0, got -1.0"),
                (ROW, {"t2": math.nan}, r"t2 > 0, got nan"),
                (ROW, {"t1": 0.8, "t2": 0.7}, r"t1 <= t2, got t1 = 0.8 and t2 = 0.7"),
                (ROW, {"t2": torch.ones(2)}, r"t2 of shape \(\), got \(2,\)"),
                (ROW, {"label_smoothing": 1.0}, r"in \[0, 1\), got 1.0"),
                (ROW, {"label_smoothing": -0.1}, r"in \[0, 1\), got -0.1"),
                (ROW, {"label_smoothing": math.nan}, r"in \[0, 1\), got nan"),
                (
                    (torch.zeros(2, 1), integer([0, 0])),
                    {"label_smoothing": 0.1},
                    "at least 2 classes with label_smoothing, got 1",
                ),
            ],
            facts={
                # An integer label costs at most 1 / (1 - t1) = 5.
                "range": (0.0, 5.0),
                "perfect": ((real([[1e4, 0.0]]), real([[1.0, 0.0]])), 0.0),
                # p = 1/3: (1 - 3^-0.2) / 0.2 - (1 - 3 (1/3)^1.2) / 1.2.
                "chance": (
                    (torch.zeros(2, 3).double(), integer([0, 2])),
                    (1 - 3**-0.2) / 0.2 - (1 - 3**-0.2) / 1.2,
                    "equal logits, with C = 3",
                ),
                "convex": False,
            },
        ),
        Case(
            loss=tempered_softmax,
            inputs=(matrices, dense),
            reference=probability,
            settings=({"t": 1.2}, {"t": 1.0}, {"t": 0.5}, {"t": 4.0}, {"t": 0.1}),
            adversarial={
                "apart by 1e4": (real([[1e4, 0.0, -1e4]]),),
                "equal logits": (real([[1e4] * 3, [0.0] * 3]),),
                "at the edge of the support": (real([[2.0, 0.0, 0.0]]),),
                "a class ruled out": (real([[-math.inf, 0.0, 1.0]]),),
            },
            ranges={"t": (0.1, 8.0)},
            exempt={
                "peers": "no library of this build has it",
                "next to the optimum": "probabilities have no optimum",
            },
            infinite={
                "a class ruled out": (
                    (real([[-math.inf, 0.0, 0.0]]),),
                    [[0.0, 0.5, 0.5]],
                )
            },
            classes={0: 1, "values": 1},
            invariances={"shift of the logits": lambda a: (a + 5.0,)},
            relations={
                "t 1 is the softmax": lambda loss, a: (loss(a, t=1.0), a.softmax(1)),
                "t near 1 is nearly the softmax": lambda loss, a: (
                    torch.stack([loss(a, t=t) for t in (1 - 1e-12, 1 + 1e-12)]),
                    a.softmax(1).expand(2, *a.shape),
                ),
                "t to 0 is the nearest point of the simplex": lambda loss, a: (
                    (loss(a, t=1e-13), simplex(a)) if a.dim() == 2 else NotImplemented
                ),
                "the classes may lie on any dimension": lambda loss, a: (
                    loss(a, t=1.2),
                    loss(a.movedim(1, 0), t=1.2, dim=0).movedim(0, 1),
                ),
                "it sums to 1": lambda loss, a: (
                    loss(a, t=1.2).sum(1),
                    torch.ones_like(a[:, 0]),
                ),
            },
            errors=[
                ((integer([[1, 0]]),), {"t": 1.2}, "floating logits, got torch.int64"),
                ((real([[1.0, 0.0]]),), {"t": 0.0}, "t > 0, got 0.0"),
                ((real([[1.0, 0.0]]),), {"t": -1.0}, "t > 0, got -1.0"),
                ((real([[1.0, 0.0]]),), {"t": math.nan}, "t > 0, got nan"),
                ((real([[1.0, 0.0]]),), {"t": torch.ones(2)}, r"t of shape \(\), got \(2,\)"),
            ],
            facts={
                "range": (0.0, 1.0),
                "chance": ((torch.zeros(2, 3).double(),), 1 / 3, "1 / C, with C = 3"),
                "convex": False,
            },
        ),
    ]


def two(gap):
    return real([[gap, 0.0]])


def plain_tempered(x, y):
    """The published fixed point, its steps unrolled by autograd."""
    t1, t2 = 0.8, 1.2
    top = x.amax(1, keepdim=True)
    start = x - top
    z = start
    for _ in range(5):
        total = (1 + (1 - t2) * z).clamp_min(0).pow(1 / (1 - t2)).sum(1, keepdim=True)
        z = start * total ** (1 - t2)
    total = (1 + (1 - t2) * z).clamp_min(0).pow(1 / (1 - t2)).sum(1, keepdim=True)
    shift = (total ** (t2 - 1) - 1) / (t2 - 1) + top
    p = (1 + (1 - t2) * (x - shift)).clamp_min(0).pow(1 / (1 - t2))
    hit = p.gather(1, y[:, None]).squeeze(1)
    log = (hit ** (1 - t1) - 1) / (1 - t1)
    return (-log - (1 - (p ** (2 - t1)).sum(1)) / (2 - t1)).mean()


def rows():
    return [
        Row(
            bi_tempered_loss,
            slower="seven steps of Newton's method to rounding, where the fixed point takes five "
            "to a few digits",
            peers={FORMULA: plain_tempered},
            sweep=(256, 1024, 4096),
            **bench.classes(4096, 1000),
        ),
    ]


def test_probabilities_by_hand():
    # t 2: p = 1 / (1 + lambda - a), so 1/u + 1/(u + 3/2) = 1 at u = 3/2.
    torch.testing.assert_close(tempered_softmax(two(1.5), t=2.0), real([[2 / 3, 1 / 3]]))
    # t 1/2: p = (1 - (lambda - a) / 2)^2, so w^2 + (w - 0.4 / 2)^2 = 1 at w = 0.8.
    torch.testing.assert_close(tempered_softmax(two(0.4), t=0.5), real([[0.64, 0.36]]))
    # t 5: p = (1 + 4 (lambda - a))^(-1/4), so 1 / p^4 is 4 times the gap apart.
    gap = (4**4 - (4 / 3) ** 4) / 4
    torch.testing.assert_close(tempered_softmax(two(gap), t=5.0), real([[0.75, 0.25]]))
    # From a gap of 1 / (1 - t) = 2 on the other class gets nothing.
    assert tempered_softmax(two(2.5), t=0.5).tolist() == [[1, 0]]


def test_loss_by_hand():
    # p = (0.64, 0.36): log_(1/2) x = 2 sqrt(x) - 2, x^(3/2) / (3/2) = (1, 0.512, 0.216) / 1.5.
    losses = bi_tempered_loss(two(0.4), integer([0]), t1=0.5, t2=0.5)
    torch.testing.assert_close(losses, real([2 - 2 * 0.8 - (1 - 0.512 - 0.216) / 1.5]))
    losses = bi_tempered_loss(two(0.4), real([[0.25, 0.75]]), t1=0.5, t2=0.5)
    root = math.sqrt(0.75)
    surprise = 0.25 * 2 * (0.5 - 0.8) + 0.75 * 2 * (root - 0.6)
    expected = surprise - (0.125 + 0.75 * root - 0.512 - 0.216) / 1.5
    torch.testing.assert_close(losses, real([expected]))


@pytest.mark.parametrize(
    ("t1", "t2", "expected"),
    [
        (1.0, 1.0, 0.62870461),
        (0.8, 1.2, 0.34298319),
        (0.7, 1.3, 0.26295578),
        (0.2, 4.0, 0.02919504),
        (0.5, 0.5, 0.82602078),
        (0.8, 0.8, 0.73738492),
    ],
)
def test_values_of_the_authors_code(t1, t2, expected):
    # In float32 and with iterations enough: its five give 0.82469082 at t1 = t2 = 0.5.
    loss = bi_tempered_loss(real([[-0.5, 0.1, 2.0]]), real([[0.2, 0.5, 0.3]]), t1=t1, t2=t2)
    assert loss.item() == pytest.approx(expected, abs=2e-7)


def test_table_of_the_authors_code():
    labels = real([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.2, 0.8, 0.0]])
    logits = real([[-0.5, 0.1, 2.0], [0.1, 1.5, -5.0], [4.0, -3.0, -6.0]])
    for t2, expected in (
        (1.5, [0.02301914, 0.18972909, 0.93874922]),
        (0.8, [0.21646356, 0.41836615, 1.33997854]),
    ):
        losses = bi_tempered_loss(logits, labels, t1=0.5, t2=t2)
        torch.testing.assert_close(losses, real(expected), rtol=0, atol=1e-6)


MANY = (
    ("normal", lambda rng, C: rng.normal(size=C)),
    ("wide", lambda rng, C: 100 * rng.normal(size=C)),
    ("heavy", lambda rng, C: rng.standard_cauchy(size=C)),
    ("one against the rest", lambda _, C: np.r_[0.9, np.zeros(C - 1)]),
    ("evenly spread", lambda _, C: np.linspace(0, 3, C)),
    ("many small steps", lambda _, C: 1 / np.sqrt(np.arange(1, C + 1))),
)
TEMPERATURES = (0.05, 0.3, 0.5, 0.8, 0.99, 1.01, 1.2, 2.0, 4.0, 10.0)


def test_lambda_is_the_same_for_every_class():
    # What makes p the tempered softmax, besides its sum: a - log_t p is one number, lambda.
    for C, (name, draw), t in itertools.product((2, 1000, 30_000), MANY, TEMPERATURES):
        values, told = draw(np.random.default_rng(C), C), f"{name}, {C} classes, t = {t}"
        for setting in (t, real(t)):
            p = tempered_softmax(real(values)[None], t=setting)[0].numpy()
            assert p.sum() == pytest.approx(1, abs=1e-13)
            a, p, cut = values[p > 0], p[p > 0], values[p == 0]
            found = a - log_t(p, t)
            best = found[a.argmax()]
            # Above t 1 the slope of log_t is p^(1 - t) times larger for a small p, and so is the
            # trace that a rounding of p leaves.
            off = np.abs(found - best) * np.minimum(p ** (t - 1), 1)
            assert off.max() < 1e-11 * (1 + np.abs(a).max()), told
            assert (1 + (1 - t) * (cut - best) <= 1e-12).all(), told


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sum_in_low_precision(dtype):
    # In bfloat16 every probability is rounded by up to 2^-8 of itself, equal ones alike.
    tolerance = 1e-6 if dtype == torch.float32 else 2**-8
    for t in TEMPERATURES:
        for name, draw in MANY:
            a = real(draw(np.random.default_rng(0), 30_000))[None].to(dtype)
            total = tempered_softmax(a, t=t).double().sum().item()
            assert total == pytest.approx(1, abs=tolerance), f"{name}, t = {t}"


def test_near_one():
    logits, labels = real([[2.0, 0.0, -30.0]] * 2), integer([1, 2])
    for delta in (-1e-3, -1e-7, -1e-12, 1e-12, 1e-7, 1e-3):
        settings = {"t1": 1 - abs(delta), "t2": 1 + delta}
        ours = bi_tempered_loss(logits, labels, **settings)
        exact = real(exactly(bi_tempered, (logits, labels), settings))
        torch.testing.assert_close(ours, exact, rtol=1e-13, atol=0)


@pytest.mark.parametrize("t", [0.4, 0.8, 1.0, 1.2, 4.0])
def test_jacobian_holds_the_escort_distribution(t):
    # d p_i / d a_j = p_i^t (1[i = j] - e_j), with e = p^t / sum p^t.
    a = real([[0.3, -0.2, 1.1, -4.0]])
    p = tempered_softmax(a, t=t)[0]
    powers = (p**t).where(p > 0, 0)
    expected = torch.diag(powers) - powers[:, None] * (powers / powers.sum())
    found = torch.autograd.functional.jacobian(lambda a: tempered_softmax(a, t=t), a)[0, :, 0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_second_derivatives_are_finite_at_the_extremes():
    logits = real([[1e4, 0.0, -1e4], [0.5, 0.0, -3.0], [-math.inf, 0.0, 1.0]])
    for t1, t2 in ((0.8, 1.2), (0.5, 0.5), (1.0, 1.0), (0.5, 4.0), (0.9, 1.01), (0.2, 0.6)):
        x = logits.clone().requires_grad_()
        losses = bi_tempered_loss(x, integer([2, 0, 1]), t1=t1, t2=t2)
        (slope,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad((slope * real([1.0, -2.0, 3.0])).sum(), x)
        assert bend.isfinite().all(), f"t1 = {t1}, t2 = {t2}: {bend}"


def test_loss_of_a_label_is_bounded():
    # 1 / (1 - t1), reached where all probability lies on one wrong class.
    for t1 in (0.0, 0.5, 0.8):
        loss = bi_tempered_loss(two(-1e9), integer([0]), t1=t1, t2=0.9)
        assert loss.item() == pytest.approx(1 / (1 - t1))


def test_truth_that_is_cut_off_gets_no_gradient():
    # Below t2 = 1 the truth can leave the support, and then nothing pulls it back.
    for gap, stuck in ((-1.5, False), (-2.5, True)):
        logits = two(gap).requires_grad_()
        loss = bi_tempered_loss(logits, integer([0]), t1=0.5, t2=0.5).sum()
        (slope,) = torch.autograd.grad(loss, logits)
        assert bool((slope == 0).all()) == stuck


def test_one_class_is_certain():
    assert tempered_softmax(real([[3.0]]), t=1.2).tolist() == [[1]]
    assert bi_tempered_loss(real([[3.0]]), integer([0])).tolist() == [0]


def test_ruled_out_class_with_target_mass_costs_infinity_at_t1_one():
    logits = real([[-math.inf, 0.0, 1.0]])
    for t2 in (1.0, 1.5):
        for labels in (integer([0]), real([[0.5, 0.5, 0.0]])):
            assert bi_tempered_loss(logits, labels, t1=1.0, t2=t2).item() == math.inf


def test_smoothing_spreads_over_the_wrong_classes():
    # epsilon 0.2 over three classes: 0.8 on the truth, 0.1 on each other, not 0.2 / 3.
    logits = real([[1.0, 0.0, -1.0]])
    smoothed = bi_tempered_loss(logits, integer([0]), label_smoothing=0.2)
    torch.testing.assert_close(smoothed, bi_tempered_loss(logits, real([[0.8, 0.1, 0.1]])))
    # (1 - 0.3) q + 0.1 for probabilities.
    smoothed = bi_tempered_loss(logits, real([[0.5, 0.5, 0.0]]), label_smoothing=0.2)
    torch.testing.assert_close(smoothed, bi_tempered_loss(logits, real([[0.45, 0.45, 0.1]])))


def test_near_a_perfect_fit_float32_keeps_its_digits():
    # p = 6e-6 of the wrong class costs about p^1.5 / 1.5, less than the rounding of 1 - (1 - p).
    logits = torch.tensor([[50.0, 0.0]])
    ours, exact = (bi_tempered_loss(x, integer([0]), t1=0.5) for x in (logits, logits.double()))
    assert exact.item() < 2**-24
    assert ours.item() == pytest.approx(exact.item(), rel=1e-3)


def test_kl_of_float32_keeps_its_digits_near_the_target():
    rng = np.random.default_rng(0)
    targets = real(rng.dirichlet(np.ones(20), 50))
    logits = (targets.log() + 1e-3 * real(rng.normal(size=(50, 20)))).float()
    targets = targets.float()
    ours = bi_tempered_loss(logits, targets, t1=1.0, t2=1.0)
    exact = bi_tempered_loss(logits.double(), targets.double(), t1=1.0, t2=1.0)
    assert (ours > 0).all()
    torch.testing.assert_close(ours.double(), exact, rtol=1e-2, atol=0)


def test_a_learned_temperature():
    # One tensor in place of the number: the same values, and the slope of differences.
    a, step = real([[0.3, -0.2, 1.1, -4.0]]), 1e-5
    for t in (0.5, 1.0, 1 + 1e-14, 1 + 1e-8, 1.2, 4.0):
        learned = real(t).requires_grad_()
        p = tempered_softmax(a, t=learned)
        torch.testing.assert_close(p.detach(), tempered_softmax(a, t=t), rtol=1e-12, atol=1e-15)
        (slope,) = torch.autograd.grad(p[0, 0], learned)
        ends = [tempered_softmax(a, t=t + s)[0, 0].item() for s in (-step, step)]
        assert slope.item() == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-6)
        with warnings.catch_warnings(action="ignore"):  # Forward mode itself calls what is old.
            function = lambda t: tempered_softmax(a, t=t)[0, 0]  # noqa: E731
            _, ahead = torch.func.jvp(function, (real(t),), (real(1.0),))
        assert ahead.item() == pytest.approx(slope.item(), rel=1e-12)


def test_learned_temperatures_of_1_keep_infinity():
    logits, one = real([[-math.inf, 0.0, 1.0]]), torch.tensor(1.0)
    assert bi_tempered_loss(logits, integer([0]), t1=one, t2=one).item() == math.inf
    assert bi_tempered_loss(logits, real([[0.5, 0.5, 0.0]]), t1=one, t2=one).item() == math.inf


def test_a_class_ruled_out_at_a_high_temperature():
    # 999^-19, by which gaps are scaled, is 0 in float32, and the gap is infinite.
    logits = torch.zeros(1, 1000)
    logits[0, 0] = -math.inf
    p = tempered_softmax(logits, t=20.0)[0]
    torch.testing.assert_close(p[1:], torch.full((999,), 1 / 999))
    assert p[0].item() == 0


def test_slope_by_t1_where_the_truth_is_cut_off():
    # The loss is 1 / (1 - t1) there.
    for dtype in (torch.float32, torch.float64):
        t1 = torch.tensor(0.5, dtype=dtype, requires_grad=True)
        logits = torch.tensor([[0.0, 10.0, 1.0]], dtype=dtype)
        value = bi_tempered_loss(logits, torch.tensor([0]), t1=t1, t2=0.6)
        assert value.item() == pytest.approx(2, rel=1e-6)
        value.sum().backward()
        assert t1.grad.item() == pytest.approx(4, rel=1e-6)
