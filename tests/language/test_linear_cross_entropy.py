import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lossbook import Criterion
from lossbook.book.pages.speed import FORMULA
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.language.auxiliary import z_loss
from lossbook.language.linear_cross_entropy import linear_cross_entropy
from tests.bench import measure
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real

# torch.compile makes such an object of its own to trace any autograd.Function.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

INF = math.inf


def flat(rng):
    hidden, weight = rng.normal(size=(5, 3)) / 2, rng.normal(size=(4, 3)) / 2
    return real(hidden), integer(rng.integers(0, 4, 5)), real(weight)


def dense(rng):
    hidden, weight = rng.normal(size=(2, 3, 4)) / 2, rng.normal(size=(5, 4)) / 2
    return real(hidden), integer(rng.integers(0, 5, (2, 3))), real(weight)


def near(rng):
    """Labels whose probability is 1 but for 1/2 down to 1e-13, and 1."""
    hidden = np.concatenate([np.eye(7), rng.integers(-8, 8, size=(7, 2)) / 16], 1)
    weight = np.concatenate([np.zeros((4, 7)), rng.integers(-8, 8, size=(4, 2)) / 16], 1)
    weight[2, :7] = [2, 5, 10, 15, 20, 30, 900]
    return real(hidden), integer([2] * 7), real(weight)


def logits_of(hidden, weight):
    # Dot products by hand: the extremes come as arrays of long numbers.
    return (hidden[..., None, :] * weight).sum(-1)


def equation(hidden, labels, weight, z_weight=0.0):
    x = logits_of(hidden, weight)
    total = np.exp(x).sum(-1)
    truth = labels[..., None] == np.arange(len(weight))
    own = np.where(truth, np.exp(x), 0).sum(-1)
    losses = -np.log(own / total)
    return losses + z_weight * np.log(total) ** 2 if z_weight else losses


def slope(hidden, labels, weight, z_weight=0.0):
    x = logits_of(hidden, weight)
    total = np.exp(x).sum(-1, keepdims=True)
    truth = labels[..., None] == np.arange(len(weight))
    g = (1 + 2 * z_weight * np.log(total)) * np.exp(x) / total - truth
    rows = [y.reshape(-1, y.shape[-1]) for y in (g, hidden)]
    return (
        (g[..., None] * weight).sum(-2),
        (rows[0][:, :, None] * rows[1][:, None, :]).sum(0),
    )


def torch_fused(hidden, labels, weight, z_weight=0.0):
    if z_weight:
        return NotImplemented
    rows = hidden.reshape(-1, hidden.shape[-1])
    losses = F.linear_cross_entropy(rows, weight, labels.reshape(-1), reduction="none")
    return losses.reshape(labels.shape)


def torch_table(hidden, labels, weight, z_weight=0.0):
    x = F.linear(hidden, weight)
    losses = F.cross_entropy(x.movedim(-1, 1), labels, reduction="none")
    return losses + z_weight * x.logsumexp(-1) ** 2


SURE = (real([[1e4, 0.0], [0.0, 40.0]]), integer([0, 1]), real([[1.0, 0.0], [0.0, 1.0], [-1, -1]]))
EQUAL = (real([[3.0, -1.0]]), integer([2]), torch.full((5, 2), 0.7).double())
HIDDEN, LABELS, WEIGHT = torch.zeros(2, 3), torch.zeros(2).long(), torch.zeros(5, 3)


