from tests.mutants import edits

# In the scores, which both forms share.
SCORES = [
    (
        "the utterance left in its centroid",
        "others = 1 - torch.eye(shape[1]",
        "others = 1 - 0 * torch.eye(shape[1]",
        "value",
    ),
    ("left out of nothing but itself", "others = 1 - torch.eye(", "others = torch.eye(", "value"),
    (
        "negative cosines flattened to 1e-6",
        "(units * _unit(others @ x)).sum(2)",
        "(units * _unit(others @ x)).sum(2).clamp_min(1e-6)",
        "value",
    ),
    ("normalized before the mean", "_unit(others @ x)", "_unit(others @ units)", "value"),
    ("rivals normalized before the mean", "_unit(x.sum(1))", "_unit(units.sum(1))", "value"),
    (
        "the whole less one: rounding",
        "_unit(others @ x)",
        "_unit(x.sum(1, keepdim=True) - x)",
        "value",
    ),
    ("own centroids detached", "_unit(others @ x)", "_unit(others @ x.detach())", "gradient"),
    ("rival centroids detached", "_unit(x.sum(1))", "_unit(x.sum(1).detach())", "gradient"),
    ("dot products", "units = _unit(x)", "units = x", "value"),
    ("squares overflow", "x = x / largest.where(largest > 0, torch.inf)", "pass", "value"),
    (
        "a slope at a zero vector",
        "largest.where(largest > 0, torch.inf)",
        "largest.where(largest > 0, 1)",
        "test_a_zero_utterance_counts_in_its_centroid",
    ),
    (
        "sums that overflow",
        "embeddings.to(wide) / shape[1]",
        "embeddings.to(wide)",
        "test_the_largest_embeddings_have_directions",
    ),
    ("the scale squared", "scale * cosines", "scale**2 * cosines", "value"),
    (
        "the offset inside the scale",
        "scale * cosines + offset",
        "scale * (cosines + offset)",
        "value",
    ),
    ("a scale that stays positive", "scale * rivals", "max(scale, 0 * scale) * rivals", "value"),
    (
        "autocast rounds the cosines",
        "enabled=False",
        "enabled=torch.is_autocast_enabled('cpu')",
        "test_autocast_rounds_no_cosine",
    ),
    ("one speaker", "shape[0] < 2 or ", "", "errors"),
    ("one utterance a speaker: 0 / 0", " or shape[1] < 2", "", "errors"),
    ("a scale a speaker", "given.dim()", "given.dim() > 1", "errors"),
    ("float32 from half", ".to(embeddings.dtype)", "", "float16", "dtype"),
    (
        "computed in half precision",
        "torch.promote_types(embeddings.dtype, torch.float32)",
        "embeddings.dtype",
        "float16",
    ),
]
MUTANTS = edits(
    "lossbook.embedding.ge2e",
    {
        "ge2e_softmax_loss": [
            *SCORES,
            ("added up", "logsigmoid(leads)", "logsigmoid(leads).sum()", "value"),
            ("the paper's misprinted sign", "return -torch", "return torch", "value"),
            (
                "the own score a rival",
                "leads = own - rivals.logsumexp(2)",
                "leads = own - torch.cat([rivals, own[..., None]], 2).logsumexp(2)",
                "value",
            ),
            ("the nearest rival alone", "rivals.logsumexp(2)", "rivals.amax(2)", "value"),
            (
                "the digits of 1 + a small sum lost",
                "-torch.nn.functional.logsigmoid(leads)",
                "(1 + (-leads).exp()).log()",
                "test_a_certain_answer_keeps_its_digits",
            ),
            ("1e-6 in the logarithm", "logsigmoid(leads)", "logsigmoid(leads - 1e-6)", "value"),
        ],
        "ge2e_contrast_loss": [
            *SCORES,
            ("added up", "rivals.amax(2).sigmoid())", "rivals.amax(2).sigmoid()).sum()", "value"),
            (
                "the mean over the rivals",
                "rivals.amax(2).sigmoid()",
                "rivals.sigmoid().sum(2) / (len(rivals) - 1)",
                "value",
            ),
            (
                "the utterance's speaker a rival",
                "rivals.amax(2)",
                "rivals.amax(2).maximum(own)",
                "value",
            ),
            ("scores without the sigmoid", "rivals.amax(2).sigmoid()", "rivals.amax(2)", "value"),
            (
                "a rival masked by a score of 0",
                "masked_fill(own, -torch.inf)",
                "masked_fill(own, 0)",
                "value",
            ),
            ("a sigmoid of the own score", "(-own).sigmoid()", "own.sigmoid()", "value"),
            (
                "the sigmoid of the difference",
                "(-own).sigmoid() + rivals.amax(2).sigmoid()",
                "(rivals.amax(2) - own).sigmoid()",
                "value",
            ),
            (
                "1 less a sigmoid of nearly 1",
                "(-own).sigmoid()",
                "1 - own.sigmoid()",
                "next to the optimum",
            ),
        ],
    },
)
