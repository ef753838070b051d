"""PPO: a clipped policy gradient, a clipped value loss, and the entropy bonus.

Chapter: https://lossbook.example/policy/ppo/
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["clipped_value_loss", "negative_entropy", "ppo_clip_loss"]


def ppo_clip_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    *,
    epsilon: float | Tensor = 0.2,
    epsilon_high: float | Tensor | None = None,
    dual_clip: float | Tensor | None = None,
) -> Tensor:
    """Clipped surrogate loss of PPO, one value per action or token.

    With the ratio r of the probabilities of an action under the policy and under the old one, which
    drew it, and its advantage A:

        loss = -min(r A, clip(r, 1 - epsilon, 1 + epsilon_high) A),    r = exp(log_probs - old)

    So r is cut from above where A > 0 and from below where A < 0; a cut action has no gradient. At
    r = 1 the gradient is that of -A log_probs. The value is no measure of progress.

    GRPO, DAPO and Dr. GRPO are this loss with other weights, in `Criterion`:
    `weights=mask / mask.sum(1, keepdim=True)`, `weights=mask`, and
    `weights=mask, normalizer=N * max_length`.

    Args:
        log_probs: Log-probabilities of the actions taken, shape `(*)`.
        old_log_probs: Those of the policy that took them, shape `(*)`. They get no gradient.
        advantages: How much better each action was than expected, shape `(*)`. They get no
            gradient.
        epsilon: How far r counts below 1, positive. A number or a tensor of shape `()`, whose value
            is not checked. The default 0.2 is the paper's.
        epsilon_high: How far r counts above 1, positive, a number or a tensor of shape `()`; None
            is epsilon. DAPO has 0.28.
        dual_clip: The largest r that counts where A < 0, above 1, a number or a tensor of shape
            `()`; None, as in the paper, for no cap. Ye et al. have 3.

    Returns:
        The loss of each action, shape `(*)`, in the dtype of `log_probs`.

    Raises:
        ValueError: If `log_probs` or `old_log_probs` is not floating, the shapes differ, `epsilon`
            or `epsilon_high` is a number that is not positive, `dual_clip` one not above 1, or any
            of them a tensor of another shape.

    Reference:
        Schulman et al., "Proximal Policy Optimization Algorithms", 2017, eq. 7. arXiv:1707.06347.
        Two epsilons: Yu et al., "DAPO: An Open-Source LLM Reinforcement Learning System at Scale",
        2025. arXiv:2503.14476. Dual clip: Ye et al., "Mastering Complex Control in MOBA Games with
        Deep Reinforcement Learning", AAAI 2020. arXiv:1912.09729

    Examples:
        >>> import torch
        >>> log_probs, advantages = torch.tensor([1.5, 0.5]).log(), torch.tensor([2.0, 2.0])
        >>> ppo_clip_loss(log_probs, torch.zeros(2), advantages)
        tensor([-2.4000, -1.0000])
    """
    for name, x in (("log_probs", log_probs), ("old_log_probs", old_log_probs)):
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
    _same(log_probs, old_log_probs=old_log_probs, advantages=advantages)
    wide = torch.promote_types(log_probs.dtype, torch.float32)
    epsilon = _setting("epsilon", epsilon, "> 0", lambda x: x > 0, wide)
    if epsilon_high is None:
        epsilon_high = epsilon
    epsilon_high = _setting("epsilon_high", epsilon_high, "> 0", lambda x: x > 0, wide)

    gain = advantages.detach().to(wide)
    # The logarithm is cut, so that r is finite, and its slope 0, however far off a cut action is.
    log_ratio = log_probs.to(wide) - old_log_probs.detach().to(wide)
    high, low = log_ratio.clamp_max(_log(1 + epsilon_high)), log_ratio.clamp_min(_log(1 - epsilon))
    if dual_clip is not None:
        dual_clip = _setting("dual_clip", dual_clip, "> 1", lambda x: x > 1, wide)
        low = low.clamp_max(_log(dual_clip))
    return (-gain * torch.where(gain >= 0, high, low).exp()).to(log_probs.dtype)


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, *, epsilon: float | Tensor = 0.2
) -> Tensor:
    """Clipped loss of PPO's critic, one value per state.

    With the value V, its old value V_old and the return R:

        loss = 1/2 max((V - R)^2, (clip(V, V_old - epsilon, V_old + epsilon) - R)^2)

    A value that has moved by more than epsilon towards its return gets no gradient, unless it has
    overshot so far that the first square is the larger.

    Args:
        values: Predicted returns, shape `(*)`.
        old_values: Predictions before the update, shape `(*)`. They get no gradient.
        returns: Returns that were seen, shape `(*)`. They get no gradient.
        epsilon: How far a value may move, in the unit of the returns, positive. A number or a
            tensor of shape `()`, whose value is not checked. The default 0.2 is that of OpenAI's
            baselines, whose loss this is; the paper on PPO has none.

    Returns:
        The loss of each state, shape `(*)`, in the dtype of `values`.

    Raises:
        ValueError: If `values` or `old_values` is not floating, the shapes differ, or `epsilon` is
            a number that is not positive or a tensor of another shape.

    Reference:
        Engstrom et al., "Implementation Matters in Deep Policy Gradients: A Case Study on PPO and
        TRPO", ICLR 2020. arXiv:2005.12729

    Examples:
        >>> import torch
        >>> values, returns = torch.tensor([1.0, 1.0]), torch.tensor([1.0, -1.0])
        >>> clipped_value_loss(values, torch.zeros(2), returns)
        tensor([0.3200, 2.0000])
    """
    for name, x in (("values", values), ("old_values", old_values)):
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
    _same(values, old_values=old_values, returns=returns)
    wide = torch.promote_types(values.dtype, torch.float32)
    epsilon = _setting("epsilon", epsilon, "> 0", lambda x: x > 0, wide)

    new, old, truth = (x.to(wide) for x in (values, old_values.detach(), returns.detach()))
    error, cut = new - truth, new.clamp(old - epsilon, old + epsilon) - truth
    return (torch.where(error.abs() >= cut.abs(), error, cut).square() / 2).to(values.dtype)


def negative_entropy(logits: Tensor) -> Tensor:
    """Negative entropy of a softmax, one value per distribution, in nats.

    With p = softmax(logits) over the last dimension:

        loss = sum_j p_j log p_j

    Added to a loss, it is the entropy bonus of a policy, or a penalty on confidence. It is least,
    -log V, where all V logits are equal. A logit of -inf, a forbidden action, counts 0.

    Args:
        logits: Unnormalized scores, shape `(*, V)`, with the actions last. No softmax before.

    Returns:
        The negative entropy of each distribution, shape `(*)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating or has no dimension.

    Reference:
        Williams and Peng, "Function Optimization Using Connectionist Reinforcement Learning
        Algorithms", Connection Science 3, 1991. Mnih et al., "Asynchronous Methods for Deep
        Reinforcement Learning", ICML 2016. arXiv:1602.01783

    Examples:
        >>> import torch
        >>> negative_entropy(torch.tensor([[0.0, 0.0, -torch.inf], [9.0, 0.0, 0.0]]))
        tensor([-0.6931, -0.0025])
    """
    if logits.dim() < 1 or not logits.is_floating_point():
        raise ValueError(
            f"expected floating logits of shape (*, V), got {logits.dtype} {tuple(logits.shape)}"
        )

    wide = torch.promote_types(logits.dtype, torch.float32)
    # As gaps to the likeliest, whose own log p has no digits where it is nearly certain.
    x = logits.to(wide)
    best = x.argmax(-1, keepdim=True)
    gaps = (x.gather(-1, best) - x).scatter(-1, best, math.inf)
    others = gaps.neg().exp()
    share = others.sum(-1)
    surprise = (others * gaps.clamp_max(torch.finfo(wide).max)).sum(-1)  # 0 log 0 = 0.
    losses = 0 - surprise / (1 + share) - share.log1p()
    return losses.to(logits.dtype)


def _log(x: float | Tensor) -> float | Tensor:
    if isinstance(x, Tensor):  # At 0 its slope would be that of infinity.
        return x.where(x > 0, 1).log().where(x > 0, -math.inf)
    return math.log(x) if x > 0 else -math.inf


def _same(first: Tensor, **others: Tensor) -> None:
    for name, x in others.items():
        if x.shape != first.shape:
            raise ValueError(f"expected {name} of shape {tuple(first.shape)}, got {tuple(x.shape)}")


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
