import torch
from torch.nn.functional import pad

from lossbook.image.total_variation import total_variation
from tests.mutants import Mutants

MUTANTS = Mutants()


def differences(x):
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def lengths(x, root):
    right, down = differences(x)
    return root(pad(right, (0, 1)), pad(down, (0, 0, 0, 1))).sum((1, 2, 3))


def otherwise(images, kind, of, wrong):
    """Give the wrong values for one kind, the right ones for the others."""
    return wrong(images) if kind == of else total_variation(images, kind=kind)


@MUTANTS.of("total_variation", "the squares under the name of total variation", killed_by="value")
def _(images, *, kind="anisotropic"):
    return total_variation(images, kind="squared" if kind == "anisotropic" else kind)


@MUTANTS.of("total_variation", "one root of the whole sum of squares", killed_by="value")
def _(images, *, kind="anisotropic"):
    return otherwise(images, kind, "isotropic", lambda x: total_variation(x, kind="squared").sqrt())


@MUTANTS.of("total_variation", "the last row and column cropped away", killed_by="value")
def _(images, *, kind="anisotropic"):
    def cropped(x):
        right, down = differences(x)
        return torch.hypot(right[..., :-1, :], down[..., :-1]).sum((1, 2, 3))

    return otherwise(images, kind, "isotropic", cropped)


@MUTANTS.of("total_variation", "neighbors across the border", killed_by="value")
def _(images, *, kind="anisotropic"):
    def wrapped(x):
        return ((x.roll(-1, 3) - x).abs() + (x.roll(-1, 2) - x).abs()).sum((1, 2, 3))

    return otherwise(images, kind, "anisotropic", wrapped)


@MUTANTS.of("total_variation", "the border falls to 0", killed_by="value")
def _(images, *, kind="anisotropic"):
    return total_variation(pad(images, (0, 1, 0, 1)), kind=kind)


@MUTANTS.of("total_variation", "means instead of sums", killed_by="value")
def _(images, *, kind="anisotropic"):
    return total_variation(images, kind=kind) / images[0].numel()


@MUTANTS.of("total_variation", "each channel for itself", killed_by="value")
def _(images, *, kind="anisotropic"):
    return total_variation(images.flatten(0, 1).unsqueeze(1), kind=kind)


@MUTANTS.of("total_variation", "half of the squares", killed_by="value")
def _(images, *, kind="anisotropic"):
    return total_variation(images, kind=kind) / (2 if kind == "squared" else 1)


@MUTANTS.of("total_variation", "signed differences cancel", killed_by="value")
def _(images, *, kind="anisotropic"):
    return otherwise(
        images, kind, "anisotropic", lambda x: sum(d.sum((1, 2, 3)) for d in differences(x)).abs()
    )


@MUTANTS.of("total_variation", "central differences, blind to a checkerboard", killed_by="value")
def _(images, *, kind="anisotropic"):
    def central(x):
        across, along = x[..., 2:] - x[..., :-2], x[..., 2:, :] - x[..., :-2, :]
        return (across.abs().sum((1, 2, 3)) + along.abs().sum((1, 2, 3))) / 2

    return otherwise(images, kind, "anisotropic", central)


@MUTANTS.of("total_variation", "the slope of the root at 0", killed_by="extremes")
def _(images, *, kind="anisotropic"):
    def root(right, down):
        return (right.square() + down.square()).sqrt()

    return otherwise(images, kind, "isotropic", lambda x: lengths(x, root))


@MUTANTS.of("total_variation", "a mask behind the root", killed_by="extremes")
def _(images, *, kind="anisotropic"):
    def root(right, down):
        return torch.hypot(right, down).where((right != 0) | (down != 0), 0)

    return otherwise(images, kind, "isotropic", lambda x: lengths(x, root))


@MUTANTS.of("total_variation", "an epsilon under the root", killed_by="value")
def _(images, *, kind="anisotropic"):
    def root(right, down):
        return (right.square() + down.square() + 1e-8).sqrt()

    return otherwise(images, kind, "isotropic", lambda x: lengths(x, root))


@MUTANTS.of(
    "total_variation",
    "squares in half precision",
    killed_by="test_small_squares_in_half_precision_add_up",
)
def _(images, *, kind="anisotropic"):
    return otherwise(
        images, kind, "squared", lambda x: sum(d.square().sum((1, 2, 3)) for d in differences(x))
    )


@MUTANTS.of("total_variation", "one image taken for a batch", killed_by="errors")
def _(images, *, kind="anisotropic"):
    return total_variation(images[None] if images.dim() == 3 else images, kind=kind)


@MUTANTS.of("total_variation", "an unknown kind is anisotropic", killed_by="errors")
def _(images, *, kind="anisotropic"):
    known = kind in ("isotropic", "squared")
    return total_variation(images, kind=kind if known else "anisotropic")
