"""Absolute error: the loss whose best constant prediction is the median.

Chapter: https://lossbook.example/regression/absolute_error/
"""

import torch
from torch import Tensor

__all__ = ["absolute_error"]


def absolute_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Absolute error, one value per element.

    With the residual r = prediction - target:

        loss = |r|

    Up to a factor and a constant it is the negative log-likelihood of a Laplace distribution of
    fixed scale. The slope is the sign of r, however large r is, and 0 at r = 0. The mean of the
    losses is the MAE.

    Args:
        predictions: Predicted values, shape `(*)`, any real numbers in the unit of the targets.
        targets: True values, shape `(*)`.

    Returns:
        The loss of each element, shape `(*)`, in the unit of the targets and the dtype of
        `predictions`: infinite in float16 from 65,520 on.

    Raises:
        ValueError: If `predictions` is not floating or the shapes differ.

    Reference:
        Laplace, "Mémoire sur la probabilité des causes par les évènements", Mémoires de
        l'Académie royale des sciences présentés par divers savants 6, 1774.

    Examples:
        >>> import torch
        >>> absolute_error(torch.tensor([0.5, 8.0]), torch.tensor([0.0, 11.0]))
        tensor([0.5000, 3.0000])
    """
    if not predictions.is_floating_point():
        raise ValueError(f"expected floating predictions, got {predictions.dtype}")
    if predictions.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(predictions.shape)}, got {tuple(targets.shape)}"
        )

    wide = torch.promote_types(predictions.dtype, torch.float32)
    residuals = predictions.to(wide) - targets.to(wide)
    return residuals.abs().to(predictions.dtype)
