import torch
from torch.nn import functional as F

from lossbook.classification.cross_entropy import cross_entropy
from lossbook.language import linear_cross_entropy as fused
from lossbook.language.linear_cross_entropy import linear_cross_entropy
from tests.mutants import Mutants

MUTANTS = Mutants()


def table(hidden, labels, weight, z_weight=0.0):
    x = hidden @ weight.T
    losses = F.cross_entropy(x.movedim(-1, min(1, x.dim() - 1)), labels, reduction="none")
    return losses + z_weight * x.logsumexp(-1) ** 2


class FirstOfAll(torch.autograd.Function):
    """The gradient formed in the forward, and scaled by the first token's."""

    @staticmethod
    def forward(ctx, hidden, labels, weight):
        with torch.enable_grad():
            h, w = (x.detach().requires_grad_() for x in (hidden, weight))
            losses = table(h, labels, w)
            ctx.slopes = torch.autograd.grad(losses.sum(), (h, w))
        return losses.detach()

    @staticmethod
    def backward(ctx, gradient):
        first = gradient.reshape(-1)[0]
        return first * ctx.slopes[0], None, first * ctx.slopes[1]


@MUTANTS.of(
    "linear_cross_entropy",
    "the first token's gradient for all",
    killed_by="test_blocks_sum_to_the_whole_and_no_table_is_made",
)
def _(hidden, labels, weight, **_):
    return FirstOfAll.apply(hidden, labels, weight)


@MUTANTS.of(
    "linear_cross_entropy",
    "the table",
    killed_by="test_blocks_sum_to_the_whole_and_no_table_is_made",
)
def _(hidden, labels, weight, *, z_weight=0.0):
    return table(hidden, labels, weight, z_weight)


@MUTANTS.of(
    "linear_cross_entropy",
    "the last block left out",
    killed_by="test_blocks_sum_to_the_whole_and_no_table_is_made",
)
def _(hidden, labels, weight, *, z_weight=0.0):
    losses = linear_cross_entropy(hidden, labels, weight, z_weight=z_weight)
    size = fused._BLOCK // len(weight)
    whole = len(losses) // size * size or len(losses)
    return torch.cat([losses[:whole], losses[:1].expand(len(losses) - whole)])


@MUTANTS.of("linear_cross_entropy", "log Z, not squared", killed_by="value")
def _(hidden, labels, weight, *, z_weight=0.0):
    return table(hidden, labels, weight) + z_weight * (hidden @ weight.T).logsumexp(-1)


@MUTANTS.of("linear_cross_entropy", "the loss squared, not log Z", killed_by="value")
def _(hidden, labels, weight, *, z_weight=0.0):
    losses = table(hidden, labels, weight)
    return losses + z_weight * losses**2


@MUTANTS.of("linear_cross_entropy", "PaLM's z_weight by default", killed_by="value")
def _(hidden, labels, weight, *, z_weight=1e-4):
    return linear_cross_entropy(hidden, labels, weight, z_weight=z_weight)


@MUTANTS.of("linear_cross_entropy", "z_weight ignored", killed_by="value")
def _(hidden, labels, weight, **_):
    return linear_cross_entropy(hidden, labels, weight)


@MUTANTS.of("linear_cross_entropy", "log Z detached", killed_by="gradient")
def _(hidden, labels, weight, *, z_weight=0.0):
    log_z = (hidden @ weight.T).logsumexp(-1).detach()
    return table(hidden, labels, weight) + z_weight * log_z**2


@MUTANTS.of("linear_cross_entropy", "the vocabulary detached", killed_by="gradient")
def _(hidden, labels, weight, *, z_weight=0.0):
    return linear_cross_entropy(hidden, labels, weight.detach(), z_weight=z_weight)


@MUTANTS.of("linear_cross_entropy", "the hidden states detached", killed_by="gradient")
def _(hidden, labels, weight, *, z_weight=0.0):
    return linear_cross_entropy(hidden.detach(), labels, weight, z_weight=z_weight)


@MUTANTS.of("linear_cross_entropy", "averaged over the tokens", killed_by="value")
def _(hidden, labels, weight, *, z_weight=0.0):
    return linear_cross_entropy(hidden, labels, weight, z_weight=z_weight).mean()


@MUTANTS.of("linear_cross_entropy", "one row for all dimensions", killed_by="value")
def _(hidden, labels, weight, *, z_weight=0.0):
    return linear_cross_entropy(hidden, labels, weight, z_weight=z_weight).flatten()


@MUTANTS.of("linear_cross_entropy", "exp overflows", killed_by="value")
def _(hidden, labels, weight, *, z_weight=0.0):
    x = hidden @ weight.T
    log_z = x.exp().sum(-1).log()
    return log_z - x.gather(-1, labels.unsqueeze(-1)).squeeze(-1) + z_weight * log_z**2


@MUTANTS.of(
    "linear_cross_entropy", "the digits of a sure label lost", killed_by="next to the optimum"
)
def _(hidden, labels, weight, *, z_weight=0.0):
    return table(hidden, labels, weight, z_weight)


@MUTANTS.of(
    "linear_cross_entropy",
    "the blocks' gradients summed in bfloat16",
    killed_by="test_half_gradients_of_the_blocks_are_summed_in_float32",
)
def _(hidden, labels, weight, *, z_weight=0.0):
    size = max(1, fused._BLOCK // len(weight))
    blocks = zip(hidden.split(size), labels.split(size), strict=True)
    return torch.cat([table(h, y, weight, z_weight) for h, y in blocks])


@MUTANTS.of("linear_cross_entropy", "torch's order of arguments", killed_by="errors")
def _(hidden, labels, weight, *, z_weight=0.0):
    if labels.is_floating_point():
        hidden, labels, weight = hidden, weight, labels
    return linear_cross_entropy(hidden, labels, weight, z_weight=z_weight)


@MUTANTS.of("linear_cross_entropy", "a floating label is a probability", killed_by="errors")
def _(hidden, labels, weight, *, z_weight=0.0):
    if labels.is_floating_point() and labels.dim() == 1 and weight.dtype != torch.int64:
        return cross_entropy(hidden @ weight.T, labels.long())
    return linear_cross_entropy(hidden, labels, weight, z_weight=z_weight)
