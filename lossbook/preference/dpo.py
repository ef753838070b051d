"""DPO, IPO and KTO: preferences by log-ratios of a policy to its reference.

Chapter: https://lossbook.example/preference/dpo/
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["dpo_loss", "ipo_loss", "kto_loss", "sequence_log_probs"]


def sequence_log_probs(
    logits: Tensor, labels: Tensor, mask: Tensor, *, average: bool = False
) -> Tensor:
    """Log-probability of each answer, in nats.

    Helper of `dpo_loss`.

    With the tokens y_t that the mask keeps:

        log p(y | x) = sum_t log softmax(logits_t)_(y_t)

    The mask keeps the answer's tokens, its end among them, and not the prompt's. Nothing is
    shifted: `labels[:, t]` is the token that `logits[:, t]` predict. DPO, IPO and KTO mean the
    sum, SimPO and ORPO the average. What the mask hides reaches neither value nor gradient.

    Args:
        logits: Unnormalized scores of the next token, shape `(N, T, V)`.
        labels: Tokens in [0, V), int64, shape `(N, T)`; anything under the mask.
        mask: True where a token counts, bool, shape `(N, T)`.
        average: Whether to divide by the number of tokens that count.

    Returns:
        The log-probability of each answer, shape `(N,)`, in the dtype of `logits`; 0 where nothing
        counts. In bfloat16 a sum of -512 is known to 4 nats: give float32 logits.

    Raises:
        ValueError: If `logits` is not floating or not of three dimensions, `labels` or `mask` has
            another shape, `labels` is not int64 or `mask` not bool.

    Reference:
        Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward
        Model", NeurIPS 2023, section 3. arXiv:2305.18290

    Examples:
        >>> import torch
        >>> labels, mask = torch.tensor([[1, 0, -100]]), torch.tensor([[True, True, False]])
        >>> sequence_log_probs(torch.zeros(1, 3, 4), labels, mask)
        tensor([-2.7726])
    """
    if logits.dim() != 3 or not logits.is_floating_point():
        raise ValueError(
            f"expected floating logits of shape (N, T, V), got {logits.dtype} {tuple(logits.shape)}"
        )
    if labels.dtype != torch.int64:
        raise ValueError(f"expected labels of dtype int64 (labels.long()), got {labels.dtype}")
    if mask.dtype != torch.bool:
        raise ValueError(f"expected mask of dtype bool (mask.bool()), got {mask.dtype}")
    for name, x in (("labels", labels), ("mask", mask)):
        if x.shape != logits.shape[:2]:
            raise ValueError(
                f"expected {name} of shape {tuple(logits.shape[:2])}, got {tuple(x.shape)}"
            )

    wide = torch.promote_types(logits.dtype, torch.float32)
    x, tokens = logits.masked_fill(~mask.unsqueeze(2), 0).to(wide), labels.where(mask, 0)
    own = x.gather(2, tokens.unsqueeze(2))
    ruled_out = own.isneginf()
    # By what the other tokens have over it, in digits where it is nearly certain.
    rivals = x - own.masked_fill(ruled_out, 0)
    rivals = rivals.scatter(2, tokens.unsqueeze(2), torch.finfo(wide).min)
    rivals = rivals.logsumexp(2, keepdim=True)
    surprises = torch.where(ruled_out, rivals - own, softplus(rivals, threshold=40)).squeeze(2)
    sums = 0 - surprises.masked_fill(~mask, 0).sum(1)
    if average:
        sums = sums / mask.sum(1).clamp_min(1)
    return sums.to(logits.dtype)


def dpo_loss(
    chosen_log_probs: Tensor,
    rejected_log_probs: Tensor,
    reference_chosen_log_probs: Tensor,
    reference_rejected_log_probs: Tensor,
    *,
    beta: float | Tensor = 0.1,
    label_smoothing: float | Tensor = 0.0,
) -> Tensor:
    """Direct preference optimization, one value per pair, in nats.

    With the log-probabilities c and r of the chosen and the rejected answer, c_ref and r_ref those
    of the reference, and label smoothing e:

        loss = -(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h)
        h = (c - c_ref) - (r - r_ref)

    Where policy and reference agree it is log 2. Smoothing is that of conservative DPO: a share e
    of the preferences is taken to be flipped, and the loss is least at sigmoid(beta h) = 1 - e.
    An answer that policy and reference both rule out (-inf) has no log-ratio: the loss is nan.

    Args:
        chosen_log_probs: Log-probabilities of the preferred answers, shape `(*)`: sums over their
            tokens, as `sequence_log_probs` gives them, not averages.
        rejected_log_probs: Log-probabilities of the others, shape `(*)`.
        reference_chosen_log_probs: Those of the reference, shape `(*)`. They get no gradient.
        reference_rejected_log_probs: Those of the reference, shape `(*)`. They get no gradient.
        beta: Strength of the reference, positive. A number or a tensor of shape `()`, whose value
            is not checked. The default 0.1 is the paper's; for summaries it has 0.5.
        label_smoothing: e, in [0, 0.5), a number or a tensor of shape `()`.

    Returns:
        The loss of each pair, shape `(*)`, in the dtype of `chosen_log_probs`.

    Raises:
        ValueError: If an input is not floating, the shapes differ, `beta` is a number that is not
            positive, `label_smoothing` one outside [0, 0.5), or either a tensor of another shape.

    Reference:
        Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward
        Model", NeurIPS 2023, eq. 7. arXiv:2305.18290. Smoothing: Mitchell, "A Note on DPO with
        Noisy Preferences and Relationship to IPO", 2023, eq. 3.

    Examples:
        >>> import torch
        >>> chosen, rejected = torch.tensor([-10.0]), torch.tensor([-12.0])
        >>> dpo_loss(chosen, rejected, torch.tensor([-11.0]), torch.tensor([-11.5]))
        tensor([0.6210])
    """
    lead = _lead(
        chosen_log_probs,
        rejected_log_probs,
        reference_chosen_log_probs,
        reference_rejected_log_probs,
    )
    beta = _setting("beta", beta, "> 0", lambda x: x > 0, lead.dtype)
    label_smoothing = _setting(
        "label_smoothing", label_smoothing, "in [0, 0.5)", lambda x: 0 <= x < 0.5, lead.dtype
    )
    lag = -_scaled(beta, lead)
    losses = softplus(lag, threshold=40)  # -log sigmoid(-lag), which is lag from 40 on.
    if isinstance(label_smoothing, Tensor) or label_smoothing > 0:
        flipped = -lag.where(lag.isfinite() | (label_smoothing > 0), 0)  # 0 times inf is 0.
        losses = (1 - label_smoothing) * losses + label_smoothing * softplus(flipped, threshold=40)
    return losses.to(chosen_log_probs.dtype)


def ipo_loss(
    chosen_log_probs: Tensor,
    rejected_log_probs: Tensor,
    reference_chosen_log_probs: Tensor,
    reference_rejected_log_probs: Tensor,
    *,
    tau: float | Tensor = 0.1,
) -> Tensor:
    """Identity preference optimization, one value per pair, in squared nats.

    With the log-probabilities c and r of the chosen and the rejected answer, and c_ref and r_ref
    those of the reference:

        loss = (h - 1 / (2 tau))^2,    h = (c - c_ref) - (r - r_ref)

    The lead h has a target, 1 / (2 tau) nats, and past it costs again. There is no factor 1/2.
    An answer that policy and reference both rule out (-inf) has no log-ratio: the loss is nan.

    Args:
        chosen_log_probs: Log-probabilities of the preferred answers, shape `(*)`. The paper's are
            sums over their tokens, as `sequence_log_probs` gives them; TRL takes averages, whose
            target is then 1 / (2 tau) nats per token.
        rejected_log_probs: Log-probabilities of the others, shape `(*)`.
        reference_chosen_log_probs: Those of the reference, shape `(*)`. They get no gradient.
        reference_rejected_log_probs: Those of the reference, shape `(*)`. They get no gradient.
        tau: Strength of the reference, positive. A number or a tensor of shape `()`, whose value
            is not checked. The paper has no default; 0.1 is TRL's, where it is called beta.

    Returns:
        The loss of each pair, shape `(*)`, in the dtype of `chosen_log_probs`.

    Raises:
        ValueError: If an input is not floating, the shapes differ, or `tau` is a number that is
            not positive or a tensor of another shape.

    Reference:
        Azar et al., "A General Theoretical Paradigm to Understand Learning from Human
        Preferences", AISTATS 2024, eq. 17. arXiv:2310.12036

    Examples:
        >>> import torch
        >>> chosen, rejected = torch.tensor([-10.0]), torch.tensor([-12.0])
        >>> ipo_loss(chosen, rejected, torch.tensor([-11.0]), torch.tensor([-11.5]))
        tensor([12.2500])
    """
    lead = _lead(
        chosen_log_probs,
        rejected_log_probs,
        reference_chosen_log_probs,
        reference_rejected_log_probs,
    )
    tau = _setting("tau", tau, "> 0", lambda x: x > 0, lead.dtype)
    return (lead - 1 / (2 * tau)).square().to(chosen_log_probs.dtype)


def kto_loss(
    log_probs: Tensor,
    reference_log_probs: Tensor,
    is_desirable: Tensor,
    kl: Tensor,
    *,
    beta: float | Tensor = 0.1,
    desirable_weight: float | Tensor = 1.0,
    undesirable_weight: float | Tensor = 1.0,
) -> Tensor:
    """Kahneman-Tversky optimization, one value per answer, in (0, weight).

    With the log-ratio r of policy to reference, and z = max(kl, 0):

        loss = w_D sigmoid(-beta (r - z))    for a desirable answer
               w_U sigmoid(beta (r - z))     for an undesirable one

    At r = z it is half the weight. There is no logarithm: far off on either side, an answer costs
    a constant and pulls no more. One that policy and reference both rule out (-inf) has no
    log-ratio: the loss is nan.

    Args:
        log_probs: Log-probabilities of the answers, shape `(*)`: sums over their tokens, as
            `sequence_log_probs` gives them, not averages.
        reference_log_probs: Those of the reference, shape `(*)`. They get no gradient.
        is_desirable: True for a good answer, False for a bad one, bool, shape `(*)`.
        kl: Estimate of KL(policy || reference) in nats, shape `()`: the mean log-ratio of
            answers to other prompts than their own, over all devices. It gets no gradient.
        beta: Steepness, positive. A number or a tensor of shape `()`, whose value is not checked.
            The default 0.1 is TRL's.
        desirable_weight: w_D, at least 0, a number or a tensor of shape `()`.
        undesirable_weight: w_U, at least 0, a number or a tensor of shape `()`. A mean of the
            losses divides by the number of answers, not by the weights.

    Returns:
        The loss of each answer, shape `(*)`, in the dtype of `log_probs`.

    Raises:
        ValueError: If `log_probs`, `reference_log_probs` or `kl` is not floating, the shapes
            differ, `kl` is not of shape `()`, `is_desirable` is not bool, `beta` is a number that
            is not positive, a weight a negative one, or any of them a tensor of another shape.

    Reference:
        Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", ICML 2024,
        eq. 7. arXiv:2402.01306

    Examples:
        >>> import torch
        >>> log_probs, good = torch.tensor([-8.0, -8.0]), torch.tensor([True, False])
        >>> kto_loss(log_probs, torch.tensor([-10.0, -10.0]), good, torch.tensor(0.5))
        tensor([0.4626, 0.5374])
    """
    wide = _wide(log_probs=log_probs, reference_log_probs=reference_log_probs)
    beta = _setting("beta", beta, "> 0", lambda x: x > 0, wide)
    _setting("desirable_weight", desirable_weight, ">= 0", lambda x: x >= 0, wide)
    _setting("undesirable_weight", undesirable_weight, ">= 0", lambda x: x >= 0, wide)
    if is_desirable.dtype != torch.bool or is_desirable.shape != log_probs.shape:
        raise ValueError(
            f"expected is_desirable of dtype bool and shape {tuple(log_probs.shape)}, "
            f"got {is_desirable.dtype} {tuple(is_desirable.shape)}"
        )
    if kl.dim() or not kl.is_floating_point():
        raise ValueError(f"expected floating kl of shape (), got {kl.dtype} {tuple(kl.shape)}")

    ratios = log_probs.to(wide) - reference_log_probs.detach().to(wide)
    surplus = _scaled(beta, ratios - kl.detach().to(wide).clamp_min(0))
    good = is_desirable.to(wide)
    weights = desirable_weight * good + undesirable_weight * (1 - good)
    return (weights * ((1 - 2 * good) * surplus).sigmoid()).to(log_probs.dtype)


def _lead(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor
) -> Tensor:
    """The difference of the two log-ratios, in float32 or wider."""
    wide = _wide(
        chosen_log_probs=chosen,
        rejected_log_probs=rejected,
        reference_chosen_log_probs=reference_chosen,
        reference_rejected_log_probs=reference_rejected,
    )
    ratio = chosen.to(wide) - reference_chosen.detach().to(wide)
    return ratio - (rejected.to(wide) - reference_rejected.detach().to(wide))


def _scaled(beta: float | Tensor, lead: Tensor) -> Tensor:
    """Multiply; an infinite lead, at which the loss has its limit, gives beta no slope."""
    if not isinstance(beta, Tensor):
        return beta * lead
    infinite = lead.isinf()
    return torch.where(infinite, beta.detach() * lead, beta * lead.where(~infinite, 0))


def _wide(**log_probs: Tensor) -> torch.dtype:
    """Check that all are floating and of one shape; the dtype to compute in."""
    first = next(iter(log_probs.values()))
    for name, x in log_probs.items():
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
        if x.shape != first.shape:
            raise ValueError(f"expected {name} of shape {tuple(first.shape)}, got {tuple(x.shape)}")
    return torch.promote_types(first.dtype, torch.float32)


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
