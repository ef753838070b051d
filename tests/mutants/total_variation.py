from tests.mutants import edits

HYPOT = "torch.hypot(right.masked_fill(flat, 1), down).masked_fill(flat, 0)"

MUTANTS = edits(
    "lossbook.image.total_variation",
    {
        "total_variation": [
            (
                "the squares under the name of total variation",
                "right.abs().sum((1, 2, 3)) + down.abs().sum((1, 2, 3))",
                "right.square().sum((1, 2, 3)) + down.square().sum((1, 2, 3))",
                "value",
            ),
            (
                "one root of the whole sum of squares",
                "lengths.sum((1, 2, 3))",
                "lengths.square().sum((1, 2, 3)).sqrt()",
                "value",
            ),
            (
                "the last row and column cropped away",
                "lengths.sum((1, 2, 3))",
                "lengths[..., :-1, :-1].sum((1, 2, 3))",
                "value",
            ),
            (
                "neighbors across the border",
                "images.to(wide).diff(dim=axis)",
                "images.to(wide) - images.to(wide).roll(1, axis)",
                "value",
            ),
            (
                "the border falls to 0",
                "images.to(wide).diff",
                "pad(images.to(wide), (0, 1, 0, 1)).diff",
                "value",
            ),
            ("padded on the other side", "pad(right, (0, 1))", "pad(right, (1, 0))", "value"),
            ("across the channels", "for axis in (3, 2)", "for axis in (3, 1)", "value"),
            ("means instead of sums", "total.to(", "(total / images[0].numel()).to(", "value"),
            ("each channel for itself", "lengths.sum((1, 2, 3))", "lengths.sum((2, 3))", "value"),
            (
                "half of the squares",
                "right.square().sum((1, 2, 3)) +",
                "right.square().sum((1, 2, 3)) / 2 +",
                "value",
            ),
            (
                "signed differences cancel",
                "right.abs().sum((1, 2, 3)) +",
                "right.sum((1, 2, 3)).abs() +",
                "value",
            ),
            (
                "central differences, blind to a checkerboard",
                "images.to(wide).diff(dim=axis)",
                "(images.to(wide).diff(dim=axis) + images.to(wide).roll(-1, "
                "axis).diff(dim=axis)) / 2",
                "value",
            ),
            (
                "the longer of both differences",
                HYPOT,
                "torch.maximum(right.abs(), down.abs())",
                "value",
            ),
            (
                "an epsilon under the root",
                HYPOT,
                "(right.square() + down.square() + 1e-8).sqrt()",
                "value",
            ),
            (
                "squares under the root underflow",
                HYPOT,
                "(right.square() + down.square()).masked_fill(flat, 1).sqrt().masked_fill(flat, 0)",
                "value",
            ),
            ("isotropic by default", '= "anisotropic"', '= "isotropic"', "relations"),
            (
                "flat where nearly",
                "(right == 0) & (down == 0)",
                "torch.hypot(right, down) < 1e-5",
                "next to the optimum",
            ),
            (
                "the slope of the root at 0",
                HYPOT,
                "(right.square() + down.square()).sqrt()",
                "extremes",
            ),
            ("a mask behind the root", "right.masked_fill(flat, 1)", "right", "gradient"),
            (
                "squares in half precision",
                "wide = torch",
                "wide = images.dtype or torch",
                "test_small_squares_in_half_precision_add_up",
            ),
            (
                "float32 out of half precision",
                "total.to(images.dtype)",
                "total",
                "float16",
                "dtype",
            ),
            ("one image taken for a batch", "images.dim() != 4", "images.dim() < 3", "errors"),
            ("integers are cut", "not images.is_floating_point()", "0", "errors"),
            ("an unknown kind is anisotropic", "kind not in", "0 and kind not in", "errors"),
            (
                "a branch on what is flat",
                HYPOT,
                HYPOT + " if flat.any() else torch.hypot(right, down)",
                "compile",
            ),
        ]
    },
)
