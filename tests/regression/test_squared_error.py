import math

import numpy as np
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.regression.huber import huber_loss
from lossbook.regression.squared_error import squared_error
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, real


def residuals(rng):
    return real(rng.normal(size=(5, 2)) * 2), real(rng.normal(size=(5, 2)) * 2)


def near(rng):
    targets, steps = rng.normal(size=(2, 8)) * 2
    distances = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    return real(targets + distances * steps), real(targets)


def expanded_square(predictions, targets):
    return predictions * predictions - 2 * predictions * targets + targets * targets


def exact_square(predictions, targets):
    return (predictions - targets) * (predictions - targets)


def slope(predictions, targets):
    return 2 * (predictions - targets), 2 * (targets - predictions)


def optax_squared_error(predictions, targets):
    import optax

    return optax.losses.squared_error(predictions.numpy(), targets.numpy())


def sklearn_mse(predictions, targets):
    from sklearn.metrics import mean_squared_error

    return mean_squared_error(targets, predictions)


def keras_mse(predictions, targets):
    import keras

    return keras.losses.MeanSquaredError()(targets, predictions)


PERFECT = (real([2.0, -1e4]), real([2.0, -1e4]))


def cases():
    return [
        Case(
            loss=squared_error,
            inputs=residuals,
            reference=expanded_square,
            exact=exact_square,
            adversarial={
                "zero residual": PERFECT,
                "outlier 1e4": (real([1e4, 0.0, 1e4]), real([0.0, 1e4, -1e4])),
                "tiny residual": (real([1e-30, -1e-200]), real([0.0, 0.0])),
                "at the end of float16": (real([255.0, 256.0]), real([0.0, 0.0])),
                "small difference of large numbers": (real([1e8 + 1]), real([1e8])),
            },
            gradient=slope,
            invariances={
                "shift of both": lambda p, t: (p + 0.75, t + 0.75),
                "prediction and target exchanged": lambda p, t: (t, p),
                "sign of both": lambda p, t: (-p, -t),
            },
            relations={
                "half of it is Huber with a large delta": lambda loss, p, t: (
                    loss(p, t) / 2,
                    huber_loss(p, t, delta=1e3),
                ),
                "scaling everything by 3 scales it by 9": lambda loss, p, t: (
                    loss(3 * p, 3 * t),
                    9 * loss(p, t),
                ),
                "twice the Gaussian NLL of variance 1": lambda loss, p, t: (
                    loss(p, t),
                    2 * F.gaussian_nll_loss(p, t, torch.ones_like(t), reduction="none"),
                ),
            },
            peers={
                "torch": lambda p, t: F.mse_loss(p, t, reduction="none"),
                "optax": optax_squared_error,
                "keras": keras_mse,
                "scikit-learn": sklearn_mse,
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
            squared_error,
            shape="{}",
            n=1 << 22,
            slower=bench.FUSED,
            inputs=bench.residuals,
            peers={
                "torch": F.mse_loss,
                "Keras": bench.keras("MeanSquaredError"),
                "Optax": bench.optax("squared_error"),
                FORMULA: lambda x, y: ((x - y) ** 2).mean(),
            },
        ),
        Row(
            squared_error,
            shape="{} x 10",
            n=32,
            slower=bench.FUSED,
            inputs=bench.small,
            peers={"torch": torch.nn.MSELoss(), FORMULA: lambda x, y: ((x - y) ** 2).mean()},
        ),
    ]


def test_values_by_hand():
    # Prices of 100 and 92: 8^2. Then 0.5^2 and (-3)^2.
    losses = squared_error(real([100.0, 0.5, 1.0]), real([92.0, 0.0, 4.0]))
    assert losses.tolist() == [64, 0.25, 9]


def test_the_mean_is_the_best_constant():
    targets = real([0.0, 1.0, 2.0, 97.0])
    constants = torch.linspace(0, 100, 401, dtype=torch.float64)
    totals = [squared_error(c.expand(4), targets).sum().item() for c in constants]
    assert constants[int(np.argmin(totals))].item() == 25


def test_slope_is_twice_the_residual():
    predictions = real([3.0, -1.0, 2.0]).requires_grad_()
    (slope,) = torch.autograd.grad(
        squared_error(predictions, real([0.0, 0.0, 2.0])).sum(), predictions
    )
    assert slope.tolist() == [6, -2, 0]


def test_targets_take_the_dtype_of_the_predictions():
    for targets in (torch.tensor([2]), torch.tensor([2.0], dtype=torch.float64)):
        losses = squared_error(torch.tensor([0.5]), targets)
        assert (losses.item(), losses.dtype) == (2.25, torch.float32)


def test_float16_overflows_only_where_the_square_does():
    losses = squared_error(torch.tensor([255.0, 256.0]).half(), torch.zeros(2))
    assert losses.tolist() == [65024, math.inf]
