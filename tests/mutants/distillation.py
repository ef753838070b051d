from tests.mutants import edits

SUM = "alpha * soft + (1 - alpha) * hard"
SOFT = "(q * torch.where(q > 0, gaps + log_sum, 0)).sum(1)"
SQUARE = "temperature**2 * ("
TEACHER = "teacher_logits.shape != student_logits.shape"

MUTANTS = edits(
    "lossbook.distribution.distillation",
    {
        "distillation_loss": [
            ("no T^2", SQUARE, "(", "value"),
            ("T for T^2", SQUARE, "temperature * (", "value"),
            (
                "T^2 on the labels' term, too",
                "(1 - alpha) * hard)",
                "(1 - alpha) * temperature**2 * hard)",
                "value",
            ),
            (
                "T at most 20",
                SQUARE,
                "min(temperature, 20) ** 2 * (",
                "test_at_high_temperature_it_matches_logits",
            ),
            ("T at least 1", SQUARE, "max(temperature, 1) ** 2 * (", "settings", "setting"),
            ("alpha weighs the labels", SUM, "(1 - alpha) * soft + alpha * hard", "value"),
            ("the two terms unweighted", SUM, "soft + hard", "value"),
            ("labels of weight 1", SUM, "alpha * soft + hard", "value"),
            (
                "the labels see softened logits",
                "= _surprises(student)\n",
                "= _surprises(student / temperature)\n",
                "value",
            ),
            (
                "only the teacher is softened",
                "_surprises(student / temperature)",
                "_surprises(student)",
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
                "_surprises(student / temperature)",
                "_surprises(student * temperature)",
                "value",
            ),
            (
                "KL in place of cross entropy",
                SOFT,
                f"({SOFT} - torch.special.entr(q).sum(1))",
                "value",
            ),
            ("the other KL", SOFT, "((-gaps - log_sum).exp() * -q.log()).sum(1)", "value"),
            ("the mean over classes", SOFT, "(q * (gaps + log_sum)).mean(1)", "value"),
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
                "((student - teacher_logits.detach()) / temperature).square().mean(1)",
                "value",
            ),
            ("averaged over the batch", f"({SUM})", f"({SUM}).mean()", "value"),
            (
                "0 times inf is nan",
                "torch.where(q > 0, gaps + log_sum, 0)",
                "(gaps + log_sum)",
                "value",
            ),
            (
                "what the student rules out is free",
                "q > 0, gaps",
                "gaps < torch.inf, gaps",
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
                "gaps, others.log1p()",
                "-x.softmax(1).log(), 0 * others",
                "value",
            ),
            (
                "1 + a small sum has no digits",
                "gaps, others.log1p()",
                "gaps, (1 + others).log()",
                "next to the optimum",
            ),
            ("the teacher learns, too", "teacher_logits.detach()", "teacher_logits", "gradient"),
            (
                "no slope of the soft term",
                "_surprises(student / temperature)",
                "_surprises(student.detach() / temperature)",
                "gradient",
            ),
            ("a learned T stays", SQUARE, "float(temperature) ** 2 * (", "settings"),
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
