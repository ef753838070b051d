from tests.mutants import edits

DISTANCE = "(chords / (2 * a * b))"
X, Y = "_distance(predictions.to(wide)", "targets.to(wide), dim)"
FLOOR = "(1 - distances - margin).clamp_min(0)"
HALF = "torch.promote_types({}.dtype, torch.float32)"
EPSILON = "largest.where(largest > 0, torch.inf)", "largest.clamp_min(1e-8)", "value"

MUTANTS = edits(
    "lossbook.embedding.cosine",
    {
        "cosine_distance": [
            ("the proximity: minus the cosine", DISTANCE, "(chords / (2 * a * b) - 1)", "value"),
            ("the cosine itself, to be minimized", DISTANCE, "(1 - chords / (2 * a * b))", "value"),
            ("the whole squared chord", DISTANCE, "(chords / (a * b))", "value"),
            ("opposite as near as a right angle", ".clamp(0, 2)", ".clamp(0, 1)", "value"),
            ("below 0 by rounding", ".clamp(0, 2)", "", "test_no_vector_is_nearer_than_itself"),
            ("only one of the two normalized", "y / _length(y, dim)", "y / 1", "value"),
            (
                "0 at a zero vector",
                ".masked_fill(zero, 1)\n    return",
                ".masked_fill(zero, 0)\n    return",
                "value",
            ),
            ("lengths of at least 1e-8", *EPSILON),
            ("one zero vector counts", "(a == 0) | (", "(a == 0) & (", "value"),
            ("squares overflow", "x / largest, dim=dim", "x, dim=dim", "value"),
            ("1e-8 added to the lengths", DISTANCE, "(chords / (2 * a * b + 1e-8))", "value"),
            ("no slope along the vector", " - (a - b).square()", "", "second gradient"),
            (
                "a cosine near 1 has no digits",
                DISTANCE,
                "(1 - (x * y).sum(dim) / (a * b))",
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
