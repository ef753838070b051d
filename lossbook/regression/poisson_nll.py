"""Poisson negative log-likelihood: the loss of a count, given the logarithm of its rate.

Chapter: https://lossbook.example/regression/poisson_nll/
"""

import torch
from torch import Tensor

__all__ = ["poisson_nll"]


def poisson_nll(log_rates: Tensor, counts: Tensor, *, full: bool = False) -> Tensor:
    """Poisson negative log-likelihood, one value per element, in nats.

    With the log-rate x, the rate exp(x) and the count k:

        loss = exp(x) - k x                  (+ log k!  if full)

    It is least at x = log k. Without log k!, which no prediction changes, it can be negative:
    the least value is k - k log k.

    Args:
        log_rates: Logarithms of the predicted rates, shape `(*)`, any real numbers: what a linear
            layer gives. No exp before this loss. -inf is a rate of 0; a count of 0 costs 0 there.
            inf costs inf.
        counts: Observed counts, at least 0, integers or not, shape `(*)`. Values are not checked.
        full: Whether to add log k!, as lgamma(k + 1), so that losses of models with other
            distributions can be compared. The default leaves it out. Three terms as large as
            k log k then cancel: in float32 a count of 1e6 leaves one digit.

    Returns:
        The loss of each element, shape `(*)`, in the dtype of `log_rates`; inf where the rate
        does not fit it (in float32 above x = 88.7).

    Raises:
        ValueError: If `log_rates` is not floating or the shapes differ.

    Reference:
        Nelder and Wedderburn, "Generalized Linear Models", Journal of the Royal Statistical
        Society A 135, 1972.

    Examples:
        >>> import torch
        >>> poisson_nll(torch.tensor([0.0, 1.0]), torch.tensor([3, 0]))
        tensor([1.0000, 2.7183])
        >>> poisson_nll(torch.tensor([0.0, 1.0]), torch.tensor([3, 0]), full=True)
        tensor([2.7918, 2.7183])
    """
    if not log_rates.is_floating_point():
        raise ValueError(f"expected floating log_rates, got {log_rates.dtype}")
    if log_rates.shape != counts.shape:
        raise ValueError(
            f"expected counts of shape {tuple(log_rates.shape)}, got {tuple(counts.shape)}"
        )

    wide = torch.promote_types(log_rates.dtype, torch.float32)
    x, k = log_rates.to(dtype=wide), counts.to(dtype=wide)
    # No events at rate 0 are certain: 0 log 0 = 0. An infinite rate outweighs k times its log.
    aside = x.isposinf() | (x.isneginf() & k.logical_not())
    losses = torch.addcmul(x.exp(), k, torch.where(aside, 0, x), value=-1)
    if full:
        losses = losses + torch.lgamma(k + 1)
    return losses.to(dtype=log_rates.dtype)
