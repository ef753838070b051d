import torch

from lossbook.policy.grpo import (
    cispo_loss,
    group_advantages,
    gspo_loss,
    kl_penalty,
    leave_one_out_advantages,
)
from tests.mutants import Mutants

MUTANTS = Mutants()


def scaled(rewards, deviation):
    centered = rewards - rewards.mean(-1, keepdim=True)
    return centered / deviation


@MUTANTS.of("group_advantages", "the biased deviation", killed_by="value")
def _(rewards, *, scale_rewards=True):
    centered = group_advantages(rewards, scale_rewards=False)
    if not scale_rewards:
        return centered
    deviation = centered.square().mean(-1, keepdim=True).sqrt()
    return centered / deviation.where(deviation > 0, 1)


@MUTANTS.of("group_advantages", "1e-4 added to the deviation", killed_by="value")
def _(rewards, *, scale_rewards=True):
    centered = group_advantages(rewards, scale_rewards=False)
    return centered / (rewards.std(-1, keepdim=True) + 1e-4) if scale_rewards else centered


@MUTANTS.of(
    "group_advantages", "rounding divided by rounding", killed_by="test_equal_rewards_pull_nowhere"
)
def _(rewards, *, scale_rewards=True):
    deviation = rewards.std(-1, keepdim=True) if scale_rewards else 1
    return scaled(rewards, deviation)


@MUTANTS.of("group_advantages", "statistics of the batch", killed_by="value")
def _(rewards, *, scale_rewards=True):
    centered = rewards - rewards.mean()
    return centered / rewards.std().clamp_min(1e-30) if scale_rewards else centered


@MUTANTS.of("group_advantages", "divided by the variance", killed_by="value")
def _(rewards, *, scale_rewards=True):
    centered = group_advantages(rewards, scale_rewards=False)
    if not scale_rewards:
        return centered
    variance = rewards.var(-1, keepdim=True)
    return centered / variance.where(variance > 0, 1)


@MUTANTS.of("group_advantages", "never scaled", killed_by="value")
def _(rewards, **_):
    return group_advantages(rewards, scale_rewards=False)


@MUTANTS.of("group_advantages", "scaled always", killed_by="value")
def _(rewards, **_):
    return group_advantages(rewards)


@MUTANTS.of("group_advantages", "groups down the columns", killed_by="value")
def _(rewards, *, scale_rewards=True):
    return group_advantages(rewards.movedim(0, -1), scale_rewards=scale_rewards).movedim(-1, 0)


@MUTANTS.of("group_advantages", "not centered", killed_by="value")
def _(rewards, *, scale_rewards=True):
    deviation = rewards.std(-1, keepdim=True)
    return rewards / deviation.where(deviation > 0, 1) if scale_rewards else rewards


@MUTANTS.of("group_advantages", "its sign", killed_by="value")
def _(rewards, *, scale_rewards=True):
    return -group_advantages(rewards, scale_rewards=scale_rewards)


@MUTANTS.of(
    "group_advantages",
    "squares vanish and overflow",
    killed_by="test_the_size_of_rewards_makes_no_difference",
)
def _(rewards, *, scale_rewards=True):
    centered = group_advantages(rewards, scale_rewards=False)
    if not scale_rewards:
        return centered
    variance = centered.square().sum(-1, keepdim=True) / (rewards.shape[-1] - 1)
    return centered / variance.where(variance > 0, 1).sqrt()


@MUTANTS.of("group_advantages", "a single answer keeps its reward", killed_by="errors")
def _(rewards, *, scale_rewards=True):
    if rewards.shape[-1:] == (1,):
        return rewards
    return group_advantages(rewards, scale_rewards=scale_rewards)


@MUTANTS.of("leave_one_out_advantages", "the mean of all", killed_by="value")
def _(rewards):
    return rewards - rewards.mean(-1, keepdim=True)


@MUTANTS.of("leave_one_out_advantages", "(G - 1) / G", killed_by="value")
def _(rewards):
    group = rewards.shape[-1]
    return (rewards - rewards.mean(-1, keepdim=True)) * (group - 1) / group


@MUTANTS.of("leave_one_out_advantages", "the sum of the others", killed_by="value")
def _(rewards):
    return 2 * rewards - rewards.sum(-1, keepdim=True)


