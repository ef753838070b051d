"""Earth mover's distance: how far probability must travel along ordered bins.

Chapter: https://lossbook.example/distribution/earth_mover/
"""

import torch
from torch import Tensor

__all__ = ["earth_mover_distance", "squared_emd_loss"]


def earth_mover_distance(predictions: Tensor, targets: Tensor, *, dim: int = 1) -> Tensor:
    """Earth mover's distance between histograms, one value per histogram, in bins.

    With the cumulative sums P of the prediction and Q of the target over bins one apart:

        loss = sum_j |P_j - Q_j|

    It is the Wasserstein distance W1: the least work, probability times bins, that turns one
    histogram into the other. One unit of probability misplaced by d bins costs d.

    Args:
        predictions: Probabilities over ordered bins, shape `(*)`: nonnegative, with sum 1 over
            `dim`, for example a softmax. Values are not checked.
        targets: Probabilities over the same bins, shape `(*)`.
        dim: Dimension along which the bins lie. The default 1 is the book's.

    Returns:
        The distance of each pair of histograms, shape `(*)` without `dim`, in the dtype of
        `predictions`; at most the number of bins less 1.

    Raises:
        ValueError: If `predictions` is not floating or the shapes differ.

    Reference:
        Vallender, "Calculation of the Wasserstein Distance Between Probability Distributions on
        the Line", Theory of Probability and its Applications 18, 1974.

    Examples:
        >>> import torch
        >>> predictions = torch.tensor([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]])
        >>> earth_mover_distance(predictions, torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]))
        tensor([2., 0.])
    """
    if not predictions.is_floating_point():
        raise ValueError(f"expected floating predictions, got {predictions.dtype}")
    if predictions.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(predictions.shape)}, got {tuple(targets.shape)}"
        )

    wide = torch.promote_types(predictions.dtype, torch.float32)
    gaps = (predictions.to(wide) - targets.to(wide)).cumsum(dim)
    return gaps.abs().sum(dim).to(predictions.dtype)


def squared_emd_loss(predictions: Tensor, targets: Tensor, *, dim: int = 1) -> Tensor:
    """Squared EMD loss over ordered classes, one value per histogram.

    With the cumulative sums P of the prediction and Q of the target:

        loss = sum_j(P_j - Q_j) ^ 2

    It is not the square of the earth mover's distance, which would square the sum. One unit of
    probability misplaced by d classes costs d. The slope vanishes where the histograms agree.

    Args:
        predictions: Probabilities over ordered classes, shape `(*)`: nonnegative, with sum 1 over
            `dim`, for example a softmax. Values are not checked.
        targets: Probabilities over the same classes, shape `(*)`; one-hot for a hard label.
        dim: Dimension along which the classes lie. The default 1 is the book's.

    Returns:
        The loss of each pair of histograms, shape `(*)` without `dim`, in the dtype of
        `predictions`; at most the number of classes less 1.

    Raises:
        ValueError: If `predictions` is not floating or the shapes differ.

    Reference:
        Hou, Yu and Samaras, "Squared Earth Mover's Distance-based Loss for Training Deep Neural
        Networks", 2016. arXiv:1611.05916

    Examples:
        >>> import torch
        >>> predictions = torch.tensor([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]])
        >>> squared_emd_loss(predictions, torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
        tensor([2.0000, 0.2500])
    """
    if not predictions.is_floating_point():
        raise ValueError(f"expected floating predictions, got {predictions.dtype}")
    if predictions.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(predictions.shape)}, got {tuple(targets.shape)}"
        )

    wide = torch.promote_types(predictions.dtype, torch.float32)
    gaps = (predictions.to(wide) - targets.to(wide)).cumsum(dim)
    return gaps.square().sum(dim).to(predictions.dtype)
