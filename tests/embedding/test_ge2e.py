import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.embedding.ge2e import ge2e_contrast_loss, ge2e_softmax_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, real


def utterances(rng):
    speakers = rng.normal(size=(4, 1, 5))
    return real(speakers + 0.7 * rng.normal(size=(4, 3, 5))), real(10.0), real(-5.0)


def near(rng):
    """Speakers at right angles, whose utterances differ by 1 down to 1e-6, or not at all."""
    speakers = np.linalg.qr(rng.normal(size=(5, 5)))[0][:, None]
    steps = np.array([1e-1, 1e-2, 1e-4, 1e-6, 0])[:, None, None]
    return real(speakers + steps * rng.normal(size=(5, 3, 5))), real(10.0), real(-5.0)


def two_of_two(rng):
    return real(rng.normal(size=(2, 2, 3))), real(4.0), real(0.5)


def similarities(embeddings, scale, offset):
    """Equation 9, one utterance and one speaker at a time."""
    rows = []
    for j, speaker in enumerate(embeddings):
        for i, e in enumerate(speaker):
            row = []
            for k, members in enumerate(embeddings):
                kept = [m for n, m in enumerate(members) if (k, n) != (j, i)]
                centroid = sum(kept) / len(kept)
                lengths = ((e * e).sum() * (centroid * centroid).sum()) ** 0.5
                cosine = (e * centroid).sum() / lengths if lengths else 0 * lengths
                row.append(scale * cosine + offset)
            rows.append(row)
    return rows


def softmax_form(embeddings, scale, offset):
    s, u = embeddings.shape[:2]
    losses = []
    for n, row in enumerate(similarities(embeddings, scale, offset)):
        losses.append(-row[n // u] + np.log(sum(np.exp(x) for x in row)))
    return np.reshape(np.stack(losses), (s, u))


def contrast_form(embeddings, scale, offset):
    s, u = embeddings.shape[:2]
    losses = []
    for n, row in enumerate(similarities(embeddings, scale, offset)):
        hits = [1 / (1 + np.exp(-x)) for x in row]
        own = hits.pop(n // u)
        losses.append(1 - own + max(hits))
    return np.reshape(np.stack(losses), (s, u))


W, B = real(10.0), real(-5.0)
ONE_POINT = (real([[[1.0, 2.0]] * 3] * 2), W, B)
PERFECT = (real([[[3.0, 0.0], [1.0, 0.0]], [[-1.0, 0.0], [-2.0, 0.0]]]), W, B)
WORST = (real([[[1.0, 0.0], [-1.0, 0.0]], [[-1.0, 0.0], [1.0, 0.0]]]), W, B)
ADVERSARIAL = {
    "one point": ONE_POINT,
    "perfect": PERFECT,
    "opposite utterances": WORST,
    "a zero utterance": (real([[[0.0, 0.0], [1.0, 2.0]], [[2.0, 1.0], [1.0, 0.0]]]), W, B),
    "all zero": (real([[[0.0, 0.0]] * 2] * 3), W, B),
    "scale 1e4": (real([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]]), real(1e4), B),
    "scale 0": (real([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]]), real(0.0), B),
    "negative scale": (real([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]]), -W, B),
    "an utterance 1e4 times its speaker": (
        real([[[1e4, 1e4], [0.6, -0.8], [1.0, 0.3]], [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]]),
        W,
        B,
    ),
    "the others cancel": (
        real([[[0.1, 0.7], [0.3, -0.2], [-0.3, 0.2]], [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]]),
        W,
        B,
    ),
    "squares overflow": (real([[[1e200, 0.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1e200]]]), W, B),
}
# The first utterance is opposite to its own kind, and lies on the other speaker.
RIVALS = real([[[1.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0]] * 2])
GOOD = torch.zeros(2, 3, 4)
W32, B32 = torch.tensor(10.0), torch.tensor(-5.0)


