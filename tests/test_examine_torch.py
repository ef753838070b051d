"""examine: the losses of torch, what each takes, and rows and boxes that count for nothing."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.functional import one_hot

from lossbook import Criterion, ctc_loss, examination, examine, multibox_loss
from tests.test_examine import BITS, LABELS, LOGITS, OTHERS, POINTS, SIGNS, at, normal, uniform

LOG_P, OTHER_P = LOGITS.log_softmax(1), normal(16, 3, seed=1).softmax(1)
COLUMN, OTHER = normal(16), normal(16, seed=1)
FRAMES = normal(5, 2, 4).log_softmax(2)
ENDS, LENGTHS = torch.tensor([5, 5]), torch.tensor([2, 2])
WORDS = torch.tensor([[1, 1], [1, 2]])

# Module and function of torch: a right call, and wrong ones with what is said of each.
TORCH = {
    ("CrossEntropyLoss", "cross_entropy"): (
        (LOGITS, LABELS),
        [
            ((LOG_P.exp(), LABELS), "logits hold probabilities: 16 of 16 rows"),
            ((LOGITS, LABELS + 1), "labels are outside 0 to 2 (3 classes): 3"),
        ],
    ),
    ("NLLLoss", "nll_loss"): (
        (LOG_P, LABELS),
        [
            ((LOGITS, LABELS), "log_probs are above 0 .* logits.log_softmax"),
            ((LOGITS - 9, LABELS), "16 of 16 rows of log_probs are not normalized .* log_softmax"),
            ((LOG_P.exp(), LABELS), "log_probs are above 0 .* log_probs.log"),
            ((LOG_P, LABELS + 1), "labels are outside 0 to 2"),
        ],
    ),
    ("BCEWithLogitsLoss", "binary_cross_entropy_with_logits"): (
        (COLUMN, BITS),
        [
            ((COLUMN.sigmoid(), BITS), "all 16 logits lie in [0, 1]"),
            ((COLUMN, SIGNS), "targets are outside [0, 1]: -1, 1"),
        ],
    ),
    ("MultiLabelSoftMarginLoss", "multilabel_soft_margin_loss"): (
        (LOGITS, one_hot(LABELS, 3).float()),
        [((LOGITS, 2.0 * one_hot(LABELS, 3) - 1), "targets are outside [0, 1]: -1, 1")],
    ),
    ("BCELoss", "binary_cross_entropy"): (
        (COLUMN.sigmoid(), BITS),
        [((COLUMN, BITS), "probabilities are outside [0, 1]")],
    ),
    ("MSELoss", "mse_loss"): (
        (COLUMN, OTHER),
        [((COLUMN[:, None], OTHER), "predictions have shape (16, 1) and targets (16,)")],
    ),
    ("L1Loss", "l1_loss"): (
        (COLUMN, OTHER),
        [((COLUMN, OTHER[:, None]), "predictions have shape (16,) and targets (16, 1)")],
    ),
    ("HuberLoss", "huber_loss"): (
        (COLUMN, OTHER),
        [((700 + COLUMN, OTHER), "far beyond delta = 1")],
    ),
    ("SmoothL1Loss", "smooth_l1_loss"): (
        (COLUMN, OTHER),
        [((700 + COLUMN, OTHER), "far beyond beta = 1")],
    ),
    ("GaussianNLLLoss", "gaussian_nll_loss"): (
        (COLUMN, OTHER, uniform(16)),
        [
            ((COLUMN, OTHER, -uniform(16)), "raises ValueError: var has negative"),
            ((at(COLUMN, (3,), math.nan), OTHER, uniform(16)), "1 of 16 values of predictions"),
        ],
    ),
    ("PoissonNLLLoss", "poisson_nll_loss"): (
        (COLUMN, BITS),
        [
            ((COLUMN, BITS - 1), "counts are negative"),
            ((4 + uniform(16), 5 + BITS), "log_rates average"),
        ],
    ),
    ("KLDivLoss", "kl_div"): (
        (LOG_P, OTHER_P),
        [
            ((LOG_P.exp(), OTHER_P), "log_probs are above 0 .* log_probs.log"),
            ((LOGITS, OTHER_P), "log_probs are above 0 .* logits.log_softmax"),
            ((LOG_P, OTHER_P.log()), "48 of 48 targets are outside [0, 1] .* log_target=True"),
            ((LOG_P, OTHER_P[:8]), "log_probs have shape (16, 3) and targets (8, 3)"),
        ],
    ),
    ("SoftMarginLoss", "soft_margin_loss"): (
        (COLUMN, SIGNS),
        [
            ((COLUMN, BITS), "targets are neither -1 nor +1: 0, 1"),
            ((COLUMN.sigmoid(), SIGNS), "a target of -1 then costs at least 0.6931"),
        ],
    ),
    ("MultiMarginLoss", "multi_margin_loss"): (
        (LOGITS, LABELS),
        [((LOG_P.exp(), LABELS), "scores hold probabilities")],
    ),
    ("MarginRankingLoss", "margin_ranking_loss"): (
        (COLUMN, OTHER, SIGNS),
        [
            ((COLUMN, OTHER, BITS), "targets are neither -1 nor +1: 0, 1"),
            ((COLUMN[:, None], OTHER, SIGNS), "scores1 have shape (16, 1) and scores2 (16,)"),
        ],
    ),
    ("HingeEmbeddingLoss", "hinge_embedding_loss"): (
        (uniform(16), SIGNS),
        [
            ((uniform(16), BITS), "targets are neither -1 nor +1: 0, 1"),
            ((COLUMN, SIGNS), "distances are negative"),
        ],
    ),
    ("CosineEmbeddingLoss", "cosine_embedding_loss"): (
        (POINTS, OTHERS, SIGNS),
        [
            ((POINTS, OTHERS, BITS), "targets are neither -1 nor +1: 0, 1"),
            ((at(POINTS, (2,), 0.0), OTHERS, SIGNS), "1 of 16 embeddings1 are zero vectors"),
        ],
    ),
    ("TripletMarginLoss", "triplet_margin_loss"): (
        (POINTS, OTHERS, POINTS.flip(0)),
        [((torch.ones(16, 4), OTHERS, POINTS), "all 16 anchors are one point")],
    ),
    ("TripletMarginWithDistanceLoss", "triplet_margin_with_distance_loss"): (
        (POINTS, OTHERS, POINTS.flip(0)),
        [((POINTS, torch.ones(16, 4), POINTS.flip(0)), "all 16 positives are one point")],
    ),
    ("CTCLoss", "ctc_loss"): (
        (FRAMES, WORDS, ENDS, LENGTHS),
        [
            ((normal(5, 2, 4), WORDS, ENDS, LENGTHS), "log_probs are above 0"),
            ((normal(5, 2, 4) - 9, WORDS, ENDS, LENGTHS), "10 of 10 rows .* not normalized"),
            ((FRAMES, WORDS, ENDS - 3, LENGTHS), "needs 3 frames, has 2"),
        ],
    ),
}
NEW = {  # Not in the oldest torch that is tested.
    ("", "linear_cross_entropy"): (
        (normal(4, 5), normal(3, 5), torch.tensor([0, 1, 2, 1])),
        [((normal(4, 5), normal(3, 5), torch.arange(4)), "1 of 4 labels are outside 0 to 2")],
    ),
}
TORCH |= {names: calls for names, calls in NEW.items() if hasattr(F, names[1])}


def losses(names):
    """The module and the function, reduced as their formula is."""
    settings = {"reduction": "batchmean"} if "kl_div" in names else {}
    if names[0]:
        yield getattr(nn, names[0])(**settings)
    yield partial(getattr(F, names[1]), **settings)


@pytest.mark.parametrize("names", TORCH, ids=lambda names: names[1])
def test_a_loss_of_torch_is_known_by_what_it_takes(names):
    right, wrong = TORCH[names]
    for loss in losses(names):
        assert examine(loss, *right) == []
        for inputs, said in wrong:
            report = str(examine(loss, *inputs)).replace("\n", " ")
            words = said.split(" .* ")
            at = [report.find(word) for word in words]
            assert -1 not in at, f"{words} in {report}"
            assert at == sorted(at)
            assert "not known" not in report


def test_each_loss_of_torch_is_known_or_said_not_to_be():
    known = {name for names in TORCH for name in names}
    assert examination._TORCH.keys() - known <= {
        "",
        "LinearCrossEntropyLoss",
        "linear_cross_entropy",
    }
    for name in (name for name in dir(nn) if name.endswith("Loss") and name not in known):
        if name != "LinearCrossEntropyLoss":
            (found,) = examination._unknown(call(name))
            assert found.what.startswith(f"{name} is not known: none of input, target")


def call(name):
    given = {"input": LOGITS, "target": LABELS}
    names = examination._TORCH.get(name, tuple(given))
    given = dict(zip(names, given.values(), strict=True))
    return examination._Call(name, given, None, None, None, None, None, False, "torch")


def test_a_loss_of_torch_that_somebody_has_changed_is_not_taken_for_it():
    class Mine(nn.CrossEntropyLoss):
        def forward(self, probabilities_, target):
            return super().forward(probabilities_.log(), target)

    (found,) = examine(Mine(), LOG_P.exp(), LABELS)
    assert found.what.startswith("Mine is not known")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_reduction_of_a_loss_of_torch_hides_no_value(reduction):
    targets = at(COLUMN, (3,), math.inf)
    for report in (
        examine(nn.MSELoss(reduction=reduction), COLUMN, targets),
        examine(F.mse_loss, COLUMN, targets, reduction=reduction),
    ):
        assert "1 of 16 values of targets" in report[0].what
    sure = at(LOGITS, (2, int(LABELS[2])), -math.inf)
    report = examine(F.cross_entropy, sure, LABELS, reduction=reduction)
    assert "1 of 16 losses are nan or infinite" in report[0].what


def test_a_divergence_that_is_averaged_over_its_classes_is_found():
    for loss in (nn.KLDivLoss(), F.kl_div):
        (found,) = examine(loss, LOG_P, OTHER_P)
        assert found.severity == "suspicious"
        assert "the mean is over all 48 values" in found.what
        assert "3 times too small" in found.what
        assert found.fix == 'reduction="batchmean"'
    summed = F.kl_div(LOG_P, OTHER_P, reduction="batchmean")
    with pytest.warns(UserWarning, match="batchmean"):
        torch.testing.assert_close(3 * F.kl_div(LOG_P, OTHER_P, reduction="mean"), summed)


def test_a_row_that_is_ignored_need_not_be_normalized():
    padded = LABELS.where(torch.arange(16) < 12, -100)
    log_probs = LOG_P - (torch.arange(16)[:, None] >= 12).float()
    assert examine(nn.NLLLoss(), log_probs, padded) == []
    (found,) = examine(nn.NLLLoss(), log_probs, LABELS)
    assert found.what.startswith("4 of 16 rows of log_probs are not normalized")


def test_what_a_loss_of_torch_takes_can_depend_on_a_setting():
    logs = partial(F.kl_div, reduction="batchmean", log_target=True)
    assert examine(logs, LOG_P, OTHER_P.log()) == []
    (found,) = examine(logs, LOG_P, OTHER_P)
    assert "target_log_probs are above 0" in found.what
    rates = nn.PoissonNLLLoss(log_input=False)
    assert examine(rates, uniform(16), BITS) == []
    assert "rates are negative" in str(examine(rates, COLUMN, BITS))
    assert "rates are negative" not in str(examine(nn.PoissonNLLLoss(), COLUMN, BITS))


def test_a_loss_of_torch_is_known_inside_a_criterion_too():
    (found,) = examine(Criterion(F.cross_entropy), LOG_P.exp(), LABELS)
    assert "logits hold probabilities" in found.what
    padded = LABELS.where(LABELS > 0, -7)
    unreduced = partial(F.cross_entropy, reduction="none")
    assert examine(Criterion(unreduced, ignore_index=-7), LOGITS, padded) == []
    (found,) = examine(Criterion(unreduced), LOGITS, padded)
    assert "labels are outside 0 to 2 (3 classes): -7" in found.what


def test_one_sample_without_a_batch_is_a_right_call_of_torch():
    assert examine(nn.CrossEntropyLoss(), LOGITS[0], LABELS[0]) == []
    (found,) = examine(nn.CTCLoss(), FRAMES[:2, 0], WORDS[0], *torch.tensor([2, 2]))
    assert "needs 3 frames, has 2" in found.what


# Rows too short for their labels, boxes that match nothing ---------------------------------------


@pytest.mark.parametrize(
    ("labels", "length", "needed"),
    [
        ([1, 2], 2, 2),
        ([1, 1], 2, 3),
        ([1, 1, 1], 3, 5),
        ([1, 2, 2, 1], 4, 5),
        ([1, 1], 1, 1),
        ([3], 0, 0),
    ],
)
def test_ctc_says_how_many_frames_the_labels_need(labels, length, needed):
    words, lengths = torch.tensor([[*labels], [1] * len(labels)]), torch.tensor([length, 0])
    for frames in range(1, 6):
        logits, has = normal(2, 5, 4), torch.tensor([frames, 5])
        report = examine(ctc_loss, logits, words, has, lengths)
        finite = ctc_loss(logits, words, has, lengths).isfinite().all()
        assert finite == (frames >= needed)
        assert (report == []) == finite
        if not finite:
            (found,) = report
            assert found.severity == "wrong"
            assert found.what == (
                f"1 of 2 rows are too short for their labels, the first at (0,): needs {needed} "
                f"frames, has {frames}; the loss is inf"
            )


def test_ctc_counts_the_rows_that_are_too_short_and_shows_the_first():
    (found,) = examine(ctc_loss, normal(2, 5, 4), WORDS, torch.tensor([5, 1]), LENGTHS)
    assert "1 of 2 rows" in found.what
    assert "the first at (1,): needs 2 frames, has 1" in found.what


def test_ctc_of_torch_takes_lengths_as_numbers_and_labels_end_to_end():
    words, has = torch.tensor([1, 1, 2]), (2, 5)
    (found,) = examine(nn.CTCLoss(), FRAMES, words, has, (2, 1))
    assert (found.severity, "needs 3 frames, has 2; the loss is inf" in found.what) == (
        "wrong",
        True,
    )
    (found,) = examine(nn.CTCLoss(zero_infinity=True), FRAMES, words, has, (2, 1))
    assert (found.severity, "has 2; it counts as 0" in found.what) == ("suspicious", True)
    assert examine(nn.CTCLoss(), FRAMES, words, (3, 5), (2, 1)) == []


def test_ctc_that_is_infinite_for_another_reason_is_still_found():
    logits = at(normal(2, 5, 4), (1, 0), -math.inf)
    logits[1, 0, 3] = 0
    has = torch.tensor([2, 2])
    report = examine(ctc_loss, logits, WORDS, has, LENGTHS)
    assert [found.what.split(" are ")[0] for found in report] == ["1 of 2 losses", "1 of 2 rows"]
    assert "the first at (1,)" in report[0].what


@pytest.mark.parametrize("padding", [math.nan, math.inf, 1e30])
def test_the_offsets_of_the_background_may_hold_anything(padding):
    boxes, logits = normal(2, 6, 4), normal(2, 6, 3)
    labels = torch.tensor([[0, 1, 0, 0, 2, 0], [0, 0, 0, 1, 0, 0]])
    targets = normal(2, 6, 4, seed=1).where((labels > 0)[..., None], torch.tensor(padding))
    assert examine(multibox_loss, boxes, logits, targets, labels) == []
    if not math.isfinite(padding):
        targets[0, 4, 2] = padding
        (found,) = [
            f
            for f in examine(multibox_loss, boxes, logits, targets, labels)
            if "values of" in f.what
        ]
        assert found.what.startswith("1 of 48 values of target_offsets are nan or infinite")
        assert found.what.endswith("the first at (0, 4, 2)")
