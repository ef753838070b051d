import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.language.auxiliary import load_balancing_loss, z_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, real

INF = math.inf


def flat(rng):
    return (real(rng.normal(size=(5, 4)) * 2),)


def dense(rng):
    return (real(rng.normal(size=(2, 3, 4))),)


def near_probabilities(rng):
    """Log-probabilities moved by 1 down to 1e-6, and those of one class."""
    logits = rng.normal(size=(9, 4))
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    logits += np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0, 0])[:, None]
    logits[8] = [0, -INF, -INF, -INF]
    return (real(logits),)


def square_of_log_z(logits):
    return np.log(np.exp(logits).sum(-1)) ** 2


def z_slope(logits):
    total = np.exp(logits).sum(-1, keepdims=True)
    return 2 * np.log(total) * np.exp(logits) / total


def all_tokens(rng):
    return real(rng.normal(size=(7, 4)) * 2), None


def masked(rng):
    mask = torch.from_numpy(rng.random((3, 5)) < 0.6)
    mask[0, 0] = True
    return real(rng.normal(size=(3, 5, 4))), mask


def balance(router_logits, mask=None, top_k=1):
    experts = router_logits.shape[-1]
    rows = router_logits.reshape(-1, experts)
    rows = rows if mask is None else rows[mask.reshape(-1)]
    if not len(rows):
        return np.array(0.0)
    shares, likelihoods = 0, 0
    for row in rows:
        best = sorted(range(experts), key=lambda e, row=row: -row[e])[:top_k]
        shares = shares + np.isin(np.arange(experts), best) / 1
        likelihoods = likelihoods + np.exp(row) / np.exp(row).sum()
    return experts * (shares * likelihoods).sum() / (top_k * len(rows) ** 2)


def balance_slope(router_logits, mask=None, top_k=1):
    experts = router_logits.shape[-1]
    if mask is None:
        mask = np.ones(router_logits.shape[:-1], bool)
    rows = np.where(mask[..., None], router_logits, 0 * np.ones_like(mask)[..., None])
    p = np.exp(rows) / np.exp(rows).sum(-1, keepdims=True)
    best = np.argsort(-rows, axis=-1, kind="stable")[..., :top_k]
    chosen = (best[..., None] == np.arange(experts)).any(-2) & mask[..., None]
    tokens = max(mask.sum(), 1)
    f = chosen.reshape(-1, experts).sum(0) / (top_k * tokens)
    slope = experts / tokens * p * (f - (f * p).sum(-1, keepdims=True))
    return np.where(mask[..., None], slope, 0)


def kept(*rows):
    return torch.tensor(rows, dtype=torch.bool)


HIDDEN = (
    real([[2.0, 0.5, 0.0], [INF, INF, 1.0], [0.0, 1.0, 0.5], [-INF, -INF, -INF]]),
    kept(True, False, True, False),
)
NOTHING = (real([[INF, 0.0], [1.0, 2.0]]), kept(False, False))