def cases():
    fused_peers = {"torch linear_cross_entropy": torch_fused}
    if not hasattr(F, "linear_cross_entropy"):  # An older torch.
        fused_peers = {}
    return [
        Case(
            loss=linear_cross_entropy,
            inputs=(flat, dense),
            reference=equation,
            settings=({}, {"z_weight": 0.1}),
            ranges={"z_weight": (0.0, 2.0)},
            near=near,
            batch=(0, 1),
            domains={0: (-30.0, 30.0), 2: (-30.0, 30.0)},
            adversarial={
                "sure": SURE,
                "wrong by 1e4": (SURE[0], integer([1, 2]), SURE[2]),
                "equal logits": EQUAL,
                "a zero vector": (real([[0.0, 0.0]]), integer([1]), SURE[2]),
            },
            gradient=slope,
            invariances={
                "another basis": lambda h, y, w: (h.flip(-1) * 2, y, w.flip(-1) / 2),
            },
            relations={
                "cross entropy of the table": lambda loss, h, y, w: (
                    loss(h, y, w),
                    cross_entropy((h @ w.T).movedim(-1, 1), y),
                ),
                "one vector added to all of the vocabulary": lambda loss, h, y, w: (
                    loss(h, y, w + w[:1] / 2),
                    loss(h, y, w),
                ),
                "the squared log Z is the z-loss": lambda loss, h, y, w: (
                    loss(h, y, w, z_weight=0.3),
                    loss(h, y, w) + 0.3 * z_loss(h @ w.T),
                ),
                "a bias is a column": lambda loss, h, y, w: (
                    loss(F.pad(h, (0, 1), value=1.0), y, torch.cat([w, w[:, :1]], 1)),
                    cross_entropy(F.linear(h, w, w[:, 0]).movedim(-1, 1), y),
                ),
                "two ranks of the vocabulary": lambda loss, h, y, w: (
                    loss(h, 0 * y, w),
                    torch.logaddexp((h @ w[:2].T).logsumexp(-1), (h @ w[2:].T).logsumexp(-1))
                    - h @ w[0],
                ),
            },
            peers={"torch": torch_table, **fused_peers},
            errors=[
                ((HIDDEN.long(), LABELS, WEIGHT), {}, "floating hidden, got"),
                ((HIDDEN, LABELS, WEIGHT.long()), {}, "floating weight, got"),
                ((HIDDEN, LABELS.float(), WEIGHT), {}, "labels of dtype int64"),
                ((HIDDEN, WEIGHT, LABELS), {}, "floating weight, got"),
                ((HIDDEN, WEIGHT, WEIGHT), {}, "labels of dtype int64"),
                *(
                    ((HIDDEN, torch.zeros(s).long(), WEIGHT), {}, r"labels of shape \(2,\), got")
                    for s in ((3,), (2, 1), (1,), (), (2, 5))
                ),
                *(
                    ((HIDDEN, LABELS, torch.zeros(s)), {}, r"weight of shape \(V, D\)")
                    for s in ((3, 5), (3,), (1, 5, 3), ())
                ),
                *(
                    ((HIDDEN, LABELS, WEIGHT), {"z_weight": z}, "z_weight >= 0, got")
                    for z in (-0.1, math.nan)
                ),
            ],
            facts={
                "range": (0.0, INF),
                "perfect": (SURE, 0.0),
                "chance": (EQUAL, math.log(5), "log V, with V = 5"),
                "convex": True,
            },
        ),
    ]


def rows():
    def inputs(n):
        return (
            bench.leaf(n, 256),
            torch.randint(32000, (n,)),
            (torch.randn(32000, 256) / 16).requires_grad_(),
        )

    peers = {
        "torch": lambda h, y, w: F.cross_entropy(F.linear(h, w), y),
        FORMULA: lambda h, y, w: ((h @ w.T).exp().sum(1).log() - (h * w[y]).sum(1)).mean(),
    }
    if hasattr(F, "linear_cross_entropy"):
        peers["torch linear_cross_entropy"] = lambda h, y, w: F.linear_cross_entropy(h, w, y)
    return [
        Row(
            linear_cross_entropy,
            slower="the logits are formed twice, and never held at once",
            shape="{} x 256, 32000 tokens",
            n=1024,
            inputs=inputs,
            peers=peers,
        )
    ]


