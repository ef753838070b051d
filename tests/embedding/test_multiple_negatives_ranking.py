import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.embedding.info_nce import info_nce
from lossbook.embedding.multiple_negatives_ranking import multiple_negatives_ranking_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, real


def pairs(rng):
    anchors = rng.normal(size=(5, 3))
    return real(anchors), real(anchors + 0.5 * rng.normal(size=(5, 3)))


def hard_negatives(rng):
    return *pairs(rng), real(rng.normal(size=(4, 3)))


def no_hard_negatives(rng):
    return *pairs(rng), None


def near(rng):
    """Pairs from 1 down to 1e-6 and 0 apart, at right angles to each other and the negatives."""
    u = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    steps = np.array([1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    return real(u[:8]), real(u[:8] + steps * rng.normal(size=(8, 12))), real(u[8:])


def cosines(x, y):
    dots = (x[:, None] * y).sum(2)
    lengths = np.sqrt((x * x).sum(1)[:, None] * (y * y).sum(1))
    return dots / np.where(lengths == 0, 1, lengths)


def ranking(anchors, positives, negatives=None, scale=20.0):
    """The paper's -(S(x, y) - log sum_k exp S(x, y_k)), with S a scaled cosine."""
    s = scale * cosines(anchors, positives)
    total = np.exp(s).sum(1)
    if negatives is not None:
        total = total + np.exp(scale * cosines(anchors, negatives)).sum(1)
    return np.log(total) - np.diagonal(s)


def slope(anchors, positives, negatives=None, scale=20.0):
    """Through the cosines: scale (softmax - identity), then off each direction."""
    m = 0 if negatives is None else len(negatives)
    candidates = np.concatenate([positives, negatives]) if m else positives
    c = cosines(anchors, candidates)
    f = np.exp(scale * c)
    errors = scale * (f / f.sum(1)[:, None] - np.eye(len(c), len(c) + m))

    def through(errors, c, x, y):
        size, other = (np.sqrt((z * z).sum(1))[:, None] for z in (x, y))
        size, other = np.where(size == 0, np.inf, size), np.where(other == 0, np.inf, other)
        towards = (errors[:, :, None] * (y / other)).sum(1)
        return (towards - (errors * c).sum(1)[:, None] * x / size) / size

    answers = through(errors.T, c.T, candidates, anchors)
    first, rest = answers[: len(c)], answers[len(c) :]
    return through(errors, c, anchors, candidates), first, rest if m else None


def torch_cross_entropy(anchors, positives, negatives=None, scale=20.0):
    """Line by line what sentence-transformers documents: scaled cosines, labels 0 to N - 1."""
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = scale * F.cosine_similarity(anchors[:, None], candidates, dim=2)
    return F.cross_entropy(scores, torch.arange(len(scores)), reduction="none")


ALIKE = real([[1.0, 2.0]] * 3)
PERFECT = (real([[3.0, 0.0], [-1.0, 0.0]]), real([[1.0, 0.0], [-2.0, 0.0]]))
WORST = (PERFECT[0], PERFECT[1].flip(0))
ADVERSARIAL = {
    "all equal": (ALIKE, 2 * ALIKE, None),
    "all equal, with negatives": (ALIKE, 2 * ALIKE, ALIKE[:1]),
    "perfect": (*PERFECT, None),
    "worst": (*WORST, None),
    "zero anchor": (real([[0.0, 0.0], [1.0, 2.0]]), real([[3.0, 4.0], [2.0, 1.0]]), None),
    "zero positive": (real([[1.0, -1.0], [1.0, 2.0]]), real([[0.0, 0.0], [2.0, 1.0]]), None),
    "zero negative": (ALIKE, 2 * ALIKE, real([[0.0, 0.0]])),
    "no negatives at all": (ALIKE, 2 * ALIKE, torch.zeros(0, 2, dtype=torch.float64)),
    "one pair alone": (real([[1.0, 2.0]]), real([[2.0, 1.0]]), None),
    "the anchor as its own negative": (real([[1.0, 2.0]]), real([[2.0, 1.0]]), real([[1.0, 2.0]])),
    "1e4": (real([[1e4, -1e4]]), real([[0.1, 0.1]]), real([[-1e4, 1.0], [0.0, 1e4]])),
    "squares overflow": (real([[1e200, 0.0]]), real([[1e200, 1e200]]), real([[0.0, 1.0]])),
}
ROWS = torch.zeros(2, 3)


def cases():
    return [
        Case(
            loss=multiple_negatives_ranking_loss,
            inputs=(hard_negatives, no_hard_negatives),
            reference=ranking,
            settings=({}, {"scale": 1.0}, {"scale": 0.0}),
            ranges={"scale": (0.0, 30.0)},
            near=near,
            adversarial=ADVERSARIAL,
            batch=(0, 1),
            gradient=slope,
            invariances={
                "lengths": lambda a, p, n: (3 * a, p / 7, n if n is None else 5 * n),
                "order of the negatives": lambda a, p, n: (a, p, n if n is None else n.flip(0)),
            },
            relations={
                "without negatives it is InfoNCE at temperature 1 / scale": lambda loss, a, p, n: (
                    (loss(a, p, n, scale=8.0), info_nce(a, p, temperature=0.125))
                    if n is None
                    else NotImplemented
                ),
                "at scale 0 it is the log of the number of candidates": lambda loss, a, p, n: (
                    loss(a, p, n, scale=0.0),
                    real([math.log(5 if n is None else 9)] * 5),
                ),
                "negatives add their share to the sum": lambda loss, a, p, n: (
                    NotImplemented
                    if n is None
                    else (
                        loss(a, p, n),
                        torch.logaddexp(
                            loss(a, p),
                            (20 * F.cosine_similarity(a[:, None], n, dim=2)).logsumexp(1)
                            - 20 * F.cosine_similarity(a, p),
                        ),
                    )
                ),
            },
            peers={"torch": torch_cross_entropy},
            errors=[
                ((ROWS, ROWS[:1]), {}, r"positives of shape \(2, 3\), got \(1, 3\)"),
                ((ROWS, ROWS[0]), {}, r"positives of shape \(2, 3\), got \(3,\)"),
                ((ROWS, ROWS, ROWS[:, :1]), {}, r"negatives of shape \(M, 3\), got \(2, 1\)"),
                ((ROWS, ROWS, ROWS[0]), {}, r"negatives of shape \(M, 3\), got \(3,\)"),
                ((ROWS[0], ROWS[0]), {}, r"anchors of shape \(N, D\)"),
                ((ROWS.long(), ROWS), {}, "floating anchors .* got torch.int64"),
                ((ROWS, ROWS.long()), {}, "floating positives, got torch.int64"),
                ((ROWS, ROWS, ROWS.long()), {}, "floating negatives, got torch.int64"),
                ((ROWS, ROWS), {"scale": -1.0}, "scale >= 0, got -1.0"),
                ((ROWS, ROWS), {"scale": math.nan}, "scale >= 0, got nan"),
            ],
            facts={
                "chance": ((ALIKE, 2 * ALIKE), math.log(3), "log N, with N = 3 pairs"),
                "convex": False,
            },
        ),
    ]


def plain_ranking(a, p):
    return F.cross_entropy(
        20 * F.normalize(a) @ F.normalize(p).T, torch.arange(len(a), device=a.device)
    )


def rows():
    return [
        Row(
            multiple_negatives_ranking_loss,
            slower=bench.UNITS,
            shape="{} x 256",
            n=1024,
            inputs=bench.pairs,
            peers={FORMULA: plain_ranking},
        )
    ]


def test_values_by_hand():
    # Cosines with the two positives and the negative: 1, 3/5, 0 and 0, 4/5, 1.
    anchors, positives = real([[1.0, 0.0], [0.0, 2.0]]), real([[3.0, 0.0], [3.0, 4.0]])
    losses = multiple_negatives_ranking_loss(anchors, positives, real([[0.0, 9.0]]), scale=10.0)
    first = math.log(1 + math.exp(-4) + math.exp(-10))
    second = math.log(math.exp(-8) + 1 + math.exp(2))
    assert losses.tolist() == pytest.approx([first, second])


def test_the_default_scale_is_20():
    losses = multiple_negatives_ranking_loss(*WORST)
    assert losses.tolist() == pytest.approx([40, 40])


def test_a_duplicate_positive_is_a_false_negative():
    # Two equal pairs of perfect answers still cost log 2 each.
    x = real([[1.0, 2.0], [1.0, 2.0]])
    assert multiple_negatives_ranking_loss(x, x).tolist() == pytest.approx([math.log(2)] * 2)


def test_hard_negatives_are_shared():
    """A hard negative of one anchor counts against all others, too."""
    anchors, positives = pairs(np.random.default_rng(0))
    more = multiple_negatives_ranking_loss(anchors, positives, -anchors[:1] + anchors[1:2])
    assert (more > multiple_negatives_ranking_loss(anchors, positives)).all()


def test_a_zero_vector_moves_nowhere():
    x = real([[0.0, 0.0], [1.0, 2.0]]).requires_grad_()
    n = real([[0.0, 0.0], [2.0, 1.0]]).requires_grad_()
    losses = multiple_negatives_ranking_loss(x, real([[1.0, 0.0], [0.0, 1.0]]), n)
    for slope in torch.autograd.grad(losses.sum(), (x, n)):
        assert not slope[0].any()
        assert slope[1].any()


def test_lengths_at_the_ends_of_float32():
    a, p, n = (z.float() for z in hard_negatives(np.random.default_rng(0)))
    expected = multiple_negatives_ranking_loss(a, p, n)
    for size in (1e30, 1e-30):
        losses = multiple_negatives_ranking_loss(size * a, size * p, size * n)
        assert torch.allclose(losses, expected, rtol=1e-4, atol=1e-6)


def test_a_certain_answer_keeps_its_digits():
    x = torch.eye(2)
    losses = multiple_negatives_ranking_loss(x, x, scale=25.0)
    assert losses.tolist() == pytest.approx([math.exp(-25)] * 2, rel=1e-4)


def test_second_slope_at_a_zero_vector_is_a_number():
    x = torch.eye(3, 4)
    x[1] = 0
    x.requires_grad_()
    keys = torch.ones(3, 4).cumsum(1)
    (slope,) = torch.autograd.grad(
        multiple_negatives_ranking_loss(x, keys).sum(), x, create_graph=True
    )
    (second,) = torch.autograd.grad(slope.square().sum(), x)
    assert slope.isfinite().all()
    assert second.isfinite().all()
