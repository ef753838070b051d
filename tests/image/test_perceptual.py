import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.image.perceptual import perceptual_loss, style_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def two_layers(rng):
    shapes = [(4, 2, 3, 5), (4, 3, 2, 1)]
    return tuple([real(rng.normal(size=shape)) for shape in shapes] for _ in range(2))


def one_layer(rng):
    return [real(rng.normal(size=(3, 4, 1, 2)))], [real(rng.normal(size=(3, 4, 1, 2)))]


def near(rng):
    """Features of two layers, ever closer to those of the target, and equal ones."""
    target_features = [real(rng.normal(size=shape)) for shape in [(7, 2, 3, 5), (7, 3, 2, 1)]]
    apart = 10.0 ** -real(np.arange(7))[:, None, None, None]
    apart[-1] = 0
    features = [t + apart * real(rng.normal(size=t.shape)) for t in target_features]
    return features, target_features


def feature_reconstruction(features, target_features):
    total = 0
    for f, t in zip(features, target_features, strict=True):
        N, C, H, W = f.shape
        total = total + np.stack([((f[n] - t[n]) ** 2).sum() for n in range(N)]) / (C * H * W)
    return total


def feature_slope(features, target_features):
    slopes = [
        2 * (f - t) / math.prod(f.shape[1:]) for f, t in zip(features, target_features, strict=True)
    ]
    return slopes, [-slope for slope in slopes]


def gram(x):
    """Entry by entry, over the positions."""
    _, C, H, W = x.shape
    entries = [[(x[:, c] * x[:, d]).sum((1, 2)) / (C * H * W) for d in range(C)] for c in range(C)]
    return np.stack([np.stack(row, -1) for row in entries], -1)


def gram_distance(features, target_features):
    total = 0
    for f, t in zip(features, target_features, strict=True):
        total = total + ((gram(f) - gram(t)) ** 2).sum((1, 2))
    return total


def style_slope(features, target_features):
    pairs = [(0, 0) for _ in features]
    for j, (f, t) in enumerate(zip(features, target_features, strict=True)):
        gap = 4 * (gram(f) - gram(t)) / math.prod(f.shape[1:])
        pairs[j] = tuple(
            sign * sum(gap[:, :, d, None, None] * x[:, None, d] for d in range(x.shape[1]))
            for sign, x in ((1, f), (-1, t))
        )
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def torch_mse(features, target_features):
    pairs = zip(features, target_features, strict=True)
    return sum(F.mse_loss(f, t, reduction="none").flatten(1).mean(1) for f, t in pairs)


def torch_mse_of_grams(features, target_features):
    """Gram matrices by einsum; the mean over their entries times C^2 is the sum."""
    total = 0
    for f, t in zip(features, target_features, strict=True):
        grams = (torch.einsum("nchw,ndhw->ncd", x, x) / x[0].numel() for x in (f, t))
        total = total + f.shape[1] ** 2 * F.mse_loss(*grams, reduction="none").mean((1, 2))
    return total


def kernel_discrepancy(features, target_features):
    """The positions as two samples, compared by the maximum mean discrepancy of a kernel."""
    from sklearn.metrics.pairwise import polynomial_kernel

    total = 0
    for f, t in zip(features, target_features, strict=True):
        rows = [[x.flatten(1).T.numpy() for x in y] for y in (f, t)]

        def k(x, y):
            return polynomial_kernel(x, y, degree=2, gamma=1, coef0=0).sum()

        found = [k(x, x) - 2 * k(x, y) + k(y, y) for x, y in zip(*rows, strict=True)]
        total = total + np.stack(found) / f[0].numel() ** 2
    return total


def every(change, *lists):
    return tuple([change(x) for x in layers] for layers in lists)


