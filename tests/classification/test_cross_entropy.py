import math

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

from lossbook import cross_entropy
from lossbook.book.pages.speed import FORMULA
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def labels(rng):
    return real(rng.normal(size=(4, 3)) * 2), integer(rng.integers(0, 3, 4))


def probabilities(rng):
    return real(rng.normal(size=(4, 3)) * 2), real(rng.dirichlet(np.ones(3), 4))


def dense_labels(rng):
    return real(rng.normal(size=(2, 3, 2, 4)) * 2), integer(rng.integers(0, 3, (2, 2, 4)))


def dense_probabilities(rng):
    return real(rng.normal(size=(2, 3, 2))), real(rng.dirichlet(np.ones(3), (2, 2)).swapaxes(1, 2))


def two_classes(rng):
    return real(rng.normal(size=(5, 2)) * 2), integer(rng.integers(0, 2, 5))


def near(rng):
    """Logits that give the truth all but a share of 1 down to 1e-6, and 0."""
    shares = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    labels = rng.integers(0, 3, 8)
    logits = rng.normal(size=(8, 3))
    logits[np.arange(8), labels] = np.where(shares > 0, -np.log(shares.clip(1e-9)), 800.0)
    return real(logits), integer(labels)


def softmax(logits):
    e = np.exp(logits)
    return e / e.sum(1, keepdims=True)


def smoothed(logits, labels, label_smoothing):
    C = logits.shape[1]
    q = labels if labels.shape == logits.shape else np.moveaxis(np.eye(C)[labels], -1, 1)
    return (1 - label_smoothing) * q + label_smoothing / C


def reference(logits, labels, label_smoothing=0.0):
    q = smoothed(logits, labels, label_smoothing)
    return -np.where(q > 0, q * np.log(softmax(logits)), 0).sum(1)


def gradient(logits, labels, label_smoothing=0.0):
    p = softmax(logits)
    to_targets = np.where(p > 0, (label_smoothing - 1) * np.log(p), np.nan)
    return p - smoothed(logits, labels, label_smoothing), to_targets


def torch_cross_entropy(logits, labels, label_smoothing=0.0):
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)


def scipy_log_softmax(logits, labels, label_smoothing=0.0):
    from scipy.special import log_softmax

    if labels.shape != (4,) or label_smoothing:
        return NotImplemented
    return -log_softmax(logits.numpy(), 1)[np.arange(4), labels.numpy()]


def sklearn_log_loss(logits, labels, label_smoothing=0.0):
    from sklearn.metrics import log_loss

    if labels.shape != (4,) or label_smoothing:
        return NotImplemented
    return log_loss(labels.numpy(), softmax(logits.numpy()), labels=range(3))


def optax_cross_entropy(logits, labels, label_smoothing=0.0):
    import optax

    if logits.dim() != 2:
        return NotImplemented
    q = F.one_hot(labels, 3).numpy() if labels.dim() == 1 else labels.numpy()
    q = optax.smooth_labels(q.astype(np.float32), label_smoothing)
    return optax.softmax_cross_entropy(logits.float().numpy(), q)


def keras_cross_entropy(logits, labels, label_smoothing=0.0):
    import keras

    if labels.shape != (4, 3):
        return NotImplemented
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing, reduction="none"
    )(labels, logits)


ONE = (real([[1.0, 0.0, -1.0]]), integer([2]))


