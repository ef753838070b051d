import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.regression.absolute_error import absolute_error
from lossbook.regression.huber import huber_loss, smooth_l1_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, real


def residuals(rng):
    return real(rng.normal(size=(5, 2)) * 2), real(rng.normal(size=(5, 2)) * 2)


def near(rng):
    targets, steps = rng.normal(size=(2, 8)) * 2
    distances = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    return real(targets + distances * steps), real(targets)


def larger_less_smaller(predictions, targets):
    return np.maximum(predictions, targets) - np.minimum(predictions, targets)


def slope(predictions, targets):
    sign = (predictions > targets) * 1.0 - (predictions < targets) * 1.0
    return sign, -sign


def sklearn_mae(predictions, targets):
    from sklearn.metrics import mean_absolute_error

    return mean_absolute_error(targets, predictions)


def keras_mae(predictions, targets):
    import keras

    return keras.losses.MeanAbsoluteError()(targets, predictions)


PERFECT = (real([2.0, -1e4]), real([2.0, -1e4]))


def cases():
    return [
        Case(
            loss=absolute_error,
            inputs=residuals,
            reference=larger_less_smaller,
            adversarial={
                "zero residual": PERFECT,
                "outlier 1e4": (real([1e4, 0.0, 1e4]), real([0.0, 1e4, -1e4])),
                "tiny residual": (real([1e-30, -1e-200]), real([0.0, 0.0])),
                "signed zeros": (real([-0.0, 0.0]), real([0.0, -0.0])),
            },
            gradient=slope,
            invariances={
                "shift of both": lambda p, t: (p + 0.75, t + 0.75),
                "prediction and target exchanged": lambda p, t: (t, p),
                "sign of both": lambda p, t: (-p, -t),
            },
            relations={
                "smooth L1 with beta 0": lambda loss, p, t: (
                    loss(p, t),
                    smooth_l1_loss(p, t, beta=0.0),
                ),
                "Huber over a small delta": lambda loss, p, t: (
                    loss(p, t),
                    huber_loss(p, t, delta=1e-12) / 1e-12,
                ),
                "scaling everything by -3 scales it by 3": lambda loss, p, t: (
                    loss(-3 * p, -3 * t),
                    3 * loss(p, t),
                ),
                "the Laplace NLL of scale 1 less log 2": lambda loss, p, t: (
                    loss(p, t) + math.log(2),
                    -torch.distributions.Laplace(p, torch.ones_like(p)).log_prob(t),
                ),
            },
            peers={
                "torch": lambda p, t: F.l1_loss(p, t, reduction="none"),
                "keras": keras_mae,
                "scikit-learn": sklearn_mae,
            },
            errors=[
                (
                    (torch.ones(3).long(), torch.ones(3)),
                    {},
                    "floating predictions, got torch.int64",
                ),
                ((torch.zeros(3, 1), torch.zeros(3)), {}, r"targets of shape \(3, 1\), got \(3,\)"),
                ((torch.zeros(3), torch.zeros(())), {}, r"targets of shape \(3,\), got \(\)"),
                ((torch.zeros(4, 3), torch.zeros(1, 3)), {}, r"shape \(4, 3\), got \(1, 3\)"),
            ],
            near=near,
            facts={"range": (0.0, math.inf), "perfect": (PERFECT, 0.0), "convex": True},
        ),
    ]


def rows():
    return [
        Row(
            absolute_error,
            shape=shape,
            n=n,
            inputs=inputs,
            slower=bench.CALL,
            peers={
                "torch": F.l1_loss,
                "Keras": bench.keras("MeanAbsoluteError"),
                FORMULA: lambda x, y: (x - y).abs().mean(),
            },
        )
        for shape, n, inputs in bench.ELEMENTWISE
    ]


def test_values_by_hand():
    # |0.5 - 0|, |8 - 11|, |-2 - 2|
    losses = absolute_error(real([0.5, 8.0, -2.0]), real([0.0, 11.0, 2.0]))
    assert losses.tolist() == [0.5, 3, 4]


def test_the_median_is_the_best_constant():
    # One target moved from 3 to 97 moves the mean from 1.5 to 25, and the median not at all.
    targets = real([0.0, 1.0, 2.0, 3.0, 97.0])
    constants = torch.linspace(0, 100, 401, dtype=torch.float64)
    totals = [absolute_error(c.expand(5), targets).sum().item() for c in constants]
    assert constants[int(np.argmin(totals))].item() == 2


def test_slope_is_the_sign_however_large_the_residual():
    predictions = real([1e6, -1e-9, 2.0]).requires_grad_()
    losses = absolute_error(predictions, real([0.0, 0.0, 2.0]))
    (slope,) = torch.autograd.grad(losses.sum(), predictions)
    assert slope.tolist() == [1, -1, 0]


def test_targets_take_the_dtype_of_the_predictions():
    for targets in (torch.tensor([2]), torch.tensor([2.0], dtype=torch.float64)):
        losses = absolute_error(torch.tensor([0.5]), targets)
        assert (losses.item(), losses.dtype) == (1.5, torch.float32)


def test_a_finer_target_is_not_rounded():
    # float16 steps by 0.0625 at 100: 99.99 would be 100.
    loss = absolute_error(torch.tensor([100.0]).half(), torch.tensor([99.99]))
    assert loss.item() == pytest.approx(0.01, rel=1e-3)
