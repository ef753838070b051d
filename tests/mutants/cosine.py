from tests.mutants import edits

CHORD = "(u - v).square_().sum(dim, keepdim=True).div_(2)"
X, Y = "_distance(predictions.to(wide)", "targets.to(wide), dim)"
FLOOR = "(1 - distances - margin).clamp_min(0)"
HALF = "torch.promote_types({}.dtype, torch.float32)"
EPSILON = "largest.where(largest > 0, torch.inf)", "largest.clamp_min(1e-8)", "value"

MUTANTS = edits(
    "lossbook.embedding.cosine",
    {
        "cosine_distance": [
            ("the proximity: minus the cosine", "d.squeeze(dim)", "(d - 1).squeeze(dim)", "value"),
            (
                "the cosine itself, to be minimized",
                "d.squeeze(dim)",
                "(1 - d).squeeze(dim)",
                "value",
            ),
            ("the whole squared chord", ".div_(2)", "", "value"),
            ("opposite as near as a right angle", ".clamp_max_(2)", ".clamp_max_(1)", "value"),
            ("above 2 by rounding", ".clamp_max_(2)", "", "test_no_vector_is_nearer_than_itself"),
            ("only one of the two normalized", "(u - v)", "(u - y)", "value"),
            (
                "0 at a zero vector",
                ".masked_fill_(zero, 1)",
                ".masked_fill_(zero, 0)",
                "value",
            ),
            ("lengths of at least 1e-8", *EPSILON),
            ("one zero vector counts", ".isposinf() | ", ".isposinf() & ", "value"),
            ("squares overflow", "x.abs().amax(", "x.sign().abs().amax(", "value"),
            (
                "1e-8 added to the lengths",
                "unit / length, ",
                "unit / (length + 1e-8 / largest), ",
                "value",
            ),
            ("no slope along the vector", " - (a - b).square()", "", "second gradient"),
            ("the whole squared chord, at times", "(2 * a * b)", "(a * b)", "vmap"),
            (
                "a slope along the vector",
                "torch.addcmul(chord, d, u, value=-1)",
                "(+chord)",
                "gradient",
            ),
            ("a slope along the target", "chord.addcmul_(d, v)", "chord", "gradient"),
            (
                "the slope of unit vectors",
                " / (x_length / gradient)",
                " * gradient",
                "gradient",
            ),
            (
                "in place, for one gradient at a time",
                " / (x_length / gradient)",
                ".div_(x_length / gradient)",
                "modes",
            ),
            (
                "a cosine near 1 has no digits",
                CHORD,
                "(1 - (u * v).sum(dim, keepdim=True)).clamp_min(0)",
                "next to the optimum",
            ),
            ("the targets detached", "targets.to(wide)", "targets.detach().to(wide)", "gradient"),
            ("dim counted from the end", Y, "targets.to(wide), -abs(dim))", "value"),
            ("the last axis", Y, "targets.to(wide), -1)", "value", "dim"),
            (
                "the vectors of the first axis",
                'dim: int = -1) -> Tensor:\n    """Cosine',
                'dim: int = 0) -> Tensor:\n    """Cosine',
                "value",
            ),
            ("shapes broadcast", "predictions.shape != targets.shape", "0", "errors"),
            ("integers are cut", "not predictions.is_floating_point()", "0", "errors"),
            (
                "computed in half precision",
                HALF.format("predictions"),
                "predictions.dtype",
                "test_long_vectors_of_half_precision",
            ),
            ("float32 from half precision", ").to(predictions.dtype)", ")", "float16", "dtype"),
        ],
        "cosine_embedding_loss": [
            (
                "targets taken as 0 and 1",
                "torch.where(targets > 0, distances, ",
                "torch.where(targets != 0, distances, ",
                "value",
            ),
            ("alike and different swapped", "targets > 0", "targets < 0", "value"),
            (
                "the margin on pairs that match",
                "0, distances,",
                "0, (distances - margin).clamp_min(0),",
                "value",
            ),
            ("the margin of a distance", FLOOR, "(margin - distances).clamp_min(0)", "value"),
            ("the margin added", FLOOR, "(1 - distances + margin).clamp_min(0)", "value"),
            ("no negative margin", FLOOR, "(1 - distances - max(margin, 0)).clamp_min(0)", "value"),
            (
                "margin at most a half",
                FLOOR,
                "(1 - distances - min(margin, 0.5)).clamp_min(0)",
                "settings",
                "setting",
            ),
            ("no floor at 0", FLOOR, "1 - distances - margin", "value"),
            ("squared", "losses.to(", "losses.square().to(", "value"),
            ("the mean", "losses.to(", "losses.mean().to(", "value"),
            (
                "a target of 0 costs nothing",
                FLOOR,
                f"{FLOOR} * (targets != 0)",
                "test_a_target_of_0_is_a_pair_that_differs",
            ),
            ("lengths of at least 1e-8", *EPSILON),
            (
                "one branch detached",
                "embeddings2.to(wide)",
                "embeddings2.detach().to(wide)",
                "gradient",
            ),
            (
                "a learned margin stays",
                FLOOR,
                "(1 - distances - float(margin)).clamp_min(0)",
                "settings",
            ),
            (
                "a target for each coordinate",
                "targets.shape != embeddings1.shape[:1]",
                "0",
                "errors",
            ),
            (
                "one second embedding for all",
                "embeddings2.shape != embeddings1.shape",
                "embeddings2.shape[-1:] != embeddings1.shape[-1:]",
                "errors",
            ),
            ("integers as second embeddings", "not embeddings2.is_floating_point()", "0", "errors"),
            ("a tensor of two margins", "margin.dim():", "margin.dim() > 1:", "errors"),
            (
                "computed in half precision",
                HALF.format("embeddings1"),
                "embeddings1.dtype",
                "float16",
            ),
            (
                "float32 from half precision",
                "losses.to(embeddings1.dtype)",
                "losses",
                "float16",
                "dtype",
            ),
        ],
    },
)
