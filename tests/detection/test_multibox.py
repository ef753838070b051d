import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook import Criterion
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.detection.multibox import decode_boxes, encode_boxes, match_priors, multibox_loss
from lossbook.regression.huber import smooth_l1_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real

# Two objects with six priors left, one with seven, and none.
LABELS = integer([[0, 3, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 2], [0] * 8])


def images(rng):
    offsets, targets = (real(rng.normal(size=(3, 8, 4)) * 1.5) for _ in range(2))
    return offsets, real(rng.normal(size=(3, 8, 4)) * 2), targets, LABELS


def near(rng):
    """Images ever more sure and ever nearer."""
    labels, targets = LABELS[integer([0, 1, 0, 1, 0, 1, 0])], real(rng.normal(size=(7, 8, 4)))
    steps = real(np.arange(7))[:, None, None]
    sure = real(rng.normal(size=(7, 8, 4))) + F.one_hot(labels, 4) * 2.5 * steps
    return targets + 10.0**-steps * real(rng.normal(size=(7, 8, 4))), sure, targets, labels


def hardest(costs, labels, negative_ratio):
    """The positives of an image and its chosen negatives, as lists of indices."""
    positives = [i for i, label in enumerate(labels) if label > 0]
    negatives = sorted(set(range(len(labels))) - set(positives), key=lambda i: -costs[i])
    return positives, negatives[: math.floor(negative_ratio * len(positives))]


def ssd(box_offsets, logits, target_offsets, labels, alpha=1.0, negative_ratio=3.0):
    """Equation 1, one image at a time."""
    losses = []
    for b, z, t, y in zip(box_offsets, logits, target_offsets, labels, strict=True):
        surprise = np.log(np.exp(z).sum(1))[:, None] - z
        positives, negatives = hardest(surprise[:, 0], y, negative_ratio)
        confidence = sum(surprise[i, y[i]] for i in positives + negatives)
        location = 0
        for i in positives:
            r = abs(b[i] - t[i])
            location = location + np.where(r < 1, r**2 / 2, r - 1 / 2).sum()
        losses.append((confidence + alpha * location) / max(len(positives), 1))
    return np.asarray(losses)


def ssd_slope(box_offsets, logits, target_offsets, labels, alpha=1.0, negative_ratio=3.0):
    r, z = box_offsets - target_offsets, logits
    slopes = [np.where(abs(r) < 1, r, np.sign(r)) * alpha, np.exp(z) / np.exp(z).sum(2)[..., None]]
    slopes[1] = slopes[1] - (np.arange(z.shape[2]) == labels[..., None])
    keep = np.zeros((2, *labels.shape))
    for n, y in enumerate(labels):
        surprise = np.log(np.exp(z[n]).sum(1)) - z[n, :, 0]
        positives, negatives = hardest(surprise, y, negative_ratio)
        keep[0, n, positives] = 1 / max(len(positives), 1)
        keep[1, n, positives + negatives] = 1 / max(len(positives), 1)
    location, confidence = (k[..., None] * slope for k, slope in zip(keep, slopes, strict=True))
    return location, confidence, -location


def torch_ranks(box_offsets, logits, target_offsets, labels, alpha=1.0, negative_ratio=3.0):
    """Ranks by sorting twice, as most copies of this loss have it."""
    positive = labels > 0
    counts = positive.sum(1)
    costs = F.cross_entropy(logits.mT, labels, reduction="none")
    ranks = costs.masked_fill(positive, -1).argsort(1, descending=True).argsort(1)
    negative = ~positive & (ranks < (negative_ratio * counts).floor()[:, None])
    smooth = F.smooth_l1_loss(box_offsets, target_offsets, reduction="none").sum(2)
    total = (costs * (positive | negative) + alpha * smooth * positive).sum(1)
    return total / counts.clamp_min(1)


def monai_sampler(box_offsets, logits, target_offsets, labels, alpha=1.0, negative_ratio=3.0):
    """Its sampler draws the negatives from a pool, here of just those that it needs."""
    from monai.apps.detection.utils.hard_negative_sampler import HardNegativeSampler

    sampler = HardNegativeSampler(10**6, 1 / (1 + negative_ratio), min_neg=0, pool_size=1)
    losses = []
    for b, z, t, y in zip(box_offsets, logits, target_offsets, labels, strict=True):
        n = int((y > 0).sum())
        if not n:
            losses.append(z.sum() * 0)
            continue
        masks = sampler([y], 1 - z.softmax(1)[:, 0])
        positive, negative = (mask[0].bool() for mask in masks)
        kept = positive | negative
        loss = F.cross_entropy(z[kept], y[kept], reduction="sum")
        loss = loss + alpha * F.smooth_l1_loss(b[positive], t[positive], reduction="sum")
        losses.append(loss / n)
    return torch.stack(losses)


