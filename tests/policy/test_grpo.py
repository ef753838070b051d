import math

import numpy as np
import pytest
import torch

from lossbook.book.pages.speed import FORMULA
from lossbook.distribution.kl_divergence import kl_divergence
from lossbook.policy.grpo import (
    cispo_loss,
    group_advantages,
    gspo_loss,
    kl_penalty,
    leave_one_out_advantages,
)
from lossbook.policy.ppo import ppo_clip_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real

INF = math.inf


# Advantages


def groups(rng):
    return (real(rng.normal(size=(4, 5)) * 3),)


def nested(rng):
    return (real(rng.normal(size=(2, 3, 4))),)


def right_or_wrong(rng):
    rewards = rng.random((6, 8)) < 0.3
    rewards[:, :2] = [True, False]  # Next to equal rewards no step is small.
    return (real(rewards),)


def standardized(rewards, scale_rewards=True):
    centered = rewards - rewards.sum(-1, keepdims=True) / rewards.shape[-1]
    if not scale_rewards:
        return centered
    deviation = np.sqrt((centered**2).sum(-1, keepdims=True) / (rewards.shape[-1] - 1))
    return np.where(deviation > 0, centered / np.where(deviation > 0, deviation, 1), 0)


def leave_one_out(rewards):
    total = rewards.sum(-1, keepdims=True)
    return rewards - (total - rewards) / (rewards.shape[-1] - 1)


def scipy_zscore(rewards, scale_rewards=True):
    from scipy.stats import zscore

    if not scale_rewards:
        return NotImplemented
    return zscore(rewards.numpy(), axis=-1, ddof=1)


EQUAL = (real([[0.1] * 7, [1e4] * 7]),)
REWARDS = {
    "all equal": EQUAL,
    "one of them right": (real([[1.0, 0.0, 0.0, 0.0]]),),
    "two": (real([[1.0, 0.0], [0.0, 0.5]]),),
    "tiny": (real([[1e-30, 0.0, 0.0]]),),
    "one group of equals": (real([[1.0, 0.0, 0.0, 0.0], [0.1] * 4]),),
    "far from 0, close to each other": (real([[1024.0, 1024.5, 1025.0]]),),
}
TOO_FEW = [
    ((torch.zeros(3).long(),), {}, "floating rewards, got torch.int64"),
    ((torch.zeros(3, 1),), {}, r"rewards of shape \(\*, G\), G >= 2, got \(3, 1\)"),
    ((torch.zeros(1),), {}, r"G >= 2, got \(1,\)"),
    ((torch.zeros(()),), {}, r"G >= 2, got \(\)"),
]

# KL


def near_reference(rng):
    policy = rng.integers(-16, -1, size=10) / 4.0
    off = np.array([1, 0.1, 0.099, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0, 0])
    return real(policy), real(policy + off * rng.choice([-1, 1], size=10))


def log_probs(rng):
    return real(-rng.random((4, 3)) * 3), real(-rng.random((4, 3)) * 3)


def estimator(policy, reference, kind="k3"):
    d = reference - policy
    return np.exp(d) - 1 - d if kind == "k3" else d**2 / 2


def estimator_slope(policy, reference, kind="k3"):
    d = reference - policy
    return 1 - np.exp(d) if kind == "k3" else -d


def liger_k3(policy, reference, kind="k3"):
    from liger_kernel.chunked_loss.grpo_loss import k3_loss_fn

    return k3_loss_fn(reference, policy) if kind == "k3" else NotImplemented


SAME = (real([-700.0, -0.5]), real([-700.0, -0.5]))

# Sequences and capped weights


def answers(rng):
    """Means of log-ratios around 0, in steps that stay away from the kinks."""
    mask = rng.random((6, 5)) < 0.6
    mask[:, 1] = True
    means = rng.choice([-0.3, -0.05, 0.02, 0.06, 0.25], size=(6, 1))
    noise = rng.normal(size=(6, 5)) * 0.3
    count = mask.sum(1, keepdims=True)
    noise = noise - np.where(mask, noise, 0).sum(1, keepdims=True) / count
    old = -rng.random((6, 5)) * 2
    mask, means = torch.from_numpy(mask), means + 0.01 * rng.random((6, 1))
    return real(old + means + noise), real(old), real(rng.normal(size=6)), mask


