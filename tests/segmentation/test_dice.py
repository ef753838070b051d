import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.segmentation.dice import dice_loss
from lossbook.segmentation.jaccard import jaccard_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def images(rng):
    return real(rng.uniform(size=(2, 3, 4, 5))), real(rng.integers(0, 2, (2, 3, 4, 5)))


def volumes(rng):
    return real(rng.uniform(size=(1, 2, 2, 3, 4))), real(rng.integers(0, 2, (1, 2, 2, 3, 4)))


def soft(rng):
    return real(rng.uniform(size=(3, 2, 6))), real(rng.uniform(size=(3, 2, 6)))


def no_positions(rng):
    """Two classes of four images of one pixel: shape (N, C)."""
    return real(rng.uniform(size=(4, 2))), real(rng.integers(0, 2, (4, 2)))


def near(rng):
    """Hard masks, and what is predicted a little less sure."""
    t = real(rng.integers(0, 2, (7, 2, 5)))
    away = real(rng.uniform(size=t.shape)) * 10.0 ** -torch.arange(7.0).double()[:, None, None]
    away[-1], away[0, 0, 1:] = 0, 0
    return (t - away).abs(), t


def sums(probabilities, targets, squared):
    """Twice the overlap and the sum of both sizes, position by position."""
    n, c = probabilities.shape[:2]
    twice, sizes = (np.zeros((n, c)).astype(probabilities.dtype) for _ in range(2))
    for at in np.ndindex(probabilities.shape[2:]):
        p, t = probabilities[(..., *at)], targets[(..., *at)]
        twice = twice + 2 * p * t
        sizes = sizes + (p * p + t * t if squared else p + t)
    return twice, sizes


def dice(probabilities, targets, smooth=1e-5, squared=False):
    twice, sizes = sums(probabilities, targets, squared)
    return 1 - (twice + smooth) / (sizes + smooth)


def dice_slope(probabilities, targets, smooth=1e-5, squared=False):
    spread = (..., *[None] * (probabilities.ndim - 2))
    twice, sizes = (x[spread] + smooth for x in sums(probabilities, targets, squared))

    def slope(x, other):
        return (twice * (2 * x if squared else 1) - 2 * other * sizes) / sizes**2

    return slope(probabilities, targets), slope(targets, probabilities)


def monai_dice(probabilities, targets, smooth=1e-5, squared=False):
    from monai.losses import DiceLoss

    if probabilities.dim() < 3:
        return NotImplemented
    loss = DiceLoss(squared_pred=squared, reduction="none", smooth_nr=smooth, smooth_dr=smooth)
    return loss(probabilities, targets).reshape(probabilities.shape[:2])


def is_hard(targets):
    return bool(((targets == 0) | (targets == 1)).all())


EXACT = (real([[[0.0, 1.0, 1.0, 0.0]]]), real([[[0.0, 1.0, 1.0, 0.0]]]))
ADVERSARIAL = {
    "exact": EXACT,
    "nothing right": (1 - EXACT[0], EXACT[1]),
    "an empty mask, nothing predicted": (torch.zeros(2, 1, 3).double(), torch.zeros(2, 1, 3)),
    "an empty mask, everything predicted": (torch.ones(1, 2, 3).double(), torch.zeros(1, 2, 3)),
    "an empty mask, half predicted": (torch.full((1, 1, 16), 0.5).double(), torch.zeros(1, 1, 16)),
    "a full mask, nothing predicted": (torch.zeros(1, 2, 3).double(), torch.ones(1, 2, 3)),
    "one pixel, missed": (real([[[0.0] * 9]]), real([[[1.0] + [0.0] * 8]])),
    "1e-8 predicted": (real([[[1e-8, 0.0]]]), real([[[0.0, 0.0]]])),
}
ADVERSARIAL = {name: (p, t.double()) for name, (p, t) in ADVERSARIAL.items()}
GIVEN = torch.zeros(2, 3, 4)


def errors():
    return [
        ((GIVEN, GIVEN[:1]), {}, r"targets of shape \(2, 3, 4\), got \(1, 3, 4\)"),
        ((GIVEN, GIVEN[:, :1]), {}, r"targets of shape \(2, 3, 4\), got \(2, 1, 4\)"),
        ((GIVEN, integer(0).expand(2, 4)), {}, r"targets of shape \(2, 3, 4\), got \(2, 4\)"),
        ((GIVEN[0, 0], GIVEN[0, 0]), {}, r"shape \(N, C, \*\), got torch.float32 \(4,\)"),
        ((GIVEN.long(), GIVEN), {}, "floating probabilities .* got torch.int64"),
        ((GIVEN, GIVEN), {"smooth": -1e-5}, "smooth >= 0, got -1e-05"),
        ((GIVEN, GIVEN), {"smooth": math.nan}, "smooth >= 0, got nan"),
        ((GIVEN, GIVEN), {"smooth": torch.ones(2)}, r"smooth of shape \(\), got \(2,\)"),
    ]


