"""examine: each of its limits has a batch just on this side of it, and one just on the other."""

import ast
import inspect
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from lossbook import (
    Criterion,
    cross_entropy,
    examination,
    focal_loss,
    huber_loss,
    kl_penalty,
    sigmoid_focal_loss,
    simpo_loss,
)
from lossbook.examination import _Limit
from tests.test_examine import (
    absolute,
    coins,
    dice,
    given,
    hardest,
    info_nce,
    normal,
    poisson,
    squared,
)

TURN = torch.tensor([1, 2, 0])  # Whose square has no fixed point: classes on another axis differ.


def capped(most):
    """A squared error that is flat at and above `most`."""
    return lambda predictions, targets: ((predictions - targets) ** 2).clamp(max=most)


def nearly_squared(off):
    """A squared error but for one value."""

    def loss(predictions, targets):
        return (predictions - targets) ** 2 * torch.cat([torch.tensor([1 + off]), torch.ones(63)])

    return loss


def half_and(second, dtype=torch.float64):
    """Eight rows of two entries, 1/2 and another."""
    return torch.tensor([[0.5, second]], dtype=dtype).expand(8, 2)


def binary(*values, rows=8):
    """Two classes of which the second is the truth's rival, by so much."""
    return given(
        cross_entropy, torch.tensor([[0.0, *values]]).expand(rows, 2), torch.zeros(rows).long()
    )


def rows(probabilities, others):
    return torch.cat([normal(probabilities, 3).softmax(1), normal(others, 3, seed=1)])


def turned(last, read):
    """Logits of three classes: how far the truth leads along the last axis, and as read."""
    cube = last * one_hot(TURN, 3) + read * one_hot(TURN, 3).T
    return given(cross_entropy, cube.float().expand(4, 3, 3), TURN.expand(4, 3))


def residuals(*large, of):
    """A squared error of residuals of 1, but for a few."""
    few = torch.tensor(large)
    return given(squared, torch.cat([few, torch.ones(of - len(few))]), torch.zeros(of))


def weighed(alpha, positives, of=50):
    loss = Criterion(sigmoid_focal_loss, alpha=alpha)
    return given(loss, normal(of), (torch.arange(of) < positives).float())


def frequent(common, rare, alpha=(2.0, 1.0)):
    loss = Criterion(focal_loss, alpha=torch.tensor(alpha))
    return given(loss, normal(common + rare, 2), (torch.arange(common + rare) < rare).long())


def alike(n, value, targets=None):
    return torch.full((n,), value), normal(n) if targets is None else torch.full((n,), targets)


def masks(n):
    return given(dice, torch.arange(n).remainder(2.0).view(1, 1, n), coins(1, 1, n))


def averages(value):
    return given(simpo_loss, torch.full((4,), value), torch.full((4,), value - 1))


def near_one(sum_):
    """A probability for each of three masks, one of them off by what rounding may leave."""
    return given(dice, torch.tensor([[[0.3, 0.7, sum_]]]), coins(1, 1, 3))


def points(off):
    queries = torch.ones(4, 3, dtype=torch.float64)
    queries[1, 1] += off
    return given(info_nce, queries, normal(4, 3).double())


