import math

import numpy as np
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.hinge import (
    crammer_singer_loss,
    hinge_loss,
    squared_hinge_loss,
    weston_watkins_loss,
)
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def signs(rng):
    return real(rng.normal(size=(5, 2)) * 2), real(rng.integers(0, 2, (5, 2)) * 2 - 1)


def classes(rng):
    return real(rng.normal(size=(5, 4)) * 2), integer(rng.integers(0, 4, 5))


def near_signs(rng):
    targets = rng.integers(0, 2, 8) * 2 - 1
    distances = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    return real(targets * (1 - distances * rng.normal(size=8))), real(targets)


def near_classes(rng):
    labels = rng.integers(0, 3, 8)
    scores = rng.normal(size=(8, 3)).clip(-1, 1)
    distances = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    scores[np.arange(8), labels] = 2 - distances * rng.normal(size=8)
    return real(scores), integer(labels)


def hinge(scores, targets):
    return np.where(targets * scores < 1, 1 - targets * scores, 0)


def squared_hinge(scores, targets):
    return hinge(scores, targets) ** 2


def hinge_slope(scores, targets):
    violated = targets * scores < 1
    return np.where(violated, -targets, 0), np.where(violated, -scores, 0)


def squared_hinge_slope(scores, targets):
    gap = hinge(scores, targets)
    return -2 * gap * targets, -2 * gap * scores


def violations_of(scores, labels, margin):
    """The violations of the wrong classes, row by row."""
    for row, y in zip(scores, labels, strict=True):
        yield [margin + s - row[y] for j, s in enumerate(row) if j != y]


def crammer_singer(scores, labels, margin=1.0):
    return np.array([max(0, *violations) for violations in violations_of(scores, labels, margin)])


def weston_watkins(scores, labels, margin=1.0):
    return np.array([sum(max(0, v) for v in row) for row in violations_of(scores, labels, margin)])


def weston_watkins_slope(scores, labels, margin=1.0):
    slopes = np.array(
        [
            [float(j != y and margin + s - row[y] > 0) for j, s in enumerate(row)]
            for row, y in zip(scores, labels, strict=True)
        ]
    )
    slopes[np.arange(len(labels)), labels] = -slopes.sum(1)
    return (slopes,)


def crammer_singer_slope(scores, labels, margin=1.0):
    slopes = np.zeros(np.shape(scores))
    for i, (row, y) in enumerate(zip(scores, labels, strict=True)):
        wrong = [j for j in range(len(row)) if j != y]
        best = max(wrong, key=lambda j, row=row: row[j])
        ties = sum(row[j] == row[best] for j in wrong)
        if ties > 1:
            slopes[i] = np.nan
        elif margin + row[best] - row[y] > 0:
            slopes[i, [best, y]] = 1, -1
    return (slopes,)


def sklearn_hinge(scores, targets):
    from sklearn.metrics import hinge_loss

    return hinge_loss(targets.flatten().numpy(), scores.flatten().numpy())


def optax_hinge(scores, targets):
    import optax

    return optax.losses.hinge_loss(scores.float().numpy(), targets.float().numpy())


def keras_hinge(name, scores, targets):
    import keras

    loss = getattr(keras.losses, name)(reduction="none")
    return loss(targets.unsqueeze(-1), scores.unsqueeze(-1))


def sklearn_multiclass(scores, labels, margin=1.0):
    from sklearn.metrics import hinge_loss

    if margin != 1:
        return NotImplemented
    return hinge_loss(labels.numpy(), scores.numpy(), labels=range(4))


def optax_multiclass(scores, labels, margin=1.0):
    import optax

    if margin != 1:
        return NotImplemented
    return optax.losses.multiclass_hinge_loss(scores.float().numpy(), labels.numpy())


def torch_multi_margin(scores, labels, margin=1.0):
    # torch divides by the number of classes.
    losses = F.multi_margin_loss(scores, labels, margin=margin, reduction="none")
    return scores.shape[1] * losses


def two_classes(binary):
    """Tie a multiclass loss to a binary one: scores -s/2 and s/2 lead by s."""

    def relation(loss, scores, _):
        s = scores[:, 0]
        pairs = torch.stack([-s / 2, s / 2], 1)
        labels = torch.arange(len(s)) % 2
        return loss(pairs, labels), binary(s, 2 * labels - 1)

    return relation


