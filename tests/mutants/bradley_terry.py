from tests.mutants import edits

LOSS = "softplus(lag, threshold=40)"
MINUS = "(-torch.nn.functional.logsigmoid(-lag))"
SHAPES = "given.shape != chosen_rewards.shape"

MUTANTS = edits(
    "lossbook.preference.bradley_terry",
    {
        "bradley_terry_loss": [
            ("chosen and rejected exchanged", LOSS, "softplus(-lag, threshold=40)", "value"),
            ("the margin added", "lag + margins", "lag - margins", "value"),
            ("the margin ignored", "lag + margins.to(wide)", "lag + 0", "value"),
            (
                "margins of ratings doubled",
                "lag + margins",
                "lag + (1 + ~margins.is_floating_point()) * margins",
                "value",
            ),
            ("exp overflows", LOSS, "(1 + lag.exp()).log()", "value"),
            ("a sigmoid that underflows", LOSS, "-(-lag).sigmoid().log()", "value"),
            ("1e-8 in the logarithm", LOSS, "-((-lag).sigmoid() + 1e-8).log()", "value"),
            ("a hinge", LOSS, "(1 + lag).clamp_min(0)", "value"),
            ("no logarithm", LOSS, "lag.sigmoid()", "value"),
            ("its sign", LOSS, f"-{LOSS}", "value"),
            ("in bits", LOSS, f"(1.4426950408889634 * {LOSS})", "value"),
            ("a clamped lead", LOSS, "softplus(lag.clamp(-100, 100), threshold=40)", "value"),
            (
                "each answer against 0",
                "- chosen_rewards.to(wide)",
                "- 2 * chosen_rewards.to(wide)",
                "value",
            ),
            (
                "rewards centered at 0 as well",
                LOSS,
                f"({LOSS} + 0.01 * (chosen_rewards + rejected_rewards) ** 2)",
                "value",
            ),
            ("averaged over the batch", LOSS, f"{LOSS}.mean()", "value"),
            (
                "1 + e^-lead has no digits",
                LOSS,
                "(1 + (-lag.abs()).exp()).log() + lag.relu()",
                "next to the optimum",
            ),
            (
                "the rejected reward detached",
                "= rejected_rewards.to",
                "= rejected_rewards.detach().to",
                "gradient",
            ),
            ("the margin detached", "+ margins.to", "+ margins.detach().to", "gradient"),
            ("minus zero", LOSS, MINUS, "test_a_pair_that_is_won_costs_0"),
            ("every pair of the batch", SHAPES, "0", "errors"),
            ("one margin for all", SHAPES, f"{SHAPES} and given.dim()", "errors"),
            (
                "integers as rewards",
                "not x.is_floating_point()",
                "name[0] == 'c' and not x.is_floating_point()",
                "errors",
            ),
            (
                "subtracted in half precision",
                "torch.promote_types(chosen_rewards.dtype, torch.float32)",
                "chosen_rewards.dtype",
                "dtypes",
            ),
            (
                "float32 from half precision",
                ".to(chosen_rewards.dtype)",
                "",
                "float16",
                "dtype",
            ),
            (
                "a value read for the log",
                "    if margins is not None:\n        lag",
                "    lag.sum().item()\n    if margins is not None:\n        lag",
                "vmap",
            ),
        ],
    },
)