def ends(epsilon, epsilon_high):
    return 1 - epsilon, 1 + epsilon_high


def sequence_ratio(x, old, mask):
    count = np.maximum(mask.sum(1), 1)
    return np.exp(np.where(mask, x - old, 0).sum(1) / count), count


def gspo(x, old, advantages, mask, epsilon=3e-4, epsilon_high=4e-4):
    s, _ = sequence_ratio(x, old, mask)
    low, high = 1 - epsilon, 1 + epsilon_high
    clipped = np.where(s > high, high, np.where(s < low, low, s))
    plain, cut = s * advantages, clipped * advantages
    return -np.where(plain < cut, plain, cut)


def gspo_slope(x, old, advantages, mask, epsilon=3e-4, epsilon_high=4e-4):
    s, count = sequence_ratio(x, old, mask)
    cut = np.where(advantages > 0, s > 1 + epsilon_high, s < 1 - epsilon).astype(bool)
    each = np.where(cut, 0, -advantages * s / count)
    return np.where(mask, each[:, None], 0)


def liger_gspo(x, old, advantages, mask, epsilon=3e-4, epsilon_high=4e-4):
    from liger_kernel.chunked_loss.grpo_loss import LigerFusedLinearGRPOFunction

    return LigerFusedLinearGRPOFunction.ppo_loss_fn(
        x,
        mask.double(),
        advantages,
        mask.double(),
        old_per_token_logps=old,
        epsilon_low=epsilon,
        epsilon_high=epsilon_high,
        beta=0.0,
        loss_type="grpo",
        importance_sampling_level="sequence",
    )[0]


def tokens(rng):
    ratios = rng.choice([0.3, 0.8, 1.5, 4.0, 8.0], size=(4, 5)) * (1 + 0.1 * rng.random((4, 5)))
    old = -rng.random((4, 5)) * 2
    return real(old + np.log(ratios)), real(old), real(rng.normal(size=(4, 5)))


def one_for_all(rng):
    x, old, advantages = tokens(rng)
    return x, old, advantages[:, :1].expand(4, 5).clone()


def cispo(x, old, advantages, max_ratio=5.0):
    ratio = np.exp(x - old)
    return -np.where(ratio > max_ratio, max_ratio, ratio) * advantages * x


def cispo_slope(x, old, advantages, max_ratio=5.0):
    ratio = np.exp(x - old)
    return -np.where(ratio > max_ratio, max_ratio, ratio) * advantages


def liger_cispo(x, old, advantages, max_ratio=5.0):
    from liger_kernel.chunked_loss.grpo_loss import LigerFusedLinearGRPOFunction

    if not (advantages == advantages[:, :1]).all():
        return NotImplemented  # It has one for each answer.
    mask = torch.ones_like(x)
    return LigerFusedLinearGRPOFunction.ppo_loss_fn(
        x,
        mask,
        advantages[:, 0],
        mask,
        old_per_token_logps=old,
        epsilon_high=max_ratio,  # Its name for the cap itself.
        beta=0.0,
        loss_type="cispo",
    )[0]


def keep(*rows):
    return torch.tensor(rows, dtype=torch.bool)


THREE = torch.zeros(3), torch.zeros(3), torch.zeros(3)
GSPO = torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2), torch.ones(2, 3).bool()
DETACHED = "finite differences move the detached weights, too"


def put(inputs, place, value):
    return (*inputs[:place], value, *inputs[place + 1 :])


