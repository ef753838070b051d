from tests.mutants import edits

SHAPES = "distance_maps.shape != probabilities.shape"
NEAREST = "(step * (places - nearest).to(squares.dtype)).square() + squares.gather(-1, nearest)"
MEAN = ".mean(2)"
PRODUCT = "probabilities.to(wide) * distance_maps.to(wide)"
INSIDE = "torch.where(masks, 1 - distances, distances)"

MUTANTS = edits(
    "lossbook.segmentation.boundary",
    {
        "boundary_loss": [
            ("the sum, not the mean", MEAN, ".sum(2)", "value"),
            ("positive when right", PRODUCT, f"-{PRODUCT}", "value"),
            ("distances without their sign", PRODUCT, f"{PRODUCT}.abs()", "value"),
            ("floored at 0", MEAN, ".mean(2).clamp_min(0)", "value"),
            ("only the outside counts", PRODUCT, f"{PRODUCT}.clamp_min(0)", "value"),
            ("already averaged over the classes", MEAN, ".mean(2).mean(1)", "value"),
            ("class 0 left out as background", MEAN, ".mean(2)[:, 1:]", "value"),
            (
                "class 0 of two left out",
                MEAN,
                ".mean(2)[:, int(losses.shape[1] == 2) :]",
                "shapes",
                "two classes",
            ),
            (
                "a mean over what is predicted",
                MEAN,
                ".sum(2) / probabilities.unsqueeze(-1).flatten(2).sum(2)",
                "value",
            ),
            ("masks cut at 1/2", PRODUCT, f"{PRODUCT} * (probabilities > 0.5)", "value"),
            (
                "distances over the longest",
                PRODUCT,
                f"{PRODUCT} / distance_maps.abs().max()",
                "value",
            ),
            (
                "the first plane of a volume",
                "flatten(2)",
                "flatten(2, 3).flatten(3)[..., 0]",
                "value",
            ),
            (
                "no slope for the probabilities",
                PRODUCT,
                PRODUCT.replace(".to", ".detach().to", 1),
                "gradient",
            ),
            (
                "no slope for the maps",
                PRODUCT,
                PRODUCT.replace("maps", "maps.detach()"),
                "gradient",
            ),
            (
                "one map for all classes",
                SHAPES,
                f"{SHAPES} and distance_maps.shape[1] != 1",
                "errors",
            ),
            ("one map for all images", SHAPES, f"{SHAPES} and len(distance_maps) != 1", "errors"),
            ("integers are cut", "not probabilities.is_floating_point()", "0", "errors"),
            (
                "a sum in half",
                "losses.unsqueeze(-1).flatten(2).mean(2)",
                "losses.to(probabilities.dtype).flatten(2).sum(2).div(losses[0, 0].numel())",
                "test_half_precision_at_1024_by_1024",
            ),
            (
                "float32 from half precision",
                ".mean(2).to(probabilities.dtype)",
                MEAN,
                "float16",
                "dtype",
            ),
        ],
        "signed_distance_map": [
            ("the rim at -1", INSIDE, "torch.where(masks, -distances, distances)", "value"),
            ("negative outside", INSIDE, f"-{INSIDE}", "value"),
            ("the inside for the outside", INSIDE, INSIDE.replace("masks", "~masks"), "value"),
            ("0 inside", INSIDE, f"{INSIDE}.clamp_min(0)", "value"),
            ("squares without the root", "squares.sqrt()", "squares", "value"),
            (
                "blocks walked, not crossed",
                NEAREST,
                "(step * (places - nearest).abs() + squares.gather(-1, nearest).sqrt()).square()",
                "value",
            ),
            (
                "along its row or its column only",
                "torch.minimum(along, across)",
                "torch.minimum(along, squares.movedim(axis, -1))",
                "value",
            ),
            (
                "every i against every j",
                NEAREST,
                "((step * (places[:, None] - places)).square() + squares.unsqueeze(-2)).amin(-1)",
                "test_work_grows_as_n_log_n_along_a_line",
            ),
            (
                "the pixels of its own row forgotten",
                "torch.minimum(along, across)",
                "across",
                "value",
            ),
            (
                "a mask without the other kind is far",
                ".where(distances < torch.inf, 0)",
                ".clamp(-1e3, 1e3)",
                "value",
            ),
            (
                "a mask ends at the image's rim",
                "pad(last, (1, 0), value=-torch.inf)",
                "pad(last, (1, 0), value=-1)",
                "value",
            ),
            ("rounded to whole pixels", "squares.sqrt()", "squares.sqrt().round()", "value"),
            (
                "scaled to at most 1",
                "(unit * distances)",
                "(unit * distances / distances.abs().max().clamp_min(1))",
                "value",
            ),
            (
                "only the first class",
                "(unit * distances)",
                "(unit * distances[:, :1].expand(masks.shape))",
                "value",
            ),
            (
                "the shift of spacing left out",
                "(unit * distances)",
                "torch.where(masks, 1 - unit, 0) + (unit * distances)",
                "relations",
            ),
            (
                "spacing in the reverse order",
                "zip(axes[:-1], spacing, strict=False)",
                "zip(axes[:-1], spacing[::-1], strict=False)",
                "relations",
            ),
            (
                "spacing of the last axis ignored",
                "spacing[-1] / unit * _gaps",
                "_gaps",
                "relations",
            ),
            (
                "a stride of the turned image",
                "(unit * distances).contiguous()",
                "(unit * distances).mT.contiguous().mT",
                "test_far_pixels_of_a_large_image",
            ),
            ("float64 from SciPy", ".contiguous()", ".double()", "float32", "dtype"),
            ("numbers taken for masks", "masks.dtype != torch.bool", "0", "errors"),
            (
                "masks without a class taken for images",
                "masks.dim() not in (4, 5)",
                "masks.dim() < 3",
                "errors",
            ),
            (
                "a spacing too long",
                "len(spacing) != len(axes)",
                "len(spacing) < len(axes)",
                "errors",
            ),
            ("a spacing of 0", "0 < length", "0 <= length", "errors"),
            (
                "no look for an image without pixels",
                "0 in masks.shape[2:]",
                "0",
                "test_masks_without_pixels_have_an_empty_map",
            ),
            ("a look for empty masks", "0 in masks.shape[2:]", "not masks.any()", "compile"),
        ],
    },
)
