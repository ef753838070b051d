import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.distribution.kl_divergence import kl_divergence
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real

# torch.compile makes such an object of its own to trace any autograd.Function.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


def flat(rng):
    return real(rng.normal(size=(4, 3)) * 2), real(rng.normal(size=(4, 3)) * 2)


def dense(rng):
    return real(rng.normal(size=(2, 3, 4))), real(rng.normal(size=(2, 3, 4)))


def near(rng):
    target, step = rng.normal(size=(2, 8, 5)) * 2
    distances = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    return real(target + distances * step), real(target)


def softmax(logits, dim=1):
    e = np.exp(logits)
    return e / e.sum(dim, keepdims=True)


def kl(logits, target_logits):
    p, q = softmax(logits), softmax(target_logits)
    return np.where(q > 0, q * np.log(q / p), 0).sum(1)


def slope(logits, target_logits):
    p, q = softmax(logits), softmax(target_logits)
    gaps = np.where(q > 0, np.log(q / p), 0)
    return p - q, q * (gaps - (q * gaps).sum(1, keepdims=True))


def torch_kl(logits, target_logits):
    log_p, log_q = logits.log_softmax(1), target_logits.log_softmax(1)
    return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(1)


def torch_distributions(logits, target_logits):
    p, q = (
        torch.distributions.Categorical(logits=x.movedim(1, -1)) for x in (logits, target_logits)
    )
    return torch.distributions.kl_divergence(q, p)


def scipy_entropy(logits, target_logits):
    from scipy.stats import entropy

    return entropy(target_logits.softmax(1).numpy(), logits.softmax(1).numpy(), axis=1)


def optax_kl(logits, target_logits):
    import optax

    log_p, q = logits.log_softmax(1), target_logits.softmax(1)
    return optax.losses.kl_divergence(
        log_p.movedim(1, -1).float().numpy(), q.movedim(1, -1).float().numpy()
    )


def keras_kl(logits, target_logits):
    import keras

    p, q = logits.softmax(1).movedim(1, -1), target_logits.softmax(1).movedim(1, -1)
    return keras.losses.kl_divergence(q.float(), p.float())


def entropy(logits):
    return torch.special.entr(logits.softmax(1)).sum(1)


INF = math.inf
SAME = (real([[1.0, -2.0, 1e4], [0.0, 0.0, 0.0]]), real([[1.0, -2.0, 1e4], [5.0, 5.0, 5.0]]))


