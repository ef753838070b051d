import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook import Criterion
from lossbook.book.pages.speed import FORMULA
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.language.token_losses import dft_loss, unlikelihood_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real

INF = math.inf


def flat(rng):
    return real(rng.normal(size=(5, 4)) * 2), integer(rng.integers(0, 4, 5))


def dense(rng):
    return real(rng.normal(size=(2, 3, 4))), integer(rng.integers(0, 4, (2, 3)))


def near_label(rng):
    """Labels whose probability is 1 but for 1/2 down to 1e-13, and 1."""
    logits = rng.normal(size=(7, 4))
    logits[:, 2] = [2, 5, 10, 15, 20, 30, 900]
    return real(logits), integer([2] * 7)


def probability(logits, labels):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    truth = labels[..., None] == np.arange(logits.shape[-1])
    return p, truth, np.where(truth, p, 0).sum(-1)


def dft(logits, labels):
    _, _, p = probability(logits, labels)
    return np.where(p > 0, -p * np.log(p), 0)


def dft_slope(logits, labels):
    p, truth, of_label = probability(logits, labels)
    return of_label[..., None] * (p - truth)


def torch_dft(logits, labels):
    losses = F.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
    return (-losses).exp() * losses


def with_negatives(rng):
    return real(rng.normal(size=(5, 4)) * 2), torch.from_numpy(rng.random((5, 4)) < 0.5)


def dense_negatives(rng):
    return real(rng.normal(size=(2, 3, 4))), torch.from_numpy(rng.random((2, 3, 4)) < 0.5)


def near_nothing(rng):
    """Negatives of a probability of 0.2 down to 1e-13, and 0."""
    logits = rng.normal(size=(7, 4))
    logits[:, 1] = [-1, -5, -10, -15, -20, -30, -900]
    return real(logits), torch.tensor([[False, True, False, False]] * 7)


def unlikelihood(logits, negatives):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return np.where(negatives, -np.log(1 - p), 0).sum(-1)


def unlikelihood_slope(logits, negatives):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    odds = np.where(negatives, p / (1 - p), 0)
    return odds - p * odds.sum(-1, keepdims=True)


def torch_unlikelihood(logits, negatives):
    p = logits.softmax(-1)
    return F.binary_cross_entropy(p, torch.zeros_like(p), negatives, reduction="none").sum(-1)


SURE = (real([[1e4, 0.0, -1e4], [0.0, 40.0, 0.0]]), integer([0, 1]))
HOPELESS = (real([[1e4, 0.0, -1e4]]), integer([2]))
ONE = torch.tensor([[True, False, False]])
NONE = torch.zeros(2, 3).bool()
DETACHED = "finite differences move the detached weight, too"


