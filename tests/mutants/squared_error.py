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
                "return r * r\n\n",
                "return r * r / 2\n\n",
                "value",
            ),
            ("already averaged", "_square(residuals)", "_square(residuals).mean()", "value"),
            (
                "divided by the target, squared",
                "_square(residuals)",
                "_square(residuals / targets)",
                "value",
            ),
            (
                "multiplied out: small differences cancel",
                "_square(residuals)",
                "(predictions**2 - 2 * predictions * targets + targets**2)",
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
                "_square(residuals)",
                "_square(residuals.clamp(-100, 100))",
                "value",
            ),
            (
                "small residuals forgiven",
                "_square(residuals)",
                "_square(residuals) * (residuals.abs() > 1e-5)",
                "next to the optimum",
            ),
            (
                "a root squared: no slope at 0",
                "_square(residuals)",
                "((residuals * residuals).sqrt() ** 2)",
                "extremes",
            ),
            (
                "no gradient for the targets",
                "- targets.to(dtype=wide)",
                "- targets.detach()",
                "gradient",
            ),
            ("half the slope", "slope.add_(slope)", "slope", "gradient"),
            (
                "no curvature",
                "slope: Tensor = r * gradient",
                "slope: Tensor = r.detach() * gradient",
                "second gradient",
            ),
            (
                "half the slope in forward mode",
                "_in_reverse_mode(r):\n        return r * r",
                "_in_reverse_mode(r):\n        return r * r.detach()",
                "modes",
            ),
            (
                "no slope in compiled code",
                "_square(residuals)",
                "_square(residuals.detach() if torch.compiler.is_compiling() else residuals)",
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
                "_square(residuals).to(dtype=predictions.dtype)",
                "_square(residuals)",
                "float16",
                "dtype",
            ),
            (
                "the dtype of the wider input",
                "_square(residuals).to(dtype=predictions.dtype)",
                "_square(residuals).to(torch.promote_types(predictions.dtype, targets.dtype))",
                "dtypes",
            ),
            (
                "the residual overwrites the prediction",
                "predictions.to(dtype=wide) - targets",
                "predictions.sub_(targets) + 0 * targets",
                "inputs unchanged",
            ),
            (
                "a view of what may not be contiguous",
                "predictions.to(dtype=wide) -",
                "predictions.view(-1).to(wide).view(predictions.shape) -",
                "layout",
            ),
        ]
    },
)