BINARY = {
    "right by 1e4": (real([1e4, -1e4]), real([1.0, -1.0])),
    "wrong by 1e4": (real([-1e4, 1e4]), real([1.0, -1.0])),
    "right by 1e200": (real([1e200]), real([1.0])),
    "at the kink": (real([1.0, -1.0]), real([1.0, -1.0])),
    "one ulp around the kink": (real([1 - 2**-53, 1 + 2**-52]), real([1.0, 1.0])),
    "zero": (real([0.0, 0.0]), real([1.0, -1.0])),
}
MANY = {
    "right by 1e4": (real([[1e4, 0.0, -1e4]]), integer([0])),
    "wrong by 1e4": (real([[1e4, 0.0, -1e4]]), integer([2])),
    "equal scores": (real([[7.0] * 3, [-1e4] * 3]), integer([0, 2])),
    "at the kink": (real([[1.0, 0.0, -5.0]]), integer([0])),
    "the best two are tied": (real([[2.0, 2.0, 0.0]] * 3), integer([0, 1, 2])),
}
UNEQUAL = (torch.zeros(3, 1), torch.zeros(3))
DENSE = (torch.zeros(2, 3, 4), integer([[0] * 4] * 2))


def cases():
    return [
        Case(
            loss=hinge_loss,
            inputs=signs,
            reference=hinge,
            adversarial=BINARY,
            domains={1: None},
            near=near_signs,
            gradient=hinge_slope,
            relations={
                "classes exchanged": lambda loss, s, t: (loss(s, t), loss(-s, -t)),
                "squared it is the squared hinge": lambda loss, s, t: (
                    loss(s, t) ** 2,
                    squared_hinge_loss(s, t),
                ),
                "softplus of a steep slope": lambda loss, s, t: (
                    loss(s, t),
                    F.softplus(1 - t * s, beta=1e12),
                ),
            },
            peers={
                "scikit-learn": sklearn_hinge,
                "optax": optax_hinge,
                "keras": lambda s, t: keras_hinge("Hinge", s, t),
            },
            errors=[
                ((integer([2]), real([1.0])), {}, "floating scores, got torch.int64"),
                (UNEQUAL, {}, r"targets of shape \(3, 1\), got \(3,\)"),
                ((torch.zeros(3), torch.ones(())), {}, r"targets of shape \(3,\), got \(\)"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([1.0, -2.0]), real([1.0, -1.0])), 0.0),
                "chance": ((real([0.0, 0.0]), real([1.0, -1.0])), 1.0, "a score of 0"),
                "convex": True,
            },
        ),
        Case(
            loss=squared_hinge_loss,
            inputs=signs,
            reference=squared_hinge,
            adversarial=BINARY,
            domains={1: None},
            near=near_signs,
            gradient=squared_hinge_slope,
            relations={
                "classes exchanged": lambda loss, s, t: (loss(s, t), loss(-s, -t)),
                "with hard margins it is the squared error of the violators": lambda loss, s, t: (
                    loss(s.clamp(-1, 1), t),
                    (s.clamp(-1, 1) - t) ** 2,
                ),
            },
            peers={"keras": lambda s, t: keras_hinge("SquaredHinge", s, t)},
            errors=[
                ((integer([2]), real([1.0])), {}, "floating scores, got torch.int64"),
                (UNEQUAL, {}, r"targets of shape \(3, 1\), got \(3,\)"),
                ((torch.zeros(3), torch.ones(())), {}, r"targets of shape \(3,\), got \(\)"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([1.0, -2.0]), real([1.0, -1.0])), 0.0),
                "chance": ((real([0.0, 0.0]), real([1.0, -1.0])), 1.0, "a score of 0"),
                "convex": True,
            },
        ),
        Case(
            loss=crammer_singer_loss,
            inputs=classes,
            reference=crammer_singer,
            settings=({}, {"margin": 0.5}, {"margin": 0.0}),
            adversarial=MANY | {"a class ruled out": (real([[-math.inf, 0.0, 0.5]]), integer([1]))},
            ranges={"margin": (0.0, 3.0)},
            near=near_classes,
            gradient=crammer_singer_slope,
            classes={0: 1, 1: 1},
            invariances={"shift of the scores": lambda s, y: (s + 0.75, y)},
            relations={
                "two classes are the hinge": two_classes(hinge_loss),
                "at most Weston and Watkins'": lambda loss, s, y: (
                    loss(s, y),
                    torch.minimum(loss(s, y), weston_watkins_loss(s, y)),
                ),
            },
            peers={"scikit-learn": sklearn_multiclass, "optax": optax_multiclass},
            errors=[
                (
                    (torch.zeros(3), integer([0])),
                    {},
                    r"shape \(N, C\) with C >= 2, got torch.float32 \(3,\)",
                ),
                (
                    (torch.zeros(3, 1), integer([0] * 3)),
                    {},
                    r"with C >= 2, got torch.float32 \(3, 1\)",
                ),
                (DENSE, {}, r"shape \(N, C\) with C >= 2, got torch.float32 \(2, 3, 4\)"),
                ((integer([[0, 1]]), integer([0])), {}, r"floating scores .*, got torch.int64"),
                ((torch.zeros(3, 2), integer([[0]] * 3)), {}, r"shape \(3,\), got \(3, 1\)"),
                ((torch.zeros(3, 2), integer([0])), {}, r"labels of shape \(3,\), got \(1,\)"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([[1.0, 0.0, -4.0]]), integer([0])), 0.0),
                "chance": (
                    (torch.zeros(2, 3).double(), integer([0, 2])),
                    1.0,
                    "equal scores: the margin",
                ),
                "convex": True,
            },
            exempt={"device/gradient in the corners": "of scores that are tied, either is best"},
        ),
        Case(
            loss=weston_watkins_loss,
            inputs=classes,
            reference=weston_watkins,
            settings=({}, {"margin": 0.5}, {"margin": 0.0}),
            adversarial=MANY | {"a class ruled out": (real([[-math.inf, 0.0, 0.5]]), integer([1]))},
            ranges={"margin": (0.0, 3.0)},
            near=near_classes,
            gradient=weston_watkins_slope,
            classes={0: 1, 1: 1},
            invariances={"shift of the scores": lambda s, y: (s + 0.75, y)},
            relations={
                "two classes are the hinge": two_classes(hinge_loss),
                "one violator is Crammer and Singer's": lambda loss, s, y: (
                    loss(s[:, :2], y % 2),
                    crammer_singer_loss(s[:, :2], y % 2),
                ),
            },
            peers={"torch": torch_multi_margin},
            errors=[
                (
                    (torch.zeros(3), integer([0])),
                    {},
                    r"scores of shape \(N, C\), got torch.float32 \(3,\)",
                ),
                (DENSE, {}, r"scores of shape \(N, C\), got torch.float32 \(2, 3, 4\)"),
                ((integer([[0, 1]]), integer([0])), {}, r"floating scores .*, got torch.int64"),
                ((torch.zeros(3, 2), integer([[0]] * 3)), {}, r"shape \(3,\), got \(3, 1\)"),
                ((torch.zeros(3, 2), integer([0])), {}, r"labels of shape \(3,\), got \(1,\)"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((real([[1.0, 0.0, -4.0]]), integer([0])), 0.0),
                "chance": (
                    (torch.zeros(2, 3).double(), integer([0, 2])),
                    2.0,
                    "equal scores: C - 1, with C = 3",
                ),
                "convex": True,
            },
        ),
    ]


