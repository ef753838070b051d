"""What is timed: each loss at the sizes of its use, with the peers that compute the same mean.

Peers import their library inside, so that a missing one is a row "not run". `FORMULA` is the
equation written straight, as a reader of the paper would.
"""

import importlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import lossbook
from lossbook.book.pages.speed import FORMULA
from tests.bench.measure import Row, Step, stepwise

TESTS = Path(__file__).resolve().parents[1]

# Inputs, by size.


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape).requires_grad_()


def scores(classes: int, *rest: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    return lambda n: (leaf(n, classes, *rest), torch.randint(classes, (n, *rest)))


def residuals(n: int) -> tuple[Tensor, Tensor]:
    return leaf(n), torch.randn(n)


def small(n: int) -> tuple[Tensor, Tensor]:
    return leaf(n, 10), torch.randn(n, 10)


def binary(*rest: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    return lambda n: (leaf(n, *rest), torch.randint(2, (n, *rest)).float())


def signs(n: int) -> tuple[Tensor, Tensor]:
    return leaf(n), torch.randint(2, (n,)).float() * 2 - 1


def pairs(n: int) -> tuple[Tensor, Tensor]:
    return leaf(n, 256), leaf(n, 256)


def maps(n: int) -> tuple[Tensor, Tensor]:
    logits, labels = torch.randn(n, 4, 256, 256), torch.randint(4, (n, 256, 256))
    truth = F.one_hot(labels, 4).movedim(-1, 1).float().contiguous()
    return logits.softmax(1).requires_grad_(), truth


def batch(n: int) -> tuple[Tensor, Tensor]:
    """Embeddings of n / 4 classes, four each."""
    return leaf(n, 256), torch.arange(n) // 4


# Peers.


def optax(function: str, *order: int, **settings: Any) -> Callable[..., Step]:
    """A loss of Optax, compiled by XLA, with its gradient in the first input."""

    @stepwise
    def peer(*inputs: Tensor) -> Step:
        import jax
        import optax

        call = getattr(optax, function, None) or getattr(optax.losses, function)
        arrays = [jax.numpy.asarray(x.detach().cpu().numpy()) for x in inputs]
        chosen = order or tuple(range(len(arrays)))
        wanted = tuple(i for i, x in enumerate(inputs) if x.requires_grad)

        def mean(*given: Any) -> Any:
            return call(*(given[i] for i in chosen), **settings).mean()

        compiled = jax.jit(jax.value_and_grad(mean, argnums=wanted))
        return lambda: jax.block_until_ready(compiled(*arrays))[0]

    return peer


def optax_ctc(logits: Tensor, labels: Tensor, lengths: Tensor, label_lengths: Tensor) -> Step:
    import jax
    import optax

    steps, places = torch.arange(logits.shape[1]), torch.arange(labels.shape[1])
    arrays = [
        jax.numpy.asarray(x.detach().numpy())
        for x in (
            logits,
            (steps >= lengths[:, None]).float(),
            labels.int(),
            (places >= label_lengths[:, None]).float(),
        )
    ]
    compiled = jax.jit(jax.value_and_grad(lambda *given: optax.ctc_loss(*given).mean()))
    return lambda: jax.block_until_ready(compiled(*arrays))[0]


def keras(name: str, **settings: Any) -> Callable[..., Tensor]:
    """A loss of Keras on torch: the truth comes first there."""

    def peer(predictions: Tensor, truth: Tensor) -> Tensor:
        import keras

        return getattr(keras.losses, name)(**settings)(truth, predictions)

    return peer


def metric_learning(make: Callable[[Any], Any]) -> Callable[..., Tensor]:
    """A loss of pytorch-metric-learning, which is made once."""
    made: list[Any] = []

    def peer(*inputs: Tensor) -> Tensor:
        import pytorch_metric_learning as library
        from pytorch_metric_learning import distances, losses, miners, reducers

        made[:] = made or [make((losses, distances, miners, reducers))]
        assert library
        return made[0](*inputs)

    return peer


def monai_overlap(**settings: Any) -> Callable[[Tensor, Tensor], Tensor]:
    def peer(probabilities: Tensor, truth: Tensor) -> Tensor:
        from monai.losses import DiceLoss

        return DiceLoss(smooth_nr=1e-5, smooth_dr=1e-5, **settings)(probabilities, truth)

    return peer


# Formulas, written straight.


def plain_total_variation(x: Tensor) -> Tensor:
    down, right = x.diff(dim=2).abs(), x.diff(dim=3).abs()
    return (down.sum((1, 2, 3)) + right.sum((1, 2, 3))).mean()


def overlaps(p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    return (p * t).sum((2, 3)), p.sum((2, 3)) + t.sum((2, 3))


def plain_dice(p: Tensor, t: Tensor) -> Tensor:
    both, sizes = overlaps(p, t)
    return (1 - (2 * both + 1e-5) / (sizes + 1e-5)).mean()


def plain_jaccard(p: Tensor, t: Tensor) -> Tensor:
    both, sizes = overlaps(p, t)
    return (1 - (both + 1e-5) / (sizes - both + 1e-5)).mean()


def plain_consistency(masks: Tensor, pictures: Tensor) -> Tensor:
    """Sobel by two convolutions, and unit vectors."""
    down = torch.tensor([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]])
    kernels = torch.stack([down.T, down])[:, None]

    def slopes(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels)

    of_mask, of_picture = slopes(masks), slopes(pictures)
    size = (of_mask.square().sum(1) + 1e-20).sqrt()
    cosine = (F.normalize(of_mask) * F.normalize(of_picture)).sum(1)
    return ((size * (1 - cosine**2)).sum((1, 2)) / size.sum((1, 2))).mean()


def kornia_consistency(masks: Tensor, pictures: Tensor) -> Tensor:
    from kornia.filters import spatial_gradient

    of_mask = spatial_gradient(masks, normalized=False)[:, 0]
    of_picture = spatial_gradient(pictures, normalized=False)[:, 0]
    size = (of_mask.square().sum(1) + 1e-20).sqrt()
    cosine = (F.normalize(of_mask) * F.normalize(of_picture)).sum(1)
    return ((size * (1 - cosine**2)).sum((1, 2)) / size.sum((1, 2))).mean()


def plain_multibox(
    offsets: Tensor, logits: Tensor, target_offsets: Tensor, labels: Tensor
) -> Tensor:
    """The usual way: rank all negatives by two sorts."""
    positive = labels > 0
    ce = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    ce = ce.view_as(labels)
    ranks = ce.masked_fill(positive, -math.inf).sort(1, descending=True).indices.sort(1).indices
    count = positive.sum(1, keepdim=True)
    kept = positive | (ranks < (3 * count).clamp_max((~positive).sum(1, keepdim=True)))
    place = F.smooth_l1_loss(offsets, target_offsets, reduction="none").sum(2)
    return (((ce * kept).sum(1) + (place * positive).sum(1)) / count[:, 0]).mean()


def plain_balanced(logits: Tensor, labels: Tensor, ious: Tensor) -> Tensor:
    ce = F.cross_entropy(logits, labels, reduction="none")
    positive = labels > 0
    with torch.no_grad():
        raw = ious**1.5
        weights = raw * (ce * positive).sum() / (raw * ce * positive).sum()
    return (torch.where(positive, weights, 1) * ce).mean()


def plain_style(features: list[Tensor], target_features: list[Tensor]) -> Tensor:
    def gram(x: Tensor) -> Tensor:
        return torch.einsum("nchw,ndhw->ncd", x, x) / x[0].numel()

    parts = zip(features, target_features, strict=True)
    return sum((gram(x) - gram(y)).square().sum((1, 2)).mean() for x, y in parts)


def kornia_total_variation(x: Tensor) -> Tensor:
    from kornia.losses import total_variation

    return total_variation(x, reduction="sum").sum() / len(x)


def plain_penalty(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    share = SHARES[:, None]
    points = share * real + (1 - share) * fake
    (slopes,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return ((slopes.norm(2, dim=1) - 1) ** 2).mean()


def torch_ctc(x: Tensor, labels: Tensor, lengths: Tensor, label_lengths: Tensor) -> Tensor:
    log_p = x.log_softmax(2).transpose(0, 1)
    return F.ctc_loss(log_p, labels, lengths, label_lengths, reduction="none").mean()


# The rows.

SHARES = torch.linspace(0, 1, 256)
FUSED = "torch has one kernel for the loss and one for its slope; the file shows the formula"


def classes(n: int, c: int) -> dict[str, Any]:
    return {"shape": f"{{}} x {c}", "n": n, "inputs": scores(c)}


M = 1 << 22
ELEMENTS = {"shape": "{}", "n": M}
ELEMENTWISE = (("{}", M, residuals), ("{} x 10", 32, small))
SEGMENTS = {"shape": "{} x 4 x 256 x 256", "n": 8}
EMBEDDINGS = {"shape": "{} x 256", "n": 4096, "inputs": pairs}


def rows() -> Iterator[Row]:
    """Give every row: those that stand beside the cases of a loss, then the rest."""
    for path in sorted(TESTS.glob("*/test_*.py")):
        if "\ndef rows()" in path.read_text():
            yield from importlib.import_module(f"tests.{path.parent.name}.{path.stem}").rows()
    for family in (images, others):
        yield from family()


def images() -> Iterator[Row]:
    """Segmentation, detection and image."""
    overlap = {"inputs": maps, **SEGMENTS}
    yield Row(
        lossbook.dice_loss,
        peers={"MONAI": monai_overlap(), FORMULA: plain_dice},
        **overlap,
    )
    yield Row(
        lossbook.jaccard_loss,
        peers={"MONAI": monai_overlap(jaccard=True), FORMULA: plain_jaccard},
        **overlap,
    )
    yield Row(
        lossbook.boundary_loss,
        inputs=lambda n: (maps(n)[0], torch.randn(n, 4, 256, 256)),
        peers={FORMULA: lambda p, d: (p * d).mean((2, 3)).mean()},
        **SEGMENTS,
    )

    def pictures(channels: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        shape = (channels, 256, 256)
        return lambda n: (torch.rand(n, *shape).requires_grad_(), torch.rand(n, *shape))

    gray = {"shape": "{} x 1 x 256 x 256", "n": 8, "inputs": pictures(1)}
    yield Row(
        lossbook.gradient_consistency_loss,
        peers={"kornia": kornia_consistency, FORMULA: plain_consistency},
        **gray,
    )
    yield Row(
        lossbook.image_gradient_loss,
        peers={
            FORMULA: lambda p, t: sum(
                (p.diff(dim=d) - t.diff(dim=d)).abs().mean((1, 2, 3)) for d in (2, 3)
            ).mean()
        },
        **gray,
    )

    def detections(n: int) -> tuple[Tensor, ...]:
        labels = torch.randint(1, 21, (n, 8732)).where(torch.rand(n, 8732) < 0.005, 0)
        return leaf(n, 8732, 4), leaf(n, 8732, 21), torch.randn(n, 8732, 4), labels

    yield Row(
        lossbook.multibox_loss,
        shape="{} x 8732 x 21",
        n=8,
        inputs=detections,
        peers={FORMULA: plain_multibox},
        sweep=(1, 2, 4, 8, 16),
    )

    def proposals(n: int) -> tuple[Tensor, Tensor, Tensor]:
        return leaf(n, 81), torch.randint(0, 81, (n,)), torch.rand(n)

    yield Row(
        lossbook.iou_balanced_classification_loss,
        shape="{} x 81",
        n=65536,
        inputs=proposals,
        peers={FORMULA: plain_balanced},
    )
    yield Row(
        lossbook.iou_balanced_localization_loss,
        shape="{} x 4",
        n=1 << 20,
        inputs=lambda n: (leaf(n, 4), torch.randn(n, 4), torch.rand(n)),
        peers={
            FORMULA: lambda x, t, iou: (
                iou**1.5 * F.smooth_l1_loss(x, t, reduction="none").sum(1)
            ).mean()
        },
    )

    def layers(n: int) -> tuple[list[Tensor], list[Tensor]]:
        shapes = [(n, 64, 64, 64), (n, 128, 32, 32), (n, 256, 16, 16)]
        return [leaf(*shape) for shape in shapes], [torch.randn(*shape) for shape in shapes]

    features = {"shape": "{} images, three layers of VGG", "n": 8, "inputs": layers}
    yield Row(
        lossbook.perceptual_loss,
        peers={FORMULA: lambda f, g: sum(F.mse_loss(x, y) for x, y in zip(f, g, strict=True))},
        **features,
    )
    yield Row(lossbook.style_loss, peers={FORMULA: plain_style}, **features)
    yield Row(
        lossbook.total_variation,
        shape="{} x 3 x 256 x 256",
        n=8,
        inputs=lambda n: (torch.rand(n, 3, 256, 256).requires_grad_(),),
        peers={"kornia": kornia_total_variation, FORMULA: plain_total_variation},
    )


def others() -> Iterator[Row]:
    """Generative and sequence."""
    yield Row(
        lossbook.minimax_discriminator_loss,
        inputs=lambda n: (leaf(n), leaf(n)),
        peers={
            "torch": lambda r, f: (
                F.binary_cross_entropy_with_logits(r, torch.ones_like(r))
                + F.binary_cross_entropy_with_logits(f, torch.zeros_like(f))
            ),
        },
        **ELEMENTS,
    )
    yield Row(
        lossbook.minimax_generator_loss,
        inputs=lambda n: (leaf(n),),
        peers={FORMULA: lambda f: (1 - f.sigmoid()).log().mean()},
        **ELEMENTS,
    )
    yield Row(
        lossbook.non_saturating_generator_loss,
        inputs=lambda n: (leaf(n),),
        peers={"torch": lambda f: F.binary_cross_entropy_with_logits(f, torch.ones_like(f))},
        **ELEMENTS,
    )
    yield Row(
        lossbook.least_squares_discriminator_loss,
        slower=FUSED,
        inputs=lambda n: (leaf(n), leaf(n)),
        peers={
            "torch": lambda r, f: (
                (F.mse_loss(r, torch.ones_like(r)) + F.mse_loss(f, torch.zeros_like(f))) / 2
            ),
            FORMULA: lambda r, f: ((r - 1) ** 2 / 2 + f**2 / 2).mean(),
        },
        **ELEMENTS,
    )
    yield Row(
        lossbook.least_squares_generator_loss,
        slower=FUSED,
        inputs=lambda n: (leaf(n),),
        peers={
            "torch": lambda f: F.mse_loss(f, torch.ones_like(f)) / 2,
            FORMULA: lambda f: ((f - 1) ** 2 / 2).mean(),
        },
        **ELEMENTS,
    )
    yield Row(
        lossbook.wasserstein_critic_loss,
        inputs=lambda n: (leaf(n), leaf(n)),
        peers={FORMULA: lambda r, f: f.mean() - r.mean()},
        **ELEMENTS,
    )
    yield Row(
        lossbook.wasserstein_generator_loss,
        inputs=lambda n: (leaf(n),),
        peers={FORMULA: lambda f: -f.mean()},
        **ELEMENTS,
    )

    critic = torch.nn.Sequential(
        torch.nn.Linear(784, 256), torch.nn.Softplus(), torch.nn.Linear(256, 1)
    )
    yield Row(
        lossbook.gradient_penalty,
        shape="{} x 784, a critic of two layers",
        n=256,
        inputs=lambda n: (critic, leaf(n, 784), leaf(n, 784)),
        settings={"epsilon": SHARES},
        peers={FORMULA: plain_penalty},
        compiled=False,
    )

    def speech(n: int) -> tuple[Tensor, ...]:
        labels = torch.randint(1, 80, (n, 30))
        return leaf(n, 200, 80), labels, torch.full((n,), 200), torch.full((n,), 30)

    yield Row(
        lossbook.ctc_loss,
        shape="{} x 200 x 80, 30 labels",
        n=16,
        inputs=speech,
        peers={"torch": torch_ctc, "Optax": stepwise(optax_ctc)},
        sweep=(1, 4, 16, 64),
        compiled=False,
    )
