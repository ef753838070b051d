from tests.mutants import edits

# What both losses of labels share.
SURPRISE = "above_1.log1p() - lead"
LABELS = [
    (
        "log(p_t + 1e-8)",
        SURPRISE,
        "-(x.softmax(1).gather(1, truth) + 1e-8).log()",
        "value",
    ),
    (
        "the largest of the others",
        ".scatter_(1, truth, 0).sum(1",
        ".scatter_(1, truth, 0).amax(1",
        "value",
    ),
    (
        "softmax before the softmax",
        "_surprise(logits.to(wide), labels)",
        "_surprise(logits.to(wide).softmax(1), labels)",
        "value",
    ),
    (
        "two classes as one sigmoid, of the first",
        "_surprise(logits.to(wide), labels)",
        "_surprise(logits.to(wide), labels if logits.shape[1] != 2 else 0 * labels)",
        "shapes",
        "two classes",
    ),
    ("1 + a small sum", SURPRISE, "(others + lead.exp()).log() - lead", "next to the optimum"),
    ("the largest logit left in", ", x - top", ", +x", "value"),
    ("float64 cut to float32", "wide = torch", "wide = torch.float32 or torch", "value"),
    ("in half precision", "wide = torch", "wide = logits.dtype or torch", "float16"),
    (
        "no slope for the truth",
        ".scatter_(1, truth, -others)",
        "",
        "gradient",
    ),
    (
        "inf - inf for the truth",
        "top = x.amax(1, keepdim=True)",
        "top = x.amin(1, keepdim=True)",
        "infinite",
    ),
    ("labels that wrap at 256", "labels.dtype == torch.uint8", "0", "dtypes"),
    (
        "labels of shape (N, 1)",
        "labels.shape != expected",
        "labels.numel() != expected.numel()",
        "errors",
    ),
    ("logits of one example", "logits.dim() < 2", "logits.dim() < 1", "errors"),
    ("integers are cut", "not logits.is_floating_point()", "0", "errors"),
]
POLY1 = "surprise - epsilon * (-surprise).expm1()"
# The factor of focal loss, and 1 - p_t.
POWER, MISS = "torch.exp(gamma * log_miss)", "log_p.expm1()"
FOCAL = f"{POWER} * -(log_p + epsilon * {MISS})"
ALPHA = "(1 - alpha + (2 * alpha - 1) * targets)"
SERIES = "(polynomial + epsilon) * miss"
P = "logits.to(wide).softmax(1)"