def cases():
    return [
        Case(
            loss=z_loss,
            inputs=(flat, dense),
            reference=square_of_log_z,
            near=near_probabilities,
            adversarial={
                "far up": (real([[1e4, 1e4, 0.0]]),),
                "far down": (real([[-1e4, -1e4, -2e4]]),),
                "log-probabilities": (real([[math.log(0.5), math.log(0.25), math.log(0.25)]]),),
                "one class": (real([[0.0, -INF, -INF]]),),
                "equal logits of -log V": (torch.full((1, 8), -math.log(8)).double(),),
            },
            gradient=z_slope,
            classes={0: -1},
            invariances={"signs of log Z": lambda x: (x - 2 * x.logsumexp(-1, keepdim=True),)},
            relations={
                "the square of cross entropy and the label's logit": lambda loss, x: (
                    loss(x),
                    (cross_entropy(x.movedim(-1, 1), 0 * x[..., 0].long()) + x[..., 0]) ** 2,
                ),
                "a shift moves log Z": lambda loss, x: (
                    loss(x + 3.0) - loss(x),
                    6 * x.logsumexp(-1) + 9,
                ),
                "classes that never come": lambda loss, x: (
                    loss(F.pad(x, (0, 2), value=-INF)),
                    loss(x),
                ),
                "log-probabilities cost nothing": lambda loss, x: (
                    loss(x.log_softmax(-1)),
                    0 * x[..., 0],
                ),
            },
            peers={"torch": lambda x: x.exp().sum(-1).log() ** 2},
            infinite={
                "a class ruled out": ((real([[0.0, 0.0, -INF]]),), [math.log(2) ** 2]),
                "all but one": ((real([[2.0, -INF, -INF]]),), [4.0]),
            },
            errors=[
                ((torch.zeros(2, 3).long(),), {}, "floating logits of shape"),
                ((torch.zeros(()),), {}, r"shape \(\*, V\), got .* \(\)"),
            ],
            facts={
                "range": (0.0, INF),
                "perfect": ((real([[0.0, -INF, -INF]]),), 0.0),
                "chance": (
                    (torch.zeros(2, 4).double(),),
                    math.log(4) ** 2,
                    "logits of 0: (log V)^2, with V = 4",
                ),
                "convex": False,
            },
        ),
        Case(
            loss=load_balancing_loss,
            inputs=(all_tokens, masked),
            reference=balance,
            settings=({}, {"top_k": 2}),
            adversarial={
                "one expert for all": (
                    real([[1e4, 0.0, -1e4, 3.0], [1e4, 9.0, 1.0, 2.0]]),
                    None,
                ),
                "an expert for each": (
                    1e4 * torch.eye(4).double() + real([0, 1e-3, 2e-3, 3e-3]),
                    None,
                ),
                "anything under the mask": (F.pad(HIDDEN[0], (0, 1), value=-3.0), HIDDEN[1]),
                "nothing left": (F.pad(NOTHING[0], (0, 2), value=-3.0), NOTHING[1]),
                "an expert ruled out": (
                    real([[0.0, -INF, 1.0, 2.0], [0.3, -INF, 0.2, 0.1]]),
                    None,
                ),
            },
            gradient=balance_slope,
            domains={0: None},
            classes={0: -1},
            invariances={
                "shift of each token's logits": lambda x, m: (x + x[..., :1].cos(), m),
                "what is hidden": lambda x, m: (
                    x if m is None else x.masked_fill(~m.unsqueeze(-1), math.nan),
                    m,
                ),
                "hidden tokens left out": lambda x, m: (x if m is None else x[m], None),
                "every token twice": lambda x, m: (
                    torch.cat([x, x]),
                    None if m is None else torch.cat([m, m]),
                ),
            },
            relations={
                "1 plus E^2 times the covariance of f and P": lambda loss, x, m: (
                    loss(x, m),
                    1 + 16 * covariance(x.flatten(0, -2) if m is None else x[m]),
                ),
                "every expert chosen: 1": lambda loss, x, m: (
                    loss(x, m, top_k=4),
                    torch.ones(()).double(),
                ),
                "equal probabilities: 1": lambda loss, x, m: (
                    loss(0 * x, m),
                    torch.ones(()).double(),
                ),
            },
            infinite={
                "an expert ruled out": ((real([[0.0, -INF], [1.0, -INF]]), None), 2.0),
            },
            errors=[
                ((torch.zeros(2, 3).long(),), {}, "floating router_logits of shape"),
                ((torch.zeros(()),), {}, r"shape \(\*, E\), got .* \(\)"),
                ((torch.zeros(2, 3), torch.ones(2)), {}, "mask of dtype bool"),
                ((torch.zeros(2, 3), torch.ones(2).long()), {}, "mask of dtype bool"),
                *(
                    ((torch.zeros(2, 3), torch.ones(s).bool()), {}, r"and shape \(2,\), got")
                    for s in ((3,), (2, 1), (1,), (), (2, 3))
                ),
                *(
                    ((torch.zeros(2, 3),), {"top_k": k}, r"top_k to be an integer in \[1, 3\], got")
                    for k in (0, 4, -1, 1.0, True, None)
                ),
            ],
            facts={
                "chance": ((torch.zeros(5, 4).double(),), 1.0, "equal probabilities"),
                "empty": ((torch.zeros(0, 4).double(),), 0.0),
                "convex": False,
            },
            exempt={
                "next to the optimum": "its least value is not 0",
                "peers": "no library in reach has it without its models",
            },
        ),
    ]


def covariance(x):
    p = x.softmax(1)
    f = F.one_hot(p.argmax(1), 4).double().mean(0)
    return ((f - f.mean()) * (p.mean(0) - p.mean())).mean()


