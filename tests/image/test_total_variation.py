import math

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, pad

from lossbook.book.pages.speed import FORMULA
from lossbook.image.total_variation import total_variation
from tests.bench.measure import Row
from tests.contract import Case, integer, real

KINDS = ("anisotropic", "isotropic", "squared")


def images(rng):
    return (real(rng.normal(size=(3, 2, 5, 4))),)


def one_row(rng):
    """Images that have no vertical differences."""
    return (real(rng.normal(size=(2, 1, 1, 4))),)


def near(rng):
    """Images ever flatter, and one that is flat."""
    steps = real(rng.normal(size=(7, 2, 3, 4))) * 10.0 ** -real(np.arange(7))[:, None, None, None]
    steps[-1] = 0
    return (real(rng.normal(size=(7, 2, 1, 1))) + steps,)


def variation(images, kind="anisotropic"):
    """Pixel by pixel; a neighbor beyond the border is the pixel itself."""
    total = 0 * images[:, 0, 0, 0]
    _, _, H, W = images.shape
    for i in range(H):
        for j in range(W):
            here = images[:, :, i, j]
            right = images[:, :, i, min(j + 1, W - 1)] - here
            down = images[:, :, min(i + 1, H - 1), j] - here
            if kind == "anisotropic":
                total = total + (abs(right) + abs(down)).sum(1)
            elif kind == "isotropic":
                total = total + ((right**2 + down**2) ** 0.5).sum(1)
            else:
                total = total + (right**2 + down**2).sum(1)
    return total


def minus_divergence(images, kind="anisotropic"):
    """The derivation's gradient, of the differences' slopes u and v at each pixel."""
    right = np.concatenate([images[..., 1:], images[..., -1:]], 3) - images
    down = np.concatenate([images[..., 1:, :], images[..., -1:, :]], 2) - images
    if kind == "squared":
        u, v = 2 * right, 2 * down
    else:
        lengths = abs(right), abs(down)
        if kind == "isotropic":
            lengths = ((right**2 + down**2) ** 0.5,) * 2
        u, v = (
            d / np.where(length == 0, 1, length)
            for d, length in zip((right, down), lengths, strict=True)
        )
    u_left = np.concatenate([0 * u[..., :1], u[..., :-1]], 3)
    v_above = np.concatenate([0 * v[..., :1, :], v[..., :-1, :]], 2)
    return u_left - u + v_above - v


def kornia_sum(images, kind="anisotropic"):
    from kornia.losses import total_variation

    return total_variation(images).sum(1) if kind == "anisotropic" else NotImplemented


def torch_filters(images, kind="anisotropic"):
    """The differences as convolutions, border pixels repeated."""
    channels = images.shape[1]
    kernels = real([[[[-1, 1], [0, 0]]], [[[-1, 0], [1, 0]]]]).repeat(channels, 1, 1, 1)
    padded = pad(images, (0, 1, 0, 1), "replicate")
    found = conv2d(padded, kernels, groups=channels).unflatten(1, (channels, 2))
    norms = {
        "anisotropic": found.abs().sum(2),
        "isotropic": torch.linalg.vector_norm(found, dim=2),
        "squared": found.square().sum(2),
    }
    return norms[kind].sum((1, 2, 3))


def image(*rows):
    return (real([[rows]]),)


FLAT = (torch.full((2, 2, 3, 4), 0.7, dtype=torch.float64),)
ADVERSARIAL = {
    "flat": FLAT,
    "one pixel": image([5.0]),
    "one row": image([1.0, 4.0, 2.0]),
    "one column": image([1.0], [4.0], [2.0]),
    "an edge between flat parts": image(*[[0.0, 0.0, 1.0, 1.0]] * 3),
    "steps of 1e4": image([1e4, -1e4], [-1e4, 1e4]),
    "small steps far from 0": image([1e4, 1e4 + 1e-3], [1e4 - 1e-3, 1e4]),
    "squares underflow": image([0.0, 1e-200], [1e-200, 0.0]),
    "squares overflow": image([0.0, 1e200], [1e200, 0.0]),
}
GIVEN = torch.zeros(2, 3, 4, 4)