MUTANTS = edits(
    "lossbook.classification.poly",
    {
        "poly1_cross_entropy": [
            *LABELS,
            (
                "the probability, not the miss",
                POLY1,
                "surprise + epsilon * (-surprise).exp()",
                "value",
            ),
            ("epsilon taken away", POLY1, "surprise + epsilon * (-surprise).expm1()", "value"),
            (
                "the series cut after its first term",
                POLY1,
                "(-1 - epsilon) * (-surprise).expm1()",
                "value",
            ),
            ("epsilon for the coefficient itself", "- epsilon *", "- (epsilon - 1) *", "value"),
            (
                "p_t from the averaged cross entropy",
                "(-surprise).expm1()",
                "(-surprise.mean()).expm1()",
                "value",
            ),
            ("p_t of the predicted class", "(-surprise).expm1()", f"({P}.amax(1) - 1)", "value"),
            (
                "p_t from a softmax over the last axis",
                "(-surprise).expm1()",
                "(logits.softmax(-1).gather(1, labels.unsqueeze(1)).squeeze(1) - 1)",
                "value",
            ),
            ("already averaged", f"({POLY1})", f"({POLY1}).mean()", "value"),
            ("epsilon at most 2.2", "- epsilon *", "- min(epsilon, 2.2) *", "relations", "setting"),
            ("a learned epsilon stays", "- epsilon *", "- float(epsilon) *", "settings"),
            ("p_t detached", "(-surprise).expm1()", "(-surprise.detach()).expm1()", "gradient"),
            ("float32 from half precision", ".to(logits.dtype)", "", "float16", "dtype"),
        ],
        "poly1_focal_loss": [
            (
                "alpha on the focal term only",
                f"{ALPHA} * losses",
                f"{POWER} * -({ALPHA} * log_p + epsilon * {MISS})",
                "value",
            ),
            ("a power of the largest logit", ".where(for_truth > -1e3, 0)", "", "extremes"),
            ("alpha on the negatives", ALPHA, "(alpha + (1 - 2 * alpha) * targets)", "value"),
            ("the power gamma in both terms", f"epsilon * {MISS}", "-epsilon", "value"),
            ("1 - p_t without its power", FOCAL, f"{POWER} * -log_p - epsilon * {MISS}", "value"),
            ("epsilon taken away", "(log_p + epsilon", "(log_p - epsilon", "value"),
            (
                "1 - p for negatives, too",
                "log_p - for_truth",
                "logsigmoid(-logits.to(wide))",
                "value",
            ),
            (
                "p_t from the averaged cross entropy",
                "log_p - for_truth",
                "(-log_p.mean().exp()).log1p()",
                "value",
            ),
            ("`gamma or 2.0` makes 0 the default", "exp(gamma *", "exp((gamma or 2.0) *", "value"),
            ("alpha of 0.75, as for positives", "= 0.25", "= 0.75", "value"),
            (
                "divided by the positives inside",
                "(losses + wrong)",
                "(losses / targets.sum().clamp_min(1))",
                "value",
            ),
            ("epsilon at most 3", "+ epsilon *", "+ min(epsilon, 3.0) *", "settings", "setting"),
            ("gamma at most 4", "exp(gamma *", "exp(min(gamma, 4.0) *", "settings", "setting"),
            ("a learned gamma stays", "exp(gamma *", "exp(float(gamma) *", "settings"),
            (
                "`if alpha` turns 0 off",
                "if alpha is not None:",
                "if alpha:",
                "test_alpha_zero_counts",
            ),
            (
                "nan slope where the sigmoid is 0",
                POWER,
                "torch.sigmoid(-for_truth) ** gamma",
                "extremes",
            ),
            (
                "the modulating factor detached",
                "exp(gamma * log_miss)",
                "exp(gamma * log_miss.detach())",
                "gradient",
            ),
            (
                "only the factor learns",
                "-(log_p + epsilon",
                "-(log_p.detach() + epsilon",
                "gradient",
            ),
            ("a truth ruled out costs 3e38", "(losses + wrong)", "losses", "infinite"),
            (
                "inf times 0",
                "for_truth = for_truth.clamp(-most, most)",
                "pass",
                "test_what_is_ruled_out_costs_inf_at_any_weight",
            ),
            ("float64 cut to float32", "wide = torch", "wide = torch.float32 or torch", "value"),
            (
                "float32 from half precision",
                "(losses + wrong).to(logits.dtype)",
                "(losses + wrong)",
                "float16",
                "dtype",
            ),
            ("alpha of 1.5 accepted", "not 0 <= alpha <= 1", "not 0 <= alpha", "errors"),
            ("nan as alpha accepted", "not 0 <= alpha <= 1", "(alpha < 0 or alpha > 1)", "errors"),
            ("nan as gamma accepted", "not gamma >= 0", "gamma < 0", "errors"),
            ("(N, 1) against (N,) broadcasts", "logits.shape != targets.shape", "0", "errors"),
        ],
        "poly_loss": [
            *LABELS,
            ("powers from 0 on", SERIES, "polynomial * miss + epsilon", "value"),
            ("highest power first", "reversed(epsilons)", "epsilons", "value"),
            ("every epsilon on the first power", SERIES, "polynomial + epsilon * miss", "value"),
            ("the first epsilon only", "reversed(epsilons)", "epsilons[:1]", "value"),
            ("the last epsilon left out", "reversed(epsilons)", "reversed(epsilons[:-1])", "value"),
            (
                "the series cut after the last epsilon",
                "(surprise + polynomial)",
                "(polynomial + sum(miss**j / j for j in range(1, len(epsilons) + 1)))",
                "value",
            ),
            (
                "epsilons divided by their power",
                "for epsilon in reversed(epsilons):",
                "for epsilon in [e / j for j, e in enumerate(epsilons, 1)][::-1]:",
                "value",
            ),
            ("powers of p_t", "-(-surprise).expm1()", "(-surprise).exp()", "value"),
            (
                "the miss of the predicted class",
                "-(-surprise).expm1()",
                f"1 - {P}.amax(1)",
                "value",
            ),
            (
                "already averaged",
                "(surprise + polynomial)",
                "(surprise + polynomial).mean()",
                "value",
            ),
            ("no epsilons refused", "miss = -", "epsilons[0]\n    miss = -", "value"),
            ("p_t detached", "-(-surprise).expm1()", "-(-surprise.detach()).expm1()", "gradient"),
            (
                "learned epsilons stay",
                "(polynomial + epsilon)",
                "(polynomial + float(epsilon))",
                "test_epsilons_get_a_gradient",
            ),
            ("float32 from half precision", ".to(logits.dtype)", "", "float16", "dtype"),
        ],
    },
)