def cases():
    return [
        Case(
            loss=cross_entropy,
            inputs=(labels, probabilities, dense_labels, dense_probabilities),
            reference=reference,
            settings=({}, {"label_smoothing": 0.1}),
            adversarial={
                "right by 1e4": (real([[1e4, 0.0, -1e4]]), integer([0])),
                "wrong by 1e4": (real([[1e4, 0.0, -1e4]]), integer([2])),
                "equal logits": (real([[1e4] * 3, [0.0] * 3]), integer([0, 1])),
                "right by 30, soft": (real([[30.0, 0.0, 0.0]]), real([[1.0, 0.0, 0.0]])),
                "wrong by 1e4, soft": (real([[1e4, -1e4, 0.0]]), real([[0.0, 0.5, 0.5]])),
                "a class ruled out": (real([[-math.inf, 0.0, 1.0]]), real([[0.0, 0.5, 0.5]])),
                "a class ruled out, labels": (real([[-math.inf, 0.0, 1.0]]), integer([1])),
            },
            domains={1: (0.0, 1.0)},
            ranges={"label_smoothing": (0.0, 0.9)},
            near=near,
            infinite={
                "a class ruled out": ((real([[-math.inf, 0.0, 0.0]]), integer([1])), [math.log(2)]),
                "the truth ruled out": ((real([[-math.inf, 0.0, 0.0]]), integer([0])), [math.inf]),
            },
            gradient=gradient,
            classes={0: 1, 1: 1},
            invariances={"shift of the logits": lambda x, y: (x + 5.0, y)},
            relations={
                "one-hot probabilities are labels": lambda loss, x, y: (
                    (loss(x, y), loss(x, F.one_hot(y, 3).movedim(-1, 1).to(x)))
                    if y.dtype == torch.int64
                    else NotImplemented
                ),
                "two classes are binary cross entropy": lambda loss, x, _: (
                    loss(x[:, :2], torch.ones_like(x[:, 0], dtype=torch.int64)),
                    F.binary_cross_entropy_with_logits(
                        x[:, 1] - x[:, 0], torch.ones_like(x[:, 0]), reduction="none"
                    ),
                ),
                "smoothing mixes in the uniform target": lambda loss, x, y: (
                    loss(x, y, label_smoothing=0.3),
                    0.7 * loss(x, y) + 0.3 * loss(x, torch.full_like(x, 1 / 3)),
                ),
            },
            peers={
                "torch": torch_cross_entropy,
                "scipy": scipy_log_softmax,
                "scikit-learn": sklearn_log_loss,
                "optax": optax_cross_entropy,
                "keras": keras_cross_entropy,
            },
            errors=[
                (
                    (real([1.0, 2.0]), integer([0])),
                    {},
                    r"shape \(N, C, \*\), got torch.float64 \(2,\)",
                ),
                ((integer([[1, 2]]), integer([0])), {}, r"floating logits .* got torch.int64"),
                ((real([[1.0, 2.0]]), integer([[0]])), {}, r"labels of shape \(1,\), got \(1, 1\)"),
                ((real([[1.0, 2.0]]), real([0.0])), {}, r"of shape \(1, 2\), got \(1,\)"),
                (ONE, {"label_smoothing": torch.ones(2)}, r"of shape \(\), got \(2,\)"),
                (ONE, {"label_smoothing": 1.0}, r"in \[0, 1\), got 1.0"),
                (ONE, {"label_smoothing": -0.1}, r"in \[0, 1\), got -0.1"),
                (ONE, {"label_smoothing": math.nan}, r"in \[0, 1\), got nan"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([[1e4, 0.0, 0.0]]), integer([0])), 0.0),
                "chance": (
                    (torch.zeros(2, 3).double(), integer([0, 2])),
                    math.log(3),
                    "log C, with C = 3",
                ),
                "convex": True,
            },
        )
    ]


def one_hot_cross_entropy(x, y):
    return -(F.one_hot(y, x.shape[1]) * x.softmax(1).log()).sum(1).mean()


def one_hot_smoothed(x, y):
    q = 0.9 * F.one_hot(y, x.shape[1]) + 0.1 / x.shape[1]
    return -(q * x.log_softmax(1)).sum(1).mean()


def rows():
    return [
        Row(
            cross_entropy,
            slower=bench.DIGITS,
            peers={
                "torch": F.cross_entropy,
                "torch idiom": lambda x, y: F.nll_loss(x.log_softmax(1), y),
                "Keras": bench.keras("SparseCategoricalCrossentropy", from_logits=True),
                "Optax": bench.optax("softmax_cross_entropy_with_integer_labels"),
                FORMULA: one_hot_cross_entropy,
            },
            **bench.classes(8192, 1000),
        ),
        Row(
            cross_entropy,
            slower=bench.DIGITS,
            peers={
                "torch": F.cross_entropy,
                "Optax": bench.optax("softmax_cross_entropy_with_integer_labels"),
            },
            **bench.classes(1024, 32000),
        ),
        Row(
            cross_entropy,
            settings={"label_smoothing": 0.1},
            slower="the mean over classes is another pass, and so is its slope at the truth",
            peers={
                "torch": lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1),
                FORMULA: one_hot_smoothed,
            },
            **bench.classes(8192, 1000),
        ),
        Row(
            cross_entropy,
            slower=bench.DIGITS,
            peers={"torch": torch.nn.CrossEntropyLoss()},
            **bench.classes(32, 10),
        ),
    ]