def cases():
    return [
        Case(
            loss=group_advantages,
            inputs=(groups, nested, right_or_wrong),
            reference=standardized,
            settings=({}, {"scale_rewards": False}),
            adversarial=REWARDS,
            # Where rewards differ in their last digits alone, so do their deviations.
            domains={0: None},
            invariances={
                "a shift of all rewards": lambda r: (r + 2,),
            },
            relations={
                "another unit of rewards": lambda loss, r: (loss(1e-6 * r), loss(r)),
                "unscaled, RLOO's but for G / (G - 1)": lambda loss, r: (
                    loss(r, scale_rewards=False) * r.shape[-1] / (r.shape[-1] - 1),
                    leave_one_out_advantages(r),
                ),
                "mean 0, deviation 1": lambda loss, r: (
                    torch.stack([loss(r).mean(-1), loss(r).square().sum(-1)]),
                    torch.stack([0 * r[..., 0], 0 * r[..., 0] + r.shape[-1] - 1]),
                ),
                "two answers: the root of one half": lambda loss, r: (
                    loss(r[..., :2]).abs(),
                    torch.full_like(r[..., :2], math.sqrt(0.5)),
                ),
            },
            peers={"scipy": scipy_zscore},
            errors=TOO_FEW,
            facts={"chance": (EQUAL, 0.0, "equal rewards")},
            exempt={
                "next to the optimum": "it has no least value",
                "device/gradient in the corners": "that of a mean that is always 0 is rounding",
            },
        ),
        Case(
            loss=leave_one_out_advantages,
            inputs=(groups, nested, right_or_wrong),
            reference=leave_one_out,
            adversarial=REWARDS,
            invariances={
                "a shift of all rewards": lambda r: (r + 2,),
            },
            relations={
                "another unit of rewards": lambda loss, r: (loss(3 * r), 3 * loss(r)),
                "one answer more, of the others' mean": lambda loss, r: (
                    loss(torch.cat([r, r[..., :-1].mean(-1, keepdim=True)], -1))[..., -2],
                    loss(r)[..., -1],
                ),
                "they sum to 0": lambda loss, r: (loss(r).sum(-1), 0 * r[..., 0]),
                "two answers: their difference": lambda loss, r: (
                    loss(r[..., :2])[..., 0],
                    r[..., 0] - r[..., 1],
                ),
            },
            errors=TOO_FEW,
            facts={"chance": (EQUAL, 0.0, "equal rewards")},
            exempt={
                "next to the optimum": "it has no least value",
                "peers": "no library in reach has it as a function",
            },
        ),
        Case(
            loss=kl_penalty,
            inputs=log_probs,
            reference=estimator,
            settings=({}, {"kind": "k2"}),
            near=near_reference,
            detached=(1,),
            domains={0: (-50.0, 0.0), 1: (-50.0, 0.0)},
            adversarial={
                "equal": SAME,
                "the reference likelier by e^80": (real([-81.0]), real([-1.0])),
                "the policy likelier by e^1e4": (real([-1.0]), real([-1e4])),
                "1e-7 apart": (real([-1.0, -1.0 - 1e-7]), real([-1.0 - 1e-7, -1.0])),
                "around the end of the series": (
                    real([-1.0, -1.0, -1.1, -1.0999]),
                    real([-1.1, -1.0999, -1.0, -1.0]),
                ),
            },
            gradient=estimator_slope,
            invariances={"both likelier": lambda x, y: (x + 3, y + 3)},
            relations={
                "both ways: k3 sums to d sinh, 2 (cosh d - 1)": lambda loss, x, y: (
                    loss(x, y) + loss(y, x),
                    4 * ((y - x) / 2).sinh() ** 2,
                ),
                "k2 has no direction": lambda loss, x, y: (
                    loss(x, y, kind="k2"),
                    loss(y, x, kind="k2"),
                ),
                "k3 averages to the divergence": lambda loss, x, y: (
                    (x.softmax(1) * loss(x.log_softmax(1), y.log_softmax(1))).sum(1),
                    kl_divergence(y, x),
                ),
            },
            peers={
                "torch": lambda x, y, kind="k3": (
                    torch.expm1(y - x) - (y - x) if kind == "k3" else (y - x) ** 2 / 2
                ),
                "liger-kernel": liger_k3,
            },
            errors=[
                (put(THREE[:2], 0, torch.zeros(3).long()), {}, "floating log_probs, got"),
                (put(THREE[:2], 1, torch.zeros(3).long()), {}, "floating reference_log_probs, got"),
                *(
                    ((torch.zeros(3), torch.zeros(shape)), {}, r"of shape \(3,\), got")
                    for shape in ((1,), (3, 1), ())
                ),
                *((THREE[:2], {"kind": k}, f"'k2' or 'k3', got {k!r}") for k in ("k1", "K3", None)),
            ],
            facts={
                "range": (0.0, INF),
                "perfect": (SAME, 0.0),
                "convex": True,
            },
        ),
        Case(
            loss=gspo_loss,
            inputs=answers,
            reference=gspo,
            settings=({}, {"epsilon": 0.1, "epsilon_high": 0.2}),
            ranges={"epsilon": (1e-4, 0.2), "epsilon_high": (1e-4, 0.015)},
            detached=(1, 2),
            domains={0: (-20.0, 0.0), 1: (-20.0, 0.0), 2: (-100.0, 100.0)},
            adversarial={
                "anything under the mask": (
                    real([[-1.0, -2.0, INF], [INF, -1.0, -3.0]]),
                    real([[-1.2, -2.1, -INF], [INF, -1.0, -1.0]]),
                    real([300.0, -300.0]),
                    keep([True, True, False], [False, True, True]),
                ),
                "nothing left": (
                    real([[INF, -1.0], [-1.0, -2.0]]),
                    real([[-1.0, -1.0], [-1.0, -1.0]]),
                    real([3.0, -2.0]),
                    keep([False, False], [True, False]),
                ),
                "up by e^1e4, wanted": (
                    real([[0.0, 0.0]]),
                    real([[-1e4, -1e4]]),
                    real([1.0]),
                    keep([True, True]),
                ),
                "down to 0, unwanted": (
                    real([[-1e4, -1e4]]),
                    real([[0.0, 0.0]]),
                    real([-1.0]),
                    keep([True, True]),
                ),
            },
            gradient=gspo_slope,
            invariances={
                "both likelier": lambda x, old, a, m: (x + 3, old + 3, a, m),
                "tokens moved": lambda x, old, a, m: (x.flip(1), old.flip(1), a, m.flip(1)),
                "what is hidden": lambda x, old, a, m: (
                    x.masked_fill(~m, math.nan),
                    old.masked_fill(~m, INF),
                    a,
                    m,
                ),
            },
            relations={
                "PPO of the mean log-ratio": lambda loss, x, old, a, m: (
                    loss(x, old, a, m),
                    ppo_clip_loss(
                        ((x - old) * m).sum(1) / m.sum(1),
                        torch.zeros_like(a),
                        a,
                        epsilon=3e-4,
                        epsilon_high=4e-4,
                    ),
                ),
                "one token: PPO": lambda loss, x, old, a, m: (
                    loss(x[:, :1], old[:, :1], a, m[:, :1] | True, epsilon=0.2, epsilon_high=0.3),
                    ppo_clip_loss(x[:, 0], old[:, 0], a, epsilon=0.2, epsilon_high=0.3),
                ),
                "an answer written twice": lambda loss, x, old, a, m: (
                    loss(x.repeat(1, 2), old.repeat(1, 2), a, m.repeat(1, 2)),
                    loss(x, old, a, m),
                ),
                "at the old policy: the advantage": lambda loss, _, old, a, m: (
                    loss(old, old, a, m),
                    -a,
                ),
            },
            peers={"liger-kernel": liger_gspo},
            errors=[
                (put(GSPO, 0, torch.zeros(2, 3).long()), {}, "floating log_probs, got"),
                (put(GSPO, 1, torch.zeros(2, 3).long()), {}, "floating old_log_probs, got"),
                (
                    (torch.zeros(6), torch.zeros(6), torch.zeros(6), torch.ones(6).bool()),
                    {},
                    r"log_probs of shape \(N, T\), got \(6,\)",
                ),
                *(
                    (put(GSPO, 1, torch.zeros(s)), {}, r"old_log_probs of shape \(2, 3\), got")
                    for s in ((1, 3), (2, 1), (3,))
                ),
                *(
                    (put(GSPO, 2, torch.zeros(s)), {}, r"advantages of shape \(2,\), got")
                    for s in ((1,), (2, 1), (2, 3), ())
                ),
                (put(GSPO, 3, GSPO[3].long()), {}, "mask of dtype bool"),
                (put(GSPO, 3, GSPO[3].float()), {}, "mask of dtype bool"),
                (put(GSPO, 3, GSPO[3][:1]), {}, r"mask of dtype bool and shape \(2, 3\), got"),
                (put(GSPO, 3, GSPO[3][:, :1]), {}, r"mask of dtype bool and shape \(2, 3\), got"),
                *((GSPO, {"epsilon": e}, "epsilon > 0, got") for e in (0.0, -0.1, math.nan)),
                *((GSPO, {"epsilon_high": e}, "epsilon_high > 0, got") for e in (0.0, -0.1)),
            ],
            facts={"range": (-INF, INF)},
            exempt={"next to the optimum": "it has no least value"},
        ),
        Case(
            loss=cispo_loss,
            inputs=(tokens, one_for_all),
            reference=cispo,
            settings=({}, {"max_ratio": 1.2}),
            ranges={"max_ratio": (0.9, 7.0)},
            detached=(1, 2),
            domains={0: (-20.0, 0.0), 1: (-20.0, 0.0), 2: (-100.0, 100.0)},
            adversarial={
                "up by e^1e4": (real([-1.0, -1.0]), real([-1e4, -1e4]), real([30.0, -30.0])),
                "down to 0": (real([-1e4, -1e4]), real([-1.0, -1.0]), real([1.0, -1.0])),
                "of no use": (real([-1.0]), real([-1e4]), real([0.0])),
                "the old policy": (real([-700.0, -700.0]), real([-700.0] * 2), real([1.0, -1.0])),
            },
            infinite={
                "ruled out": ((real([-INF] * 2), real([-1.0] * 2), real([1.0, -1.0])), [0.0] * 2),
                "ruled out before": ((real([-1.0]), real([-INF]), real([2.0])), [10.0]),
            },
            gradient=cispo_slope,
            relations={
                "no cap in reach: REINFORCE with weights": lambda loss, x, old, a: (
                    loss(x, old, a, max_ratio=1e9),
                    -(x - old).exp() * a * x,
                ),
                "at the old policy: REINFORCE": lambda loss, _, old, a: (
                    loss(old, old, a),
                    -a * old,
                ),
                "everything capped": lambda loss, x, old, a: (
                    loss(x, old, a, max_ratio=0.1),
                    -0.1 * a * x,
                ),
            },
            peers={"liger-kernel": liger_cispo},
            errors=[
                (put(THREE, 0, torch.zeros(3).long()), {}, "floating log_probs, got"),
                (put(THREE, 1, torch.zeros(3).long()), {}, "floating old_log_probs, got"),
                *(
                    (put(THREE, i, torch.zeros(shape)), {}, rf"{name} of shape \(3,\), got")
                    for i, name in ((1, "old_log_probs"), (2, "advantages"))
                    for shape in ((1,), (3, 1), ())
                ),
                *((THREE, {"max_ratio": c}, "max_ratio > 0, got") for c in (0.0, -1.0, math.nan)),
            ],
            facts={"range": (-INF, INF)},
            exempt={
                "next to the optimum": "it has no least value",
                "gradient/finite differences": DETACHED,
                "second gradient": DETACHED,
            },
        ),
    ]


