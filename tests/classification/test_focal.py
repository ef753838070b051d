import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook import focal_loss, sigmoid_focal_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def flat(rng):
    return real(rng.normal(size=(4, 3)) * 2), integer(rng.integers(0, 3, 4))


def dense(rng):
    return real(rng.normal(size=(2, 3, 2, 4)) * 2), integer(rng.integers(0, 3, (2, 2, 4)))


def hard(rng):
    return real(rng.normal(size=(4, 3)) * 2), real(rng.integers(0, 2, (4, 3)))


def soft(rng):
    return real(rng.normal(size=5) * 2), real(rng.uniform(size=5))


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


def focal(logits, labels, gamma=2.0, alpha=None):
    p_t = softmax_of_truth(logits, labels)[2]
    weight = 1.0 if alpha is None else alpha[labels]
    return -weight * (1 - p_t) ** gamma * np.log(p_t)


def focal_slope(logits, labels, gamma=2.0, alpha=None):
    p, truth, p_t = softmax_of_truth(logits, labels)
    weight = 1.0 if alpha is None else alpha[labels]
    factor = gamma * p_t * np.log(p_t) * (1 - p_t) ** (gamma - 1) - (1 - p_t) ** gamma
    return (np.expand_dims(weight * factor, 1) * (truth - p),)


def sigmoid_focal(logits, targets, gamma=2.0, alpha=0.25):
    p = 1 / (1 + np.exp(-logits))
    a, b = (1, 1) if alpha is None else (alpha, 1 - alpha)
    one = -a * (1 - p) ** gamma * np.log(p)
    zero = -b * p**gamma * np.log(1 - p)
    return targets * one + (1 - targets) * zero


def sigmoid_focal_slope(logits, targets, gamma=2.0, alpha=0.25):
    p = 1 / (1 + np.exp(-logits))
    a, b = (1, 1) if alpha is None else (alpha, 1 - alpha)
    one = a * (1 - p) ** gamma * (gamma * p * np.log(p) + p - 1)
    zero = b * p**gamma * (p - gamma * (1 - p) * np.log(1 - p))
    to_target = -a * (1 - p) ** gamma * np.log(p) + b * p**gamma * np.log(1 - p)
    return targets * one + (1 - targets) * zero, to_target


def is_hard(targets):
    return bool(((targets == 0) | (targets == 1)).all())


def optax_sigmoid_focal(logits, targets, gamma=2.0, alpha=0.25):
    import optax

    if not is_hard(targets):
        return NotImplemented
    logits, targets = logits.float().numpy(), targets.float().numpy()
    return optax.losses.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)


def keras_binary_focal(logits, targets, gamma=2.0, alpha=0.25):
    import keras

    if not is_hard(targets):
        return NotImplemented
    balance = {} if alpha is None else {"alpha": alpha, "apply_class_balancing": True}
    loss = keras.losses.BinaryFocalCrossentropy(from_logits=True, gamma=gamma, **balance)
    return loss(targets, logits)


def kornia_focal(logits, labels, gamma=2.0, alpha=None):
    from kornia.losses import focal_loss

    # Kornia spreads the loss over the classes: the true one holds all of it.
    spread = focal_loss(logits, labels, alpha=None, gamma=gamma, weight=alpha, reduction="none")
    return spread.sum(1)


def monai_focal(logits, labels, gamma=2.0, alpha=None):
    from monai.losses import FocalLoss

    if alpha is not None:
        return NotImplemented
    truth = F.one_hot(labels, 3).movedim(-1, 1).to(logits)
    return FocalLoss(use_softmax=True, gamma=gamma, reduction="none")(logits, truth).sum(1)


ALPHA = real([0.2, 0.5, 1.5])
ROW = (real([[1.0, 0.0, -1.0]]), integer([2]))
UNEQUAL = (torch.zeros(3, 1), torch.zeros(3))


