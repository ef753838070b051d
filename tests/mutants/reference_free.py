from tests.mutants import edits

GAP = "rejected_log_probs.to(wide) - chosen_log_probs.to(wide)"
LEAD = f"_scaled(beta, {GAP}) + gamma"
LAG = "softplus(lag, threshold=40)"
ORPO = "lam * odds - c"
PAIRS = [
    ("every pair of the batch", "chosen.shape != rejected.shape", "0", "errors"),
    ("integers are cut", "not x.is_floating_point()", "0", "errors"),
    (
        "float64 cut to float32",
        "return torch.promote_types(chosen.dtype, torch.float32)",
        "return torch.float32",
        "value",
    ),
    (
        "in half precision",
        "return torch.promote_types(chosen.dtype, torch.float32)",
        "return chosen.dtype",
        "float16",
    ),
    ("float32 from half precision", ".to(chosen_log_probs.dtype)", "", "float16", "dtype"),
    (
        "the dtype of the rejected",
        ".to(chosen_log_probs.dtype)",
        ".to(rejected_log_probs.dtype)",
        "dtypes",
    ),
]

MUTANTS = edits(
    "lossbook.preference.reference_free",
    {
        "simpo_loss": [
            *PAIRS,
            ("chosen and rejected exchanged", GAP, f"-({GAP})", "value"),
            ("gamma inside of beta", LEAD, f"beta * ({GAP} + gamma)", "value"),
            (
                "gamma taken for the ratio gamma / beta",
                ".to(wide)) + gamma",
                ".to(wide)) + gamma * beta",
                "value",
            ),
            ("gamma added", ".to(wide)) + gamma", ".to(wide)) - gamma", "value"),
            ("no margin", ".to(wide)) + gamma", ".to(wide))", "value"),
            ("TRL's beta", "beta: float | Tensor = 2.0", "beta: float | Tensor = 0.1", "value"),
            ("a hinge", LAG, "lag.clamp_min(0)", "value"),
            (
                "the likelihood of the chosen added",
                LAG,
                f"-chosen_log_probs + {LAG}",
                "value",
            ),
            ("exp overflows", LAG, "lag.exp().log1p()", "value"),
            (
                "1 + a small number",
                LAG,
                "-(-lag).sigmoid().log()",
                "next to the optimum",
            ),
            ("already averaged", LAG, f"{LAG}.mean()", "value"),
            (
                "gamma at most 4",
                ".to(wide)) + gamma",
                ".to(wide)) + min(gamma, 4.0)",
                "settings",
                "setting",
            ),
            (
                "beta at most 9",
                "_scaled(beta, rej",
                "_scaled(min(beta, 9.0), rej",
                "settings",
                "setting",
            ),
            (
                "-0.0 for a sure lead",
                LAG,
                "(-torch.nn.functional.logsigmoid(-lag))",
                "test_a_sure_lead_costs_plain_zero",
            ),
            (
                "the rejected answer detached",
                "_scaled(beta, rejected_log_probs.to",
                "_scaled(beta, rejected_log_probs.detach().to",
                "gradient",
            ),
            ("a beta of 0", "lambda x: x > 0", "lambda x: x >= 0", "errors"),
            ("nan as gamma", "lambda x: x >= 0", "lambda x: not x < 0", "errors"),
        ],
        "orpo_loss": [
            *PAIRS,
            ("no likelihood", ORPO, "lam * odds", "value"),
            ("the odds term subtracted", ORPO, "-lam * odds - c", "value"),
            ("probabilities, not odds", ORPO, "lam * softplus(r - c) - c", "value"),
            (
                "the odds exchanged",
                ORPO,
                "lam * (odds + c - r - miss_c.log() + miss_r.log()) - c",
                "value",
            ),
            ("the likelihood of the rejected", ORPO, "lam * odds - r", "value"),
            ("lam on both terms", ORPO, "lam * (odds - c)", "value"),
            ("no lam", "lam: float | Tensor = 0.1", "lam: float | Tensor = 1.0", "value"),
            (
                "the ratio of odds without its logarithm",
                ORPO,
                "-lam * (-odds).expm1() - c",
                "value",
            ),
            (
                "log1p(-exp) has no digits",
                "-c.expm1(), -r.expm1()",
                "1 - c.exp(), 1 - r.exp()",
                "value",
            ),
            ("taken as ahead where it is behind", "ahead = (c >= r)", "ahead = (c <= r)", "value"),
            (
                "a slope of nan at 1",
                ORPO,
                "lam * softplus(r - c + miss_c.log() - miss_r.log()) - c",
                "test_a_chosen_answer_that_is_certain_has_a_finite_slope",
            ),
            (
                "a sum that cancels",
                ORPO,
                "lam * ((c.exp() * miss_r + r.exp() * miss_c).log() - c - miss_r.log()) - c",
                "next to the optimum",
            ),
            (
                "clipped at a probability of 0.999",
                "chosen_log_probs.to(wide)",
                "chosen_log_probs.to(wide).clamp_max(-1e-3)",
                "value",
            ),
            (
                "0 / 0 where the rejected is certain",
                ".clamp(torch.finfo(wide).min, -torch.finfo(wide).tiny)",
                "",
                "test_a_rejected_answer_that_is_certain_leaves_the_slope_of_the_chosen",
            ),
            (
                "a rejected answer that is certain costs 70",
                "odds.where(rejected_log_probs != 0, math.inf)",
                "odds",
                "value",
            ),
            (
                "inf times a lam of 0",
                "odds.where(~odds.isinf() | (lam > 0), 0)",
                "odds",
                "test_what_is_ruled_out_is_inf_or_costs_nothing",
            ),
            ("lam at most 1.5", ORPO, "min(lam, 1.5) * odds - c", "settings", "setting"),
            (
                "the rejected answer detached",
                "rejected_log_probs.to(wide)",
                "rejected_log_probs.detach().to(wide)",
                "gradient",
            ),
            ("a negative lam accepted", "lambda x: x >= 0", "lambda x: x == x", "errors"),
            ("nan as lam", "lambda x: x >= 0", "lambda x: not x < 0", "errors"),
        ],
    },
)
