"""Binary cross entropy: the negative log-probability that a sigmoid gives to the truth.

Chapter: https://lossbook.example/classification/binary_cross_entropy/
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["binary_cross_entropy"]


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, *, pos_weight: float | Tensor | None = None
) -> Tensor:
    """Binary cross entropy over a sigmoid, one value per logit, in nats.

    With p the sigmoid of the logit x, target y and positive weight w:

        loss = -w y log p - (1 - y) log(1 - p) = (1 - y) x - (1 + (w - 1) y) log p

    Several logits per example are so many independent yes-or-no questions.

    Args:
        logits: Scores, shape `(*)`. No sigmoid before this loss.
        targets: Probabilities of a yes in [0, 1], shape `(*)`. Values are not checked.
        pos_weight: Weight w of the positive term: a number, or a tensor of shape `(C,)` with one
            weight per class on dimension 1 of `logits`. None is 1.

    Returns:
        The loss of each logit, shape `(*)`, in the dtype of `logits`.

    Raises:
        ValueError: If `logits` is not floating, `targets` has another shape, or a `pos_weight`
            tensor does not have one element per class on dimension 1.

    Reference:
        Good, "Rational Decisions", Journal of the Royal Statistical Society B 14, 1952.
        Cox, "The Regression Analysis of Binary Sequences", Journal of the Royal Statistical
        Society B 20, 1958.

    Examples:
        >>> import torch
        >>> binary_cross_entropy(torch.tensor([0.0, -3.0]), torch.tensor([1.0, 1.0]))
        tensor([0.6931, 3.0486])
    """
    if not logits.is_floating_point():
        raise ValueError(f"expected floating logits, got {logits.dtype}")
    if logits.shape != targets.shape:
        raise ValueError(
            f"expected targets of shape {tuple(logits.shape)}, got {tuple(targets.shape)}"
        )
    if isinstance(pos_weight, Tensor):
        if logits.dim() < 2 or pos_weight.shape != logits.shape[1:2]:
            raise ValueError(
                "expected pos_weight to be a number or of shape (C,) for logits (N, C, *), "
                f"got {tuple(pos_weight.shape)} for {tuple(logits.shape)}"
            )
        pos_weight = pos_weight.reshape(-1, *[1] * (logits.dim() - 2))

    wide = torch.promote_types(logits.dtype, torch.float32)
    x, y = logits.to(wide), targets.to(wide)
    log_p, no = logsigmoid(x), 1 - y
    if pos_weight is not None:
        w = pos_weight.to(wide) if isinstance(pos_weight, Tensor) else pos_weight
        log_p = (w * y + no) * log_p
    return (no * x - log_p).to(logits.dtype)