def cases():
    return [
        Case(
            loss=focal_loss,
            inputs=(flat, dense),
            reference=focal,
            settings=({}, {"gamma": 0.0}, {"gamma": 0.5, "alpha": ALPHA}, {"gamma": 5.0}),
            adversarial={
                "right by 1e4": (real([[1e4, 0.0, -1e4]]), integer([0])),
                "right by 100": (real([[100.0, 0.0, 0.0]]), integer([0])),
                "right by 36": (real([[0.0, 36.0, 0.0]]), integer([1])),
                "wrong by 1e4": (real([[1e4, 0.0, -1e4]]), integer([2])),
                "equal logits": (real([[1e4] * 3, [0.0] * 3]), integer([0, 1])),
            },
            ranges={"gamma": (0.0, 5.0)},
            near=near_labels,
            infinite={
                "a class ruled out": (
                    (real([[-math.inf, 0.0, 0.0]]), integer([1])),
                    [math.log(2) / 4],
                ),
                "the truth ruled out": ((real([[-math.inf, 0.0, 0.0]]), integer([0])), [math.inf]),
            },
            gradient=focal_slope,
            classes={0: 1, 1: 1, "alpha": 0},
            invariances={"shift of the logits": lambda x, y: (x + 5.0, y)},
            relations={
                "gamma 0 is cross entropy": lambda loss, x, y: (
                    loss(x, y, gamma=0.0),
                    F.cross_entropy(x, y, reduction="none"),
                ),
                "alpha multiplies the loss": lambda loss, x, y: (
                    loss(x, y, alpha=ALPHA),
                    ALPHA[y] * loss(x, y),
                ),
                "two classes are the sigmoid form": lambda loss, x, y: (
                    loss(x[:, :2], y.clamp_max(1)),
                    sigmoid_focal_loss(x[:, 1] - x[:, 0], y.clamp_max(1).double(), alpha=None),
                ),
            },
            peers={"kornia": kornia_focal, "monai": monai_focal},
            errors=[
                (
                    (real([1.0, 2.0]), integer([0])),
                    {},
                    r"shape \(N, C, \*\), got torch.float64 \(2,\)",
                ),
                ((integer([[1, 2]]), integer([0])), {}, r"floating logits .* got torch.int64"),
                ((real([[1.0, 2.0]]), integer([[0]])), {}, r"labels of shape \(1,\), got \(1, 1\)"),
                (ROW, {"gamma": -1.0}, "gamma >= 0, got -1.0"),
                (ROW, {"gamma": math.nan}, "gamma >= 0, got nan"),
                (ROW, {"alpha": 0.25}, r"alpha of shape \(3,\), got 0.25"),
                (ROW, {"alpha": real([0.5, 0.5])}, r"alpha of shape \(3,\)"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([[1e4, 0.0, 0.0]]), integer([0])), 0.0),
                # p_t = 1/3, so (2/3)^2 log 3.
                "chance": (
                    (torch.zeros(2, 3).double(), integer([0, 2])),
                    4 / 9 * math.log(3),
                    "(1 - 1/C)^2 log C, with C = 3",
                ),
                "convex": False,
            },
        ),
        Case(
            loss=sigmoid_focal_loss,
            inputs=(hard, soft),
            reference=sigmoid_focal,
            settings=({}, {"gamma": 0.0, "alpha": None}, {"gamma": 0.5, "alpha": 0.9}),
            adversarial={
                "right by 1e4": (real([1e4, -1e4]), real([1.0, 0.0])),
                "wrong by 1e4": (real([-1e4, 1e4]), real([1.0, 0.0])),
                "right by 60": (real([60.0, -60.0]), real([1.0, 0.0])),
                "zero": (real([0.0, 0.0, 0.0]), real([1.0, 0.0, 0.5])),
            },
            domains={1: (0.0, 1.0)},
            ranges={"gamma": (0.0, 5.0), "alpha": (0.0, 1.0)},
            near=near_sides,
            infinite={
                "right": ((real([math.inf, -math.inf]), real([1.0, 0.0])), [0.0, 0.0]),
                "wrong": ((real([-math.inf, math.inf]), real([1.0, 0.0])), [math.inf, math.inf]),
            },
            gradient=sigmoid_focal_slope,
            relations={
                "gamma 0 is binary cross entropy": lambda loss, x, y: (
                    loss(x, y, gamma=0.0, alpha=None),
                    F.binary_cross_entropy_with_logits(x, y, reduction="none"),
                ),
                "gamma 0, alpha 1/2 is half of it": lambda loss, x, y: (
                    loss(x, y, gamma=0.0, alpha=0.5),
                    F.binary_cross_entropy_with_logits(x, y, reduction="none") / 2,
                ),
                "classes exchanged": lambda loss, x, y: (
                    loss(x, y, alpha=0.3),
                    loss(-x, 1 - y, alpha=0.7),
                ),
                "linear in the target": lambda loss, x, y: (
                    loss(x, y),
                    y * loss(x, torch.ones_like(y)) + (1 - y) * loss(x, torch.zeros_like(y)),
                ),
            },
            peers={"optax": optax_sigmoid_focal, "keras": keras_binary_focal},
            errors=[
                (UNEQUAL, {}, r"targets of shape \(3, 1\), got \(3,\)"),
                ((integer([1]), real([1.0])), {}, "floating logits, got torch.int64"),
                ((real([0.0]), real([1.0])), {"gamma": -0.5}, "gamma >= 0, got -0.5"),
                ((real([0.0]), real([1.0])), {"alpha": 1.5}, r"alpha in \[0, 1\] or None, got 1.5"),
                ((real([0.0]), real([1.0])), {"alpha": -0.1}, r"alpha in \[0, 1\] or None"),
                ((real([0.0]), real([1.0])), {"alpha": math.nan}, r"alpha in \[0, 1\] or None"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([1e4, -1e4]), real([1.0, 0.0])), 0.0),
                # p_t = 1/2: alpha_t (1/2)^2 log 2, for a positive and for a negative.
                "chance": (
                    (real([0.0, 0.0]), real([1.0, 0.0])),
                    np.array([0.25, 0.75]) / 4 * math.log(2),
                    "a logit of 0, for a yes and a no",
                ),
                "convex": False,
            },
        ),
    ]


