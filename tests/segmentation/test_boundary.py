import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.segmentation.boundary import boundary_loss, signed_distance_map
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, real


def images(rng):
    p = real(rng.uniform(size=(2, 3, 4, 5)))
    return p, signed_distance_map(torch.from_numpy(rng.uniform(size=p.shape) < 0.5)).double()


def volumes(rng):
    return real(rng.uniform(size=(1, 2, 2, 3, 4))), real(rng.normal(size=(1, 2, 2, 3, 4)) * 5)


def no_positions(rng):
    """Two classes of four images of one pixel: shape (N, C)."""
    return real(rng.uniform(size=(4, 2))), real(rng.normal(size=(4, 2)))


def boundary(probabilities, distance_maps):
    total = 0
    for at in np.ndindex(probabilities.shape[2:]):
        total = total + probabilities[(..., *at)] * distance_maps[(..., *at)]
    return total / math.prod(probabilities.shape[2:])


def boundary_slope(probabilities, distance_maps):
    count = math.prod(probabilities.shape[2:])
    return distance_maps / count, probabilities / count


def masks(rng):
    return (torch.from_numpy(rng.uniform(size=(2, 3, 6, 4)) < rng.uniform(size=(2, 3, 1, 1))),)


def wide_masks(rng):
    return (torch.from_numpy(rng.uniform(size=(3, 1, 2, 9)) < 0.2),)


def volume_masks(rng):
    return (
        torch.from_numpy(rng.uniform(size=(2, 2, 3, 5, 4)) < rng.uniform(size=(2, 2, 1, 1, 1))),
    )


def brute(masks, spacing=None):
    """Every pixel of a mask against every other."""
    found, step = np.zeros(masks.shape), spacing or (1,) * (masks.ndim - 2)
    for at in np.ndindex(masks.shape):
        mask = masks[at[:2]]
        others = np.argwhere(mask != mask[at[2:]])
        if len(others):
            d = np.sqrt((((others - at[2:]) * step) ** 2).sum(1)).min()
            found[at] = min(step) - d if mask[at[2:]] else d
    return found


def scipy_map(masks, spacing=None):
    """The line of the paper's code, mask by mask."""
    from scipy.ndimage import distance_transform_edt as edt

    found, unit = np.zeros(masks.shape, np.float32), min(spacing or [1])
    for at in np.ndindex(masks.shape[:2]):
        g = masks[at].numpy()
        if g.any() and not g.all():
            found[at] = edt(~g, spacing) * ~g - (edt(g, spacing) - unit) * g
    return found


def monai_map(masks):
    from monai.losses import BoundaryLoss

    if masks.dim() != 4:
        return NotImplemented
    return BoundaryLoss().compute_distance_map(masks.float())


def square(size, where):
    """One mask of `size` x `size` pixels that is true in `where` x `where`."""
    found = torch.zeros(1, 1, size, size, dtype=torch.bool)
    found[..., where, where] = True
    return found


def monai_boundary(probabilities, distance_maps):
    from monai.losses import BoundaryLoss

    if probabilities.dim() != 4:
        return NotImplemented
    truth = (distance_maps <= 0).double()  # MONAI makes the maps itself, in every call.
    return BoundaryLoss(reduction="none")(probabilities, truth)


NINE = square(9, slice(3, 6))
SPACE = {4: (2, 3), 5: (2, 3, 4)}
LENGTHS = (2.5, 0.5, 1.5)
PERFECT = (NINE.double(), signed_distance_map(NINE).double())
GIVEN = torch.zeros(2, 3, 4)


def batches_views():
    """Whether torch.vmap can look at the bits of floats as integers: 2.11 cannot, 2.13 can."""
    try:
        return torch.vmap(lambda x: x.view(torch.int32))(torch.zeros(1, 1)).dtype == torch.int32
    except RuntimeError:
        return False