def boxes_and_priors(rng):
    low, size = rng.uniform(0, 5, size=(5, 2)), rng.uniform(0.5, 4, size=(5, 2))
    priors = np.concatenate([rng.uniform(0, 8, (5, 2)), rng.uniform(0.5, 4, (5, 2))], 1)
    return real(np.concatenate([low, low + size], 1)), real(priors)


def offsets_and_priors(rng):
    return real(rng.normal(size=(5, 4)) * 2), boxes_and_priors(rng)[1]


def encoded(boxes, priors, variances=(0.1, 0.2)):
    rows = []
    for (x1, y1, x2, y2), (cx, cy, w, h) in zip(boxes, priors, strict=True):
        x, y = ((x1 + x2) / 2 - cx) / w, ((y1 + y2) / 2 - cy) / h
        sizes = [np.log((x2 - x1) / w) / variances[1], np.log((y2 - y1) / h) / variances[1]]
        rows.append([x / variances[0], y / variances[0], *sizes])
    return np.asarray(rows)


def decoded(offsets, priors, variances=(0.1, 0.2)):
    rows = []
    for (a, b, c, d), (cx, cy, w, h) in zip(offsets, priors, strict=True):
        x, y = cx + variances[0] * a * w, cy + variances[0] * b * h
        w, h = w * np.exp(variances[1] * c), h * np.exp(variances[1] * d)
        rows.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return np.asarray(rows)


def corners(priors):
    return torch.cat([priors[:, :2] - priors[:, 2:] / 2, priors[:, :2] + priors[:, 2:] / 2], 1)


def coder(variances):
    from monai.apps.detection.utils.box_coder import BoxCoder

    return BoxCoder(tuple(1 / variances[i] for i in (0, 0, 1, 1)))


def monai_encode(boxes, priors, variances=(0.1, 0.2)):
    return coder(variances).encode_single(boxes, corners(priors)).float()


def monai_decode(offsets, priors, variances=(0.1, 0.2)):
    return coder(variances).decode_single(offsets, corners(priors)).float()


def one_image(logits, labels, residual=0.0):
    """Offsets that are wrong by a residual everywhere."""
    target = torch.zeros(1, len(labels), 4, dtype=torch.float64)
    return target + residual, real([logits]), target, integer([labels])


ADVERSARIAL = {
    "an object alone": one_image([[0.5, -1.0]], [1], 0.5),
    "at the knee": one_image([[0.5, -1.0], [0.0, 1.0]], [1, 0], 1.0),
    "more negatives wanted than there are": one_image([[0.5, -1.0], [2.0, 1.0]], [1, 0]),
    "nothing but objects": one_image([[0.5, -1.0], [2.0, 1.0]], [1, 1]),
    "no object": one_image([[0.5, -1.0], [-2.0, 1.0]], [0, 0], 3.0),
    "sure and right": one_image([[-1e4, 1e4], [1e4, -1e4]], [1, 0]),
    "sure and wrong": one_image([[1e4, -1e4], [-1e4, 1e4]], [1, 0], 1e4),
    "rows 1e4 apart": one_image([[1e4, 1e4 + 1], [-1e4, 1 - 1e4], [0.0, 2.0]], [1, 0, 0]),
    "a class ruled out": one_image([[0.5, 1.0, -math.inf], [0.5, -math.inf, 0.1]], [1, 0]),
    "an object that cannot be background": one_image([[-math.inf, 1.0], [0.5, 0.1]], [1, 0]),
}
PRIOR = real([[3.0, 3.0, 2.0, 4.0]])
ZEROS, SCORES = torch.zeros(2, 3, 4), torch.zeros(2, 3, 5)
NONE = torch.zeros(2, 3, dtype=torch.int64)
ROWS = torch.ones(2, 4)
HELPER = {
    "facts": "a change of coordinates, not a loss",
    "next to the optimum": "a change of coordinates, not a loss",
}


