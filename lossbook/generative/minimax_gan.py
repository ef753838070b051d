"""Minimax GAN losses: a discriminator tells real from fake, a generator makes it fail.

Chapter: https://lossbook.example/generative/minimax_gan/
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = [
    "minimax_discriminator_loss",
    "minimax_generator_loss",
    "non_saturating_generator_loss",
]


def minimax_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Discriminator's loss of the minimax game, one value per pair of a real and a fake.

    With D the sigmoid of a logit, x the real sample and G(z) the fake one:

        loss = -log D(x) - log(1 - D(G(z)))

    It is the binary cross entropy of both, added. Which real stands by which fake makes no
    difference to the mean. A discriminator that cannot tell them apart pays 2 log 2 = 1.386.
    Infinite logits on the right side, +inf for real, cost 0, on the wrong side inf.

    Args:
        real_logits: Discriminator's logits of real samples, shape `(N, *)`. No sigmoid before
            this loss.
        fake_logits: Its logits of fake samples, shape `(N, *)`. Detach the samples from the
            generator, which this loss would train to be found out.

    Returns:
        The loss of each pair, shape `(N, *)`, in the dtype of `real_logits`.

    Raises:
        ValueError: If the logits are not floating, or their shapes differ.

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NIPS 2014, eq. 1. arXiv:1406.2661

    Examples:
        >>> import torch
        >>> minimax_discriminator_loss(torch.tensor([0.0, 3.0]), torch.tensor([0.0, -3.0]))
        tensor([1.3863, 0.0972])
    """
    for name, logits in {"real_logits": real_logits, "fake_logits": fake_logits}.items():
        if not logits.is_floating_point():
            raise ValueError(f"expected floating {name}, got {logits.dtype}")
    if fake_logits.shape != real_logits.shape:
        raise ValueError(
            f"expected fake_logits of shape {tuple(real_logits.shape)}, "
            f"got {tuple(fake_logits.shape)}"
        )

    wide = torch.promote_types(
        torch.promote_types(real_logits.dtype, fake_logits.dtype), torch.float32
    )
    losses = _softplus(-real_logits.to(wide)) + _softplus(fake_logits.to(wide))
    return losses.to(real_logits.dtype)


def minimax_generator_loss(fake_logits: Tensor) -> Tensor:
    """Generator's loss of the minimax game, one value per fake, never positive.

    With D the sigmoid of the logit and G(z) the fake sample:

        loss = log(1 - D(G(z)))

    It is minus the fake's part of the discriminator's loss, as the game says. It saturates: where
    the discriminator is sure of the fake its slope, -D, is nearly 0 - at a logit of -5 it is
    -0.0067, where that of `non_saturating_generator_loss` is -0.9933. At a logit of -inf it is 0,
    at +inf -inf.

    Args:
        fake_logits: Discriminator's logits of fake samples, shape `(N, *)`. No sigmoid before
            this loss.

    Returns:
        The loss of each fake, shape `(N, *)`, in the dtype of `fake_logits`.

    Raises:
        ValueError: If `fake_logits` is not floating.

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NIPS 2014, eq. 1. arXiv:1406.2661

    Examples:
        >>> import torch
        >>> minimax_generator_loss(torch.tensor([0.0, -5.0, 5.0]))
        tensor([-0.6931, -0.0067, -5.0067])
    """
    if not fake_logits.is_floating_point():
        raise ValueError(f"expected floating fake_logits, got {fake_logits.dtype}")

    wide = torch.promote_types(fake_logits.dtype, torch.float32)
    return -_softplus(fake_logits.to(wide)).to(fake_logits.dtype)


def non_saturating_generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating generator loss, one value per fake.

    With D the sigmoid of the logit and G(z) the fake sample:

        loss = -log D(G(z))

    It is the cross entropy of fakes called real. It wants what `minimax_generator_loss` wants, but
    its slope, D - 1, is steepest where the discriminator is sure of the fake. At a logit of +inf
    it is 0, at -inf inf.

    Args:
        fake_logits: Discriminator's logits of fake samples, shape `(N, *)`. No sigmoid before
            this loss.

    Returns:
        The loss of each fake, shape `(N, *)`, in the dtype of `fake_logits`.

    Raises:
        ValueError: If `fake_logits` is not floating.

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NIPS 2014, section 3. arXiv:1406.2661

    Examples:
        >>> import torch
        >>> non_saturating_generator_loss(torch.tensor([0.0, -5.0, 5.0]))
        tensor([0.6931, 5.0067, 0.0067])
    """
    if not fake_logits.is_floating_point():
        raise ValueError(f"expected floating fake_logits, got {fake_logits.dtype}")

    wide = torch.promote_types(fake_logits.dtype, torch.float32)
    return _softplus(-fake_logits.to(wide)).to(fake_logits.dtype)


def _softplus(logits: Tensor) -> Tensor:
    """log(1 + e^x) = -log sigmoid(-x); from 40 on that is x, to the last digit of float64."""
    return softplus(logits, threshold=40)
