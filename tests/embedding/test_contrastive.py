import math

import numpy as np
import torch

from lossbook.book.pages.speed import FORMULA
from lossbook.embedding.contrastive import contrastive_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real

TRUE, FALSE = torch.tensor([True]), torch.tensor([False])


def pairs(rng):
    near = rng.normal(size=(6, 3))
    return (
        real(near),
        real(near + 0.4 * rng.normal(size=(6, 3))),
        torch.tensor([True, False, False, True, False, False]),
    )


def near(rng):
    """Pairs from 1 down to 1e-6 apart, and one pair of equals."""
    u = rng.normal(size=(8, 3))
    steps = np.array([1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    return real(u), real(u + steps * rng.normal(size=(8, 3))), torch.tensor([True] * 8)


def contrastive(embeddings1, embeddings2, is_same, margin=1.0):
    """Equation 4 with its Y, 0 for similar pairs."""
    y = 1 - is_same.astype(int)
    d = np.sqrt(((embeddings1 - embeddings2) ** 2).sum(1))
    return (1 - y) * d**2 / 2 + y * np.maximum(0, margin - d) ** 2 / 2


def slope(embeddings1, embeddings2, is_same, margin=1.0):
    apart = embeddings1 - embeddings2
    d = np.sqrt((apart * apart).sum(1, keepdims=True))
    push = -np.maximum(0, margin - d) / np.where(d == 0, 1, d)
    first = np.where(is_same[:, None], 1, push) * apart
    return first, -first


def metric_learning(embeddings1, embeddings2, is_same, margin=1.0):
    """Give one pair at a time to a loss of all pairs: it is unsquared, and has no 1/2."""
    from pytorch_metric_learning.losses import ContrastiveLoss

    loss = ContrastiveLoss(pos_margin=0, neg_margin=margin)
    values = [
        loss(torch.stack([x, y]), integer([0, 1 - int(same)]))
        for x, y, same in zip(embeddings1, embeddings2, is_same, strict=True)
    ]
    # It normalizes the embeddings; so does the case that is compared.
    return torch.stack(values) ** 2 / 2


POINT = real([[0.3, -0.7, 0.2]])
ADVERSARIAL = {
    "same, identical": (POINT, POINT, TRUE),
    "different, identical": (POINT, POINT, FALSE),
    "different, at the margin": (real([[0.0, 0.0]]), real([[0.6, 0.8]]), FALSE),
    "different, far": (real([[1e4, 0.0]]), real([[0.0, 1e4]]), FALSE),
    "same, far": (real([[1e4, 0.0]]), real([[0.0, 1e4]]), TRUE),
    "different, 1e-8 apart": (real([[1e-8, 0.0]]), real([[0.0, 0.0]]), FALSE),
    "different, squares overflow": (real([[1e200, 0.0]]), real([[0.0, 1.0]]), FALSE),
}
ROWS = (torch.zeros(2, 3), torch.zeros(2, 3))
SAME = torch.tensor([True, False])


def cases():
    return [
        Case(
            loss=contrastive_loss,
            inputs=pairs,
            reference=contrastive,
            settings=({}, {"margin": 0.5}, {"margin": 5.0}),
            adversarial=ADVERSARIAL,
            gradient=slope,
            ranges={"margin": (0.0, 5.0)},
            near=near,
            exempt={
                "peers": "the library's losses of pairs are of other forms: see the test below"
            },
            invariances={
                "swap": lambda x, y, same: (y, x, same),
                "shift of both": lambda x, y, same: (x + 0.75, y + 0.75, same),
                "order of the coordinates": lambda x, y, same: (x.flip(1), y.flip(1), same),
            },
            relations={
                "same pairs are half the squared error": lambda loss, x, y, same: (
                    loss(x, y, torch.ones_like(same)),
                    (x - y).square().sum(1) / 2,
                ),
                "scaling everything by 3 scales it by 9": lambda loss, x, y, same: (
                    loss(3 * x, 3 * y, same, margin=3.0),
                    9 * loss(x, y, same),
                ),
                "at margin 0 different pairs are free": lambda loss, x, y, same: (
                    loss(x, y, torch.zeros_like(same), margin=0.0),
                    torch.zeros(6),
                ),
                "inside the margin the roots add up to it": lambda loss, x, y, same: (
                    (2 * loss(x, y, same, margin=9.0)).sqrt()
                    + (2 * loss(x, y, ~same, margin=9.0)).sqrt(),
                    torch.full((6,), 9.0),
                ),
            },
            errors=[
                ((ROWS[0], ROWS[1][:1], SAME), {}, r"embeddings2 of shape \(2, 3\), got \(1, 3\)"),
                ((ROWS[0], ROWS[1][0], SAME), {}, r"embeddings2 of shape \(2, 3\), got \(3,\)"),
                ((*ROWS, SAME[:, None]), {}, r"is_same of shape \(2,\), got torch.bool \(2, 1\)"),
                ((*ROWS, SAME[0]), {}, r"is_same of shape \(2,\), got torch.bool \(\)"),
                ((*ROWS, SAME.long()), {}, "bool is_same .* got torch.int64"),
                ((*ROWS, SAME.double()), {}, "bool is_same .* got torch.float64"),
                ((*ROWS, SAME), {"margin": torch.ones(2)}, r"margin of shape \(\), got \(2,\)"),
                ((torch.zeros(3), torch.zeros(3), TRUE), {}, r"embeddings1 of shape \(N, D\)"),
                ((integer([[1]]), real([[1.0]]), TRUE), {}, "floating embeddings1"),
                ((real([[1.0]]), integer([[1]]), TRUE), {}, "floating embeddings2"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": ((POINT, POINT, TRUE), 0.0),
                "convex": False,
            },
        ),
    ]


def plain_contrastive(x, y, same):
    d = (x - y).norm(dim=1)
    return torch.where(same, d**2 / 2, (1 - d).clamp_min(0) ** 2 / 2).mean()


def rows():
    return [
        Row(
            contrastive_loss,
            slower="the slope of the root is kept finite where two points meet: two kernels more",
            shape="{} x 256",
            n=4096,
            inputs=lambda n: (*bench.pairs(n), torch.randint(2, (n,)).bool()),
            peers={FORMULA: plain_contrastive},
        )
    ]


def test_values_by_hand():
    # d = 5. Same: 25 / 2. Different: (7 - 5)^2 / 2, and nothing once the margin is 5 or less.
    x, y = real([[0.0, 0.0]]), real([[3.0, 4.0]])
    assert contrastive_loss(x, y, TRUE).item() == 12.5
    assert contrastive_loss(x, y, FALSE, margin=7.0).item() == 2
    assert contrastive_loss(x, y, FALSE, margin=5.0).item() == 0
    assert contrastive_loss(x, y, FALSE).item() == 0


def test_different_but_identical():
    x = real([[1.0, 2.0]]).requires_grad_()
    loss = contrastive_loss(x, real([[1.0, 2.0]]), FALSE, margin=3.0)
    assert loss.item() == 4.5
    assert torch.autograd.grad(loss.sum(), x)[0].tolist() == [[0, 0]]


def test_the_push_has_the_strength_of_what_is_missing():
    # At distance 0.3 of a margin 1 the spring pushes with 0.7; from the margin on it is slack.
    x = real([[0.3, 0.0], [1.5, 0.0]]).requires_grad_()
    losses = contrastive_loss(x, torch.zeros(2, 2), torch.tensor([False, False]))
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert torch.allclose(slope, real([[-0.7, 0.0], [0.0, 0.0]]), atol=1e-15)


def test_against_metric_learning():
    """The library's loss of one pair is d or margin - d: its square over 2 is the paper's."""
    x, y, same = pairs(np.random.default_rng(0))
    x, y = (torch.nn.functional.normalize(z) for z in (x, y))
    assert torch.allclose(contrastive_loss(x, y, same), metric_learning(x, y, same), atol=1e-6)