def lengthen(embeddings, scale, offset):
    return 3 * embeddings, scale, offset


def other_order(embeddings, scale, offset):
    return embeddings.flip(2), scale, offset


def errors():
    return [
        ((GOOD[:1], W32, B32), {}, r"S >= 2 and U >= 2, got shape \(1, 3, 4\)"),
        ((GOOD[:, :1], W32, B32), {}, r"S >= 2 and U >= 2, got shape \(2, 1, 4\)"),
        ((GOOD[:0], W32, B32), {}, r"S >= 2 and U >= 2, got shape \(0, 3, 4\)"),
        ((GOOD[0], W32, B32), {}, r"embeddings of shape \(S, U, D\)"),
        ((GOOD.long(), W32, B32), {}, "floating embeddings .* got torch.int64"),
        ((GOOD, torch.ones(3), B32), {}, r"scale of shape \(\), got \(3,\)"),
        ((GOOD, W32, torch.ones(2, 3, 2)), {}, r"offset of shape \(\), got \(2, 3, 2\)"),
    ]


# Cosines differ by rounding, of which a scale of 1000 would make 1e-10.
COMMON = {
    "inputs": (utterances, two_of_two),
    "adversarial": ADVERSARIAL,
    "near": near,
    "domains": {1: (0.0, 50.0), 2: (-50.0, 50.0)},
    "batch": (0,),
    "invariances": {"lengths": lengthen, "order of the coordinates": other_order},
    "errors": errors(),
    "exempt": {
        "layout/empty": "fewer than two speakers are a ValueError",
        "peers": "no library here has it",
    },
}


def two_speakers(loss, x, w, b):
    """Of two speakers each is the other's only rival: the loss is softplus of a difference."""
    if len(x) != 2:
        return NotImplemented
    own = w * F.cosine_similarity(x, x.flip(1), dim=2)  # Two utterances: the other one.
    rival = w * F.cosine_similarity(x, x.sum(1).flip(0)[:, None], dim=2)
    return loss(x, w, b), F.softplus(rival - own)


def as_cross_entropy(loss, x, w, b):
    """Overwrite nothing: each utterance gets centroids of its own."""
    s, u, _ = x.shape
    copies = x.expand(s, u, *x.shape).clone()
    for j in range(s):
        for i in range(u):
            copies[j, i, j, i] = 0
    scores = w * F.cosine_similarity(x[:, :, None], copies.sum(3), dim=3) + b
    labels = torch.arange(s).repeat_interleave(u)
    return loss(x, w, b), cross_entropy(scores.flatten(0, 1), labels).view(s, u)


def cases():
    return [
        Case(
            loss=ge2e_softmax_loss,
            reference=softmax_form,
            relations={
                "cross entropy of the scores": as_cross_entropy,
                "two speakers": two_speakers,
                "the offset cancels": lambda loss, x, w, b: (loss(x, w, b), loss(x, w, b + 7)),
                "at scale 0 it is log S": lambda loss, x, w, b: (
                    loss(x, 0 * w, b),
                    real(np.full(x.shape[:2], math.log(len(x)))),
                ),
            },
            facts={
                "chance": (ONE_POINT, math.log(2), "all at one point: log N, with N = 2 speakers"),
                "convex": False,
            },
            **COMMON,
        ),
        Case(
            loss=ge2e_contrast_loss,
            reference=contrast_form,
            relations={
                "at scale 0 it is 1": lambda loss, x, w, b: (
                    loss(x, 0 * w, b),
                    torch.ones(x.shape[:2]),
                ),
                "a far offset leaves 1": lambda loss, x, w, b: (
                    loss(x, w, b + 999),
                    torch.ones(x.shape[:2]),
                ),
            },
            facts={
                "chance": (ONE_POINT, 1.0, "all at one point"),
                "range": (0.0, 2.0),
                "convex": False,
            },
            **COMMON
            | {
                # Steep, or its least value would be sigmoid(-5).
                "near": lambda rng: (near(rng)[0], real(60.0), real(-30.0)),
                "adversarial": ADVERSARIAL
                | {
                    "perfect, steep": (PERFECT[0], real(100.0), real(0.0)),
                    "worst, steep": (
                        real([[[1.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0]] * 2]),
                        real(99.0),
                        real(0.0),
                    ),
                },
            },
        ),
    ]