def rows():
    def one_hot(x):
        p = x.softmax(1)
        f = F.one_hot(x.topk(8).indices, 64).sum(1).float().mean(0) / 8
        return 64 * (f * p.mean(0)).sum()

    return [
        Row(
            z_loss,
            slower="exp overflows at 89 in float32: the maximum is taken out first, a pass, "
            "and the slope takes exp again",
            shape="{} x 8000",
            n=512,
            inputs=lambda n: (bench.leaf(n, 8000),),
            peers={
                "torch": lambda x: (x.logsumexp(1) ** 2).mean(),
                FORMULA: lambda x: (x.exp().sum(1).log() ** 2).mean(),
            },
        ),
        Row(
            load_balancing_loss,
            slower="what the mask hides is selected out three times, without a mask, too",
            shape="{} x 64",
            n=16384,
            settings={"top_k": 8},
            inputs=lambda n: (bench.leaf(n, 64),),
            peers={FORMULA: one_hot},
        ),
    ]


def test_values_by_hand():
    # log(e + e^2 + 1/e)^2.
    loss = z_loss(real([1.0, 2.0, -1.0])).item()
    assert loss == pytest.approx(math.log(math.e + math.e**2 + 1 / math.e) ** 2, rel=1e-14)
    # Three tokens for the first expert, one for the second: f = (3/4, 1/4, 0).
    x = real([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
    two, one = math.exp(2) + 2, math.e + 2
    p = [(3 * math.exp(2) / two + 1 / one) / 4, (3 / two + math.e / one) / 4]
    loss = load_balancing_loss(x).item()
    assert loss == pytest.approx(3 * (0.75 * p[0] + 0.25 * p[1]), rel=1e-14)
    assert loss == pytest.approx(1.615188164, rel=1e-9)


def test_two_layers_that_collapsed_are_two():
    # All on one expert in each of two halves: 2 and 2, and 1 for both at once.
    first, second = real([[99.0, 0.0]] * 4), real([[0.0, 99.0]] * 4)
    assert load_balancing_loss(first).item() == pytest.approx(2)
    assert load_balancing_loss(second).item() == pytest.approx(2)
    assert load_balancing_loss(torch.cat([first, second])).item() == pytest.approx(1)


def test_collapse_on_k_experts_costs_e_over_k():
    x = real([[99.0, 99.0, 0.0, 0.0, 0.0, 0.0]] * 3)
    assert load_balancing_loss(x, top_k=2).item() == pytest.approx(3)


def test_it_may_be_below_1():
    # The busy expert is the less likely one on the whole.
    x = real([[0.1, 0.0], [0.1, 0.0], [0.0, 9.0]])
    assert load_balancing_loss(x).item() < 0.99


def test_what_the_mask_hides_moves_nothing():
    x, m = (y.clone() for y in HIDDEN)
    x[1, 0] = math.nan
    x.requires_grad_()
    loss = load_balancing_loss(x, m)
    (slope,) = torch.autograd.grad(loss, x)
    assert loss.item() == pytest.approx(load_balancing_loss(x[m]).item())
    assert slope[m].all()
    assert not slope[~m].any()


def test_nothing_left_is_0_with_zero_gradient():
    x = torch.full((2, 3), math.nan).requires_grad_()
    loss = load_balancing_loss(x, kept(False, False))
    (slope,) = torch.autograd.grad(loss, x)
    assert (loss.item(), slope.abs().sum().item()) == (0, 0)


def test_the_shares_are_constants():
    x = all_tokens(np.random.default_rng(0))[0].requires_grad_()
    (slope,) = torch.autograd.grad(load_balancing_loss(x), x)
    np.testing.assert_allclose(slope, balance_slope(x.detach().numpy()), atol=1e-15)
    assert slope.any()


def test_experts_that_are_ruled_out_by_rounding_alone_are_told_apart():
    # Both have a probability of 0; the second choice is the likelier of them.
    x = real([[0.0, -2000.0, -1000.0], [0.0, -2000.0, -1000.0]])
    y = real([[0.0, -50.0, -25.0], [0.0, -50.0, -25.0]])
    ours, theirs = (load_balancing_loss(z, top_k=2).item() for z in (x, y))
    assert ours == pytest.approx(theirs)


def test_the_classes_are_last_in_every_rank():
    (x,) = dense(np.random.default_rng(0))
    assert z_loss(x)[1, 2].equal(z_loss(x[1, 2]))
    assert load_balancing_loss(x[0, 0]).item() > 1


def test_a_normalized_model_has_no_slope():
    x = real([[math.log(0.5), math.log(0.25), math.log(0.25)]]).requires_grad_()
    (slope,) = torch.autograd.grad(z_loss(x).sum(), x)
    np.testing.assert_allclose(slope, [[0, 0, 0]], atol=1e-15)


def test_more_tokens_than_half_precision_counts():
    # float16 ends at 65504.
    x = torch.zeros(2**17, 2).half()
    assert load_balancing_loss(x).item() == 1