# For each limit: what is said, of which batch it is not said, and of which it is.
SIDES = {
    "listed": [
        (
            "(2 classes): 2, 3, 4",
            given(cross_entropy, normal(11, 2), torch.arange(2, 13)),
            given(cross_entropy, normal(10, 2), torch.arange(2, 12)),
        )
    ],
    "crowd": [
        (
            "are one point",
            given(info_nce, torch.ones(2, 3), normal(2, 3)),
            given(info_nce, torch.ones(3, 3), normal(3, 3)),
        ),
        (
            "no anchor has",
            given(hardest, normal(3, 4), torch.arange(3)),
            given(hardest, normal(4, 4), torch.arange(4)),
        ),
    ],
    "few": [
        (
            "lie in [0, 1]",
            given(sigmoid_focal_loss, torch.linspace(0.1, 0.9, 7), coins(7)),
            given(sigmoid_focal_loss, torch.linspace(0.1, 0.9, 8), coins(8)),
        ),
        ("exactly 0 or 1", masks(7), masks(8)),
        (
            "rows of predictions are equal",
            given(huber_loss, *alike(7, 0.3)),
            given(huber_loss, *alike(8, 0.3)),
        ),
        ("sure and wrong", binary(9.0, rows=7), binary(9.0, rows=8)),
        (
            "far beyond delta",
            given(huber_loss, *alike(7, 500.0)),
            given(huber_loss, *alike(8, 500.0)),
        ),
        (
            "equal their targets",
            given(squared, normal(7), normal(7)),
            given(squared, normal(8), normal(8)),
        ),
        ("alpha is 2", frequent(31, 6), frequent(32, 6)),
    ],
    "some": [
        (
            "whole numbers",
            given(huber_loss, normal(15, scale=3).round(), normal(15)),
            given(huber_loss, normal(16, scale=3).round(), normal(16)),
        )
    ],
    "many": [
        ("weight of positives", weighed(0.1, 3, of=31), weighed(0.1, 3, of=32)),
        ("alpha is 2", frequent(29, 2), frequent(30, 2)),
        ("of the squared error", residuals(90.0, of=31), residuals(90.0, of=32)),
    ],
    "softmax": [
        (
            "hold probabilities",
            given(cross_entropy, half_and(0.5 + 1.1e-4), torch.arange(8) % 2),
            given(cross_entropy, half_and(0.5 + 0.9e-4), torch.arange(8) % 2),
        )
    ],
    "rounded": [
        (
            "rows of soft labels",
            given(cross_entropy, normal(8, 2).double(), half_and(0.5009)),
            given(cross_entropy, normal(8, 2).double(), half_and(0.5011)),
        ),
        ("outside [0, 1]", near_one(1.0009), near_one(1.0011)),
        ("outside [0, 1]", near_one(-0.0009), near_one(-0.0011)),
        (
            "are above 0",
            given(kl_penalty, torch.tensor([-1.0, 0.0009]), -torch.ones(2)),
            given(kl_penalty, torch.tensor([-1.0, 0.0011]), -torch.ones(2)),
        ),
        (
            "normalized along the last",
            given(cross_entropy, 1.0011 * normal(4, 3, 3).softmax(2), TURN.expand(4, 3)),
            given(cross_entropy, 1.0009 * normal(4, 3, 3).softmax(2), TURN.expand(4, 3)),
        ),
        (
            "are not normalized",
            given(
                nn.NLLLoss(), normal(8, 3).log_softmax(1) + math.log(1.0009), torch.arange(8) % 3
            ),
            given(
                nn.NLLLoss(), normal(8, 3).log_softmax(1) + math.log(1.0011), torch.arange(8) % 3
            ),
        ),
    ],
    "eps": [
        (
            "hold probabilities",
            given(cross_entropy, half_and(0.535, torch.bfloat16), torch.arange(8) % 2),
            given(cross_entropy, half_and(0.527, torch.bfloat16), torch.arange(8) % 2),
        ),
        (
            "rows of soft labels",
            given(cross_entropy, normal(8, 2).bfloat16(), half_and(0.527, torch.bfloat16)),
            given(cross_entropy, normal(8, 2).bfloat16(), half_and(0.535, torch.bfloat16)),
        ),
    ],
    "point": [("are one point", points(1.1e-6), points(0.9e-6))],
    "whole": [
        (
            "whole numbers",
            given(absolute, torch.arange(16).remainder(12).half(), normal(16).half()),
            given(absolute, torch.arange(16).remainder(11).half(), normal(16).half()),
        )
    ],
    "square": [
        (
            "of the squared error",
            given(
                nearly_squared(0.011),
                torch.cat([torch.ones(63), torch.tensor([90.0])]),
                torch.zeros(64),
            ),
            given(
                nearly_squared(0.009),
                torch.cat([torch.ones(63), torch.tensor([90.0])]),
                torch.zeros(64),
            ),
        )
    ],
    "rows": [
        (
            "hold probabilities",
            given(cross_entropy, rows(18, 2), torch.arange(20) % 3),
            given(cross_entropy, rows(19, 1), torch.arange(20) % 3),
        ),
        (
            "are not normalized",
            given(
                nn.NLLLoss(),
                rows(19, 1).log_softmax(1) - (torch.arange(20)[:, None] < 1).float(),
                torch.arange(20) % 3,
            ),
            given(
                nn.NLLLoss(),
                rows(19, 1).log_softmax(1) - (torch.arange(20)[:, None] < 3).float(),
                torch.arange(20) % 3,
            ),
        ),
    ],
    "spread": [
        (
            "lie in [0, 1]",
            given(sigmoid_focal_loss, torch.linspace(0.2, 0.79, 8), coins(8)),
            given(sigmoid_focal_loss, torch.linspace(0.2, 0.81, 8), coins(8)),
        )
    ],
    "dead": [
        (
            "gradient of exactly 0",
            given(capped(10.0), torch.tensor([5.0, 0.5]), torch.zeros(2)),
            given(capped(10.1), torch.tensor([5.0, 0.5]), torch.zeros(2)),
        )
    ],
    "pixel": [
        (
            "targets / 255",
            given(sigmoid_focal_loss, normal(3), torch.tensor([0.0, 20.0, 50.0])),
            given(sigmoid_focal_loss, normal(3), torch.tensor([0.0, 20.0, 51.0])),
        )
    ],
    "near": [
        (
            "log_rates average",
            given(poisson, *alike(4, 10.1, 5.0)),
            given(poisson, *alike(4, 9.9, 5.0)),
        ),
        (
            "log_rates average",
            given(poisson, *alike(4, 9.9, 20.0)),
            given(poisson, *alike(4, 10.1, 20.0)),
        ),
    ],
    "rate": [
        (
            "log_rates average",
            given(poisson, *alike(4, 2.29, 2.0)),
            given(poisson, *alike(4, 2.32, 2.0)),
        )
    ],
    "twice": [
        ("along the last, and", turned(0.99, 0.0), turned(1.02, 0.0)),  # 2 CE = log 3
        ("along the last, and", turned(10.47, 10.0), turned(10.49, 10.0)),  # 2 CE = the one read
        ("on any axis", turned(0.0, 1.02), turned(0.0, 0.99)),
        ("on any axis", turned(10.0, 10.49), turned(10.0, 10.47)),
        ("alpha is", frequent(40, 6, (1.99, 1.0)), frequent(40, 6, (2.0, 1.0))),
    ],
    "chance": [("sure and wrong", binary(5.68), binary(5.71))],
    "rare": [
        ("weight of positives", weighed(0.1, 10), weighed(0.1, 9)),
        ("weight of positives", weighed(0.2, 5), weighed(0.19, 5)),
        ("weight of positives", weighed(0.9, 40), weighed(0.9, 41)),
        ("weight of positives", weighed(0.8, 45), weighed(0.81, 45)),
    ],
    "often": [("alpha is 2", frequent(39, 8), frequent(40, 8))],
    "huge": [
        (
            "targets are around",
            given(squared, 9.9e5 + normal(8), 9.9e5 + normal(8, seed=1)),
            given(squared, 1.01e6 + normal(8), 1.01e6 + normal(8, seed=1)),
        )
    ],
    "large": [
        (
            "targets are around",
            given(squared, *alike(8, 1.0, 999.0)),
            given(squared, *alike(8, 1.0, 1000.0)),
        )
    ],
    "scale": [
        (
            "targets are around",
            given(squared, *alike(8, 20.1, 2000.0)),
            given(squared, *alike(8, 20.0, 2000.0)),
        ),
        (
            "far beyond delta",
            given(huber_loss, *alike(8, 100.0, 0.0)),
            given(huber_loss, *alike(8, 101.0, 0.0)),
        ),
    ],
    "far": [("of the squared error", residuals(10.0, of=64), residuals(10.1, of=64))],
    "share": [("of the squared error", residuals(11.2, of=128), residuals(11.4, of=128))],
    "outliers": [
        ("of the squared error", residuals(*11 * [99.0], of=100), residuals(*10 * [99.0], of=100))
    ],
    "average": [("half of the chosen_log_probs", averages(-20.0), averages(-20.1))],
}


def test_every_limit_has_both_sides():
    assert SIDES.keys() == {name for name in vars(_Limit) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("name", "said", "silent", "found"),
    [(name, *case) for name, cases in SIDES.items() for case in cases],
    ids=[f"{name}-{i}" for name, cases in SIDES.items() for i, _ in enumerate(cases)],
)
def test_a_limit_parts_what_is_said_from_what_is_not(name, said, silent, found, monkeypatch):
    assert said in str(found())
    assert said not in str(silent())
    limit, alike = getattr(_Limit, name), []
    for factor in (0.25, 4):
        monkeypatch.setattr(_Limit, name, type(limit)(factor * limit))
        alike.append((said in str(found())) == (said in str(silent())))
    assert any(alike), "another limit parts them"


def test_no_other_number_decides():
    """What is compared with a number besides counts dimensions or knows a label of padding."""
    module = ast.parse(inspect.getsource(examination))
    compared = [node for node in ast.walk(module) if isinstance(node, ast.Compare)]
    numbers = {
        part.value
        for node in compared
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, (int, float))
    }
    assert numbers == {0, 1, 2, 3, 100, 255}