def cases():
    return [
        Case(
            loss=dice_loss,
            inputs=(images, volumes, soft, no_positions),
            reference=dice,
            settings=({}, {"squared": True}, {"smooth": 1.0}, {"smooth": 0.5, "squared": True}),
            tolerances={"float16": 2e-3},  # The least smooth is 1 / 65504, not 1e-5.
            adversarial=ADVERSARIAL,
            domains={0: (0.0, 1.0), 1: (0.0, 1.0)},
            ranges={"smooth": (0.0, 2.0)},
            near=near,
            gradient=dice_slope,
            classes={0: 1, 1: 1, "values": 1},
            invariances={
                "order of the positions": lambda p, t: (
                    (p.flip(-1), t.flip(-1)) if p.dim() > 2 else (p, t)
                ),
                "shape of the positions": lambda p, t: (
                    (p.flatten(2), t.flatten(2)) if p.dim() > 2 else (p, t)
                ),
                "swap": lambda p, t: (t, p),
            },
            relations={
                "J / (2 - J) with the Jaccard loss of half the smooth": lambda loss, p, t: (
                    loss(p, t, smooth=0.5),
                    jaccard_loss(p, t, smooth=0.25) / (2 - jaccard_loss(p, t, smooth=0.25)),
                ),
                "0 in both leaves a position out": lambda loss, p, t: (
                    loss(F.pad(p, (2, 1)), F.pad(t, (2, 1))) if p.dim() > 2 else loss(p, t),
                    loss(p, t),
                ),
                "squares do not change two hard masks": lambda loss, p, t: (
                    (loss(p.round(), t, squared=True), loss(p.round(), t))
                    if is_hard(t)
                    else NotImplemented
                ),
                "the part that differs, squared": lambda loss, p, t: (
                    loss(p.unsqueeze(-1), t.unsqueeze(-1), squared=True, smooth=0.0),
                    (p - t).square().unsqueeze(-1).flatten(2).sum(2)
                    / (p.square() + t.square()).unsqueeze(-1).flatten(2).sum(2),
                ),
            },
            peers={"monai": monai_dice},
            errors=errors(),
            facts={
                "range": (0.0, 1.0),
                "perfect": (EXACT, 0.0),
                # Half of 8 pixels, all at 1/2: 2 I = 4, both sizes 4.
                "chance": (
                    (torch.full((1, 1, 8), 0.5).double(), real([[[0.0, 1.0] * 4]])),
                    1 - (4 + 1e-5) / (8 + 1e-5),
                    "half of the pixels, all at 1/2",
                ),
                "convex": False,
            },
        ),
    ]


def plain_dice(p, t):
    both, sizes = (p * t).sum((2, 3)), p.sum((2, 3)) + t.sum((2, 3))
    return (1 - (2 * both + 1e-5) / (sizes + 1e-5)).mean()


def rows():
    return [
        Row(
            dice_loss,
            slower="what differs is summed as such: 1 - a quotient has no digits near a right mask",
            peers={"MONAI": bench.monai_overlap(), "torch idiom": plain_dice},
            **size,
        )
        for size in (bench.masks(256, 8), bench.masks(32, 2))
    ]


def test_values_by_hand():
    p = real([[[1.0, 0.5, 0.0, 0.5]]])
    t = real([[[1.0, 1.0, 0.0, 0.0]]])
    # 2 sum p t = 3; the sizes are 2 and 2, squared 1.5 and 2.
    assert dice_loss(p, t, smooth=0.0).item() == 1 - 3 / 4
    assert dice_loss(p, t, smooth=0.0, squared=True).item() == 0.5 / 3.5
    assert dice_loss(p, t, smooth=1.0).item() == 1 / 5


def test_an_empty_mask():
    # 16 pixels at 1/2: 1 - s / (8 + s), of slope s / (8 + s)^2.
    for smooth, loss, slope in ((1e-5, 0.99999875, 1.5625e-7), (1.0, 8 / 9, 1 / 81)):
        p = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64, requires_grad=True)
        losses = dice_loss(p, torch.zeros_like(p), smooth=smooth)
        assert losses.item() == pytest.approx(loss, abs=1e-10)
        (found,) = torch.autograd.grad(losses.sum(), p)
        assert found.unique().item() == pytest.approx(slope, rel=1e-5)


def test_a_missed_pixel():
    # 1 - s / (1 + s): a large smooth excuses what is small.
    p, t = torch.zeros(1, 1, 9).double(), F.one_hot(integer([[4]]), 9)
    assert dice_loss(p, t).item() == pytest.approx(1, abs=1e-4)
    assert dice_loss(p, t, smooth=1.0).item() == 0.5


