from tests.mutants import edits

X = "x, epsilon = logits.to(wide)"
MIX = "(1 - epsilon) * losses + epsilon * uniform"
RULED = ".masked_fill((targets == 0) & log_p.isneginf(), 0)"

MUTANTS = edits(
    "lossbook.classification.cross_entropy",
    {
        "cross_entropy": [
            ("softmax before the softmax", X, f"{X}.softmax(1)", "value"),
            ("clamped logits", X, f"{X}.clamp(-100, 100)", "value"),
            (
                "exp without subtracting the maximum",
                "x.detach().amax(1, keepdim=True)",
                "0 * x[:, :1]",
                "extremes",
            ),
            (
                "the maximum of the batch",
                "x.detach().amax(1, keepdim=True)",
                "x.detach().amax()",
                "value",
            ),
            (
                "log(p + 1e-8)",
                "    return losses",
                "    losses = -((-losses).exp() + 1e-8).log()\n    return losses",
                "value",
            ),
            (
                "a small loss has no digits",
                "(others + lead.expm1()).log1p() - lead",
                "(others + lead.exp()).log() - lead",
                "test_float32_keeps_the_digits_of_a_small_loss",
            ),
            (
                "p stops at 1e-7",
                "    return losses",
                "    losses = losses.clamp_max(16)\n    return losses",
                "value",
            ),
            (
                "classes on the last axis",
                "log_p = x.log_softmax(1)",
                "log_p = x.log_softmax(-1)",
                "value",
            ),
            (
                "labels read along the last axis",
                "truth = labels.unsqueeze(1)",
                "truth = labels.flip(-1).unsqueeze(1)",
                "value",
            ),
            ("averaged over the batch", "return losses.to", "return losses.mean().to", "value"),
            (
                "smoothing over the wrong classes only",
                "labels.to(wide) + epsilon / x.shape[1]",
                "labels.to(wide) + epsilon * (1 - labels.to(wide)) / (x.shape[1] - 1)",
                "value",
            ),
            (
                "smoothing in the wrong half",
                MIX,
                "epsilon * losses + (1 - epsilon) * uniform",
                "value",
            ),
            ("smoothed targets beyond 1", MIX, "losses + epsilon * uniform", "value"),
            (
                "smoothing forgotten for probabilities",
                "(1 - epsilon) * labels.to(wide) + epsilon / x.shape[1]",
                "labels.to(wide) + 0 * epsilon",
                "value",
            ),
            (
                "smoothing at most a tenth",
                MIX,
                "(1 - min(epsilon, 0.1)) * losses + min(epsilon, 0.1) * uniform",
                "settings",
                "setting",
            ),
            (
                "no smoothing of two classes",
                MIX,
                f"({MIX}) if x.shape[1] != 2 else losses",
                "shapes",
                "two classes",
            ),
            (
                "a learned smoothing has half its slope",
                "epsilon = epsilon.to(wide)",
                "epsilon = (epsilon + epsilon.detach()).to(wide) / 2",
                "settings",
            ),
            (
                "the sum of surprises for smoothing",
                "x.log_softmax(1).mean(1)",
                "x.log_softmax(1).sum(1)",
                "value",
            ),
            ("soft targets hardened", "* labels.to(wide)", "* labels.round().to(wide)", "value"),
            ("0 log 0 is nan", RULED, "", "value"),
            (
                "whatever is ruled out is free",
                RULED,
                ".masked_fill(log_p.isneginf(), 0)",
                "test_ruled_out_class_with_target_mass_costs_infinity",
            ),
            (
                "0 times infinity at a learned 0",
                "uniform.masked_fill(uniform.isposinf() & (epsilon == 0), 0)",
                "uniform",
                "test_smoothing_of_zero_as_a_tensor",
            ),
            ("the truth among the others", ".scatter(1, truth, -math.inf)", "", "value"),
            (
                "no slope for soft targets",
                "* labels.to(wide)",
                "* labels.detach().to(wide)",
                "gradient",
            ),
            ("the lead detached", "- lead", "- lead.detach()", "gradient"),
            (
                "as many classes as this batch has seen",
                "truth = labels.unsqueeze(1)",
                "x, truth = x[:, : int(labels.max()) + 1], labels.unsqueeze(1)",
                "value",
            ),
            (
                "a look at the labels",
                "truth = labels.unsqueeze(1)",
                "truth = labels.unsqueeze(1)\n    labels.sum().item()",
                "vmap",
            ),
            (
                "computed in half precision",
                "torch.promote_types(logits.dtype, torch.float32)",
                "logits.dtype",
                "test_more_classes_than_half_precision_counts",
            ),
            (
                "float32 from half precision",
                "losses.to(logits.dtype)",
                "losses",
                "float16",
                "dtype",
            ),
            (
                "labels of shape (N, 1)",
                "labels.shape != expected",
                "labels.numel() != expected.numel()",
                "errors",
            ),
            ("integers are cut", "not logits.is_floating_point()", "0", "errors"),
            ("labels that mask", "labels.dtype == torch.uint8", "0", "dtypes"),
            ("smoothing of 1", "label_smoothing < 1", "label_smoothing <= 1", "errors"),
            (
                "nan as smoothing passes",
                "not 0 <= label_smoothing < 1",
                "label_smoothing < 0 or label_smoothing >= 1",
                "errors",
            ),
            (
                "a tensor of two smoothings",
                "if label_smoothing.dim()",
                "if label_smoothing.dim() > 1",
                "errors",
            ),
        ],
    },
)