def cases():
    return [
        Case(
            loss=boundary_loss,
            inputs=(images, volumes, no_positions),
            reference=boundary,
            adversarial={
                "perfect": PERFECT,
                "empty": (0 * PERFECT[0], PERFECT[1]),
                "all wrong": (1 - PERFECT[0], PERFECT[1]),
                "no boundary": (torch.ones(1, 2, 3).double(), torch.zeros(1, 2, 3).double()),
                "distances of 1e4": (
                    real([[[1.0, 1.0]], [[1.0, 0.5]]]),
                    real([[[1e4, 1e4]], [[-1e4, 0.0]]]),
                ),
            },
            domains={0: (0.0, 1.0)},
            gradient=boundary_slope,
            classes={0: 1, 1: 1, "values": 1},
            invariances={
                "order of the positions": lambda p, d: (
                    (p.flip(-1), d.flip(-1)) if p.dim() > 2 else (p, d)
                ),
            },
            relations={
                "all of the mask and all of the rest make the mean distance": lambda loss, p, d: (
                    loss(p, d) + loss(1 - p, d),
                    loss(torch.ones_like(p), d),
                ),
                "the least loss keeps what is closer than nothing": lambda loss, p, d: (
                    (loss((d < 0).to(p), d) - loss(p, d)).clamp_min(0),
                    torch.zeros(p.shape[:2]),
                ),
            },
            peers={"monai": monai_boundary},
            errors=[
                ((GIVEN, GIVEN[:1]), {}, r"distance_maps of shape \(2, 3, 4\), got \(1, 3, 4\)"),
                ((GIVEN, GIVEN[:, :1]), {}, r"distance_maps of shape .* got \(2, 1, 4\)"),
                ((GIVEN[0, 0], GIVEN[0, 0]), {}, r"shape \(N, C, \*\), got torch.float32 \(4,\)"),
                ((GIVEN.long(), GIVEN), {}, "floating probabilities .* got torch.int64"),
            ],
            facts={
                "range": (-math.inf, math.inf),
                # The 3 x 3 pixels have 0, but for the one in the middle: -1, of 81.
                "perfect": (PERFECT, -1 / 81, "a square of 3 x 3 in 9 x 9 pixels"),
                "convex": True,
            },
        ),
        Case(
            loss=signed_distance_map,
            inputs=(masks, wide_masks, volume_masks),
            reference=brute,
            adversarial={
                "empty and full": (
                    torch.tensor([[False], [True]])[..., None, None].expand(2, 1, 3, 4),
                ),
                "one pixel": (torch.ones(1, 2, 1, 1, dtype=torch.bool),),
                "a row": (torch.tensor([[[[True, False, False, True, True, True]]]]),),
                "a column": (torch.tensor([[[[True], [False], [False], [True]]]]),),
                "a square": (NINE,),
                "a corner": (square(7, slice(0, 1)),),
                "nearest over the pixels of others": (~square(7, slice(2, 5)) ^ square(7, 3),),
                "chessboard": ((torch.arange(30).view(1, 1, 6, 5) % 2 == 0),),
                "one voxel": (F.one_hot(torch.tensor([[37]]), 60).view(1, 1, 3, 4, 5).bool(),),
            },
            relations={
                "the rest of the image has 1 - map": lambda loss, m: (
                    loss(~m),
                    (1 - loss(m)).where(loss(m).abs().amax(SPACE[m.dim()], True) > 0, 0),
                ),
                "mirrored and turned with the mask": lambda loss, m: (
                    torch.cat([loss(m.flip(2)).flip(2), loss(m.flip(3)).flip(3), loss(m.mT).mT]),
                    torch.cat([loss(m)] * 3),
                ),
                "lengths of 2.5, 0.5 and 1.5": lambda loss, m: (
                    loss(m, spacing=LENGTHS[-(m.dim() - 2) :]),
                    torch.from_numpy(brute(m.numpy(), LENGTHS[-(m.dim() - 2) :])),
                ),
                "the unit of the spacing is that of the map": lambda loss, m: (
                    loss(m, spacing=[0.001] * (m.dim() - 2)) * 1000,
                    loss(m),
                ),
                "each mask alone": lambda loss, m: (
                    loss(m),
                    torch.cat([loss(one) for one in m.split(1, 1)], 1),
                ),
                "neighbors are at most 1 apart": lambda loss, m: (
                    (loss(m).diff(dim=3).abs() - 1).clamp_min(0),
                    torch.zeros(loss(m).diff(dim=3).shape),
                ),
            },
            peers={"scipy": scipy_map, "monai": monai_map},
            errors=[
                ((NINE.float(),), {}, "bool masks .* got torch.float32"),
                ((NINE.long(),), {}, "bool masks .* got torch.int64"),
                ((NINE[0],), {}, r"shape \(N, C, H, W\) or .* got torch.bool \(1, 9, 9\)"),
                ((NINE[None, None],), {}, r"got torch.bool \(1, 1, 1, 1, 9, 9\)"),
                ((NINE,), {"spacing": (1.0,)}, r"spacing to be 2 positive numbers, got \(1.0,\)"),
                ((NINE,), {"spacing": (1.0, 1.0, 1.0)}, "spacing to be 2 positive numbers"),
                ((NINE[None],), {"spacing": (1.0, 1.0)}, "spacing to be 3 positive numbers"),
                ((NINE,), {"spacing": (0.0, 1.0)}, "spacing to be 2 positive numbers"),
                ((NINE,), {"spacing": (1.0, math.inf)}, "spacing .* got \\(1.0, inf\\)"),
            ],
            # Roots in float32, whatever comes in.
            tolerances={"float64": 1e-6},
            exempt={
                "next to the optimum": "a map is no error",
                "extremes/nan": "a mask is bool",
                "bfloat16": "the map is float32",
                "float16": "the map is float32",
                "vmap/gradients": "nothing in it is differentiated",
                **({} if batches_views() else {"vmap/values": "this torch cannot batch a view"}),
                "facts/passes": "nothing in it is differentiated",
            },
        ),
    ]