class Peak(TorchDispatchMode):
    """The largest tensor that an operator made."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(x, torch.Tensor):
                self.largest = max(self.largest, x.numel())
        return result


def test_values_by_hand():
    # Logits 1, 2 and -1: log(e + e^2 + 1/e) - 2, and log Z = 2.349 squared.
    h, w = real([[1.0, 2.0]]), real([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
    loss = linear_cross_entropy(h, integer([1]), w).item()
    log_z = math.log(math.e + math.e**2 + 1 / math.e)
    assert loss == pytest.approx(log_z - 2, rel=1e-14)
    with_z = linear_cross_entropy(h, integer([1]), w, z_weight=0.1).item()
    assert with_z == pytest.approx(0.9007980562, rel=1e-9)


def blocks_of(logits):
    return patch.dict(linear_cross_entropy.__globals__, _BLOCK=logits)


def test_blocks_sum_to_the_whole_and_no_table_is_made():
    # Blocks of 46 rows, the last one shorter; every row has a weight of its own.
    rng = np.random.default_rng(0)
    h, w = real(rng.normal(size=(600, 4))), real(rng.normal(size=(700, 4)))
    y, weights = integer(rng.integers(0, 700, 600)), real(rng.random(600))
    found = []
    for loss in (linear_cross_entropy, lambda h, y, w: cross_entropy(h @ w.T, y)):
        leaves = [x.clone().requires_grad_() for x in (h, w)]
        with blocks_of(1 << 15), Peak() as peak:
            total = (loss(leaves[0], y, leaves[1]) * weights).sum()
            found.append([total.detach(), *torch.autograd.grad(total, leaves), peak.largest])
    for ours, theirs in zip(found[0][:3], found[1][:3], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert found[0][3] <= 1 << 15 < found[1][3]


def test_half_gradients_of_the_blocks_are_summed_in_float32():
    # 256 among sixteen times 1: in bfloat16 those after it would not move the sum.
    h = torch.tensor([[1.0]] * 8 + [[256.0]] + [[1.0]] * 8).bfloat16()
    w = torch.zeros(1000, 1).bfloat16().requires_grad_()
    with blocks_of(1000):
        losses = linear_cross_entropy(h, torch.zeros(17).long(), w)
        (slope,) = torch.autograd.grad(losses.float().sum(), w)
    assert slope[0].item() == pytest.approx(-272 * 0.999, rel=5e-3)


def test_the_gradient_of_the_vocabulary_is_held_at_most_twice():
    # The sum so far and a block's part: 4 MB; logits are 8 kB a block.
    h, w = torch.ones(64, 500), torch.ones(1000, 500).requires_grad_()

    def step():
        torch.autograd.grad(linear_cross_entropy(h, torch.zeros(64).long(), w).sum(), w)

    with blocks_of(2000):
        assert measure.peak(step, (h, w), "cpu") < 2.2 * 4 * w.numel()


def test_what_is_frozen_costs_no_product():
    h, w = torch.ones(6, 4), torch.ones(10, 4)
    for leaves in ([h], [w], [h, w]):
        for x in leaves:
            x.requires_grad_()
        with FlopCounterMode(display=False) as counter:
            linear_cross_entropy(h, torch.zeros(6).long(), w).sum().backward()
        assert counter.get_total_flops() == 2 * 6 * 4 * 10 * (2 + len(leaves))
        for x in leaves:
            x.requires_grad_(False)


def test_weights_of_criterion_reach_the_vocabulary():
    h, y, w = flat(np.random.default_rng(0))
    w.requires_grad_()
    padded = y.clone()
    padded[3:] = -100
    ours = Criterion(linear_cross_entropy, ignore_index=-100)(h, padded, w)
    theirs = F.cross_entropy(h @ w.T, padded)
    torch.testing.assert_close(ours, theirs)
    (a,), (b,) = (torch.autograd.grad(x, w) for x in (ours, theirs))
    torch.testing.assert_close(a, b)


def test_nothing_is_done_twice_where_nothing_learns():
    h, y, w = flat(np.random.default_rng(0))
    with torch.no_grad():
        assert not linear_cross_entropy(h, y, w).requires_grad


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # Of torch's own forward mode.
def test_forward_mode_of_one_input():
    h, y, w = flat(np.random.default_rng(0))
    for k in (0, 1):
        _, ours = torch.func.jvp(
            lambda x, k=k: linear_cross_entropy(*((x, y, w) if k == 0 else (h, y, x))),
            ((h, w)[k],),
            ((h, w)[k].cos(),),
        )
        _, theirs = torch.func.jvp(
            lambda x, k=k: torch_table(*((x, y, w) if k == 0 else (h, y, x))),
            ((h, w)[k],),
            ((h, w)[k].cos(),),
        )
        torch.testing.assert_close(ours, theirs)


def test_autocast_rounds_no_logit():
    h, y, w = flat(np.random.default_rng(0))
    with torch.autocast("cpu", torch.bfloat16):
        losses = linear_cross_entropy(h.float(), y, w.float())
    torch.testing.assert_close(losses, linear_cross_entropy(h, y, w).float())


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # Of torch's own forward mode.
def test_a_vocabulary_of_one_token():
    # Its probability is 1: the squared logit is all that costs.
    x, w, y = real([[1.0, -2.0], [0.5, 3.0]]), real([[0.5, 0.25]]), integer([0, 0])
    for z_weight in (0.0, 0.1):

        def loss(x, z_weight=z_weight):
            return linear_cross_entropy(x, y, w, z_weight=z_weight).sum()

        torch.testing.assert_close(loss(x), z_weight * (x @ w[0]).square().sum())
        torch.testing.assert_close(torch.func.grad(loss)(x), 2 * z_weight * (x @ w.T) * w)
        bend = torch.func.hessian(loss)(x)[0, :, 0]
        torch.testing.assert_close(bend, 2 * z_weight * w.T @ w)


def test_no_tokens():
    h, w = torch.zeros(0, 3).requires_grad_(), WEIGHT.clone().requires_grad_()
    losses = linear_cross_entropy(h, LABELS[:0], w)
    slopes = torch.autograd.grad(losses.sum(), (h, w))
    assert losses.shape == (0,)
    assert [x.abs().sum().item() for x in slopes] == [0, 0]


def test_a_single_token_needs_no_batch():
    h, y, w = flat(np.random.default_rng(0))
    assert linear_cross_entropy(h[0], y[0], w).equal(linear_cross_entropy(h, y, w)[0])
