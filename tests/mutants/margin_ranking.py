from tests.mutants import edits

MUTANTS = edits(
    "lossbook.ranking.margin_ranking",
    {
        "margin_ranking_loss": [
            ("the sign of the order", "margin - targets", "margin + targets", "value"),
            ("the margin taken off", "short = margin -", "short = -margin -", "value"),
            (
                "the margin turned by the order",
                "margin - targets.to",
                "margin * targets - targets.to",
                "value",
            ),
            ("the order ignored", "targets.to(wide)", "targets.to(wide) ** 2", "value"),
            ("orders of 0 and 1 meant", "targets.to(wide)", "(2 * targets.to(wide) - 1)", "value"),
            ("no floor", "short * active", "short", "value"),
            ("an absolute value for the floor", "short * active", "short.abs()", "value"),
            (
                "a floor at the margin",
                "short * active",
                "(short - margin).clamp_min(0) + margin",
                "value",
            ),
            ("squared", "short * active", "short**2 * active", "value"),
            (
                "softened: RankNet with a margin",
                "short * active",
                "torch.nn.functional.softplus(short)",
                "value",
            ),
            ("already averaged", "short * active", "(short * active).mean()", "value"),
            ("only the pairs that cost are kept", "short * active", "short[short > 0]", "value"),
            ("float64 cut to float32", "wide = torch", "wide = torch.float32 or torch", "value"),
            (
                "margin at most 3.5",
                "short = margin",
                "short = min(margin, 3.5)",
                "settings",
                "setting",
            ),
            ("a learned margin stays", "short = margin", "short = float(margin)", "settings"),
            ("(N, 1) against (N,) broadcasts", "given.shape != scores1.shape", "0", "errors"),
            (
                "the shape of the order unchecked",
                '"scores2": scores2, "targets": targets}',
                '"scores2": scores2}',
                "errors",
            ),
            (
                "integers as second scores",
                '"scores1": scores1, "scores2": scores2}',
                '"scores1": scores1}',
                "errors",
            ),
            ("the second score detached", "- scores2.to(wide)", "- scores2.detach()", "gradient"),
            ("counted, not learned", "short * active", "short.detach() * active", "gradient"),
            (
                "half the slope",
                "short * active",
                "short * active / 2 + (short * active).detach() / 2",
                "gradient",
            ),
            (
                "no slope at a tie",
                "(1 + short.detach().sign()).clamp_max(1)",
                "short.detach().sign().clamp_min(0)",
                "test_scores_that_start_equal_are_pulled_apart_at_margin_0",
            ),
            (
                "differences in half precision",
                "(scores1.to(wide) - scores2.to(wide))",
                "(scores1 - scores2)",
                "bfloat16",
            ),
            (
                "float32 out of half precision",
                " + 0.0).to(scores1.dtype)",
                " + 0.0)",
                "float16",
                "dtype",
            ),
            (
                "the dtype of the order",
                "(short * active + 0.0).to(scores1.dtype)",
                "(short * active + 0.0).to(targets.dtype)",
                "value",
            ),
            ("-0.0 for a pair in order", " + 0.0", "", "test_a_pair_in_order_costs_plain_zero"),
            (
                "a branch on the order",
                "wide = torch",
                "(targets == 1).all().item()\n    wide = torch",
                "vmap",
            ),
            (
                "a margin by default",
                "margin: float | Tensor\n",
                "margin: float | Tensor = 0.0\n",
                "test_margin_has_no_default",
            ),
        ]
    },
)
