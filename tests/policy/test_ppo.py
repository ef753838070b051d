import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook import Criterion
from lossbook.book.pages.speed import FORMULA
from lossbook.distribution.kl_divergence import kl_divergence
from lossbook.policy.ppo import clipped_value_loss, negative_entropy, ppo_clip_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real

INF = math.inf


def tokens(rng):
    """Ratios from 0.35 to 5.55, half of them cut, away from the kinks at 0.8, 1.2 and 1.5."""
    ratios = rng.choice([0.35, 0.5, 0.7, 0.9, 1.1, 1.35, 1.7, 3.5, 5.5], size=(4, 5))
    old = -rng.random((4, 5)) * 2
    advantages = rng.normal(size=(4, 5))
    return real(old + np.log(ratios + 0.05 * rng.random((4, 5)))), real(old), real(advantages)


def one_for_all(rng):
    log_probs, old, advantages = tokens(rng)
    return log_probs, old, advantages[:, :1].expand(4, 5).clone()


def equation(log_probs, old, advantages, epsilon=0.2, epsilon_high=None, dual_clip=None):
    ratio = np.exp(log_probs - old)
    high = 1 + (epsilon if epsilon_high is None else epsilon_high)
    low = 1 - epsilon
    clipped = np.where(ratio > high, high, np.where(ratio < low, low, ratio))
    gain = np.where(
        ratio * advantages < clipped * advantages, ratio * advantages, clipped * advantages
    )
    if dual_clip is not None:
        least = dual_clip * advantages
        gain = np.where((advantages < 0) & (gain < least), least, gain)
    return -gain


def slope(log_probs, old, advantages, epsilon=0.2, epsilon_high=None, dual_clip=None):
    ratio = np.exp(log_probs - old)
    high = 1 + (epsilon if epsilon_high is None else epsilon_high)
    cut = np.where(advantages > 0, ratio > high, ratio < 1 - epsilon)
    if dual_clip is not None:
        cut = cut | ((advantages < 0) & (ratio > dual_clip))
    return np.where(cut.astype(bool), 0, -advantages * ratio)


def liger_grpo(log_probs, old, advantages, epsilon=0.2, epsilon_high=None, dual_clip=None):
    from liger_kernel.chunked_loss.grpo_loss import LigerFusedLinearGRPOFunction

    if not (advantages == advantages[:, :1]).all():
        return NotImplemented  # It has one for each answer.
    mask = torch.ones_like(log_probs)
    return LigerFusedLinearGRPOFunction.ppo_loss_fn(
        log_probs,
        mask,
        advantages[:, 0],
        mask,
        old_per_token_logps=old,
        epsilon_low=epsilon,
        epsilon_high=epsilon if epsilon_high is None else epsilon_high,
        beta=0.0,
        loss_type="bnpo",
        delta=dual_clip,
    )[0]


FAR = {
    "up by e^100, wanted": (real([100.0]), real([0.0]), real([1.0])),
    "up by e^100, of no use": (real([100.0]), real([0.0]), real([0.0])),
    "up by e^20, unwanted": (real([20.0]), real([0.0]), real([-1.0])),
    "up by e^5, wanted in vain": (real([0.0, 0.0]), real([-5.0, -1e4]), real([1e4, 2.0])),
    "down to 0": (real([-1e4, -1e4]), real([0.0, 0.0]), real([1.0, -2.0])),
    "the old policy": (real([-700.0, -700.0]), real([-700.0, -700.0]), real([300.0, -300.0])),
}
ZEROS = torch.zeros(3), torch.zeros(3), torch.zeros(3)


def put(inputs, place, value):
    return (*inputs[:place], value, *inputs[place + 1 :])


def states(rng):
    """Values that moved by up to 1.33, away from the kinks."""
    old, returns = rng.normal(size=(2, 6, 3))
    moved = rng.choice([-1.3, -0.9, -0.4, -0.1, 0.1, 0.4, 0.9, 1.3], size=(6, 3))
    return real(old + moved + 0.03 * rng.random((6, 3))), real(old), real(returns)


