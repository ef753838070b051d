import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.embedding.triplet import batch_hard_triplet_loss, triplet_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def triplets(rng):
    anchors = rng.normal(size=(6, 3))
    near, far = (anchors + 0.5 * rng.normal(size=(6, 3)) for _ in range(2))
    return real(anchors), real(near), real(far)


def batch(rng):
    labels = [4, -1, 4, 7, -1, 4, 9, 7]  # 9 is alone.
    return real(0.4 * rng.normal(size=(8, 3))), integer(labels)


def large_batch(rng):
    """More rows than torch.cdist measures one by one."""
    return real(0.4 * rng.normal(size=(30, 3))), integer(np.arange(30) % 4)


def near(rng):
    """Positives at their anchors, or 1 down to 1e-6 away, negatives a little farther."""
    anchors = rng.normal(size=(8, 3))
    steps = np.array([1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    positives, negatives = (anchors + steps * rng.normal(size=(8, 3)) for _ in range(2))
    return real(anchors), real(positives), real(negatives)


def near_batch(rng):
    """Classes of two points, from 1 down to 1e-6 and 0 apart."""
    centers = rng.normal(size=(4, 3))
    steps = rng.choice([1, 1e-2, 1e-4, 1e-6, 0], size=(4, 1))
    both = np.concatenate([centers, centers + steps * rng.normal(size=(4, 3))])
    return real(both), integer([0, 1, 2, 3] * 2)


def facenet(anchors, positives, negatives, margin=0.2):
    gap = ((anchors - positives) ** 2).sum(1) - ((anchors - negatives) ** 2).sum(1)
    return np.maximum(0, gap + margin)


def facenet_slope(anchors, positives, negatives, margin=0.2):
    gap = ((anchors - positives) ** 2).sum(1) - ((anchors - negatives) ** 2).sum(1)
    active = np.where(gap == -margin, np.nan, np.where(gap > -margin, 2, 0))[:, None]
    return (
        active * (negatives - positives),
        active * (positives - anchors),
        active * (anchors - negatives),
    )


def batch_hard(embeddings, labels, margin=0.2):
    """Equation 5, one anchor at a time, every triplet of it."""
    losses = []
    for a, label in enumerate(labels):
        d = [((embeddings[a] - x) ** 2).sum() ** 0.5 for x in embeddings]
        gaps = [
            d[p] - d[n]
            for p in range(len(d))
            for n in range(len(d))
            if p != a and labels[p] == label and labels[n] != label
        ]
        losses.append(max(0, margin + max(gaps)) if gaps else 0)
    return np.asarray(losses)


def hardest_slope(embeddings, labels, margin=0.2):
    x, slope = embeddings, list(0 * embeddings)
    for a, loss in enumerate(batch_hard(embeddings, labels, margin)):
        if not loss > 0:
            continue
        d = ((x - x[a]) ** 2).sum(1) ** 0.5
        p = max((i for i in range(len(x)) if labels[i] == labels[a] and i != a), key=lambda i: d[i])
        n = min((i for i in range(len(x)) if labels[i] != labels[a]), key=lambda i: d[i])
        for other, sign in ((p, 1), (n, -1)):
            if d[other] > 0:
                unit = (x[a] - x[other]) / d[other]
                slope[a] = slope[a] + sign * unit
                slope[other] = slope[other] - sign * unit
    return np.stack(slope)


def torch_squared(anchors, positives, negatives, margin=0.2):
    if not margin > 0:
        return NotImplemented
    return F.triplet_margin_with_distance_loss(
        anchors,
        positives,
        negatives,
        distance_function=lambda x, y: (x - y).square().sum(1),
        margin=margin,
        reduction="none",
    )


def mined(embeddings, labels, margin=0.2):
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import BatchHardMiner
    from pytorch_metric_learning.reducers import DoNothingReducer

    distance = LpDistance(normalize_embeddings=False)
    anchors, positives, negatives = BatchHardMiner(distance=distance)(embeddings, labels)
    loss = TripletMarginLoss(margin=margin, distance=distance, reducer=DoNothingReducer())
    found = loss(embeddings, labels, (anchors, positives, negatives))["loss"]["losses"]
    # It leaves out the anchors that have no triplet.
    return torch.zeros(len(labels), dtype=found.dtype).scatter(0, anchors, found)


POINT = real([[0.3, -0.7]])
ADVERSARIAL = {
    "one point": (POINT, POINT, POINT),
    "at the margin": (real([[0.0, 0.0]]), real([[0.6, 0.0]]), real([[0.0, 1.0]])),
    "positive and negative equal": (POINT, 3 * POINT, 3 * POINT),
    "far, and nearly equal": (real([[0.0, 0.0]]), real([[1e4, 0.0]]), real([[1e4, 1e-3]])),
    "far": (real([[1e4, -1e4]]), real([[-1e4, 1e4]]), real([[1e4, 1e4]])),
    "squares overflow": (real([[1e200, 0.0]]), real([[0.0, 1.0]]), real([[0.0, 1.0]])),
}
HARD = {
    "all equal": (real([[0.3, -0.7]] * 4), integer([0, 1, 0, 1])),
    "no negative": (real([[0.0], [2.0], [3.0]]), integer([5, 5, 5])),
    "no positive": (real([[0.0], [2.0], [3.0]]), integer([0, 1, 2])),
    "one": (real([[0.3, -0.7]]), integer([0])),
    "identical positives": (real([[1.0, 1.0], [1.0, 1.0], [2.0, 0.0]]), integer([0, 0, 1])),
    "identical negatives": (
        real([[1.0, 1.0], [1.0, 1.0], [2.0, 0.0], [2.0, 0.1]]),
        integer([0, 1, 0, 1]),
    ),
    "1e4": (real([[1e4, 0.0], [-1e4, 0.0], [0.0, 1.0], [0.5, 0.5]]), integer([0, 0, 1, 1])),
    "far from the origin": (
        real([[1e4, 1e4], [1e4, 1e4 + 0.5], [1e4 + 0.25, 1e4]]),
        integer([0, 0, 1]),
    ),
}
ROWS = torch.zeros(2, 3)


def cases():
    return [
        Case(
            loss=triplet_loss,
            inputs=triplets,
            reference=facenet,
            settings=({}, {"margin": 1.0}, {"margin": 0.0}),
            ranges={"margin": (0.0, 2.0)},
            near=near,
            adversarial=ADVERSARIAL,
            gradient=facenet_slope,
            invariances={
                "shift of all": lambda a, p, n: (a + 0.75, p + 0.75, n + 0.75),
                "order of the coordinates": lambda a, p, n: (a.flip(1), p.flip(1), n.flip(1)),
            },
            relations={
                "of unit vectors, twice a gap of cosines": lambda loss, a, p, n: (
                    loss(*(F.normalize(x) for x in (a, p, n))),
                    (2 * F.cosine_similarity(a, n) - 2 * F.cosine_similarity(a, p) + 0.2).clamp_min(
                        0
                    ),
                ),
                "swapping the two others mirrors it around the margin": lambda loss, a, p, n: (
                    loss(a, p, n, margin=99.0) + loss(a, n, p, margin=99.0),
                    torch.full((6,), 198.0),
                ),
                "scaling everything by 3 scales it by 9": lambda loss, a, p, n: (
                    loss(3 * a, 3 * p, 3 * n, margin=1.8),
                    9 * loss(a, p, n),
                ),
            },
            peers={"torch": torch_squared},
            exempt={"extremes/largest": "a square that overflows has no slope"},
            errors=[
                ((ROWS, ROWS[:1], ROWS), {}, r"positives of shape \(2, 3\), got \(1, 3\)"),
                ((ROWS, ROWS, ROWS[0]), {}, r"negatives of shape \(2, 3\), got \(3,\)"),
                ((ROWS[0], ROWS[0], ROWS[0]), {}, r"anchors of shape \(N, D\)"),
                ((ROWS.long(), ROWS, ROWS), {}, "floating anchors .* got torch.int64"),
                ((ROWS, ROWS.long(), ROWS), {}, "floating positives, got torch.int64"),
                ((ROWS, ROWS, ROWS.long()), {}, "floating negatives, got torch.int64"),
            ],
            facts={
                "range": (0.0, math.inf),
                "chance": ((POINT, POINT, POINT), 0.2, "all at one point: the margin"),
                "convex": True,
            },
        ),
        Case(
            loss=batch_hard_triplet_loss,
            inputs=(batch, large_batch),
            reference=batch_hard,
            settings=({}, {"margin": 1.0}, {"margin": 0.0}),
            ranges={"margin": (0.0, 2.0)},
            near=near_batch,
            adversarial=HARD,
            gradient=hardest_slope,
            invariances={
                "shift of all": lambda x, y: (x + 0.75, y),
                "other names of the classes": lambda x, y: (x, 3 - 2 * y),
            },
            relations={
                "scaling everything by 3 scales it by 3": lambda loss, x, y: (
                    loss(3 * x, y, margin=0.6),
                    3 * loss(x, y),
                ),
                "beyond all distances a margin adds itself": lambda loss, x, y: (
                    loss(x, y, margin=99.0),
                    loss(x, y, margin=9.0) + 90 * (loss(x, y, margin=9.0) > 0),
                ),
                "one class has no triplet": lambda loss, x, y: (
                    loss(x, torch.zeros_like(y)),
                    torch.zeros(len(y)),
                ),
            },
            peers={"pytorch-metric-learning": mined},
            errors=[
                ((ROWS, integer([1])), {}, r"labels of shape \(2,\), got \(1,\)"),
                ((ROWS, integer([[1], [0]])), {}, r"labels of shape \(2,\), got \(2, 1\)"),
                ((ROWS, integer(1)), {}, r"labels of shape \(2,\), got \(\)"),
                ((ROWS[0], integer([1, 2, 3])), {}, r"embeddings of shape \(N, D\)"),
                ((ROWS.long(), integer([1, 2])), {}, "floating embeddings"),
            ],
            exempt={"extremes/nan": "a row that has no triplet costs 0"},
            facts={
                "range": (0.0, math.inf),
                "chance": (HARD["all equal"], 0.2, "all at one point: the margin"),
                "convex": False,
            },
        ),
    ]


def mining(parts):
    losses, distances, miners, reducers = parts
    distance = distances.LpDistance(normalize_embeddings=False)
    miner = miners.BatchHardMiner(distance=distance)
    loss = losses.TripletMarginLoss(margin=0.2, distance=distance, reducer=reducers.MeanReducer())
    return lambda x, y: loss(x, y, miner(x, y))


def all_pairs(x, y):
    """Batch-hard from differences of all pairs."""
    d = ((x[:, None] - x).square().sum(2) + 1e-16).sqrt()
    same = y[:, None] == y
    positive = d.masked_fill(~same, 0).amax(1)
    negative = d.masked_fill(same, math.inf).amin(1)
    return (0.2 + positive - negative).clamp_min(0).mean()


def rows():
    def apart(x, y):
        return (x - y).square().sum(1)

    return [
        Row(
            triplet_loss,
            shape="{} x 256",
            n=4096,
            inputs=lambda n: (*bench.pairs(n), bench.leaf(n, 256)),
            peers={
                "torch": lambda a, p, n: F.triplet_margin_with_distance_loss(
                    a, p, n, margin=0.2, distance_function=apart
                ),
                FORMULA: lambda a, p, n: (apart(a, p) - apart(a, n) + 0.2).clamp_min(0).mean(),
            },
        ),
        Row(
            batch_hard_triplet_loss,
            shape="{} x 256",
            n=1024,
            inputs=bench.batch,
            peers={
                "pytorch-metric-learning": bench.metric_learning(mining),
                FORMULA: all_pairs,
            },
            sweep=(128, 256, 512, 1024, 2048, 4096),
        ),
    ]


def test_values_by_hand():
    # Squared distances 25 and 16: 25 - 16 + 0.2, and with the other margins 25 - 16 - 9 = 0.
    a, p, n = real([[0.0, 0.0]]), real([[3.0, 4.0]]), real([[0.0, 4.0]])
    assert triplet_loss(a, p, n).item() == pytest.approx(9.2)
    assert triplet_loss(a, p, n, margin=-9.0).item() == 0
    assert triplet_loss(a, n, p).item() == 0


def test_batch_hard_by_hand():
    # On a line: class 0 at 0, 2 and 5, class 1 at 3 and 9. Hardest positives 5, 3, 5, 6, 6;
    # nearest negatives 3, 1, 2, 1, 4.
    x = real([[0.0], [2.0], [5.0], [3.0], [9.0]])
    losses = batch_hard_triplet_loss(x, integer([0, 0, 0, 1, 1]), margin=1.0)
    assert losses.tolist() == [3, 3, 4, 6, 3]


def test_the_hardest_negative_is_not_a_masked_zero():
    # Every distance to a negative is 2: with margin 1 nothing is left to learn.
    x = real([[0.0], [0.0], [2.0], [2.0]])
    assert not batch_hard_triplet_loss(x, integer([0, 0, 1, 1]), margin=1.0).any()


def test_anchors_without_a_triplet_get_no_gradient():
    x = real([[0.0], [2.0], [3.0]])
    for labels in ([5, 5, 5], [0, 1, 2]):
        leaf = x.clone().requires_grad_()
        losses = batch_hard_triplet_loss(leaf, integer(labels), margin=9.0)
        assert losses.tolist() == [0, 0, 0]
        assert not torch.autograd.grad(losses.sum(), leaf)[0].any()


def test_collapse_sits_at_the_margin_without_a_gradient():
    x = real([[1.0, 2.0]] * 4).requires_grad_()
    losses = [triplet_loss(x, x, x), batch_hard_triplet_loss(x, integer([0, 0, 1, 1]))]
    for loss in losses:
        assert loss.tolist() == [0.2] * 4
        assert not torch.autograd.grad(loss.sum(), x)[0].any()


def test_small_distances_far_from_the_origin():
    # In float32 the squared length 2e6 is known to 0.1, and its square root has no distance 0.01.
    offsets = np.random.default_rng(0).normal(size=(40, 2)) / 64
    x = torch.tensor(1000 + offsets, dtype=torch.float32)
    labels = integer(np.arange(40) % 4)
    truth = batch_hard(x.double().numpy(), labels.numpy())
    losses = batch_hard_triplet_loss(x, labels)
    assert np.abs(losses.numpy() - truth).max() < 1e-6


def test_an_empty_batch_keeps_its_graph():
    x = torch.zeros(0, 3, requires_grad=True)
    losses = batch_hard_triplet_loss(x, torch.zeros(0, dtype=torch.int64))
    assert losses.shape == (0,)
    losses.sum().backward()
    assert x.grad.shape == (0, 3)


def test_memory_is_not_cubic():
    # 600^3 float32 would be 860 MB; the largest tensor here has 600^2 entries.
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in [out] if isinstance(x, torch.Tensor))
            return out

    with Watch():
        batch_hard_triplet_loss(torch.randn(600, 4), torch.arange(600) % 7)
    assert max(sizes) == 600**2


def test_a_row_that_is_nan_is_seen_by_all_that_compare_with_it():
    x = real(np.random.default_rng(0).normal(size=(8, 3)))
    labels = integer([0, 0, 1, 1, 2, 2, 3, 3])
    for row in range(8):
        bad = x.clone()
        bad[row] = math.nan
        assert batch_hard_triplet_loss(bad, labels).isnan().all()


def test_hardest_at_any_scale():
    labels = torch.tensor([0, 0, 1])
    for scale in (1e-30, 1e-25, 1e18, 1e30):
        points = torch.tensor([[1.0], [2.0], [2.5]]) * scale
        values = batch_hard_triplet_loss(points, labels, margin=0.0)
        expected = torch.tensor([0.0, 0.5, 0.0]) * scale
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=0)
