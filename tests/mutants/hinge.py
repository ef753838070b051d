from tests.mutants import edits

VIOLATION = "1 - targets.to(wide) * scores.to(wide)"
FLOORED = f"torch.threshold({VIOLATION}, 0, 0)"
# In the checks and dtypes of the losses of two classes, and of many.
BINARY = [
    ("(N, 1) against (N,) broadcasts", "scores.shape != targets.shape", "0", "errors"),
    ("integers are cut", "not scores.is_floating_point()", "0", "dtypes"),
    ("float32 from half", ".to(scores.dtype)", "", "float16", "dtype"),
    ("labels of 0 and 1", "targets.to(wide)", "(2 * targets.to(wide) - 1)", "value"),
    ("negatives taken for 0", "targets.to(wide)", "targets.to(wide).relu()", "value"),
    ("tanh before the loss", "* scores.to(wide)", "* scores.to(wide).tanh()", "value"),
    ("the perceptron's: no margin", "1 - targets", "0 - targets", "value"),
    ("no gradient for the targets", "targets.to(wide)", "targets.to(wide).detach()", "gradient"),
    (
        "the scores overwritten",
        "* scores.to(wide)",
        "* scores.mul_(1).to(wide)",
        "inputs unchanged",
    ),
]
MULTICLASS = [
    (
        "labels of shape (N, 1)",
        "labels.shape != scores.shape[:1]",
        "len(labels) != len(scores)",
        "errors",
    ),
    ("bytes for labels", "labels.dtype == torch.uint8", "0", "dtypes"),
    ("margins of shape (3, 1)", "and margin.dim()", "and margin.dim() > 2", "settings"),
    ("float32 from half", ".to(scores.dtype)\n", "\n", "float16", "dtype"),
    ("`margin or 1.0`", "(margin +", "((margin or 1.0) +", "value"),
    ("the margin always 1", "(margin +", "(1 +", "value"),
    ("a margin of 1 at most", "(margin +", "(min(margin, 1) +", "settings", "setting"),
    ("a learned margin is cut off", "(margin +", "(float(margin) +", "settings"),
    (
        "the margin halved for two classes",
        "(margin +",
        "(margin / (1 + (scores.shape[1] == 2)) +",
        "shapes",
        "two classes",
    ),
]
MUTANTS = edits(
    "lossbook.classification.hinge",
    {
        "hinge_loss": [
            *BINARY,
            (
                "the embedding loss of the same name",
                FLOORED,
                "torch.where(targets > 0, scores.to(wide), (1 - scores.to(wide)).relu())",
                "value",
            ),
            ("no floor", ", 0, 0)", ", -torch.inf, 0)", "value"),
            ("a slope at the kink", FLOORED, f"({VIOLATION}).clamp_min(0)", "gradient"),
            ("smoothed by a softplus", FLOORED, f"({VIOLATION}).exp().log1p()", "value"),
            ("averaged over the last axis", FLOORED, f"{FLOORED}.mean(-1)", "value"),
            ("losses that may not be changed", FLOORED, f"({VIOLATION}).relu()", "modes"),
        ],
        "squared_hinge_loss": [
            *BINARY,
            ("not squared", ".square()", "", "value"),
            ("squared before the floor", ".relu().square()", ".square().relu()", "value"),
            ("halved", ".square()", ".square().div(2)", "value"),
            (
                "right scores squared, then hidden",
                "(1 - targets.to(wide) * scores.to(wide)).relu().square()",
                "((gap := 1 - targets.to(wide) * scores.to(wide)).square() * (gap > 0))",
                "extremes",
            ),
            (
                "quadratic only near the margin",
                ".relu().square()",
                ".relu().clamp_max(2).square()",
                "value",
            ),
            ("already averaged", ".square()", ".square().mean()", "value"),
        ],
        "crammer_singer_loss": [
            *MULTICLASS,
            (
                "the truth among the rivals",
                "best[:, 0].where(classes[:, 0] != labels, best[:, 1])",
                "best[:, 0]",
                "value",
            ),
            (
                "the second best a rival",
                "best[:, 0].where(classes[:, 0] != labels, best[:, 1])",
                "best[:, 1]",
                "value",
            ),
            (
                "the truth known by its score",
                "classes[:, 0] != labels",
                "best[:, 0] != true",
                "gradient",
            ),
            (
                "the truth hidden under a 0",
                "rival = ",
                "rival = scores.scatter(1, labels.unsqueeze(1), 0).amax(1)\n    _ = ",
                "value",
            ),
            (
                "the truth hidden under -1000",
                "rival = ",
                "rival = scores.scatter(1, labels.unsqueeze(1), -1000).amax(1)\n    _ = ",
                "value",
            ),
            (
                "Weston and Watkins' sum",
                "    true = ",
                "    return weston_watkins_loss(scores, labels, margin=margin)\n    true = ",
                "value",
            ),
            ("no floor", ", 0, 0)", ", -torch.inf, 0)", "value"),
            ("the sign of the lead", "(margin + (", "(margin - (", "value"),
            ("the rival detached", "rival.to(wide)", "rival.detach().to(wide)", "gradient"),
            (
                "subtracted in half precision",
                "(rival.to(wide) - true.to(wide))",
                "(rival - true).to(wide)",
                "test_sum_of_scores_and_margin_in_half_precision",
            ),
            ("one class", "scores.shape[1] < 2 or ", "", "errors"),
        ],
        "weston_watkins_loss": [
            *MULTICLASS,
            (
                "divided by the number of classes",
                "violations.sum(1)",
                "violations.mean(1)",
                "value",
            ),
            (
                "divided by the number of rivals",
                "violations.sum(1)",
                "violations.sum(1).div(scores.shape[1] - 1)",
                "value",
            ),
            ("the truth pays its own margin", ".scatter(1, truth, 0)", "", "value"),
            (
                "1 taken away whatever the margin",
                ".scatter(1, truth, 0)",
                ".scatter(1, truth, margin - 1)",
                "settings",
            ),
            ("violations squared", ".relu()", ".relu().square()", "value"),
            ("Crammer and Singer's maximum", "violations.sum(1)", "violations.amax(1)", "value"),
            (
                "the lead over 0, not over the truth",
                "scores.gather(1, truth).to(wide)",
                "0",
                "value",
            ),
            ("no floor", ".relu()", "", "value"),
            (
                "the score of the truth detached",
                "scores.gather(1, truth)",
                "scores.detach().gather(1, truth)",
                "gradient",
            ),
            (
                "added one by one in half precision",
                "violations.sum(1)",
                "sum(violations.to(scores.dtype).unbind(1))",
                "test_many_classes_in_half_precision",
            ),
            (
                "subtracted in half precision",
                "scores.to(wide) - scores.gather(1, truth).to(wide)",
                "(scores - scores.gather(1, truth)).to(wide)",
                "test_sum_of_scores_and_margin_in_half_precision",
            ),
        ],
    },
)