def near_returns(rng):
    """Values next to returns that lie within epsilon of the old value."""
    off = np.array([1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])
    returns = rng.integers(-8, 8, size=7) / 4.0
    return real(returns + off), real(returns - 0.05), real(returns)


def critic(values, old, returns, epsilon=0.2):
    low, high = old - epsilon, old + epsilon
    clipped = np.where(values > high, high, np.where(values < low, low, values))
    plain, cut = (values - returns) ** 2, (clipped - returns) ** 2
    return np.where(plain > cut, plain, cut) / 2


def critic_slope(values, old, returns, epsilon=0.2):
    inside = np.abs(values - old) <= epsilon
    low, high = old - epsilon, old + epsilon
    clipped = np.where(values > high, high, np.where(values < low, low, values))
    plain, cut = (values - returns) ** 2, (clipped - returns) ** 2
    return np.where((plain > cut) | inside, values - returns, 0)


def torch_critic(values, old, returns, epsilon=0.2):
    clipped = old + (values - old).clamp(-epsilon, epsilon)
    losses = [F.mse_loss(x, returns, reduction="none") for x in (values, clipped)]
    return torch.maximum(*losses) / 2


VALUES = {
    "V 1, old 0, R 1": (real([1.0]), real([0.0]), real([1.0])),
    "V 1, old 0, R -1": (real([1.0]), real([0.0]), real([-1.0])),
    "right and not moved": (real([3.0]), real([3.0]), real([3.0])),
    "1e4 off": (real([1e4, -1e4]), real([0.0, -1e4]), real([-1e4, 1e4])),
    "moved by 1e4": (real([1e4]), real([0.0]), real([1e4])),
}


def flat(rng):
    return (real(rng.normal(size=(5, 4)) * 2),)


def dense(rng):
    return (real(rng.normal(size=(2, 3, 4))),)


def sum_of_p_log_p(logits):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return np.where(p > 0, p * np.log(p), 0).sum(-1)


def entropy_slope(logits):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    log_p = np.where(p > 0, np.log(p), 0)
    return p * (log_p - (p * log_p).sum(-1, keepdims=True))


def torch_categorical(logits):
    return -torch.distributions.Categorical(logits=logits).entropy()


def scipy_entropy(logits):
    from scipy.stats import entropy

    return -entropy(logits.softmax(-1).numpy(), axis=-1)


UNIFORM = (torch.full((2, 4), 3.0).double(),)


