import functools
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lossbook.criterion import Criterion
from lossbook.sequence.ctc import ctc_loss
from tests.bench import rows as bench
from tests.bench.measure import Row, stepwise
from tests.contract import Case, integer, real


def sequences(rng):
    """Texts of 0 to 2 labels in 3 to 5 frames, each with room; what is padding is absurd."""
    labels, label_lengths = rng.integers(1, 3, (4, 2)), rng.permutation([0, 1, 2, 2])
    labels[np.arange(2) >= label_lengths[:, None]] = rng.choice([-7, 0, 99])
    logit_lengths = rng.permutation([3, 4, 5, 5])
    logits = rng.normal(size=(4, 5, 4)) * 2
    return real(logits), integer(labels), integer(logit_lengths), integer(label_lengths)


def longer(rng):
    labels = integer([[1, 2, 1], [2, 2, 1]])
    return real(rng.normal(size=(2, 4, 4))), labels, integer([4, 4]), integer([3, 3])


@functools.cache
def alignments(frames, classes, text, blank):
    """All the ways to say a text: (A, frames)."""

    def said(path):
        merged = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
        return tuple(c for c in merged if c != blank)

    paths = itertools.product(range(classes), repeat=frames)
    found = [path for path in paths if said(path) == text]
    return np.array(found, dtype=np.int64).reshape(len(found), frames)


def weighed(logits, labels, logit_lengths, label_lengths, blank):
    """For each row the probabilities of the frames, the alignments and their probabilities."""
    for x, y, frames, length in zip(logits, labels, logit_lengths, label_lengths, strict=True):
        e = np.exp(x[:frames])
        p = e / e.sum(1, keepdims=True)
        paths = alignments(int(frames), x.shape[1], tuple(y[:length].tolist()), blank)
        yield p, paths, p[np.arange(frames), paths].prod(1)


def enumerated(logits, labels, logit_lengths, label_lengths, blank=0):
    rows = weighed(logits, labels, logit_lengths, label_lengths, blank)
    return np.asarray([-np.log(weights.sum()) for _, _, weights in rows])


def enumerated_slope(logits, labels, logit_lengths, label_lengths, blank=0):
    """Softmax minus the share of the alignments that say the class in that frame."""
    slope = np.full(logits.shape, 0.0, dtype=object)
    rows = weighed(logits, labels, logit_lengths, label_lengths, blank)
    for i, (p, paths, weights) in enumerate(rows):
        total = weights.sum()
        if total == 0:
            continue
        for t in range(len(p)):
            for c in range(p.shape[1]):
                slope[i, t, c] = p[t, c] - weights[paths[:, t] == c].sum() / total
    return slope


def torch_ctc(logits, labels, logit_lengths, label_lengths, blank=0):
    log_p = logits.log_softmax(2).transpose(0, 1)
    return F.ctc_loss(log_p, labels, logit_lengths, label_lengths, blank, reduction="none")


def keras_ctc(logits, labels, logit_lengths, label_lengths, blank=0):
    import keras

    return keras.ops.ctc_loss(labels, logits, label_lengths, logit_lengths, mask_index=blank)


def optax_ctc(logits, labels, logit_lengths, label_lengths, blank=0):
    import optax

    def padding(size, lengths):
        return (np.arange(size) >= lengths[:, None].numpy()).astype(np.float32)

    return np.asarray(
        optax.ctc_loss(
            logits.float().numpy(),
            padding(logits.shape[1], logit_lengths),
            labels.clamp(0, 3).numpy(),
            padding(labels.shape[1], label_lengths),
            blank_id=blank,
        )
    )


def row(logits, labels, frames=None, length=None):
    """One sequence."""
    frames = len(logits) if frames is None else frames
    length = len(labels) if length is None else length
    return real([logits]), integer([labels]).reshape(1, -1), integer([frames]), integer([length])


def backwards(rows, lengths):
    """Reverse the beginning of each row."""
    pairs = zip(rows, lengths, strict=True)
    return torch.stack([torch.cat([row[:n].flip(0), row[n:]]) for row, n in pairs])


def one_two_one(labels):
    return integer([[1, 2, 1]]).expand(len(labels), 3)


