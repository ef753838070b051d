import torch

from lossbook.image.perceptual import perceptual_loss, style_loss
from tests.mutants import Mutants

MUTANTS = Mutants()


def over(features, target_features, of_layer):
    """Sum a loss of one layer over the layers, after the checks."""
    perceptual_loss(features, target_features)
    return sum(of_layer(f, t) for f, t in zip(features, target_features, strict=True))


def gram(x):
    matrix = x.flatten(2)
    return matrix @ matrix.mT / x[0].numel()


def over_grams(features, target_features, gram):
    return over(features, target_features, lambda f, t: (gram(f) - gram(t)).square().sum((1, 2)))


@MUTANTS.of("perceptual_loss", "summed, not divided by C H W", killed_by="value")
def _(features, target_features):
    return over(features, target_features, lambda f, t: (f - t).square().sum((1, 2, 3)))


@MUTANTS.of("perceptual_loss", "divided by H W alone", killed_by="value")
def _(features, target_features):
    return over(features, target_features, lambda f, t: (f - t).square().mean((2, 3)).sum(1))


@MUTANTS.of("perceptual_loss", "the norm, not its square", killed_by="value")
def _(features, target_features):
    return over(features, target_features, lambda f, t: (f - t).square().mean((1, 2, 3)).sqrt())


@MUTANTS.of("perceptual_loss", "absolute differences", killed_by="value")
def _(features, target_features):
    return over(features, target_features, lambda f, t: (f - t).abs().mean((1, 2, 3)))


@MUTANTS.of("perceptual_loss", "the mean over the batch, too", killed_by="value")
def _(features, target_features):
    losses = perceptual_loss(features, target_features)
    return losses.mean().expand(losses.shape)


@MUTANTS.of("perceptual_loss", "the mean over the layers", killed_by="value")
def _(features, target_features):
    return perceptual_loss(features, target_features) / len(features)


@MUTANTS.of("perceptual_loss", "only the last layer", killed_by="value")
def _(features, target_features):
    perceptual_loss(features, target_features)
    return perceptual_loss(features[-1:], target_features[-1:])


@MUTANTS.of("perceptual_loss", "features normalized along the channels", killed_by="value")
def _(features, target_features):
    unit = torch.nn.functional.normalize
    return over(
        features, target_features, lambda f, t: (unit(f) - unit(t)).square().mean((1, 2, 3))
    )


@MUTANTS.of("perceptual_loss", "the prediction detached, not the target", killed_by="gradient")
def _(features, target_features):
    return perceptual_loss([x.detach() for x in features], target_features)


@MUTANTS.of("perceptual_loss", "squares in half precision", killed_by="extremes")
def _(features, target_features):
    return over(features, target_features, lambda f, t: (f - t).square().mean((1, 2, 3)))


@MUTANTS.of("perceptual_loss", "the longer list cut short", killed_by="errors")
def _(features, target_features):
    layers = min(len(features), len(target_features))
    return perceptual_loss(features[:layers], target_features[:layers])


@MUTANTS.of("perceptual_loss", "one target for the whole batch", killed_by="errors")
def _(features, target_features):
    pairs = zip(features, target_features, strict=True)
    return perceptual_loss(features, [t.expand(f.shape) for f, t in pairs])


@MUTANTS.of("style_loss", "Gram matrices not normalized", killed_by="value")
def _(features, target_features):
    return over_grams(features, target_features, lambda x: gram(x) * x[0].numel())


@MUTANTS.of("style_loss", "Gram matrices divided by H W alone", killed_by="value")
def _(features, target_features):
    return over_grams(features, target_features, lambda x: gram(x) * x.shape[1])


@MUTANTS.of("style_loss", "the mean over the entries", killed_by="value")
def _(features, target_features):
    return over(features, target_features, lambda f, t: (gram(f) - gram(t)).square().mean((1, 2)))


@MUTANTS.of("style_loss", "the norm, not its square", killed_by="value")
def _(features, target_features):
    def norm(f, t):
        return torch.linalg.matrix_norm(gram(f) - gram(t))

    return over(features, target_features, norm)


@MUTANTS.of("style_loss", "positions against positions", killed_by="value")
def _(features, target_features):
    return over_grams(features, target_features, lambda x: gram(x.flatten(2).mT.unsqueeze(3)))


@MUTANTS.of("style_loss", "the batch folded into the channels", killed_by="value")
def _(features, target_features):
    def folded(x):
        rows = x.reshape(-1, x.shape[2] * x.shape[3])
        return (rows @ rows.T / x.numel()).unsqueeze(0)

    return over_grams(features, target_features, folded).expand(len(features[0]))


@MUTANTS.of("style_loss", "covariances: the mean activation removed", killed_by="value")
def _(features, target_features):
    return over_grams(features, target_features, lambda x: gram(x - x.mean((2, 3), keepdim=True)))


@MUTANTS.of("style_loss", "only the diagonal", killed_by="value")
def _(features, target_features):
    return over_grams(features, target_features, lambda x: gram(x).diagonal(0, 1, 2).diag_embed())


@MUTANTS.of("style_loss", "features, not Gram matrices", killed_by="value")
def _(features, target_features):
    return perceptual_loss(features, target_features)


@MUTANTS.of("style_loss", "the prediction detached, not the target", killed_by="gradient")
def _(features, target_features):
    return style_loss([x.detach() for x in features], target_features)


@MUTANTS.of(
    "style_loss",
    "products summed in half precision",
    killed_by="test_half_precision_sums_in_float32",
)
def _(features, target_features):
    return over_grams(features, target_features, gram)


@MUTANTS.of(
    "style_loss",
    "products in bfloat16 under autocast",
    killed_by="test_close_styles_keep_apart_under_autocast",
)
def _(features, target_features):
    return over_grams(features, target_features, gram)


@MUTANTS.of("style_loss", "the longer list cut short", killed_by="errors")
def _(features, target_features):
    layers = min(len(features), len(target_features))
    return style_loss(features[:layers], target_features[:layers])
