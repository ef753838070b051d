from tests.mutants import edits

REAL = "_softplus(-real_logits.to(wide))"
FAKE = "_softplus(fake_logits.to(wide))"
BOTH = f"{REAL} + {FAKE}"
SMOOTH = "softplus(logits, threshold=40)"
GENERATOR = "-_softplus(fake_logits.to(wide))"
ASCENT = "_softplus(-fake_logits.to(wide))"
UNCHECKED = "not fake_logits.is_floating_point()"

MUTANTS = edits(
    "lossbook.generative.minimax_gan",
    {
        "minimax_discriminator_loss": [
            (
                "real and fake exchanged",
                BOTH,
                "_softplus(-fake_logits.to(wide)) + _softplus(real_logits.to(wide))",
                "value",
            ),
            ("maximized, as the paper writes it", BOTH, f"-({BOTH})", "value"),
            ("half of the sum", BOTH, f"({BOTH}) / 2", "value"),
            ("the fakes called real, too", FAKE, "_softplus(-fake_logits.to(wide))", "value"),
            ("only the fakes", BOTH, f"0 * {BOTH}", "value"),
            ("real labels smoothed to 0.9", REAL, f"{REAL} + 0.1 * real_logits.to(wide)", "value"),
            (
                "a sigmoid before the loss",
                BOTH,
                "_softplus(-real_logits.to(wide).sigmoid()) + "
                "_softplus(fake_logits.to(wide).sigmoid())",
                "value",
            ),
            ("log of 1 - sigmoid", FAKE, "-(1 - fake_logits.to(wide).sigmoid()).log()", "value"),
            (
                "an epsilon in the logarithm",
                REAL,
                "-(real_logits.to(wide).sigmoid() + 1e-8).log()",
                "value",
            ),
            ("exponentials that overflow", SMOOTH, "logits.exp().log1p()", "value"),
            ("already averaged", BOTH, f"({BOTH}).mean()", "value"),
            ("the two sides joined, not added", BOTH, f"torch.cat([{REAL}, {FAKE}])", "value"),
            ("float64 cut to float32", BOTH, f"({BOTH}).float()", "value"),
            (
                "torch's threshold of 20",
                ", threshold=40",
                "",
                "test_a_sure_wrong_answer_keeps_its_tail",
            ),
            (
                "1 + a small number",
                SMOOTH,
                "(1 + logits.exp()).log().where(logits < 30, logits)",
                "next to the optimum",
            ),
            (
                "(N, 1) against (N,) broadcasts",
                "fake_logits.shape != real_logits.shape",
                "0",
                "errors",
            ),
            (
                "integer fakes",
                '"real_logits": real_logits, "fake_logits": fake_logits}',
                '"real_logits": real_logits}',
                "errors",
            ),
            ("the fake side without a gradient", FAKE, f"{FAKE}.detach()", "gradient"),
            (
                "half the slope of the real side",
                REAL,
                f"{REAL} / 2 + {REAL}.detach() / 2",
                "gradient",
            ),
            (
                "inf - inf at a sure answer",
                REAL,
                "(_softplus(real_logits.to(wide)) - real_logits.to(wide))",
                "infinite",
            ),
            (
                "float32 from half precision",
                "losses.to(real_logits.dtype)",
                "losses",
                "bfloat16",
                "dtype",
            ),
            (
                "the dtype of the fakes",
                "losses.to(real_logits.dtype)",
                "losses.to(fake_logits.dtype)",
                "dtypes",
            ),
        ],
        "minimax_generator_loss": [
            ("the sign of the descent lost", GENERATOR, FAKE, "value"),
            ("1 - log D: the gradient of -log D", GENERATOR, f"(1 + {ASCENT})", "value"),
            ("the non-saturating loss under this name", GENERATOR, ASCENT, "value"),
            ("log D, to be maximized", GENERATOR, f"-{ASCENT}", "value"),
            (
                "log of 1 - sigmoid",
                GENERATOR,
                "(1 - fake_logits.to(wide).sigmoid()).log()",
                "value",
            ),
            (
                "clamped at -100, as torch's BCE",
                GENERATOR,
                f"({GENERATOR}).clamp_min(-100)",
                "value",
            ),
            (
                "a sigmoid before the loss",
                GENERATOR,
                "-_softplus(fake_logits.to(wide).sigmoid())",
                "value",
            ),
            ("already averaged", GENERATOR, f"{GENERATOR}.mean()", "value"),
            ("float64 cut to float32", GENERATOR, f"{GENERATOR}.float()", "value"),
            (
                "the generator detached",
                GENERATOR,
                "-_softplus(fake_logits.detach().to(wide)) + 0 * fake_logits",
                "gradient",
            ),
            (
                "the logit less its softplus",
                GENERATOR,
                f"(-fake_logits.to(wide) - {ASCENT})",
                "infinite",
            ),
            (
                "float32 from half precision",
                f"{GENERATOR}.to(fake_logits.dtype)",
                GENERATOR,
                "float16",
                "dtype",
            ),
            ("integers taken", UNCHECKED, "0", "errors"),
        ],
        "non_saturating_generator_loss": [
            ("the sign of the ascent", f"return {ASCENT}", f"return -{ASCENT}", "value"),
            ("the saturating loss", ASCENT, GENERATOR, "value"),
            ("what the discriminator pays", ASCENT, FAKE, "value"),
            ("fakes called 0.9 real", ASCENT, f"({ASCENT} + 0.1 * fake_logits.to(wide))", "value"),
            (
                "log of a sigmoid that is 0",
                ASCENT,
                "(-fake_logits.to(wide).sigmoid().log())",
                "value",
            ),
            ("clamped at 100, as torch's BCE", ASCENT, f"{ASCENT}.clamp_max(100)", "value"),
            (
                "an epsilon in the logarithm",
                ASCENT,
                "(-(fake_logits.to(wide).sigmoid() + 1e-8).log())",
                "value",
            ),
            (
                "a sigmoid before the loss",
                ASCENT,
                "_softplus(-fake_logits.to(wide).sigmoid())",
                "value",
            ),
            ("already averaged", ASCENT, f"{ASCENT}.mean()", "value"),
            (
                "patches averaged",
                ASCENT,
                f"{ASCENT}.reshape(len(fake_logits), -1).mean(1)",
                "value",
            ),
            ("relu in place of softplus", SMOOTH, "logits.relu()", "value"),
            (
                "1 + a small number",
                SMOOTH,
                "(1 + logits.exp()).log().where(logits < 30, logits)",
                "next to the optimum",
            ),
            ("the logit added at the end", ASCENT, f"({FAKE} - fake_logits.to(wide))", "infinite"),
            (
                "float32 from half precision",
                f"{ASCENT}.to(fake_logits.dtype)",
                ASCENT,
                "float16",
                "dtype",
            ),
            ("integers taken", UNCHECKED, "0", "errors"),
            (
                "the slope of the paper's loss",
                ASCENT,
                f"({ASCENT}.detach() + {GENERATOR} - ({GENERATOR}).detach())",
                "test_only_one_of_the_two_saturates",
            ),
        ],
    },
)
