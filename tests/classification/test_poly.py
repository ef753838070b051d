import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.classification.focal import sigmoid_focal_loss
from lossbook.classification.poly import poly1_cross_entropy, poly1_focal_loss, poly_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def flat(rng):
    return real(rng.normal(size=(4, 3)) * 2), integer(rng.integers(0, 3, 4))


def dense(rng):
    return real(rng.normal(size=(2, 3, 2, 4)) * 2), integer(rng.integers(0, 3, (2, 2, 4)))


def binary(rng):
    return real(rng.normal(size=(4, 3)) * 2), real(rng.integers(0, 2, (4, 3)))


def near_labels(rng):
    """Logits that give the truth all but a share of 1 down to 1e-6, and 0."""
    shares = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    labels = rng.integers(0, 3, 8)
    logits = rng.normal(size=(8, 3))
    logits[np.arange(8), labels] = np.where(shares > 0, -np.log(shares.clip(1e-9)), 800.0)
    return real(logits), integer(labels)


def near_sides(rng):
    """Logits that give the wrong side a share of 1/2 down to 1e-6, and 0."""
    shares = np.array([0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    targets = rng.integers(0, 2, 8)
    leads = np.where(shares > 0, np.log(1 / shares.clip(1e-9) - 1) + rng.uniform(size=8), 800.0)
    return real(leads * (2 * targets - 1)), real(targets)


def softmax_of_truth(logits, labels):
    """Probabilities, the one-hot truth, and the probability of the truth."""
    e = np.exp(logits)
    p = e / e.sum(1, keepdims=True)
    truth = np.moveaxis(np.eye(logits.shape[1])[labels], -1, 1)
    return p, truth, (p * truth).sum(1)


def poly(logits, labels, epsilons):
    p_t = softmax_of_truth(logits, labels)[2]
    return -np.log(p_t) + sum(e * (1 - p_t) ** j for j, e in enumerate(epsilons, 1))


def poly_slope(logits, labels, epsilons):
    p, truth, p_t = softmax_of_truth(logits, labels)
    factor = -1 - p_t * sum(j * e * (1 - p_t) ** (j - 1) for j, e in enumerate(epsilons, 1))
    return (np.expand_dims(factor, 1) * (truth - p),)


def poly1_focal(logits, targets, epsilon=1.0, gamma=2.0, alpha=0.25):
    p = 1 / (1 + np.exp(-logits))
    p_t = np.where(targets == 1, p, 1 - p)
    weight = 1.0 if alpha is None else np.where(targets == 1, alpha, 1 - alpha)
    return weight * (epsilon * (1 - p_t) ** (gamma + 1) - (1 - p_t) ** gamma * np.log(p_t))


def poly1_focal_slope(logits, targets, epsilon=1.0, gamma=2.0, alpha=0.25):
    p = 1 / (1 + np.exp(-logits))
    p_t = np.where(targets == 1, p, 1 - p)
    weight = 1.0 if alpha is None else np.where(targets == 1, alpha, 1 - alpha)
    miss = 1 - p_t
    slope = gamma * p_t * miss**gamma * np.log(p_t) - miss ** (gamma + 1)
    slope = slope - epsilon * (gamma + 1) * p_t * miss ** (gamma + 1)
    return weight * np.where(targets == 1, 1, -1) * slope, None


def optax_poly(logits, labels, epsilon=1.0):
    import optax

    truth = F.one_hot(labels, 3).float().numpy()
    return optax.losses.poly_loss_cross_entropy(
        logits.movedim(1, -1).float().numpy(), truth, epsilon=epsilon
    )


def optax_poly1_focal(logits, targets, epsilon=1.0, gamma=2.0, alpha=0.25):
    import optax

    if epsilon != 0:
        return NotImplemented
    logits, targets = logits.float().numpy(), targets.float().numpy()
    return optax.losses.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)


MANY = {
    "right by 1e4": (real([[1e4, 0.0, -1e4]]), integer([0])),
    "right by 36": (real([[0.0, 36.0, 0.0]]), integer([1])),
    "wrong by 1e4": (real([[1e4, 0.0, -1e4]]), integer([2])),
    "equal logits": (real([[1e4] * 3, [0.0] * 3]), integer([0, 1])),
    "a class ruled out": (real([[-math.inf, 0.0, 1.0]]), integer([1])),
}
ROW = (real([[1.0, 0.0, -1.0]]), integer([2]))
ONE = (real([0.0]), real([1.0]))
SHAPES = [
    ((real([1.0, 2.0]), integer([0])), r"logits of shape \(N, C, \*\), got .* \(2,\)"),
    ((integer([[1, 2]]), integer([0])), r"floating logits of shape .*, got torch.int64 \(1, 2\)"),
    ((real([[1.0, 2.0]]), integer([[0]])), r"labels of shape \(1,\), got \(1, 1\)"),
    ((real([[[1.0], [2.0]]]), integer([0])), r"labels of shape \(1, 1\), got \(1,\)"),
]


def cases():
    return [
        Case(
            loss=poly1_cross_entropy,
            inputs=(flat, dense),
            reference=lambda x, y, epsilon=1.0: poly(x, y, [epsilon]),
            settings=({}, {"epsilon": 2.0}, {"epsilon": -1.0}),
            adversarial=MANY,
            ranges={"epsilon": (-1.0, 5.0)},
            near=near_labels,
            infinite={
                "a class ruled out": (
                    (real([[-math.inf, 0.0, 0.0]]), integer([1])),
                    [math.log(2) + 1 / 2],
                ),
                "the truth ruled out": ((real([[-math.inf, 0.0, 0.0]]), integer([0])), [math.inf]),
            },
            gradient=lambda x, y, epsilon=1.0: poly_slope(x, y, [epsilon]),
            classes={0: 1, 1: 1},
            invariances={"shift of the logits": lambda x, y: (x + 5.0, y)},
            relations={
                "epsilon 0 is cross entropy": lambda loss, x, y: (
                    loss(x, y, epsilon=0.0),
                    cross_entropy(x, y),
                ),
                "Poly-N of one epsilon": lambda loss, x, y: (
                    loss(x, y, epsilon=2.5),
                    poly_loss(x, y, epsilons=[2.5]),
                ),
                "two classes are the sigmoid form": lambda loss, x, y: (
                    loss(x[:, :2], y.clamp_max(1)),
                    poly1_focal_loss(
                        x[:, 1] - x[:, 0], y.clamp_max(1).double(), gamma=0.0, alpha=None
                    ),
                ),
            },
            peers={"optax": optax_poly},
            errors=[(inputs, {}, said) for inputs, said in SHAPES],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([[1e4, 0.0, 0.0]]), integer([0])), 0.0),
                # p_t = 1/3: log 3 + 2/3.
                "chance": (
                    (torch.zeros(2, 3).double(), integer([0, 2])),
                    math.log(3) + 2 / 3,
                    "log C + 1 - 1/C, with C = 3",
                ),
                "convex": True,
            },
        ),
        Case(
            loss=poly1_focal_loss,
            inputs=binary,
            reference=poly1_focal,
            settings=(
                {},
                {"epsilon": -1.0, "gamma": 0.0, "alpha": None},
                {"epsilon": 2.0, "gamma": 0.5, "alpha": 0.9},
                {"epsilon": 0.0},
            ),
            adversarial={
                "right by 1e4": (real([1e4, -1e4]), real([1.0, 0.0])),
                "wrong by 1e4": (real([-1e4, 1e4]), real([1.0, 0.0])),
                "right by 60": (real([60.0, -60.0]), real([1.0, 0.0])),
                "zero": (real([0.0, 0.0]), real([1.0, 0.0])),
            },
            domains={1: None},
            differentiable=(0,),
            ranges={"epsilon": (-1.0, 5.0), "gamma": (0.0, 5.0), "alpha": (0.0, 1.0)},
            near=near_sides,
            infinite={
                "right": ((real([math.inf, -math.inf]), real([1.0, 0.0])), [0.0, 0.0]),
                "wrong": ((real([-math.inf, math.inf]), real([1.0, 0.0])), [math.inf, math.inf]),
            },
            gradient=poly1_focal_slope,
            relations={
                "epsilon 0 is focal loss": lambda loss, x, y: (
                    loss(x, y, epsilon=0.0, gamma=1.5, alpha=0.3),
                    sigmoid_focal_loss(x, y, gamma=1.5, alpha=0.3),
                ),
                "the second term is the first coefficient": lambda loss, x, y: (
                    loss(x, y, epsilon=3.0, alpha=None) - loss(x, y, epsilon=1.0, alpha=None),
                    2 * torch.sigmoid((1 - 2 * y) * x) ** 3,
                ),
                "classes exchanged": lambda loss, x, y: (
                    loss(x, y, alpha=0.3),
                    loss(-x, 1 - y, alpha=0.7),
                ),
                "alpha 1/2 halves both terms": lambda loss, x, y: (
                    loss(x, y, alpha=0.5),
                    loss(x, y, alpha=None) / 2,
                ),
            },
            peers={"optax": optax_poly1_focal},
            errors=[
                ((integer([0]), real([1.0])), {}, "floating logits, got torch.int64"),
                ((torch.zeros(3, 1), torch.zeros(3)), {}, r"of shape \(3, 1\), got \(3,\)"),
                (ONE, {"gamma": -0.5}, "gamma >= 0, got -0.5"),
                (ONE, {"gamma": math.nan}, "gamma >= 0, got nan"),
                (ONE, {"alpha": 1.5}, r"alpha in \[0, 1\] or None, got 1.5"),
                (ONE, {"alpha": -0.1}, r"alpha in \[0, 1\] or None, got -0.1"),
                (ONE, {"alpha": math.nan}, r"alpha in \[0, 1\] or None, got nan"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([1e4, -1e4]), real([1.0, 0.0])), 0.0),
                # p_t = 1/2: alpha_t (log(2) / 4 + 1/8), for a positive and for a negative.
                "chance": (
                    (real([0.0, 0.0]), real([1.0, 0.0])),
                    np.array([0.25, 0.75]) * (math.log(2) / 4 + 1 / 8),
                    "a logit of 0, for a yes and a no",
                ),
                "convex": False,
            },
        ),
        Case(
            loss=poly_loss,
            exempt={"peers": "no library of this build has it"},
            inputs=(flat, dense),
            reference=poly,
            settings=(
                {"epsilons": [1.0]},
                {"epsilons": []},
                {"epsilons": (-1.0, 0.5, 2.0)},
                {"epsilons": real([0.5, 0.0, -0.25, 1.0])},
            ),
            adversarial=MANY,
            near=near_labels,
            infinite={
                "a class ruled out": (
                    (real([[-math.inf, 0.0, 0.0]]), integer([1])),
                    [math.log(2) + 1 / 2],
                ),
                "the truth ruled out": ((real([[-math.inf, 0.0, 0.0]]), integer([0])), [math.inf]),
            },
            gradient=poly_slope,
            classes={0: 1, 1: 1},
            invariances={"shift of the logits": lambda x, y: (x + 5.0, y)},
            relations={
                "no epsilons are cross entropy": lambda loss, x, y: (
                    loss(x, y, epsilons=[]),
                    cross_entropy(x, y),
                ),
                "one epsilon is Poly-1": lambda loss, x, y: (
                    loss(x, y, epsilons=[2.5]),
                    poly1_cross_entropy(x, y, epsilon=2.5),
                ),
                "zeros change nothing": lambda loss, x, y: (
                    loss(x, y, epsilons=[1.0, -2.0, 0.0, 0.0]),
                    loss(x, y, epsilons=[1.0, -2.0]),
                ),
                "linear in the epsilons": lambda loss, x, y: (
                    loss(x, y, epsilons=[3.0, 5.0]),
                    3 * loss(x, y, epsilons=[1.0])
                    + 5 * loss(x, y, epsilons=[0.0, 1.0])
                    - 7 * cross_entropy(x, y),
                ),
            },
            errors=[(inputs, {"epsilons": [1.0]}, said) for inputs, said in SHAPES],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([[1e4, 0.0, 0.0]]), integer([0])), 0.0),
                "chance": (
                    (torch.zeros(2, 3).double(), integer([0, 2])),
                    math.log(3) + 2 / 3,
                    "log C + 1 - 1/C, with C = 3",
                ),
                "convex": True,
            },
        ),
    ]


