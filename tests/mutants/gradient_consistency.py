import torch
from torch.nn import functional as F

from lossbook.segmentation.gradient_consistency import (
    gradient_consistency_loss,
    image_gradient_loss,
)
from tests.mutants import Mutants

MUTANTS = Mutants()


def sobel(x, border="replicate"):
    """Both of Sobel's gradients, shape (N, 2, H, W)."""
    kernel = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(x)
    kernels = torch.stack([kernel, kernel.T])[:, None]
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode=border), kernels)


def size(x):
    """Length of a gradient, with a finite slope at 0."""
    squares = x.square().sum(1)
    return squares.where(squares > 0, 1).sqrt().where(squares > 0, 0)


def unit(x):
    return x / size(x).where(size(x) > 0, 1)[:, None]


def consistency(m, i, cost=lambda cosines: 1 - cosines**2, weigh=size):
    """The paper's formula of two gradients."""
    cosines, weights = (unit(m) * unit(i)).sum(1), weigh(m)
    total = weights.sum((1, 2))
    return (weights * cost(cosines)).sum((1, 2)) / total.where(total > 0, 1)


@MUTANTS.of("gradient_consistency_loss", "the cosine not squared", killed_by="value")
def _(masks, images):
    return consistency(sobel(masks), sobel(images), lambda cosines: 1 - cosines)


@MUTANTS.of("gradient_consistency_loss", "the absolute cosine", killed_by="value")
def _(masks, images):
    return consistency(sobel(masks), sobel(images), lambda cosines: 1 - cosines.abs())


@MUTANTS.of("gradient_consistency_loss", "gradients not normalized", killed_by="value")
def _(masks, images):
    m, i = sobel(masks), sobel(images)
    total = size(m).sum((1, 2))
    costs = size(m) * (1 - (m * i).sum(1) ** 2)
    return costs.sum((1, 2)) / total.where(total > 0, 1)


@MUTANTS.of("gradient_consistency_loss", "both gradients of the image", killed_by="value")
def _(masks, images):
    m, i = sobel(masks), sobel(images)
    total = size(m).sum((1, 2))
    costs = size(m) * (1 - (i[:, 0] * i[:, 1]) ** 2)
    return costs.sum((1, 2)) / total.where(total > 0, 1)


@MUTANTS.of("gradient_consistency_loss", "every pixel weighs the same", killed_by="value")
def _(masks, images):
    return consistency(sobel(masks), sobel(images), weigh=lambda m: torch.ones_like(size(m)))


@MUTANTS.of("gradient_consistency_loss", "weights of the image", killed_by="value")
def _(masks, images):
    i = sobel(images)
    return consistency(sobel(masks), i, weigh=lambda _: size(i))


@MUTANTS.of("gradient_consistency_loss", "not over the sum of the weights", killed_by="value")
def _(masks, images):
    m, i = sobel(masks), sobel(images)
    cosines = (unit(m) * unit(i)).sum(1)
    return (size(m) * (1 - cosines**2)).mean((1, 2))


@MUTANTS.of("gradient_consistency_loss", "an edge at the border of zeros", killed_by="value")
def _(masks, images):
    return consistency(sobel(masks, "constant"), sobel(images, "constant"))


@MUTANTS.of("gradient_consistency_loss", "mirrored at the border", killed_by="value")
def _(masks, images):
    if min(masks.shape[2:]) == 1:
        return gradient_consistency_loss(masks, images)
    return consistency(sobel(masks, "reflect"), sobel(images, "reflect"))


@MUTANTS.of("gradient_consistency_loss", "Prewitt's weights", killed_by="value")
def _(masks, images):
    def prewitt(x):
        kernel = torch.tensor([[-1, 0, 1]] * 3).to(x)
        kernels = torch.stack([kernel, kernel.T])[:, None]
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels)

    return consistency(prewitt(masks), prewitt(images))


@MUTANTS.of("gradient_consistency_loss", "0/0 for a constant mask", killed_by="value")
def _(masks, images):
    m, i = sobel(masks), sobel(images)
    cosines = (unit(m) * unit(i)).sum(1)
    return (size(m) * (1 - cosines**2)).sum((1, 2)) / size(m).sum((1, 2))


@MUTANTS.of("gradient_consistency_loss", "an epsilon under the root", killed_by="value")
def _(masks, images):
    def weigh(m):
        return (m.square().sum(1) + 1e-6).sqrt()

    return consistency(sobel(masks), sobel(images), weigh=weigh)


@MUTANTS.of("gradient_consistency_loss", "an infinite slope where it is flat", killed_by="extremes")
def _(masks, images):
    return consistency(sobel(masks), sobel(images), weigh=lambda m: m.square().sum(1).sqrt())


