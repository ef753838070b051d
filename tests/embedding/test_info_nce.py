import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.embedding.info_nce import info_nce, nt_xent
from tests.bench import rows as bench
from tests.bench.measure import Row, stepwise
from tests.contract import Case, real


def pairs(rng):
    queries = rng.normal(size=(5, 3))
    return real(queries), real(queries + 0.5 * rng.normal(size=(5, 3)))


def near(rng):
    """Pairs from 0.05 down to 1e-6 and 0 apart, at angles of about 60 degrees to each other."""
    u = np.linalg.qr(rng.normal(size=(8, 8)))[0] + 0.3
    steps = np.array([0.05, 2e-2, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    return real(u), real(u + steps * rng.normal(size=(8, 8)))


def cosines(x, y):
    dots = (x[:, None] * y).sum(2)
    lengths = np.sqrt((x * x).sum(1)[:, None] * (y * y).sum(1))
    return dots / np.where(lengths == 0, 1, lengths)


def cpc(queries, keys, temperature=0.07):
    f = np.exp(cosines(queries, keys) / temperature)
    return -np.log(np.diagonal(f) / f.sum(1))


def simclr(views1, views2, temperature=0.5):
    views = np.concatenate([views1, views2])
    f = np.exp(cosines(views, views) / temperature)
    n = len(views1)
    losses = []
    for i in range(2 * n):
        others = sum(f[i, k] for k in range(2 * n) if k != i)
        losses.append(-np.log(f[i, (i + n) % (2 * n)] / others))
    return np.asarray(losses)


def slope(queries, keys, temperature=0.07):
    """Through the cosines: (softmax - identity) / temperature, then off each direction."""
    c = cosines(queries, keys)
    f = np.exp(c / temperature)
    errors = (f / f.sum(1)[:, None] - np.eye(len(c))) / temperature

    def through(errors, c, x, y):
        size, other = (np.sqrt((z * z).sum(1))[:, None] for z in (x, y))
        size, other = np.where(size == 0, np.inf, size), np.where(other == 0, np.inf, other)
        towards = (errors[:, :, None] * (y / other)).sum(1)
        return (towards - (errors * c).sum(1)[:, None] * x / size) / size

    return through(errors, c, queries, keys), through(errors.T, c.T, keys, queries)


def optax_ntxent(views1, views2, temperature=0.5):
    import optax

    n = len(views1)
    names = np.tile(np.arange(n), 2)
    views = torch.cat([views1, views2]).numpy()
    return optax.ntxent(views, names, temperature)


def pml_ntxent(views1, views2, temperature=0.5):
    from pytorch_metric_learning.losses import NTXentLoss

    names = torch.arange(len(views1)).repeat(2)
    return NTXentLoss(temperature)(torch.cat([views1, views2]), names)


def monai_ntxent(views1, views2, temperature=0.5):
    from monai.losses import ContrastiveLoss

    return ContrastiveLoss(temperature=temperature)(views1.float(), views2.float()).numpy()


def torch_cross_entropy(queries, keys, temperature=0.07):
    scores = F.cosine_similarity(queries[:, None], keys, dim=2) / temperature
    return F.cross_entropy(scores, torch.arange(len(scores)), reduction="none")


SAME = (real([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]), real([[2.0, 4.0], [2.0, 4.0], [2.0, 4.0]]))
# Opposite classes, each pair perfect: the loss is nearly 0.
PERFECT = (real([[3.0, 0.0], [-1.0, 0.0]]), real([[1.0, 0.0], [-2.0, 0.0]]))
# The query's own key is its opposite, and another is itself: cosines -1 and 1.
WORST = (real([[3.0, 0.0], [-1.0, 0.0]]), real([[-2.0, 0.0], [1.0, 0.0]]))
ADVERSARIAL = {
    "all equal": SAME,
    "perfect": PERFECT,
    "worst": WORST,
    "zero query": (real([[0.0, 0.0], [1.0, 2.0]]), real([[3.0, 4.0], [2.0, 1.0]])),
    "zero key": (real([[1.0, -1.0], [1.0, 2.0]]), real([[0.0, 0.0], [2.0, 1.0]])),
    "all zero": (real([[0.0, 0.0]] * 2), real([[0.0, 0.0]] * 2)),
    "one": (real([[1.0, 2.0]]), real([[-1.0, 3.0]])),
    "1e4": (real([[1e4, -1e4], [1e4, 1.0]]), real([[0.1, 0.1], [-1e4, 1.0]])),
    "squares overflow": (real([[1e200, 0.0], [1.0, 1.0]]), real([[1e200, 1e200], [0.0, 1.0]])),
}
ROWS = torch.zeros(2, 3)


def errors(name1, name2):
    return [
        ((ROWS, ROWS[:1]), {}, rf"{name2} of shape \(2, 3\), got \(1, 3\)"),
        ((ROWS, ROWS[0]), {}, rf"{name2} of shape \(2, 3\), got \(3,\)"),
        ((ROWS, torch.zeros(4, 3)), {}, rf"{name2} of shape \(2, 3\), got \(4, 3\)"),
        ((ROWS[0], ROWS[0]), {}, rf"{name1} of shape \(N, D\)"),
        ((ROWS.long(), ROWS), {}, f"floating {name1} .* got torch.int64"),
        ((ROWS, ROWS.long()), {}, f"floating {name2}, got torch.int64"),
        ((ROWS, ROWS), {"temperature": 0.0}, "temperature > 0, got 0.0"),
        ((ROWS, ROWS), {"temperature": -1.0}, "temperature > 0, got -1.0"),
        ((ROWS, ROWS), {"temperature": math.nan}, "temperature > 0, got nan"),
    ]


def cases():
    return [
        Case(
            loss=info_nce,
            inputs=pairs,
            reference=cpc,
            settings=({}, {"temperature": 0.5}, {"temperature": 0.01}),
            ranges={"temperature": (0.05, 3.0)},
            near=near,
            adversarial=ADVERSARIAL,
            gradient=slope,
            invariances={
                "lengths": lambda q, k: (3 * q, k / 7),
                "order of the coordinates": lambda q, k: (q.flip(1), k.flip(1)),
            },
            relations={
                "cross entropy of the cosines over the temperature": lambda loss, q, k: (
                    loss(q, k, temperature=0.3),
                    cross_entropy(F.normalize(q) @ F.normalize(k).T / 0.3, torch.arange(5)),
                ),
                "hot, it is log N": lambda loss, q, k: (
                    loss(q, k, temperature=1e12),
                    real([math.log(5)] * 5),
                ),
            },
            peers={"torch": torch_cross_entropy},
            errors=errors("queries", "keys"),
            facts={
                "chance": (SAME, math.log(3), "log N, with N = 3 pairs"),
                "convex": False,
            },
        ),
        Case(
            loss=nt_xent,
            inputs=pairs,
            reference=simclr,
            settings=({}, {"temperature": 0.1}, {"temperature": 0.02}),
            ranges={"temperature": (0.05, 3.0)},
            near=near,
            adversarial=ADVERSARIAL,
            invariances={"lengths": lambda x, y: (3 * x, y / 7)},
            relations={
                "swapping the views swaps the halves": lambda loss, x, y: (
                    loss(y, x),
                    loss(x, y).roll(5),
                ),
                "one pair alone is certain": lambda loss, x, y: (
                    loss(x[:1], y[:1]),
                    torch.zeros(2),
                ),
                "hot, it is log(2N - 1)": lambda loss, x, y: (
                    loss(x, y, temperature=1e12),
                    real([math.log(9)] * 10),
                ),
            },
            peers={
                "optax": optax_ntxent,
                "pytorch-metric-learning": pml_ntxent,
                "monai": monai_ntxent,
            },
            errors=errors("views1", "views2"),
            facts={
                "chance": (SAME, math.log(5), "log(2 N - 1), with N = 3 pairs"),
                "convex": False,
            },
        ),
    ]


def optax_views(x, y):
    import jax
    import numpy as np
    import optax

    names = np.tile(np.arange(len(x)), 2)
    arrays = [jax.numpy.asarray(v.detach().cpu().numpy()) for v in (x, y)]

    def mean(a, b):
        return optax.ntxent(jax.numpy.concatenate([a, b]), names, 0.5)

    compiled = jax.jit(jax.value_and_grad(mean, argnums=(0, 1)))
    return lambda: jax.block_until_ready(compiled(*arrays))[0]


def views(parts):
    loss = parts[0].NTXentLoss(0.5)
    return lambda x, y: loss(torch.cat([x, y]), torch.arange(len(x)).repeat(2))


def monai_views(x, y):
    from monai.losses import ContrastiveLoss

    return ContrastiveLoss(temperature=0.5)(x, y)


def plain_info_nce(q, k):
    return F.cross_entropy(
        F.normalize(q) @ F.normalize(k).T / 0.07, torch.arange(len(q), device=q.device)
    )


def plain_nt_xent(x, y):
    z = F.normalize(torch.cat([x, y]))
    s = (z @ z.T / 0.5).fill_diagonal_(-math.inf)
    n = len(x)
    return F.cross_entropy(s, torch.arange(2 * n, device=s.device).roll(n))


def rows():
    everyone = {
        "Optax": stepwise(optax_views),
        "MONAI": monai_views,
        "pytorch-metric-learning": bench.metric_learning(views),
        FORMULA: plain_nt_xent,
    }
    # At 2 x 512 MONAI takes 18 s and pytorch-metric-learning 48 s: they keep up at 2 x 128.
    few = {name: everyone[name] for name in ("Optax", FORMULA)}
    form = {"inputs": bench.pairs, "slower": bench.UNITS}
    one = {"shape": "{} x 256", "peers": {FORMULA: plain_info_nce}, **form}
    two = {"shape": "2 x {} x 256", **form}
    return [
        Row(info_nce, n=1024, sweep=(256, 512, 1024, 2048, 4096), **one),
        Row(info_nce, n=4096, **one),
        Row(nt_xent, n=128, peers=everyone, **two),
        Row(nt_xent, n=512, peers=few, sweep=(128, 256, 512, 1024, 2048), **two),
    ]


def test_values_by_hand():
    # Cosines 1 and 0, 4/5 and 3/5: at temperature 1/2 the others trail by 2 and 0.4.
    queries, keys = real([[2.0, 0.0], [3.0, 4.0]]), real([[1.0, 0.0], [0.0, 5.0]])
    losses = info_nce(queries, keys, temperature=0.5)
    assert losses.tolist() == pytest.approx([math.log1p(math.exp(-2)), math.log1p(math.exp(-0.4))])


def test_nt_xent_by_hand():
    # The anchor (1, 0) has its other view at cosine 1, the rest at 0 and -1: at temperature 1,
    # log(e + 1 + 1/e) - 1. The anchor (0, 1) has its other view at 0, the rest at 0 twice.
    losses = nt_xent(real([[1.0, 0.0], [0.0, 1.0]]), real([[2.0, 0.0], [-3.0, 0.0]]), temperature=1)
    first = math.log(math.e + 1 + 1 / math.e) - 1
    last = math.log(2 / math.e + 1)  # (-3, 0): its view at 0, the two others at -1.
    assert losses.tolist() == pytest.approx([first, math.log(3), first, last])


def test_a_zero_vector_moves_nowhere():
    for loss in (info_nce, nt_xent):
        x = real([[0.0, 0.0], [1.0, 2.0]]).requires_grad_()
        y = real([[3.0, 4.0], [2.0, 1.0]]).requires_grad_()
        slopes = torch.autograd.grad(loss(x, y).sum(), (x, y))
        assert not slopes[0][0].any()
        assert slopes[0][1].any()
        assert slopes[1].any()


def test_lengths_at_the_ends_of_float32():
    x, y = (z.float() for z in pairs(np.random.default_rng(0)))
    for loss in (info_nce, nt_xent):
        for size in (1e30, 1e-30):
            assert torch.allclose(loss(size * x, size * y), loss(x, y), rtol=1e-4, atol=1e-6)


def test_cold_and_certain():
    # cos / 1e-3 is 1000, whose exponential is inf even in float64.
    for loss in (info_nce, nt_xent):
        assert loss(*PERFECT, temperature=1e-3).tolist() == [0] * len(loss(*PERFECT))
    assert info_nce(*WORST, temperature=1e-3).tolist() == [2000, 2000]
    # All that there is to choose from is opposite: nothing stands in for it.
    x = torch.ones(2, 3)
    assert info_nce(x, -x, temperature=1e-3).tolist() == pytest.approx([math.log(2)] * 2)
    assert nt_xent(x[:1], -x[:1], temperature=1e-3).tolist() == [0, 0]


def test_half_precision_is_only_rounding():
    """The exponent of 1/0.07 = 14.3 has errors of 0.06 in bfloat16, the result must not."""
    x, y = (z.bfloat16() for z in pairs(np.random.default_rng(1)))
    for loss in (info_nce, nt_xent):
        exact = loss(x.double(), y.double(), temperature=0.07)
        assert torch.allclose(loss(x, y, temperature=0.07).double(), exact, rtol=2**-8, atol=1e-6)


def test_a_certain_answer_keeps_its_digits():
    # Cosine 1 against 0 at temperature 1/25: log(1 + exp(-25)), which 1 + 1e-11 has not in float32.
    x = torch.eye(2)
    assert info_nce(x, x, temperature=0.04).tolist() == pytest.approx([math.exp(-25)] * 2, rel=1e-4)
    # Two others for each view.
    expected = [2 * math.exp(-25)] * 4
    assert nt_xent(x, x, temperature=0.04).tolist() == pytest.approx(expected, rel=1e-4)


def test_wider_second_views_are_not_rounded_first():
    # The angle between the second views is 1e-4, which float16 has not: log(1 + exp(0.1)).
    x, y = torch.tensor([[0.0, 1.0], [0.0, -1.0]]), torch.tensor([[1.0, 0.1], [1.0, 0.1001]])
    exact = nt_xent(x.double(), y.double(), temperature=0.001)
    assert torch.allclose(nt_xent(x.half(), y, temperature=0.001).double(), exact, rtol=2e-3)


def test_second_slope_at_a_zero_vector_is_a_number():
    x = torch.eye(3, 4)
    x[1] = 0
    x.requires_grad_()
    keys = torch.ones(3, 4).cumsum(1)
    for function in (info_nce, nt_xent):
        (slope,) = torch.autograd.grad(function(x, keys).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(slope.square().sum(), x)
        assert slope.isfinite().all()
        assert second.isfinite().all()
