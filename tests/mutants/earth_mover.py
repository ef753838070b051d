from itertools import accumulate

import torch

from tests.mutants import edits

MUTANTS = edits(
    "lossbook.distribution.earth_mover",
    {
        "earth_mover_distance": [
            ("no cumulative sum: total variation", ".cumsum(dim)", "", "value"),
            ("gaps that cross cancel", "gaps.abs().sum(dim)", "gaps.sum(dim)", "value"),
            ("the difference of the means", ".abs().sum(dim)", ".sum(dim).abs()", "value"),
            ("the absolute value before the sum", ".cumsum(dim)", ".abs().cumsum(dim)", "value"),
            ("the mean over bins", "gaps.abs().sum(dim)", "gaps.abs().mean(dim)", "value"),
            ("Kolmogorov-Smirnov's largest gap", ".abs().sum(dim)", ".abs().amax(dim)", "value"),
            ("the squared form", "gaps.abs()", "gaps.square()", "value"),
            (
                "a softmax over probabilities",
                "predictions.to(wide)",
                "predictions.to(wide).softmax(dim)",
                "value",
            ),
            (
                "normalized again: 0 / 0",
                "predictions.to(wide)",
                "predictions.to(wide) / predictions.sum(dim, keepdim=True)",
                "value",
            ),
            (
                "the last gap left out",
                "gaps.abs().sum(dim)",
                "gaps.abs().sum(dim) - gaps.abs().select(dim, -1)",
                "value",
            ),
            ("from the last bin on", ".cumsum(dim)", ".flip(dim).cumsum(dim)", "value"),
            ("an epsilon under a root", "gaps.abs()", "(gaps**2 + 1e-8).sqrt()", "value"),
            ("a root with no slope at 0", "gaps.abs()", "(gaps**2).sqrt()", "extremes"),
            ("halved: total variation's factor", "gaps.abs()", "gaps.abs().div(2)", "value"),
            (
                "no gradient for the targets",
                "targets.to(wide))",
                "targets.to(wide).detach())",
                "gradient",
            ),
            ("the last axis, whatever dim says", ".cumsum(dim)", ".cumsum(-1)", "value", "dim"),
            ("axis 1, whatever dim says", "gaps = (", "dim = 1\n    gaps = (", "relations"),
            ("dim 0 taken for none", "gaps = (", "dim = dim or 1\n    gaps = (", "shapes"),
            ("one target for all", "predictions.shape != targets.shape", "0", "errors"),
            ("integers are cut", "not predictions.is_floating_point()", "0", "dtypes"),
            (
                "float32 from half",
                ".sum(dim).to(predictions.dtype)",
                ".sum(dim)",
                "float16",
                "dtype",
            ),
            (
                "computed in half precision",
                "torch.promote_types(predictions.dtype, torch.float32)",
                "predictions.dtype",
                "dtypes",
            ),
            (
                "subtracted in place",
                "predictions.to(wide) -",
                "predictions.sub_(targets).to(wide) - 0 *",
                "inputs unchanged",
            ),
        ],
        "squared_emd_loss": [
            (
                "the distance squared, not its gaps",
                "gaps.square().sum(dim)",
                "gaps.abs().sum(dim).square()",
                "value",
            ),
            ("the distance, not squared", "gaps.square()", "gaps.abs()", "value"),
            (
                "the root of the mean of squares",
                "gaps.square().sum(dim)",
                "gaps.square().mean(dim).sqrt()",
                "value",
            ),
            ("the mean over classes", "gaps.square().sum(dim)", "gaps.square().mean(dim)", "value"),
            ("no cumulative sum: the Brier score", ".cumsum(dim)", "", "value"),
            (
                "the square before the cumulative sum",
                ".cumsum(dim)",
                ".square().cumsum(dim)",
                "value",
            ),
            ("half of it", "gaps.square()", "gaps.square().div(2)", "value"),
            (
                "already averaged",
                "gaps.square().sum(dim)",
                "gaps.square().sum(dim).mean()",
                "value",
            ),
            ("the cumulative sum along the batch", ".cumsum(dim)", ".cumsum(0)", "value"),
            (
                "the last gap left out",
                "gaps.square().sum(dim)",
                "gaps.square().sum(dim) - gaps.square().select(dim, -1)",
                "value",
            ),
            ("axis 1, whatever dim says", "gaps = (", "dim = 1\n    gaps = (", "relations", "dim"),
            ("a gap of 1 at most", "gaps.square()", "gaps.clamp(-1, 1).square()", "value"),
            ("half the slope", "gaps.square()", "(gaps * gaps.detach())", "gradient"),
            (
                "no gradient for the targets",
                "targets.to(wide))",
                "targets.to(wide).detach())",
                "gradient",
            ),
            ("one target for all", "predictions.shape != targets.shape", "0", "errors"),
            (
                "float32 from half",
                ".sum(dim).to(predictions.dtype)",
                ".sum(dim)",
                "float16",
                "dtype",
            ),
            (
                "computed in half precision",
                "torch.promote_types(predictions.dtype, torch.float32)",
                "predictions.dtype",
                "dtypes",
            ),
        ],
    },
)


@MUTANTS.of(
    "earth_mover_distance",
    "running sums that stall",
    killed_by="test_sums_of_half_precision_do_not_stall",
)
def _(predictions, targets, *, dim=1):
    sums = accumulate((predictions - targets).unbind(dim))
    return torch.stack([*sums], dim).abs().sum(dim)