def rows():
    def pair(n):
        x = -torch.rand(64, n)
        return x.requires_grad_(), x.detach() + torch.randn(64, n) / 10

    def sequences(n):
        return *pair(n), torch.randn(64), torch.rand(64, n) < 0.8

    def naive_gspo(x, old, a, m):
        s = (((x - old) * m).sum(1) / m.sum(1)).exp()
        return -torch.minimum(s * a, s.clamp(1 - 3e-4, 1 + 4e-4) * a).mean()

    return [
        Row(
            kl_penalty,
            "64 x {}",
            4096,
            pair,
            {FORMULA: lambda x, y: ((y - x).exp() - 1 - (y - x)).mean()},
            slower="next to 0 the difference has no digits: a series of eight terms, a pass each",
        ),
        Row(
            gspo_loss,
            "64 x {}",
            4096,
            sequences,
            {FORMULA: naive_gspo},
            slower="what the mask hides is selected, not multiplied by 0: a pass more each way, "
            "and nan stays out",
        ),
        Row(
            cispo_loss,
            "64 x {}",
            4096,
            lambda n: (*pair(n), torch.randn(64, n)),
            {FORMULA: lambda x, o, a: -((x - o).exp().clamp_max(5).detach() * a * x).mean()},
            slower=bench.CALL,
        ),
    ]