FAR = 1e4 * np.eye(4)
ADVERSARIAL = {
    "right by 1e4": row(FAR[[1, 0, 2, 2]], [1, 2]),
    "wrong by 1e4": row(FAR[[2, 1, 1, 2]], [1, 2]),
    "wrong by 1e6": row(100 * FAR[[2, 1, 1, 2]], [1, 2]),
    "one frame at 1e4, the other way": row(-FAR[[1, 0, 2]], [1, 2]),
    "equal logits at 1e4": row(np.full((3, 4), 1e4), [2, 2]),
    "as many frames as labels": row([[0.5, 1, -1, 2], [1, 0, 2, -1]], [1, 2]),
    "too few frames": row(np.zeros((1, 4)), [1, 2]),
    "no room between equal labels": row(np.zeros((2, 4)), [1, 1]),
    "one of two has no room": (
        real([[[1, 2, 3, 4], [4, 3, 2, 1]], [[0.5, 0, 1, 0], [0, 1, 2, 0.5]]]),
        integer([[1, 1], [1, 2]]),
        integer([2, 2]),
        integer([2, 2]),
    ),
    "a label ruled out": row([[0, -math.inf, 1, 2], [1, -math.inf, 0, 0.5]], [1]),
    "a label ruled out once": row([[0, -math.inf, 1, 2], [1, 2, 0, 0.5]], [1]),
    "another class ruled out": row([[0, 1, -math.inf, 2], [1, 0, -math.inf, 0.5]], [1]),
    "the blank ruled out": row([[-math.inf, 1, 0.5, -math.inf]] * 3, [1, 2]),
    "a frame that can say nothing of it": row(
        [[0.5, 1, 0, 2], [-math.inf, -math.inf, 0, 0.5], [1, 0.5, 0, 2]], [1]
    ),
    "no labels": row([[1.0, 0, -1, 2], [0, 3, 0, 1]], [1], length=0),
    "no columns of labels": row([[1.0, 0, -1, 2], [0, 3, 0, 1]], []),
    "no frames, no labels": row(np.zeros((2, 4)), [1], frames=0, length=0),
    "no frames": row(np.zeros((2, 4)), [1], frames=0),
}
X, Y = real(np.zeros((2, 3, 4))), integer([[1, 2], [3, 9]])
TIMES, SIZES = integer([3, 2]), integer([2, 1])


