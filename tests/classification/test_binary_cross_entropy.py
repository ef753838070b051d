import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.binary_cross_entropy import binary_cross_entropy
from lossbook.classification.cross_entropy import cross_entropy
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real

# torch.compile makes such an object of its own to trace any autograd.Function.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


def hard(rng):
    return real(rng.normal(size=(4, 3)) * 2), real(rng.integers(0, 2, (4, 3)))


def soft(rng):
    return real(rng.normal(size=(2, 3, 2)) * 2), real(rng.uniform(size=(2, 3, 2)))


def near(rng):
    """Logits that give the wrong side a share of 1/2 down to 1e-6, and 0; three classes."""
    shares = np.array([0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    targets = rng.integers(0, 2, (8, 3))
    leads = np.where(
        shares > 0, np.log(1 / shares.clip(1e-9) - 1) + rng.uniform(size=(8, 3)), 800.0
    )
    return real(leads * (2 * targets - 1)), real(targets)


def reference(logits, targets, pos_weight=None):
    p = 1 / (1 + np.exp(-logits))
    w = weights(logits, pos_weight)
    yes = np.where(targets > 0, targets * np.log(p), 0)
    no = np.where(targets < 1, (1 - targets) * np.log(1 - p), 0)
    return -w * yes - no


def gradient(logits, targets, pos_weight=None):
    p = 1 / (1 + np.exp(-logits))
    w = weights(logits, pos_weight)
    to_targets = np.where((p > 0) & (p < 1), np.log(1 - p) - w * np.log(p), np.nan)
    return (1 - targets) * p - w * targets * (1 - p), to_targets


def weights(logits, pos_weight):
    if pos_weight is None:
        return 1.0
    return np.reshape(pos_weight, np.shape(pos_weight) + (1,) * (logits.ndim - 2))


def torch_bce(logits, targets, pos_weight=None):
    # In torch the classes of pos_weight lie on the last dimension.
    logits, targets = logits.movedim(1, -1), targets.movedim(1, -1)
    w = None if pos_weight is None else torch.as_tensor(pos_weight, dtype=logits.dtype)
    losses = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=w, reduction="none")
    return losses.movedim(-1, 1)


def optax_bce(logits, targets, pos_weight=None):
    import optax

    if pos_weight is not None:
        return NotImplemented
    return optax.sigmoid_binary_cross_entropy(logits.float().numpy(), targets.float().numpy())


def keras_bce(logits, targets, pos_weight=None):
    import keras

    if pos_weight is not None:
        return NotImplemented
    # Keras averages over the last axis: give it one of length 1.
    loss = keras.losses.BinaryCrossentropy(from_logits=True, reduction="none")
    return loss(targets.unsqueeze(-1), logits.unsqueeze(-1))


def sklearn_log_loss(logits, targets, pos_weight=None):
    from sklearn.metrics import log_loss

    if pos_weight is not None or logits.dim() != 2:
        return NotImplemented
    return log_loss(targets.flatten().numpy(), logits.sigmoid().flatten().numpy(), labels=[0, 1])


INF = math.inf
WEIGHTS = real([0.5, 1.0, 3.0])
UNEQUAL = (torch.zeros(3, 1), torch.zeros(3))
ROWS = (torch.zeros(4, 3), torch.zeros(4, 3))


def cases():
    return [
        Case(
            loss=binary_cross_entropy,
            inputs=(hard, soft),
            reference=reference,
            settings=({}, {"pos_weight": 3.0}, {"pos_weight": WEIGHTS}),
            adversarial={
                "right by 1e4": (real([[1e4, -1e4, 1e4]]), real([[1.0, 0.0, 1.0]])),
                "wrong by 1e4": (real([[-1e4, 1e4, -1e4]]), real([[1.0, 0.0, 1.0]])),
                "right by 30": (real([[30.0, -30.0, 21.0]]), real([[1.0, 0.0, 1.0]])),
                "zero": (real([[0.0, 0.0, 0.0]]), real([[1.0, 0.0, 0.5]])),
                "soft at 1e4": (real([[1e4, -1e4, 0.0]]), real([[0.5, 0.5, 0.25]])),
            },
            domains={1: (0.0, 1.0)},
            ranges={"pos_weight": (0.0, 10.0)},
            near=near,
            infinite={
                "right": ((real([[INF, -INF]]), real([[1.0, 0.0]])), [[0.0, 0.0]]),
                "wrong": ((real([[INF, -INF]]), real([[0.0, 1.0]])), [[INF, INF]]),
                "a soft target": ((real([[INF, -INF]]), real([[0.25, 0.25]])), [[INF, INF]]),
            },
            gradient=gradient,
            classes={0: 1, 1: 1, "pos_weight": 0, "values": 1},
            # Far on the negative side the loss of a tiny target y is |x| - (1 - y) |x|.
            tolerances={"float64": 3e-10},
            relations={
                "two classes of a softmax": lambda loss, x, y: (
                    loss(x[:, 0], y[:, 0]),
                    cross_entropy(
                        torch.stack([torch.zeros_like(x[:, 0]), x[:, 0]], 1),
                        torch.stack([1 - y[:, 0], y[:, 0]], 1),
                    ),
                ),
                "classes exchanged": lambda loss, x, y: (loss(x, y), loss(-x, 1 - y)),
                "linear in the target": lambda loss, x, y: (
                    loss(x, y, pos_weight=2.0),
                    y * loss(x, torch.ones_like(y), pos_weight=2.0)
                    + (1 - y) * loss(x, torch.zeros_like(y)),
                ),
                "pos_weight repeats the positives": lambda loss, x, y: (
                    loss(x, y.round(), pos_weight=2.0),
                    (1 + y.round()) * loss(x, y.round()),
                ),
            },
            peers={
                "torch": torch_bce,
                "optax": optax_bce,
                "keras": keras_bce,
                "scikit-learn": sklearn_log_loss,
            },
            errors=[
                ((integer([0]), real([1.0])), {}, "floating logits, got torch.int64"),
                (UNEQUAL, {}, r"targets of shape \(3, 1\), got \(3,\)"),
                ((torch.zeros(3), torch.zeros(())), {}, r"targets of shape \(3,\), got \(\)"),
                (ROWS, {"pos_weight": torch.ones(4)}, r"shape \(C,\).*got \(4,\) for \(4, 3\)"),
                (ROWS, {"pos_weight": torch.ones(3, 1)}, r"got \(3, 1\) for \(4, 3\)"),
                ((torch.zeros(3),) * 2, {"pos_weight": torch.ones(3)}, r"got \(3,\) for \(3,\)"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([1e4, -1e4]), real([1.0, 0.0])), 0.0),
                "chance": (
                    (real([0.0, 0.0]), real([1.0, 0.0])),
                    math.log(2),
                    "a logit of 0: log 2",
                ),
                "convex": True,
            },
        )
    ]