def cases():
    return [
        Case(
            loss=dft_loss,
            inputs=(flat, dense),
            reference=dft,
            near=near_label,
            adversarial={
                "sure by 1e4": SURE,
                "hopeless": HOPELESS,
                "probability 1/e": (
                    real([[-1.0, math.log1p(-math.exp(-1))]]).log_softmax(1),
                    integer([0]),
                ),
                "ruled out": (real([[0.0, -INF]]), integer([1])),
                "the only token left": (real([[0.0, -INF]]), integer([0])),
                "equal logits": (real([[7.0, 7.0, 7.0]]), integer([1])),
            },
            gradient=dft_slope,
            classes={0: -1, 1: -1},
            invariances={
                "shift of the logits": lambda x, y: (x + 5.0, y),
                "log-probabilities for logits": lambda x, y: (x.log_softmax(-1), y),
            },
            relations={
                "cross entropy times the probability": lambda loss, x, y: (
                    loss(x, y),
                    (-cross_entropy(x.movedim(-1, 1), y)).exp()
                    * cross_entropy(x.movedim(-1, 1), y),
                ),
                "its slope is that of 1 - p": lambda loss, x, y: (
                    slope_of(lambda z: loss(z, y).sum(), x),
                    slope_of(lambda z: -z.softmax(-1).gather(-1, y.unsqueeze(-1)).sum(), x),
                ),
                "more tokens that never come": lambda loss, x, y: (
                    loss(F.pad(x, (0, 2), value=-INF), y),
                    loss(x, y),
                ),
            },
            peers={"torch": torch_dft},
            infinite={
                "another token ruled out": (
                    (real([[0.0, 0.0, -INF]]), integer([0])),
                    [math.log(2) / 2],
                ),
                "the label ruled out": ((real([[0.0, 0.0, -INF]]), integer([2])), [0.0]),
            },
            errors=[
                ((torch.zeros(2, 3).long(), torch.zeros(2).long()), {}, "floating logits of shape"),
                ((torch.zeros(()), torch.zeros(()).long()), {}, r"shape \(\*, V\), got .* \(\)"),
                ((torch.zeros(2, 3), torch.zeros(2)), {}, "labels of dtype int64"),
                *(
                    ((torch.zeros(2, 3), torch.zeros(s).long()), {}, r"labels of shape \(2,\), got")
                    for s in ((3,), (2, 1), (1,), (), (2, 3))
                ),
            ],
            facts={
                "range": (0.0, math.exp(-1)),
                "perfect": (SURE, 0.0),
                "chance": (
                    (real([[7.0, 7.0, 7.0]]), integer([1])),
                    math.log(3) / 3,
                    "log V / V, with V = 3",
                ),
                "convex": False,
            },
            exempt={"gradient/finite differences": DETACHED, "second gradient": DETACHED},
        ),
        Case(
            loss=unlikelihood_loss,
            inputs=(with_negatives, dense_negatives),
            reference=unlikelihood,
            near=near_nothing,
            adversarial={
                "sure of a negative by 1e4": (real([[1e4, 0.0, -1e4]]), ONE),
                "sure of a negative by 20": (real([[20.0, 0.0, 0.0]]), ONE),
                "sure of another": (real([[0.0, 1e4, 0.0]]), ONE),
                "all of two": (real([[3.0, 0.0]]), torch.tensor([[True, True]])),
                "two likeliest": (real([[5.0, 5.0, 0.0]]), torch.tensor([[True, True, False]])),
                "none": (real([[3.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), NONE),
                "a negative ruled out": (real([[-INF, 0.0, 1.0]]), ONE),
                "the only token left, no negative": (real([[-INF, 0.0, -INF]]), ONE),
            },
            gradient=unlikelihood_slope,
            invariances={
                "shift of the logits": lambda x, c: (x + 5.0, c),
                "tokens exchanged": lambda x, c: (x.roll(1, -1), c.roll(1, -1)),
            },
            relations={
                "two tokens: cross entropy with the other": lambda loss, x, _: (
                    loss(x[..., :2], torch.tensor([True, False]).expand_as(x[..., :2])),
                    cross_entropy(
                        x[..., :2].movedim(-1, 1), torch.ones(x.shape[:-1], dtype=torch.int64)
                    ),
                ),
                "sets add": lambda loss, x, c: (
                    loss(x, c) + loss(x, ~c),
                    loss(x, torch.ones_like(c)),
                ),
                "the negative as a token among its alternatives": lambda loss, x, _: (
                    loss(x, F.one_hot(torch.full(x.shape[:-1], 2), 4).bool()),
                    x.logsumexp(-1) - x[..., [0, 1, 3]].logsumexp(-1),
                ),
                "more tokens that never come": lambda loss, x, c: (
                    loss(F.pad(x, (0, 2), value=-INF), F.pad(c, (0, 2), value=True)),
                    loss(x, c),
                ),
            },
            peers={"torch": torch_unlikelihood},
            infinite={
                "a negative ruled out": ((real([[-INF, 0.0, 1.0]]), ONE), [0.0]),
                "another ruled out": ((real([[0.0, 0.0, -INF]]), ONE), [math.log(2)]),
                "the only token left": (
                    (real([[0.0, -INF, -INF], [0.0, 0.0, -INF]]), ONE.expand(2, 3)),
                    [INF, math.log(2)],
                ),
            },
            errors=[
                ((torch.zeros(2, 3).long(), NONE), {}, "floating logits of shape"),
                ((torch.zeros(()), torch.tensor(True)), {}, r"shape \(\*, V\), got .* \(\)"),
                ((torch.zeros(2, 3), NONE.long()), {}, "negatives of dtype bool"),
                ((torch.zeros(2, 3), NONE.float()), {}, "negatives of dtype bool"),
                *(
                    ((torch.zeros(2, 3), torch.zeros(s).bool()), {}, r"shape \(2, 3\), got")
                    for s in ((3,), (2, 1), (1, 3), (2,), ())
                ),
            ],
            facts={
                "range": (0.0, INF),
                "perfect": ((real([[0.0, 1e4, 0.0]]), ONE), 0.0),
                "chance": (
                    (real([[7.0, 7.0, 7.0]]), ONE),
                    -math.log(2 / 3),
                    "one negative: -log(1 - 1/V), with V = 3",
                ),
                "convex": False,
            },
        ),
    ]


def slope_of(function, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), x)[0]


def rows():
    def naive(x, y):
        p = x.softmax(1).gather(1, y[:, None])[:, 0]
        return -(p.detach() * p.log()).mean()

    def clamped(x, c):
        return -((1 - x.softmax(1)).clamp_min(1e-5).log() * c).sum(1).mean()

    return [
        Row(
            dft_loss,
            slower="exact where the label is nearly certain: the others are summed without it",
            shape="{} x 8000",
            n=512,
            inputs=lambda n: (bench.leaf(n, 8000), torch.randint(8000, (n,))),
            peers={"torch": torch_dft_mean, FORMULA: naive},
        ),
        Row(
            unlikelihood_loss,
            slower="exact where a negative is nearly certain: the likeliest token is taken out and "
            "put back, a table each, and the others have a sum of their own",
            shape="{} x 8000",
            n=512,
            inputs=lambda n: (bench.leaf(n, 8000), torch.rand(n, 8000) < 0.01),
            peers={FORMULA: clamped},
        ),
    ]


def torch_dft_mean(logits, labels):
    losses = F.cross_entropy(logits, labels, reduction="none")
    return ((-losses).exp().detach() * losses).mean()


def test_values_by_hand():
    # p = e / (e + 2): -p log p; -log(1 - p), and with the second token's -log(1 - 1 / (e + 2)).
    x = real([[1.0, 0.0, 0.0]])
    p = math.e / (math.e + 2)
    assert dft_loss(x, integer([0])).item() == pytest.approx(-p * math.log(p), rel=1e-14)
    assert dft_loss(x, integer([0])).item() == pytest.approx(0.3176966107, rel=1e-9)
    loss = unlikelihood_loss(x, ONE).item()
    assert loss == pytest.approx(0.8582975334, rel=1e-9)
    both = unlikelihood_loss(x, torch.tensor([[True, True, False]])).item()
    assert both == pytest.approx(loss - math.log1p(-1 / (math.e + 2)), rel=1e-14)


def test_a_hopeless_token_is_pulled_up():
    # With a live weight, p below 1/e is pushed down.
    x = real([[0.0, 2.0]]).requires_grad_()
    (slope,) = torch.autograd.grad(dft_loss(x, integer([0])).sum(), x)
    p = 1 / (1 + math.exp(2))
    assert slope[0, 0].item() == pytest.approx(-p * (1 - p))


def test_a_label_ruled_out_has_no_slope():
    x = real([[0.0, 1.0, -INF]]).requires_grad_()
    (slope,) = torch.autograd.grad(dft_loss(x, integer([2])).sum(), x)
    assert slope.tolist() == [[0, 0, 0]]


def test_a_certain_negative_is_still_pushed_down():
    # 1 - p clamped at 1e-5 gives 11.5 and no gradient; in float32 1 - p is 0.
    x = torch.tensor([[20.0, 0.0, 0.0]]).requires_grad_()
    losses = unlikelihood_loss(x, ONE)
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert losses.item() == pytest.approx(20 - math.log(2))
    np.testing.assert_allclose(slope, [[1, -0.5, -0.5]], rtol=1e-6)


def test_the_only_token_left_has_a_finite_slope():
    x = real([[0.0, -INF, -INF], [0.0, -INF, -INF]]).requires_grad_()
    losses = unlikelihood_loss(x, torch.tensor([[True, False, False], [False, True, True]]))
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert losses.tolist() == [INF, 0]
    assert slope.isfinite().all()


def test_one_token_in_all():
    x = torch.zeros(2, 1).requires_grad_()
    losses = unlikelihood_loss(x, torch.tensor([[False], [True]]))
    (slope,) = torch.autograd.grad(losses[0], x)
    assert losses.tolist() == [0, INF]
    assert slope.tolist() == [[0], [0]]


def test_padding_is_ignored_by_label():
    x, y = dense(np.random.default_rng(0))
    padded = y.clone()
    padded[:, 2:] = -100
    ours = Criterion(dft_loss, ignore_index=-100)(x, padded)
    torch.testing.assert_close(ours, dft_loss(x[:, :2], y[:, :2]).mean())


def test_the_vocabulary_is_last_in_every_rank():
    x, y = dense(np.random.default_rng(0))
    c = dense_negatives(np.random.default_rng(0))[1]
    assert dft_loss(x, y)[1, 2].equal(dft_loss(x[1, 2], y[1, 2]))
    assert unlikelihood_loss(x, c)[1, 2].equal(unlikelihood_loss(x[1, 2], c[1, 2]))
