import math
from functools import partial

import mpmath
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.regression.poisson_nll import poisson_nll
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def counted(rng):
    return real(rng.normal(size=(5, 2))), real(rng.poisson(3, size=(5, 2)))


def integers(rng):
    return real(rng.normal(size=6)), integer(rng.poisson(2, size=6))


@partial(np.frompyfunc, nin=1, nout=1)
def log_factorial(k):
    # Fifty digits are enough, and five thousand take minutes.
    with mpmath.workdps(50):
        return mpmath.loggamma(k + 1)


@partial(np.frompyfunc, nin=1, nout=1)
def slope_of_log_factorial(k):
    with mpmath.workdps(50):
        return mpmath.digamma(k + 1)


def poisson(log_rates, counts, full=False):
    """Minus the logarithm of rate^count exp(-rate) / count!, factor by factor."""
    rates = np.exp(log_rates)
    powers = np.where(counts == 0, 0, counts * np.log(rates))
    return rates - powers + (log_factorial(counts) if full else 0)


def exact_poisson(log_rates, counts, full=False):
    powers = np.where(counts == 0, 0, counts * log_rates)
    return np.exp(log_rates) - powers + (log_factorial(counts) if full else 0)


def slope(log_rates, counts, full=False):
    to_count = (slope_of_log_factorial(counts) if full else 0) - log_rates
    # At log-rate -inf the slope for the count is infinite, and none is stated.
    return np.exp(log_rates) - counts, np.where(np.isinf(log_rates), np.nan, to_count)


def scipy_logpmf(log_rates, counts, full=False):
    from scipy.stats import poisson

    if not full:
        return NotImplemented
    return -poisson.logpmf(counts.numpy(), log_rates.exp().numpy())


def keras_poisson(log_rates, counts, full=False):
    import keras

    if full:
        return NotImplemented
    return keras.losses.Poisson()(counts.float(), log_rates.exp().float())


def torch_poisson(log_rates, counts, full=False):
    # Under `full`, torch adds Stirling's approximation, and nothing for counts of 0 and 1.
    return NotImplemented if full else F.poisson_nll_loss(log_rates, counts, reduction="none")


def torch_distribution(log_rates, counts, full=False):
    if not full:
        return NotImplemented
    return -torch.distributions.Poisson(log_rates.exp()).log_prob(counts.double())


ONE = (real([0.0]), real([1.0]))


def cases():
    return [
        Case(
            loss=poisson_nll,
            inputs=(counted, integers),
            reference=poisson,
            exact=exact_poisson,
            settings=({}, {"full": True}),
            adversarial={
                "log-rate -1e4": (real([-1e4, -1e4]), real([0.0, 3.0])),
                "a rate that float32 cannot hold": (real([89.0, 100.0]), real([0.0, 2.0])),
                # exp(11.2) = 73130, less 2000 * 11.2.
                "a rate beyond float16, a loss within": (real([11.2, 0.0]), real([2000.0, 1.0])),
                "a rate that nothing holds": (real([1e4]), real([5.0])),
                "rate 0, count 0": (real([-math.inf, 0.0]), real([0.0, 1.0])),
                "rate 0, count not 0": (real([-math.inf, -math.inf]), real([1.0, 0.5])),
                "at the optimum": (real([math.log(7), 0.0]), real([7.0, 1.0])),
                "count 1000": (real([math.log(1000), 0.0]), real([1000.0, 1000.0])),
            },
            infinite={
                "an infinite rate": ((real([math.inf] * 3), real([0.0, 0.5, 3.0])), [math.inf] * 3),
                "rate 0": ((real([-math.inf] * 3), real([0.0, 0.5, 3.0])), [0.0] + [math.inf] * 2),
            },
            domains={1: (0.0, 1e3)},
            gradient=slope,
            relations={
                "full adds log k!": lambda loss, x, k: (
                    loss(x, k, full=True) - loss(x, k),
                    real([math.log(math.factorial(int(n))) for n in k.flatten()]).view(k.shape),
                ),
                "an exposure is an offset of the log-rate": lambda loss, x, k: (
                    loss(x + math.log(2.5), k),
                    2.5 * x.exp() - k * x - k.double() * math.log(2.5),
                ),
                "above its floor by half the deviance": lambda loss, x, k: (
                    loss(x, k) - loss(k.double().log(), k),
                    torch.xlogy(k.double(), k / x.exp()) - (k - x.exp()),
                ),
            },
            peers={
                "torch": torch_poisson,
                "torch distributions": torch_distribution,
                "scipy": scipy_logpmf,
                "keras": keras_poisson,
            },
            errors=[
                ((torch.ones(3).long(), torch.ones(3)), {}, "floating log_rates, got torch.int64"),
                ((torch.zeros(3, 1), torch.zeros(3)), {}, r"counts of shape \(3, 1\), got \(3,\)"),
                ((torch.zeros(3), torch.zeros(())), {}, r"counts of shape \(3,\), got \(\)"),
                ((torch.zeros(4, 3), torch.zeros(1, 3)), {}, r"shape \(4, 3\), got \(1, 3\)"),
            ],
            facts={
                "range": (-math.inf, math.inf),
                # x = log k: k - k log k, which is 7 - 7 log 7, and 0 for no events at rate 0.
                "perfect": (
                    (real([math.log(7), -math.inf]), real([7.0, 0.0])),
                    np.array([7 - 7 * math.log(7), 0]),
                    "k - k log k, with k = 7 and 0",
                ),
                "convex": True,
            },
        ),
    ]


