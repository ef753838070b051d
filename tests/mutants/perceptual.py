from tests.mutants import edits

# A layer's part of each loss.
SQUARES = "distances(x, y) / x.shape[1:].numel()"
PIXELS = "_apart(x, y)"
GRAMS = "(_gram(x) - _gram(y)).square().sum((1, 2))"

MUTANTS = edits(
    "lossbook.image.perceptual",
    {
        "perceptual_loss": [
            ("the longer list cut short", "len(features) != len(target_features)", "0", "errors"),
            ("no layers", " or len(features) == 0", "", "errors"),
            (
                "one target for the whole batch",
                "y.shape != x.shape",
                "y.shape[1:] != x.shape[1:]",
                "errors",
            ),
            ("vectors taken for maps", "x.dim() != 4", "x.dim() < 2", "errors"),
            ("layers of other batches", "len(x) != len(features[0])", "0", "errors"),
            ("integers are cut", "not x.is_floating_point()", "0", "errors"),
            ("summed, not divided by C H W", " / x.shape[1:].numel()", "", "value"),
            ("divided by H W alone", "x.shape[1:]", "x.shape[2:]", "value"),
            ("the norm, not its square", SQUARES, f"({SQUARES}).sqrt()", "value"),
            ("absolute differences", SQUARES, f"{PIXELS}.abs().mean((1, 2, 3))", "value"),
            (
                "the mean over the batch, too",
                "return loss.to",
                "return loss.mean().expand(loss.shape).to",
                "value",
            ),
            (
                "the mean over the layers",
                "return loss.to",
                "return (loss / len(features)).to",
                "value",
            ),
            ("only the last layer", "loss = loss + distances", "loss = distances", "value"),
            (
                "features normalized along the channels",
                "distances(x, y)",
                "distances(*(torch.nn.functional.normalize(z.double()) for z in (x, y)))",
                "value",
            ),
            (
                "the prediction detached, not the target",
                "distances(x, y)",
                "distances(x.detach(), y)",
                "gradient",
            ),
            (
                "wide copies kept",
                "else _SquaredDistances.apply",
                "else lambda x, y: _SquaredDistances.apply(x.float(), y.float())",
                "test_half_features_are_kept_for_the_slope_as_they_are",
            ),
            (
                "differences in half precision",
                "return x.to(wide) - y.to(wide)",
                "return x - y",
                "test_half_precision_sums_in_float32",
            ),
            (
                "no slope for the target",
                "-slope.to(y.dtype) if to_y",
                "0 * slope if to_y",
                "gradient",
            ),
            ("the target pulled along", "-slope.to(y.dtype) if to_y", "slope if to_y", "gradient"),
            ("half the slope", "(2 * gradient)", "gradient", "gradient"),
            (
                "a slope for one alone is lost",
                "if to_x else None",
                "if to_x and to_y else None",
                "layout",
            ),
            (
                "no curvature",
                "* _apart(x, y)\n        to_x",
                "* _apart(x, y).detach()\n        to_x",
                "second gradient",
            ),
            ("forward mode forgets the target", "_apart(dx, dy)", "dx", "modes"),
            (
                "no slope in compiled code",
                "else _SquaredDistances.apply",
                "else _SquaredDistances.apply\n    features = [x.detach() for x in features] if "
                "compiled else features",
                "compile",
            ),
            (
                "squares in half precision",
                "torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)",
                "torch.promote_types(x.dtype, y.dtype)",
                "extremes",
            ),
            (
                "float64 cut to float32",
                "torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)",
                "torch.float32",
                "value",
            ),
            (
                "float32 from half precision",
                "loss.to(features[0].dtype)",
                "loss",
                "float16",
                "dtype",
            ),
            (
                "the dtype of the last layer",
                "loss.to(features[0].dtype)",
                "loss.to(features[-1].dtype)",
                "test_layers_may_have_several_dtypes",
            ),
        ],
        "style_loss": [
            ("Gram matrices not normalized", " / (matrix.shape[1] * matrix.shape[2])", "", "value"),
            (
                "Gram matrices divided by H W alone",
                "(matrix.shape[1] * matrix.shape[2])",
                "matrix.shape[2]",
                "value",
            ),
            (
                "Gram matrices divided by C alone",
                "(matrix.shape[1] * matrix.shape[2])",
                "matrix.shape[1]",
                "value",
            ),
            (
                "the mean over the entries",
                ".square().sum((1, 2))\n",
                ".square().mean((1, 2))\n",
                "value",
            ),
            ("the norm, not its square", GRAMS, f"{GRAMS}.sqrt()", "value"),
            ("positions against positions", "matrix @ matrix.mT", "matrix.mT @ matrix", "value"),
            (
                "the batch folded into the channels",
                "features.to(wide).flatten(2)",
                "features.to(wide).flatten(2).flatten(0, 1)[None]",
                "value",
            ),
            (
                "covariances: the mean activation removed",
                "features.to(wide).flatten(2)",
                "features.to(wide).flatten(2) - features.to(wide).mean((2, 3))[:, :, None]",
                "value",
            ),
            (
                "only the diagonal",
                GRAMS,
                "(_gram(x) - _gram(y)).diagonal(0, 1, 2).square().sum(1)",
                "value",
            ),
            (
                "each pair of channels once",
                GRAMS,
                "(_gram(x) - _gram(y)).triu().square().sum((1, 2))",
                "value",
            ),
            (
                "features, not Gram matrices",
                "(_gram(x) - _gram(y)).square().sum((1, 2))",
                "(x - y).square().mean((1, 2, 3))",
                "value",
            ),
            (
                "the prediction detached, not the target",
                "_gram(x) -",
                "_gram(x.detach()) -",
                "gradient",
            ),
            ("no slope for the target", "- _gram(y)", "- _gram(y.detach())", "gradient"),
            (
                "one factor detached",
                "matrix @ matrix.mT",
                "matrix @ matrix.mT.detach()",
                "gradient",
            ),
            (
                "float64 cut to float32",
                "matrix = features.to(wide)",
                "matrix = features.float()",
                "value",
            ),
            (
                "products summed in half precision",
                "torch.promote_types(features.dtype, torch.float32)",
                "features.dtype",
                "test_half_precision_sums_in_float32",
            ),
            (
                "products in bfloat16 under autocast",
                'with torch.autocast("cpu" if kind == "meta" else kind, enabled=False):',
                "if kind:",
                "test_close_styles_keep_apart_under_autocast",
            ),
            (
                "float32 from half precision",
                "loss.to(features[0].dtype)",
                "loss",
                "float16",
                "dtype",
            ),
        ],
    },
)
