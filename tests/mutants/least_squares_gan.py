from tests.mutants import edits

# In the half square, which both share.
SHARED = [
    ("no 1/2", "r.square().div_(2)", "r.square()", "value"),
    ("absolute errors", "r.square().div_(2)", "r.abs().div_(2)", "value"),
    ("the slope of a square not halved", "gradient * ctx", "2 * gradient * ctx", "gradient"),
    (
        "a pull of one strength",
        "gradient * ctx.saved_tensors[0]",
        "gradient * ctx.saved_tensors[0].sign()",
        "gradient",
    ),
    (
        "forward mode of the plain change",
        "return r.square() / 2",
        "return r.square() / 2 + (r - r.detach())",
        "modes",
    ),
    ("codes of shape (2,)", "and setting.dim()", "and setting.dim() > 1", "settings"),
    ("compiled code squares only", "return r.square() / 2", "return r.square()", "compile"),
]
MUTANTS = edits(
    "lossbook.generative.least_squares_gan",
    {
        "least_squares_discriminator_loss": [
            *SHARED,
            (
                "the average of both halves",
                "(on_real + on_fake)",
                "((on_real + on_fake) / 2)",
                "value",
            ),
            ("the difference of both", "(on_real + on_fake)", "(on_real - on_fake)", "value"),
            ("a for the real", "(real_scores.to(wide) - b)", "(real_scores.to(wide) - a)", "value"),
            ("b for fakes", "(fake_scores.to(wide) - a)", "(fake_scores.to(wide) - b)", "value"),
            ("a code of 1 always", "(wide) - b)", "(wide) - 1)", "value"),
            (
                "a sigmoid at the end of D",
                "real_scores.to(wide)",
                "real_scores.to(wide).sigmoid()",
                "value",
            ),
            ("a real too good is free", "(wide) - b)", "(wide) - b).clamp_max(0)", "value"),
            (
                "a fake too bad is free",
                "_half_square(fake_scores.to(wide) - a)",
                "_half_square((fake_scores.to(wide) - a).relu())",
                "value",
            ),
            (
                "half the sum over the batch",
                "(on_real + on_fake)",
                "(on_real + on_fake).sum()",
                "value",
            ),
            ("one fake for all", "fake_scores.shape != real_scores.shape", "0", "errors"),
            (
                "the fake side without a gradient",
                "fake_scores.to(wide)",
                "fake_scores.detach().to(wide)",
                "gradient",
            ),
            ("b at most 1", "(wide) - b)", "(wide) - min(b, 1))", "settings", "setting"),
            ("a learned a is cut off", "(wide) - a)", "(wide) - float(a))", "settings"),
            ("squares in half precision", "real_scores.to(wide)", "real_scores", "extremes"),
            ("float32 from half", "on_fake).to(real_scores.dtype)", "on_fake)", "float16", "dtype"),
        ],
        "least_squares_generator_loss": [
            *SHARED,
            ("c is 1, whatever is asked", "(wide) - c)", "(wide) - 1)", "value"),
            ("towards the code of fakes", "(wide) - c)", "(wide) - (1 - c))", "value"),
            ("minus the discriminator's part", "(wide) - c)", "(wide))", "value"),
            (
                "a sigmoid at the end of D",
                "fake_scores.to(wide)",
                "fake_scores.to(wide).sigmoid()",
                "value",
            ),
            ("half the sum over the batch", "(wide) - c)", "(wide) - c).sum()", "value"),
            (
                "a score too good is free",
                "_half_square(fake_scores.to(wide) - c)",
                "_half_square((c - fake_scores.to(wide)).relu())",
                "value",
            ),
            (
                "fakes want 0 by default",
                "c: float | Tensor = 1.0",
                "c: float | Tensor = 0.0",
                "value",
            ),
            ("c at most 1", "(wide) - c)", "(wide) - min(c, 1))", "settings", "setting"),
            ("a learned c is cut off", "(wide) - c)", "(wide) - float(c))", "settings"),
            (
                "squares in half precision",
                "torch.promote_types(fake_scores.dtype, torch.float32)",
                "fake_scores.dtype",
                "extremes",
            ),
            ("integers are cut", "not fake_scores.is_floating_point()", "0", "errors"),
            ("float32 from half", "c).to(fake_scores.dtype)", "c)", "float16", "dtype"),
        ],
    },
)
