import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.embedding.cosine import cosine_distance, cosine_embedding_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def pairs(rng):
    return real(rng.normal(size=(5, 3))), real(rng.normal(size=(5, 3)))


def blocks(rng):
    return real(rng.normal(size=(2, 3, 4))), real(rng.normal(size=(2, 3, 4)))


def near(rng):
    """Pairs from 1 down to 1e-6 apart, and one pair of equals."""
    u = rng.normal(size=(8, 3))
    steps = np.array([1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    return real(u), real(u + steps * rng.normal(size=(8, 3)))


def labeled_pairs(rng):
    return *pairs(rng), integer([1, -1, -1, 1, -1])


def cosine(u, v, axis=-1):
    lengths = np.sqrt((u * u).sum(axis) * (v * v).sum(axis))
    return (u * v).sum(axis) / np.where(lengths == 0, 1, lengths)


def distance(predictions, targets, dim=-1):
    return 1 - cosine(predictions, targets, dim)


def distance_slope(predictions, targets, dim=-1):
    def slope(u, v):  # The target's direction less its share along the prediction's.
        size, other = (np.sqrt((x * x).sum(dim, keepdims=True)) for x in (u, v))
        size, other = np.where(size == 0, 1, size), np.where(other == 0, 1, other)
        along = (u * v).sum(dim, keepdims=True) / (size * other)
        zero = (u == 0).all(dim, keepdims=True)
        return np.where(zero, 0, -(v / other - along * u / size) / size)

    return slope(predictions, targets), slope(targets, predictions)


def pair_loss(embeddings1, embeddings2, targets, margin=0.0):
    c = cosine(embeddings1, embeddings2)
    return np.where(targets == 1, 1 - c, np.maximum(0, c - margin))


def keras_distance(predictions, targets, dim=-1):
    import keras

    proximity = keras.losses.CosineSimilarity(axis=dim, reduction="none")
    return 1 + proximity(targets, predictions)


def optax_distance(predictions, targets, dim=-1):
    import optax

    return optax.cosine_distance(predictions.numpy(), targets.numpy(), axis=dim)


def scipy_distance(predictions, targets, dim=-1):
    from scipy.spatial import distance

    if predictions.dim() > 2 or dim not in (1, -1):
        return NotImplemented
    return [distance.cosine(u, v) for u, v in zip(predictions, targets, strict=True)]


EQUAL = (real([[1.0, 2.0, 3.0]]), real([[3.0, 6.0, 9.0]]))
ADVERSARIAL = {
    "equal directions": EQUAL,
    "opposite directions": (real([[1.0, 2.0, 3.0]]), real([[-0.1, -0.2, -0.3]])),
    "identical": (real([[0.3, -0.7, 0.2]]), real([[0.3, -0.7, 0.2]])),
    "a right angle": (real([[1.0, 0.0]]), real([[0.0, 7.0]])),
    "zero vectors": (real([[0.0, 0.0], [1.0, 2.0]]), real([[3.0, 4.0], [0.0, 0.0]])),
    "zero against zero": (real([[0.0, 0.0]]), real([[0.0, 0.0]])),
    "lengths 1e4 and 1e-4": (real([[1e4, -1e4]]), real([[1e-4, 3e-4]])),
    "squares overflow": (real([[1e200, 1e200]]), real([[1e200, -3e200]])),
    "squares vanish": (real([[1e-200, 2e-200]]), real([[1.0, 1.0]])),
    "lengths overflow": (real([[1.5e308, 1.5e308]]), real([[1.7e308, -1e307]])),
}
UNEQUAL = (torch.zeros(3, 1), torch.zeros(3))
ROWS = (torch.zeros(2, 3), torch.zeros(2, 3))


def cases():
    return [
        Case(
            loss=cosine_distance,
            inputs=(pairs, blocks),
            reference=distance,
            settings=({}, {"dim": 1}),
            adversarial=ADVERSARIAL,
            gradient=distance_slope,
            near=near,
            invariances={
                "lengths": lambda u, v: (3 * u, v / 7),
                "swap": lambda u, v: (v, u),
                "order of the coordinates": lambda u, v: (
                    (u.flip(-1), v.flip(-1)) if u.dim() == 2 else (u, v)
                ),
            },
            relations={
                "half the squared distance of unit vectors": lambda loss, u, v: (
                    loss(u, v),
                    (F.normalize(u, dim=-1) - F.normalize(v, dim=-1)).square().sum(-1) / 2,
                ),
                "the opposite target takes it from 2": lambda loss, u, v: (
                    loss(u, -v),
                    2 - loss(u, v),
                ),
            },
            peers={
                "torch": lambda u, v, dim=-1: 1 - F.cosine_similarity(u, v, dim=dim),
                "keras": keras_distance,
                "optax": optax_distance,
                "scipy": scipy_distance,
            },
            errors=[
                (UNEQUAL, {}, r"targets of shape \(3, 1\), got \(3,\)"),
                ((torch.zeros(2, 3), torch.zeros(1, 3)), {}, "targets of shape"),
                ((integer([[1]]), real([[0.5]])), {}, "floating predictions, got torch.int64"),
            ],
            facts={"range": (0.0, 2.0), "perfect": (EQUAL, 0.0), "convex": False},
        ),
        Case(
            loss=cosine_embedding_loss,
            inputs=labeled_pairs,
            reference=pair_loss,
            settings=({}, {"margin": 0.5}, {"margin": -0.4}),
            ranges={"margin": (-1.0, 1.0)},
            near=lambda rng: (*near(rng), integer([1] * 8)),
            adversarial={
                f"{name}, target {t}": (u, v, integer([t] * len(u)))
                for name, (u, v) in ADVERSARIAL.items()
                for t in (1, -1)
            },
            invariances={"lengths": lambda u, v, t: (3 * u, v / 7, t)},
            relations={
                "for pairs that match it is the cosine distance": lambda loss, u, v, t: (
                    loss(u, v, torch.ones_like(t)),
                    cosine_distance(u, v),
                ),
                "at margin -1, both kinds of one pair cost 2": lambda loss, u, v, t: (
                    loss(u, v, t, margin=-1.0) + loss(u, v, -t, margin=-1.0),
                    torch.full((5,), 2.0),
                ),
            },
            peers={
                "torch": lambda u, v, t, margin=0.0: F.cosine_embedding_loss(
                    u, v, t, margin=margin, reduction="none"
                ),
            },
            errors=[
                ((*ROWS, torch.ones(2, 1)), {}, r"targets of shape \(2,\), got \(2, 1\)"),
                ((*ROWS, torch.tensor(1)), {}, r"targets of shape \(2,\), got \(\)"),
                (
                    (*ROWS, torch.ones(2)),
                    {"margin": torch.ones(2)},
                    r"margin of shape \(\), got \(2,\)",
                ),
                ((ROWS[0], ROWS[1][:1], torch.ones(2)), {}, r"embeddings2 of shape \(2, 3\)"),
                ((ROWS[0], ROWS[1][0], torch.ones(2)), {}, r"embeddings2 of shape \(2, 3\)"),
                ((ROWS[0][0], ROWS[1][0], torch.tensor(1)), {}, r"embeddings1 of shape \(N, D\)"),
                ((integer([[1]]), real([[0.5]]), integer([1])), {}, "floating embeddings1"),
                ((real([[0.5]]), integer([[1]]), integer([1])), {}, "floating embeddings2"),
            ],
            facts={
                "range": (0.0, 2.0),
                "perfect": ((*EQUAL, integer([1])), 0.0),
                "convex": False,
            },
        ),
    ]


CHORD = (
    "vectors are scaled first, so that no square overflows, and then subtracted, so that nearly "
    "equal ones keep their digits"
)


def rows():
    form = {"shape": "{} x 256", "n": 4096}
    return [
        Row(
            cosine_distance,
            slower=CHORD,
            inputs=bench.pairs,
            peers={
                "torch": lambda x, y: (1 - F.cosine_similarity(x, y)).mean(),
                "Optax": bench.optax("cosine_distance", epsilon=1e-12),
                FORMULA: lambda x, y: (1 - (F.normalize(x) * F.normalize(y)).sum(1)).mean(),
            },
            **form,
        ),
        Row(
            cosine_embedding_loss,
            slower=CHORD,
            inputs=lambda n: (*bench.pairs(n), torch.randint(2, (n,)).float() * 2 - 1),
            peers={"torch": F.cosine_embedding_loss},
            **form,
        ),
    ]


def test_values_by_hand():
    # (3, 4) has length 5: cosines 3/5, 4/5 and, with (-4, 3), 0.
    u = real([[3.0, 4.0]] * 3)
    v = real([[2.0, 0.0], [0.0, 9.0], [-4.0, 3.0]])
    assert cosine_distance(u, v).tolist() == pytest.approx([0.4, 0.2, 1])
    # Different: 0.6 - 0.5, 0.8 - 0.5 and nothing at a right angle.
    losses = cosine_embedding_loss(u, v, integer([-1, -1, -1]), margin=0.5)
    assert losses.tolist() == pytest.approx([0.1, 0.3, 0])


def test_a_zero_vector_moves_nowhere_and_pulls_nothing():
    u = real([[0.0, 0.0], [1.0, 2.0]]).requires_grad_()
    v = real([[3.0, 4.0], [0.0, 0.0]]).requires_grad_()
    losses = cosine_distance(u, v)
    assert losses.tolist() == [1, 1]
    for slope in torch.autograd.grad(losses.sum(), (u, v)):
        assert not slope.any()
    losses = cosine_embedding_loss(u, v, integer([1, 1]))
    assert losses.tolist() == [1, 1]
    for slope in torch.autograd.grad(losses.sum(), (u, v)):
        assert not slope.any()


def test_lengths_at_the_ends_of_float32():
    # Their squares are inf and 0 in float32, their cosine is 3/5 all the same.
    for size in (1e30, 1e-30):
        u = (size * torch.tensor([[3.0, 4.0]])).requires_grad_()
        loss = cosine_distance(u, torch.tensor([[size, 0.0]]))
        assert loss.item() == pytest.approx(0.4, rel=1e-6)
        (slope,) = torch.autograd.grad(loss.sum(), u)
        # -(1 - 3/5 * 3/5) / 5 and 3/5 * 4/5 / 5, over the size.
        assert (size * slope).tolist()[0] == pytest.approx([-0.128, 0.096], rel=1e-5)


def test_no_vector_is_nearer_than_itself():
    u = torch.from_numpy(np.random.default_rng(0).normal(size=(500, 16))).float()
    for v in (u, 3 * u, -u):
        distances = cosine_distance(u, v)
        assert distances.min() >= 0
        assert distances.max() <= 2


def test_a_target_of_0_is_a_pair_that_differs():
    u = real([[1.0, 0.0]])
    assert cosine_embedding_loss(u, u, integer([0])).item() == 1
    assert cosine_embedding_loss(u, u, torch.tensor([False])).item() == 1


def test_the_gradient_is_at_a_right_angle_to_the_vector():
    u, v = pairs(np.random.default_rng(3))
    u.requires_grad_()
    (slope,) = torch.autograd.grad(cosine_distance(u, v).sum(), u)
    assert (slope * u).sum(-1).abs().max().item() < 1e-15


def test_small_angles_in_float32():
    # 1 - cos of 1e-4 is 5e-9, of which 1 minus a float32 leaves 0 or 6e-8.
    v = torch.tensor([[3.0, 3e-4]])
    distance = cosine_distance(torch.tensor([[1.0, 0.0]]), v).item()
    assert distance == pytest.approx(5e-9, rel=1e-6)


def test_what_is_no_number_has_no_distance():
    u = torch.tensor([[math.nan, 1.0], [math.inf, 1.0]])
    assert cosine_distance(u, torch.ones(2, 2)).isnan().all()


def test_long_vectors_of_half_precision():
    # Of length 84853, where float16 ends at 65504.
    u, v = torch.tensor([[6e4, 6e4]]).half(), torch.tensor([[1.0, 0.0]]).half()
    assert cosine_distance(u, v).item() == pytest.approx(1 - math.sqrt(0.5), rel=1e-3)


def test_a_vector_computed_from_the_other_pulls_once():
    u = real([[0.5, -1.0, 2.0], [1.0, 0.3, -0.2]]).requires_grad_()
    for other in (u.roll(1, 0), u.square(), u):
        (slope,) = torch.autograd.grad(cosine_distance(u, other).sum(), u, retain_graph=True)
        (again,) = torch.autograd.grad(cosine_distance(u, other).sum(), u, create_graph=True)
        torch.testing.assert_close(again, slope)


def test_the_second_derivative_at_equal_and_opposite_directions():
    # Across u the distance is bent by 1 / |u|^2, upward at its least and downward at its largest.
    for factor in (3, 1 / 7, -1, -1 / 3):
        u = real(np.random.default_rng(0).normal(size=(20, 3)))
        square = u.square().sum(1)[:, None, None]
        across = torch.eye(3, dtype=u.dtype) - u[:, None] * u[:, :, None] / square
        hessian = torch.autograd.functional.hessian(
            lambda x, v: cosine_distance(x, v).sum(), (u, factor * u)
        )[0][0]
        blocks = hessian.diagonal(dim1=0, dim2=2).movedim(-1, 0)
        torch.testing.assert_close(blocks, math.copysign(1, factor) * across / square)


def test_the_second_derivative_at_a_zero_vector_is_0():
    zero, v = real([[0.0, 0.0]]), real([[3.0, 4.0]])
    for pair in ((zero, v), (v, zero), (zero, zero)):
        hessian = torch.autograd.functional.hessian(lambda x, y: cosine_distance(x, y).sum(), pair)
        assert not any(block.any() for row in hessian for block in row)
