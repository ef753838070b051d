import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.segmentation.gradient_consistency import (
    gradient_consistency_loss,
    image_gradient_loss,
)
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def hair(rng):
    return real(rng.uniform(size=(2, 1, 4, 5))), real(rng.uniform(size=(2, 1, 4, 5)))


def lines(rng):
    """One row, one column of pixels: gradients have one direction."""
    return real(rng.uniform(size=(2, 1, 1, 6))), real(rng.uniform(size=(2, 1, 1, 6)))


def mattes(rng):
    return real(rng.normal(size=(2, 3, 4, 5))), real(rng.normal(size=(2, 3, 4, 5)))


def columns(rng):
    return real(rng.normal(size=(3, 2, 5, 1))), real(rng.normal(size=(3, 2, 5, 1)))


def near(rng):
    """Masks ever closer to the image, and equal to it."""
    images = real(rng.uniform(size=(7, 1, 4, 5)))
    apart = 10.0 ** -real(np.arange(7))[:, None, None, None]
    apart[-1] = 0
    return images + apart * real(rng.normal(size=images.shape)), images


def sobel(x):
    """Central differences, smoothed by 1, 2, 1 across; a pixel outside is as the nearest inside."""

    def along(x, axis, near):
        places = np.clip(np.arange(x.shape[axis]) + near, 0, x.shape[axis] - 1)
        return x.take(places, axis)

    def slope(axis, other):
        steps = along(x, axis, 1) - along(x, axis, -1)
        return along(steps, other, -1) + 2 * steps + along(steps, other, 1)

    return slope(3, 2), slope(2, 3)


def consistency(masks, images):
    (mx, my), (ix, iy) = sobel(masks), sobel(images)
    m, i = np.sqrt(mx * mx + my * my), np.sqrt(ix * ix + iy * iy)
    m1, i1 = np.where(m == 0, 1, m), np.where(i == 0, 1, i)
    costs = m * (1 - (mx / m1 * (ix / i1) + my / m1 * (iy / i1)) ** 2)
    total = m.sum((1, 2, 3))
    return costs.sum((1, 2, 3)) / np.where(total == 0, 1, total)


def kornia_consistency(masks, images):
    from kornia.filters import spatial_gradient

    m, i = (spatial_gradient(x, "sobel", normalized=False) for x in (masks, images))
    cosines = F.cosine_similarity(m, i, dim=2, eps=1e-300)
    sizes = m.norm(dim=2)
    return (sizes * (1 - cosines**2)).sum((1, 2, 3)) / sizes.sum((1, 2, 3))


def scipy_consistency(masks, images):
    from scipy.ndimage import sobel

    losses = []
    for pair in zip(masks[:, 0].numpy(), images[:, 0].numpy(), strict=True):
        (mx, my), (ix, iy) = ([sobel(x, axis, mode="nearest") for axis in (1, 0)] for x in pair)
        turn = np.arctan2(my, mx) - np.arctan2(iy, ix)
        losses.append(np.average(np.sin(turn) ** 2, weights=np.hypot(mx, my)))
    return losses


def gradients(predictions, targets):
    """Differences of each, then of both; one mean a direction."""
    total = 0
    for axis in (2, 3):
        n = predictions.shape[axis]
        after, before = np.arange(1, n), np.arange(n - 1)
        steps = [x.take(after, axis) - x.take(before, axis) for x in (predictions, targets)]
        errors = np.abs(steps[0] - steps[1])
        total = total + errors.sum((1, 2, 3)) / max(1, math.prod(errors.shape[1:]))
    return total


def gradients_slope(predictions, targets):
    e = predictions - targets
    slope = 0 * e
    for axis in (2, 3):
        n = e.shape[axis]
        steps = np.sign(e.take(np.arange(1, n), axis) - e.take(np.arange(n - 1), axis))
        steps = steps / max(1, math.prod(steps.shape[1:]))
        edge = 0 * e.take([0], axis)
        slope = slope + np.concatenate([edge, steps], axis) - np.concatenate([steps, edge], axis)
    return slope, -slope


def kornia_variation(predictions, targets):
    from kornia.losses import total_variation

    return total_variation(predictions - targets, reduction="mean").mean(1)


RAMP = torch.arange(5.0).double().expand(1, 1, 4, 5) / 4
FLAT = torch.full((1, 1, 4, 5), 0.3).double()
STEP = (RAMP > 0.4).double()
SPOT = (
    torch.zeros(1, 1, 4, 5)
    .double()
    .index_put((integer(0),) * 2 + (integer(1), integer(2)), real(1))
)
MATTE = (real([[[[0.0, 0.5], [1.0, 0.25]]]]), real([[[[0.0, 0.5], [1.0, 0.25]]]]))
GIVEN, COLORS = torch.zeros(2, 1, 4, 5), torch.zeros(2, 3, 4, 5)
TURNS = {
    "upside down": lambda m, i: (m.flip(2), i.flip(2)),
    "mirrored": lambda m, i: (m.flip(3), i.flip(3)),
    "turned": lambda m, i: (m.mT, i.mT),
}