def bench_kornia(logits, labels):
    from kornia.losses import focal_loss

    return focal_loss(logits, labels, alpha=None, gamma=2.0, reduction="none").sum(1).mean()


def bench_monai(logits, labels):
    from monai.losses import FocalLoss

    loss = FocalLoss(use_softmax=True, to_onehot_y=True, gamma=2.0, reduction="none")
    return loss(logits, labels[:, None]).sum(1).mean()


def monai_sigmoid_focal(logits, targets):
    from monai.losses import FocalLoss

    return FocalLoss(gamma=2.0, alpha=0.25)(logits, targets)


def kornia_sigmoid_focal(logits, targets):
    from kornia.losses import binary_focal_loss_with_logits

    return binary_focal_loss_with_logits(logits, targets, alpha=0.25, gamma=2.0, reduction="mean")


def plain_sigmoid_focal(x, y):
    p = x.sigmoid()
    p_t = p * y + (1 - p) * (1 - y)
    alpha_t = 0.25 * y + 0.75 * (1 - y)
    ce = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    return (alpha_t * (1 - p_t) ** 2 * ce).mean()


def plain_focal(x, y):
    ce = F.cross_entropy(x, y, reduction="none")
    return ((1 - torch.exp(-ce)) ** 2 * ce).mean()


def rows():
    return [
        Row(
            focal_loss,
            slower=bench.DIGITS,
            peers={"kornia": bench_kornia, "MONAI": bench_monai, "torch idiom": plain_focal},
            **size,
        )
        for size in (
            {"shape": "{} x 4 x 256 x 256", "n": 8, "inputs": bench.scores(4, 256, 256)},
            bench.classes(8192, 1000),
            bench.classes(32, 10),
        )
    ] + [
        Row(
            sigmoid_focal_loss,
            shape=shape,
            n=n,
            slower=bench.INFINITE,
            inputs=inputs,
            peers={
                "Keras": bench.keras(
                    "BinaryFocalCrossentropy",
                    from_logits=True,
                    alpha=0.25,
                    apply_class_balancing=True,
                ),
                "Optax": bench.optax("sigmoid_focal_loss", alpha=0.25),
                "kornia": kornia_sigmoid_focal,
                "MONAI": monai_sigmoid_focal,
                "torch idiom": plain_sigmoid_focal,
            },
        )
        for shape, n, inputs in (
            ("{} x 4 x 256 x 256", 8, bench.binary(4, 256, 256)),
            ("{} x 10", 32, bench.binary(10)),
        )
    ]


def test_value_by_hand():
    # softmax(log 1, log 3) = (1/4, 3/4): (3/4)^2 log 4 and (1/4)^2 log(4/3).
    logits = real([[0.0, math.log(3)]] * 2)
    expected = real([9 / 16 * math.log(4), 1 / 16 * math.log(4 / 3)])
    torch.testing.assert_close(focal_loss(logits, integer([0, 1])), expected)
    # sigmoid(log 3) = 3/4: a positive weighs 1/4, a negative 3/4.
    expected = real([1 / 4 * (1 / 4) ** 2 * math.log(4 / 3), 3 / 4 * (3 / 4) ** 2 * math.log(4)])
    ours = sigmoid_focal_loss(real([math.log(3)] * 2), real([1.0, 0.0]))
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(("p", "factor"), [(0.9, 100), (0.968, 1000)])
def test_papers_down_weighting(p, factor):
    # Section 3.2 of the paper: at gamma 2, p_t = 0.9 costs 100 times less than cross entropy,
    # p_t = 0.968 about 1000 times less.
    x, y = real([math.log(p / (1 - p))]), real([1.0])
    plain = sigmoid_focal_loss(x, y, gamma=0.0, alpha=None)
    ratio = (plain / sigmoid_focal_loss(x, y, alpha=None)).item()
    assert ratio == pytest.approx(factor, rel=0.03)


def test_gradient_keeps_the_modulating_factor():
    # Detaching (1 - p_t)^gamma would leave -(1 - p)^3 = -0.125 at p = 1/2, gamma = 2.
    x = real([0.0]).requires_grad_()
    (slope,) = torch.autograd.grad(sigmoid_focal_loss(x, real([1.0]), alpha=None).sum(), x)
    # (1/2)^2 (2 (1/2) log(1/2) + 1/2 - 1)
    assert slope.item() == pytest.approx((-math.log(2) - 0.5) / 4)


