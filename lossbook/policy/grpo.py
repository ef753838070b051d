"""GRPO and its kin: advantages within a group, a KL penalty, clipped sequences, capped weights.

Chapter: https://lossbook.example/policy/grpo/
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import hardshrink, threshold

__all__ = [
    "cispo_loss",
    "group_advantages",
    "gspo_loss",
    "kl_penalty",
    "leave_one_out_advantages",
]


def group_advantages(rewards: Tensor, *, scale_rewards: bool = True) -> Tensor:
    """Advantages of GRPO: the rewards of a group's answers, standardized.

    Helper of `gspo_loss`.

    With the mean and the deviation of the G rewards that answers to one prompt got:

        advantage = (reward - mean) / deviation

    The deviation is the unbiased one, with G - 1, as in TRL. Equal rewards give exactly 0, and a
    common factor of the rewards makes no difference; no epsilon is added.

    Args:
        rewards: Rewards of the answers, shape `(*, G)`, each row one prompt's, G at least 2.
        scale_rewards: Whether to divide by the deviation. Dr. GRPO does not.

    Returns:
        The advantage of each answer, shape `(*, G)`, in the dtype of `rewards`.

    Raises:
        ValueError: If `rewards` is not floating or a group has fewer than two.

    Reference:
        Shao et al., "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language
        Models", 2024, section 4.1. arXiv:2402.03300. Unscaled: Liu et al., "Understanding
        R1-Zero-Like Training: A Critical Perspective", 2025. arXiv:2503.20783

    Examples:
        >>> import torch
        >>> group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.1, 0.1]]))
        tensor([[ 1.5000, -0.5000, -0.5000, -0.5000],
                [ 0.0000,  0.0000,  0.0000,  0.0000]])
    """
    centered = _centered(rewards)
    if scale_rewards:
        # By the largest first, so that no square overflows or vanishes.
        largest = centered.detach().abs().amax(-1, keepdim=True)
        centered = centered / largest.where(largest > 0, 1)
        variance = centered.square().sum(-1, keepdim=True) / (rewards.shape[-1] - 1)
        centered = centered / variance.where(largest > 0, 1).sqrt()
    return centered.to(rewards.dtype)


def leave_one_out_advantages(rewards: Tensor) -> Tensor:
    """Advantages of RLOO: each reward less the mean of the group's other rewards.

    Helper of `gspo_loss`.

    With the G rewards r that answers to one prompt got:

        advantage_i = r_i - sum_(j != i) r_j / (G - 1)

    The baseline does not depend on the answer, so the gradient stays unbiased. It is G / (G - 1)
    times the reward less the mean of all.

    Args:
        rewards: Rewards of the answers, shape `(*, G)`, each row one prompt's, G at least 2.

    Returns:
        The advantage of each answer, shape `(*, G)`, in the dtype of `rewards`.

    Raises:
        ValueError: If `rewards` is not floating or a group has fewer than two.

    Reference:
        Ahmadian et al., "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from
        Human Feedback in LLMs", ACL 2024. arXiv:2402.14740

    Examples:
        >>> import torch
        >>> leave_one_out_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        tensor([ 1.0000, -0.3333, -0.3333, -0.3333])
    """
    group = rewards.shape[-1] if rewards.dim() else 0
    return (_centered(rewards) * (group / (group - 1))).to(rewards.dtype)


class _Excess(torch.autograd.Function):
    """e^d - 1 - d, whose slope e^d - 1 is one pass over memory."""

    generate_vmap_rule = True

    @staticmethod
    def forward(d: Tensor) -> Tensor:
        far = hardshrink(d, 0.1)
        # Next to 0 by its series, x^2/2 (1 + x/3 (1 + x/4 (...))): the difference has no digits.
        x, one = (d - far).nan_to_num_(0), d.new_ones(())
        series = one
        for k in range(10, 2, -1):
            series = torch.addcmul(one, x, series, value=1 / k)
        near = series.mul_(x).mul_(x).div_(2)
        return far.expm1().sub_(far.clamp_max_(torch.finfo(d.dtype).max)) + near

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], _: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (d,) = ctx.saved_tensors
        return torch.mul(gradient, d.expm1())


class _WithForwardMode(_Excess):
    """Apart, since torch.compile takes no function that has a jvp."""

    @staticmethod
    def jvp(ctx: Any, change: Tensor) -> Tensor:
        (d,) = ctx.saved_tensors
        return torch.mul(change, d.expm1())


def kl_penalty(log_probs: Tensor, reference_log_probs: Tensor, *, kind: str = "k3") -> Tensor:
    """Penalty for leaving a reference, one value per action or token, in nats.

    With d = log reference - log policy of an action that the policy drew:

        k3 = e^d - 1 - d,    k2 = d^2 / 2

    Both are at least 0, and 0 where the two agree. Averaged over what the policy draws, k3 is
    KL(policy || reference) and k2 nearly so where the two are close. As losses, k2 has the gradient
    of that divergence on average, and k3 that of KL(reference || policy). k1 = -d, whose average is
    right as well, has an average gradient of 0, and is refused.

    Args:
        log_probs: Log-probabilities of the actions taken, shape `(*)`.
        reference_log_probs: Those of the reference, shape `(*)`. They get no gradient.
        kind: `"k3"`, as in GRPO, or `"k2"`.

    Returns:
        The penalty of each action, shape `(*)`, in the dtype of `log_probs`; inf where e^d is. No
        coefficient: the paper's is 0.04.

    Raises:
        ValueError: If an input is not floating, the shapes differ or `kind` is neither.

    Reference:
        Schulman, "Approximating KL Divergence", 2020. Shao et al., "DeepSeekMath: Pushing the
        Limits of Mathematical Reasoning in Open Language Models", 2024, eq. 4. arXiv:2402.03300

    Examples:
        >>> import torch
        >>> kl_penalty(torch.tensor([-1.0, -1.0]), torch.tensor([-1.5, -1.0]))
        tensor([0.1065, 0.0000])
    """
    wide = _check(log_probs, reference_log_probs=reference_log_probs)
    if kind not in ("k2", "k3"):
        raise ValueError(f"expected kind 'k2' or 'k3', got {kind!r}")

    d = reference_log_probs.detach().to(wide) - log_probs.to(wide)
    if kind == "k2":
        return (d.square() / 2).to(log_probs.dtype)
    excess = _Excess if torch.compiler.is_compiling() else _WithForwardMode
    penalties: Tensor = excess.apply(d)  # type: ignore[no-untyped-call]
    return penalties.to(log_probs.dtype)


def gspo_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    epsilon: float | Tensor = 3e-4,
    epsilon_high: float | Tensor = 4e-4,
) -> Tensor:
    """Group sequence policy optimization, one value per answer.

    With the advantage A of an answer, and the geometric mean s of the ratios of its tokens that
    the mask keeps:

        loss = -min(s A, clip(s, 1 - epsilon, 1 + epsilon_high) A)
        s = exp(mean_t (log_probs_t - old_t))

    The mean keeps s near 1 whatever the length, hence the small epsilons. What the mask hides
    reaches neither value nor gradient; an answer with no token has s = 1.

    Args:
        log_probs: Log-probabilities of the tokens drawn, shape `(N, T)`.
        old_log_probs: Those of the policy that drew them, shape `(N, T)`. They get no gradient.
        advantages: How much better each answer was than expected, shape `(N,)`, as
            `group_advantages` gives them. They get no gradient.
        mask: True where a token counts, bool, shape `(N, T)`.
        epsilon: How far s counts below 1, positive. A number or a tensor of shape `()`, whose value
            is not checked. The default 3e-4 is the paper's.
        epsilon_high: How far s counts above 1, positive, a number or a tensor of shape `()`. The
            default 4e-4 is the paper's.

    Returns:
        The loss of each answer, shape `(N,)`, in the dtype of `log_probs`.

    Raises:
        ValueError: If `log_probs` or `old_log_probs` is not floating, `log_probs` is not of two
            dimensions, a shape differs, `mask` is not bool, or `epsilon` or `epsilon_high` is a
            number that is not positive or a tensor of another shape.

    Reference:
        Zheng et al., "Group Sequence Policy Optimization", 2025, eqs. 5 to 7. arXiv:2507.18071

    Examples:
        >>> import torch
        >>> log_probs, old = torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.2, -2.1]])
        >>> gspo_loss(log_probs, old, torch.tensor([1.0]), torch.tensor([[True, True]]))
        tensor([-1.0004])
    """
    if log_probs.dim() != 2:
        raise ValueError(f"expected log_probs of shape (N, T), got {tuple(log_probs.shape)}")
    wide = _check(log_probs, old_log_probs=old_log_probs)
    if mask.dtype != torch.bool or mask.shape != log_probs.shape:
        raise ValueError(
            f"expected mask of dtype bool and shape {tuple(log_probs.shape)}, "
            f"got {mask.dtype} {tuple(mask.shape)}"
        )
    if advantages.shape != log_probs.shape[:1]:
        raise ValueError(
            f"expected advantages of shape {tuple(log_probs.shape[:1])}, "
            f"got {tuple(advantages.shape)}"
        )
    epsilon = _positive("epsilon", epsilon, wide)
    epsilon_high = _positive("epsilon_high", epsilon_high, wide)

    gain = advantages.detach().to(wide)
    log_ratios = (log_probs.to(wide) - old_log_probs.detach().to(wide)).where(mask, 0)
    log_ratio = log_ratios.sum(1) / mask.sum(1).clamp_min(1)
    # The logarithm is cut, so that s is finite, and its slope 0, however far off a cut answer is.
    high, low = log_ratio.clamp_max(_log(1 + epsilon_high)), log_ratio.clamp_min(_log(1 - epsilon))
    return (-gain * torch.where(gain >= 0, high, low).exp()).to(log_probs.dtype)


def cispo_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    *,
    max_ratio: float | Tensor = 5.0,
) -> Tensor:
    """CISPO, a policy gradient with capped importance weights, one value per token.

    With the advantage A of a token, and the ratio r of its probabilities under the policy and under
    the old one, which drew it:

        loss = -w A log_probs,    w = min(r, max_ratio), a constant,    r = exp(log_probs - old)

    The weight is capped, the gradient never cut off. The value is no measure of progress. A token
    that the policy rules out costs 0, the limit; one that the old policy rules out, too, has no
    ratio, and gives nan.

    Args:
        log_probs: Log-probabilities of the tokens drawn, shape `(*)`.
        old_log_probs: Those of the policy that drew them, shape `(*)`. They get no gradient.
        advantages: How much better each token was than expected, shape `(*)`. They get no gradient.
        max_ratio: The cap itself, positive, which is 1 + epsilon_high of the paper. A number or a
            tensor of shape `()`, whose value is not checked. The paper gives no number; the default
            5.0 is that of Khatri et al., "The Art of Scaling Reinforcement Learning Compute for
            LLMs", 2025.

    Returns:
        The loss of each token, shape `(*)`, in the dtype of `log_probs`.

    Raises:
        ValueError: If `log_probs` or `old_log_probs` is not floating, the shapes differ, or
            `max_ratio` is a number that is not positive or a tensor of another shape.

    Reference:
        MiniMax, "MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention",
        2025. arXiv:2506.13585

    Examples:
        >>> import torch
        >>> cispo_loss(torch.tensor([-1.0]), torch.tensor([-3.0]), torch.tensor([2.0]))
        tensor([10.])
    """
    wide = _check(log_probs, old_log_probs=old_log_probs)
    if advantages.shape != log_probs.shape:
        raise ValueError(
            f"expected advantages of shape {tuple(log_probs.shape)}, got {tuple(advantages.shape)}"
        )
    max_ratio = _positive("max_ratio", max_ratio, wide)

    x = log_probs.to(wide)
    log_ratio = x.detach() - old_log_probs.detach().to(wide)
    weights = log_ratio.clamp_max(_log(max_ratio)).exp() * advantages.detach().to(wide)
    low = torch.finfo(wide).min
    return (-weights * threshold(x, low, low)).to(log_probs.dtype)  # 0 log 0 = 0.


def _centered(rewards: Tensor) -> Tensor:
    """Rewards less the mean of their group, in float32 or wider; exactly 0 where all are equal."""
    if not rewards.is_floating_point():
        raise ValueError(f"expected floating rewards, got {rewards.dtype}")
    if rewards.dim() < 1 or rewards.shape[-1] < 2:
        raise ValueError(f"expected rewards of shape (*, G), G >= 2, got {tuple(rewards.shape)}")
    wide = rewards.to(torch.promote_types(rewards.dtype, torch.float32))
    centered = wide - wide[..., :1]
    return centered - centered.mean(-1, keepdim=True)


def _check(log_probs: Tensor, **others: Tensor) -> torch.dtype:
    """Check that all are floating and of one shape; the dtype to compute in."""
    for name, x in {"log_probs": log_probs, **others}.items():
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
        if x.shape != log_probs.shape:
            shape = tuple(log_probs.shape)
            raise ValueError(f"expected {name} of shape {shape}, got {tuple(x.shape)}")
    return torch.promote_types(log_probs.dtype, torch.float32)


def _positive(name: str, value: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    """Check a number; of a tensor its shape, since its value is never read; give it in `dtype`."""
    if isinstance(value, Tensor):
        if value.dim():
            raise ValueError(f"expected {name} of shape (), got {tuple(value.shape)}")
        return value.to(dtype)
    if not value > 0:
        raise ValueError(f"expected {name} > 0, got {value}")
    return float(value)


def _log(x: float | Tensor) -> float | Tensor:
    if isinstance(x, Tensor):  # At 0 its slope would be that of infinity.
        return x.where(x > 0, 1).log().where(x > 0, -math.inf)
    return math.log(x) if x > 0 else -math.inf