def plain_poly(x, y):
    p_t = (F.one_hot(y, x.shape[1]) * x.softmax(1)).sum(1)
    return (F.cross_entropy(x, y, reduction="none") + 1 - p_t).mean()


def plain_poly_n(x, y):
    p_t = (F.one_hot(y, x.shape[1]) * x.softmax(1)).sum(1)
    more = sum(e * (1 - p_t) ** j for j, e in enumerate((1.0, 0.5), 1))
    return (F.cross_entropy(x, y, reduction="none") + more).mean()


def plain_poly_focal(x, y):
    p = x.sigmoid()
    p_t = p * y + (1 - p) * (1 - y)
    alpha_t = 0.25 * y + 0.75 * (1 - y)
    ce = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    return (alpha_t * ((1 - p_t) ** 2 * ce + (1 - p_t) ** 3)).mean()


def rows():
    def reused(x, y, epsilons):
        ce = F.cross_entropy(x, y, reduction="none")
        miss = 1 - torch.exp(-ce)
        return (ce + sum(e * miss**j for j, e in enumerate(epsilons, 1))).mean()

    return [
        Row(
            poly1_cross_entropy,
            slower=bench.DIGITS,
            peers={FORMULA: plain_poly, "torch idiom": lambda x, y: reused(x, y, (1.0,))},
            **bench.classes(8192, 1000),
        ),
        Row(
            poly_loss,
            slower=bench.DIGITS,
            settings={"epsilons": (1.0, 0.5)},
            peers={FORMULA: plain_poly_n, "torch idiom": lambda x, y: reused(x, y, (1.0, 0.5))},
            **bench.classes(8192, 1000),
        ),
        Row(
            poly1_focal_loss,
            slower=bench.INFINITE,
            shape="{} x 4 x 256 x 256",
            n=8,
            inputs=bench.binary(4, 256, 256),
            peers={"torch idiom": plain_poly_focal},
        ),
    ]


