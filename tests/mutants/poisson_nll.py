import math

import torch

from tests.mutants import Mutants

MUTANTS = Mutants()


def checked(log_rates, counts):
    if log_rates.shape != counts.shape:
        expected, got = tuple(log_rates.shape), tuple(counts.shape)
        raise ValueError(f"expected counts of shape {expected}, got {got}")


def poisson(x, k, full=False):
    losses = x.exp() - torch.where(k == 0, 0, k * x)
    return losses + torch.lgamma(k.to(x) + 1) if full else losses


@MUTANTS.of("poisson_nll", "(N, 1) against (N,) broadcasts without a warning", killed_by="errors")
def _(log_rates, counts, *, full=False):
    return poisson(log_rates, counts, full)


@MUTANTS.of("poisson_nll", "the log-rate taken for the rate", killed_by="value")
def _(log_rates, counts, *, full=False):
    return poisson(log_rates.abs().log(), counts, full)


@MUTANTS.of("poisson_nll", "the rate taken for its logarithm", killed_by="value")
def _(log_rates, counts, *, full=False):
    return poisson(log_rates.exp(), counts, full)


@MUTANTS.of("poisson_nll", "log(rate + 1e-7)", killed_by="value")
def _(log_rates, counts, *, full=False):
    rates = log_rates.exp()
    losses = rates - counts * (rates + 1e-7).log()
    return losses + torch.lgamma(counts.to(rates) + 1) if full else losses


@MUTANTS.of("poisson_nll", "the log of a rate that has underflowed", killed_by="value")
def _(log_rates, counts, *, full=False):
    rates = log_rates.exp()
    losses = rates - torch.xlogy(counts.to(rates), rates)
    return losses + torch.lgamma(counts.to(rates) + 1) if full else losses


@MUTANTS.of("poisson_nll", "0 times -inf at rate 0", killed_by="value")
def _(log_rates, counts, *, full=False):
    losses = log_rates.exp() - counts * log_rates
    return losses + torch.lgamma(counts.to(losses) + 1) if full else losses


@MUTANTS.of("poisson_nll", "every impossible count forgiven", killed_by="value")
def _(log_rates, counts, *, full=False):
    kept = log_rates.masked_fill(log_rates.isneginf(), 0)
    losses = log_rates.exp() - counts * kept
    return losses + torch.lgamma(counts.to(losses) + 1) if full else losses


@MUTANTS.of("poisson_nll", "Stirling's formula for log k!", killed_by="value")
def _(log_rates, counts, *, full=False):
    losses, k = poisson(log_rates, counts), counts.to(log_rates)
    stirling = torch.xlogy(k, k) - k + 0.5 * (2 * math.pi * k.clamp_min(1)).log()
    return losses + torch.where(k > 1, stirling, 0) if full else losses


@MUTANTS.of("poisson_nll", "lgamma(k), which is log (k - 1)!", killed_by="value")
def _(log_rates, counts, *, full=False):
    losses = poisson(log_rates, counts)
    return losses + torch.lgamma(counts.to(losses).clamp_min(1)) if full else losses


@MUTANTS.of("poisson_nll", "full turned round", killed_by="value")
def _(log_rates, counts, *, full=False):
    return poisson(log_rates, counts, not full)


@MUTANTS.of("poisson_nll", "the sign of the count's term", killed_by="value")
def _(log_rates, counts, *, full=False):
    return poisson(log_rates, counts, full) + 2 * counts * log_rates.clamp_min(-1e300)


@MUTANTS.of("poisson_nll", "the deviance, which is 0 at its least", killed_by="value")
def _(log_rates, counts, *, full=False):
    k = counts.to(log_rates)
    return poisson(log_rates, k, full) - k + torch.xlogy(k, k)


@MUTANTS.of("poisson_nll", "log-rates clipped at 20", killed_by="value")
def _(log_rates, counts, *, full=False):
    return poisson(log_rates.clamp(-20, 20), counts, full)


@MUTANTS.of("poisson_nll", "already averaged", killed_by="value")
def _(log_rates, counts, *, full=False):
    return poisson(log_rates, counts, full).mean()


@MUTANTS.of("poisson_nll", "a floor at 0", killed_by="facts")
def _(log_rates, counts, *, full=False):
    return poisson(log_rates, counts, full).clamp_min(0)


@MUTANTS.of("poisson_nll", "the rate detached", killed_by="gradient")
def _(log_rates, counts, *, full=False):
    x = log_rates
    return poisson(x, counts, full) - x.exp() + x.exp().detach()


@MUTANTS.of("poisson_nll", "no slope for counts of 0", killed_by="gradient")
def _(log_rates, counts, *, full=False):
    return poisson(log_rates, counts.double(), full)


@MUTANTS.of("poisson_nll", "exp in half precision", killed_by="extremes")
def _(log_rates, counts, *, full=False):
    wide = torch.promote_types(log_rates.dtype, torch.float32)
    x, rates = log_rates.to(wide), log_rates.exp().to(wide)
    losses = rates - counts * torch.where(x.isneginf() & (counts == 0), 0, x)
    losses = losses + torch.lgamma(counts.to(wide) + 1) if full else losses
    return losses.to(log_rates.dtype)


@MUTANTS.of("poisson_nll", "sums in half precision", killed_by="float16")
def _(log_rates, counts, *, full=False):
    return poisson(log_rates, counts.to(log_rates.dtype), full)


@MUTANTS.of("poisson_nll", "a branch on tensor values", killed_by="compile")
def _(log_rates, counts, *, full=False):
    if log_rates.isneginf().any():
        return poisson(log_rates, counts, full)
    losses = log_rates.exp() - counts * log_rates
    return losses + torch.lgamma(counts.to(losses) + 1) if full else losses


@MUTANTS.of("poisson_nll", "exp in place", killed_by="inputs unchanged")
def _(log_rates, counts, *, full=False):
    losses = counts * -log_rates + log_rates.exp_()
    return losses + torch.lgamma(counts.to(losses) + 1) if full else losses


@MUTANTS.of("poisson_nll", "nan counts hidden", killed_by="test_nan_is_not_hidden")
def _(log_rates, counts, *, full=False):
    checked(log_rates, counts)
    losses = log_rates.exp() - (counts * log_rates).nan_to_num(0.0, math.inf, -math.inf)
    return losses + torch.lgamma(counts.to(losses) + 1) if full else losses
