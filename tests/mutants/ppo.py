import torch

from lossbook.policy.ppo import negative_entropy, ppo_clip_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def ratio(log_probs, old):
    return (log_probs - old.detach()).exp()


def ends(epsilon, epsilon_high):
    return 1 - epsilon, 1 + (epsilon if epsilon_high is None else epsilon_high)


@MUTANTS.of("ppo_clip_loss", "to be maximized: the paper's sign", killed_by="value")
def _(log_probs, old, advantages, **settings):
    return -ppo_clip_loss(log_probs, old, advantages, **settings)


@MUTANTS.of("ppo_clip_loss", "max for min", killed_by="value")
def _(log_probs, old, advantages, *, epsilon=0.2, epsilon_high=None, **_):
    r, a = ratio(log_probs, old), advantages.detach()
    return -torch.maximum(r * a, r.clamp(*ends(epsilon, epsilon_high)) * a)


@MUTANTS.of("ppo_clip_loss", "clipped on both sides, no min", killed_by="value")
def _(log_probs, old, advantages, *, epsilon=0.2, epsilon_high=None, **_):
    return -ratio(log_probs, old).clamp(*ends(epsilon, epsilon_high)) * advantages.detach()


@MUTANTS.of("ppo_clip_loss", "no clip", killed_by="value")
def _(log_probs, old, advantages, **_):
    return -ratio(log_probs, old) * advantages.detach()


@MUTANTS.of("ppo_clip_loss", "old over new", killed_by="value")
def _(log_probs, old, advantages, **settings):
    return ppo_clip_loss(2 * old - log_probs, old, advantages, **settings)


@MUTANTS.of("ppo_clip_loss", "the log-ratio clipped at 1 - epsilon", killed_by="value")
def _(log_probs, old, advantages, *, epsilon=0.2, epsilon_high=None, **_):
    d, a = log_probs - old.detach(), advantages.detach()
    high = epsilon if epsilon_high is None else epsilon_high
    return -torch.minimum(d.exp() * a, d.clamp(-epsilon, high).exp() * a)


@MUTANTS.of("ppo_clip_loss", "epsilon_high ignored", killed_by="value")
def _(log_probs, old, advantages, *, epsilon=0.2, dual_clip=None, **_):
    return ppo_clip_loss(log_probs, old, advantages, epsilon=epsilon, dual_clip=dual_clip)


@MUTANTS.of("ppo_clip_loss", "the two epsilons exchanged", killed_by="value")
def _(log_probs, old, advantages, *, epsilon=0.2, epsilon_high=None, dual_clip=None):
    low = epsilon if epsilon_high is None else epsilon_high
    return ppo_clip_loss(
        log_probs, old, advantages, epsilon=low, epsilon_high=epsilon, dual_clip=dual_clip
    )


@MUTANTS.of("ppo_clip_loss", "dual clip at 3 always", killed_by="value")
def _(log_probs, old, advantages, **settings):
    return ppo_clip_loss(log_probs, old, advantages, **{"dual_clip": 3.0} | settings)


@MUTANTS.of("ppo_clip_loss", "the dual clip on both signs", killed_by="relations")
def _(log_probs, old, advantages, *, dual_clip=None, **settings):
    losses = ppo_clip_loss(log_probs, old, advantages, dual_clip=dual_clip, **settings)
    if dual_clip is None:
        return losses
    return torch.maximum(losses, -dual_clip / 2 * advantages.abs())


@MUTANTS.of("ppo_clip_loss", "the log-ratio clipped at 20", killed_by="value")
def _(log_probs, old, advantages, **settings):
    d = (log_probs - old).clamp(-20, 5) + old
    return ppo_clip_loss(d, old, advantages, **settings)


@MUTANTS.of(
    "ppo_clip_loss",
    "exp, then min: inf times 0",
    killed_by="test_a_cut_action_has_no_gradient_however_far_off",
)
def _(log_probs, old, advantages, *, epsilon=0.2, epsilon_high=None, dual_clip=None):
    r, a = ratio(log_probs, old), advantages.detach()
    gain = torch.minimum(r * a, r.clamp(*ends(epsilon, epsilon_high)) * a)
    return -gain if dual_clip is None else -torch.where(a < 0, gain.maximum(dual_clip * a), gain)


@MUTANTS.of("ppo_clip_loss", "REINFORCE: no ratio", killed_by="value")
def _(log_probs, old, advantages, **_):
    return -(log_probs + 0 * old.detach()) * advantages.detach()


@MUTANTS.of("ppo_clip_loss", "the ratio detached", killed_by="gradient")
def _(log_probs, old, advantages, **settings):
    losses = ppo_clip_loss(log_probs.detach(), old, advantages, **settings)
    return losses + 0 * log_probs


@MUTANTS.of("ppo_clip_loss", "the advantages learn", killed_by="gradient")
def _(log_probs, old, advantages, *, epsilon=0.2, epsilon_high=None, **_):
    r = ratio(log_probs, old)
    return -torch.minimum(r * advantages, r.clamp(*ends(epsilon, epsilon_high)) * advantages)