def cases():
    given = (ZEROS, SCORES, ZEROS, NONE)
    pair_errors = [
        ((ROWS, ROWS), {"variances": variances}, "variances to be two positive numbers, got")
        for variances in ((0.0, 0.2), (0.1, -0.2), (0.1, math.nan), (0.1,), (0.1, 0.1, 0.2, 0.2))
    ]
    return [
        Case(
            loss=multibox_loss,
            inputs=images,
            reference=ssd,
            settings=(
                {},
                {"alpha": 0.5, "negative_ratio": 1.0},
                {"alpha": 0.0, "negative_ratio": 0.0},
                {"negative_ratio": 2.5},
            ),
            adversarial=ADVERSARIAL,
            ranges={"alpha": (0.0, 2.0), "negative_ratio": (0.0, 4.0)},
            near=near,
            infinite={
                "ruled out": (
                    one_image([[0.0, -math.inf, 0.0], [0.0, 0.0, -math.inf]], [2, 0]),
                    real([2 * math.log(2)]),
                ),
                "sure and right": (
                    one_image([[-math.inf, 0.0], [0.0, -math.inf]], [1, 0]),
                    real([0]),
                ),
                "a wrong negative": (
                    one_image([[0.0, 0.0], [-math.inf, 0.0]], [1, 0]),
                    real([math.inf]),
                ),
            },
            exempt={
                "settings/gradient of negative_ratio": "it counts, and jumps where the count does",
                "shapes": "class 0 is the background; most adversarial inputs have two classes",
                "extremes/nan": "an image without a match costs 0",
            },
            gradient=ssd_slope,
            invariances={
                "order of the priors": lambda b, z, t, y: (*(x.flip(1) for x in (b, z, t, y)),),
                "shift of both offsets": lambda b, z, t, y: (b + 0.75, z, t + 0.75, y),
                "shift of the logits": lambda b, z, t, y: (b, z + 0.75, t, y),
                "offsets of the background": lambda b, z, t, y: (
                    b,
                    z,
                    t.where(y[..., None] > 0, math.nan),
                    y,
                ),
                "order of the objects' classes": lambda b, z, t, y: (
                    b,
                    torch.cat([z[..., :1], z[..., 1:].flip(2)], 2),
                    t,
                    torch.where(y > 0, 4 - y, 0),
                ),
            },
            relations={
                "without negatives and offsets, cross entropy of the objects": lambda loss, *x: (
                    loss(*x, alpha=0.0, negative_ratio=0.0)[:2] * real([2, 1]),
                    (cross_entropy(x[1].mT, x[3]) * (x[3] > 0)).sum(1)[:2],
                ),
                "with all negatives, cross entropy": lambda loss, *x: (
                    loss(*x, alpha=0.0, negative_ratio=99.0)[:2] * real([2, 1]),
                    cross_entropy(x[1].mT, x[3]).sum(1)[:2],
                ),
                "alpha adds smooth L1": lambda loss, *x: (
                    (loss(*x, alpha=2.0) - loss(*x, alpha=0.0))[:2] * real([2, 1]),
                    2 * (smooth_l1_loss(x[0], x[2]).sum(2) * (x[3] > 0)).sum(1)[:2],
                ),
                "priors that are surely background change nothing": lambda loss, b, z, t, y: (
                    loss(
                        b.repeat(1, 2, 1),
                        torch.cat([z, z + 1e3 * (torch.arange(4) == 0)], 1),
                        t.repeat(1, 2, 1),
                        torch.cat([y, 0 * y], 1),
                    ),
                    loss(b, z, t, y),
                ),
            },
            peers={"torch": torch_ranks, "monai": monai_sampler},
            errors=[
                ((ZEROS[0], SCORES[0], ZEROS[0], NONE[0]), {}, r"logits of shape \(N, P, C\)"),
                ((ZEROS, SCORES.long(), ZEROS, NONE), {}, "floating logits .* got torch.int64"),
                (
                    (ZEROS[:1], SCORES, ZEROS, NONE),
                    {},
                    r"box_offsets of shape .* got \(1, 3, 4\)",
                ),
                ((SCORES, SCORES, ZEROS, NONE), {}, r"box_offsets of shape .* got \(2, 3, 5\)"),
                (
                    (ZEROS, SCORES, ZEROS[:, :1], NONE),
                    {},
                    r"target_offsets .* got \(2, 1, 4\)",
                ),
                ((ZEROS, SCORES, ZEROS[..., :1], NONE), {}, r"target_offsets .* got \(2, 3, 1\)"),
                (
                    (ZEROS, SCORES, ZEROS, NONE[:, :1]),
                    {},
                    r"labels of shape .* got \(2, 1\)",
                ),
                ((ZEROS, SCORES, ZEROS, NONE[0]), {}, r"labels of shape \(2, 3\), got \(3,\)"),
                ((ZEROS.long(), SCORES, ZEROS, NONE), {}, "floating box_offsets, got torch.int64"),
                (
                    (ZEROS, SCORES, ZEROS, NONE.byte()),
                    {},
                    r"dtype int64 \(labels.long\(\)\), got torch.uint8",
                ),
                (given, {"alpha": torch.ones(2)}, r"alpha of shape \(\), got \(2,\)"),
                (
                    given,
                    {"negative_ratio": torch.ones(2)},
                    r"negative_ratio of shape \(\), got \(2,\)",
                ),
                (given, {"alpha": -1.0}, "alpha >= 0, got -1.0"),
                (given, {"alpha": math.nan}, "alpha >= 0, got nan"),
                (given, {"negative_ratio": -1.0}, "negative_ratio >= 0, got -1.0"),
                (given, {"negative_ratio": math.nan}, "negative_ratio >= 0, got nan"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": (ADVERSARIAL["sure and right"], 0.0),
                "chance": (
                    one_image(np.zeros((9, 5)), [0, 0, 4, *[0] * 6]),
                    4 * math.log(5),
                    "a match and three others: 4 log C, with C = 5",
                ),
                "convex": True,
            },
        ),
        Case(
            loss=encode_boxes,
            inputs=boxes_and_priors,
            reference=encoded,
            settings=({}, {"variances": (1.0, 1.0)}, {"variances": (0.05, 0.5)}),
            adversarial={
                "the prior itself": (corners(PRIOR), PRIOR),
                "far off": (corners(PRIOR) + 1e4, PRIOR),
                "1e4 times as large": (1e4 * corners(PRIOR), PRIOR),
                "1e-4 times as large": (1e-4 * corners(PRIOR), PRIOR),
            },
            domains={0: None, 1: None},
            invariances={
                "shift of both": lambda b, p: (b + 2.0, p + real([2, 2, 0, 0])),
                "unit of both": lambda b, p: (3 * b, 3 * p),
            },
            relations={
                "decoding gives the boxes back": lambda loss, b, p: (
                    decode_boxes(loss(b, p), p),
                    b,
                ),
                "variances divide": lambda loss, b, p: (
                    loss(b, p, variances=(0.5, 4.0)) * real([0.5, 0.5, 4, 4]),
                    loss(b, p, variances=(1.0, 1.0)),
                ),
            },
            peers={"monai": monai_encode},
            errors=[
                ((ROWS, ROWS.long()), {}, r"floating priors of shape \(P, 4\), got torch.int64"),
                ((ROWS, ROWS[0]), {}, r"priors of shape \(P, 4\), got .* \(4,\)"),
                ((ROWS[:, :3], ROWS[:, :3]), {}, r"priors of shape \(P, 4\), got .* \(2, 3\)"),
                ((ROWS[:1], ROWS), {}, r"boxes of shape \(2, 4\), got \(1, 4\)"),
                ((ROWS[0], ROWS), {}, r"boxes of shape \(2, 4\), got \(4,\)"),
                *pair_errors,
            ],
            exempt=HELPER | {"dtypes": "boxes may be whole numbers, so the priors give the dtype"},
        ),
        Case(
            loss=decode_boxes,
            inputs=offsets_and_priors,
            reference=decoded,
            settings=({}, {"variances": (1.0, 1.0)}, {"variances": (0.05, 0.5)}),
            adversarial={
                "no offset": (torch.zeros(1, 4).double(), PRIOR),
                "far off": (real([[1e4, -1e4, 0.0, 0.0]]), PRIOR),
                "size 0": (real([[0.0, 0.0, -1e4, -1e4]]), PRIOR),
                "size beyond every number": (real([[0.0, 0.0, 1e4, 1.0]]), PRIOR),
            },
            domains={0: (-10.0, 10.0), 1: None},
            relations={
                "encoding gives the offsets back": lambda loss, o, p: (
                    encode_boxes(loss(o, p), p),
                    o,
                ),
                "variances multiply": lambda loss, o, p: (
                    loss(o / real([0.5, 0.5, 2, 2]), p, variances=(0.5, 2.0)),
                    loss(o, p, variances=(1.0, 1.0)),
                ),
                "the unit of the priors is that of the boxes": lambda loss, o, p: (
                    loss(o, 3 * p),
                    3 * loss(o, p),
                ),
            },
            peers={"monai": monai_decode},
            errors=[
                ((ROWS.long(), ROWS), {}, r"floating offsets of shape \(P, 4\), got torch.int64"),
                ((ROWS[0], ROWS[0]), {}, r"offsets of shape \(P, 4\), got .* \(4,\)"),
                ((ROWS[:, :3], ROWS[:, :3]), {}, r"offsets of shape \(P, 4\), got .* \(2, 3\)"),
                ((ROWS[None], ROWS[None]), {}, r"offsets of shape \(P, 4\), got .* \(1, 2, 4\)"),
                ((ROWS, ROWS[:1]), {}, r"priors of shape \(2, 4\), got \(1, 4\)"),
                ((ROWS, ROWS[0]), {}, r"priors of shape \(2, 4\), got \(4,\)"),
                *pair_errors,
            ],
            exempt=HELPER,
        ),
    ]


def plain_multibox(offsets, logits, target_offsets, labels):
    """The usual way: rank all negatives by two sorts."""
    positive = labels > 0
    ce = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    ce = ce.view_as(labels)
    ranks = ce.masked_fill(positive, -math.inf).sort(1, descending=True).indices.sort(1).indices
    count = positive.sum(1, keepdim=True)
    kept = positive | (ranks < (3 * count).clamp_max((~positive).sum(1, keepdim=True)))
    place = F.smooth_l1_loss(offsets, target_offsets, reduction="none").sum(2)
    return (((ce * kept).sum(1) + (place * positive).sum(1)) / count[:, 0]).mean()


def rows():
    def inputs(n):
        labels = torch.randint(1, 21, (n, 8732)).where(torch.rand(n, 8732) < 0.005, 0)
        return bench.leaf(n, 8732, 4), bench.leaf(n, 8732, 21), torch.randn(n, 8732, 4), labels

    return [
        Row(
            multibox_loss,
            shape="{} x 8732 x 21",
            n=8,
            slower="the others' share is summed apart, so that a sure prior keeps its digits",
            inputs=inputs,
            peers={"torch idiom": plain_multibox},
            sweep=(1, 2, 4, 8, 16),
        )
    ]


def test_a_value_by_hand():
    # One object, its label at p = 1/4: log 4. Backgrounds at p = 1/2, 1/5, 4/5 and 1/2: of the
    # two that it gets, the second is first with log 5, then one with log 2. Residuals 1/2 and -3:
    # 1/8 + 5/2 = 21/8.
    p = real(
        [[0.5, 0.25, 0.25], [0.5, 0.2, 0.3], [0.2, 0.5, 0.3], [0.8, 0.1, 0.1], [0.5, 0.4, 0.1]]
    )
    offsets = torch.zeros(1, 5, 4).double()
    target = offsets.clone()
    target[0, 0] = real([-0.5, 3.0, 0.0, 0.0])
    given = offsets, p.log()[None] + 7, target, integer([[1, 0, 0, 0, 0]])
    for alpha in (1.0, 4.0):
        loss = multibox_loss(*given, alpha=alpha, negative_ratio=2.0)
        assert loss.item() == pytest.approx(math.log(4 * 5 * 2) + alpha * 21 / 8)


def slopes(*inputs, **settings):
    leaves = [x.clone().requires_grad_() for x in inputs[:2]]
    losses = multibox_loss(*leaves, *inputs[2:], **settings)
    return torch.autograd.grad(losses.sum(), leaves)


def test_only_objects_and_the_hardest_negatives_get_a_gradient():
    inputs = images(np.random.default_rng(0))
    hardness = cross_entropy(inputs[1].mT, 0 * LABELS)
    for ratio, counts in (
        (0.0, (0, 0)),
        (0.9, (1, 0)),
        (1.0, (2, 1)),
        (2.5, (5, 2)),
        (9.0, (6, 7)),
    ):
        location, confidence = slopes(*inputs, negative_ratio=ratio)
        moved = confidence.any(2)
        assert location.any(2).equal(LABELS > 0)
        assert moved[LABELS > 0].all()
        assert not moved[2].any()
        for image, count in enumerate(counts):
            negatives = LABELS[image] == 0
            chosen = negatives & moved[image]
            assert chosen.sum() == count
            if 0 < count < negatives.sum():
                assert hardness[image][chosen].min() > hardness[image][negatives & ~chosen].max()


def test_negatives_are_ranked_by_their_probability_of_background():
    # The second has the larger score of an object, the third the smaller probability of background.
    logits = [[0.0, 1.0], [9.0, 5.0], [0.0, 2.0]]
    _, confidence = slopes(*one_image(logits, [1, 0, 0]), negative_ratio=1.0)
    assert confidence.any(2).tolist() == [[True, False, True]]


def test_of_equal_negatives_as_many_are_chosen():
    inputs = one_image(np.zeros((9, 3)), [2, *[0] * 8])
    assert slopes(*inputs, negative_ratio=3.0)[1].any(2).sum() == 1 + 3


def test_images_without_objects_cost_and_move_nothing():
    b, z, t, y = images(np.random.default_rng(0))
    for slope in slopes(b + 9, z, t.fill_(math.inf), 0 * y):
        assert not slope.any()
    assert multibox_loss(b + 9, z, t, 0 * y).tolist() == [0, 0, 0]
    nothing = (torch.zeros(2, 0, size) for size in (4, 3, 4))
    assert multibox_loss(*nothing, torch.zeros(2, 0, dtype=torch.int64)).tolist() == [0, 0]


def test_the_papers_batch_form_is_a_weighted_mean():
    inputs = images(np.random.default_rng(0))
    summed = multibox_loss(*inputs) * (LABELS > 0).sum(1)
    mean = Criterion(multibox_loss)(*inputs, weights=(LABELS > 0).sum(1))
    assert mean.item() == pytest.approx(summed.sum().item() / 3)


def test_the_negatives_of_one_image_are_not_taken_by_another():
    b, z, t, y = images(np.random.default_rng(0))
    hard = z.clone()
    hard[1, :7, 0] -= 50
    assert multibox_loss(b, hard, t, y)[0] == multibox_loss(b, z, t, y)[0]


def test_boxes_by_hand():
    # Center (3.5, 4), size 3 x 4, of a prior at (3, 3) and 2 x 4: 0.5 / 2 / 0.1, 1 / 4 / 0.1.
    box = real([[2.0, 2.0, 5.0, 6.0]])
    offsets = real([[2.5, 2.5, math.log(1.5) / 0.2, 0.0]])
    torch.testing.assert_close(encode_boxes(box, PRIOR), offsets)
    torch.testing.assert_close(decode_boxes(offsets, PRIOR), box)


def test_boxes_may_be_whole_numbers():
    offsets = encode_boxes(integer([[2, 2, 5, 6]]), PRIOR.float())
    assert offsets.dtype == torch.float32
    assert offsets.equal(encode_boxes(torch.tensor([[2.0, 2.0, 5.0, 6.0]]), PRIOR.float()))
    assert decode_boxes(offsets, integer([[3, 3, 2, 4]])).tolist() == [
        pytest.approx([2, 2, 5, 6], rel=1e-6)
    ]


def overlap(prior, box):
    """IoU of a prior and a box, as a quotient of whole numbers rounded once."""
    cx, cy, w, h = (Fraction(float(x)) for x in prior)
    x1, y1, x2, y2 = (Fraction(float(x)) for x in box)
    width = max(0, min(cx + w / 2, x2) - max(cx - w / 2, x1))
    height = max(0, min(cy + h / 2, y2) - max(cy - h / 2, y1))
    return float(width * height / (w * h + (x2 - x1) * (y2 - y1) - width * height))


def matched(priors, boxes, threshold):
    """The index of the box of each prior, or None: all pairs, the largest IoU first."""
    found = {(p, g): overlap(x, y) for p, x in enumerate(priors) for g, y in enumerate(boxes)}
    match = dict.fromkeys(range(len(priors)))
    taken = set()
    for p, g in sorted(found, key=lambda pair: (-found[pair], pair)):
        if match[p] is None and g not in taken and found[p, g] > 0:
            match[p] = g
            taken.add(g)
    for p in match:
        best = max(range(len(boxes)), key=lambda g: found[p, g], default=None)
        if match[p] is None and best is not None and found[p, best] > threshold:
            match[p] = best
    return list(match.values())


def scene(seed, count, objects):
    """Priors and boxes on a coarse grid, so that equal IoUs and none at all occur."""
    rng = np.random.default_rng((seed, count, objects))
    low, size = rng.integers(0, 6, (objects, 2)), rng.integers(1, 5, (objects, 2))
    priors = np.concatenate([rng.integers(0, 8, (count, 2)), rng.integers(1, 5, (count, 2))], 1)
    boxes = np.concatenate([low, low + size], 1)
    return real(priors), real(boxes), integer(rng.integers(1, 9, objects))


def test_matches_of_random_scenes():
    for seed in range(40):
        for count, objects in ((12, 3), (6, 6), (3, 5), (12, 1), (4, 0), (0, 2)):
            priors, boxes, labels = scene(seed, count, objects)
            for threshold in (0.0, 0.2, 0.5, 1.0):
                expected = matched(priors.tolist(), boxes.tolist(), threshold)
                offsets, found = match_priors(priors, boxes, labels, threshold=threshold)
                assert found.tolist() == [0 if g is None else labels[g].item() for g in expected]
                assert offsets.isfinite().all()
                for p, g in enumerate(expected):
                    if g is not None:
                        box = decode_boxes(offsets[p : p + 1], priors[p : p + 1])
                        torch.testing.assert_close(box[0], boxes[g])


def of_width(*spans):
    """Boxes of height 1 over these spans of the x axis."""
    return real([[a, 0, b, 1] for a, b in spans])


def as_priors(boxes):
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def labels_of(priors, boxes, **settings):
    return match_priors(as_priors(priors), boxes, torch.arange(1, len(boxes) + 1), **settings)[1]


def test_two_objects_with_one_best_prior():
    # IoU 2/3 and 3/4 with the first prior: object 2 takes it, object 1 its 1/3 with the other.
    priors, boxes = of_width((0, 4), (2, 12)), of_width((0, 6), (0, 3))
    assert labels_of(priors, boxes).tolist() == [2, 1]
    assert labels_of(priors, boxes.flip(0)).tolist() == [1, 2]


def test_an_object_keeps_its_prior_though_another_overlaps_it_more():
    # Object 2 is the first prior. It overlaps the second by 5/8, object 1 does by 1/5.
    priors, boxes = of_width((0, 8), (3, 8)), of_width((7, 8), (0, 8))
    assert labels_of(priors, boxes).tolist() == [2, 1]


def test_the_threshold_is_not_reached_at_equality():
    # IoU 1, 1/2 and 3/4.
    priors, boxes = of_width((0, 4), (0, 2), (0, 3)), of_width((0, 4))
    assert labels_of(priors, boxes).tolist() == [1, 0, 1]
    assert labels_of(priors, boxes, threshold=0.75).tolist() == [1, 0, 0]
    assert labels_of(priors, boxes, threshold=0.49).tolist() == [1, 1, 1]


def test_an_object_gets_a_prior_below_the_threshold():
    assert labels_of(of_width((0, 9), (0, 8)), of_width((0, 1))).tolist() == [0, 1]


def test_an_object_that_nothing_overlaps_stays_unmatched():
    assert labels_of(of_width((0, 4), (8, 9)), of_width((4, 8))).tolist() == [0, 0]
    assert labels_of(of_width((0, 4)), of_width((4, 8), (3, 4)), threshold=0.0).tolist() == [2]


def test_more_objects_than_priors():
    assert labels_of(of_width((0, 4)), of_width((0, 1), (0, 3), (0, 2))).tolist() == [2]


def test_unmatched_priors_have_no_offsets():
    priors, boxes, labels = scene(0, 12, 3)
    offsets, found = match_priors(priors, boxes, labels)
    assert found.dtype == torch.int64
    assert (found == 0).any()
    assert not offsets[found == 0].any()
    offsets, found = match_priors(priors, boxes[:0], labels[:0])
    assert not offsets.any()
    assert not found.any()


def test_matching_keeps_the_dtype_of_the_priors():
    priors, boxes, labels = scene(1, 12, 3)
    expected, found = match_priors(priors, boxes, labels)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        offsets, same = match_priors(priors.to(dtype), boxes.long(), labels)
        assert offsets.dtype == dtype
        assert same.equal(found)
        torch.testing.assert_close(offsets.double(), expected, rtol=1e-2, atol=1e-2)


def test_areas_beyond_float16_are_matched():
    priors = torch.tensor([[200, 200, 300, 300], [400, 400, 300, 300]], dtype=torch.float16)
    _, found = match_priors(priors, integer([[50, 50, 350, 350]]), integer([3]))
    assert found.tolist() == [3, 0]


def test_matching_changes_no_input():
    inputs = scene(2, 12, 3)
    before = [x.clone() for x in inputs]
    match_priors(*inputs)
    assert all(x.equal(y) for x, y in zip(inputs, before, strict=True))


def test_matching_under_vmap_is_a_loop():
    scenes = [scene(seed, 12, 3) for seed in range(5)]
    batch = [torch.stack(column) for column in zip(*scenes, strict=True)]
    together = torch.vmap(match_priors)(*batch)
    alone = [match_priors(*row) for row in zip(*batch, strict=True)]
    for ours, theirs in zip(together, zip(*alone, strict=True), strict=True):
        assert ours.equal(torch.stack(theirs))
    shared = torch.vmap(match_priors, (None, 0, 0))(batch[0][0], *batch[1:])
    assert shared[1][0].equal(alone[0][1])


def test_matching_compiles_to_one_graph():
    compiled = torch.compile(match_priors, fullgraph=True, backend="eager")
    for inputs in (scene(3, 12, 3), scene(3, 12, 0)):
        for ours, theirs in zip(compiled(*inputs), match_priors(*inputs), strict=True):
            assert ours.equal(theirs)
    torch.compiler.reset()


def test_matching_refuses():
    priors, boxes, labels = scene(5, 4, 2)
    refused = [
        ((priors[0], boxes, labels), {}, r"floating priors of shape \(P, 4\), got .* \(4,\)"),
        ((priors.long(), boxes[:0], labels[:0]), {}, "floating priors .* got torch.int64"),
        ((priors[:, :2], boxes, labels), {}, r"priors of shape \(P, 4\), got .* \(4, 2\)"),
        ((priors, boxes[0], labels), {}, r"boxes of shape \(G, 4\), got \(4,\)"),
        ((priors, boxes[:, :1], labels), {}, r"boxes of shape \(G, 4\), got \(2, 1\)"),
        ((priors, boxes, labels[:1]), {}, r"labels of shape \(2,\), got \(1,\)"),
        ((priors, boxes, labels[:, None]), {}, r"labels of shape \(2,\), got \(2, 1\)"),
        ((priors, boxes, labels.byte()), {}, r"labels.long\(\), got torch.uint8"),
        ((priors, boxes, labels), {"threshold": -0.1}, "threshold >= 0, got -0.1"),
        ((priors, boxes, labels), {"threshold": math.nan}, "threshold >= 0, got nan"),
    ]
    for inputs, settings, message in refused:
        with pytest.raises(ValueError, match=f"expected .*{message}"):
            match_priors(*inputs, **settings)


# Scenes of 32 x 32 pixels with up to two handwritten digits, and a small detector of them: on a
# grid of 8 x 8 cells, two sizes of prior in each.
SIZES = (10.0, 14.0)
MIDDLES = torch.cartesian_prod(torch.arange(2.0, 32, 4), torch.arange(2.0, 32, 4)).flip(1)
PRIORS = torch.stack(
    [torch.cat([MIDDLES, torch.full_like(MIDDLES, size)], 1) for size in SIZES], 1
).flatten(0, 1)


def compose(rng, digits, classes, count):
    """Scenes, and for each the boxes and labels of its digits."""
    scenes, truth = torch.zeros(count, 1, 32, 32), []
    for scene in scenes:
        boxes, labels = [], []
        for half in rng.permutation(2)[: rng.integers(3)]:
            i, size = rng.integers(len(digits)), int(rng.integers(9, 16))
            x, y = 16 * int(half) + int(rng.integers(17 - size)), int(rng.integers(33 - size))
            digit = F.interpolate(digits[i][None, None], (size, size), mode="bilinear")
            scene[:, y : y + size, x : x + size] = digit[0]
            boxes.append([x, y, x + size, y + size])
            labels.append(1 + classes[i])
        truth.append((real(boxes).float().reshape(-1, 4), integer(labels)))
    return scenes, truth


class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for before, after, stride in ((1, 16, 1), (16, 32, 2), (32, 64, 2), (64, 64, 1)):
            convolution = torch.nn.Conv2d(before, after, 3, stride, 1)
            layers += [convolution, torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
        layers.append(torch.nn.Conv2d(64, len(SIZES) * (4 + 11), 3, 1, 1))
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, scenes):
        found = self.layers(scenes).permute(0, 2, 3, 1).reshape(len(scenes), -1, 4 + 11)
        return found.split([4, 11], 2)


def precision_and_recall(detector, scenes, truth):
    """Of priors that claim an object, and of objects: right are the label and IoU > 1/2."""
    claims, objects = [], []
    with torch.no_grad():
        found = detector.eval()(scenes)
    for offsets, logits, (boxes, labels) in zip(*found, truth, strict=True):
        classes = logits.argmax(1)
        claimed = as_priors(decode_boxes(offsets, PRIORS))[classes > 0]
        right = [
            [label == y and overlap(x, box) > 0.5 for box, y in zip(boxes, labels, strict=True)]
            for x, label in zip(claimed, classes[classes > 0], strict=True)
        ]
        claims += map(any, right)
        objects += map(any, zip(*right, strict=True)) if right else [False] * len(labels)
    return np.mean(claims), np.mean(objects)


@pytest.mark.slow
def test_a_detector_learns_to_find_digits():
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    digits = real(pixels).float().reshape(-1, 8, 8) / 16
    rng = np.random.default_rng(0)
    scenes, truth = compose(rng, digits[:1500], classes[:1500], 2000)
    unseen = compose(rng, digits[1500:], classes[1500:], 200)
    targets = [torch.stack(x) for x in zip(*(match_priors(PRIORS, *t) for t in truth), strict=True)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = Detector()
    assert precision_and_recall(detector, *unseen)[0] < 0.05
    detector.train()
    optimizer = torch.optim.Adam(detector.parameters(), lr=3e-3)
    for _ in range(400):
        rows = torch.from_numpy(rng.integers(0, len(scenes), 32))
        offsets, labels = (x[rows] for x in targets)
        optimizer.zero_grad()
        multibox_loss(*detector(scenes[rows]), offsets, labels).mean().backward()
        optimizer.step()
    assert min(precision_and_recall(detector, *unseen)) > 0.75