def test_smooth_zero_on_two_empty_masks_is_nan():
    assert dice_loss(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3), smooth=0.0).isnan().all()
    assert dice_loss(torch.ones(1, 1, 3), torch.zeros(1, 1, 3), smooth=0.0).item() == 1


def test_each_image_counts_as_much_as_another():
    # 100 pixels found, 1 pixel missed: 0 and 1, not 1 - 200 / 201 of one flattened batch.
    t = torch.zeros(2, 1, 100)
    t[0], t[1, 0, 0] = 1, 1
    p = t * real([1.0, 0.0])[:, None, None]
    assert dice_loss(p, t, smooth=0.0).tolist() == [[0], [1]]


def test_the_slope_of_an_empty_mask_fits_float16():
    # 1 / smooth = 1e5 does not: it stops at the largest number, 65504.
    for smooth in (1e-5, 1e-12):
        p = torch.zeros(1, 1, 3, dtype=torch.float16, requires_grad=True)
        losses = dice_loss(p, torch.zeros(1, 1, 3), smooth=smooth)
        (slope,) = torch.autograd.grad(losses.sum(), p)
        assert losses.item() == 0
        assert slope.tolist() == [[[65504.0] * 3]]


def test_half_precision_at_1024_by_1024():
    # 2^20 pixels; float16 ends at 65504, and bfloat16 stops counting at 256.
    t = torch.zeros(1, 2, 1024, 1024, dtype=torch.bool)
    t[:, 0, :512] = True
    # 2 I = 2^19; the sizes are 2^19, or 2^18 squared, and 2^19.
    for squared, expected in ((False, 1 / 2), (True, 1 / 3)):
        for dtype in (torch.float16, torch.bfloat16):
            p = torch.full((1, 2, 1024, 1024), 0.5, dtype=dtype, requires_grad=True)
            losses = dice_loss(p, t, squared=squared)
            assert losses[0].tolist() == pytest.approx([expected, 1], rel=4e-3)
            (slope,) = torch.autograd.grad(losses.sum(), p)
            assert slope.isfinite().all()


def test_float32_at_1024_by_1024():
    rng = np.random.default_rng(0)
    p, t = real(rng.uniform(size=(1, 1, 1024, 1024))), real(rng.integers(0, 2, (1, 1, 1024, 1024)))
    ours = dice_loss(p.float(), t.float()).item()
    assert ours == pytest.approx(dice_loss(p, t).item(), rel=1e-6)


def test_bool_integer_and_half_targets_are_cast():
    p, t = images(np.random.default_rng(0))
    expected = dice_loss(p.float(), t.float())
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16):
        assert dice_loss(p.float(), t.to(dtype)).equal(expected)
    torch.testing.assert_close(dice_loss(p.float(), t.double()), expected)


def test_only_squares_have_their_least_value_at_soft_targets():
    t = real([[[0.2, 0.7, 0.9]]])
    for squared in (False, True):
        p = t.clone().requires_grad_()
        losses = dice_loss(p, t, smooth=0.0, squared=squared)
        (slope,) = torch.autograd.grad(losses.sum(), p)
        if squared:
            assert losses.item() == pytest.approx(0, abs=1e-15)
            assert slope.abs().max() < 1e-15
        else:
            # 1 - 2 (0.04 + 0.49 + 0.81) / 3.6, and less still at the corner (0, 1, 1).
            assert losses.item() == pytest.approx(1 - 2.68 / 3.6)
            assert slope.abs().max() > 0.1
            corner = dice_loss(real([[[0.0, 1.0, 1.0]]]), t, smooth=0.0)
            assert corner.item() == pytest.approx(1 - 3.2 / 3.8)


def test_against_kornia_without_smoothing():
    from kornia.losses import dice_loss as kornia_dice

    rng = np.random.default_rng(0)
    logits, labels = real(rng.normal(size=(2, 3, 4, 5))), integer(rng.integers(0, 3, (2, 4, 5)))
    truth = F.one_hot(labels, 3).movedim(-1, 1)
    assert truth.sum((2, 3)).all()  # Kornia leaves out classes that an image lacks.
    theirs = kornia_dice(logits, labels, average="macro", eps=0.0)
    ours = dice_loss(logits.softmax(1), truth, smooth=0.0).mean()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_against_scipy_and_sklearn_on_hard_masks():
    from scipy.spatial.distance import dice as scipy_dice
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    p, t = (rng.integers(0, 2, (3, 2, 40)).astype(bool) for _ in range(2))
    ours = dice_loss(real(p), real(t), smooth=0.0)
    for at in np.ndindex(3, 2):
        assert ours[at].item() == pytest.approx(scipy_dice(p[at], t[at]), rel=1e-12)
        assert ours[at].item() == pytest.approx(1 - f1_score(t[at], p[at]), rel=1e-12)