@MUTANTS.of("ppo_clip_loss", "an advantage for each answer broadcast", killed_by="errors")
def _(log_probs, old, advantages, *, epsilon=0.2, epsilon_high=None, **_):
    r, a = ratio(log_probs, old), advantages.detach()
    return -torch.minimum(r * a, r.clamp(*ends(epsilon, epsilon_high)) * a)


@MUTANTS.of("ppo_clip_loss", "epsilon cut off", killed_by="settings")
def _(log_probs, old, advantages, **settings):
    settings = {k: v.item() if isinstance(v, torch.Tensor) else v for k, v in settings.items()}
    return ppo_clip_loss(log_probs, old, advantages, **settings)


def both(values, old, returns, epsilon):
    old, returns = old.detach(), returns.detach()
    clipped = values.clamp(old - epsilon, old + epsilon)
    return (values - returns) ** 2, (clipped - returns) ** 2


@MUTANTS.of("clipped_value_loss", "no half", killed_by="value")
def _(values, old, returns, *, epsilon=0.2):
    return torch.maximum(*both(values, old, returns, epsilon))


@MUTANTS.of("clipped_value_loss", "min for max", killed_by="value")
def _(values, old, returns, *, epsilon=0.2):
    return torch.minimum(*both(values, old, returns, epsilon)) / 2


@MUTANTS.of("clipped_value_loss", "the clipped value alone", killed_by="value")
def _(values, old, returns, *, epsilon=0.2):
    return both(values, old, returns, epsilon)[1] / 2


@MUTANTS.of("clipped_value_loss", "no clip", killed_by="value")
def _(values, old, returns, *, epsilon=0.2):
    return both(values, old, returns, epsilon)[0] / 2


@MUTANTS.of("clipped_value_loss", "clipped around the return", killed_by="value")
def _(values, old, returns, *, epsilon=0.2):
    return torch.maximum(*both(values, returns, old, epsilon)) / 2


@MUTANTS.of("clipped_value_loss", "a ratio of values", killed_by="value")
def _(values, old, returns, *, epsilon=0.2):
    clipped = old * (values / old).clamp(1 - epsilon, 1 + epsilon)
    return torch.maximum((values - returns) ** 2, (clipped - returns) ** 2) / 2


@MUTANTS.of("clipped_value_loss", "the error clipped", killed_by="value")
def _(values, old, returns, *, epsilon=0.2):
    error = (values - returns.detach() + 0 * old.detach()).clamp(-epsilon, epsilon)
    return error**2 / 2


@MUTANTS.of(
    "clipped_value_loss",
    "old plus the step: digits lost",
    killed_by="test_a_value_within_epsilon_is_itself",
)
def _(values, old, returns, *, epsilon=0.2):
    clipped = old + (values - old).clamp(-epsilon, epsilon)
    return torch.maximum((values - returns) ** 2, (clipped - returns) ** 2) / 2


@MUTANTS.of("clipped_value_loss", "the old values learn", killed_by="gradient")
def _(values, old, returns, *, epsilon=0.2):
    clipped = values.clamp(old - epsilon, old + epsilon)
    return torch.maximum((values - returns) ** 2, (clipped - returns) ** 2) / 2


@MUTANTS.of("clipped_value_loss", "returns of (N,) broadcast", killed_by="errors")
def _(values, old, returns, *, epsilon=0.2):
    return torch.maximum(*both(values, old, returns, epsilon)) / 2


@MUTANTS.of("negative_entropy", "the entropy", killed_by="value")
def _(logits):
    return -negative_entropy(logits)


@MUTANTS.of("negative_entropy", "0 times -inf", killed_by="value")
def _(logits):
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1)


@MUTANTS.of(
    "negative_entropy",
    "nan_to_num mends the value alone",
    killed_by="test_forbidden_actions_have_no_slope",
)
def _(logits):
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).nan_to_num(0).sum(-1)


@MUTANTS.of("negative_entropy", "the logarithm of a softmax that underflows", killed_by="value")
def _(logits):
    p = logits.softmax(-1)
    return (p * p.log()).sum(-1)


@MUTANTS.of("negative_entropy", "1e-3 in the logarithm", killed_by="value")
def _(logits):
    p = logits.softmax(-1)
    return (p * (p + 1e-3).log()).sum(-1)


@MUTANTS.of("negative_entropy", "averaged over the actions", killed_by="value")
def _(logits):
    return negative_entropy(logits) / logits.shape[-1]


@MUTANTS.of("negative_entropy", "in bits", killed_by="value")
def _(logits):
    return negative_entropy(logits) / torch.tensor(2.0).log().to(logits)


@MUTANTS.of("negative_entropy", "cross entropy with equal actions", killed_by="value")
def _(logits):
    return logits.log_softmax(-1).mean(-1)


@MUTANTS.of("negative_entropy", "the surprise of the likeliest action", killed_by="value")
def _(logits):
    return logits.log_softmax(-1).amax(-1)


@MUTANTS.of("negative_entropy", "actions on dimension 1", killed_by="value")
def _(logits):
    return negative_entropy(logits.movedim(1, -1))


@MUTANTS.of("negative_entropy", "its weights detached: no slope on average", killed_by="gradient")
def _(logits):
    log_p = logits.log_softmax(-1)
    return (log_p.exp().detach() * log_p.masked_fill(log_p.isneginf(), 0)).sum(-1)
