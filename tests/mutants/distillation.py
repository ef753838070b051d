from tests.mutants import edits

SUM = "alpha * soft + (1 - alpha) * hard"
SOFT = "others_t.log1p() - surprise"
SQUARE = "t**2 * (others"
TEACHER = "teacher_logits.shape != student_logits.shape"

MUTANTS = edits(
    "lossbook.distribution.distillation",
    {
        "distillation_loss": [
            ("no T^2", SQUARE, "(others", "value"),
            ("T for T^2", SQUARE, "t * (others", "value"),
            (
                "T^2 on the labels' term, too",
                "(1 - alpha) * hard)",
                "(1 - alpha) * temperature**2 * hard)",
                "value",
            ),
            (
                "T at most 20",
                "ctx.t * to_soft",
                "min(ctx.t, 20) * to_soft",
                "test_at_high_temperature_it_matches_logits",
            ),
            ("T at least 1", SQUARE, "max(t, 1) ** 2 * (others", "settings", "setting"),
            ("alpha weighs the labels", SUM, "(1 - alpha) * soft + alpha * hard", "value"),
            ("the two terms unweighted", SUM, "soft + hard", "value"),
            ("labels of weight 1", SUM, "alpha * soft + hard", "value"),
            (
                "the labels see softened logits",
                "lead.gather(1, truth)\n",
                "lead.gather(1, truth) / t\n",
                "value",
            ),
            (
                "only the teacher is softened",
                "lead.div_(t)",
                "lead",
                "value",
            ),
            (
                "only the student is softened",
                "(teacher_logits.detach().to(wide) / temperature)",
                "teacher_logits.detach().to(wide)",
                "value",
            ),
            (
                "logits times T",
                "lead.div_(t)",
                "lead.mul_(t)",
                "value",
            ),
            (
                "KL in place of cross entropy",
                SOFT,
                f"{SOFT} - torch.special.entr(q).sum(1, keepdim=True)",
                "value",
            ),
            (
                "the other KL",
                SOFT,
                "(p_t / (others_t + 1) * -q.log()).sum(1, keepdim=True)",
                "value",
            ),
            ("the mean over classes", SOFT, f"({SOFT}) / x.shape[1]", "value"),
            (
                "no teacher for two classes",
                SUM,
                f"({SUM}) if q.shape[1] != 2 else hard",
                "shapes",
                "two classes",
            ),
            (
                "a squared difference, the limit",
                SOFT,
                "(x / t - q.log()).square().mean(1, keepdim=True)",
                "value",
            ),
            ("a slope without T", "ctx.t * to_soft", "to_soft", "gradient"),
            ("no slope of the truth", ".scatter_(1, truth, of_truth)", "", "gradient"),
            ("the best counts for nothing", "shares.scatter_(1, best, 1)", "shares", "gradient"),
            ("averaged over the batch", f"({SUM})", f"({SUM}).mean()", "value"),
            (
                "0 times inf is nan",
                ".nan_to_num_(0, math.inf, -math.inf)",
                "",
                "value",
            ),
            (
                "what the student rules out is free",
                "(0, math.inf, -math.inf)",
                "(0, math.inf, 0)",
                "infinite",
            ),
            (
                "infinity of weight 0",
                "soft.masked_fill(soft.isposinf() & (alpha == 0), 0)",
                "soft",
                "test_a_term_of_weight_0_is_not_there",
            ),
            (
                "infinite labels of weight 0",
                "hard.masked_fill(hard.isposinf() & (alpha == 1), 0)",
                "hard",
                "test_a_term_of_weight_0_is_not_there",
            ),
            (
                "a softmax that underflows",
                "others.log1p() - lead.gather(1, truth)",
                "-x.softmax(1).gather(1, truth).log()",
                "value",
            ),
            (
                "1 + a small sum has no digits",
                "hard = others.log1p()",
                "hard = (1 + others).log()",
                "next to the optimum",
            ),
            (
                "the teacher learns, too",
                "teacher_logits.detach()",
                "teacher_logits",
                "test_a_learned_temperature_leaves_the_teacher_alone",
            ),
            (
                "no slope of the soft term, in time",
                "_surprises(x / t)",
                "_surprises(x.detach() / t)",
                "second gradient",
            ),
            ("a learned T stays", "t**2 * (q", "float(t) ** 2 * (q", "settings"),
            (
                "a learned alpha weighs one term",
                "(1 - alpha) * hard",
                "(1 - float(alpha)) * hard",
                "test_a_weight_of_0_as_a_tensor",
            ),
            (
                "softened in half precision",
                "torch.promote_types(student_logits.dtype, torch.float32)",
                "student_logits.dtype",
                "test_more_classes_than_half_precision_counts",
            ),
            ("float32 from half precision", ").to(student_logits.dtype)", ")", "float16", "dtype"),
            (
                "one teacher's row for the batch",
                TEACHER,
                f"{TEACHER} and len(teacher_logits) != 1",
                "errors",
            ),
            (
                "one row of logits",
                "student_logits.dim() != 2",
                "student_logits.dim() > 2",
                "errors",
            ),
            (
                "labels of shape (N, 1)",
                "labels.shape != student_logits.shape[:1]",
                "labels.numel() != len(student_logits)",
                "errors",
            ),
            ("labels that mask", "labels.dtype == torch.uint8", "0", "dtypes"),
            (
                "integers as teacher",
                "not x.is_floating_point()",
                "name[0] == 's' and not x.is_floating_point()",
                "errors",
            ),
            ("alpha above 1", "0 <= alpha <= 1", "0 <= alpha", "errors"),
            ("a negative temperature", "not temperature > 0", "not temperature", "errors"),
            ("nan as temperature passes", "not temperature > 0", "temperature <= 0", "errors"),
            (
                "a tensor of two temperatures",
                "if temperature.dim()",
                "if temperature.dim() > 1",
                "errors",
            ),
            ("a tensor of two alphas", "if alpha.dim()", "if alpha.dim() > 1", "errors"),
        ],
    },
)