SAME = [real([[[[0.3, -0.7]], [[1.0, 2.0]]]])]
ADVERSARIAL = {
    "equal features": (SAME, SAME),
    "nothing active": ([torch.zeros(2, 3, 2, 2).double()], [torch.zeros(2, 3, 2, 2).double()]),
    "one position of one channel": ([real([[[[3.0]]]])], [real([[[[-1.0]]]])]),
    "apart by 1e4": (
        [real([[[[1e4, -1e4]], [[0.0, 1e4]]]])],
        [real([[[[-1e4, 1e4]], [[1.0, 0.0]]]])],
    ),
    "one of a hundred far off": (
        [real(1000.0 * (np.arange(100) == 42).reshape(1, 1, 10, 10))],
        [torch.zeros(1, 1, 10, 10).double()],
    ),
    "1e-8 apart": (SAME, [SAME[0] + 1e-8]),
    "a layer that agrees and one that doesn't": (
        [SAME[0], real([[[[2.0]]]])],
        [SAME[0], real([[[[5.0]]]])],
    ),
}
LAYERS = [torch.zeros(2, 3, 4, 5), torch.zeros(2, 6, 2, 1)]
ERRORS = [
    ((LAYERS, LAYERS[:1]), {}, "as many layers, at least one, got 2 and 1"),
    (([], []), {}, "as many layers, at least one, got 0 and 0"),
    ((LAYERS, LAYERS[::-1]), {}, r"target_features of shape \(2, 3, 4, 5\), got \(2, 6, 2, 1\)"),
    ((LAYERS[:1], [LAYERS[0][:1]]), {}, r"target_features of shape \(2, 3, 4, 5\), got \(1, 3"),
    ((LAYERS[:1], [LAYERS[0][:, :1]]), {}, r"target_features of shape .* got \(2, 1, 4, 5\)"),
    ((LAYERS[:1], [LAYERS[0][0]]), {}, r"target_features of shape .* got \(3, 4, 5\)"),
    ((LAYERS[0], LAYERS[0]), {}, r"features of shape \(3, C, H, W\), got .* \(3, 4, 5\)"),
    (
        ([LAYERS[0], LAYERS[1][:1]], [LAYERS[0], LAYERS[1][:1]]),
        {},
        r"features of shape \(2, C, H, W\), got .* \(1, 6, 2, 1\)",
    ),
    (([integer([[[[1]]]])], [real([[[[1.0]]]])]), {}, "floating features .* got torch.int64"),
]


def cases():
    common = {
        "inputs": (two_layers, one_layer),
        "adversarial": ADVERSARIAL,
        "near": near,
        "errors": ERRORS,
    }
    return [
        Case(
            loss=perceptual_loss,
            reference=feature_reconstruction,
            gradient=feature_slope,
            invariances={
                "shift of both": lambda f, t: every(lambda x: x + 0.75, f, t),
                "both exchanged": lambda f, t: (t, f),
                "order of the channels": lambda f, t: every(lambda x: x.flip(1), f, t),
                "order of the positions": lambda f, t: every(lambda x: x.flip(2, 3), f, t),
                "order of the layers": lambda f, t: (f[::-1], t[::-1]),
                "two copies of the image side by side": lambda f, t: every(
                    lambda x: torch.cat([x, x], 3), f, t
                ),
            },
            relations={
                "layers add up": lambda loss, f, t: (
                    loss(f, t),
                    sum(loss([x], [y]) for x, y in zip(f, t, strict=True)),
                ),
                "scaling everything by 3 scales it by 9": lambda loss, f, t: (
                    loss(*every(lambda x: 3 * x, f, t)),
                    9 * loss(f, t),
                ),
                "a layer for each channel: C times it": lambda loss, f, t: (
                    loss(f[0].split(1, 1), t[0].split(1, 1)),
                    f[0].shape[1] * loss(f[:1], t[:1]),
                ),
            },
            peers={"torch": torch_mse},
            facts={"range": (0.0, math.inf), "perfect": ((SAME, SAME), 0.0), "convex": True},
            **common,
        ),
        Case(
            loss=style_loss,
            reference=gram_distance,
            gradient=style_slope,
            invariances={
                "both exchanged": lambda f, t: (t, f),
                "order of the channels": lambda f, t: every(lambda x: x.flip(1), f, t),
                "positions of one image": lambda f, t: (f, *every(lambda x: x.flip(2, 3), t)),
                "order of the layers": lambda f, t: (f[::-1], t[::-1]),
                "sign": lambda f, t: (f, *every(torch.neg, t)),
                "two copies of one image side by side": lambda f, t: (
                    every(lambda x: torch.cat([x, x], 3), f)[0],
                    every(lambda x: torch.cat([x.flip(3), x], 3), t)[0],
                ),
            },
            relations={
                "layers add up": lambda loss, f, t: (
                    loss(f, t),
                    sum(loss([x], [y]) for x, y in zip(f, t, strict=True)),
                ),
                "scaling everything by 3 scales it by 81": lambda loss, f, t: (
                    loss(*every(lambda x: 3 * x, f, t)),
                    81 * loss(f, t),
                ),
                "of one channel, the gap of the mean squares": lambda loss, f, t: (
                    loss([f[0][:, :1]], [t[0][:, :1]]),
                    (f[0][:, 0].square().mean((1, 2)) - t[0][:, 0].square().mean((1, 2))) ** 2,
                ),
            },
            peers={"torch": torch_mse_of_grams, "scikit-learn": kernel_discrepancy},
            facts={"range": (0.0, math.inf), "perfect": ((SAME, SAME), 0.0), "convex": False},
            **common,
        ),
    ]


def plain_perceptual(features, target_features):
    return sum(map(F.mse_loss, features, target_features))


def plain_style(features, target_features):
    def gram(x):
        return torch.einsum("nchw,ndhw->ncd", x, x) / x[0].numel()

    parts = zip(features, target_features, strict=True)
    return sum((gram(x) - gram(y)).square().sum((1, 2)).mean() for x, y in parts)