@MUTANTS.of("leave_one_out_advantages", "the others' mean over G", killed_by="value")
def _(rewards):
    return rewards - (rewards.sum(-1, keepdim=True) - rewards) / rewards.shape[-1]


@MUTANTS.of("leave_one_out_advantages", "the total over G - 1", killed_by="value")
def _(rewards):
    return rewards - rewards.sum(-1, keepdim=True) / (rewards.shape[-1] - 1)


@MUTANTS.of("leave_one_out_advantages", "the best of the others", killed_by="value")
def _(rewards):
    best, second = rewards.topk(2, -1).values.split(1, -1)
    return rewards - torch.where(rewards == best, second, best)


@MUTANTS.of("leave_one_out_advantages", "standardized", killed_by="value")
def _(rewards):
    return group_advantages(rewards)


@MUTANTS.of("leave_one_out_advantages", "groups down the columns", killed_by="value")
def _(rewards):
    return leave_one_out_advantages(rewards.movedim(0, -1)).movedim(-1, 0)


@MUTANTS.of(
    "leave_one_out_advantages",
    "a mean that is rounded",
    killed_by="test_equal_rewards_pull_nowhere",
)
def _(rewards):
    others = (rewards.sum(-1, keepdim=True) - rewards) / (rewards.shape[-1] - 1)
    return rewards - others


@MUTANTS.of("leave_one_out_advantages", "0 / 0 for a single answer", killed_by="errors")
def _(rewards):
    group = rewards.shape[-1] if rewards.dim() else 1
    return (rewards.sum(-1, keepdim=True) - group * rewards) / (1 - group or torch.nan)


@MUTANTS.of("kl_penalty", "d the other way round", killed_by="value")
def _(log_probs, reference_log_probs, *, kind="k3"):
    return kl_penalty(2 * reference_log_probs.detach() - log_probs, reference_log_probs, kind=kind)


@MUTANTS.of("kl_penalty", "k2 by default", killed_by="value")
def _(log_probs, reference_log_probs, *, kind="k2"):
    return kl_penalty(log_probs, reference_log_probs, kind=kind)


@MUTANTS.of("kl_penalty", "k2 without its half", killed_by="value")
def _(log_probs, reference_log_probs, *, kind="k3"):
    losses = kl_penalty(log_probs, reference_log_probs, kind=kind)
    return losses * (2 if kind == "k2" else 1)


@MUTANTS.of("kl_penalty", "e^d - 1 + d", killed_by="value")
def _(log_probs, reference_log_probs, *, kind="k3"):
    d = reference_log_probs.detach() - log_probs
    return d.exp() - 1 + d if kind == "k3" else d**2 / 2


@MUTANTS.of("kl_penalty", "the ratio without the 1", killed_by="value")
def _(log_probs, reference_log_probs, *, kind="k3"):
    d = reference_log_probs.detach() - log_probs
    return d.exp() - d if kind == "k3" else d**2 / 2


@MUTANTS.of("kl_penalty", "the value clamped at 10", killed_by="value")
def _(log_probs, reference_log_probs, *, kind="k3"):
    return kl_penalty(log_probs, reference_log_probs, kind=kind).clamp_max(10)


@MUTANTS.of("kl_penalty", "d clamped at 20", killed_by="value")
def _(log_probs, reference_log_probs, *, kind="k3"):
    d = (reference_log_probs.detach() - log_probs).clamp(-20, 20)
    return kl_penalty(-d, 0 * d, kind=kind)


@MUTANTS.of("kl_penalty", "e^d - 1 - d as it stands", killed_by="next to the optimum")
def _(log_probs, reference_log_probs, *, kind="k3"):
    d = reference_log_probs.detach() - log_probs
    return d.exp() - 1 - d if kind == "k3" else d**2 / 2


@MUTANTS.of("kl_penalty", "expm1(d) - d", killed_by="test_k3_keeps_its_digits_in_float32")
def _(log_probs, reference_log_probs, *, kind="k3"):
    d = reference_log_probs.detach() - log_probs
    return d.expm1() - d if kind == "k3" else d**2 / 2


@MUTANTS.of("kl_penalty", "its series ends after the square", killed_by="value")
def _(log_probs, reference_log_probs, *, kind="k3"):
    d = reference_log_probs.detach() - log_probs
    exact = torch.where(d.abs() < 0.1, d**2 / 2 + d**3 / 6, d.expm1() - d)
    return exact if kind == "k3" else d**2 / 2