def test_values_by_hand():
    # softmax(log 1, log 3) = (1/4, 3/4): 1 - p_t is 3/4 and 1/4.
    logits = real([[0.0, math.log(3)]] * 2)
    labels = integer([0, 1])
    expected = real([math.log(4) + 2 * 3 / 4, math.log(4 / 3) + 2 * 1 / 4])
    torch.testing.assert_close(poly1_cross_entropy(logits, labels, epsilon=2.0), expected)
    expected = real([math.log(4) + 2 * 3 / 4 - 9 / 16, math.log(4 / 3) + 2 * 1 / 4 - 1 / 16])
    torch.testing.assert_close(poly_loss(logits, labels, epsilons=[2.0, -1.0]), expected)


def test_focal_value_by_hand():
    # sigmoid(log 3) = 3/4, gamma 2, epsilon 3: alpha_t ((1 - p_t)^2 log(1/p_t) + 3 (1 - p_t)^3).
    yes = 0.25 * (1 / 16 * math.log(4 / 3) + 3 / 64)
    no = 0.75 * (9 / 16 * math.log(4) + 3 * 27 / 64)
    losses = poly1_focal_loss(real([math.log(3)] * 2), real([1.0, 0.0]), epsilon=3.0)
    torch.testing.assert_close(losses, real([yes, no]))