def cases():
    return [
        Case(
            loss=kl_divergence,
            inputs=(flat, dense),
            reference=kl,
            adversarial={
                "the same distribution": SAME,
                "the same up to 1e-9": (real([[0.0, 1.0]]), real([[1e-9, 1.0]])),
                "opposite by 1e4": (real([[1e4, 0.0, -1e4]]), real([[-1e4, 0.0, 1e4]])),
                "target underflows": (real([[0.0, 1.0, 2.0]]), real([[1e4, 0.0, -1e4]])),
                "target 0": (real([[0.0, 1.0, 2.0]]), real([[-INF, 0.0, 1.0]])),
                "one-hot target": (real([[0.0, 1.0, 2.0]]), real([[-INF, 0.0, -INF]])),
                "both 0": (real([[-INF, 1.0, 2.0]]), real([[-INF, 0.0, 1.0]])),
                "both one-hot": (real([[-INF, 3.0, -INF]]), real([[-INF, 0.0, -INF]])),
                "prediction 0": (real([[-INF, 1.0, 2.0]]), real([[-1.0, 0.0, 1.0]])),
            },
            gradient=slope,
            classes={0: 1, 1: 1},
            invariances={
                "shift of the logits": lambda x, t: (x + 5.0, t),
                "shift of the target's logits": lambda x, t: (x, t - 5.0),
                "log-probabilities for logits": lambda x, t: (x.log_softmax(1), t.log_softmax(1)),
            },
            relations={
                "cross entropy less the target's entropy": lambda loss, x, t: (
                    loss(x, t),
                    cross_entropy(x, t.softmax(1)) - entropy(t),
                ),
                "cross entropy where the target is one-hot": lambda loss, x, _: (
                    loss(x, torch.full_like(x, -INF).index_fill(1, torch.tensor([1]), 0.0)),
                    -x.log_softmax(1).select(1, 1),
                ),
                "from uniform predictions it is log C less the entropy": lambda loss, x, t: (
                    loss(torch.zeros_like(x), t),
                    math.log(x.shape[1]) - entropy(t),
                ),
                "dim counts the axis": lambda loss, x, t: (
                    loss(x.movedim(1, -1), t.movedim(1, -1), dim=-1),
                    loss(x, t),
                ),
            },
            peers={
                "torch": torch_kl,
                "torch distributions": torch_distributions,
                "scipy": scipy_entropy,
                "optax": optax_kl,
                "keras": keras_kl,
            },
            near=near,
            infinite={
                "a class that the target rules out": (
                    (real([[0.0, 0.0, 0.0]]), real([[0.0, 0.0, -INF]])),
                    [math.log(1.5)],
                ),
                "a class that both rule out": (
                    (real([[0.0, 0.0, -INF]]), real([[0.0, -INF, -INF]])),
                    [math.log(2)],
                ),
                "a class that the prediction rules out": (
                    (real([[-INF, 0.0, 0.0]]), real([[0.0, 0.0, 0.0]])),
                    [INF],
                ),
            },
            errors=[
                ((integer([[1, 2]]), real([[1.0, 2.0]])), {}, "floating logits, got torch.int64"),
                ((real([[1.0, 2.0]]), integer([[1, 2]])), {}, "floating target_logits, got"),
                ((torch.zeros(2, 3), torch.zeros(3)), {}, r"of shape \(2, 3\), got \(3,\)"),
                ((torch.zeros(2, 3), torch.zeros(1, 3)), {}, r"of shape \(2, 3\), got \(1, 3\)"),
                ((torch.zeros(2, 3), torch.zeros(())), {}, r"of shape \(2, 3\), got \(\)"),
            ],
            facts={
                "range": (0.0, INF),
                "perfect": (SAME, 0.0),
                # Uniform predictions, a one-hot target: log 3.
                "chance": (
                    (real([[0.0, 0.0, 0.0]]), real([[0.0, -INF, -INF]])),
                    math.log(3),
                    "uniform, of a sure target: log C, with C = 3",
                ),
                "convex": True,
            },
        ),
    ]


def bench_keras(logits, target_logits):
    import keras

    return keras.losses.KLDivergence()(target_logits.softmax(1), logits.softmax(1))


def rows():
    return [
        Row(
            kl_divergence,
            slower="exact next to the target, where the terms of the usual sum cancel",
            shape=f"{{}} x {c}",
            n=n,
            inputs=lambda n, c=c: (bench.leaf(n, c), torch.randn(n, c)),
            peers={
                "torch": lambda x, t: F.kl_div(
                    x.log_softmax(1), t.log_softmax(1), log_target=True, reduction="batchmean"
                ),
                "Keras": bench_keras,
                FORMULA: lambda x, t: (
                    (t.softmax(1) * (t.softmax(1).log() - x.softmax(1).log())).sum(1).mean()
                ),
            },
        )
        for n, c in ((8192, 1000), (32, 10))
    ]


def test_values_by_hand():
    # q = (0.7, 0.2, 0.1) against p = (0.16, 0.12, 0.72):
    # 0.7 log(0.7/0.16) + 0.2 log(0.2/0.12) + 0.1 log(0.1/0.72) = 1.0331 + 0.1022 - 0.1974,
    # and the other way 0.16 log(0.16/0.7) + 0.12 log(0.12/0.2) + 0.72 log(0.72/0.1).
    q, p = real([[0.7, 0.2, 0.1]]), real([[0.16, 0.12, 0.72]])
    assert kl_divergence(p.log(), q.log()).item() == pytest.approx(0.937892, abs=5e-7)
    assert kl_divergence(q.log(), p.log()).item() == pytest.approx(1.123894, abs=5e-7)