def cases():
    return [
        Case(
            loss=ppo_clip_loss,
            inputs=(tokens, one_for_all),
            reference=equation,
            settings=({}, {"epsilon_high": 0.28}, {"epsilon": 0.25, "dual_clip": 3.0}),
            ranges={"epsilon": (0.02, 1.0), "epsilon_high": (0.02, 0.8), "dual_clip": (1.9, 6.0)},
            detached=(1, 2),
            domains={0: (-20.0, 0.0), 1: (-20.0, 0.0), 2: (-100.0, 100.0)},
            adversarial=FAR,
            gradient=slope,
            invariances={
                "both likelier": lambda x, old, a: (x + 3, old + 3, a),
            },
            relations={
                "at the old policy it is the advantage": lambda loss, _, old, a: (
                    loss(old, old, a),
                    -a,
                ),
                "no clip in reach: the importance-weighted advantage": lambda loss, x, old, a: (
                    loss(x, old, a, epsilon=0.99, epsilon_high=1e6),
                    -(x - old).exp() * a,
                ),
                "epsilon_high is epsilon": lambda loss, x, old, a: (
                    loss(x, old, a, epsilon=0.3),
                    loss(x, old, a, epsilon=0.3, epsilon_high=0.3),
                ),
                "for advantages above 0 only the upper end counts": lambda loss, x, old, a: (
                    loss(x, old, a.abs(), epsilon=0.1, epsilon_high=0.3, dual_clip=1.1),
                    loss(x, old, a.abs(), epsilon=0.9, epsilon_high=0.3),
                ),
                "below 0 only the lower end and the cap": lambda loss, x, old, a: (
                    loss(x, old, -a.abs(), epsilon=0.3, dual_clip=3.0),
                    a.abs() * (x - old).exp().clamp(0.7, 3.0),
                ),
            },
            peers={"liger-kernel": liger_grpo},
            errors=[
                (put(ZEROS, 0, torch.zeros(3).long()), {}, "floating log_probs, got"),
                (put(ZEROS, 1, torch.zeros(3).long()), {}, "floating old_log_probs, got"),
                *(
                    (put(ZEROS, i, torch.zeros(shape)), {}, rf"{name} of shape \(3,\), got")
                    for i, name in ((1, "old_log_probs"), (2, "advantages"))
                    for shape in ((1,), (3, 1), ())
                ),
                (
                    (torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3)),
                    {},
                    r"advantages of shape \(3, 2\), got \(3,\)",
                ),
                *((ZEROS, {"epsilon": e}, "epsilon > 0, got") for e in (0.0, -0.2, math.nan)),
                *((ZEROS, {"epsilon_high": e}, "epsilon_high > 0, got") for e in (0.0, -0.2)),
                *((ZEROS, {"dual_clip": c}, "dual_clip > 1, got") for c in (1.0, 0.2, math.nan)),
            ],
            facts={"range": (-INF, INF)},
            exempt={"next to the optimum": "it has no least value"},
        ),
        Case(
            loss=clipped_value_loss,
            inputs=states,
            reference=critic,
            settings=({}, {"epsilon": 0.5}),
            ranges={"epsilon": (0.15, 1.5)},
            near=near_returns,
            detached=(1, 2),
            adversarial=VALUES,
            gradient=critic_slope,
            invariances={
                "a shift of all": lambda v, old, r: (v + 2, old + 2, r + 2),
                "signs": lambda v, old, r: (-v, -old, -r),
            },
            relations={
                "within epsilon it is half the squared error": lambda loss, v, old, r: (
                    loss(v, old, r, epsilon=9.0),
                    (v - r) ** 2 / 2,
                ),
                "at least that": lambda loss, v, old, r: (
                    torch.maximum(loss(v, old, r), (v - r) ** 2 / 2),
                    loss(v, old, r),
                ),
                "the unit of values": lambda loss, v, old, r: (
                    loss(3 * v, 3 * old, 3 * r, epsilon=0.6),
                    9 * loss(v, old, r, epsilon=0.2),
                ),
            },
            peers={"torch": torch_critic},
            errors=[
                (put(ZEROS, 0, torch.zeros(3).long()), {}, "floating values, got"),
                *(
                    (put(ZEROS, i, torch.zeros(shape)), {}, rf"{name} of shape \(3,\), got")
                    for i, name in ((1, "old_values"), (2, "returns"))
                    for shape in ((1,), (3, 1), ())
                ),
                *((ZEROS, {"epsilon": e}, "epsilon > 0, got") for e in (0.0, -0.2, math.nan)),
            ],
            facts={
                "range": (0.0, INF),
                "perfect": (VALUES["right and not moved"], 0.0),
                "convex": True,
            },
        ),
        Case(
            loss=negative_entropy,
            inputs=(flat, dense),
            reference=sum_of_p_log_p,
            adversarial={
                "equal logits": UNIFORM,
                "sure by 1e4": (real([[1e4, 0.0, -1e4, 0.0]]),),
                "a forbidden action": (real([[0.0, 0.0, -INF, 1.0]]),),
                "one allowed action": (real([[-INF, 0.0, -INF, -INF]]),),
            },
            gradient=entropy_slope,
            classes={0: -1},
            invariances={
                "shift of the logits": lambda x: (x + 5.0,),
                "log-probabilities for logits": lambda x: (x.log_softmax(-1),),
            },
            relations={
                "KL from uniform less log V": lambda loss, x: (
                    loss(x),
                    kl_divergence(torch.zeros_like(x), x, dim=-1) - math.log(x.shape[-1]),
                ),
                "a forbidden action is as good as none": lambda loss, x: (
                    loss(F.pad(x, (0, 2), value=-INF)),
                    loss(x),
                ),
                "independent actions: entropies add": lambda loss, x: (
                    loss((x[..., :, None] + 2 * x[..., None, :]).flatten(-2)),
                    loss(x) + loss(2 * x),
                ),
            },
            peers={"torch distributions": torch_categorical, "scipy": scipy_entropy},
            infinite={
                "a forbidden action": ((real([[0.0, 0.0, -INF]]),), [-math.log(2)]),
                "one allowed action": ((real([[0.0, -INF, -INF]]),), [0.0]),
            },
            errors=[
                ((torch.zeros(2, 3).long(),), {}, "floating logits of shape"),
                ((torch.zeros(()),), {}, r"shape \(\*, V\), got .* \(\)"),
            ],
            facts={
                "range": (-math.log(4), 0.0),
                "perfect": (UNIFORM, -math.log(4), "-log C, with C = 4"),
                "convex": False,
            },
        ),
    ]


