"""Margin ranking loss: one of two scores must beat the other by a margin.

Chapter: https://lossbook.example/ranking/margin_ranking/
"""

import torch
from torch import Tensor

__all__ = ["margin_ranking_loss"]


def margin_ranking_loss(
    scores1: Tensor, scores2: Tensor, targets: Tensor, *, margin: float | Tensor
) -> Tensor:
    """Margin ranking loss, one value per pair.

    With the scores s1 and s2 of the two items and the order t:

        loss = max(0, margin - t(s1 - s2))

    Only the difference of the scores counts. A tie costs the margin, so at margin 0 a model that
    gives every item the same score has no loss.

    Args:
        scores1: Scores of the first items, shape `(*)`, any real numbers.
        scores2: Scores of the second items, shape `(*)`.
        targets: 1 where the first item ranks higher, -1 where the second does, shape `(*)`.
            Values are not checked; a label of 0 costs `margin` and teaches nothing.
        margin: Lead that the right order must have, in the unit of the scores, a number or a
            tensor of shape `()`. It has no default.

    Returns:
        The loss of each pair, shape `(*)`, in the dtype of `scores1`.

    Raises:
        ValueError: If `scores1` or `scores2` is not floating, the shapes differ, or `margin` is a
            tensor of another shape.

    Reference:
        Herbrich, Graepel and Obermayer, "Large Margin Rank Boundaries for Ordinal Regression",
        Advances in Large Margin Classifiers, MIT Press, 2000.

    Examples:
        >>> import torch
        >>> scores1, scores2 = torch.tensor([2.0, 0.5]), torch.tensor([0.0, 0.0])
        >>> margin_ranking_loss(scores1, scores2, torch.tensor([1.0, 1.0]), margin=1.0)
        tensor([0.0000, 0.5000])
    """
    for name, given in {"scores1": scores1, "scores2": scores2}.items():
        if not given.is_floating_point():
            raise ValueError(f"expected floating {name}, got {given.dtype}")
    for name, given in {"scores2": scores2, "targets": targets}.items():
        if given.shape != scores1.shape:
            raise ValueError(
                f"expected {name} of shape {tuple(scores1.shape)}, got {tuple(given.shape)}"
            )
    if isinstance(margin, Tensor) and margin.dim():
        raise ValueError(f"expected margin of shape (), got {tuple(margin.shape)}")

    wide = torch.promote_types(scores1.dtype, torch.float32)
    short = margin - targets.to(wide) * (scores1.to(wide) - scores2.to(wide))
    short = short.clamp_min(torch.finfo(wide).min)  # Or a lead past the largest number gave nan.
    # max(0, short), whose slope, 1 from 0 on, is kept as a number: compiled code takes ten times
    # as long with a truth value.
    active = (1 + short.detach().sign()).clamp_max(1)
    return (short * active + 0.0).to(scores1.dtype)  # No -0.0.
