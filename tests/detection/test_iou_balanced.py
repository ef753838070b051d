import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.classification.cross_entropy import cross_entropy
from lossbook.detection.iou_balanced import (
    iou_balanced_classification_loss,
    iou_balanced_localization_loss,
)
from lossbook.regression.huber import smooth_l1_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def priors(rng):
    """Four positives of three kinds of object among seven priors."""
    labels = integer([2, 0, 3, 1, 0, 0, 3])
    return real(rng.normal(size=(7, 4))), labels, real(rng.uniform(0.1, 1, size=7))


def no_object(rng):
    return real(rng.normal(size=(3, 2))), integer([0, 0, 0]), real(rng.uniform(size=3))


def matched(rng):
    offsets, targets = (real(rng.normal(size=(5, 4)) * 2) for _ in range(2))
    return offsets, targets, real(rng.uniform(0.1, 1, size=5))


def near(rng):
    """Logits that are ever more sure of the label."""
    labels = integer(rng.integers(0, 4, 7))
    sure = real(rng.normal(size=(7, 4))) + F.one_hot(labels, 4) * 2.5 * real(np.arange(7))[:, None]
    return sure, labels, real(rng.uniform(0.1, 1, size=7))


def near_boxes(rng):
    targets = real(rng.normal(size=(7, 4)))
    apart = 10.0 ** -real(np.arange(7))[:, None]
    apart[-1] = 0
    return targets + apart * real(rng.normal(size=(7, 4))), targets, real(rng.uniform(size=7))


def cross_entropies(logits, labels):
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]


def factors(logits, labels, ious, eta):
    """The weights, one prior at a time."""
    costs = cross_entropies(logits, labels)
    positives = [i for i, label in enumerate(labels) if label > 0]
    before = sum(costs[i] for i in positives)
    after = sum(ious[i] ** eta * costs[i] for i in positives)
    usable = bool(positives) and after > 0
    return np.stack(
        [
            ious[i] ** eta * before / after if usable and label > 0 else 1 + 0 * costs[i]
            for i, label in enumerate(labels)
        ]
    )


def balanced(logits, labels, ious, eta=1.5):
    return factors(logits, labels, ious, eta) * cross_entropies(logits, labels)


def balanced_slope(logits, labels, ious, eta=1.5):
    """The slope of cross entropy times the weights, which are held fixed."""
    probabilities = np.exp(logits) / np.exp(logits).sum(1)[:, None]
    truth = labels[:, None] == np.arange(logits.shape[1])
    return factors(logits, labels, ious, eta)[:, None] * (probabilities - truth)


def located(offsets, target_offsets, ious, lam=1.5, beta=1.0):
    r = np.abs(offsets - target_offsets)
    each = np.where(r < beta, r**2 / (2 * beta or 1), r - beta / 2)
    return ious**lam * each.sum(1)


def located_slope(offsets, target_offsets, ious, lam=1.5, beta=1.0):
    r = offsets - target_offsets
    slope = (ious**lam)[:, None] * np.where(np.abs(r) < beta, r / (beta or 1), np.sign(r))
    return slope, -slope


def weighted_torch(logits, labels, ious, eta=1.5):
    costs = F.cross_entropy(logits, labels, reduction="none")
    positive = labels > 0
    if not positive.any():
        return costs
    kept = costs[positive]
    costs[positive] = F.normalize(kept * ious[positive] ** eta, p=1, dim=0) * kept.sum()
    return costs


def weighted_smooth_l1(offsets, target_offsets, ious, lam=1.5, beta=1.0):
    each = F.smooth_l1_loss(offsets, target_offsets, reduction="none", beta=beta)
    return torch.einsum("pk,p->p", each, ious**lam)


def weighted_huber(offsets, target_offsets, ious, lam=1.5, beta=1.0):
    import optax

    if not beta:
        return NotImplemented
    each = optax.huber_loss(offsets.numpy(), target_offsets.numpy(), delta=beta)
    return np.asarray(each).sum(1) * ious.float().numpy() ** lam / beta


