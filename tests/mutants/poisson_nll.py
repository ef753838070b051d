from tests.mutants import edits

ELSE = "torch.where(aside, 0, x)"

MUTANTS = edits(
    "lossbook.regression.poisson_nll",
    {
        "poisson_nll": [
            ("(N, 1) against (N,) broadcasts", "log_rates.shape != counts.shape", "0", "errors"),
            ("integers are cut", "not log_rates.is_floating_point()", "0", "errors"),
            (
                "the log-rate taken for the rate",
                "x, k = log_rates.to(dtype=wide)",
                "x, k = log_rates.abs().log()",
                "value",
            ),
            (
                "the rate taken for its logarithm",
                "x, k = log_rates.to(dtype=wide)",
                "x, k = log_rates.exp()",
                "value",
            ),
            ("log(rate + 1e-7)", ELSE, "(x.exp() + 1e-7).log()", "value"),
            (
                "the log of a rate that has underflowed",
                ELSE,
                "x.exp().log().where(k > 0, 0)",
                "value",
            ),
            ("0 times -inf at rate 0", ELSE, "x", "value"),
            ("every impossible count forgiven", " & k.logical_not()", "", "value"),
            ("inf less inf", "x.isposinf() | ", "", "infinite"),
            (
                "no log-rate for counts of 1",
                "x.isposinf() | (x.isneginf() & k.logical_not())",
                "k <= 1",
                "value",
            ),
            (
                "Stirling's formula for log k!",
                "= losses + torch.lgamma(k + 1)",
                "= losses + torch.where(k > 1, torch.xlogy(k, k) - k + 0.5 * (6.283185307179586 "
                "* k.clamp_min(1)).log(), 0)",
                "value",
            ),
            ("lgamma(k), which is log (k - 1)!", "(k + 1)\n", "(k.clamp_min(1))\n", "value"),
            ("full turned round", "if full:", "if not full:", "value"),
            ("full by default", "full: bool = False", "full: bool = True", "value"),
            (
                "k! for its logarithm",
                "losses + torch.lgamma(k + 1)",
                "losses + torch.lgamma(k + 1).exp()",
                "value",
            ),
            ("the sign of the count's term", "value=-1", "value=1", "value"),
            (
                "the deviance, which is 0 at its least",
                "if full:",
                "losses = losses - k + torch.xlogy(k, k)\n    if full:",
                "value",
            ),
            ("log-rates clipped at 20", "x.exp(), k", "x.clamp(-20, 20).exp(), k", "value"),
            ("already averaged", "return losses.to", "return losses.mean().to", "value"),
            ("float64 cut to float32", "wide = torch", "wide = torch.float32 or torch", "value"),
            ("a floor at 0", "return losses.to", "return losses.clamp_min(0).to", "value"),
            ("the rate detached", "addcmul(x.exp()", "addcmul(x.detach().exp()", "gradient"),
            (
                "no slope for the counts",
                "counts.to(dtype=wide)",
                "counts.detach().to(dtype=wide)",
                "gradient",
            ),
            (
                "no slope of log k!",
                "= losses + torch.lgamma(k + 1)",
                "= losses + torch.lgamma(k.detach() + 1)",
                "gradient",
            ),
            ("the slope of a masked nan", ELSE, "x.where(k > 0, 0)", "gradient"),
            ("exp in half precision", "x.exp(), k", "log_rates.exp().to(wide), k", "extremes"),
            (
                "sums in half precision",
                "wide = torch",
                "wide = log_rates.dtype or torch",
                "float16",
            ),
            (
                "float32 out of half precision",
                "losses.to(dtype=log_rates.dtype)",
                "losses",
                "float16",
                "dtype",
            ),
            (
                "the dtype of the counts",
                "losses.to(dtype=log_rates.dtype)",
                "losses.to(counts.dtype)",
                "value",
            ),
            (
                "a branch on tensor values",
                "    if full:",
                "    assert not losses.isnan().any()\n    if full:",
                "compile",
            ),
            ("exp in place", "x.exp(), k", "x.exp(), k.neg_().neg_()", "inputs unchanged"),
            (
                "nan counts hidden",
                "counts.to(dtype=wide)",
                "counts.to(dtype=wide).nan_to_num(0)",
                "test_nan_is_not_hidden",
            ),
        ]
    },
)