def plain_binary(x, y):
    p = x.sigmoid()
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def rows():
    return [
        Row(
            binary_cross_entropy,
            shape="{} x 1000",
            n=8192,
            slower=bench.INFINITE,
            inputs=bench.binary(1000),
            peers={
                "torch": F.binary_cross_entropy_with_logits,
                "Keras": bench.keras("BinaryCrossentropy", from_logits=True),
                "Optax": bench.optax("sigmoid_binary_cross_entropy"),
                FORMULA: plain_binary,
            },
        ),
        Row(
            binary_cross_entropy,
            shape="{} x 10",
            n=32,
            slower="infinite logits and a nan stay right: ten kernels, where torch has five",
            inputs=bench.binary(10),
            peers={"torch": torch.nn.BCEWithLogitsLoss()},
        ),
    ]


def test_value_by_hand():
    # sigmoid(log 3) = 3/4: log(4/3) for a yes, log 4 for a no, and their mean for an even target.
    x = real([math.log(3)] * 3)
    losses = binary_cross_entropy(x, real([1.0, 0.0, 0.5]))
    expected = real([math.log(4 / 3), math.log(4), math.log(16 / 3) / 2])
    torch.testing.assert_close(losses, expected)
    # The weight counts the yes only: 5 log(4/3), log 4, and half of both.
    losses = binary_cross_entropy(x, real([1.0, 0.0, 0.5]), pos_weight=5.0)
    expected = real([5 * math.log(4 / 3), math.log(4), (5 * math.log(4 / 3) + math.log(4)) / 2])
    torch.testing.assert_close(losses, expected)


def test_confident_error_keeps_its_gradient():
    # After a sigmoid in float32, F.binary_cross_entropy gives 100 and a gradient of 0 here.
    x = torch.tensor([50.0, -200.0], requires_grad=True)
    losses = binary_cross_entropy(x, torch.tensor([0.0, 1.0]))
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert losses.tolist() == [50, 200]
    assert slope.tolist() == [1, -1]


def test_pos_weight_lies_on_dimension_1():
    # Three classes on an image of 3 x 3, where the wrong axis would not raise.
    rng = np.random.default_rng(0)
    x, y = real(rng.normal(size=(2, 3, 3, 3))), real(rng.integers(0, 2, (2, 3, 3, 3)))
    losses = binary_cross_entropy(x, y, pos_weight=WEIGHTS)
    for c, w in enumerate(WEIGHTS.tolist()):
        alone = binary_cross_entropy(x[:, c], y[:, c], pos_weight=w)
        torch.testing.assert_close(losses[:, c], alone)