def rows():
    def layers(n):
        shapes = [(n, 64, 64, 64), (n, 128, 32, 32), (n, 256, 16, 16)]
        return [bench.leaf(*shape) for shape in shapes], [torch.randn(*shape) for shape in shapes]

    vgg = {"shape": "{} images, three layers of VGG", "n": 8, "inputs": layers}
    return [
        Row(perceptual_loss, slower=bench.FUSED, peers={"torch idiom": plain_perceptual}, **vgg),
        Row(style_loss, peers={FORMULA: plain_style}, **vgg),
    ]


def test_values_by_hand():
    # (4 + 0 + 0 + 16) / 4, and in the second layer 9 / 1.
    f = [real([[[[2.0, 1.0]], [[0.0, 4.0]]]]), real([[[[3.0]]]])]
    t = [real([[[[0.0, 1.0]], [[0.0, 0.0]]]]), real([[[[0.0]]]])]
    assert perceptual_loss(f, t).tolist() == [5 + 9]


def test_style_by_hand():
    # Gram matrices ((5, 4), (4, 16)) / 4 and ((1, 0), (0, 0)) / 4: (16 + 16 + 16 + 256) / 16.
    f = [real([[[[2.0, 1.0]], [[0.0, 4.0]]]])]
    t = [real([[[[0.0, 1.0]], [[0.0, 0.0]]]])]
    assert style_loss(f, t).tolist() == [19]


def network(images):
    """Two random, fixed convolutions around the border of a torus."""
    rng = np.random.default_rng(0)
    features = []
    for channels, width in ((3, 6), (6, 4)):
        weight = real(rng.normal(size=(width, channels, 3, 3)) / 3)
        images = F.conv2d(F.pad(images, (1, 1, 1, 1), "circular"), weight).relu()
        features.append(images)
    return features


def test_style_forgets_where_and_content_does_not():
    image, other = (real(np.random.default_rng(seed).normal(size=(1, 3, 8, 8))) for seed in (1, 2))
    moved = network(image.roll((2, 3), (2, 3)))
    far = style_loss(network(other), network(image)).item()
    assert style_loss(moved, network(image)).item() < 1e-20 < far
    assert perceptual_loss(moved, network(image)).item() > 0.1


def test_images_can_be_found_by_their_features():
    """Gradient descent on the input brings the loss down, through the network."""
    image = real(np.random.default_rng(1).normal(size=(1, 3, 6, 6)))
    target = [x.detach() for x in network(image)]
    for loss in (perceptual_loss, style_loss):
        guess = real(np.random.default_rng(3).normal(size=image.shape)).requires_grad_()
        first = loss(network(guess), target).item()
        optimizer = torch.optim.Adam([guess], lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            loss(network(guess), target).sum().backward()
            optimizer.step()
        assert loss(network(guess), target).item() < first / 50


def test_images_of_a_batch_do_not_mix():
    f, t = two_layers(np.random.default_rng(0))
    for loss in (perceptual_loss, style_loss):
        together = loss(f, t)
        alone = [loss([x[i : i + 1] for x in f], [x[i : i + 1] for x in t]) for i in range(4)]
        assert together.tolist() == pytest.approx(torch.cat(alone).tolist())


def test_half_precision_sums_in_float32():
    # 512 x 512 squares add up to 4 times 2^18, and a Gram entry to 2^18 before the division.
    f = [torch.full((1, 2, 512, 512), 2.0, dtype=torch.float16)]
    t = [torch.zeros_like(f[0])]
    assert perceptual_loss(f, t).tolist() == [4]
    assert style_loss(f, t).tolist() == [4 * 2**2]


def test_half_features_are_kept_for_the_slope_as_they_are():
    f, kept = torch.ones(2, 8, 16, 16, dtype=torch.float16, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.nbytes) or x, id):
        perceptual_loss([f], [torch.zeros_like(f)])
    assert sum(kept) < 2.1 * f.nbytes


def test_close_styles_keep_apart_under_autocast():
    # In bfloat16 both Gram matrices would be rounded by 2^-9, as much as they differ.
    f = [x.float() for x in two_layers(np.random.default_rng(0))[0]]
    t = [1.001 * x for x in f]
    with torch.autocast("cpu", torch.bfloat16):
        found = style_loss(f, t)
    assert found.tolist() == pytest.approx(style_loss(f, t).tolist(), rel=1e-3)


def test_layers_may_have_several_dtypes():
    f, t = two_layers(np.random.default_rng(0))
    for loss in (perceptual_loss, style_loss):
        expected = loss(f, t)
        for first, second in ((torch.float32, torch.float64), (torch.float64, torch.float16)):
            found = loss([f[0].to(first), f[1].to(second)], [t[0].to(first), t[1].to(second)])
            assert found.dtype == first
            assert found.tolist() == pytest.approx(expected.tolist(), rel=2e-3)
