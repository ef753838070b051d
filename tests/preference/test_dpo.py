import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.binary_cross_entropy import binary_cross_entropy
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.preference.dpo import dpo_loss, ipo_loss, kto_loss, sequence_log_probs
from lossbook.ranking.margin_ranking import margin_ranking_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real

INF = math.inf


# sequence_log_probs


def answers(rng):
    logits, labels = rng.normal(size=(4, 5, 3)) * 2, rng.integers(0, 3, size=(4, 5))
    mask = rng.random((4, 5)) < 0.7
    mask[:, 2] = True
    return real(logits), integer(labels), torch.from_numpy(mask)


def token_log_probs(logits, labels, mask):
    # What is hidden is put out of the way first, since it may be anything.
    logits = np.where(mask[..., None], logits, 0 * np.ones_like(mask)[..., None])
    labels = np.where(mask, labels, 0)
    p = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    n, t = np.indices(labels.shape)
    return np.where(mask, np.log(p[n, t, labels]), 0)


def summed(logits, labels, mask, average=False):
    count = np.maximum(mask.sum(1), 1) if average else 1
    return token_log_probs(logits, labels, mask).sum(1) / count


def summed_slope(logits, labels, mask, average=False):
    logits = np.where(mask[..., None], logits, 0 * np.ones_like(mask)[..., None])
    p = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    truth = np.where(mask, labels, 0)[..., None] == np.arange(p.shape[2])
    count = np.maximum(mask.sum(1), 1)[:, None, None] if average else 1
    return np.where(mask[..., None], (truth - p) / count, 0)


def torch_cross_entropy(logits, labels, mask, average=False):
    losses = F.cross_entropy(logits.mT, labels.where(mask, -100), reduction="none")
    return -losses.sum(1) / (mask.sum(1) if average else 1)


def keep(*rows):
    return torch.tensor(rows, dtype=torch.bool)


HIDDEN = (
    real([[[1.0, 2.0, 0.0], [1e300, INF, -INF], [INF, INF, INF], [0.0, 0.0, 0.0]]]),
    integer([[0, -100, 7, 2]]),
    keep([True, False, False, True]),
)
CERTAIN = (real([[[40.0, 0.0, 0.0]] * 2]), integer([[0, 0]]), keep([True, True]))
UNIFORM = (real([[[5.0, 5.0, 5.0]] * 2]), integer([[0, 2]]), keep([True, True]))
LABELS, MASK = torch.zeros(2, 3).long(), torch.ones(2, 3).bool()

# The losses


def quads(rng):
    return tuple(real(rng.normal(size=(4, 2)) * 3 - 20) for _ in range(4))


def vectors(rng):
    return tuple(real(rng.normal(size=5) * 3 - 20) for _ in range(4))


def near_dpo(rng):
    """Leads from 1 to 150 nats, whose loss at the least beta is down to 3e-7."""
    rest = rng.integers(-8, 8, size=(3, 6)) / 4.0
    lead = np.array([1, 2, 10, 30, 80, 150.0])
    return tuple(real(x) for x in (lead + rest[0], rest[1], rest[0] - rest[1] + rest[2], rest[2]))


def near_ipo(rng):
    """Leads that are 5 or 2, the targets at both settings, but for 1 down to 1e-6 and 0."""
    rest = rng.integers(-8, 8, size=(3, 9)) / 4.0
    off = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0, 3])
    lead = np.where(rng.random(9) < 0.5, 5, 2) + off
    return tuple(real(x) for x in (lead + rest[0], rest[1], rest[0] - rest[1] + rest[2], rest[2]))


def lead_of(c, r, c_ref, r_ref):
    return (c - r) - (c_ref - r_ref)


def dpo(c, r, c_ref, r_ref, beta=0.1, label_smoothing=0.0):
    better = 1 / (1 + np.exp(-beta * lead_of(c, r, c_ref, r_ref)))
    worse = 1 / (1 + np.exp(beta * lead_of(c, r, c_ref, r_ref)))
    if not label_smoothing:
        return -np.log(better)
    return -(1 - label_smoothing) * np.log(better) - label_smoothing * np.log(worse)