def scored(e, w, b):
    """Every utterance against every centroid, by broadcasting."""
    s, u, _ = e.shape
    centroids = e.mean(1)
    own = (e.sum(1, keepdim=True) - e) / (u - 1)
    cosines = F.cosine_similarity(e[:, :, None], centroids[None, None], dim=3)
    mine = F.cosine_similarity(e, own, dim=2)
    diagonal = torch.eye(s, dtype=torch.bool, device=e.device)[:, None]
    return w * torch.where(diagonal, mine[..., None], cosines) + b


def plain_ge2e(e, w, b):
    s = scored(e, w, b)
    speakers = torch.arange(len(s), device=s.device)[:, None].expand(s.shape[:2])
    return F.cross_entropy(s.flatten(0, 1), speakers.flatten())


def plain_ge2e_contrast(e, w, b):
    p = scored(e, w, b).sigmoid()
    own = torch.eye(len(p), dtype=torch.bool, device=p.device)[:, None].expand(p.shape)
    return (1 - p[own].view(p.shape[:2]) + p.masked_fill(own, 0).amax(2)).mean()


def rows():
    def speech(n):
        w, b = (torch.tensor(x, requires_grad=True) for x in (10.0, -5.0))
        return bench.leaf(n, 10, 256), w, b

    form = {"shape": "{} x 10 x 256", "n": 64, "inputs": speech, "slower": bench.UNITS}
    return [
        Row(
            ge2e_softmax_loss,
            peers={FORMULA: plain_ge2e},
            sweep=(16, 32, 64, 128, 256),
            **form,
        ),
        Row(ge2e_contrast_loss, peers={FORMULA: plain_ge2e_contrast}, **form),
    ]


def test_values_by_hand():
    # Speaker 0 has (1, 0) and (3, 4), speaker 1 (0, 1) and (0, 2). For (1, 0): own centroid
    # (3, 4), cosine 3/5; the other (0, 1.5), cosine 0. For (3, 4): 3/5 and 4/5. For (0, 1) and
    # (0, 2): own 1; the other (2, 2), cosine 1/sqrt 2. With w = 10 and b = -5:
    x = real([[[1.0, 0.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 2.0]]])
    r = 10 / math.sqrt(2)
    rows = [(1, -5), (1, 3), (5, r - 5), (5, r - 5)]
    softmax = [math.log1p(math.exp(rival - own)) for own, rival in rows]
    contrast = [1 / (1 + math.exp(own)) + 1 / (1 + math.exp(-rival)) for own, rival in rows]
    assert ge2e_softmax_loss(x, W, B).flatten().tolist() == pytest.approx(softmax)
    assert ge2e_contrast_loss(x, W, B).flatten().tolist() == pytest.approx(contrast)


def test_noise_does_not_look_learned():
    # Of 4 speakers chance is log 4 = 1.39. With its utterance left in, the centroid would give
    # embeddings of pure noise away: 0.4 at 3 utterances.
    x = real(np.random.default_rng(0).normal(size=(4, 3, 64)))
    assert ge2e_softmax_loss(x, W, B).mean().item() > 1.2


def test_the_centroid_is_of_the_embeddings_as_given():
    # Own others (0.6, 0.8) and 100 (0, 1): as given their mean points to (0, 1), almost.
    x = real([[[0.0, 1.0], [0.6, 0.8], [0.0, 100.0]], [[1.0, 0.0]] * 3])
    own = (100.8) / math.hypot(0.6, 100.8)
    loss = ge2e_softmax_loss(x, W, B)[0, 0].item()
    assert loss == pytest.approx(math.log1p(math.exp(-10 * own)), rel=1e-9)