def cases():
    return [
        Case(
            loss=gradient_consistency_loss,
            inputs=(hair, lines),
            reference=consistency,
            near=near,
            adversarial={
                "the mask is the image": (RAMP, RAMP),
                "across the image": (RAMP, RAMP[:, :, :, :4].mT.repeat(1, 1, 1, 5)[:, :, :4, :5]),
                "a constant mask": (FLAT, RAMP),
                "a constant image": (STEP, FLAT),
                "both constant": (FLAT, FLAT),
                "a hard edge": (STEP, RAMP.square()),
                "one pixel": (SPOT, RAMP),
                "one image pixel": (STEP, SPOT),
                "contrast of 1e4": (SPOT, 1e4 * RAMP + SPOT),
                "contrast of 1e-4": (1e-4 * SPOT, 1e-4 * STEP),
                "contrast of 1e-30": (1e-30 * SPOT, 1e-30 * STEP),
                "an image of one pixel": (real([[[[0.5]]]]), real([[[[2.0]]]])),
            },
            # As drawn: the slope of a direction is one over its length, which no dtype holds at
            # 1e-308, nor half precision at 6e-8.
            domains={0: None, 1: None},
            invariances={
                **TURNS,
                "contrast and brightness of the image": lambda m, i: (m, 3 - 7 * i),
                "contrast and brightness of the mask": lambda m, i: (0.9 - m / 3, i),
            },
            relations={
                "a mask like the image costs nothing": lambda loss, _, i: (
                    loss(0.2 + 0.5 * i, i),
                    torch.zeros(len(i)),
                ),
                "a flat image costs 1": lambda loss, m, i: (
                    loss(m, torch.zeros_like(i)),
                    torch.ones(len(i)),
                ),
                "two images at a right angle share out 1": lambda loss, m, i: (
                    (
                        loss(m, 0 * i + torch.arange(m.shape[3])),
                        1 - loss(m, 0 * i + torch.arange(m.shape[2])[:, None]),
                    )
                    if min(m.shape[2:]) > 1
                    else NotImplemented
                ),
            },
            peers={"kornia": kornia_consistency, "scipy": scipy_consistency},
            errors=[
                ((GIVEN, GIVEN[:1]), {}, r"images of shape \(2, 1, 4, 5\), got \(1, 1, 4, 5\)"),
                ((GIVEN, COLORS), {}, r"images of shape \(2, 1, 4, 5\), got \(2, 3, 4, 5\)"),
                ((GIVEN, GIVEN[:, 0]), {}, r"images of shape \(2, 1, 4, 5\), got \(2, 4, 5\)"),
                ((COLORS, COLORS), {}, r"shape \(N, 1, H, W\), got torch.float32 \(2, 3, 4, 5\)"),
                ((GIVEN[0], GIVEN[0]), {}, r"shape \(N, 1, H, W\), got torch.float32 \(1, 4, 5\)"),
                ((GIVEN.long(), GIVEN), {}, "floating masks .* got torch.int64"),
            ],
            facts={"range": (0.0, 1.0), "perfect": ((RAMP, 5 * RAMP), 0.0), "convex": False},
        ),
        Case(
            loss=image_gradient_loss,
            inputs=(mattes, columns),
            reference=gradients,
            near=near,
            adversarial={
                "exact": MATTE,
                "a constant error": (MATTE[0] + 0.25, MATTE[1]),
                "one pixel of error": (SPOT, 0 * SPOT),
                "one pixel": (real([[[[0.5]]]]), real([[[[2.0]]]])),
                "errors of 1e4": (real([[[[1e4, -1e4, 0.0]]]]), real([[[[0.0, 0.0, 1e4]]]])),
            },
            gradient=gradients_slope,
            invariances={**TURNS, "a constant error": lambda p, t: (p + 0.75, t)},
            relations={
                "scaling both by 3 scales it by 3": lambda loss, p, t: (
                    loss(3 * p, 3 * t),
                    3 * loss(p, t),
                ),
                "channels are averaged": lambda loss, p, t: (
                    loss(p, t),
                    sum(loss(p[:, k : k + 1], t[:, k : k + 1]) for k in range(p.shape[1]))
                    / p.shape[1],
                ),
                "only the error counts": lambda loss, p, t: (loss(p, t), loss(p - t, 0 * t)),
            },
            peers={"kornia": kornia_variation},
            errors=[
                ((COLORS, GIVEN), {}, r"targets of shape \(2, 3, 4, 5\), got \(2, 1, 4, 5\)"),
                ((COLORS, COLORS[:1]), {}, r"targets of shape .* got \(1, 3, 4, 5\)"),
                ((GIVEN[0], GIVEN[0]), {}, r"shape \(N, C, H, W\), got torch.float32 \(1, 4, 5\)"),
                ((GIVEN.long(), GIVEN), {}, "floating predictions .* got torch.int64"),
            ],
            facts={"range": (0.0, math.inf), "perfect": (MATTE, 0.0), "convex": True},
        ),
    ]