def rows():
    return [
        Row(
            boundary_loss,
            slower=bench.CALL,
            shape="{} x 4 x 256 x 256",
            n=8,
            inputs=lambda n: (bench.maps(256)(n)[0], torch.randn(n, 4, 256, 256)),
            peers={FORMULA: lambda p, d: (p * d).mean((2, 3)).mean()},
        )
    ]


def test_values_by_hand():
    # 0.5 of distance 1, all of distances 0, -1 and -2, over 4 positions.
    p = real([[[[0.5, 1.0, 1.0, 1.0]]]])
    maps = signed_distance_map(torch.tensor([[[[False, True, True, True]]]]))
    assert maps.tolist() == [[[[1, 0, -1, -2]]]]
    assert boundary_loss(p, maps).item() == (0.5 - 3) / 4


def test_a_square_has_0_on_its_rim():
    # The center 1 - 2, the rim 1 - 1, the outside 1, the corner outside the root of 2.
    found = signed_distance_map(NINE)[0, 0]
    assert found[4, 4].item() == -1
    assert found[3, 3:6].tolist() == [0, 0, 0]
    assert found[2, 4].item() == 1
    assert found[2, 2].item() == pytest.approx(math.sqrt(2))
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_everything_predicted_costs_and_nothing_is_free():
    everything, nothing = torch.ones(1, 1, 9, 9), torch.zeros(1, 1, 9, 9)
    assert boundary_loss(everything, PERFECT[1]).item() > 1
    assert boundary_loss(nothing, PERFECT[1]).item() == 0
    assert boundary_loss(*PERFECT).item() < 0


def test_half_precision_at_1024_by_1024():
    # The sum is 2^20 distances of 500: far beyond float16's 65504, their mean is not.
    p = torch.ones(1, 1, 1024, 1024, dtype=torch.float16, requires_grad=True)
    losses = boundary_loss(p, torch.full((1, 1, 1024, 1024), 500.0))
    assert losses.dtype == torch.float16
    assert losses.item() == 500
    (slope,) = torch.autograd.grad(losses.sum(), p)
    assert slope.isfinite().all()