def test_cross_entropy_is_its_series():
    # Taking the first N terms (1 - p_t)^j / j away leaves the rest of the series.
    logits, labels = real([[math.log(3), 0.0]]), integer([0])
    rest = poly_loss(logits, labels, epsilons=[-1 / j for j in range(1, 11)])
    expected = sum((1 / 4) ** j / j for j in range(11, 40))
    assert rest.item() == pytest.approx(expected, rel=1e-9)


def test_epsilon_minus_one_cancels_the_first_term():
    # Near p_t = 1 the loss is (1 - p_t)^2 / 2 and more, without cancellation to 0 or below.
    logits = real([[0.0, -7.0]])
    miss = 1 / (1 + math.exp(7))
    loss = poly1_cross_entropy(logits, integer([0]), epsilon=-1.0).item()
    assert loss == pytest.approx(miss**2 / 2 + miss**3 / 3, rel=1e-6)


def test_epsilon_below_minus_one_turns_the_gradient_round():
    # d loss / d p_t = -1 / p_t - epsilon is positive where p_t > -1 / epsilon = 1/2.
    for p_t, sign in ((0.4, -1), (0.6, 1)):
        logits = real([[math.log(p_t), math.log(1 - p_t)]]).requires_grad_()
        loss = poly1_cross_entropy(logits, integer([0]), epsilon=-2.0).sum()
        (slope,) = torch.autograd.grad(loss, logits)
        assert math.copysign(1, slope[0, 0].item()) == sign