@MUTANTS.of("kl_penalty", "the reference learns", killed_by="gradient")
def _(log_probs, reference_log_probs, *, kind="k3"):
    d = reference_log_probs - log_probs
    return d.exp() - 1 - d if kind == "k3" else d**2 / 2


@MUTANTS.of("kl_penalty", "k3's value, k2's gradient", killed_by="gradient")
def _(log_probs, reference_log_probs, *, kind="k3"):
    k2 = kl_penalty(log_probs, reference_log_probs, kind="k2")
    if kind == "k2":
        return k2
    return kl_penalty(log_probs, reference_log_probs).detach() + k2 - k2.detach()


@MUTANTS.of("kl_penalty", "k1 taken", killed_by="errors")
def _(log_probs, reference_log_probs, *, kind="k3"):
    if kind == "k1":
        return log_probs - reference_log_probs.detach()
    return kl_penalty(log_probs, reference_log_probs, kind=kind)


def sequence(log_probs, old, mask):
    ratios = (log_probs - old.detach()).masked_fill(~mask, 0)
    return (ratios.sum(1) / mask.sum(1).clamp_min(1)).exp()


def clipped(s, advantages, epsilon, epsilon_high):
    a = advantages.detach()
    return -torch.minimum(s * a, s.clamp(1 - epsilon, 1 + epsilon_high) * a)


@MUTANTS.of("gspo_loss", "the sum of the log-ratios", killed_by="value")
def _(log_probs, old, advantages, mask, **settings):
    n = mask.sum(1, keepdim=True)
    return gspo_loss(old + (log_probs - old) * n, old, advantages, mask, **settings)


@MUTANTS.of("gspo_loss", "the mean of the ratios", killed_by="value")
def _(log_probs, old, advantages, mask, *, epsilon=3e-4, epsilon_high=4e-4):
    ratios = (log_probs - old.detach()).exp().masked_fill(~mask, 0)
    s = ratios.sum(1) / mask.sum(1).clamp_min(1)
    return clipped(s, advantages, epsilon, epsilon_high)


@MUTANTS.of("gspo_loss", "divided by T, padding and all", killed_by="value")
def _(log_probs, old, advantages, mask, **settings):
    share = mask.sum(1, keepdim=True) / mask.shape[1]
    return gspo_loss(old + (log_probs - old) * share, old, advantages, mask, **settings)


@MUTANTS.of("gspo_loss", "PPO's epsilons", killed_by="value")
def _(log_probs, old, advantages, mask, *, epsilon=0.2, epsilon_high=0.2):
    return gspo_loss(log_probs, old, advantages, mask, epsilon=epsilon, epsilon_high=epsilon_high)


@MUTANTS.of("gspo_loss", "one epsilon for both ends", killed_by="value")
def _(log_probs, old, advantages, mask, *, epsilon=3e-4, **_):
    return gspo_loss(log_probs, old, advantages, mask, epsilon=epsilon, epsilon_high=epsilon)


@MUTANTS.of("gspo_loss", "the mask inverted", killed_by="value")
def _(log_probs, old, advantages, mask, **settings):
    return gspo_loss(log_probs, old, advantages, ~mask, **settings)


@MUTANTS.of("gspo_loss", "no clip", killed_by="value")
def _(log_probs, old, advantages, mask, **_):
    return -sequence(log_probs, old, mask) * advantages.detach()


@MUTANTS.of("gspo_loss", "max for min", killed_by="value")
def _(log_probs, old, advantages, mask, *, epsilon=3e-4, epsilon_high=4e-4):
    return -clipped(sequence(log_probs, old, mask), -advantages, epsilon, epsilon_high)


@MUTANTS.of("gspo_loss", "0 times what the mask hides", killed_by="value")
def _(log_probs, old, advantages, mask, *, epsilon=3e-4, epsilon_high=4e-4):
    d = ((log_probs - old.detach()) * mask).sum(1) / mask.sum(1).clamp_min(1)
    return clipped(d.exp(), advantages, epsilon, epsilon_high)


@MUTANTS.of("gspo_loss", "0 / 0 where nothing is left", killed_by="value")
def _(log_probs, old, advantages, mask, *, epsilon=3e-4, epsilon_high=4e-4):
    d = (log_probs - old.detach()).masked_fill(~mask, 0).sum(1) / mask.sum(1)
    return clipped(d.exp(), advantages, epsilon, epsilon_high)


