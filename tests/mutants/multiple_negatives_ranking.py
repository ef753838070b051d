from tests.mutants import edits

UNIT = "x / (x * x).sum(1, keepdim=True).clamp_min(1).sqrt()"
LOSSES = "-torch.nn.functional.logsigmoid(own - rivals.logsumexp(1))"

MUTANTS = edits(
    "lossbook.embedding.multiple_negatives_ranking",
    {
        "multiple_negatives_ranking_loss": [
            ("dot products of vectors as they come", UNIT, "x * largest", "invariances"),
            (
                "scale taken for a temperature",
                "(scale * _unit",
                "(1 / (scale + 1e-9) * _unit",
                "value",
            ),
            ("hard negatives ignored", "negatives.to(wide)]", "negatives[:0].to(wide)]", "value"),
            (
                "hard negatives before the positives",
                "[candidates, negatives.to(wide)]",
                "[negatives.to(wide), candidates]",
                "value",
            ),
            (
                "only the hard negatives are negatives",
                "rivals.diagonal()",
                "rivals[:, : len(x)] = torch.finfo(wide).min\n    rivals.diagonal()",
                "value",
            ),
            (
                "anchors are negatives, too",
                "[candidates, negatives",
                "[candidates, anchors, negatives",
                "value",
            ),
            (
                "the answers look for anchors",
                "wide = torch",
                "anchors, positives = positives, anchors\n    wide = torch",
                "value",
            ),
            ("the positive not in the sum", LOSSES, "(rivals.logsumexp(1) - own)", "value"),
            (
                "already averaged",
                LOSSES,
                "-torch.nn.functional.logsigmoid(own - rivals.logsumexp(1)).mean()",
                "value",
            ),
            (
                "scale at most 22",
                "(scale * _unit",
                "(min(scale, 22.0) * _unit",
                "test_a_certain_answer_keeps_its_digits",
                "setting",
            ),
            ("a learned scale stays", "(scale * _unit", "(float(scale) * _unit", "settings"),
            (
                "`scale or 20` makes 0 the default",
                "(scale * _unit",
                "((scale or 20.0) * _unit",
                "relations",
            ),
            (
                "the default is that of InfoNCE",
                "= 20.0",
                "= 1 / 0.07",
                "test_the_default_scale_is_20",
            ),
            (
                "the answers detached",
                "positives.to(wide)",
                "positives.detach().to(wide)",
                "gradient",
            ),
            (
                "the hard negatives detached",
                "negatives.to(wide)",
                "negatives.detach().to(wide)",
                "gradient",
            ),
            ("lengths detached", UNIT, f"{UNIT}.detach()", "gradient"),
            (
                "nan at a zero vector",
                "largest.where(largest > 0, torch.inf)",
                "largest",
                "extremes",
            ),
            (
                "squares overflow",
                "x.detach().abs().amax(1, keepdim=True)",
                "x.new_ones(len(x), 1)",
                "value",
            ),
            (
                "a slope of 1e12 at a zero",
                "x / largest.where(largest > 0, torch.inf)",
                "x / largest.clamp_min(1e-12)",
                "test_a_zero_vector_moves_nowhere",
            ),
            (
                "1 + a small sum",
                LOSSES,
                "((rivals.logsumexp(1) - own).exp() + 1).log()",
                "next to the optimum",
            ),
            (
                "autocast rounds the scores",
                'with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):',
                "if 1:",
                "autocast",
            ),
            (
                "cosines in half precision",
                "torch.promote_types(anchors.dtype, torch.float32)",
                "anchors.dtype",
                "float16",
            ),
            ("float32 out of half precision", ".to(anchors.dtype)", "", "float16", "dtype"),
            ("a negative scale accepted", "not scale >= 0", "scale != scale", "errors"),
            ("nan as scale accepted", "not scale >= 0", "scale < 0", "errors"),
            (
                "negatives of one number broadcast",
                " or negatives.shape[1] != anchors.shape[1]",
                "",
                "errors",
            ),
            (
                "integer negatives",
                '"positives": positives, "negatives": negatives}',
                '"positives": positives}',
                "errors",
            ),
        ]
    },
)
