from tests.mutants import edits

LOSSES = "torch.where(is_same, squares, (margin - distances).clamp_min(0).square()) / 2"
ROOT = "squares.where(squares != 0, 1).sqrt().where(squares != 0, 0)"
SAME = "is_same.shape != embeddings1.shape[:1]"

MUTANTS = edits(
    "lossbook.embedding.contrastive",
    {
        "contrastive_loss": [
            ("the paper's Y taken for is_same", "where(is_same", "where(~is_same", "value"),
            ("no 1/2", LOSSES, LOSSES[:-4], "value"),
            ("same pairs unsquared", "is_same, squares", "is_same, distances", "value"),
            ("different pairs unsquared", ".clamp_min(0).square()", ".clamp_min(0)", "value"),
            (
                "margin - d^2",
                "(margin - distances).clamp_min(0).square()",
                "(margin - squares).clamp_min(0)",
                "value",
            ),
            (
                "margin^2 - d^2",
                "(margin - distances).clamp_min(0).square()",
                "(margin**2 - squares).clamp_min(0)",
                "value",
            ),
            ("far pairs are pulled back", ".clamp_min(0)", "", "value"),
            ("twice the margin", "(margin - distances)", "(2 * margin - distances)", "value"),
            (
                "margin at most 5",
                "(margin - distances)",
                "(min(margin, 5) - distances)",
                "relations",
            ),
            (
                "margin at least a half",
                "(margin - distances)",
                "(max(margin, 0.5) - distances)",
                "settings",
                "setting",
            ),
            ("an epsilon under the root", ROOT, "(squares + 1e-6).sqrt()", "value"),
            (
                "the mean over the coordinates",
                "(apart * apart).sum(1)",
                "(apart * apart).mean(1)",
                "value",
            ),
            (
                "steps along the axes",
                "(apart * apart).sum(1)",
                "apart.abs().sum(1).square()",
                "value",
            ),
            (
                "normalized inside",
                "embeddings1.to(wide) - embeddings2.to(wide)",
                "torch.nn.functional.normalize(embeddings1) - embeddings2",
                "value",
            ),
            ("a root with a nan slope at 0", ROOT, "squares.sqrt()", "extremes"),
            ("a nan taken for 0", ROOT, ROOT.replace("!=", ">"), "extremes"),
            (
                "torch's epsilon in each coordinate",
                ROOT,
                "(apart + 1e-6).square().sum(1).sqrt()",
                "test_different_but_identical",
            ),
            (
                "one branch of the pair detached",
                "- embeddings2.to",
                "- embeddings2.detach().to",
                "gradient",
            ),
            (
                "the margin detached",
                "(margin - distances)",
                "(float(margin) - distances)",
                "settings",
            ),
            (
                "computed in half precision",
                "torch.promote_types(embeddings1.dtype, torch.float32)",
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
            (
                "numbers of 0 and 1",
                "is_same.dtype != torch.bool",
                "is_same.is_floating_point()",
                "errors",
            ),
            ("a pair for each row", SAME, "is_same.numel() != len(embeddings1)", "errors"),
            (
                "one second embedding for all",
                "embeddings2.shape != embeddings1.shape",
                "embeddings2.shape[-1:] != embeddings1.shape[-1:]",
                "errors",
            ),
            ("integers as second embeddings", "not embeddings2.is_floating_point()", "0", "errors"),
            ("a tensor of two margins", "margin.dim():", "margin.dim() > 1:", "errors"),
        ],
    },
)
