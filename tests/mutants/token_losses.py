from tests.mutants import edits

DFT = "(weights * surprise.masked_fill(surprise.isposinf(), 0))"
TOKENS = "surprises.where(negatives, 0)"
SURPRISES = "-(-p).log1p().scatter(-1, best, logsigmoid(rest - top))"
ALONE = ".masked_fill(alone, -math.inf)"

MUTANTS = edits(
    "lossbook.language.token_losses",
    {
        "dft_loss": [
            ("a live weight", "(-surprise.detach()).exp()", "(-surprise).exp()", "gradient"),
            ("only the weight learns", DFT, "((-surprise).exp() * surprise.detach())", "gradient"),
            ("cross entropy", "weights * ", "", "value"),
            ("1 - p: its gradient, not its value", DFT, "-(-surprise).expm1()", "value"),
            ("focal's weight, 1 - p", "(weights *", "((1 - weights) *", "value"),
            ("its sign", DFT, f"-{DFT}", "value"),
            ("0 times inf", "surprise.masked_fill(surprise.isposinf(), 0)", "surprise", "value"),
            (
                "the weight exp(-logit)",
                "(-surprise.detach()).exp()",
                "(-x.gather(-1, truth).squeeze(-1)).exp()",
                "value",
            ),
            (
                "the entropy of the whole vocabulary",
                DFT,
                "-(x.softmax(-1) * x.log_softmax(-1)).sum(-1)",
                "value",
            ),
            (
                "a step axis taken for the vocabulary",
                "others = x",
                "x = x.movedim(1, -1).reshape(x.shape)\n    others = x",
                "value",
            ),
            ("the largest of the others", ".exp_().sum(-1)", ".exp_().amax(-1)", "value"),
            ("already averaged", DFT, f"{DFT}.mean()", "value"),
            (
                "two tokens by a sigmoid of the first",
                "labels.unsqueeze(-1)",
                "(labels if logits.shape[-1] != 2 else 0 * labels).unsqueeze(-1)",
                "shapes",
                "two classes",
            ),
            (
                "clipped at 1e-4",
                "- lead\n",
                "- lead\n    surprise = surprise.clamp_min(1e-4)\n",
                "next to the optimum",
            ),
            (
                "the digits of a sure label lost",
                "(others + lead.expm1()).log1p()",
                "(others + lead.exp()).log()",
                "next to the optimum",
            ),
            (
                "float64 cut to float32",
                "logits.to(torch.promote_types(logits.dtype, torch.float32))",
                "logits.float()",
                "value",
            ),
            ("float32 from half precision", "0)).to(logits.dtype)", "0))", "float16", "dtype"),
            ("floating labels cut", "labels.dtype != torch.int64", "0", "errors"),
            (
                "one label for all",
                "labels.shape != logits.shape[:-1]",
                "labels.dim() != logits.dim() - 1",
                "errors",
            ),
            ("integer logits", "not logits.is_floating_point()", "0", "errors"),
        ],
        "unlikelihood_loss": [
            (
                "1 - p clamped at 1e-5",
                SURPRISES,
                "-(1 - x.softmax(-1)).clamp_min(1e-5).log()",
                "value",
            ),
            ("1 - p of nearly 1: inf", SURPRISES, "-(-x.softmax(-1)).log1p()", "value"),
            (
                "the clamp stops the gradient",
                "logsigmoid(rest - top)",
                "logsigmoid((rest - top).clamp_min(-11.5))",
                "test_a_certain_negative_is_still_pushed_down",
            ),
            (
                "the negatives taken together",
                TOKENS + ".sum(-1)",
                "-(-x.softmax(-1).where(negatives, 0).sum(-1)).log1p()",
                "value",
            ),
            (
                "averaged over the negatives",
                TOKENS + ".sum(-1)",
                f"({TOKENS}.sum(-1) / negatives.sum(-1).clamp_min(1))",
                "value",
            ),
            ("the likelihood of the negatives", SURPRISES, "-x.log_softmax(-1)", "value"),
            ("driven up: log p", SURPRISES, "x.log_softmax(-1)", "value"),
            ("its sign", SURPRISES, SURPRISES[1:], "value"),
            (
                "everything but the negatives",
                "where(negatives, 0)",
                "where(~negatives, 0)",
                "value",
            ),
            ("a sigmoid for each token", SURPRISES, "-logsigmoid(-x)", "value"),
            ("one value for each token", TOKENS + ".sum(-1)", TOKENS, "value"),
            ("a nan slope behind a sure token", ".scatter(-1, best, 0)", "", "gradient"),
            (
                "two tokens take one",
                TOKENS,
                f"({TOKENS} if logits.shape[-1] != 2 else surprises)",
                "relations",
                "two classes",
            ),
            (
                "no slope for the rest",
                "logsigmoid(rest - top)",
                "logsigmoid(rest.detach() - top)",
                "gradient",
            ),
            (
                "nan where a token is alone",
                ".masked_fill(alone, 1).log()",
                ".log()",
                "test_the_only_token_left_has_a_finite_slope",
            ),
            ("a token alone among others", ALONE, "", "infinite"),
            ("integer negatives inverted", "negatives.dtype != torch.bool or ", "", "errors"),
            ("one set of negatives for all", " or negatives.shape != logits.shape", "", "errors"),
            (
                "the digits of a small p lost",
                "-(-p).log1p()",
                "-(1 - p).log()",
                "next to the optimum",
            ),
            (
                "float64 cut to float32",
                "logits.to(torch.promote_types(logits.dtype, torch.float32))",
                "logits.float()",
                "value",
            ),
            (
                "float32 from half precision",
                ".sum(-1).to(logits.dtype)",
                ".sum(-1)",
                "float16",
                "dtype",
            ),
            ("integer logits", "not logits.is_floating_point()", "0", "errors"),
        ],
    },
)