def dpo_slope(c, r, c_ref, r_ref, beta=0.1, label_smoothing=0.0):
    better = 1 / (1 + np.exp(-beta * lead_of(c, r, c_ref, r_ref)))
    slope = beta * (better - (1 - label_smoothing))
    return slope, -slope


def ipo(c, r, c_ref, r_ref, tau=0.1):
    return (lead_of(c, r, c_ref, r_ref) - 1 / (c * 0 + 2 * tau)) ** 2


def ipo_slope(c, r, c_ref, r_ref, tau=0.1):
    slope = 2 * (lead_of(c, r, c_ref, r_ref) - 1 / (c * 0 + 2 * tau))
    return slope, -slope


def liger_dpo(c, r, c_ref, r_ref, beta=0.1, label_smoothing=0.0):
    from liger_kernel.chunked_loss.dpo_loss import LigerFusedLinearDPOFunction

    if label_smoothing:  # Its own is robust DPO's.
        return NotImplemented
    flat = [x.flatten() for x in (c, r, c_ref, r_ref)]
    pairs = torch.zeros(2 * c.numel(), 1)
    found = LigerFusedLinearDPOFunction.preference_loss_fn(*flat[:2], pairs, *flat[2:], beta=beta)
    return found[0]


def torch_dpo(c, r, c_ref, r_ref, beta=0.1, label_smoothing=0.0):
    lead = beta * lead_of(c, r, c_ref, r_ref)
    truth = torch.full_like(lead, 1 - label_smoothing)
    return F.binary_cross_entropy_with_logits(lead, truth, reduction="none")


def unpaired(rng):
    good = torch.from_numpy(rng.random((4, 2)) < 0.5)
    kl = real(rng.normal() * 2)
    return real(rng.normal(size=(4, 2)) * 9), real(rng.normal(size=(4, 2)) * 9), good, kl


def near_kto(rng):
    """Desirable answers far above the reference point, and undesirable ones far below."""
    far = np.array([1, 5, 10, 30, 80, 150.0])
    good = rng.random(6) < 0.5
    reference = rng.integers(-8, 8, size=6) / 4.0
    ratios = np.where(good, 0.5 + far, 0.5 - far)
    return real(reference + ratios), real(reference), torch.from_numpy(good), real(0.5)


def kto(log_probs, reference, good, kl, beta=0.1, desirable_weight=1.0, undesirable_weight=1.0):
    gain = (log_probs - reference - np.where(kl > 0, kl, 0)) * np.where(good, 1.0, -1.0)
    weight = np.where(good, desirable_weight, undesirable_weight)
    return weight / (1 + np.exp(beta * gain))  # = weight - weight sigmoid(gain)


def kto_slope(log_probs, reference, good, kl, beta=0.1, **weights):
    value = kto(log_probs, reference, good, kl, beta)
    sign = np.where(good, -1.0, 1.0)
    weight = np.where(
        good, weights.get("desirable_weight", 1.0), weights.get("undesirable_weight", 1.0)
    )
    return weight * sign * beta * value * (1 - value)


def liger_kto(log_probs, reference, good, kl, beta=0.1, **weights):
    from liger_kernel.chunked_loss.kto_loss import LigerFusedLinearKTOFunction

    if weights:
        return NotImplemented
    flat = log_probs.flatten(), good.flatten(), torch.zeros(log_probs.numel(), 1)
    ref = reference.flatten()
    found = LigerFusedLinearKTOFunction.preference_loss_fn(
        *flat, ref_log_prob_chunk=ref, beta=beta, kl=kl.clamp_min(0)
    )
    return found[0]


FOUR = tuple(real([x]) for x in (-10.0, -12.0, -11.0, -11.5))
LEADS = {
    "nothing learned": tuple(real([x]) for x in (-700.0, -30.0, -700.0, -30.0)),
    "ahead by 1e4": tuple(real([x]) for x in (-1.0, -1e4, -1.0, -1.0)),
    "behind by 1e4": tuple(real([x]) for x in (-1e4, -1.0, -1.0, -1.0)),
    "ahead by 150": tuple(real([x]) for x in (-10.0, -200.0, -50.0, -90.0)),
    "no references": tuple(real([x]) for x in (-10.0, -12.0, 0.0, 0.0)),
}
ALL = torch.zeros(3), torch.zeros(3), torch.zeros(3), torch.zeros(3)
GOOD = torch.tensor([True, False, True])
KTO = torch.zeros(3), torch.zeros(3), GOOD, torch.tensor(0.0)


