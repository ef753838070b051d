from tests.mutants import edits

MUTANTS = edits(
    "lossbook.regression.squared_error",
    {
        "squared_error": [
            ("(N, 1) against (N,) broadcasts", "predictions.shape != targets.shape", "0", "errors"),
            (
                "numbers of elements compared, not shapes",
                "predictions.shape != targets.shape",
                "predictions.numel() != targets.numel()",
                "errors",
            ),
            ("integers are cut", "not predictions.is_floating_point()", "0", "errors"),
            (
                "half of it, the l2_loss of other libraries",
                "return r * r",
                "return r * r / 2",
                "value",
            ),
            ("already averaged", "square(residuals)", "square(residuals).mean()", "value"),
            (
                "divided by the target, squared",
                "square(residuals)",
                "square(residuals / targets)",
                "value",
            ),
            (
                "multiplied out: small differences cancel",
                "square(residuals)",
                "predictions**2 - 2 * predictions * targets + targets**2",
                "value",
            ),
            (
                "float32 inside",
                "torch.promote_types(predictions.dtype, torch.float32)",
                "torch.float32",
                "value",
            ),
            (
                "residuals clipped at 100",
                "square(residuals)",
                "square(residuals.clamp(-100, 100))",
                "value",
            ),
            (
                "small residuals forgiven",
                "square(residuals)",
                "square(residuals) * (residuals.abs() > 1e-5)",
                "next to the optimum",
            ),
            (
                "a root squared: no slope at 0",
                "square(residuals)",
                "(residuals * residuals).sqrt() ** 2",
                "extremes",
            ),
            ("no gradient for the targets", "- targets.to(wide)", "- targets.detach()", "gradient"),
            ("half the slope", "r, gradient, value=2", "r, gradient, value=1", "gradient"),
            (
                "no curvature",
                "r, gradient, value=2",
                "r.detach(), gradient, value=2",
                "second gradient",
            ),
            ("half the slope in forward mode", "r, change, value=2", "r, change, value=1", "modes"),
            (
                "no slope in compiled code",
                "square(residuals)",
                "square(residuals.detach() if torch.compiler.is_compiling() else residuals)",
                "compile",
            ),
            (
                "squares in half precision",
                "wide = torch",
                "wide = predictions.dtype or torch",
                "dtypes",
            ),
            (
                "float32 out of half precision",
                "losses.to(predictions.dtype)",
                "losses",
                "float16",
                "dtype",
            ),
            (
                "the dtype of the wider input",
                "losses.to(predictions.dtype)",
                "losses.to(torch.promote_types(predictions.dtype, targets.dtype))",
                "dtypes",
            ),
            (
                "the residual overwrites the prediction",
                "predictions.to(wide) - targets",
                "predictions.sub_(targets) + 0 * targets",
                "inputs unchanged",
            ),
            (
                "a view of what may not be contiguous",
                "predictions.to(wide) -",
                "predictions.view(-1).to(wide).view(predictions.shape) -",
                "layout",
            ),
        ]
    },
)