def test_values_by_hand():
    one = real([1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(group_advantages(one), [1.5, -0.5, -0.5, -0.5])
    np.testing.assert_allclose(group_advantages(one, scale_rewards=False), [0.75] + [-0.25] * 3)
    np.testing.assert_allclose(leave_one_out_advantages(one), [1] + [-1 / 3] * 3)
    # e^-0.5 - 0.5 and e^0.5 - 1.5.
    losses = kl_penalty(real([-1.0, -1.5]), real([-1.5, -1.0]))
    np.testing.assert_allclose(losses, [math.exp(-0.5) - 0.5, math.exp(0.5) - 1.5])
    # (0.2 + 0.1) / 2 of the two tokens that count: e^0.15 = 1.16.
    x, old = real([[-1.0, -2.0, -9.0]]), real([[-1.2, -2.1, 0.0]])
    a, m = real([1.0]), keep([True, True, False])
    loss = gspo_loss(x, old, a, m, epsilon=0.1, epsilon_high=0.2).item()
    assert loss == pytest.approx(-math.exp(0.15))
    assert gspo_loss(x, old, a, m).item() == pytest.approx(-1.0004, rel=1e-14)
    # r = e^2 = 7.4, capped at 5 and at 1.2.
    x, old, a = real([-1.0]), real([-3.0]), real([2.0])
    assert cispo_loss(x, old, a).item() == pytest.approx(10)
    assert cispo_loss(x, old, a, max_ratio=1.2).item() == pytest.approx(2.4)


def test_equal_rewards_pull_nowhere():
    # The mean of seven 0.1 is not 0.1 in float32, and the deviation 8e-9.
    for dtype in (torch.float32, torch.float64, torch.float16):
        r = torch.full((2, 7), 0.1, dtype=dtype).requires_grad_()
        for advantages in (group_advantages(r), leave_one_out_advantages(r)):
            assert not advantages.any()
            (slope,) = torch.autograd.grad(advantages.sum(), r)
            assert slope.isfinite().all()


def test_the_size_of_rewards_makes_no_difference():
    r = torch.tensor([1.0, 0.0, 0.0, 0.0])
    for size in (1e-30, 1e30):
        torch.testing.assert_close(group_advantages(size * r), torch.tensor([1.5] + [-0.5] * 3))


def test_k3_keeps_its_digits_in_float32():
    # e^d - d - 1 is 0 or 1.2e-7 where 4.5e-8 is right.
    d = torch.tensor([3e-4, -3e-4, 1e-4, -1e-6, 0.0999, 0.1])
    exact = [math.expm1(x) - x if abs(x) > 0.01 else x**2 / 2 + x**3 / 6 for x in d.tolist()]
    losses = kl_penalty(torch.zeros(6), d).double()
    torch.testing.assert_close(losses, real(exact), rtol=1e-6, atol=0)


def test_the_slope_of_k3_keeps_its_digits_in_float32():
    # 1 - e^d is 0 or -1.2e-7 where -1e-7 is right.
    d = torch.tensor([1e-7, -1e-6, 1e-4, 0.1])
    x = torch.zeros(4, requires_grad=True)
    (slope,) = torch.autograd.grad(kl_penalty(x, d).sum(), x)
    exact = real([-math.expm1(y) for y in d.tolist()])
    torch.testing.assert_close(slope.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("kind", "forward"), [("k3", True), ("k2", False)])
def test_the_average_slope_of_each_kind(kind, forward):
    # Over actions that the policy draws, with the draws held fixed.
    x, y = (real(v) for v in np.random.default_rng(0).normal(size=(2, 1, 5)))
    x.requires_grad_()
    log_p = x.log_softmax(1)
    average = (log_p.exp().detach() * kl_penalty(log_p, y.log_softmax(1), kind=kind)).sum()
    (ours,) = torch.autograd.grad(average, x)
    divergence = kl_divergence(x, y) if forward else kl_divergence(y, x)
    (theirs,) = torch.autograd.grad(divergence.sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_a_reference_that_rules_an_action_out_costs_inf():
    x, y = real([0.0, -INF]), real([-INF, 0.0])
    assert kl_penalty(x, y).tolist() == [INF, INF]
    assert kl_penalty(x, y, kind="k2").tolist() == [INF, INF]


def test_a_token_that_is_ruled_out_costs_and_pulls_nothing():
    # x e^x tends to 0 as x falls; where the old policy rules it out, too, there is no ratio.
    x = real([-INF, -INF]).requires_grad_()
    losses = cispo_loss(x, real([-1.0, -INF]), real([2.0, 2.0]))
    (slope,) = torch.autograd.grad(losses[0], x)
    assert losses[0] == 0
    assert slope.tolist() == [0, 0]
    assert losses[1].isnan()


def test_a_half_ratio_keeps_the_old_policy():
    # float16 steps by 0.5 at -700: the ratio is of the inputs as given, not of their roundings.
    x, old, a = torch.tensor([[-700.0]]).half(), torch.tensor([[-700.2]]), torch.ones(1)
    answer = gspo_loss(x, old, a, keep([True]), epsilon_high=0.5).item()
    assert answer == pytest.approx(-math.exp(0.2), rel=2e-3)
    assert cispo_loss(x[0], old[0], a).item() == pytest.approx(700 * math.exp(0.2), rel=2e-3)


def test_a_cut_answer_has_no_gradient_however_far_off():
    x = torch.tensor([[100.0, 100.0], [-1e4, -1e4]]).requires_grad_()
    a, m = torch.tensor([1.0, -1.0]), torch.ones(2, 2).bool()
    losses = gspo_loss(x, torch.zeros(2, 2), a, m)
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert not slope.any()
    assert losses.isfinite().all()


def test_what_the_mask_hides_moves_nothing():
    x = real([[-1.0, math.nan], [INF, math.nan]]).requires_grad_()
    old, a, m = real([[-1.1, 0.0], [0.0, INF]]), real([1.0, 2.0]), keep([True, False], [False] * 2)
    losses = gspo_loss(x, old, a, m, epsilon=0.2, epsilon_high=0.2)
    (slope,) = torch.autograd.grad(losses.sum(), x)
    np.testing.assert_allclose(losses.detach(), [-math.exp(0.1), -2])
    np.testing.assert_allclose(slope, [[-math.exp(0.1), 0], [0, 0]])


def test_cispo_never_cuts_the_gradient_off():
    x = real([1.5, 0.5]).log().requires_grad_()
    losses = cispo_loss(x, real([0.0, 0.0]), real([1.0, -1.0]), max_ratio=1.2)
    (slope,) = torch.autograd.grad(losses.sum(), x)
    np.testing.assert_allclose(slope, [-1.2, 0.5])


def test_rloo_is_reinforce_with_the_gradient_of_ppo_at_the_old_policy():
    rng = np.random.default_rng(0)
    x = real(rng.normal(size=4)).requires_grad_()
    a = leave_one_out_advantages(real(rng.normal(size=4)))
    (reinforce,) = torch.autograd.grad((-a * x).sum(), x)
    (ppo,) = torch.autograd.grad(ppo_clip_loss(x, x.detach(), a).sum(), x)
    torch.testing.assert_close(reinforce, ppo)


def test_integer_advantages_are_numbers():
    x, old = real([[0.1], [-0.3]]), real([[0.0], [0.0]])
    m = keep([True], [True])
    ours = gspo_loss(x, old, integer([1, -1]), m)
    assert ours.equal(gspo_loss(x, old, real([1, -1]), m))