def cases():
    return [
        Case(
            loss=total_variation,
            inputs=(images, one_row),
            reference=variation,
            settings=tuple({"kind": kind} for kind in KINDS),
            adversarial=ADVERSARIAL,
            near=near,
            gradient=minus_divergence,
            invariances={
                "shift of the gray value": lambda x: (x + 0.75,),
                "the image's negative": lambda x: (-x,),
                "rows and columns exchanged": lambda x: (x.mT,),
                "order of the channels": lambda x: (x.flip(1),),
            },
            relations={
                "the default is anisotropic": lambda loss, x: (
                    loss(x),
                    loss(x, kind="anisotropic"),
                ),
                "scaling by 3 scales it by 3, the square by 9": lambda loss, x: (
                    torch.stack([loss(3 * x, kind=kind) for kind in KINDS]),
                    real([[3], [3], [9]]) * torch.stack([loss(x, kind=kind) for kind in KINDS]),
                ),
                "mirrored, it is the same but for the isotropic kind": lambda loss, x: (
                    torch.stack([loss(x.flip(3), kind=kind) for kind in KINDS[::2]]),
                    torch.stack([loss(x, kind=kind) for kind in KINDS[::2]]),
                ),
                "along one row the kinds agree": lambda loss, x: (
                    loss(x[:, :, :1], kind="isotropic"),
                    loss(x[:, :, :1]),
                ),
                "channels add up": lambda loss, x: (
                    loss(x, kind="isotropic"),
                    sum(loss(x[:, c : c + 1], kind="isotropic") for c in range(x.shape[1])),
                ),
            },
            peers={"kornia": kornia_sum, "torch": torch_filters},
            errors=[
                ((GIVEN[0],), {}, r"images of shape \(N, C, H, W\), got .* \(3, 4, 4\)"),
                ((GIVEN.long(),), {}, "floating images .* got torch.int64"),
                ((integer(3),), {}, "floating images"),
                ((GIVEN,), {"kind": "l2"}, "kind to be 'anisotropic', .* got 'l2'"),
                ((GIVEN,), {"kind": None}, "kind to be .*, got None"),
            ],
            facts={"range": (0.0, math.inf), "perfect": (FLAT, 0.0), "convex": True},
        )
    ]


def plain_variation(x):
    down, right = x.diff(dim=2).abs(), x.diff(dim=3).abs()
    return (down.sum((1, 2, 3)) + right.sum((1, 2, 3))).mean()


def bench_kornia(x):
    from kornia.losses import total_variation

    return total_variation(x, reduction="sum").sum() / len(x)


def rows():
    return [
        Row(
            total_variation,
            shape="{} x 3 x 256 x 256",
            n=8,
            inputs=lambda n: (torch.rand(n, 3, 256, 256).requires_grad_(),),
            peers={"kornia": bench_kornia, FORMULA: plain_variation},
        )
    ]


@pytest.mark.parametrize(("kind", "expected"), [*zip(KINDS, (9, 7, 27), strict=True)])
def test_values_by_hand(kind, expected):
    # To the right 4 and 0, then 0 and 0; down 3, -1 and -1. The first pixel has 4 and 3: 5 long.
    (x,) = image([1.0, 5.0, 5.0], [4.0, 4.0, 4.0])
    assert total_variation(x, kind=kind).item() == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_flat_image_costs_and_moves_nothing(kind, dtype):
    x = torch.full((2, 3, 4, 5), 0.7, dtype=dtype, requires_grad=True)
    values = total_variation(x, kind=kind)
    (slope,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad((slope * torch.arange(5, dtype=dtype)).sum(), x)
    assert values.tolist() == [0, 0]
    assert not slope.any()
    assert bend.isfinite().all()


def test_a_flat_part_stays_finite_beside_an_edge():
    (x,) = ADVERSARIAL["an edge between flat parts"]
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(total_variation(x, kind="isotropic").sum(), x)
    assert slope[0, 0].tolist() == [[0, -1, 1, 0]] * 3


def test_an_edge_costs_its_height_however_sharp():
    sharp, soft = image([0.0, 0.0, 0.0, 6.0, 6.0]), image([0.0, 2.0, 3.0, 5.0, 6.0])
    for kind, expected in (("anisotropic", (6, 6)), ("isotropic", (6, 6)), ("squared", (36, 10))):
        found = tuple(total_variation(*x, kind=kind).item() for x in (sharp, soft))
        assert found == expected, kind


def test_forward_differences_see_one_diagonal_in_full():
    # Along one diagonal both differences meet in 28 pixels and cost sqrt 2 instead of 2; along
    # the other they fall into neighboring pixels.
    falling = real(np.triu(np.ones((30, 30))))[None, None]
    for x, expected in ((falling.flip(3), 2 + 28 * math.sqrt(2)), (falling, 58)):
        assert total_variation(x).item() == 58
        assert total_variation(x, kind="isotropic").item() == pytest.approx(expected)


def test_a_long_sum_in_float32_is_exact():
    x = (torch.arange(1024)[:, None] + torch.arange(1024)) % 2
    assert total_variation(x[None, None].float()).item() == 2 * 1023 * 1024


def test_small_squares_in_half_precision_add_up():
    # Each is 2^-26, a quarter of the least number of float16.
    x = (torch.arange(256)[:, None] + torch.arange(256)) % 2 * 2**-13
    found = total_variation(x[None, None].half(), kind="squared")
    assert found.item() == pytest.approx(2 * 255 * 256 * 2**-26, rel=1e-3)


def test_descent_removes_noise_and_leaves_the_edge():
    """The isotropic minimum of |x - y|^2 / 2 + 0.3 TV(x) is nearer to the clean image."""
    clean = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    clean[..., 6:] = 2.0
    noisy = clean + 0.2 * real(np.random.default_rng(0).normal(size=clean.shape))
    x = noisy.clone().requires_grad_()
    for step in range(300):
        cost = (x - noisy).square().sum() / 2 + 0.3 * total_variation(x, kind="isotropic").sum()
        (slope,) = torch.autograd.grad(cost, x)
        x = (x - 0.1 / (1 + step / 30) * slope).detach().requires_grad_()
    before, after = ((y - clean).square().mean().item() for y in (noisy, x))
    assert after < before / 3
    assert (x[..., 6] - x[..., 5]).mean() > 1.6