def rows():
    def answers(n):
        return bench.leaf(64, n), torch.randn(64, n) / 10, torch.randn(64, n)

    def plain(x, old, a):
        r = (x - old).exp()
        return -torch.minimum(r * a, r.clamp(0.8, 1.2) * a).mean()

    def logits(n):
        return (bench.leaf(n, 8000),)

    def naive_entropy(x):
        p = x.softmax(-1)
        return (p * p.log()).sum(-1).mean()

    return [
        Row(
            loss,
            shape="64 x {}",
            n=n,
            inputs=answers,
            slower=slower,
            peers=peers,
        )
        for n in (4096, 16)
        for loss, slower, peers in (
            (
                ppo_clip_loss,
                "logarithms are cut before exp, so that far ratios are finite: two more cuts",
                {FORMULA: plain},
            ),
            (
                clipped_value_loss,
                bench.CALL,
                {FORMULA: lambda v, o, r: torch_critic(v, o, r).mean()},
            ),
        )
    ] + [
        Row(
            negative_entropy,
            slower="logarithms before probabilities, and an action of logit -inf counts 0: two "
            "more passes each way",
            shape="{} x 8000",
            n=512,
            inputs=logits,
            peers={
                "torch": lambda x: -torch.distributions.Categorical(logits=x).entropy().mean(),
                FORMULA: naive_entropy,
            },
        )
    ]


def test_values_by_hand():
    # min(3, 2.4), min(1, 1.6), min(-3, -2.4), min(-1, -1.6), with the sign of a loss.
    x, a = real([1.5, 0.5, 1.5, 0.5]).log(), real([2.0, 2.0, -2.0, -2.0])
    losses = ppo_clip_loss(x, torch.zeros(4).double(), a)
    np.testing.assert_allclose(losses, [-2.4, -1.0, 3.0, 1.6], rtol=1e-14)
    # 0.5 max(0, (0.2 - 1)^2) and 0.5 max(4, 1.2^2).
    assert clipped_value_loss(*VALUES["V 1, old 0, R 1"]).item() == pytest.approx(0.32)
    assert clipped_value_loss(*VALUES["V 1, old 0, R -1"]).item() == pytest.approx(2.0)
    p = real([math.e, 1.0, 1.0]) / (math.e + 2)
    loss = negative_entropy(real([1.0, 0.0, 0.0])).item()
    assert loss == pytest.approx((p * p.log()).sum().item())
    assert loss == pytest.approx(-0.9753278292, rel=1e-9)