def plain_crammer_singer(s, y):
    own = F.one_hot(y, s.shape[1]).bool()
    wrong = s.masked_fill(own, -math.inf).amax(1)
    return (1 + wrong - (s * own).sum(1)).clamp_min(0).mean()


def rows():
    return [
        Row(
            hinge_loss,
            slower=bench.CALL,
            shape="{}",
            n=1 << 22,
            inputs=bench.signs,
            peers={
                "Keras": bench.keras("Hinge"),
                "Optax": bench.optax("hinge_loss"),
                FORMULA: lambda s, t: (1 - t * s).clamp_min(0).mean(),
                "torch idiom": lambda s, t: F.relu(1 - t * s).mean(),
            },
        ),
        Row(
            squared_hinge_loss,
            slower=bench.CALL,
            shape="{}",
            n=1 << 22,
            inputs=bench.signs,
            peers={
                "Keras": bench.keras("SquaredHinge"),
                FORMULA: lambda s, t: ((1 - t * s).clamp_min(0) ** 2).mean(),
                "torch idiom": lambda s, t: F.relu(1 - t * s).square().mean(),
            },
        ),
        Row(
            crammer_singer_loss,
            slower="the two best classes are looked for, where the formula masks the true one",
            peers={"Optax": bench.optax("multiclass_hinge_loss"), FORMULA: plain_crammer_singer},
            **bench.classes(8192, 1000),
        ),
        Row(
            weston_watkins_loss,
            slower=bench.FUSED,
            peers={"torch": lambda s, y: F.multi_margin_loss(s, y) * s.shape[1]},
            **bench.classes(8192, 1000),
        ),
    ]