SURE = (real([[-900.0, 900.0], [900.0, -900.0]]), integer([1, 0]), real([0.9, 0.0]))
ADVERSARIAL = {
    "one positive": (real([[0.3, -0.7], [2.0, 1.0]]), integer([1, 0]), real([0.2, 0.9])),
    "no overlap": (real([[0.3, -0.7], [2.0, 1.0]]), integer([1, 1]), real([0.0, 0.0])),
    "one without overlap": (real([[0.3, -0.7], [2.0, 1.0]]), integer([1, 1]), real([0.0, 0.5])),
    "all overlap in full": (real([[0.3, -0.7], [2.0, 1.0]]), integer([1, 1]), real([1.0, 1.0])),
    "powers underflow": (
        real([[0.3, -0.7], [2.0, 1.0]]),
        integer([1, 1]),
        real([1e-300, 3e-300]),
    ),
    "sure and right": SURE,
    "sure and wrong": (real([[1e4, -1e4], [1e4, -1e4]]), integer([1, 1]), real([0.9, 0.3])),
    "a class ruled out": (
        real([[0.3, -0.7, -math.inf], [-math.inf, 1.0, 2.0]]),
        integer([1, 2]),
        real([0.5, 0.7]),
    ),
}
BOX = real([[0.5, -1.0, 2.0, 0.0]])
BOXES = {
    "no residual": (BOX, BOX, real([0.7])),
    "no overlap": (BOX, BOX + 9.0, real([0.0])),
    "full overlap": (BOX, BOX + 9.0, real([1.0])),
    "at the knee": (BOX, BOX + 1.0, real([0.7])),
    "far": (real([[1e4, -1e4, 0.0, 0.0]]), real([[-1e4, 1e4, 0.0, 0.0]]), real([0.3])),
    "a tiny overlap": (BOX, BOX + 9.0, real([1e-300])),
}
ROWS, LABELS, IOUS, FOUR = torch.zeros(2, 3), integer([0, 1]), torch.ones(2), torch.zeros(2, 4)