def cases():
    return [
        Case(
            loss=ctc_loss,
            inputs=(sequences, longer),
            reference=enumerated,
            settings=({}, {"blank": 3}),
            adversarial=ADVERSARIAL,
            gradient=enumerated_slope,
            invariances={
                "shift of the logits of a frame": lambda x, y, t, s: (
                    x + torch.arange(x.shape[1])[:, None],
                    y,
                    t,
                    s,
                ),
                "one frame more, past all lengths": lambda x, y, t, s: (
                    F.pad(x, (0, 0, 0, 1), value=3.0),
                    y,
                    t,
                    s,
                ),
                "one column of labels more": lambda x, y, t, s: (
                    x,
                    F.pad(y, (0, 1), value=2**62),
                    t,
                    s,
                ),
                "classes 1 and 2 exchanged": lambda x, y, t, s: (
                    x[:, :, [0, 2, 1, 3]],
                    torch.where((y == 1) | (y == 2), 3 - y, y),
                    t,
                    s,
                ),
                "frames and labels in reverse order": lambda x, y, t, s: (
                    backwards(x, t),
                    backwards(y, s),
                    t,
                    s,
                ),
            },
            relations={
                "one label in one frame is cross entropy": lambda loss, x, y, t, s: (
                    loss(x[:, :1], y[:, :1].clamp(1, 2), t.clamp(1, 1), s.clamp(1, 1)),
                    F.cross_entropy(x[:, 0], y[:, 0].clamp(1, 2), reduction="none"),
                ),
                "no labels is the cross entropy of blanks": lambda loss, x, y, t, s: (
                    loss(x[:, :3], y, t.clamp_max(3), 0 * s),
                    -x[:, :3].log_softmax(2)[:, :, 0].sum(1),
                ),
                "as many frames as labels is cross entropy frame by frame": (
                    lambda loss, x, y, t, s: (
                        loss(x[:, :3], one_two_one(y), t.clamp_max(3), 0 * s + 3),
                        F.cross_entropy(
                            x[:, :3].movedim(2, 1), one_two_one(y), reduction="none"
                        ).sum(1),
                    )
                ),
                "the blank may be any class": lambda loss, x, y, t, s: (
                    loss(x, y, t, s, blank=3),
                    loss(x[:, :, [3, 1, 2, 0]], y, t, s),
                ),
            },
            peers={"torch": torch_ctc, "keras": keras_ctc, "optax": optax_ctc},
            errors=[
                ((X[0], Y, TIMES, SIZES), {}, r"shape \(N, T, C\), got torch.float64 \(3, 4\)"),
                ((X.long(), Y, TIMES, SIZES), {}, "floating logits .* got torch.int64"),
                (
                    (X, Y.byte(), TIMES, SIZES),
                    {},
                    r"dtype int64 \(labels.long\(\)\), got torch.uint8",
                ),
                ((X, Y[0], TIMES, SIZES), {}, r"labels of shape \(2, L\), got \(2,\)"),
                ((X, Y[:1], TIMES, SIZES), {}, r"labels of shape \(2, L\), got \(1, 2\)"),
                ((X, Y, TIMES[:1], SIZES), {}, r"logit_lengths of shape \(2,\), got \(1,\)"),
                ((X, Y, integer(3), SIZES), {}, r"logit_lengths of shape \(2,\), got \(\)"),
                ((X, Y, TIMES, SIZES[None]), {}, r"label_lengths of shape \(2,\), got \(1, 2\)"),
                ((X, Y, TIMES, SIZES), {"blank": 4}, r"blank in \[0, 4\), got 4"),
                ((X, Y, TIMES, SIZES), {"blank": -1}, r"blank in \[0, 4\), got -1"),
                ((X, Y, integer([3, 4]), SIZES), {}, r"logit_lengths in \[0, 3\], got 4"),
                ((X, Y, integer([-1, 3]), SIZES), {}, r"logit_lengths in \[0, 3\], got -1"),
                ((X, Y, TIMES, integer([3, 1])), {}, r"label_lengths in \[0, 2\], got 3"),
                ((X, Y, TIMES, integer([2, -1])), {}, r"label_lengths in \[0, 2\], got -1"),
                ((X, Y, TIMES, integer([2, 2])), {}, r"labels in \[0, 4\) .* got 9"),
                ((X, Y - 2, TIMES, SIZES), {}, r"labels in \[0, 4\) .* got -1"),
                ((X, Y + 10**8, TIMES, SIZES), {}, r"labels in \[0, 4\) .* got 100000001"),
                ((X, Y - 1, TIMES, SIZES), {}, "other than blank = 0, got 0"),
                ((X, Y, TIMES, SIZES), {"blank": 2}, "other than blank = 2, got 2"),
            ],
            facts={
                "range": (0.0, math.inf),
                "perfect": (ADVERSARIAL["right by 1e4"], 0.0),
                # 1 2 in three frames: 1 1 2, 1 2 2, - 1 2, 1 - 2 and 1 2 -, of 4^3.
                "chance": (
                    row(np.zeros((3, 4)), [1, 2]),
                    math.log(64 / 5),
                    "two labels in three frames of four classes",
                ),
                "convex": False,
            },
            infinite={
                "another class ruled out": (
                    row([[0, 0, -math.inf, -math.inf]], [1]),
                    real([math.log(2)]),
                ),
                "all but the label ruled out": (
                    row([[-math.inf, 0, -math.inf, -math.inf]] * 2, [1]),
                    real([0.0]),
                ),
                "the label ruled out": (row([[0, -math.inf, 0, 0]], [1]), real([math.inf])),
            },
            exempt={
                "next to the optimum": "it adds up rounded log-probabilities of frames",
                "shapes": "class 0 says nothing; an own test has two classes",
                "modes/meta": "the checks read the labels and the lengths",
                "modes/torch.func.hessian": "it takes vmap",
                "vmap": "the checks read the labels and the lengths",
                "compile": "the checks read the labels and the lengths",
                "inductor": "the checks read the labels and the lengths",
                "export": "the checks read the labels and the lengths",
            },
        )
    ]


def bench_torch(x, labels, lengths, label_lengths):
    log_p = x.log_softmax(2).transpose(0, 1)
    return F.ctc_loss(log_p, labels, lengths, label_lengths, reduction="none").mean()


def bench_optax(logits, labels, lengths, label_lengths):
    import jax
    import optax

    given = (x.detach().cpu() for x in (logits, labels, lengths, label_lengths))
    logits, labels, lengths, label_lengths = given
    steps, places = torch.arange(logits.shape[1]), torch.arange(labels.shape[1])
    arrays = [
        jax.numpy.asarray(x.numpy())
        for x in (
            logits,
            (steps >= lengths[:, None]).float(),
            labels.int(),
            (places >= label_lengths[:, None]).float(),
        )
    ]
    compiled = jax.jit(jax.value_and_grad(lambda *given: optax.ctc_loss(*given).mean()))
    return lambda: jax.block_until_ready(compiled(*arrays))[0]


