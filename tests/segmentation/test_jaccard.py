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


def sums(probabilities, targets):
    """Intersection and union: what belongs to one or to the other, position by position."""
    n, c = probabilities.shape[:2]
    overlap, union = (np.zeros((n, c)).astype(probabilities.dtype) for _ in range(2))
    for at in np.ndindex(probabilities.shape[2:]):
        p, t = probabilities[(..., *at)], targets[(..., *at)]
        overlap = overlap + p * t
        union = union + (1 - (1 - p) * (1 - t))
    return overlap, union


def jaccard(probabilities, targets, smooth=1e-5):
    overlap, union = sums(probabilities, targets)
    return 1 - (overlap + smooth) / (union + smooth)


def jaccard_slope(probabilities, targets, smooth=1e-5):
    spread = (..., *[None] * (probabilities.ndim - 2))
    overlap, union = (x[spread] + smooth for x in sums(probabilities, targets))

    def slope(other):
        return (overlap * (1 - other) - other * union) / union**2

    return slope(targets), slope(probabilities)


def monai_jaccard(probabilities, targets, smooth=1e-5):
    from monai.losses import DiceLoss

    if probabilities.dim() < 3:
        return NotImplemented
    # MONAI's quotient is 2 I / (2 union): twice the smooth is ours.
    loss = DiceLoss(jaccard=True, reduction="none", smooth_nr=2 * smooth, smooth_dr=2 * smooth)
    return loss(probabilities, targets).reshape(probabilities.shape[:2])


EXACT = (real([[[0.0, 1.0, 1.0, 0.0]]]), real([[[0.0, 1.0, 1.0, 0.0]]]))
ADVERSARIAL = {
    "exact": EXACT,
    "nothing right": (1 - EXACT[0], EXACT[1]),
    "an empty mask, nothing predicted": (torch.zeros(2, 1, 3).double(), torch.zeros(2, 1, 3)),
    "an empty mask, everything predicted": (torch.ones(1, 2, 3).double(), torch.zeros(1, 2, 3)),
    "a full mask, nothing predicted": (torch.zeros(1, 2, 3).double(), torch.ones(1, 2, 3)),
    "one pixel, missed": (real([[[0.0] * 9]]), real([[[1.0] + [0.0] * 8]])),
    "1e-8 predicted": (real([[[1e-8, 0.0]]]), real([[[0.0, 0.0]]])),
}
ADVERSARIAL = {name: (p, t.double()) for name, (p, t) in ADVERSARIAL.items()}
GIVEN = torch.zeros(2, 3, 4)


def cases():
    return [
        Case(
            loss=jaccard_loss,
            inputs=(images, volumes, soft, no_positions),
            reference=jaccard,
            settings=({}, {"smooth": 1.0}, {"smooth": 0.25}),
            adversarial=ADVERSARIAL,
            domains={0: (0.0, 1.0), 1: (0.0, 1.0)},
            ranges={"smooth": (0.0, 2.0)},
            near=near,
            gradient=jaccard_slope,
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
                "2 D / (1 + D) with the Dice loss of twice the smooth": lambda loss, p, t: (
                    loss(p, t, smooth=0.25),
                    2 * dice_loss(p, t, smooth=0.5) / (1 + dice_loss(p, t, smooth=0.5)),
                ),
                "at least the Dice loss": lambda loss, p, t: (
                    (loss(p, t, smooth=0.0) - dice_loss(p, t, smooth=0.0)).clamp_max(0),
                    torch.zeros(p.shape[:2]),
                ),
                "0 in both leaves a position out": lambda loss, p, t: (
                    loss(F.pad(p, (2, 1)), F.pad(t, (2, 1))) if p.dim() > 2 else loss(p, t),
                    loss(p, t),
                ),
            },
            peers={"monai": monai_jaccard},
            errors=[
                ((GIVEN, GIVEN[:1]), {}, r"targets of shape \(2, 3, 4\), got \(1, 3, 4\)"),
                ((GIVEN, GIVEN[:, :1]), {}, r"targets of shape \(2, 3, 4\), got \(2, 1, 4\)"),
                ((GIVEN, integer(0).expand(2, 4)), {}, r"targets of shape .* got \(2, 4\)"),
                ((GIVEN[0, 0], GIVEN[0, 0]), {}, r"shape \(N, C, \*\), got torch.float32 \(4,\)"),
                ((GIVEN.long(), GIVEN), {}, "floating probabilities .* got torch.int64"),
                ((GIVEN, GIVEN), {"smooth": -1.0}, "smooth >= 0, got -1.0"),
                ((GIVEN, GIVEN), {"smooth": math.nan}, "smooth >= 0, got nan"),
                (
                    (GIVEN, GIVEN),
                    {"smooth": torch.ones(2)},
                    r"smooth of shape \(\), got \(2,\)",
                ),
            ],
            facts={
                "range": (0.0, 1.0),
                "perfect": (EXACT, 0.0),
                # Half of 8 pixels, all at 1/2: I = 2, the union 4 + 4 - 2.
                "chance": (
                    (torch.full((1, 1, 8), 0.5).double(), real([[[0.0, 1.0] * 4]])),
                    1 - (2 + 1e-5) / (6 + 1e-5),
                    "half of the pixels, all at 1/2",
                ),
                "convex": False,
            },
        ),
    ]


