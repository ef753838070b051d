from tests.mutants import edits

SHAPES = "predictions.shape != targets.shape"
ABS = "residuals.abs()"

MUTANTS = edits(
    "lossbook.regression.absolute_error",
    {
        "absolute_error": [
            ("(N, 1) against (N,) broadcasts", SHAPES, "0", "errors"),
            ("one target for all", SHAPES, f"{SHAPES} and targets.dim()", "errors"),
            (
                "one row of targets for all",
                SHAPES,
                f"{SHAPES} and targets.shape[:1] != (1,)",
                "errors",
            ),
            ("integers are cut", "not predictions.is_floating_point()", "0", "errors"),
            ("errors cancel", ABS, "residuals", "value"),
            ("already averaged", ABS, "residuals.abs().mean()", "value"),
            ("summed over the last axis", ABS, "residuals.abs().sum(-1)", "value"),
            ("in percent of the target", ABS, "(residuals / targets).abs()", "value"),
            ("a half, as of squares", ABS, "(residuals / 2).abs()", "value"),
            ("rounded corner", ABS, "(residuals - residuals.clamp(-1, 1) / 2).abs()", "value"),
            ("log cosh", ABS, "residuals.cosh().log()", "value"),
            ("the difference of sizes", ABS, "(predictions.abs() - targets.abs()).abs()", "value"),
            ("outliers clipped", ABS, "residuals.abs().clamp_max(1e3)", "value"),
            ("an epsilon under the root", ABS, "(residuals**2 + 1e-8).sqrt()", "value"),
            ("the root has no slope at 0", ABS, "(residuals**2).sqrt()", "extremes"),
            ("slope 1 at 0", ABS, "torch.where(residuals < 0, -residuals, residuals)", "gradient"),
            (
                "no slope for the targets",
                "targets.to(wide)",
                "targets.detach().to(wide)",
                "gradient",
            ),
            ("float32 from half precision", ".to(predictions.dtype)", "", "bfloat16", "dtype"),
            (
                "the dtype of the wider input",
                ".to(predictions.dtype)",
                ".to(targets.dtype)",
                "dtypes",
            ),
            (
                "computed in half precision",
                "torch.promote_types(predictions.dtype, torch.float32)",
                "predictions.dtype",
                "test_a_finer_target_is_not_rounded",
            ),
            ("float32 from all", "torch.promote_types(predictions.dtype, ", "(", "value"),
            (
                "a value read for the log",
                ABS,
                "(residuals.abs() + 0 * residuals.sum().item())",
                "vmap",
            ),
            (
                "the residual overwrites the prediction",
                "predictions.to(wide) - targets",
                "0 * targets + predictions.sub_(targets)",
                "inputs unchanged",
            ),
            (
                "a view of what may not be contiguous",
                "predictions.to(wide)",
                "predictions.view(-1).to(wide).view(targets.shape)",
                "layout",
            ),
        ],
    },
)