def test_a_cut_action_has_no_gradient_however_far_off():
    x = torch.tensor([100.0, 1e4, -1e4, 100.0]).requires_grad_()
    losses = ppo_clip_loss(x, torch.zeros(4), torch.tensor([1.0, 0.0, -1.0, -1.0]), dual_clip=3.0)
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert slope.tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(losses, torch.tensor([-1.2, 0.0, 0.8, 3.0]))


def test_the_first_step_is_reinforce():
    x, old, a = tokens(np.random.default_rng(0))
    x = old.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ppo_clip_loss(x, old, a, epsilon_high=0.28).sum(), x)
    torch.testing.assert_close(slope, -a)


def test_an_epsilon_above_1_leaves_the_ratio_below():
    x, a = real([-5.0]), real([-1.0])
    for epsilon in (1.0, 1.5, torch.tensor(1.5)):
        loss = ppo_clip_loss(x, real([0.0]), a, epsilon=epsilon)
        assert loss.item() == pytest.approx(math.exp(-5))


def test_the_normalizers_of_grpo_dapo_and_dr_grpo():
    # Losses of 3 on 8 tokens and of 1 on 2, at most 10: 2.0, 2.6 and 1.3.
    a = torch.tensor([[-3.0] * 10, [-1.0] * 10])
    mask = torch.tensor([[True] * 8 + [False] * 2, [True] * 2 + [False] * 8])
    criterion, x = Criterion(ppo_clip_loss), torch.zeros(2, 10)
    grpo = criterion(x, x, a, weights=mask / mask.sum(1, keepdim=True))
    dapo = criterion(x, x, a, weights=mask)
    dr_grpo = criterion(x, x, a, weights=mask, normalizer=2 * 10)
    assert [y.item() for y in (grpo, dapo, dr_grpo)] == pytest.approx([2.0, 2.6, 1.3])


def test_a_value_that_moved_towards_its_return_learns_no_more():
    v = real([1.0, 1.0, 0.1]).requires_grad_()
    losses = clipped_value_loss(v, real([0.0, 0.0, 0.0]), real([2.0, -1.0, 2.0]))
    (slope,) = torch.autograd.grad(losses.sum(), v)
    assert slope.tolist() == pytest.approx([0, 2, -1.9])


def test_a_value_within_epsilon_is_itself():
    # old + (V - old) is not V.
    v, step = real(np.random.default_rng(0).uniform(-0.1, 0.1, size=(2, 100))).float()
    assert not clipped_value_loss(v, v + step, v).any()


def test_forbidden_actions_have_no_slope():
    x = real([[0.3, -1.0, -INF], [-INF, 2.0, -INF]]).requires_grad_()
    (slope,) = torch.autograd.grad(negative_entropy(x).sum(), x)
    assert slope.isfinite().all()
    assert (slope[0, 2].item(), slope[1].tolist()) == (0, [0, 0, 0])


def test_the_vocabulary_is_last_in_every_rank():
    (x,) = dense(np.random.default_rng(0))
    assert negative_entropy(x)[1, 2].equal(negative_entropy(x[1, 2]))


def test_integer_advantages_are_numbers():
    x, old = real([0.1, -0.3]), real([0.0, 0.0])
    assert ppo_clip_loss(x, old, integer([1, -1])).equal(ppo_clip_loss(x, old, real([1, -1])))


def test_a_certain_action_keeps_its_digits():
    value = negative_entropy(torch.tensor([[17.0, 0.0]])).item()
    p = math.exp(-17) / (1 + math.exp(-17))
    assert value == pytest.approx(p * math.log(p) + (1 - p) * math.log1p(-p), rel=1e-5)


def test_old_values_are_floating():
    one = torch.ones(1)
    with pytest.raises(ValueError, match=r"floating old_values, got torch\.int64"):
        clipped_value_loss(one, one.long(), one)