def test_a_target_of_zero_costs_nothing():
    # Half on each of two classes against thirds: log(3/2).
    losses = kl_divergence(real([[0.0, 0.0, 0.0]]), real([[0.0, 0.0, -INF]]))
    assert losses.item() == pytest.approx(math.log(1.5))


@pytest.mark.parametrize("hidden", [-INF, -1e4])
def test_classes_hidden_from_both_change_nothing(hidden):
    x, t = real([[0.3, -1.0, -INF]]).requires_grad_(), real([[2.0, 0.5, hidden]])
    t.requires_grad_()
    losses = kl_divergence(x, t)
    assert losses.equal(kl_divergence(x[:, :2], t[:, :2]))
    for slope in torch.autograd.grad(losses.sum(), (x, t)):
        assert slope.isfinite().all()
        assert slope[0, 2].item() == 0


def test_a_predicted_zero_costs_inf_and_pulls_with_a_finite_slope():
    x = real([[-INF, 0.0]]).requires_grad_()
    losses = kl_divergence(x, real([[0.0, 0.0]]))
    assert losses.item() == INF
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert slope.tolist() == [[-0.5, 0.5]]


def test_the_slope_is_that_of_cross_entropy():
    x, t = flat(np.random.default_rng(0))
    x.requires_grad_()
    (ours,) = torch.autograd.grad(kl_divergence(x, t).sum(), x)
    (theirs,) = torch.autograd.grad(cross_entropy(x, t.softmax(1)).sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_small_steps_cost_half_their_variance():
    # The second derivative of KL in the logits is the covariance of the classes' indicators.
    x, step = flat(np.random.default_rng(0))
    p = x.softmax(1)
    variance = (p * step**2).sum(1) - (p * step).sum(1) ** 2
    torch.testing.assert_close(
        kl_divergence(x + 1e-4 * step, x) / 1e-8, variance / 2, rtol=1e-3, atol=0
    )


def test_float32_keeps_its_digits_near_the_target():
    # A step of 1e-3 costs 1.3e-7 on average, as much as one rounding of log q - log p.
    x = real(np.random.default_rng(0).normal(size=(2, 100, 50))).float()
    logits, targets = x[0] + 1e-3 * x[1], x[0]
    ours, exact = (kl_divergence(y, t) for y, t in ((logits, targets), (logits.double(), targets)))
    assert (ours > 0).all()
    torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=0)
    assert not kl_divergence(targets, targets).any()


def test_a_ratio_that_overflows():
    # d = 200: e^d fits no float32, p = e^-0 does, and q d and q are 0 beside it.
    loss = kl_divergence(torch.tensor([[0.0, -300.0]]), torch.tensor([[-200.0, 0.0]]))
    assert loss.item() == 300


def test_mixed_dtypes():
    x, t = flat(np.random.default_rng(0))
    ours = kl_divergence(x.half(), t)
    assert ours.dtype == torch.float16
    torch.testing.assert_close(ours, kl_divergence(x.half().double(), t).half())


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_every_dim_of_every_rank(dim):
    x, t = dense(np.random.default_rng(0))
    losses = kl_divergence(x.movedim(1, dim), t.movedim(1, dim), dim=dim)
    torch.testing.assert_close(losses, kl_divergence(x, t))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # Of torch's own forward mode.
def test_second_derivative_at_the_target_is_the_covariance():
    x = real([[0.3, -1.0, 2.0]])
    bend = torch.func.hessian(lambda x: kl_divergence(x, real([[0.3, -1.0, 2.0]])).sum())(x)
    p = x[0].softmax(0)
    torch.testing.assert_close(bend[0, :, 0], torch.diag(p) - torch.outer(p, p))


def test_dim_zero():
    x, t = flat(np.random.default_rng(0))
    torch.testing.assert_close(kl_divergence(x.T, t.T, dim=0), kl_divergence(x, t))
    assert kl_divergence(x[0], t[0], dim=0).shape == ()
