import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook import huber_loss, smooth_l1_loss
from lossbook.book.pages.speed import FORMULA
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def residuals(rng):
    return real(rng.normal(size=(5, 2)) * 2), real(rng.normal(size=(5, 2)) * 2)


def near(rng):
    targets, steps = rng.normal(size=(2, 8)) * 2
    distances = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    return real(targets + distances * steps), real(targets)


def huber(predictions, targets, delta=1.0):
    r = np.abs(predictions - targets)
    return np.where(r <= delta, r**2 / 2, delta * (r - delta / 2))


def smooth_l1(predictions, targets, beta=1.0):
    r = np.abs(predictions - targets)
    return np.where(r < beta, r**2 / (2 * beta or 1), r - beta / 2)


def huber_slope(predictions, targets, delta=1.0):
    r = predictions - targets
    slope = np.where(np.abs(r) <= delta, r, delta * np.sign(r))
    return slope, -slope


def smooth_l1_slope(predictions, targets, beta=1.0):
    r = predictions - targets
    slope = np.where(np.abs(r) < beta, r / (beta or 1), np.sign(r))
    return slope, -slope


def scipy_huber(predictions, targets, delta=1.0):
    from scipy.special import huber

    return huber(delta, predictions - targets)


def optax_huber(predictions, targets, delta=1.0):
    import optax

    return optax.huber_loss(predictions.numpy(), targets.numpy(), delta=delta)


ZERO = (real([2.0]), real([2.0]))
ADVERSARIAL = {
    "zero residual": ZERO,
    "at the knee": (real([1.0, -1.0, 0.5]), real([0.0, 0.0, 0.0])),
    "one ulp around the knee": (real([1 - 2**-53, 1 + 2**-52]), real([0.0, 0.0])),
    "outlier 1e4": (real([1e4, 0.0]), real([0.0, 1e4])),
    "tiny residual": (real([1e-30]), real([0.0])),
}
UNEQUAL = (torch.zeros(3, 1), torch.zeros(3))


def cases():
    return [
        Case(
            loss=huber_loss,
            inputs=residuals,
            reference=huber,
            settings=({}, {"delta": 0.5}, {"delta": 3.0}),
            adversarial=ADVERSARIAL,
            ranges={"delta": (0.1, 4.0)},
            near=near,
            gradient=huber_slope,
            invariances={"shift of both": lambda p, t: (p + 0.75, t + 0.75)},
            relations={
                "delta to infinity is half the squared error": lambda loss, p, t: (
                    loss(p, t, delta=1e9),
                    (p - t) ** 2 / 2,
                ),
                "over a small delta it is the absolute error": lambda loss, p, t: (
                    loss(p, t, delta=1e-12) / 1e-12,
                    (p - t).abs(),
                ),
                "scaling everything by 3 scales it by 9": lambda loss, p, t: (
                    loss(3 * p, 3 * t, delta=3.0),
                    9 * loss(p, t, delta=1.0),
                ),
            },
            peers={
                "torch": lambda p, t, delta=1.0: F.huber_loss(p, t, reduction="none", delta=delta),
                "scipy": scipy_huber,
                "optax": optax_huber,
            },
            errors=[
                (UNEQUAL, {}, r"targets of shape \(3, 1\), got \(3,\)"),
                ((integer([1]), real([0.5])), {}, "floating predictions, got torch.int64"),
                (ZERO, {"delta": 0.0}, "delta > 0, got 0.0"),
                (ZERO, {"delta": -1.0}, "delta > 0, got -1.0"),
                (ZERO, {"delta": math.nan}, "delta > 0, got nan"),
            ],
            facts={"range": (0.0, math.inf), "perfect": (ZERO, 0.0), "convex": True},
        ),
        Case(
            loss=smooth_l1_loss,
            inputs=residuals,
            reference=smooth_l1,
            settings=({}, {"beta": 0.0}, {"beta": 1 / 9}, {"beta": 3.0}),
            adversarial=ADVERSARIAL,
            ranges={"beta": (0.0, 4.0)},
            near=near,
            gradient=smooth_l1_slope,
            invariances={"shift of both": lambda p, t: (p + 0.75, t + 0.75)},
            relations={
                "beta 0 is the absolute error": lambda loss, p, t: (
                    loss(p, t, beta=0.0),
                    (p - t).abs(),
                ),
                "times beta it is Huber": lambda loss, p, t: (
                    2.5 * loss(p, t, beta=2.5),
                    huber_loss(p, t, delta=2.5),
                ),
            },
            peers={
                "torch": lambda p, t, beta=1.0: F.smooth_l1_loss(p, t, reduction="none", beta=beta),
            },
            errors=[
                (UNEQUAL, {}, r"targets of shape \(3, 1\), got \(3,\)"),
                ((integer([1]), real([0.5])), {}, "floating predictions, got torch.int64"),
                (ZERO, {"beta": -0.5}, "beta >= 0, got -0.5"),
                (ZERO, {"beta": math.nan}, "beta >= 0, got nan"),
            ],
            facts={"range": (0.0, math.inf), "perfect": (ZERO, 0.0), "convex": True},
        ),
    ]