def of_vectors(of_mask, of_picture):
    size = (of_mask.square().sum(1) + 1e-20).sqrt()
    cosine = (F.normalize(of_mask) * F.normalize(of_picture)).sum(1)
    return ((size * (1 - cosine**2)).sum((1, 2)) / size.sum((1, 2))).mean()


def plain_consistency(masks, pictures):
    """Sobel by two convolutions, and unit vectors."""
    down = torch.tensor([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]])
    kernels = torch.stack([down.T, down])[:, None].to(masks)
    padded = (F.pad(x, (1, 1, 1, 1), mode="replicate") for x in (masks, pictures))
    return of_vectors(*(F.conv2d(x, kernels) for x in padded))


def bench_kornia(masks, pictures):
    from kornia.filters import spatial_gradient

    return of_vectors(*(spatial_gradient(x, normalized=False)[:, 0] for x in (masks, pictures)))


def plain_gradients(p, t):
    return sum((p.diff(dim=d) - t.diff(dim=d)).abs().mean((1, 2, 3)) for d in (2, 3)).mean()


def rows():
    def pictures(n):
        return torch.rand(n, 1, 256, 256).requires_grad_(), torch.rand(n, 1, 256, 256)

    gray = {"shape": "{} x 1 x 256 x 256", "n": 8, "inputs": pictures}
    return [
        Row(
            gradient_consistency_loss,
            slower="flat places keep a finite slope, and Sobel is sums of shifted images",
            peers={"kornia": bench_kornia, FORMULA: plain_consistency},
            **gray,
        ),
        Row(image_gradient_loss, slower=bench.CALL, peers={FORMULA: plain_gradients}, **gray),
    ]


def test_an_edge_at_45_degrees_costs_half():
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    edge = (x >= 4).double()[None, None]
    # The ramp has the gradient (8, 8), a sine^2 of 1/2 with the edge; in the first and last row,
    # where a pixel outside repeats the one inside, (8, 4), of 4^2 / (8^2 + 4^2).
    losses = gradient_consistency_loss(edge, (x + y)[None, None].double())
    assert losses.item() == pytest.approx((7 / 2 + 2 / 5) / 9)


def test_values_by_hand():
    # Errors 0, 2, 1 / 0, 0, 0: across |2|, |-1|, 0, 0 of 4 pairs; down 0, |-2|, |-1| of 3.
    errors = real([[[[0.0, 2.0, 1.0], [0.0, 0.0, 0.0]]]])
    assert image_gradient_loss(errors, 0 * errors).item() == 3 / 4 + 3 / 3


def test_a_constant_mask_gets_no_gradient():
    for image in (RAMP, FLAT):
        mask = FLAT.clone().requires_grad_()
        losses = gradient_consistency_loss(mask, image)
        (slope,) = torch.autograd.grad(losses.sum(), mask)
        assert losses.item() == 0
        assert not slope.any()


def test_it_keeps_its_digits_in_float32():
    # 1 - cos^2 of a rounded cosine would fall to -1e-8.
    images = torch.from_numpy(np.random.default_rng(0).uniform(size=(64, 1, 16, 16))).float()
    losses = gradient_consistency_loss(images / 3, images)
    assert (losses >= 0).all()
    assert losses.max() < 1e-10


def test_half_precision_of_a_large_image():
    rng = np.random.default_rng(0)
    masks, images = (torch.from_numpy(rng.uniform(size=(1, 1, 512, 512))).half() for _ in range(2))
    for loss in (gradient_consistency_loss, image_gradient_loss):
        assert loss(masks, images).item() == pytest.approx(
            loss(masks.double(), images.double()).item(), rel=1e-3
        )


def test_integer_images_and_mattes_are_cast():
    masks = real(np.random.default_rng(0).uniform(size=(1, 1, 4, 5)))
    images = torch.arange(20, dtype=torch.uint8).view(1, 1, 4, 5) * 12
    for loss in (gradient_consistency_loss, image_gradient_loss):
        assert loss(masks, images).equal(loss(masks, images.double()))


def test_central_differences_do_not_see_a_chessboard():
    from kornia.filters import spatial_gradient

    board = (torch.arange(49).view(1, 1, 7, 7) % 2).double()
    central = spatial_gradient(board, "diff")[..., 1:-1, 1:-1]
    assert central.abs().max() == 0
    assert image_gradient_loss(board, torch.zeros_like(board)).item() == 2


def test_kornias_sobel_sees_edges_in_a_flat_mask():
    # An epsilon of 1e-6 under the root: every flat pixel weighs 1e-3.
    from kornia.filters import sobel

    assert sobel(FLAT).unique().item() == pytest.approx(1e-3)
    assert gradient_consistency_loss(FLAT, RAMP).item() == 0
