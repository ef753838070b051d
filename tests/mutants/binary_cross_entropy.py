from tests.mutants import edits

X = "_sides(logits.to(dtype=wide), targets"
LOSSES = "return losses.to("

MUTANTS = edits(
    "lossbook.classification.binary_cross_entropy",
    {
        "binary_cross_entropy": [
            ("sigmoid before the sigmoid", X, X.replace("wide)", "wide).sigmoid()"), "value"),
            ("a clamped logit", X, X.replace("wide)", "wide).clamp(-100, 100)"), "value"),
            ("logs stop at -100", LOSSES, "return losses.clamp_max(100).to(", "value"),
            ("log(p + 1e-8)", LOSSES, "return -((-losses).exp() + 1e-8).log().to(", "value"),
            ("already averaged", LOSSES, "return losses.mean(-1).to(", "value"),
            (
                "log(1 + exp(x)) overflows",
                "x.abs().neg_().exp_().log1p_()",
                "x.exp().log1p() - x.relu()",
                "value",
            ),
            (
                "1 + e^-|x| has no digits",
                ".exp_().log1p_()",
                ".exp_().add_(1).log_()",
                "next to the optimum",
            ),
            (
                "the negatives forgotten",
                ".add_(y, alpha=0).add_(near)",
                ".add_(y, alpha=0).mul_(y).add_(near * y)",
                "value",
            ),
            (
                "soft targets hardened",
                "targets.to(dtype=wide), w",
                "targets.round().to(dtype=wide), w",
                "value",
            ),
            (
                "labels of -1 and 1 expected",
                "targets.to(dtype=wide), w",
                "targets.add(1).to(dtype=wide) / 2, w",
                "value",
            ),
            ("pos_weight on both terms", "(w * y + (1 - y))", "(w)", "value"),
            ("pos_weight on the negatives", "(w * y + (1 - y))", "(y + w * (1 - y))", "value"),
            (
                "pos_weight for small logits alone",
                "far.mul_(torch.where(x > 0, 1, w))",
                "pass",
                "value",
            ),
            (
                "pos_weight for every other sign",
                "torch.where(x > 0, 1, w)",
                "torch.where(x > 0, w, 1)",
                "value",
            ),
            (
                "pos_weight at most 3",
                "pos_weight.to(wide).expand",
                "pos_weight.to(wide).clamp_max(3).expand",
                "settings",
                "setting",
            ),
            (
                "no weights for two classes",
                "pos_weight.to(wide).expand",
                "pos_weight.to(wide).pow(float(logits.shape[1:2] != (2,))).expand",
                "shapes",
                "two classes",
            ),
            (
                "pos_weight on the last axis",
                "pos_weight.reshape(-1, *[1] * (logits.dim() - 2))",
                "pos_weight",
                "test_pos_weight_lies_on_dimension_1",
            ),
            (
                "`if pos_weight` turns 0 off",
                "elif pos_weight is not None",
                "elif not pos_weight:\n        pos_weight = None\n    else",
                "test_pos_weight_zero_counts",
            ),
            (
                "pos_weight detached",
                "pos_weight.to(wide).expand",
                "pos_weight.detach().to(wide).expand",
                "test_pos_weight_gets_a_gradient",
            ),
            (
                "one pos_weight for one class",
                "pos_weight.numel() != 1",
                "pos_weight.dim()",
                "test_pos_weight_of_one_element",
            ),
            ("0 times infinity", ".nan_to_num_(0, math.inf)", "", "infinite"),
            ("a nan hidden", ".add_(y, alpha=0)", "", "test_a_nan_is_not_hidden"),
            ("infinity cut", "nan_to_num_(0, math.inf)", "nan_to_num_(0)", "infinite"),
            ("slope of the square", "x.sigmoid() - y if", "2 * (x.sigmoid() - y) if", "gradient"),
            (
                "slope without its weight",
                "- w * y * (-x).sigmoid()",
                "- y * (-x).sigmoid()",
                "gradient",
            ),
            (
                "no slope for soft targets",
                "targets.to(dtype=wide), w",
                "targets.detach().to(dtype=wide), w",
                "gradient",
            ),
            (
                "a learned weight climbs",
                "-y * logsigmoid(x)",
                "y * logsigmoid(x)",
                "test_pos_weight_gets_a_gradient",
            ),
            (
                "an infinite slope of the target",
                "-x.clamp(-most, most)",
                "-x",
                "test_infinite_logits_pull_with_a_finite_slope",
            ),
            (
                "forward mode forgets the targets",
                "(1 - y) * logsigmoid(-finite)",
                "(1 - y).detach() * logsigmoid(-finite)",
                "modes",
            ),
            (
                "float32 from half precision",
                "losses.to(dtype=logits.dtype)",
                "losses",
                "float16",
                "dtype",
            ),
            (
                "computed in half precision",
                "torch.promote_types(logits.dtype, torch.float32)",
                "logits.dtype",
                "test_a_finer_target_is_not_rounded",
            ),
            ("(N, 1) against (N,) broadcasts", "logits.shape != targets.shape", "0", "errors"),
            (
                "a weight for each item",
                "pos_weight.shape != logits.shape[1:2]",
                "pos_weight.shape != logits.shape[:1]",
                "errors",
            ),
            ("integers are cut", "not logits.is_floating_point()", "0", "errors"),
        ],
    },
)