def put(inputs, place, value):
    return (*inputs[:place], value, *inputs[place + 1 :])


NAMES = ("chosen_log_probs", "rejected_log_probs", "reference_chosen", "reference_rejected")
FOUR_ERRORS = [
    *((put(ALL, i, torch.zeros(3).long()), {}, f"floating {n}") for i, n in enumerate(NAMES)),
    *(
        (put(ALL, i, torch.zeros(shape)), {}, rf"{NAMES[i]}\w* of shape \(3,\), got")
        for i in (1, 2, 3)
        for shape in ((1,), (3, 1), ())
    ),
]


def cases():
    pairs = {
        "inputs": (quads, vectors),
        "detached": (2, 3),
        "domains": dict.fromkeys(range(4), (-300.0, 0.0)),
        "adversarial": LEADS,
    }
    return [
        Case(
            loss=sequence_log_probs,
            inputs=answers,
            reference=summed,
            settings=({}, {"average": True}),
            adversarial={
                "anything under the mask": HIDDEN,
                "nothing left": (
                    real([[[INF] * 3] * 2, [[1.0, 2.0, 3.0]] * 2]),
                    integer([[-1, 9], [0, 1]]),
                    keep([False, False], [True, False]),
                ),
                "certain": CERTAIN,
                "wrong by 1e4": (
                    real([[[1e4, 0.0, -1e4]] * 2]),
                    integer([[2, 1]]),
                    keep([True, True]),
                ),
                "a label ruled out": (real([[[0.0, -INF]]]), integer([[1]]), keep([True])),
            },
            gradient=summed_slope,
            classes={0: 2, 1: 2},
            invariances={
                "shift of the logits": lambda x, y, m: (x + 5.0, y, m),
                "what is hidden": lambda x, y, m: (
                    x.masked_fill(~m.unsqueeze(2), math.nan),
                    y.masked_fill(~m, -100),
                    m,
                ),
                "tokens moved": lambda x, y, m: (x.flip(1), y.flip(1), m.flip(1)),
            },
            relations={
                "minus the sum of cross entropies": lambda loss, x, y, m: (
                    loss(x, y, m),
                    -(cross_entropy(x.mT, y) * m).sum(1),
                ),
                "the average times the number of tokens": lambda loss, x, y, m: (
                    loss(x, y, m, average=True) * m.sum(1),
                    loss(x, y, m),
                ),
                "a mask and what it hides sum to everything": lambda loss, x, y, m: (
                    loss(x, y, m) + loss(x, y, ~m),
                    loss(x, y, torch.ones_like(m)),
                ),
                "padding changes no average": lambda loss, x, y, m: (
                    loss(F.pad(x, (0, 0, 0, 2)), F.pad(y, (0, 2)), F.pad(m, (0, 2)), average=True),
                    loss(x, y, m, average=True),
                ),
                "all answers of one length sum to 1": lambda loss, x, _, m: (
                    sum(
                        loss(x[:, :2], torch.tensor([[a, b]] * 4), m[:, :2] | True).exp()
                        for a in range(3)
                        for b in range(3)
                    ),
                    torch.ones(4).double(),
                ),
            },
            peers={"torch": torch_cross_entropy},
            infinite={
                "another token ruled out": (
                    (real([[[0.0, 0.0, -INF]]]), integer([[0]]), keep([True])),
                    [-math.log(2)],
                ),
                "the label ruled out": (
                    (
                        real([[[0.0, -INF], [0.0, 0.0]], [[0.0, 0.0], [0.0, -INF]]]),
                        integer([[1, 0], [0, 1]]),
                        keep([True, True], [True, False]),
                    ),
                    [-INF, -math.log(2)],
                ),
            },
            errors=[
                ((torch.zeros(2, 3, 4).long(), LABELS, MASK), {}, "floating logits of shape"),
                ((torch.zeros(6, 4), LABELS, MASK), {}, r"shape \(N, T, V\), got .* \(6, 4\)"),
                ((torch.zeros(2, 3, 4), LABELS[:, :2], MASK), {}, r"labels of shape \(2, 3\), got"),
                ((torch.zeros(2, 3, 4), LABELS[:1], MASK), {}, r"labels of shape \(2, 3\), got"),
                ((torch.zeros(2, 3, 4), LABELS.float(), MASK), {}, "labels of dtype int64"),
                ((torch.zeros(2, 3, 4), LABELS, MASK.long()), {}, "mask of dtype bool"),
                ((torch.zeros(2, 3, 4), LABELS, MASK.float()), {}, "mask of dtype bool"),
                ((torch.zeros(2, 3, 4), LABELS, MASK[:, :1]), {}, r"mask of shape \(2, 3\), got"),
                ((torch.zeros(2, 3, 4), LABELS, MASK[0]), {}, r"mask of shape \(2, 3\), got"),
            ],
            facts={
                "range": (-INF, 0.0),
                "perfect": (CERTAIN, 0.0),
                "chance": (UNIFORM, -2 * math.log(3), "two tokens: -2 log V, with V = 3"),
                "convex": False,  # Concave.
            },
        ),
        Case(
            loss=dpo_loss,
            infinite={
                "one answer ruled out": (
                    (
                        real([-1.0, -INF]),
                        real([-INF, -1.0]),
                        real([-1.0, -1.0]),
                        real([-2.0, -2.0]),
                    ),
                    [0.0, INF],
                ),
            },
            reference=dpo,
            settings=({}, {"beta": 0.5}, {"label_smoothing": 0.1}),
            ranges={"beta": (0.01, 2.0), "label_smoothing": (0.0, 0.45)},
            near=near_dpo,
            gradient=dpo_slope,
            invariances={
                "a constant for both of a prompt": lambda a, b, c, d: (a + 3, b + 3, c - 2, d - 2),
                "policy and reference made likelier": lambda a, b, c, d: (a + 3, b, c + 3, d),
            },
            relations={
                "cross entropy of a target of 1 - e": lambda loss, *x: (
                    loss(*x, beta=0.3, label_smoothing=0.2),
                    binary_cross_entropy(0.3 * lead_of(*x), torch.full_like(x[0], 0.8)),
                ),
                "conservative: a share e of the pairs is flipped": lambda loss, a, b, c, d: (
                    loss(a, b, c, d, label_smoothing=0.2),
                    0.8 * loss(a, b, c, d) + 0.2 * loss(b, a, d, c),
                ),
                "beta is the unit of the log-ratios": lambda loss, *x: (
                    loss(*(3 * y for y in x), beta=0.2),
                    loss(*x, beta=0.6),
                ),
                "both orders differ by the lead": lambda loss, a, b, c, d: (
                    loss(b, a, d, c, beta=1.0) - loss(a, b, c, d, beta=1.0),
                    lead_of(a, b, c, d),
                ),
            },
            peers={"torch": torch_dpo, "liger-kernel": liger_dpo},
            errors=[
                *FOUR_ERRORS,
                *((ALL, {"beta": b}, "beta > 0, got") for b in (0.0, -0.1, math.nan)),
                *(
                    (ALL, {"label_smoothing": e}, r"label_smoothing in \[0, 0\.5\), got")
                    for e in (-0.1, 0.5, 1.0)
                ),
            ],
            facts={
                "range": (0.0, INF),
                "perfect": (LEADS["ahead by 1e4"], 0.0),
                "chance": (LEADS["nothing learned"], math.log(2), "nothing learned: log 2"),
                "convex": True,
            },
            **pairs,
        ),
        Case(
            loss=ipo_loss,
            reference=ipo,
            settings=({}, {"tau": 0.25}),
            ranges={"tau": (0.05, 3.0)},
            near=near_ipo,
            gradient=ipo_slope,
            invariances={
                "a constant for both of a prompt": lambda a, b, c, d: (a + 3, b + 3, c - 2, d - 2),
                "policy and reference made likelier": lambda a, b, c, d: (a + 3, b, c + 3, d),
            },
            relations={
                "both orders: least at no lead": lambda loss, a, b, c, d: (
                    loss(a, b, c, d) + loss(b, a, d, c),
                    2 * lead_of(a, b, c, d) ** 2 + 2 * 5.0**2,
                ),
                "tau is the unit of the log-ratios": lambda loss, *x: (
                    loss(*(2 * y for y in x), tau=0.5),
                    4 * loss(*x, tau=1.0),
                ),
                "a lead of twice the target costs what none does": lambda loss, _, b, c, d: (
                    loss(b + (c - d) + 10, b, c, d),
                    loss(b + (c - d), b, c, d),
                ),
            },
            peers={
                "torch": lambda c, r, c_ref, r_ref, tau=0.1: F.mse_loss(
                    lead_of(c, r, c_ref, r_ref), torch.full_like(c, 1 / (2 * tau)), reduction="none"
                )
            },
            errors=[
                *FOUR_ERRORS,
                *((ALL, {"tau": t}, "tau > 0, got") for t in (0.0, -0.1, math.nan)),
            ],
            facts={
                "range": (0.0, INF),
                "perfect": (tuple(real([x]) for x in (-5.0, -12.0, -9.5, -11.5)), 0.0),
                "chance": (LEADS["nothing learned"], 25.0, "nothing learned: 1 / (4 tau^2)"),
                "convex": True,
            },
            **(pairs | {"adversarial": LEADS | {"on target": (*FOUR[:2], real([-14.5]), FOUR[3])}}),
        ),
        Case(
            loss=kto_loss,
            infinite={
                "answers ruled out": (
                    (real([-INF, -INF]), real([-1.0, -1.0]), keep([True, False])[0], real(0.0)),
                    [1.0, 0.0],
                ),
            },
            inputs=unpaired,
            reference=kto,
            settings=({}, {"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.5}),
            ranges={
                "beta": (0.01, 2.0),
                "desirable_weight": (0.0, 2.0),
                "undesirable_weight": (0.0, 3.0),
            },
            near=near_kto,
            detached=(1, 3),
            batch=(0, 1, 2),
            domains=dict.fromkeys((0, 1), (-300.0, 0.0)) | {3: (-30.0, 30.0)},
            adversarial={
                "at the reference point": (real([-3.0]), real([-5.0]), keep(True), real(2.0)),
                "kl below 0": (real([-3.0, -3.0]), real([-5.0] * 2), keep(True, False), real(-9.0)),
                "1e4 above": (real([1e4] * 2), real([0.0] * 2), keep(True, False), real(1.0)),
                "1e4 below": (real([-1e4] * 2), real([0.0] * 2), keep(True, False), real(0.0)),
            },
            gradient=kto_slope,
            invariances={
                "policy and reference made likelier": lambda a, b, g, kl: (a + 3, b + 3, g, kl),
            },
            relations={
                "the two sides sum to the weight": lambda loss, a, b, g, kl: (
                    loss(a, b, g, kl) + loss(a, b, ~g, kl),
                    torch.ones_like(a),
                ),
                "gains and losses mirrored": lambda loss, a, b, g, kl: (
                    loss(a, b, g, kl.abs()),
                    loss(2 * b - a + 2 * kl.abs(), b, ~g, kl.abs()),
                ),
                "weights lie inside": lambda loss, a, b, g, kl: (
                    loss(a, b, g, kl, desirable_weight=2.0, undesirable_weight=3.0),
                    torch.where(g, 2.0, 3.0).double() * loss(a, b, g, kl),
                ),
                "a negative kl is 0": lambda loss, a, b, g, kl: (
                    loss(a, b, g, -kl.abs()),
                    loss(a, b, g, 0 * kl),
                ),
            },
            peers={"liger-kernel": liger_kto},
            errors=[
                (put(KTO, 0, torch.zeros(3).long()), {}, "floating log_probs"),
                (put(KTO, 1, torch.zeros(3).long()), {}, "floating reference_log_probs"),
                (put(KTO, 1, torch.zeros(1)), {}, r"reference_log_probs of shape \(3,\), got"),
                (put(KTO, 1, torch.zeros(3, 1)), {}, r"reference_log_probs of shape \(3,\), got"),
                (put(KTO, 2, GOOD.long()), {}, "is_desirable of dtype bool"),
                (put(KTO, 2, GOOD.float()), {}, "is_desirable of dtype bool"),
                (put(KTO, 2, GOOD[:1]), {}, r"is_desirable of .* shape \(3,\), got"),
                (put(KTO, 2, GOOD[:, None]), {}, r"is_desirable of .* shape \(3,\), got"),
                (put(KTO, 3, torch.zeros(3)), {}, r"kl of shape \(\), got"),
                (put(KTO, 3, torch.zeros(1)), {}, r"kl of shape \(\), got"),
                (put(KTO, 3, torch.tensor(0)), {}, "floating kl"),
                *((KTO, {"beta": b}, "beta > 0, got") for b in (0.0, -0.1)),
                (KTO, {"desirable_weight": -0.1}, "desirable_weight >= 0, got"),
                (KTO, {"undesirable_weight": -0.1}, "undesirable_weight >= 0, got"),
            ],
            facts={
                "range": (0.0, 1.0),
                "chance": (
                    (real([-3.0]), real([-5.0]), keep(True), real(2.0)),
                    0.5,
                    "a ratio at the KL",
                ),
                "perfect": ((real([1e4]), real([0.0]), keep(True), real(1.0)), 0.0),
                "convex": False,
            },
        ),
    ]


def rows():
    def four(n):
        return bench.leaf(n), bench.leaf(n), torch.randn(n), torch.randn(n)

    def unpaired(n):
        return bench.leaf(n), torch.randn(n), torch.rand(n) < 0.5, torch.tensor(0.1)

    found = []
    for n in (1 << 20, 64):
        found += [
            Row(
                dpo_loss,
                slower=bench.CALL,
                shape="{}",
                n=n,
                inputs=four,
                peers={FORMULA: lambda c, r, a, b: -F.logsigmoid(0.1 * ((c - a) - (r - b))).mean()},
            ),
            Row(
                ipo_loss,
                slower=bench.CALL,
                shape="{}",
                n=n,
                inputs=four,
                peers={FORMULA: lambda c, r, a, b: (((c - a) - (r - b) - 5) ** 2).mean()},
            ),
            Row(
                kto_loss,
                slower="each kind of answer has its weight: two more products",
                shape="{}",
                n=n,
                inputs=unpaired,
                peers={
                    FORMULA: lambda x, r, g, kl: (
                        1 - (0.1 * (x - r - kl) * torch.where(g, 1, -1)).sigmoid()
                    ).mean()
                },
            ),
        ]
    return found


def test_values_by_hand():
    # h = (-10 + 11) - (-12 + 11.5) = 1.5.
    assert dpo_loss(*FOUR).item() == pytest.approx(math.log1p(math.exp(-0.15)), rel=1e-12)
    smooth = dpo_loss(*FOUR, label_smoothing=0.1).item()
    assert smooth == pytest.approx(math.log1p(math.exp(-0.15)) + 0.015, rel=1e-12)
    assert ipo_loss(*FOUR).item() == pytest.approx(3.5**2)
    # r = 2, z = 0.5: sigmoid(-0.15) and sigmoid(0.15).
    losses = kto_loss(real([-8.0] * 2), real([-10.0] * 2), keep(True, False), real(0.5))
    np.testing.assert_allclose(losses, [0.4625701547, 0.5374298453], rtol=1e-9)


def test_a_sum_by_hand():
    # log(1/4) and log(1/2) count, the label -100 between them does not.
    x = real([[[0.25, 0.5, 0.25]] * 3]).log()
    y, m = integer([[0, -100, 1]]), keep([True, False, True])
    assert sequence_log_probs(x, y, m).item() == pytest.approx(-math.log(8))
    assert sequence_log_probs(x, y, m, average=True).item() == pytest.approx(-math.log(8) / 2)


def test_what_the_mask_hides_moves_nothing():
    x, y, m = (z.clone() for z in HIDDEN)
    x[0, 1, 0] = math.nan
    x.requires_grad_()
    for average in (False, True):
        value = sequence_log_probs(x, y, m, average=average)
        assert value.isfinite().all()
        (slope,) = torch.autograd.grad(value.sum(), x)
        assert slope[~m].tolist() == [[0, 0, 0], [0, 0, 0]]
        assert slope[m].all()


def test_nothing_left_is_0_with_zero_gradient():
    x = torch.full((2, 3, 4), math.nan).requires_grad_()
    value = sequence_log_probs(x, LABELS, ~MASK, average=True)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert (value.tolist(), slope.abs().sum().item()) == ([0, 0], 0)


def test_many_tokens_are_summed_in_float32():
    # One by one in bfloat16 they would stop at -512; rounded first, they would give -6400.
    x = torch.zeros(1, 3582, 6, dtype=torch.bfloat16)
    y = torch.zeros(1, 3582).long()
    value = sequence_log_probs(x, y, torch.ones(1, 3582).bool()).item()
    assert value == -6432  # The next to -3582 log 6 = -6418.1 among multiples of 32.


def test_settings_at_0_and_infinite_log_probs():
    c, r, zero = real([-INF, -1.0]), real([-1.0, -INF]), real([0.0, 0.0])
    for e in (0.0, torch.tensor(0.0)):
        assert dpo_loss(c, r, zero, zero, label_smoothing=e).tolist() == [INF, 0]
    for e in (0.1, torch.tensor(0.1)):
        assert dpo_loss(c, r, zero, zero, label_smoothing=e).tolist() == [INF, INF]


def test_smoothing_is_least_where_the_preferences_are_flipped_that_often():
    c = real([10 * math.log(9), 10 * math.log(4)]).requires_grad_()
    zero = torch.zeros(2).double()
    (slope,) = torch.autograd.grad(dpo_loss(c, zero, zero, zero, label_smoothing=0.1).sum(), c)
    assert slope[0].item() == pytest.approx(0, abs=1e-12)
    assert slope[1].item() < 0


def test_past_its_target_ipo_pulls_back():
    c = real([0.0, 5.0, 10.0]).requires_grad_()
    zero = torch.zeros(3).double()
    (slope,) = torch.autograd.grad(ipo_loss(c, zero, zero, zero).sum(), c)
    assert slope.tolist() == [-10, 0, 10]


def test_a_half_sum_keeps_its_reference():
    # float16 steps by 0.5 at -700: the ratio is of the inputs as given, not of their roundings.
    c = torch.tensor([-700.0]).half()
    zero = torch.zeros(1)
    loss = dpo_loss(c, zero, torch.tensor([-700.2]), zero, beta=1.0)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-0.2)), rel=2e-3)