def test_value_by_hand():
    # softmax(log 2, log 6) = (1/4, 3/4).
    logits = real([[math.log(2), math.log(6)]])
    assert cross_entropy(logits, integer([0])).item() == pytest.approx(math.log(4))
    assert cross_entropy(logits, integer([1])).item() == pytest.approx(math.log(4 / 3))
    # Smoothing of 0.2 over two classes: targets 0.9 and 0.1.
    smooth = cross_entropy(logits, integer([0]), label_smoothing=0.2)
    assert smooth.item() == pytest.approx(0.9 * math.log(4) + 0.1 * math.log(4 / 3))


def test_minimum_over_logits_is_the_entropy_of_the_target():
    q = real([[0.2, 0.3, 0.5]])
    entropy = -(q * q.log()).sum()
    logits = q.log().requires_grad_()
    loss = cross_entropy(logits, q).sum()
    assert loss.item() == pytest.approx(entropy.item())
    (slope,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(slope, torch.zeros_like(slope))


def test_ruled_out_class_with_target_mass_costs_infinity():
    logits = real([[-math.inf, 0.0]])
    assert cross_entropy(logits, integer([0])).item() == math.inf
    assert cross_entropy(logits, integer([1]), label_smoothing=0.1).item() == math.inf
    assert cross_entropy(logits, real([[0.5, 0.5]])).item() == math.inf


def test_axis_of_classes_is_the_second():
    # Four positions and four classes, so that the wrong axis would not raise.
    logits = real(np.random.default_rng(0).normal(size=(1, 4, 4)))
    labels = integer([[0, 1, 2, 3]])
    rows = torch.stack([cross_entropy(logits[:, :, i], labels[:, i]) for i in range(4)], 1)
    torch.testing.assert_close(cross_entropy(logits, labels), rows)


def test_float32_keeps_the_digits_of_a_small_loss():
    # log(1 + e^-16) = 1.1253e-7, which 1 + e^-16 rounds to 1.1921e-7.
    loss = cross_entropy(torch.tensor([[16.0, 0.0]]), integer([0]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-16)), rel=1e-6)


def test_float32_keeps_the_digits_of_a_small_slope():
    # p - 1 = -1 / (1 + e^16) = -1.1253e-7, which 1 - 1.1253e-7 rounds to -1.1921e-7.
    logits = torch.tensor([[16.0, 0.0]], requires_grad=True)
    cross_entropy(logits, integer([0])).sum().backward()
    assert -logits.grad[0, 0].item() == pytest.approx(1 / (1 + math.exp(16)), rel=1e-6)


def test_dual_numbers():
    x, change, y = real([[2.0, 0.0, 1.0]]), real([[0.3, -0.2, 0.5]]), integer([1])
    with forward_ad.dual_level():
        loss = cross_entropy(forward_ad.make_dual(x, change), y)
        moved = forward_ad.unpack_dual(loss).tangent
    torch.testing.assert_close(moved, ((x.softmax(1) - F.one_hot(y, 3)) * change).sum(1))


def test_forward_mode_nests():
    x, y = real([[2.0, 0.0, 1.0]]), integer([1])
    second = torch.func.jacfwd(torch.func.jacfwd(lambda x: cross_entropy(x[None], y)[0]))(x[0])
    (p,) = x.softmax(1)
    torch.testing.assert_close(second, p.diag() - p[:, None] * p)


def test_smoothing_of_zero_as_a_tensor():
    logits, none = real([[-math.inf, 0.0, 1.0]]), torch.tensor(0.0)
    for labels in (integer([1]), real([[0.0, 1.0, 0.0]])):
        expected = cross_entropy(logits, labels)
        assert cross_entropy(logits, labels, label_smoothing=none).equal(expected)


def test_more_classes_than_half_precision_counts():
    # float16 ends at 65504.
    loss = cross_entropy(torch.zeros(1, 70_000).half(), integer([0]))
    assert loss.item() == pytest.approx(math.log(70_000), rel=1e-3)


def test_soft_targets_keep_the_digits_of_a_certain_class():
    logits = torch.tensor([[17.0, 0.0]], requires_grad=True)
    value = cross_entropy(logits, torch.tensor([[1.0, 0.0]]))
    exact = math.log1p(math.exp(-17))
    assert value.item() == pytest.approx(exact, rel=1e-6)
    value.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-exact, exact]]), rtol=1e-6, atol=0)