def cases():
    given, boxes = (ROWS, LABELS, IOUS), (FOUR, FOUR, IOUS)
    return [
        Case(
            loss=iou_balanced_classification_loss,
            inputs=(priors, no_object),
            reference=balanced,
            settings=({}, {"eta": 0.0}, {"eta": 1.0}, {"eta": 4.0}),
            adversarial=ADVERSARIAL,
            # Where one positive costs next to nothing, and no other overlaps, the weight is the
            # quotient of a cross entropy that has lost its digits.
            domains={0: (-5.0, 5.0), 2: (0.0, 1.0)},
            ranges={"eta": (0.0, 4.0)},
            near=near,
            infinite={
                "a class ruled out": (
                    (real([[0.0, 0.0, -math.inf]]), integer([1]), real([0.5])),
                    real([math.log(2)]),
                ),
                "all others ruled out": (
                    (real([[-math.inf, 0.0], [0.0, 0.0]]), integer([1, 0]), real([0.5, 0.5])),
                    real([0.0, math.log(2)]),
                ),
                "the label's": (
                    (real([[0.0, -math.inf], [0.0, 0.0]]), integer([1, 0]), real([0.5, 0.5])),
                    real([math.inf, math.log(2)]),
                ),
            },
            detached=(2,),
            gradient=balanced_slope,
            invariances={
                "unit of the IoU": lambda z, y, u: (z, y, u / 2),
                "IoU of the background": lambda z, y, u: (z, y, u.where(y > 0, math.nan)),
                "shift of the logits": lambda z, y, u: (z + 0.75, y, u),
                "order of the objects' classes": lambda z, y, u: (
                    torch.cat([z[:, :1], z[:, 1:].flip(1)], 1),
                    torch.where(y > 0, z.shape[1] - y, 0),
                    u,
                ),
            },
            relations={
                "eta 0 is cross entropy": lambda loss, z, y, u: (
                    loss(z, y, u, eta=0.0),
                    cross_entropy(z, y),
                ),
                "equal IoUs are cross entropy": lambda loss, z, y, u: (
                    loss(z, y, torch.full_like(u, 0.3)),
                    cross_entropy(z, y),
                ),
                "the positives cost together what they did": lambda loss, z, y, u: (
                    loss(z, y, u)[y > 0].sum(),
                    cross_entropy(z, y)[y > 0].sum(),
                ),
                "the background costs what it did": lambda loss, z, y, u: (
                    loss(z, y, u)[y == 0],
                    cross_entropy(z, y)[y == 0],
                ),
                "a large eta leaves the one of largest IoU": lambda loss, z, y, u: (
                    loss(z, y, u, eta=1e4)[[0, 2, 3, 6]].max() if y.any() else loss(z, y, u).max(),
                    cross_entropy(z, y)[y > 0].sum() if y.any() else cross_entropy(z, y).max(),
                ),
            },
            peers={"torch": weighted_torch},
            errors=[
                ((ROWS[0], LABELS, IOUS), {}, r"logits of shape \(P, C\), got .* \(3,\)"),
                ((ROWS.long(), LABELS, IOUS), {}, "floating logits .* got torch.int64"),
                ((ROWS, LABELS[:1], IOUS), {}, r"labels of shape \(2,\), got \(1,\)"),
                ((ROWS, LABELS[:, None], IOUS), {}, r"labels of shape \(2,\), got \(2, 1\)"),
                ((ROWS, LABELS, IOUS[:1]), {}, r"ious of shape \(2,\), got \(1,\)"),
                ((ROWS, LABELS, IOUS[:, None]), {}, r"ious of shape \(2,\), got \(2, 1\)"),
                ((ROWS, LABELS, IOUS[0]), {}, r"ious of shape \(2,\), got \(\)"),
                (
                    (ROWS, LABELS.byte(), IOUS),
                    {},
                    r"dtype int64 \(labels.long\(\)\), got torch.uint8",
                ),
                (given, {"eta": -0.5}, "eta >= 0, got -0.5"),
                (given, {"eta": IOUS}, r"eta of shape \(\), got \(2,\)"),
                (given, {"eta": math.nan}, "eta >= 0, got nan"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": (SURE, 0.0),
                "chance": (
                    (torch.zeros(2, 5).double(), integer([3, 0]), IOUS),
                    math.log(5),
                    "log C, with C = 5",
                ),
                "convex": False,
            },
            exempt={
                "gradient/finite differences": "finite differences move the detached weights, too",
                "shapes": "class 0 is the background, not to be exchanged; a form has two classes",
                "extremes/nan": "the background has no IoU",
                "second gradient": "finite differences move the detached weights, too",
            },
        ),
        Case(
            loss=iou_balanced_localization_loss,
            inputs=matched,
            reference=located,
            settings=({}, {"lam": 0.0}, {"beta": 0.0}, {"lam": 1.0, "beta": 1 / 9}),
            adversarial=BOXES,
            domains={2: (0.0, 1.0)},
            ranges={"lam": (0.0, 3.0), "beta": (0.0, 2.0)},
            near=near_boxes,
            detached=(2,),
            gradient=located_slope,
            invariances={
                "shift of both": lambda o, t, u: (o + 0.75, t + 0.75, u),
                "order of the offsets": lambda o, t, u: (o.flip(1), t.flip(1), u),
            },
            relations={
                "lam 0 is smooth L1": lambda loss, o, t, u: (
                    loss(o, t, u, lam=0.0, beta=0.5),
                    smooth_l1_loss(o, t, beta=0.5).sum(1),
                ),
                "halving the IoU takes 2^lam off": lambda loss, o, t, u: (
                    loss(o, t, u / 2, lam=1.7) * 2**1.7,
                    loss(o, t, u, lam=1.7),
                ),
                "lams add up": lambda loss, o, t, u: (
                    loss(o, t, u, lam=2.5),
                    u * loss(o, t, u),
                ),
            },
            peers={"torch": weighted_smooth_l1, "optax": weighted_huber},
            errors=[
                ((ROWS, ROWS, IOUS), {}, r"offsets of shape \(P, 4\), got .* \(2, 3\)"),
                ((FOUR[0], FOUR[0], IOUS), {}, r"offsets of shape \(P, 4\), got .* \(4,\)"),
                ((FOUR.long(), FOUR, IOUS), {}, "floating offsets .* got torch.int64"),
                ((FOUR, FOUR[:1], IOUS), {}, r"target_offsets of shape \(2, 4\), got \(1, 4\)"),
                ((FOUR, FOUR[0], IOUS), {}, r"target_offsets of shape \(2, 4\), got \(4,\)"),
                ((FOUR, FOUR, IOUS[:1]), {}, r"ious of shape \(2,\), got \(1,\)"),
                ((FOUR, FOUR, IOUS[:, None]), {}, r"ious of shape \(2,\), got \(2, 1\)"),
                (boxes, {"lam": -1.0}, "lam >= 0, got -1.0"),
                (boxes, {"lam": IOUS}, r"lam of shape \(\), got \(2,\)"),
                (boxes, {"beta": IOUS}, r"beta of shape \(\), got \(2,\)"),
                (boxes, {"lam": math.nan}, "lam >= 0, got nan"),
                (boxes, {"beta": -0.1}, "beta >= 0, got -0.1"),
                (boxes, {"beta": math.nan}, "beta >= 0, got nan"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": (BOXES["no residual"], 0.0),
                "convex": True,
            },
        ),
    ]


def plain_balanced(logits, labels, ious):
    ce = F.cross_entropy(logits, labels, reduction="none")
    positive = labels > 0
    with torch.no_grad():
        raw = ious**1.5
        weights = raw * (ce * positive).sum() / (raw * ce * positive).sum()
    return (torch.where(positive, weights, 1) * ce).mean()


def plain_located(x, t, ious):
    return (ious**1.5 * F.smooth_l1_loss(x, t, reduction="none").sum(1)).mean()


def rows():
    return [
        Row(
            iou_balanced_classification_loss,
            shape="{} x 81",
            n=65536,
            slower="the others' share is summed apart, so that a sure prior keeps its digits",
            inputs=lambda n: (bench.leaf(n, 81), torch.randint(0, 81, (n,)), torch.rand(n)),
            peers={"torch idiom": plain_balanced},
        ),
        Row(
            iou_balanced_localization_loss,
            shape="{} x 4",
            n=1 << 20,
            slower="torch has one kernel for smooth L1 and one for its slope; here five "
            "passes, whose tables autograd keeps",
            inputs=lambda n: (bench.leaf(n, 4), torch.randn(n, 4), torch.rand(n)),
            peers={"torch idiom": plain_located},
        ),
    ]


def test_classification_by_hand():
    # Each costs log 2. IoU^1.5 is 0.729 and 0.216, in all 0.945: weights 2 * 0.729 / 0.945 and
    # 2 * 0.216 / 0.945, that is 54/35 and 16/35.
    losses = iou_balanced_classification_loss(
        torch.zeros(3, 2).double(), integer([1, 1, 0]), real([0.81, 0.36, 0.99])
    )
    expected = [54 / 35 * math.log(2), 16 / 35 * math.log(2), math.log(2)]
    assert losses.tolist() == pytest.approx(expected)


def test_localization_by_hand():
    # 0.25^1.5 = 1/8 of 0.5^2 / 2 + (3 - 1/2); with beta 0.25: (0.5 - 0.125) + (3 - 0.125).
    given = real([[0.5, 3.0, 0.0, 0.0]]), torch.zeros(1, 4).double(), real([0.25])
    assert iou_balanced_localization_loss(*given).tolist() == [2.625 / 8]
    assert iou_balanced_localization_loss(*given, beta=0.25).tolist() == [3.25 / 8]


def slope_of(loss, logits, *inputs):
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, *inputs).sum(), leaf)[0]