def rows():
    return [
        Row(
            poisson_nll,
            shape="{}",
            n=1 << 22,
            slower="no events at rate 0 must cost 0, not nan: a mask of three tests, and a "
            "selection each way",
            inputs=lambda n: (bench.leaf(n), torch.randint(9, (n,)).float()),
            peers={
                "torch": F.poisson_nll_loss,
                FORMULA: lambda x, k: (x.exp() - k * x).mean(),
            },
        ),
    ]


def test_values_by_hand():
    # Rates 2, 1/2 and 3, counts 1, 0 and 4: 2 - log 2, 1/2 and 3 - 4 log 3.
    rates, counts = real([2.0, 0.5, 3.0]), real([1.0, 0.0, 4.0])
    expected = [2 - math.log(2), 0.5, 3 - 4 * math.log(3)]
    losses = poisson_nll(rates.log(), counts)
    assert losses.tolist() == pytest.approx(expected)
    assert losses.mean().item() == pytest.approx(0.1375, abs=5e-5)
    # A rate taken for its logarithm.
    assert poisson_nll(rates, counts).mean().item() == pytest.approx(5.0411, abs=5e-5)


def test_full_is_the_log_factorial_not_stirling():
    # 2! = 2, where Stirling's 2 log 2 - 2 + log(4 pi) / 2 is 0.6518; 1! = 0! = 1.
    added = [
        (
            poisson_nll(real([0.0]), real([k]), full=True) - poisson_nll(real([0.0]), real([k]))
        ).item()
        for k in (0.0, 1.0, 2.0, 5.0)
    ]
    assert added == pytest.approx([0, 0, math.log(2), math.log(120)])


def test_full_is_minus_the_log_of_probabilities_that_sum_to_one():
    counts = torch.arange(60, dtype=torch.float64)
    losses = poisson_nll(torch.full_like(counts, math.log(4)), counts, full=True)
    assert (-losses).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_the_log_of_the_mean_count_is_the_best_constant():
    # The slopes cancel at exp(x) = mean: 0 + 2 + 7 over 3.
    counts = real([0.0, 2.0, 7.0])
    x = real([math.log(3)]).requires_grad_()
    (slope,) = torch.autograd.grad(poisson_nll(x.expand(3), counts).sum(), x)
    assert slope.item() == pytest.approx(0, abs=1e-12)


def test_rate_zero():
    x, k = real([-math.inf, -math.inf]).requires_grad_(), real([0.0, 1.0])
    losses = poisson_nll(x, k)
    assert losses.tolist() == [0, math.inf]
    (slope,) = torch.autograd.grad(losses[0], x)
    assert slope[0].item() == 0


def test_nan_is_not_hidden():
    x, k = real([math.nan, 0.0, -math.inf]), real([0.0, math.nan, math.nan])
    assert poisson_nll(x, k).isnan().all()


def test_half_precision_holds_what_fits():
    # exp(11) = 59874.1 fits float16; exp(11.5) does not.
    losses = poisson_nll(torch.tensor([11.0, 11.5]).half(), torch.tensor([0, 0]))
    assert losses.dtype == torch.float16
    assert losses.tolist() == [59872, math.inf]
