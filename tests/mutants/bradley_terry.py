from tests.mutants import edits

LOSS = "0 - logsigmoid(lead)"
SHAPES = "given.shape != chosen_rewards.shape"

MUTANTS = edits(
    "lossbook.preference.bradley_terry",
    {
        "bradley_terry_loss": [
            ("chosen and rejected exchanged", LOSS, "0 - logsigmoid(-lead)", "value"),
            ("the margin added", "lead - margins", "lead + margins", "value"),
            ("the margin ignored", "lead - margins.to(wide)", "lead + 0", "value"),
            (
                "margins of ratings doubled",
                "lead - margins",
                "lead - (1 + ~margins.is_floating_point()) * margins",
                "value",
            ),
            ("exp overflows", LOSS, "(1 + (-lead).exp()).log()", "value"),
            ("a sigmoid that underflows", LOSS, "-lead.sigmoid().log()", "value"),
            ("1e-8 in the logarithm", LOSS, "-(lead.sigmoid() + 1e-8).log()", "value"),
            ("a hinge", LOSS, "(1 - lead).clamp_min(0)", "value"),
            ("no logarithm", LOSS, "(-lead).sigmoid()", "value"),
            ("its sign", LOSS, "logsigmoid(lead)", "value"),
            ("in bits", LOSS, "0 - logsigmoid(lead) * 1.4426950408889634", "value"),
            ("a clamped lead", LOSS, "0 - logsigmoid(lead.clamp(-100, 100))", "value"),
            (
                "each answer against 0",
                "chosen_rewards.to(wide) - rejected",
                "2 * chosen_rewards.to(wide) - rejected",
                "value",
            ),
            (
                "rewards centered at 0 as well",
                LOSS,
                f"{LOSS} + 0.01 * (chosen_rewards + rejected_rewards) ** 2",
                "value",
            ),
            ("averaged over the batch", LOSS, "(0 - logsigmoid(lead)).mean()", "value"),
            (
                "1 + e^-lead has no digits",
                LOSS,
                "(1 + (-lead.abs()).exp()).log() + (-lead).relu()",
                "next to the optimum",
            ),
            (
                "the rejected reward detached",
                "- rejected_rewards.to",
                "- rejected_rewards.detach().to",
                "gradient",
            ),
            ("the margin detached", "- margins.to", "- margins.detach().to", "gradient"),
            ("minus zero", LOSS, "-logsigmoid(lead)", "test_a_pair_that_is_won_costs_0"),
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
                ".to(chosen_rewards.dtype)  #",
                "  #",
                "float16",
                "dtype",
            ),
            (
                "a value read for the log",
                "    if margins is not None:\n        lead",
                "    lead.sum().item()\n    if margins is not None:\n        lead",
                "vmap",
            ),
        ],
    },
)