def test_a_live_normalizer_would_be_cross_entropy():
    """Why the weights are detached: otherwise their sum, and so its slope, is the plain one."""

    def live(logits, labels, ious):
        costs, powers = cross_entropy(logits, labels), ious**1.5
        kept, total = costs[labels > 0].sum(), (powers * costs)[labels > 0].sum()
        return torch.where(labels > 0, powers * costs * kept / total, costs)

    z, y, u = priors(np.random.default_rng(0))
    plain = slope_of(cross_entropy, z, y)
    torch.testing.assert_close(slope_of(live, z, y, u), plain, rtol=0, atol=1e-14)
    ours = slope_of(iou_balanced_classification_loss, z, y, u)
    assert (ours - plain).abs().max() > 0.05


def test_second_derivatives_hold_the_weights_fixed():
    z, y, u = priors(np.random.default_rng(0))
    weights = iou_balanced_classification_loss(z, y, u) / cross_entropy(z, y)
    direction = real(np.random.default_rng(1).normal(size=z.shape))

    def bend(loss):
        leaf = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(leaf).sum(), leaf, create_graph=True)
        return torch.autograd.grad((slope * direction).sum(), leaf)[0]

    ours = bend(lambda z: iou_balanced_classification_loss(z, y, u))
    torch.testing.assert_close(ours, bend(lambda z: weights * cross_entropy(z, y)))


def test_without_overlap_it_is_cross_entropy_in_every_dtype():
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        z = torch.tensor([[0.5, -1.0], [2.0, 1.0]], dtype=dtype)
        losses = iou_balanced_classification_loss(z, integer([1, 1]), torch.zeros(2, dtype=dtype))
        assert losses.equal(cross_entropy(z, integer([1, 1])))


def test_a_positive_that_costs_nothing_stays_finite():
    # Its weight would be 1e45 in float32, times a loss of 0.
    z = torch.tensor([[-90.0, 90.0], [3.0, -1.0]], requires_grad=True)
    losses = iou_balanced_classification_loss(z, integer([1, 1]), torch.tensor([1.0, 1e-30]))
    (slope,) = torch.autograd.grad(losses.sum(), z)
    assert losses[0] == 0
    assert losses[1].item() == pytest.approx(math.log1p(math.exp(4)))
    assert slope.isfinite().all()


def test_an_infinite_cost_leaves_no_nan():
    z = real([[0.0, -math.inf], [3.0, -1.0]])
    losses = iou_balanced_classification_loss(z, integer([1, 1]), real([0.5, 0.5]))
    assert losses.tolist() == [math.inf, pytest.approx(math.log1p(math.exp(4)))]


def test_an_iou_that_is_nan_is_seen():
    z = real([[0.0, 1.0], [3.0, -1.0]])
    losses = iou_balanced_classification_loss(z, integer([1, 1]), real([math.nan, 0.5]))
    assert losses.isnan().all()