def test_pos_weight_zero_counts():
    losses = binary_cross_entropy(real([0.0, 0.0]), real([1.0, 0.0]), pos_weight=0.0)
    torch.testing.assert_close(losses, real([0.0, math.log(2)]))


def test_pos_weight_gets_a_gradient():
    # The derivative of w log(4/3) with respect to w.
    w = real([1.0, 1.0]).requires_grad_()
    losses = binary_cross_entropy(real([[math.log(3), 0.0]]), real([[1.0, 0.0]]), pos_weight=w)
    (slope,) = torch.autograd.grad(losses.sum(), w)
    torch.testing.assert_close(slope, real([math.log(4 / 3), 0.0]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_another_dtype_leave_the_dtype_alone(dtype):
    x, y = torch.zeros(2, 3, dtype=dtype), torch.ones(2, 3, dtype=torch.int64)
    assert binary_cross_entropy(x, y, pos_weight=WEIGHTS).dtype == dtype


def test_pos_weight_of_one_element():
    x, y = hard(np.random.default_rng(0))
    expected = binary_cross_entropy(x, y, pos_weight=2.5)
    for weight in (torch.tensor(2.5), torch.tensor([2.5]), torch.tensor([[2.5]])):
        assert binary_cross_entropy(x, y, pos_weight=weight).equal(expected)
        assert binary_cross_entropy(x[0, 0], y[0, 0], pos_weight=weight).equal(expected[0, 0])


def test_infinite_logits_pull_with_a_finite_slope():
    x = real([INF, -INF, INF, -INF, INF]).requires_grad_()
    y = real([1.0, 0.0, 0.0, 1.0, 0.25]).requires_grad_()
    losses = binary_cross_entropy(x, y, pos_weight=3.0)
    assert losses.tolist() == [0, 0, INF, INF, INF]
    slope, to_target = torch.autograd.grad(losses.sum(), (x, y))
    assert slope.tolist() == [0, 0, 1, -3, 0.75]
    assert to_target.isfinite().all()
    (to_target,) = torch.autograd.grad(binary_cross_entropy(x, y).sum(), y)
    assert to_target.isfinite().all()


def test_a_nan_is_not_hidden():
    x, y = real([math.nan, 0.0, INF]), real([1.0, math.nan, math.nan])
    for weight in (None, 2.0):
        assert binary_cross_entropy(x, y, pos_weight=weight).isnan().all()


def test_targets_of_more_precision():
    x, y = torch.tensor([0.5, -2.0]), real([0.1, 0.7])
    losses = binary_cross_entropy(x, y)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, binary_cross_entropy(x.double(), y).float())


def test_bool_and_integer_targets_are_cast():
    x = torch.tensor([0.5, -2.0])
    expected = binary_cross_entropy(x, torch.tensor([1.0, 0.0]))
    for targets in (torch.tensor([1, 0]), torch.tensor([True, False])):
        assert binary_cross_entropy(x, targets).equal(expected)


def test_second_derivative_at_zero_is_a_quarter():
    # p (1 - p) at p = 1/2; a form in |x| gives 0 here.
    x = real([0.0]).requires_grad_()
    (slope,) = torch.autograd.grad(binary_cross_entropy(x, real([1.0])).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    assert (slope.item(), bend.item()) == (-0.5, 0.25)


def test_a_small_weight_of_half_precision_is_kept():
    # 0.001 softplus(2) = 0.0021269; 1 + (w - 1) would be 0 in bfloat16.
    x, y = torch.tensor([[-2.0]]), torch.tensor([[1.0]])
    for dtype, within in ((torch.bfloat16, 1e-2), (torch.float16, 1e-3), (torch.float32, 1e-6)):
        weight = torch.tensor([0.001]).to(dtype)
        loss = binary_cross_entropy(x.to(dtype), y.to(dtype), pos_weight=weight)
        assert loss.item() == pytest.approx(0.0021269280, rel=within)
    assert binary_cross_entropy(x, y, pos_weight=1e-8).item() == pytest.approx(
        2.1269280e-8, rel=1e-6
    )


def test_a_finer_target_is_not_rounded():
    # 0.001 * 8 + log(1 + e^-8); in float16 1 - 0.999 is 0.00098.
    loss = binary_cross_entropy(torch.tensor([8.0]).half(), torch.tensor([0.999]))
    assert loss.item() == pytest.approx(0.008 + math.log1p(math.exp(-8)), rel=1e-3)
