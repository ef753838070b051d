from tests.mutants import edits

SUM = "(errors * errors).sum(1) / 2"
OWN = "centers.detach().index_select(0, labels).to(wide)"
STEP = "alpha * totals / (1 + counts)[:, None]"
PULLS = "embeddings.detach().to(wide) - old.index_select(0, labels)"
CHECKS = [
    ("centers of length 1 broadcast", "centers.shape[1] != embeddings.shape[1]", "0", "errors"),
    (
        "labels of shape (N, 1)",
        "labels.shape != embeddings.shape[:1]",
        "labels.numel() != len(embeddings)",
        "errors",
    ),
    ("integer centers", "not centers.is_floating_point()", "0", "errors"),
    ("labels that mask", "labels.dtype == torch.uint8", "0", "dtypes"),
]

MUTANTS = edits(
    "lossbook.embedding.center",
    {
        "center_loss": [
            ("no 1/2", SUM, "(errors * errors).sum(1)", "value"),
            ("the distance unsquared", SUM, "torch.linalg.vector_norm(errors, dim=1)", "value"),
            ("the mean over the coordinates", SUM, "(errors * errors).mean(1) / 2", "value"),
            ("the whole batch", SUM, "(errors * errors).sum() / 2", "value"),
            ("absolute errors", SUM, "errors.abs().sum(1)", "value"),
            ("centers get a gradient, too", OWN, OWN.replace(".detach()", ""), "gradient"),
            (
                "the embeddings detached",
                "embeddings.to(wide) -",
                "embeddings.detach().to(wide) -",
                "gradient",
            ),
            (
                "divided by the class's count",
                SUM,
                f"{SUM} / (1 + torch.bincount(labels)[labels])",
                "value",
            ),
            (
                "the nearest center, whatever the label",
                "(0, labels).to(wide)\n    return",
                "(0, torch.cdist(embeddings, centers.detach()).argmin(1)).to(wide)\n    return",
                "value",
            ),
            (
                "the first center of two",
                "(0, labels).to(wide)\n    return",
                "(0, labels * (len(centers) != 2)).to(wide)\n    return",
                "shapes",
                "two classes",
            ),
            (
                "a negative label counts from the end",
                ".index_select(0, labels).to(wide)\n    return",
                "[labels].to(wide)\n    return",
                "test_a_negative_label_is_no_class",
            ),
            (
                "computed in half precision",
                "torch.promote_types(embeddings.dtype, torch.float32)",
                "embeddings.dtype",
                "test_a_finer_center_is_not_rounded",
            ),
            ("float32 from half precision", ").to(embeddings.dtype)", ")", "float16", "dtype"),
            *CHECKS,
        ],
        "update_centers": [
            ("no 1 in the denominator", "(1 + counts)", "counts.clamp_min(1)", "value"),
            ("0 / 0 for a class without embeddings", "(1 + counts)", "counts", "value"),
            ("sums, not divided", STEP, "alpha * totals", "value"),
            ("divided by the batch", STEP, "alpha * totals / len(embeddings)", "value"),
            ("away from the embeddings", f"old + {STEP}", f"old - {STEP}", "value"),
            (
                "alpha taken for the share that is kept",
                STEP,
                f"(1 - {STEP[:5]}){STEP[5:]}",
                "value",
            ),
            (
                "alpha at least a half, or nothing",
                STEP,
                f"(alpha and max(0.5, alpha)){STEP[5:]}",
                "test_a_slow_update",
            ),
            (
                "only the last of a class counts",
                ".index_add(0, labels, pulls)",
                ".index_copy(0, labels, pulls)",
                "value",
            ),
            (
                "the mean of the batch for all",
                "index_add(0, labels, pulls)",
                "add(pulls.sum(0))",
                "value",
            ),
            ("weight decay shrinks the centers", f"old + {STEP}", f"0.999 * old + {STEP}", "value"),
            (
                "the second center of two stays",
                STEP,
                f"{STEP} * (torch.arange(len(old))[:, None] != (len(old) == 2))",
                "shapes",
                "two classes",
            ),
            (
                "the given centers changed",
                f"(old + {STEP})",
                f"centers.copy_(old + {STEP})",
                "inputs unchanged",
            ),
            (
                "a graph that grows",
                PULLS,
                PULLS.replace(".detach()", ""),
                "test_new_centers_have_no_graph",
            ),
            (
                "a graph of old centers",
                "old = centers.detach()",
                "old = centers",
                "test_new_centers_have_no_graph",
            ),
            (
                "rounded to half",
                "torch.promote_types(centers.dtype, torch.float32)",
                "embeddings.dtype",
                "test_centers_keep_their_dtype",
            ),
            (
                "a negative label counts from the end",
                "- old.index_select(0, labels)",
                "- old[labels]",
                "test_a_negative_label_is_no_class",
            ),
            ("float32 from half precision", ").to(centers.dtype)", ")", "float16", "dtype"),
            ("an alpha of 1.5", "0 <= alpha <= 1", "0 <= alpha", "errors"),
            ("nan as alpha passes", "not 0 <= alpha <= 1", "alpha < 0 or alpha > 1", "errors"),
            *CHECKS[:3],
        ],
    },
)