def rows():
    def speech(n):
        labels = torch.randint(1, 80, (n, 30))
        return bench.leaf(n, 200, 80), labels, torch.full((n,), 200), torch.full((n,), 30)

    return [
        Row(
            ctc_loss,
            slower="a dozen kernels a frame, where torch has one kernel for all frames",
            shape="{} x 200 x 80, 30 labels",
            n=16,
            inputs=speech,
            peers={"torch": bench_torch, "Optax": stepwise(bench_optax)},
            sweep=(1, 4, 16, 64),
            compiled=False,
        )
    ]


def test_two_classes():
    logits, labels = (
        real(np.random.default_rng(0).normal(size=(2, 4, 2))),
        integer([[1, 1], [1, 0]]),
    )
    expected = torch_ctc(logits, labels, integer([4, 3]), integer([2, 1]))
    torch.testing.assert_close(ctc_loss(logits, labels, [4, 3], [2, 1]), expected)


def test_lengths_are_integers():
    with pytest.raises(ValueError, match=r"integer logit_lengths, got torch\.float32"):
        ctc_loss(X, Y, [3.0, 2.0], SIZES)


def test_values_by_hand():
    # The text 1 in two frames: 1 1, - 1 and 1 -, of frames (1/2, 1/4, 1/4) and (1/4, 1/2, 1/4).
    logits = real([[[2, 1, 1], [1, 2, 1]]]).log()
    losses = ctc_loss(logits, integer([[1]]), integer([2]), integer([1]))
    torch.testing.assert_close(losses, real([-math.log(1 / 8 + 1 / 4 + 1 / 16)]))
    # 1 1 in three frames is 1 - 1 alone: 1/4 1/4 1/2.
    logits = real([[[2, 1, 1], [1, 2, 1], [1, 2, 1]]]).log()
    losses = ctc_loss(logits, integer([[1, 1]]), integer([3]), integer([2]))
    torch.testing.assert_close(losses, real([math.log(32)]))


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_probabilities_of_all_texts_sum_to_one(frames):
    texts = [y for n in range(frames + 1) for y in itertools.product([1, 2], repeat=n)]
    labels = integer([y + (0,) * (frames - len(y)) for y in texts])
    logits = real(np.random.default_rng(0).normal(size=(frames, 3))).expand(len(texts), -1, -1)
    losses = ctc_loss(
        logits, labels, integer([frames] * len(texts)), integer([len(y) for y in texts])
    )
    assert losses.neg().exp().sum().item() == pytest.approx(1, abs=1e-14)


def test_number_of_alignments():
    # With equal logits only the number counts: binomial(T + L, 2 L) if no label repeats.
    for frames, length in ((5, 2), (8, 3), (20, 6), (60, 30)):
        labels = integer([np.arange(length) % 2 + 1])
        x = torch.zeros(1, frames, 3, dtype=torch.float64)
        loss = ctc_loss(x, labels, integer([frames]), integer([length])).item()
        paths = math.comb(frames + length, 2 * length)
        assert loss == pytest.approx(frames * math.log(3) - math.log(paths), rel=1e-12)


def batch(frames, rows, classes, length, seed=0):
    """Sequences of unequal lengths, many of them with repeated labels."""
    rng = np.random.default_rng(seed)
    logits = real(rng.normal(size=(rows, frames, classes)))
    labels = integer(rng.integers(1, classes, (rows, length)))
    logit_lengths = integer(rng.integers(2 * length, frames + 1, rows))
    return logits, labels, logit_lengths, integer(rng.integers(0, length + 1, rows))


def slopes_of(losses, logits):
    return torch.autograd.grad(losses.sum(), logits)[0]


def test_long_sequences_agree_with_torch():
    logits, *rest = batch(frames=150, rows=5, classes=4, length=40)
    x = logits.requires_grad_()
    ours, theirs = ctc_loss(x, *rest), torch_ctc(x, *rest)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes_of(ours, x), slopes_of(theirs, x), rtol=0, atol=1e-11)


def test_slopes_of_long_sequences_in_float32():
    # Torch is off by 2e-3 here: a log-probability of 1000 is known to 3e-5 only.
    logits, *rest = batch(frames=500, rows=4, classes=30, length=60)
    wide, x = (logits.to(d).requires_grad_() for d in (torch.float64, torch.float32))
    slopes = slopes_of(ctc_loss(x, *rest), x)
    error = (slopes - slopes_of(ctc_loss(wide, *rest), wide)).abs().max().item()
    assert error < 3e-4
    assert slopes.sum(2).abs().max().item() < 1e-5