def blobs(size):
    """Eight smooth masks that hold a third of the image."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    fields = np.stack([gaussian_filter(rng.normal(size=(size, size)), 12) for _ in range(8)])
    return torch.from_numpy(fields > np.quantile(fields, 2 / 3, axis=(1, 2), keepdims=True))[None]


def test_large_maps_equal_those_of_scipy():
    from scipy.ndimage import distance_transform_edt as edt

    large = blobs(512)
    found = signed_distance_map(large)
    squares = torch.where(large, 1 - found, found).double().square()
    # Sums of two squares below 2^19: in float32 their roots tell them apart.
    theirs = [edt(mask) ** 2 + edt(~mask) ** 2 for mask in large[0].numpy()]
    assert squares.round()[0].equal(real(np.round(theirs)))
    assert (squares - squares.round()).abs().max() < 0.1


def test_far_pixels_of_a_large_image():
    # 8191^2 + 3^2 has 26 bits.
    mask = torch.zeros(1, 1, 4, 8192, dtype=torch.bool)
    mask[0, 0, 0, 0] = True
    found = signed_distance_map(mask)
    assert found[0, 0, 3, 8191].item() == pytest.approx(math.hypot(8191, 3), rel=1e-7)
    assert found[0, 0, 0, 0].item() == 0
    assert found.is_contiguous()


def test_many_masks_equal_those_of_scipy():
    rng = np.random.default_rng(0)
    for draw in range(60):
        axes = 2 + draw % 2
        shape = (2, 1, *rng.integers(1, 30 if axes == 2 else 12, axes))
        drawn = torch.from_numpy(rng.uniform(size=shape) < rng.choice([0.01, 0.1, 0.5, 0.95]))
        for spacing in (None, tuple(rng.choice([0.3, 0.7, 1.0, 4.0], axes))):
            found = signed_distance_map(drawn, spacing=spacing).double()
            expected = real(scipy_map(drawn, spacing))
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


class Work(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the elements of all results."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.elements += result.numel() if isinstance(result, torch.Tensor) else 0
        return result


def test_work_grows_as_n_log_n_along_a_line():
    counts = {}
    for size in (128, 512):
        with Work() as work:
            signed_distance_map(square(size, slice(9, size // 2)))
        counts[size] = work.elements
    # Four times as many pixels on each side, and two more halvings to eight.
    assert counts[512] <= 16 * 10 / 8 * counts[128]


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Remembers the size of the largest result."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_memory_grows_with_the_image_not_with_its_square():
    for shape in ((1, 1, 4096, 8), (1, 1, 8, 4096), (2, 8, 256, 256)):
        with Largest() as largest:
            signed_distance_map(torch.zeros(shape, dtype=torch.bool))
        assert largest.elements <= 2**20 + 2 * math.prod(shape)


def test_no_masks_have_no_maps():
    assert signed_distance_map(torch.zeros(0, 3, 4, 5, dtype=torch.bool)).shape == (0, 3, 4, 5)


def test_masks_without_pixels_have_an_empty_map():
    for shape in ((1, 2, 0, 3), (1, 2, 3, 0), (0, 2, 3, 3), (1, 2, 2, 0, 3)):
        found = signed_distance_map(torch.zeros(shape, dtype=torch.bool))
        assert (tuple(found.shape), found.dtype) == (shape, torch.float32)


def test_the_default_dtype_changes_nothing():
    masks = torch.zeros(1, 1, 9, 7, dtype=torch.bool)
    masks[..., 2:5, 3:6] = True
    expected = signed_distance_map(masks)
    default = torch.get_default_dtype()
    try:
        for dtype in (torch.float64, torch.bfloat16):
            torch.set_default_dtype(dtype)
            assert torch.equal(signed_distance_map(masks), expected)
    finally:
        torch.set_default_dtype(default)