@pytest.mark.parametrize(("epsilon", "convex"), [(-1.0, True), (1.0, True), (1.5, False)])
def test_convex_for_epsilon_in_minus_one_to_one(epsilon, convex):
    # The Hessian is (1 + epsilon p_t) V - epsilon p_t g g', where V is that of cross entropy and g
    # its gradient: no direction bends down as long as epsilon (1 - 2 p_t) <= 1.
    def loss(logits):
        return poly1_cross_entropy(logits, integer([0]), epsilon=epsilon).sum()

    hessian = torch.autograd.functional.hessian(loss, real([[-3.0, 0.0, 1.0]]))[0, :, 0]
    assert (torch.linalg.eigvalsh(hessian).min().item() > -1e-12) == convex


def test_alpha_zero_counts():
    # alpha 0 takes both terms of the positives away; it isn't "no alpha".
    losses = poly1_focal_loss(real([0.0, 0.0]), real([1.0, 0.0]), alpha=0.0)
    torch.testing.assert_close(losses, real([0.0, math.log(2) / 4 + 1 / 8]))


def test_gradient_is_finite_where_the_power_of_a_sigmoid_has_none():
    x = torch.tensor([60.0, 200.0], requires_grad=True)
    (slope,) = torch.autograd.grad(poly1_focal_loss(x, torch.ones(2), gamma=0.5).sum(), x)
    assert slope.isfinite().all()


def test_what_is_ruled_out_costs_inf_at_any_weight():
    for alpha in (0.0, 1.0):
        x = real([-math.inf, math.inf]).requires_grad_()
        losses = poly1_focal_loss(x, real([1.0, 0.0]), alpha=alpha)
        assert losses.tolist() == [math.inf] * 2
        assert torch.autograd.grad(losses.sum(), x)[0].isfinite().all()


def test_epsilons_get_a_gradient():
    # The derivatives by the epsilons are (1 - p_t)^j.
    epsilons = real([1.0, 1.0]).requires_grad_()
    loss = poly_loss(real([[math.log(3), 0.0]]), integer([0]), epsilons=epsilons).sum()
    (slope,) = torch.autograd.grad(loss, epsilons)
    torch.testing.assert_close(slope, real([1 / 4, 1 / 16]))


def test_bool_targets_are_cast():
    x = torch.tensor([0.5, -2.0])
    expected = poly1_focal_loss(x, torch.tensor([1.0, 0.0]))
    assert poly1_focal_loss(x, torch.tensor([True, False])).equal(expected)
