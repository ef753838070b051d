import torch

from lossbook.sequence.ctc import ctc_loss
from tests.mutants import edits

LOSS = "return losses.to("
LOG_P = "log_p = logits.log_softmax(2)"
READY = "torch.where(repeated, on_blank, prefix)"
COUNTED = "(frames < logit_lengths[:, None]) & ~impossible[:, None]"

MUTANTS = edits(
    "lossbook.sequence.ctc",
    {
        "ctc_loss": [
            ("equal labels merge", READY, "prefix", "value"),
            ("a blank between any two labels", READY, "on_blank", "value"),
            ("a label is said in one frame", "torch.logaddexp(on_label, ready)", "ready", "value"),
            (
                "the best alignment, not all",
                "arrival = torch.logaddexp(",
                "arrival = torch.maximum(",
                "value",
            ),
            (
                "the text ends with a label",
                "prefix = torch.logaddexp(on_blank, on_label)",
                "prefix = on_label",
                "value",
            ),
            ("the first label never follows the last", ".roll(1, 1)", "", "value"),
            (
                "probabilities taken for logits",
                LOG_P,
                "log_p = logits.softmax(2).log_softmax(2)",
                "value",
            ),
            ("no softmax at all", LOG_P, "log_p = logits", "value"),
            ("a softmax over the frames", LOG_P, "log_p = logits.log_softmax(1)", "value"),
            ("the blank is the last class", "blank: int = 0,", "blank: int = 3,", "value"),
            ("the blank is class 0", "log_p[:, :, blank, None]", "log_p[:, :, 0, None]", "value"),
            (
                "frames of padding counted",
                "logit_lengths.long(),",
                "0 * logit_lengths.long() + T,",
                "value",
            ),
            (
                "labels of padding checked",
                "labels[~known & (torch",
                "labels[~known | (0 > torch",
                "value",
            ),
            (
                "divided by the number of labels",
                LOSS,
                "return (losses / label_lengths.clamp_min(1)).to(",
                "value",
            ),
            ("already averaged", LOSS, "return losses.mean().to(", "value"),
            ("in bits", LOSS, "return (losses / 0.6931471805599453).to(", "value"),
            ("0 where there is no room", "(impossible, math.inf)", "(impossible, 0)", "value"),
            ("a log 0 of -1e5", "torch.finfo(log_p.dtype).min / (4 * T + 8)", "-1e5", "value"),
            (
                "an epsilon in the logarithm",
                LOSS,
                "return -((-losses).exp() + 1e-8).log().to(",
                "value",
            ),
            (
                "the softmax left out of the gradient",
                "slopes = log_p.exp()",
                "slopes = torch.zeros_like(log_p)",
                "gradient",
            ),
            (
                "the blank's share left out",
                "shares[:, :, :K].sum(2, keepdim=True)",
                "0 * shares[:, :, :1]",
                "gradient",
            ),
            ("a gradient where there is no room", COUNTED, COUNTED[:33], "gradient"),
            (
                "a gradient in the frames of padding",
                COUNTED,
                COUNTED[36:] + ".expand(N, T)",
                "gradient",
            ),
            ("one slope for all rows", "gradient[:, None, None]", "gradient.mean()", "gradient"),
            (
                "the second derivative is 0",
                "if torch.is_grad_enabled():",
                "if False:",
                "second gradient",
            ),
            (
                "forward mode of one frame",
                "* tangents[1]).sum((1, 2))",
                "* tangents[1])[:, :1].sum((1, 2))",
                "test_forward_mode_of_what_also_wants_a_gradient",
            ),
            (
                "a share of log-likelihoods",
                ".softmax(2).transpose(0, 1)",
                ".sub(log_likelihood[:, None]).exp().transpose(0, 1)",
                "test_slopes_of_long_sequences_in_float32",
            ),
            (
                "nan taken for a sequence without room",
                "log_likelihood < never / 2",
                "~(log_likelihood >= never / 2)",
                "test_nan_is_not_taken_for_a_sequence_without_room",
            ),
            ("a label beyond the classes", " & (labels < C)", "", "errors"),
            ("a negative label counts from the end", "(labels >= 0) & ", "", "errors"),
            ("the blank as a label", " & (labels != blank)", "", "errors"),
            ("lengths cut to fit", " | (lengths > most)", "", "errors"),
            ("negative lengths", "(lengths < 0) | ", "", "errors"),
            ("a blank beyond the classes", "0 <= blank < C", "0 <= blank <= C", "errors"),
            (
                "one length for all",
                "lengths.shape != (N,)",
                "lengths.shape[-1:] not in ((N,), ())",
                "errors",
            ),
            ("labels that mask", "labels.dtype != torch.int64", "0", "errors"),
            (
                "lengths of 2.5",
                "N and lengths.is_floating_point()",
                "0",
                "test_lengths_are_integers",
            ),
            (
                "computed in half precision",
                "torch.promote_types(logits.dtype, torch.float32)",
                "logits.dtype",
                "test_long_sequences_in_half_precision",
            ),
            (
                "float32 from half precision",
                "losses.to(logits.dtype)",
                "losses",
                "float16",
                "dtype",
            ),
        ],
    },
)


@MUTANTS.of("ctc_loss", "a loop over the rows", killed_by="test_the_loop_is_over_frames_alone")
def _(*inputs, blank=0):
    rows = [ctc_loss(*(x[None] for x in row), blank=blank) for row in zip(*inputs, strict=True)]
    return torch.cat(rows)
