import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.embedding.center import center_loss, update_centers
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def batch(rng):
    """Six embeddings of five classes: one has three, two have none."""
    return real(rng.normal(size=(6, 3))), real(rng.normal(size=(5, 3))), integer([4, 0, 4, 1, 0, 4])


def near(rng):
    """Embeddings from 1 down to 1e-6 from their centers, and one at its own."""
    centers = rng.normal(size=(8, 3))
    steps = np.array([1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    return real(centers + steps * rng.normal(size=(8, 3))), real(centers), integer(np.arange(8))


def half_squared(embeddings, centers, labels):
    rows = [((x - centers[y]) ** 2).sum() / 2 for x, y in zip(embeddings, labels, strict=True)]
    return np.stack(rows) if rows else np.zeros(0)


def slope(embeddings, centers, labels):
    return embeddings - centers[labels]


def moved(embeddings, centers, labels, alpha=0.5):
    """Equation 4, one class at a time."""
    new = []
    for j, c in enumerate(centers):
        members = [x for x, y in zip(embeddings, labels, strict=True) if y == j]
        delta = sum((c - x for x in members), 0 * c) / (1 + len(members))
        new.append(c - alpha * delta)
    return np.stack(new)


def torch_mse(embeddings, centers, labels):
    return F.mse_loss(embeddings, centers[labels], reduction="none").sum(1) / 2


def optax_l2(embeddings, centers, labels):
    import optax

    return np.asarray(optax.l2_loss(embeddings.numpy(), centers[labels].numpy())).sum(1)


POINT = (real([[0.3, -0.7]]), real([[9.0, 9.0], [0.3, -0.7]]), integer([1]))
ADVERSARIAL = {
    "at the center": POINT,
    "far": (real([[1e4, -1e4]]), real([[-1e4, 1e4]]), integer([0])),
    "1e-8 away": (real([[1e-8, 0.0]]), real([[0.0, 0.0]]), integer([0])),
    "one class for all": (real([[1.0], [2.0], [4.0]]), real([[1.0], [0.0]]), integer([0, 0, 0])),
}
ROWS, CENTERS, LABELS = torch.zeros(2, 3), torch.zeros(4, 3), integer([0, 1])


def errors():
    return [
        ((ROWS, CENTERS, LABELS[:1]), {}, r"labels of shape \(2,\), got \(1,\)"),
        ((ROWS, CENTERS, LABELS[:, None]), {}, r"labels of shape \(2,\), got \(2, 1\)"),
        ((ROWS, CENTERS[:, :1], LABELS), {}, r"centers of shape \(C, 3\), got \(4, 1\)"),
        ((ROWS, CENTERS[0], LABELS), {}, r"centers of shape \(C, 3\), got \(3,\)"),
        ((ROWS[0], CENTERS, LABELS), {}, r"embeddings of shape \(N, D\)"),
        ((ROWS.long(), CENTERS, LABELS), {}, "floating embeddings .* got torch.int64"),
        ((ROWS, CENTERS.long(), LABELS), {}, "floating centers, got torch.int64"),
    ]


def cases():
    given = (ROWS, CENTERS, LABELS)
    return [
        Case(
            loss=center_loss,
            inputs=batch,
            reference=half_squared,
            adversarial=ADVERSARIAL,
            detached=(1,),
            gradient=slope,
            near=near,
            batch=(0, 2),
            classes={1: 0, 2: 0},
            invariances={"shift of both": lambda x, c, y: (x + 0.75, c + 0.75, y)},
            relations={
                "scaling everything by 3 scales it by 9": lambda loss, x, c, y: (
                    loss(3 * x, 3 * c, y),
                    9 * loss(x, c, y),
                ),
            },
            peers={"torch": torch_mse, "optax": optax_l2},
            errors=errors(),
            facts={"range": (0.0, math.inf), "perfect": (POINT, 0.0), "convex": True},
        ),
        Case(
            loss=update_centers,
            inputs=batch,
            reference=moved,
            settings=({}, {"alpha": 1.0}, {"alpha": 0.0}),
            adversarial=ADVERSARIAL,
            differentiable=(),
            batch=(),
            classes={1: 0, 2: 0, "values": 0},
            invariances={
                "batch permutation": lambda x, c, y: (x.flip(0), c, y.flip(0)),
            },
            relations={
                "at alpha 0 nothing moves": lambda loss, x, c, y: (loss(x, c, y, alpha=0.0), c),
                "a gradient step on the loss, each class by 1 + n": lambda loss, x, c, y: (
                    loss(x, c, y),
                    c
                    + 0.5
                    * torch.stack([(x - c[j])[y == j].sum(0) for j in range(5)])
                    / (1 + torch.bincount(y, minlength=5))[:, None],
                ),
                "at alpha 1, the mean with the center as one more": lambda loss, x, c, y: (
                    loss(x, c, y, alpha=1.0)[4],
                    torch.cat([x[y == 4], c[4:]]).mean(0),
                ),
            },
            errors=[
                *errors(),
                (given, {"alpha": -0.1}, r"alpha in \[0, 1\], got -0.1"),
                (given, {"alpha": 1.5}, r"alpha in \[0, 1\], got 1.5"),
                (given, {"alpha": math.nan}, r"alpha in \[0, 1\], got nan"),
            ],
            exempt={
                "facts": "an update rule, not a loss",
                "gradient/finite differences": "an update rule, not a loss",
                "second gradient": "an update rule, not a loss",
                "extremes/nan": "a class without an embedding stays where it is",
                "facts/passes": "an update rule, not a loss",
                "next to the optimum": "an update rule, not a loss",
                "dtypes/mixed": "the new centers have the dtype of the old ones",
                "peers": "no library here has it",
            },
        ),
    ]


def rows():
    def inputs(n):
        return bench.leaf(n, 256), torch.randn(1000, 256), torch.randint(1000, (n,))

    return [
        Row(
            center_loss,
            slower=bench.CALL,
            shape="{} x 256, 1000 classes",
            n=4096,
            inputs=inputs,
            peers={FORMULA: lambda x, c, y: ((x - c[y]) ** 2).sum(1).mean() / 2},
        )
    ]


def test_values_by_hand():
    # (3, 4) from the origin: 25 / 2.
    centers = real([[0.0, 0.0], [3.0, 3.0]])
    x = real([[3.0, 4.0], [3.0, 4.0]])
    assert center_loss(x, centers, integer([0, 1])).tolist() == [12.5, 0.5]


def test_an_update_by_hand():
    # Class 0 at 0 sees 3 and 6: 0 + (3 + 6) / (1 + 2) / 2 = 1.5. Class 1 sees nothing.
    # Class 2 at 10 sees 4: 10 - 6 / 2 / 2 = 8.5.
    centers = real([[0.0], [5.0], [10.0]])
    new = update_centers(real([[3.0], [4.0], [6.0]]), centers, integer([0, 2, 0]))
    assert new.tolist() == [[1.5], [5], [8.5]]
    assert centers.tolist() == [[0], [5], [10]]


def test_an_empty_batch_moves_nothing():
    centers = real([[0.0, 1.0], [5.0, 6.0]])
    nothing = torch.zeros(0, 2, dtype=torch.float64)
    new = update_centers(nothing, centers, torch.zeros(0, dtype=torch.int64))
    assert new.equal(centers)
    assert new is not centers


def test_new_centers_have_no_graph():
    x, centers, labels = batch(np.random.default_rng(0))
    new = update_centers(x.requires_grad_(), centers.requires_grad_(), labels)
    assert not new.requires_grad


def test_centers_keep_their_dtype():
    # A step of 1e-3 from 1 is lost in float16, and must not be in centers of float32.
    x, centers = torch.tensor([[1.0]], dtype=torch.float16), torch.tensor([[1.004]])
    new = update_centers(x, centers, integer([0]))
    assert new.dtype == torch.float32
    assert new.item() == pytest.approx(1.003, abs=1e-6)


def test_updates_bring_the_centers_to_the_means():
    x, centers, labels = batch(np.random.default_rng(0))
    for _ in range(200):
        centers = update_centers(x, centers, labels)
    for j in (0, 1, 4):
        assert torch.allclose(centers[j], x[labels == j].mean(0))


def test_a_negative_label_is_no_class():
    for function in (center_loss, update_centers):
        with pytest.raises(IndexError):
            function(torch.zeros(1, 2), torch.zeros(3, 2), torch.tensor([-1]))


def test_a_slow_update():
    # 0 + 3 / 2 / 10.
    new = update_centers(real([[3.0]]), real([[0.0]]), integer([0]), alpha=0.1)
    assert new.item() == pytest.approx(0.15)


def test_a_finer_center_is_not_rounded():
    # float16 steps by 0.0625 at 100: 99.9 would be 99.875.
    loss = center_loss(torch.tensor([[100.0]]).half(), torch.tensor([[99.9]]), integer([0]))
    assert loss.item() == pytest.approx(0.005, rel=1e-2)
