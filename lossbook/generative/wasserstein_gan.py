"""Wasserstein GAN losses: a critic of bounded slope scores real above fake.

Chapter: https://lossbook.example/generative/wasserstein_gan/
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["gradient_penalty", "wasserstein_critic_loss", "wasserstein_generator_loss"]


def wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Wasserstein critic loss, one value per pair of a real and a fake.

    With f the critic's score, x the real sample and G(z) the fake one:

        loss = f(G(z)) - f(x)

    The paper maximizes the mean of f(x) - f(G(z)); this is its negative, to be minimized. Over
    critics of slope at most 1 the maximum is the Wasserstein-1 distance. With no bound on the
    slope the loss has no bound either: clip the weights, as the paper, or add
    `gradient_penalty`.

    Args:
        real_scores: Critic's scores of real samples, shape `(N, *)`, any real numbers. No sigmoid
            before this loss.
        fake_scores: Its scores of fake samples, shape `(N, *)`. Detach the samples from the
            generator, which this loss would train to be found out.

    Returns:
        The loss of each pair, shape `(N, *)`, in the dtype of `real_scores`.

    Raises:
        ValueError: If the scores are not floating, or their shapes differ.

    Reference:
        Arjovsky, Chintala and Bottou, "Wasserstein Generative Adversarial Networks", ICML 2017,
        algorithm 1. arXiv:1701.07875

    Examples:
        >>> import torch
        >>> wasserstein_critic_loss(torch.tensor([2.0, 0.5]), torch.tensor([-1.0, 1.0]))
        tensor([-3.0000,  0.5000])
    """
    for name, scores in {"real_scores": real_scores, "fake_scores": fake_scores}.items():
        if not scores.is_floating_point():
            raise ValueError(f"expected floating {name}, got {scores.dtype}")
    if fake_scores.shape != real_scores.shape:
        raise ValueError(
            f"expected fake_scores of shape {tuple(real_scores.shape)}, "
            f"got {tuple(fake_scores.shape)}"
        )

    return (fake_scores - real_scores).to(real_scores.dtype)


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """Wasserstein generator loss, one value per fake.

    With f the critic's score and G(z) the fake sample:

        loss = -f(G(z))

    Its slope is -1 at any score: it does not saturate.

    Args:
        fake_scores: Critic's scores of fake samples, shape `(N, *)`, any real numbers. No sigmoid
            before this loss.

    Returns:
        The loss of each fake, shape `(N, *)`, in the dtype of `fake_scores`.

    Raises:
        ValueError: If `fake_scores` is not floating.

    Reference:
        Arjovsky, Chintala and Bottou, "Wasserstein Generative Adversarial Networks", ICML 2017,
        algorithm 1. arXiv:1701.07875

    Examples:
        >>> import torch
        >>> wasserstein_generator_loss(torch.tensor([2.0, -1.0]))
        tensor([-2.,  1.])
    """
    if not fake_scores.is_floating_point():
        raise ValueError(f"expected floating fake_scores, got {fake_scores.dtype}")

    return -fake_scores


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    target: float | Tensor = 1.0,
    epsilon: Tensor | None = None,
) -> Tensor:
    """Gradient penalty of a critic, one value per pair of a real and a fake.

    At a random point between the two, where the critic f has the gradient g:

        loss = (|g| - target)^2,    g = gradient of f at epsilon real + (1 - epsilon) fake

    The norm is over all of a sample. The paper adds 10 times the mean to
    `wasserstein_critic_loss`. It can be differentiated for the critic's parameters, and for the
    samples if they require it. Slopes below the target cost, too.

    Args:
        critic: Maps samples of shape `(N, *)` to scores, one or several per sample, which are
            added. No batch normalization: the score of a sample must not depend on the others.
        real: Real samples, shape `(N, *)`.
        fake: Fake samples, shape `(N, *)`.
        target: Norm that the gradient shall have, a number or a tensor of shape `()`. The paper's
            1.0 is the default.
        epsilon: Share of the real sample in each point, in [0, 1], shape `(N,)`. None draws it
            uniformly, as the paper does.

    Returns:
        The penalty of each pair, shape `(N,)`, in the dtype of `real`. It is not multiplied by
        the paper's lambda = 10.

    Raises:
        ValueError: If `real` or `fake` is not floating, `real` is a scalar, `fake` has another
            shape, `target` is a tensor of another shape, `epsilon` is not of shape `(N,)`, or the
            critic gives fewer scores than there are samples.

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NIPS 2017, eq. 3.
        arXiv:1704.00028

    Examples:
        >>> import torch
        >>> slope = torch.tensor([3.0, 4.0])  # Of length 5.
        >>> gradient_penalty(lambda x: x @ slope, torch.ones(2, 2), torch.zeros(2, 2))
        tensor([16., 16.])
    """
    if real.dim() < 1 or not real.is_floating_point():
        raise ValueError(
            f"expected floating real of shape (N, *), got {real.dtype} {tuple(real.shape)}"
        )
    if fake.shape != real.shape or not fake.is_floating_point():
        raise ValueError(
            f"expected floating fake of shape {tuple(real.shape)}, "
            f"got {fake.dtype} {tuple(fake.shape)}"
        )
    if isinstance(target, Tensor) and target.dim():
        raise ValueError(f"expected target of shape (), got {tuple(target.shape)}")
    if epsilon is not None and tuple(getattr(epsilon, "shape", ())) != real.shape[:1]:
        raise ValueError(f"expected epsilon of shape ({len(real)},) or None, got {epsilon}")

    wide = torch.promote_types(torch.promote_types(real.dtype, fake.dtype), torch.float32)
    if epsilon is None:
        epsilon = torch.rand(len(real), dtype=wide, device=real.device)
    share = epsilon.to(wide).reshape(-1, *[1] * (real.dim() - 1))
    recorded = torch.is_grad_enabled()
    with torch.inference_mode(False):  # It turns gradients on under no_grad, too.
        points = torch.lerp(fake.to(wide), real.to(wide), share).to(real.dtype)
        scores = critic(points.requires_grad_())
        if scores.numel() < len(real):
            raise ValueError(
                f"expected a score per sample from critic, got {tuple(scores.shape)} "
                f"for {len(real)} samples"
            )
        (slopes,) = torch.autograd.grad(scores.sum(), points, create_graph=recorded)

    # The slope of vector_norm is 0 at the zero vector; that of the root of a sum of squares is nan.
    norms: Tensor = torch.linalg.vector_norm(slopes.unsqueeze(1).flatten(1), dim=1, dtype=wide)
    return (norms - target).square().to(real.dtype)