def test_gradient_is_finite_where_the_power_of_a_sigmoid_has_none():
    x = torch.tensor([60.0, 200.0], requires_grad=True)
    (slope,) = torch.autograd.grad(sigmoid_focal_loss(x, torch.ones(2), gamma=0.5).sum(), x)
    assert slope.isfinite().all()


def test_a_sure_answer_keeps_its_digits():
    # 1 - p_t = 1e-12, nearly.
    loss = focal_loss(real([[math.log(1e12), 0.0]]), integer([0]), gamma=0.5)
    assert loss.item() == pytest.approx(1e-18, rel=1e-9, abs=0)


def slopes_of(x, y, **settings):
    """The slopes in the logits, once by themselves and once beside those in the targets."""
    for inputs in ((x,), (x, y)):
        leaves = [z.clone().requires_grad_() for z in inputs]
        losses = sigmoid_focal_loss(*leaves, *(x, y)[len(leaves) :], **settings)
        yield torch.autograd.grad(losses.sum(), leaves)[0]


def test_the_slope_beside_the_value_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    x, y = real(rng.normal(size=(5, 4)) * 4), real(rng.uniform(size=(5, 4)))
    far, sure = real([0.0, 90.0, -90.0, 1e4, -1e4, 1e300]), real([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    for gamma in (0.0, 0.5, 2.0, 3.7):
        for alpha in (None, 0.0, 0.25):
            for inputs in ((x, y), (x, y.round()), (far, sure), (-far, 1 - sure)):
                ours, formula = slopes_of(*inputs, gamma=gamma, alpha=alpha)
                torch.testing.assert_close(ours, formula, rtol=1e-11, atol=1e-300)


def test_the_slope_beside_the_value_has_a_slope():
    rng = np.random.default_rng(1)
    x, y = real(rng.normal(size=(3, 4))).requires_grad_(), real(rng.uniform(size=(3, 4)))
    for settings in ({}, {"gamma": 0.0}, {"gamma": 1.5, "alpha": None}):
        assert torch.autograd.gradgradcheck(
            lambda z, settings=settings: sigmoid_focal_loss(z, y, **settings), x
        )


def test_alpha_zero_counts():
    # alpha 0 takes the positives away; it isn't "no alpha".
    losses = sigmoid_focal_loss(real([0.0, 0.0]), real([1.0, 0.0]), alpha=0.0)
    torch.testing.assert_close(losses, real([0.0, math.log(2) / 4]))


def test_infinite_logits_with_soft_targets_and_nan():
    x = real([math.inf, -math.inf, math.inf, math.nan])
    losses = sigmoid_focal_loss(x, real([0.25, 0.25, math.nan, 1.0]), gamma=0.0)
    assert losses[:2].tolist() == [math.inf] * 2
    assert losses[2:].isnan().all()


def test_the_largest_logits_have_a_slope():
    for gamma in (0.0, 0.5, 2.0, 5.0, real(0.0), real(5.0)):
        x = real([[-1.7e308, 0.0], [-math.inf, 0.0]]).requires_grad_()
        losses = focal_loss(x, integer([0, 0]), gamma=gamma)
        (slope,) = torch.autograd.grad(losses.sum(), x)
        assert losses.tolist() == [1.7e308, math.inf]
        assert slope[:, 0].tolist() == [-1.0, -1.0]
        x = real([-1.7e308, 1.7e308]).requires_grad_()
        losses = sigmoid_focal_loss(x, real([1.0, 0.0]), gamma=gamma, alpha=None)
        assert losses.tolist() == [1.7e308] * 2
        assert torch.autograd.grad(losses.sum() / 4, x)[0].tolist() == [-0.25, 0.25]


def test_learned_settings_at_their_special_points():
    # By gamma at 0: log(1 - p_t) times the cross entropy; by alpha: the loss of a yes.
    gamma, alpha = (torch.tensor(0.0, dtype=torch.float64, requires_grad=True) for _ in "ab")
    loss = sigmoid_focal_loss(real([math.log(3)]), real([1.0]), gamma=gamma, alpha=alpha)
    to_gamma, to_alpha = torch.autograd.grad(loss.sum(), (gamma, alpha))
    assert to_gamma.item() == 0
    assert to_alpha.item() == pytest.approx(math.log(4 / 3))
    loss = focal_loss(real([[0.0, math.log(3)]]), integer([1]), gamma=gamma)
    (to_gamma,) = torch.autograd.grad(loss.sum(), gamma)
    assert to_gamma.item() == pytest.approx(math.log(4 / 3) * math.log(1 / 4))
