"""SimPO and ORPO: preferences by average log-probabilities, with no reference.

Chapter: https://lossbook.example/preference/reference_free/
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["orpo_loss", "simpo_loss"]


def simpo_loss(
    chosen_log_probs: Tensor,
    rejected_log_probs: Tensor,
    *,
    beta: float | Tensor = 2.0,
    gamma: float | Tensor = 0.5,
) -> Tensor:
    """Simple preference optimization, one value per pair, in nats.

    With the average log-probabilities c and r of the tokens of the chosen and the rejected answer:

        loss = -log sigmoid(beta (c - r) - gamma)

    The margin gamma is one of rewards, outside of beta: in log-probability it is gamma / beta nats
    per token.

    Args:
        chosen_log_probs: Average log-probabilities of the preferred answers, shape `(*)`, as
            `sequence_log_probs(..., average=True)` gives them.
        rejected_log_probs: Those of the others, shape `(*)`.
        beta: Scale of the reward, positive. A number or a tensor of shape `()`, whose value is not
            checked. The default 2.0 is that of the authors' code.
        gamma: Lead that the chosen answer should have, at least 0, a number or a tensor of shape
            `()`. The default 0.5 is that of the authors' code, where it is 0.25 beta.

    Returns:
        The loss of each pair, shape `(*)`, in the dtype of `chosen_log_probs`. Two answers that are
        both ruled out (-inf) have no lead: the loss is nan.

    Raises:
        ValueError: If an input is not floating, the shapes differ, `beta` is a number that is not
            positive, `gamma` a negative one, or either a tensor of another shape.

    Reference:
        Meng, Xia and Chen, "SimPO: Simple Preference Optimization with a Reference-Free Reward",
        NeurIPS 2024, eq. 6. arXiv:2405.14734

    Examples:
        >>> import torch
        >>> simpo_loss(torch.tensor([-1.0, -1.0]), torch.tensor([-1.5, -1.0]))
        tensor([0.4741, 0.9741])
    """
    wide = _check(chosen_log_probs, rejected_log_probs)
    beta = _setting("beta", beta, "> 0", lambda x: x > 0, wide)
    gamma = _setting("gamma", gamma, ">= 0", lambda x: x >= 0, wide)

    lag = _scaled(beta, rejected_log_probs.to(wide) - chosen_log_probs.to(wide)) + gamma
    # -log sigmoid(-lag); from 40 on that is lag, to the last digit of float64.
    return softplus(lag, threshold=40).to(chosen_log_probs.dtype)


def orpo_loss(
    chosen_log_probs: Tensor, rejected_log_probs: Tensor, *, lam: float | Tensor = 0.1
) -> Tensor:
    """Odds ratio preference optimization, one value per pair, in nats.

    With the average log-probabilities c and r of the tokens of the chosen and the rejected answer,
    and the odds P / (1 - P) of P = exp(c) and P = exp(r):

        loss = -c - lam log sigmoid(log(odds_c / odds_r))

    The first term is the chosen answer's own likelihood. A chosen answer that is certain costs 0,
    unless the rejected one is certain, too: that costs inf where lam > 0, as does a chosen one that
    is impossible, whatever lam is.

    Args:
        chosen_log_probs: Average log-probabilities of the preferred answers, shape `(*)`, at most
            0, as `sequence_log_probs(..., average=True)` gives them. Sums would make the odds the
            probabilities themselves.
        rejected_log_probs: Those of the others, shape `(*)`.
        lam: Weight of the odds, at least 0. A number or a tensor of shape `()`, whose value is not
            checked. The default 0.1 is TRL's and that of the authors' recipe for Mistral.

    Returns:
        The loss of each pair, shape `(*)`, in the dtype of `chosen_log_probs`.

    Raises:
        ValueError: If an input is not floating, the shapes differ, or `lam` is a negative number
            or a tensor of another shape.

    Reference:
        Hong, Lee and Thorne, "ORPO: Monolithic Preference Optimization without Reference Model",
        EMNLP 2024, eqs. 6 and 7. arXiv:2403.07691

    Examples:
        >>> import torch
        >>> orpo_loss(torch.tensor([-1.0, 0.0]), torch.tensor([-1.5, -1.0]))
        tensor([1.0401, 0.0000])
    """
    wide = _check(chosen_log_probs, rejected_log_probs)
    lam = _setting("lam", lam, ">= 0", lambda x: x >= 0, wide)

    # log(1 + odds_r / odds_c) = log(1 + e^(r - c) (1 - P_c) / (1 - P_r)), of which log(1 - P_c) is
    # taken only behind, where P_c is not 1.
    c = chosen_log_probs.to(wide)
    r = rejected_log_probs.to(wide).clamp(torch.finfo(wide).min, -torch.finfo(wide).tiny)
    ahead = (c >= r).to(wide)
    gap = (2 * ahead - 1) * (r - c)
    miss_c, miss_r = -c.expm1(), -r.expm1()
    larger, smaller = torch.lerp(miss_c, miss_r, ahead), torch.lerp(miss_r, miss_c, ahead)
    odds = (gap.exp() * smaller / larger).log1p()
    odds = odds + (1 - ahead) * (larger.log() - miss_r.log() - gap)
    odds = odds.where(rejected_log_probs != 0, math.inf)
    if isinstance(lam, Tensor) or not lam:
        odds = odds.where(~odds.isinf() | (lam > 0), 0)  # What is weighed by 0 is not there.
    return (lam * odds - c).to(chosen_log_probs.dtype)


def _scaled(beta: float | Tensor, lead: Tensor) -> Tensor:
    """Multiply; an infinite lead, at which the loss has its limit, gives beta no slope."""
    if not isinstance(beta, Tensor):
        return beta * lead
    infinite = lead.isinf()
    return torch.where(infinite, beta.detach() * lead, beta * lead.where(~infinite, 0))


def _check(chosen: Tensor, rejected: Tensor) -> torch.dtype:
    """Check that both are floating and of one shape; the dtype to compute in."""
    for name, x in (("chosen_log_probs", chosen), ("rejected_log_probs", rejected)):
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
    if chosen.shape != rejected.shape:
        raise ValueError(
            f"expected rejected_log_probs of shape {tuple(chosen.shape)}, "
            f"got {tuple(rejected.shape)}"
        )
    return torch.promote_types(chosen.dtype, torch.float32)


def _setting(
    name: str,
    value: float | Tensor,
    condition: str,
    holds: Callable[[float], bool],
    dtype: torch.dtype,
) -> float | Tensor:
    """Check a number; of a tensor its shape, since its value is never read; give it in `dtype`."""
    if isinstance(value, Tensor):
        if value.dim():
            raise ValueError(f"expected {name} of shape (), got {tuple(value.shape)}")
        return value.to(dtype)
    if not holds(value):
        raise ValueError(f"expected {name} {condition}, got {value}")
    return float(value)