def test_an_undesirable_answer_that_is_loved_pulls_no_more():
    x = real([0.0, 40.0, 400.0]).requires_grad_()
    losses = kto_loss(x, torch.zeros(3).double(), keep(False, False, False), real(0.0))
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert slope.tolist() == pytest.approx([0.025, 0.1 * 0.0176627, 0], abs=1e-6)


def test_recipes_of_one_line():
    # SLiC-HF's calibration is a margin on the log-probabilities, hinge DPO one on the log-ratios,
    # CPO is DPO whose reference is uniform.
    c, r, a, b = quads(np.random.default_rng(0))
    ones = torch.ones_like(c)
    torch.testing.assert_close(
        margin_ranking_loss(c, r, ones, margin=2.0), (2.0 - c + r).clamp_min(0)
    )
    torch.testing.assert_close(
        margin_ranking_loss(0.1 * (c - a), 0.1 * (r - b), ones, margin=1.0),
        (1 - 0.1 * lead_of(c, r, a, b)).clamp_min(0),
    )
    torch.testing.assert_close(dpo_loss(c, r, 0 * a, 0 * b), -F.logsigmoid(0.1 * c - 0.1 * r))


def test_a_token_that_is_nearly_certain_keeps_its_digits():
    logits = torch.tensor([[[17.5, 0.0, 0.0]]])
    value = sequence_log_probs(logits, torch.tensor([[0]]), torch.tensor([[True]]))
    assert value.item() == pytest.approx(-math.log1p(2 * math.exp(-17.5)), rel=1e-5)