def plain_huber(x, y):
    r = x - y
    return torch.where(r.abs() <= 1, r**2 / 2, r.abs() - 0.5).mean()


def rows():
    return [
        Row(
            huber_loss,
            shape=shape,
            n=n,
            slower=bench.FUSED,
            inputs=inputs,
            peers={
                "torch": F.huber_loss,
                "Keras": bench.keras("Huber"),
                "Optax": bench.optax("huber_loss"),
                FORMULA: plain_huber,
            },
        )
        for shape, n, inputs in bench.ELEMENTWISE
    ] + [
        Row(
            smooth_l1_loss,
            shape=shape,
            n=n,
            slower=bench.FUSED,
            inputs=inputs,
            peers={"torch": F.smooth_l1_loss, FORMULA: plain_huber},
        )
        for shape, n, inputs in bench.ELEMENTWISE
    ]


def test_values_by_hand():
    # delta 2: inside 1^2 / 2, at the knee 2^2 / 2, outside 2 (8 - 1).
    predictions = real([1.0, 2.0, -8.0])
    assert huber_loss(predictions, real([0.0] * 3), delta=2.0).tolist() == [0.5, 2, 14]
    assert smooth_l1_loss(predictions, real([0.0] * 3), beta=2.0).tolist() == [0.25, 1, 7]


def test_slope_never_exceeds_delta():
    predictions = torch.linspace(-9, 9, 41, dtype=torch.float64, requires_grad=True)
    losses = huber_loss(predictions, torch.zeros_like(predictions), delta=0.75)
    (slope,) = torch.autograd.grad(losses.sum(), predictions)
    assert slope.abs().max().item() == 0.75


def test_gradient_at_zero_residual_is_zero():
    for beta in (0.0, 1.0):
        predictions = real([2.0]).requires_grad_()
        (slope,) = torch.autograd.grad(
            smooth_l1_loss(predictions, real([2.0]), beta=beta).sum(), predictions
        )
        assert slope.item() == 0


def test_beta_below_half_precision():
    # 1e-9 is 0 in float16; the loss must still be |r| - 5e-10.
    predictions = torch.tensor([0.5, -2.0], dtype=torch.float16)
    losses = smooth_l1_loss(predictions, torch.zeros_like(predictions), beta=1e-9)
    assert losses.tolist() == [0.5, 2]


def test_delta_beyond_half_precision():
    # float16 ends at 65504: within delta = 1e6 every residual is quadratic.
    predictions = torch.tensor([8.0, -100.0], dtype=torch.float16)
    losses = huber_loss(predictions, torch.zeros_like(predictions), delta=1e6)
    assert losses.tolist() == [32, 5000]


def test_integer_targets_are_cast():
    assert huber_loss(torch.tensor([0.5]), torch.tensor([0])).item() == 0.125
    assert smooth_l1_loss(torch.tensor([0.5]), torch.tensor([0])).item() == 0.125


def test_a_residual_that_half_precision_cannot_hold():
    # 120000 apart: 0.1 (120000 - 0.05), and with beta 200000 half of 120000^2 / 200000.
    x, y = torch.tensor([6e4]).half(), torch.tensor([-6e4]).half()
    assert huber_loss(x, y, delta=0.1).item() == 12000
    assert smooth_l1_loss(x, y, beta=2e5).item() == 36000


def test_a_beta_beyond_the_dtype_leaves_nothing():
    x = torch.tensor([1.0], requires_grad=True)
    for beta in (1e300, math.inf):
        loss = smooth_l1_loss(x, torch.zeros(1), beta=beta)
        assert loss.item() == pytest.approx(0, abs=1e-30)
        assert torch.autograd.grad(loss, x)[0].item() == pytest.approx(0, abs=1e-30)


def test_a_learned_beta_of_zero_has_the_slope_of_the_tail():
    # |r| - beta / 2 by beta, and nothing at r = 0.
    beta = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    losses = smooth_l1_loss(real([2.0, -3.0, 0.0]), real([0.0] * 3), beta=beta)
    assert losses.tolist() == [2, 3, 0]
    assert torch.autograd.grad(losses.sum(), beta)[0].item() == -1


def test_a_learned_delta():
    # Only the residual of 3 lies beyond 2: by delta its loss grows as |r| - delta.
    delta = torch.tensor(2.0, requires_grad=True)
    losses = huber_loss(torch.tensor([1.0, -3.0]), torch.zeros(2), delta=delta)
    assert torch.autograd.grad(losses.sum(), delta)[0].item() == 1


def test_a_learned_delta_below_half_precision():
    # 1e-9 is 0 in float16; 60000 times as much is not.
    x = torch.tensor([6e4]).half()
    loss = huber_loss(x, torch.zeros_like(x), delta=torch.tensor(1e-9))
    assert loss.item() == pytest.approx(6e-5, rel=1e-2)


def test_a_learned_beta_has_a_slope_where_the_quotient_overflows():
    for residual in (1e38, math.inf):
        beta = torch.tensor(0.1, requires_grad=True)
        smooth_l1_loss(torch.tensor([residual]), torch.zeros(1), beta=beta).sum().backward()
        assert beta.grad.item() == -0.5
