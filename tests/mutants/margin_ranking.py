import torch

from tests.mutants import Mutants

MUTANTS = Mutants()


def checked(scores1, scores2, targets):
    for name, given in (("scores2", scores2), ("targets", targets)):
        if given.shape != scores1.shape:
            expected, got = tuple(scores1.shape), tuple(given.shape)
            raise ValueError(f"expected {name} of shape {expected}, got {got}")


@MUTANTS.of("margin_ranking_loss", "the sign of the order", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return (margin + targets * (scores1 - scores2)).relu()


@MUTANTS.of("margin_ranking_loss", "the margin taken off", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return (-targets * (scores1 - scores2) - margin).relu()


@MUTANTS.of("margin_ranking_loss", "the margin turned by the order", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return (targets * (margin - scores1 + scores2)).relu()


@MUTANTS.of("margin_ranking_loss", "the order ignored", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return (margin - targets**2 * (scores1 - scores2)).relu()


@MUTANTS.of("margin_ranking_loss", "orders of 0 and 1 meant", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return (margin - (2 * targets - 1) * (scores1 - scores2)).relu()


@MUTANTS.of("margin_ranking_loss", "no floor", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return margin - targets * (scores1 - scores2)


@MUTANTS.of("margin_ranking_loss", "an absolute value for the floor", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return (margin - targets * (scores1 - scores2)).abs()


@MUTANTS.of("margin_ranking_loss", "a floor at the margin", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return (-targets * (scores1 - scores2)).relu() + margin


@MUTANTS.of("margin_ranking_loss", "squared", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return (margin - targets * (scores1 - scores2)).relu() ** 2


@MUTANTS.of("margin_ranking_loss", "softened: RankNet with a margin", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return torch.nn.functional.softplus(margin - targets * (scores1 - scores2))


@MUTANTS.of("margin_ranking_loss", "already averaged", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    return (margin - targets * (scores1 - scores2)).relu().mean()


@MUTANTS.of("margin_ranking_loss", "(N, 1) against (N,) broadcasts", killed_by="errors")
def _(scores1, scores2, targets, *, margin):
    return (margin - targets * (scores1 - scores2)).relu()


@MUTANTS.of("margin_ranking_loss", "the shape of the order unchecked", killed_by="errors")
def _(scores1, scores2, targets, *, margin):
    checked(scores1, scores2, scores1)
    return (margin - targets * (scores1 - scores2)).relu()


@MUTANTS.of("margin_ranking_loss", "the second score detached", killed_by="gradient")
def _(scores1, scores2, targets, *, margin):
    return (margin - targets * (scores1 - scores2.detach())).relu()


@MUTANTS.of("margin_ranking_loss", "counted, not learned: no slope", killed_by="gradient")
def _(scores1, scores2, targets, *, margin):
    losses = (margin - targets * (scores1 - scores2)).relu()
    return losses.detach() + 0 * scores1 + 0 * scores2


@MUTANTS.of("margin_ranking_loss", "differences in half precision", killed_by="bfloat16")
def _(scores1, scores2, targets, *, margin):
    return (margin - targets.to(scores1.dtype) * (scores1 - scores2)).relu()


@MUTANTS.of("margin_ranking_loss", "float32 out of half precision", killed_by="float16")
def _(scores1, scores2, targets, *, margin):
    wide = torch.promote_types(scores1.dtype, torch.float32)
    return (margin - targets.to(wide) * (scores1.to(wide) - scores2.to(wide))).relu()


@MUTANTS.of("margin_ranking_loss", "only the pairs that cost are kept", killed_by="value")
def _(scores1, scores2, targets, *, margin):
    losses = margin - targets * (scores1 - scores2)
    return losses[losses > 0]


@MUTANTS.of("margin_ranking_loss", "a branch on the order", killed_by="vmap")
def _(scores1, scores2, targets, *, margin):
    if (targets == 1).all():
        return (margin - scores1 + scores2).relu()
    return (margin - targets * (scores1 - scores2)).relu()


@MUTANTS.of(
    "margin_ranking_loss",
    "no slope at a tie",
    killed_by="test_scores_that_start_equal_are_pulled_apart_at_margin_0",
)
def _(scores1, scores2, targets, *, margin):
    checked(scores1, scores2, targets)
    return (margin - targets * (scores1 - scores2)).relu()


@MUTANTS.of("margin_ranking_loss", "a margin by default", killed_by="test_margin_has_no_default")
def _(scores1, scores2, targets, *, margin=0.0):
    checked(scores1, scores2, targets)
    return (margin - targets * (scores1 - scores2)).clamp_min(0)