@MUTANTS.of("gradient_consistency_loss", "weights without a slope", killed_by="gradient")
def _(masks, images):
    return consistency(sobel(masks), sobel(images), weigh=lambda m: size(m).detach())


@MUTANTS.of("gradient_consistency_loss", "one mean over the batch", killed_by="value")
def _(masks, images):
    return gradient_consistency_loss(masks, images).mean().expand(len(masks))


@MUTANTS.of("gradient_consistency_loss", "color images broadcast", killed_by="errors")
def _(masks, images):
    if images.dim() == 4 and masks.shape[1] == 1 and masks.is_floating_point():
        images = images.expand(len(masks), *images.shape[1:]).mean(1, keepdim=True)
    return gradient_consistency_loss(masks, images)


@MUTANTS.of(
    "gradient_consistency_loss",
    "1 - cos^2 of a rounded cosine",
    killed_by="test_it_keeps_its_digits_in_float32",
)
def _(masks, images):
    return consistency(sobel(masks), sobel(images))


@MUTANTS.of("image_gradient_loss", "squared differences", killed_by="value")
def _(predictions, targets):
    e = predictions - targets
    across, down = (e.diff(dim=d).square().flatten(1) for d in (3, 2))
    return sum(x.sum(1) / max(1, x.shape[1]) for x in (across, down))


@MUTANTS.of("image_gradient_loss", "differences of the sizes of gradients", killed_by="value")
def _(predictions, targets):
    steps = [predictions.diff(dim=d).abs() - targets.diff(dim=d).abs() for d in (3, 2)]
    return sum(x.abs().flatten(1).sum(1) / max(1, x[0].numel()) for x in steps)


@MUTANTS.of("image_gradient_loss", "0 at the far border counted in the mean", killed_by="value")
def _(predictions, targets):
    e = predictions - targets
    return sum(e.diff(dim=d).abs().flatten(1).sum(1) / e[0].numel() for d in (3, 2))


@MUTANTS.of("image_gradient_loss", "only across", killed_by="value")
def _(predictions, targets):
    e = (predictions - targets).diff(dim=3).abs()
    return e.flatten(1).sum(1) / max(1, e[0].numel())


@MUTANTS.of("image_gradient_loss", "one mean over both directions", killed_by="value")
def _(predictions, targets):
    e = predictions - targets
    steps = torch.cat([e.diff(dim=d).abs().flatten(1) for d in (3, 2)], 1)
    return steps.sum(1) / max(1, steps.shape[1])


@MUTANTS.of("image_gradient_loss", "sums", killed_by="value")
def _(predictions, targets):
    e = predictions - targets
    return sum(e.diff(dim=d).abs().flatten(1).sum(1) for d in (3, 2))


@MUTANTS.of("image_gradient_loss", "channels summed", killed_by="value")
def _(predictions, targets):
    return image_gradient_loss(predictions, targets) * predictions.shape[1]


@MUTANTS.of("image_gradient_loss", "from one border to the other", killed_by="value")
def _(predictions, targets):
    e = predictions - targets
    return sum((e.roll(-1, d) - e).abs().flatten(1).mean(1) for d in (3, 2))


@MUTANTS.of("image_gradient_loss", "Sobel's gradients", killed_by="value")
def _(predictions, targets):
    e = sobel((predictions - targets).flatten(0, 1)[:, None]).abs().mean((1, 2, 3)) * 2
    return e.unflatten(0, predictions.shape[:2]).mean(1)


@MUTANTS.of("image_gradient_loss", "the target left out", killed_by="value")
def _(predictions, targets):
    return image_gradient_loss(predictions, 0 * targets)


@MUTANTS.of("image_gradient_loss", "the mean of no differences", killed_by="value")
def _(predictions, targets):
    e = predictions - targets
    return sum(e.diff(dim=d).abs().flatten(1).mean(1) for d in (3, 2))


@MUTANTS.of("image_gradient_loss", "the length of the gradient", killed_by="value")
def _(predictions, targets):
    e = F.pad(predictions - targets, (0, 1, 0, 1), mode="replicate")
    steps = torch.stack([e.diff(dim=3)[:, :, :-1], e.diff(dim=2)[..., :-1]], 1).flatten(2)
    return size(steps).mean(1)


@MUTANTS.of("image_gradient_loss", "no gradient for the targets", killed_by="gradient")
def _(predictions, targets):
    return image_gradient_loss(predictions, targets.detach())


@MUTANTS.of("image_gradient_loss", "one target broadcast to the batch", killed_by="errors")
def _(predictions, targets):
    if targets.dim() == 4 and predictions.dim() == 4 and predictions.is_floating_point():
        targets = targets.expand_as(predictions)
    return image_gradient_loss(predictions, targets)