def plain_jaccard(p, t):
    both, sizes = (p * t).sum((2, 3)), p.sum((2, 3)) + t.sum((2, 3))
    return (1 - (both + 1e-5) / (sizes - both + 1e-5)).mean()


def rows():
    return [
        Row(
            jaccard_loss,
            slower="what differs is summed as such: 1 - a quotient has no digits near a right mask",
            peers={"MONAI": bench.monai_overlap(jaccard=True), "torch idiom": plain_jaccard},
            **size,
        )
        for size in (bench.masks(256, 8), bench.masks(32, 2))
    ]


def test_values_by_hand():
    p = real([[[1.0, 0.5, 0.0, 0.5]]])
    t = real([[[1.0, 1.0, 0.0, 0.0]]])
    # I = 1.5 of a union of 2 + 2 - 1.5.
    assert jaccard_loss(p, t, smooth=0.0).item() == 1 - 1.5 / 2.5
    assert jaccard_loss(p, t, smooth=0.5).item() == 1 / 3


def test_a_missed_pixel():
    # 1 - s / (1 + s).
    p, t = torch.zeros(1, 1, 9).double(), F.one_hot(integer([[4]]), 9)
    assert jaccard_loss(p, t).item() == pytest.approx(1, abs=1e-4)
    assert jaccard_loss(p, t, smooth=1.0).item() == 0.5


def test_smooth_zero_on_two_empty_masks_is_nan():
    assert jaccard_loss(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3), smooth=0.0).isnan().all()
    assert jaccard_loss(torch.ones(1, 1, 3), torch.zeros(1, 1, 3), smooth=0.0).item() == 1


def test_a_soft_target_is_not_its_best_prediction():
    # Against itself, (0.5, 0.5) has I = 0.5 of a union of 1.5; (1, 1) has 1 of 2.
    t = real([[[0.5, 0.5]]])
    assert jaccard_loss(t, t, smooth=0.0).item() == pytest.approx(2 / 3)
    assert jaccard_loss(torch.ones_like(t), t, smooth=0.0).item() == 0.5


def test_each_image_counts_as_much_as_another():
    # 100 pixels found, 1 pixel missed: 0 and 1, not 1 - 100 / 101 of one flattened batch.
    t = torch.zeros(2, 1, 100)
    t[0], t[1, 0, 0] = 1, 1
    p = t * real([1.0, 0.0])[:, None, None]
    assert jaccard_loss(p, t, smooth=0.0).tolist() == [[0], [1]]


def test_half_precision_at_1024_by_1024():
    # 2^20 pixels; float16 ends at 65504, and bfloat16 stops counting at 256.
    t = torch.zeros(1, 2, 1024, 1024, dtype=torch.bool)
    t[:, 0, :512] = True
    for dtype in (torch.float16, torch.bfloat16):
        p = torch.full((1, 2, 1024, 1024), 0.5, dtype=dtype, requires_grad=True)
        losses = jaccard_loss(p, t)
        # I = 2^18 of a union of 2^19 + 2^19 - 2^18.
        assert losses[0].tolist() == pytest.approx([2 / 3, 1], rel=4e-3)
        (slope,) = torch.autograd.grad(losses.sum(), p)
        assert slope.isfinite().all()


def test_float32_at_1024_by_1024():
    rng = np.random.default_rng(0)
    p, t = real(rng.uniform(size=(1, 1, 1024, 1024))), real(rng.integers(0, 2, (1, 1, 1024, 1024)))
    ours = jaccard_loss(p.float(), t.float()).item()
    assert ours == pytest.approx(jaccard_loss(p, t).item(), rel=1e-6)


def test_the_slope_of_an_empty_mask_fits_float16():
    # 1 / smooth = 1e5 does not: it stops at the largest number, 65504.
    p = torch.zeros(1, 1, 3, dtype=torch.float16, requires_grad=True)
    losses = jaccard_loss(p, torch.zeros(1, 1, 3))
    (slope,) = torch.autograd.grad(losses.sum(), p)
    assert losses.item() == 0
    assert slope.tolist() == [[[65504.0] * 3]]


def test_bool_integer_and_half_targets_are_cast():
    p, t = images(np.random.default_rng(0))
    expected = jaccard_loss(p.float(), t.float())
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16):
        assert jaccard_loss(p.float(), t.to(dtype)).equal(expected)
    torch.testing.assert_close(jaccard_loss(p.float(), t.double()), expected)


def test_against_scipy_and_sklearn_on_hard_masks():
    from scipy.spatial.distance import jaccard as scipy_jaccard
    from sklearn.metrics import jaccard_score

    rng = np.random.default_rng(0)
    p, t = (rng.integers(0, 2, (3, 2, 40)).astype(bool) for _ in range(2))
    ours = jaccard_loss(real(p), real(t), smooth=0.0)
    for at in np.ndindex(3, 2):
        assert ours[at].item() == pytest.approx(scipy_jaccard(p[at], t[at]), rel=1e-12)
        assert ours[at].item() == pytest.approx(1 - jaccard_score(t[at], p[at]), rel=1e-12)