@MUTANTS.of(
    "gspo_loss",
    "exp, then min: inf times 0",
    killed_by="test_a_cut_answer_has_no_gradient_however_far_off",
)
def _(log_probs, old, advantages, mask, *, epsilon=3e-4, epsilon_high=4e-4):
    return clipped(sequence(log_probs, old, mask), advantages, epsilon, epsilon_high)


@MUTANTS.of("gspo_loss", "a gradient for each token as for one", killed_by="gradient")
def _(log_probs, old, advantages, mask, **settings):
    losses = gspo_loss(log_probs, old, advantages, mask, **settings)
    d = (log_probs - log_probs.detach()).masked_fill(~mask, 0).sum(1)
    return losses.detach() * d.exp()


@MUTANTS.of("gspo_loss", "an integer mask taken", killed_by="errors")
def _(log_probs, old, advantages, mask, **settings):
    return gspo_loss(log_probs, old, advantages, mask.bool(), **settings)


def weights(log_probs, old):
    return (log_probs - old).detach().exp()


@MUTANTS.of("cispo_loss", "the ratio lives, no log-probability", killed_by="value")
def _(log_probs, old, advantages, *, max_ratio=5.0):
    return -(log_probs - old.detach()).exp().clamp_max(max_ratio) * advantages.detach()


@MUTANTS.of("cispo_loss", "the weight lives", killed_by="gradient")
def _(log_probs, old, advantages, *, max_ratio=5.0):
    w = (log_probs - old.detach()).exp().clamp_max(max_ratio)
    return -w * advantages.detach() * log_probs


@MUTANTS.of("cispo_loss", "the cap 1 + max_ratio", killed_by="value")
def _(log_probs, old, advantages, *, max_ratio=5.0):
    return cispo_loss(log_probs, old, advantages, max_ratio=1 + max_ratio)


@MUTANTS.of("cispo_loss", "no cap", killed_by="value")
def _(log_probs, old, advantages, **_):
    return -weights(log_probs, old) * advantages.detach() * log_probs


@MUTANTS.of("cispo_loss", "capped from below as well", killed_by="value")
def _(log_probs, old, advantages, *, max_ratio=5.0):
    w = weights(log_probs, old).clamp(1 / max_ratio, max_ratio)
    return -w * advantages.detach() * log_probs


@MUTANTS.of("cispo_loss", "no weight", killed_by="value")
def _(log_probs, old, advantages, **_):
    return -advantages.detach() * (log_probs + 0 * old.detach())


@MUTANTS.of("cispo_loss", "its sign", killed_by="value")
def _(log_probs, old, advantages, **settings):
    return -cispo_loss(log_probs, old, advantages, **settings)


@MUTANTS.of("cispo_loss", "the probability for its logarithm", killed_by="value")
def _(log_probs, old, advantages, *, max_ratio=5.0):
    return cispo_loss(log_probs, old, advantages, max_ratio=max_ratio) / log_probs * log_probs.exp()


@MUTANTS.of("cispo_loss", "a capped token is cut off", killed_by="gradient")
def _(log_probs, old, advantages, *, max_ratio=5.0):
    w = weights(log_probs, old)
    x = torch.where(w > max_ratio, log_probs.detach(), log_probs)
    return cispo_loss(x, (x - w.log()).detach(), advantages, max_ratio=max_ratio)


@MUTANTS.of("cispo_loss", "a cap that is learned is cut off", killed_by="settings")
def _(log_probs, old, advantages, *, max_ratio=5.0):
    w = torch.minimum(weights(log_probs, old), torch.as_tensor(max_ratio).to(log_probs)).detach()
    return -w * advantages.detach() * log_probs


@MUTANTS.of("cispo_loss", "the advantages learn", killed_by="gradient")
def _(log_probs, old, advantages, *, max_ratio=5.0):
    return -weights(log_probs, old).clamp_max(max_ratio) * advantages * log_probs


@MUTANTS.of("cispo_loss", "an advantage for each answer broadcast", killed_by="errors")
def _(log_probs, old, advantages, *, max_ratio=5.0):
    return -weights(log_probs, old).clamp_max(max_ratio) * advantages.detach() * log_probs