def test_a_zero_utterance_counts_in_its_centroid():
    """It has no direction, but moving it moves the mean of its speaker."""
    x = real([[[0.0, 0.0], [1.0, 2.0]], [[2.0, 1.0], [1.0, 0.0]]]).requires_grad_()
    for loss in (ge2e_softmax_loss, ge2e_contrast_loss):
        values = loss(x, W, B)
        (alone,) = torch.autograd.grad(values[0, 0], x, retain_graph=True)
        assert not alone[0, 0].any()
        (through,) = torch.autograd.grad(values[1].sum(), x)
        step = torch.zeros_like(x)
        step[0, 0, 0] = 1e-6
        with torch.no_grad():
            change = (loss(x + step, W, B)[1].sum() - loss(x - step, W, B)[1].sum()) / 2e-6
        assert through[0, 0, 0].item() == pytest.approx(change.item(), rel=1e-6)


def test_scale_and_offset_learn():
    x, w, b = utterances(np.random.default_rng(0))
    w.requires_grad_()
    b.requires_grad_()
    slopes = torch.autograd.grad(ge2e_contrast_loss(x, w, b).sum(), (w, b))
    assert all(slope.abs() > 1e-3 for slope in slopes)
    slopes = torch.autograd.grad(ge2e_softmax_loss(x, w, b).sum(), (w, b))
    assert slopes[0].abs() > 1e-3
    assert slopes[1].abs() < 1e-12


def test_learned_scalars_may_be_wider_than_the_embeddings():
    x, w, b = utterances(np.random.default_rng(0))
    for loss in (ge2e_softmax_loss, ge2e_contrast_loss):
        half = loss(x.half(), w.float(), b.float())
        assert half.dtype == torch.float16
        assert torch.allclose(half.double(), loss(x, w, b), rtol=2e-2, atol=2e-3)


def test_scale_and_offset_may_be_numbers():
    x, w, b = utterances(np.random.default_rng(0))
    for loss in (ge2e_softmax_loss, ge2e_contrast_loss):
        assert loss(x, 10, -5.0).equal(loss(x, w, b))


def test_a_certain_answer_keeps_its_digits():
    x = torch.eye(2)[:, None].expand(2, 3, 2)
    losses = ge2e_softmax_loss(x, 25.0, 0.0)
    assert losses.flatten().tolist() == pytest.approx([math.exp(-25)] * 6, rel=1e-4)


def test_autocast_rounds_no_cosine():
    x, w, b = (z.float() for z in utterances(np.random.default_rng(0)))
    for loss in (ge2e_softmax_loss, ge2e_contrast_loss):
        with torch.autocast("cpu", torch.bfloat16):
            rounded = loss(x, w, b)
        assert torch.allclose(rounded, loss(x, w, b), rtol=1e-5)


def test_the_largest_embeddings_have_directions():
    x = torch.tensor([[[1.0, 2.0], [2.0, 1.0], [2.0, 2.0]], [[-1.0, 2.0], [-2.0, 2.0], [0.0, 2.0]]])
    for function in (ge2e_softmax_loss, ge2e_contrast_loss):
        values = function(x * 1.5e38, 10.0, -5.0)
        torch.testing.assert_close(values, function(x, 10.0, -5.0))


def test_second_slope_at_a_zero_vector_is_a_number():
    x = torch.ones(2, 2, 3).cumsum(2)
    x[0, 1] = 0
    x.requires_grad_()
    for function in (ge2e_softmax_loss, ge2e_contrast_loss):
        value = function(x, 10.0, -5.0).sum()
        (slope,) = torch.autograd.grad(value, x, create_graph=True)
        (second,) = torch.autograd.grad(slope.square().sum(), x)
        assert slope.isfinite().all()
        assert second.isfinite().all()