def test_binary_values_by_hand():
    # 1 - 0.25, 1 + 0.25, at and beyond the margin, wrong by 3.
    scores, targets = real([0.25, 0.25, 1.0, 7.0, 3.0]), real([1.0, -1.0, 1.0, 1.0, -1.0])
    assert hinge_loss(scores, targets).tolist() == [0.75, 1.25, 0, 0, 4]
    assert squared_hinge_loss(scores, targets).tolist() == [0.5625, 1.5625, 0, 0, 16]


def test_multiclass_values_by_hand():
    # True class 1: the others violate by 1 + 3 - 1 = 3, 1 + 0.5 - 1 = 0.5 and 1 - 2 - 1 = -2.
    scores, labels = real([[3.0, 1.0, 0.5, -2.0]]), integer([1])
    assert crammer_singer_loss(scores, labels).item() == 3
    assert weston_watkins_loss(scores, labels).item() == 3.5
    # Margin 2: 4, 1.5 and -1.
    assert crammer_singer_loss(scores, labels, margin=2.0).item() == 4
    assert weston_watkins_loss(scores, labels, margin=2.0).item() == 5.5


def test_kink_is_at_the_margin_not_at_zero():
    for loss, at_zero in ((hinge_loss, -1), (squared_hinge_loss, -2)):
        scores = real([0.0, 1.0]).requires_grad_()
        (slope,) = torch.autograd.grad(loss(scores, real([1.0, 1.0])).sum(), scores)
        assert slope.tolist() == [at_zero, 0]


def test_not_the_embedding_loss_of_the_same_name():
    # torch's hinge_embedding_loss takes distances: there these scores cost -3, 0, 0.85 and 3.
    losses = hinge_loss(real([-3.0, 0.0, 0.85, 3.0]), real([1.0] * 4))
    torch.testing.assert_close(losses, real([4.0, 1.0, 0.15, 0.0]))


def test_outlier_keeps_a_slope_of_one():
    scores = real([-5.0, -500.0]).requires_grad_()
    (slope,) = torch.autograd.grad(hinge_loss(scores, real([1.0, 1.0])).sum(), scores)
    assert slope.tolist() == [-1, -1]


def test_margin_may_be_any_number():
    # A bare lead: the classes that win against the truth, by as much as they win.
    scores = real([[3.0, 1.0, 1.5]])
    assert crammer_singer_loss(scores, integer([1]), margin=0.0).item() == 2
    assert weston_watkins_loss(scores, integer([1]), margin=0.0).item() == 2.5


def test_many_classes_in_half_precision():
    # 999 wrong classes that violate by 1.5; added one by one, bfloat16 stops at 512.
    for dtype in (torch.float16, torch.bfloat16):
        scores = torch.zeros(1, 1000, dtype=dtype)
        scores[0, 0] = -0.5
        losses = weston_watkins_loss(scores, integer([0]))
        assert losses.item() == torch.tensor(1498.5, dtype=dtype).item()


def test_sum_of_scores_and_margin_in_half_precision():
    # 1 + 2^-9 - 1. In bfloat16 2^-9 - 1 is -1, and nothing is left.
    scores = torch.tensor([[2**-9, 1.0]], dtype=torch.bfloat16)
    for loss in (crammer_singer_loss, weston_watkins_loss):
        assert loss(scores, integer([1])).item() == 2**-9


def test_integer_targets_are_cast():
    assert hinge_loss(torch.tensor([0.5]), torch.tensor([-1])).item() == 1.5
    assert squared_hinge_loss(torch.tensor([0.5]), torch.tensor([-1])).item() == 2.25