def test_a_row_without_room_leaves_the_others_alone():
    logits, *rest = batch(frames=20, rows=4, classes=4, length=6)
    rest[1][2], rest[2][2] = 4, 6
    x = logits.requires_grad_()
    losses = ctc_loss(x, *rest)
    assert losses[2].item() == math.inf
    slopes = slopes_of(losses, x)
    assert not slopes[2].any()
    others = [0, 1, 3]
    rows = logits.detach()[others].requires_grad_()
    alone = ctc_loss(rows, *(z[others] for z in rest))
    assert losses[others].equal(alone)
    torch.testing.assert_close(slopes[others], slopes_of(alone, rows), rtol=0, atol=1e-14)


def test_frames_past_the_length_may_hold_anything():
    logits, *rest = batch(frames=20, rows=3, classes=4, length=6)
    spoiled = logits.clone()
    for i, frames in enumerate(rest[1]):
        spoiled[i, frames:] = math.nan
    spoiled.requires_grad_()
    losses = ctc_loss(spoiled, *rest)
    assert losses.equal(ctc_loss(logits, *rest))
    slopes = slopes_of(losses, spoiled)
    assert slopes.isfinite().all()
    assert not slopes[spoiled.isnan()].any()


def test_nan_is_not_taken_for_a_sequence_without_room():
    x = real([[[1.0, math.nan], [0.0, 1.0]]]).requires_grad_()
    losses = ctc_loss(x, integer([[1]]), integer([2]), integer([1]))
    assert losses.isnan().all()
    assert slopes_of(losses, x).isnan().any()


def test_second_derivatives_are_finite_at_the_extremes():
    for name, (logits, *rest) in ADVERSARIAL.items():
        x = logits.clone().requires_grad_()
        (slope,) = torch.autograd.grad(ctc_loss(x, *rest).sum(), x, create_graph=True)
        direction = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).reshape(x.shape)
        (bend,) = torch.autograd.grad((slope * direction).sum(), x)
        assert bend.isfinite().all(), name


def test_torchs_mean_divides_each_loss_by_its_number_of_labels():
    logits, labels, logit_lengths, label_lengths = batch(frames=20, rows=3, classes=4, length=6)
    label_lengths = integer([6, 0, 3])
    inputs = logits, labels, logit_lengths, label_lengths
    mean = F.ctc_loss(logits.log_softmax(2).transpose(0, 1), *inputs[1:])
    weights = 1 / label_lengths.clamp_min(1)
    ours = Criterion(ctc_loss)(*inputs, weights=weights, normalizer=3)
    torch.testing.assert_close(ours, mean)
    assert abs(Criterion(ctc_loss)(*inputs) / mean - 1) > 0.1


def test_a_certain_text_costs_zero_and_not_minus_zero():
    losses = ctc_loss(real([[[1e4, 0.0]]]), integer([[1]]), integer([1]), integer([0]))
    assert str(losses.item()) == "0.0"


def test_the_loop_is_over_frames_alone():
    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    counts = []
    for rows, length in ((1, 1), (7, 9)):
        logits, *rest = batch(frames=20, rows=rows, classes=5, length=length)
        with Count() as count:
            ctc_loss(logits.requires_grad_(), *rest)
        counts.append(count.calls)
    assert counts[0] == counts[1] < 30 * 20


def test_long_sequences_in_half_precision():
    # Blanks alone: log 2 for each of 400 frames.
    x = torch.zeros(1, 400, 2).half()
    loss = ctc_loss(x, torch.zeros(1, 0, dtype=torch.int64), [400], [0])
    assert loss.item() == pytest.approx(400 * math.log(2), rel=1e-3)


def test_forward_mode_of_what_also_wants_a_gradient():
    logits, *rest = batch(frames=6, rows=2, classes=3, length=2)
    tangent = real(np.random.default_rng(1).normal(size=tuple(logits.shape)))
    x = logits.requires_grad_()
    (slope,) = torch.autograd.grad(ctc_loss(x, *rest).sum(), x)
    # Forward mode itself calls what torch deprecates.
    with warnings.catch_warnings(action="ignore"), forward_ad.dual_level():
        loss = ctc_loss(forward_ad.make_dual(x, tangent), *rest).sum()
        change = forward_ad.unpack_dual(loss).tangent
    torch.testing.assert_close(change, (slope * tangent).sum())
