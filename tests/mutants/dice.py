from tests.mutants import edits

LOSS = "(differences / (sizes + smooth))"
SHAPES = "targets.shape != probabilities.shape"

MUTANTS = edits(
    "lossbook.segmentation.dice",
    {
        "dice_loss": [
            ("smooth only below", LOSS, "((differences + smooth) / (sizes + smooth))", "value"),
            ("smooth only above", LOSS, "((differences - smooth) / sizes)", "value"),
            (
                "smooth doubled with the overlap",
                LOSS,
                "((differences - smooth) / (sizes + smooth))",
                "value",
            ),
            ("the denominator clamped", LOSS, "(differences / sizes.clamp_min(smooth))", "value"),
            (
                "twice the overlap once",
                "differences = torch.addcmul(t, p, torch.rsub(t, 1, alpha=2))",
                "differences = torch.addcmul(t, p, torch.rsub(t, 1))",
                "value",
            ),
            (
                "the batch flattened",
                LOSS,
                "(differences.sum(0) / (sizes.sum(0) + smooth)).expand(sizes.shape)",
                "value",
            ),
            (
                "the classes flattened",
                LOSS,
                "(differences.sum(1, True) / (sizes.sum(1, True) + smooth)).expand(sizes.shape)",
                "value",
            ),
            ("classes without truth are free", LOSS, f"({LOSS} * (t.sum(2) > 0))", "value"),
            ("minus the Dice, at best -1", LOSS, f"({LOSS} - 1)", "value"),
            (
                "class 0 of two is free",
                LOSS,
                f"({LOSS} * (torch.arange(p.shape[1]) != -(p.shape[1] != 2)))",
                "shapes",
                "two classes",
            ),
            ("masks cut at 1/2", "_sums(p, t)", "_sums(p.round(), t)", "value"),
            ("a sigmoid of probabilities", "_sums(p, t)", "_sums(p.sigmoid(), t)", "value"),
            ("squares by default", "squared: bool = False", "squared: bool = True", "value"),
            (
                "squared sums for sums of squares",
                "p.square().sum(2) + t.square().sum(2)",
                "p.sum(2).square() + t.sum(2).square()",
                "value",
            ),
            ("only the prediction squared", "+ t.square().sum(2)", "+ t.sum(2)", "value"),
            (
                "a difference of sums has no digits",
                "(p - t).square().sum(2)",
                "sizes - 2 * (p * t).sum(2)",
                "next to the optimum",
            ),
            ("`smooth or 1.0`", "(sizes + smooth)", "(sizes + (smooth or 1.0))", "relations"),
            (
                "smooth at most 1",
                "(sizes + smooth)",
                "(sizes + min(smooth, 1.0))",
                "settings",
                "setting",
            ),
            ("a learned smooth stays", "smooth.to(wide)", "smooth.to(wide).detach()", "settings"),
            (
                "no slope of the sizes",
                "((to_sizes + to_differences)[",
                "(to_differences[",
                "gradient",
            ),
            ("half the slope of the overlap", "-2 * to_differences", "-to_differences", "gradient"),
            (
                "the targets' slope by themselves",
                "both, p) if to_t",
                "both, t) if to_t",
                "gradient",
            ),
            (
                "forward mode forgets the targets",
                "return p.sum(2) + t.sum(2), torch.addcmul",
                "return p.sum(2) + t.sum(2).detach(), torch.addcmul",
                "modes",
            ),
            (
                "1 / smooth overflows",
                "max(smooth, least)",
                "smooth",
                "test_the_slope_of_an_empty_mask_fits_float16",
            ),
            (
                "a smooth of 0 raised",
                "elif smooth > 0:",
                "else:",
                "test_smooth_zero_on_two_empty_masks_is_nan",
            ),
            (
                "sums in half",
                ", torch.float32\n    )",
                ", probabilities.dtype\n    )",
                "test_half_precision_at_1024_by_1024",
            ),
            (
                "float32 from half precision",
                LOSS + ".to(probabilities.dtype)",
                LOSS,
                "float16",
                "dtype",
            ),
            (
                "one mask for all classes",
                SHAPES,
                f"{SHAPES} and targets.shape[1:2] != (1,)",
                "errors",
            ),
            (
                "one mask for all images",
                SHAPES,
                f"{SHAPES} and targets.shape[:1] != (1,)",
                "errors",
            ),
            ("nan as smooth passes", "not smooth >= 0", "smooth < 0", "errors"),
            ("a tensor of two smooths", "if smooth.dim()", "if smooth.dim() > 1", "errors"),
            (
                "a look for empty masks",
                "    if squared:",
                "    if not targets.any():\n        return p.mean(2)\n    if squared:",
                "vmap",
            ),
            (
                "a view of what may not be contiguous",
                ".unsqueeze(-1).flatten(2)",
                ".view(*x.shape[:2], -1)",
                "layout",
            ),
        ],
    },
)
