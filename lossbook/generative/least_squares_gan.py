"""Least-squares GAN losses: the discriminator's scores are regressed on one number per side.

Chapter: https://lossbook.example/generative/least_squares_gan/
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

__all__ = ["least_squares_discriminator_loss", "least_squares_generator_loss"]


def _half_square(r: Tensor) -> Tensor:
    if not _in_reverse_mode(r):
        return r.square() / 2
    half: Tensor = _HalfSquare.apply(r)  # type: ignore[no-untyped-call]
    return half


class _HalfSquare(torch.autograd.Function):
    """The same, whose slope r is one pass over memory; that of a square halved is four."""

    @staticmethod
    def forward(ctx: Any, r: Tensor) -> Tensor:
        ctx.save_for_backward(r)
        return r.square().div_(2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        slope: Tensor = gradient * ctx.saved_tensors[0]
        return slope


def _in_reverse_mode(*inputs: Tensor) -> bool:
    """Whether an own backward helps.

    Not torch.compile, which needs no help, nor torch.func and forward mode, where such a function
    is slow and cannot be nested.
    """
    in_torch_func = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)()
    in_forward_mode = any(unpack_dual(x).tangent is not None for x in inputs)  # type: ignore[no-untyped-call]
    return not (torch.compiler.is_compiling() or in_torch_func or in_forward_mode)


def least_squares_discriminator_loss(
    real_scores: Tensor, fake_scores: Tensor, *, a: float | Tensor = 0.0, b: float | Tensor = 1.0
) -> Tensor:
    """Least-squares discriminator loss, one value per pair of a real and a fake.

    With D the discriminator's score, x the real sample and G(z) the fake one:

        loss = (D(x) - b)^2 / 2 + (D(G(z)) - a)^2 / 2

    Scores are not probabilities: no sigmoid stands before this loss or inside of it, and a real
    sample scored far above `b` costs as much as one as far below.

    Args:
        real_scores: Discriminator's scores of real samples, shape `(N, *)`, any real numbers.
        fake_scores: Its scores of fake samples, shape `(N, *)`. Detach the samples from the
            generator, which this loss would train to be found out.
        a: Score that fakes shall get, a number or a tensor of shape `()`. The default 0 is of the
            paper's 0-1 coding.
        b: Score that real samples shall get, a number or a tensor of shape `()`. The default 1 is
            of the same coding. With a = -1, b = 1 and the generator's c = 0 what the generator pays
            at the best discriminator, reals included, is half a Pearson chi-squared divergence; its
            step, which holds the discriminator still, does not descend that.

    Returns:
        The loss of each pair, shape `(N, *)`, in the dtype of `real_scores`.

    Raises:
        ValueError: If the scores are not floating, their shapes differ, or `a` or `b` is a tensor
            of another shape.

    Reference:
        Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, eq. 2.
        arXiv:1611.04076

    Examples:
        >>> import torch
        >>> least_squares_discriminator_loss(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0]))
        tensor([0.0000, 2.5000])
    """
    for name, scores in {"real_scores": real_scores, "fake_scores": fake_scores}.items():
        if not scores.is_floating_point():
            raise ValueError(f"expected floating {name}, got {scores.dtype}")
    if fake_scores.shape != real_scores.shape:
        raise ValueError(
            f"expected fake_scores of shape {tuple(real_scores.shape)}, "
            f"got {tuple(fake_scores.shape)}"
        )
    _check(a=a, b=b)

    wide = torch.promote_types(
        torch.promote_types(real_scores.dtype, fake_scores.dtype), torch.float32
    )
    on_real = _half_square(real_scores.to(wide) - b)
    on_fake = _half_square(fake_scores.to(wide) - a)
    return (on_real + on_fake).to(real_scores.dtype)


def least_squares_generator_loss(fake_scores: Tensor, *, c: float | Tensor = 1.0) -> Tensor:
    """Least-squares generator loss, one value per fake.

    With D the discriminator's score and G(z) the fake sample:

        loss = (D(G(z)) - c)^2 / 2

    Its slope, D - c, grows with the distance from c, on either side.

    Args:
        fake_scores: Discriminator's scores of fake samples, shape `(N, *)`, any real numbers. No
            sigmoid before this loss.
        c: Score that the generator wants for its fakes, a number or a tensor of shape `()`. The
            default 1 is of the paper's 0-1 coding, c = b.

    Returns:
        The loss of each fake, shape `(N, *)`, in the dtype of `fake_scores`.

    Raises:
        ValueError: If `fake_scores` is not floating, or `c` is a tensor of another shape.

    Reference:
        Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, eq. 2.
        arXiv:1611.04076

    Examples:
        >>> import torch
        >>> least_squares_generator_loss(torch.tensor([1.0, 0.0, 4.0]))
        tensor([0.0000, 0.5000, 4.5000])
    """
    if not fake_scores.is_floating_point():
        raise ValueError(f"expected floating fake_scores, got {fake_scores.dtype}")
    _check(c=c)

    wide = torch.promote_types(fake_scores.dtype, torch.float32)
    return _half_square(fake_scores.to(wide) - c).to(fake_scores.dtype)


def _check(**settings: float | Tensor) -> None:
    for name, setting in settings.items():
        if isinstance(setting, Tensor) and setting.dim():
            raise ValueError(f"expected {name} of shape (), got {tuple(setting.shape)}")
