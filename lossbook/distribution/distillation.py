"""Knowledge distillation: cross entropy with a teacher's softened answer and with the labels.

Chapter: https://lossbook.example/distribution/distillation/
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

__all__ = ["distillation_loss"]


def _terms(x: Tensor, q: Tensor, truth: Tensor, t: Any) -> tuple[Tensor, Tensor]:
    """-t^2 sum q log softmax(x / t), and -log softmax(x) of the truth."""
    if not isinstance(t, Tensor) and _in_reverse_mode(x):
        soft, hard = _Terms.apply(x, q, truth, t)  # type: ignore[no-untyped-call]
        return soft, hard
    return _formula(x, q, truth, t)


def _formula(x: Tensor, q: Tensor, truth: Tensor, t: Any) -> tuple[Tensor, Tensor]:
    gaps, log_sum = _surprises(_cooled(x, t))
    # A class ruled out by both, with logits of -inf, costs nothing: 0 log 0 = 0.
    soft = t**2 * (q * torch.where(q == 0, 0, gaps + log_sum)).sum(1, keepdim=True)
    gaps, log_sum = _surprises(x)
    return soft, gaps.gather(1, truth) + log_sum


def _cooled(x: Tensor, t: float | Tensor) -> Tensor:
    """Divide x by t, in which a class that is ruled out, by -inf, has no slope."""
    if not isinstance(t, Tensor):
        return x / t
    ruled_out = x.isneginf()
    return (x.masked_fill(ruled_out, 0) / t).masked_fill(ruled_out, -math.inf)


def _surprises(x: Tensor) -> tuple[Tensor, Tensor]:
    """-log softmax(x), with its digits where it is nearly 0, as a sum of two."""
    top, best = x.max(1, keepdim=True)
    gaps = top - x
    others = gaps.scatter(1, best, math.inf).neg_().exp_().sum(1, keepdim=True)
    return gaps, others.log1p()


class _Terms(torch.autograd.Function):
    """The same in half the time, with the slopes t (softmax(x / t) - q), softmax(x) - truth."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, q: Tensor, truth: Tensor, t: float) -> tuple[Tensor, Tensor]:
        top, best = x.max(1, keepdim=True)
        lead = x - top
        p, others = _shares(lead, best)
        hard = others.log1p() - lead.gather(1, truth)
        p_t, others_t = _shares(lead.div_(t), best)
        surprise = lead.mul_(q).nan_to_num_(0, math.inf, -math.inf).sum(1, keepdim=True)
        surprise += 0 * q[:, :1]  # A teacher that is nan stays so.
        ctx.t = t
        ctx.save_for_backward(x, q, truth, hard, p, others + 1, p_t, others_t + 1)
        return t**2 * (others_t.log1p() - surprise), hard

    @staticmethod
    def backward(ctx: Any, to_soft: Tensor, to_hard: Tensor) -> tuple[Tensor, None, None, None]:
        x, q, truth, hard, p, total, p_t, total_t = ctx.saved_tensors
        if torch.is_grad_enabled():  # A second derivative is that of the formula.
            terms, slopes = _formula(x, q, truth, ctx.t), (to_soft, to_hard)
            (to_x,) = torch.autograd.grad(terms, x, slopes, create_graph=True)
            return to_x, None, None, None
        to_soft = ctx.t * to_soft
        slope = (p_t * (to_soft / total_t)).addcmul_(q, to_soft, value=-1)
        # p - 1 of the truth has more digits as e^log p - 1.
        of_truth = slope.gather(1, truth).addcmul_(to_hard, (-hard).expm1())
        slope.addcmul_(p, to_hard / total).scatter_(1, truth, of_truth)
        return slope, None, None, None


def _shares(lead: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """e^lead, and its sum without the best, whose share is 1."""
    shares = lead.exp()
    others = shares.scatter_(1, best, 0).sum(1, keepdim=True)
    return shares.scatter_(1, best, 1), others


def _in_reverse_mode(*inputs: Tensor) -> bool:
    """Whether an own backward helps.

    Not torch.compile, which needs no help, nor torch.func and forward mode, where such a function
    is slow and cannot be nested.
    """
    in_torch_func = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)()
    in_forward_mode = any(unpack_dual(x).tangent is not None for x in inputs)  # type: ignore[no-untyped-call]
    return not (torch.compiler.is_compiling() or in_torch_func or in_forward_mode)


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor = 4.0,
    alpha: float | Tensor = 0.9,
) -> Tensor:
    """Distillation loss, one value per example, in nats.

    With q = softmax(teacher / T), p = softmax(student / T) and the true class y:

        loss = -alpha T^2 sum_j q_j log p_j - (1 - alpha) log softmax(student)_y

    The factor T^2 makes up for soft gradients that shrink as 1 / T^2. The soft term is a cross
    entropy, as in the paper: at its least it is T^2 times the entropy of q, not 0.

    Args:
        student_logits: Unnormalized scores of the model in training, shape `(N, C)`. No softmax
            before this loss.
        teacher_logits: Unnormalized scores of the teacher, shape `(N, C)`. They get no gradient.
        labels: Integer classes in [0, C), int64, shape `(N,)`.
        temperature: T, positive; it divides both sets of logits in the soft term alone. A number or
            a tensor of shape `()`, whose value is not checked.
        alpha: Weight of the soft term, in [0, 1], a number or a tensor of shape `()`; the labels
            weigh 1 - alpha. 0 is cross entropy.
            Some texts weigh the other way round. The paper fixes neither T nor alpha; the
            defaults 4.0 and 0.9 are those of Tian et al., "Contrastive Representation
            Distillation", ICLR 2020.

    Returns:
        The loss of each example, shape `(N,)`, in the dtype of `student_logits`.

    Raises:
        ValueError: If logits are not floating, `student_logits` is not of two dimensions,
            `teacher_logits` or `labels` has another shape, `labels` are uint8, `temperature` is a
            number that is not positive, `alpha` a number outside [0, 1], or either a tensor that
            is not of shape `()`.

    Reference:
        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", NIPS Deep
        Learning Workshop 2014, section 2. arXiv:1503.02531

    Examples:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[8.0, 0.0]])
        >>> distillation_loss(student, teacher, torch.tensor([0]))
        tensor([10.0506])
    """
    for name, x in (("student_logits", student_logits), ("teacher_logits", teacher_logits)):
        if not x.is_floating_point():
            raise ValueError(f"expected floating {name}, got {x.dtype}")
    if student_logits.dim() != 2:
        raise ValueError(
            f"expected student_logits of shape (N, C), got {tuple(student_logits.shape)}"
        )
    if teacher_logits.shape != student_logits.shape:
        raise ValueError(
            f"expected teacher_logits of shape {tuple(student_logits.shape)}, "
            f"got {tuple(teacher_logits.shape)}"
        )
    if labels.dtype == torch.uint8:
        raise ValueError("expected labels of dtype int64 (labels.long()), got torch.uint8")
    if labels.shape != student_logits.shape[:1]:
        raise ValueError(
            f"expected labels of shape {tuple(student_logits.shape[:1])}, got {tuple(labels.shape)}"
        )
    if isinstance(temperature, Tensor):
        if temperature.dim():
            raise ValueError(f"expected temperature of shape (), got {tuple(temperature.shape)}")
    elif not temperature > 0:
        raise ValueError(f"expected temperature > 0, got {temperature}")
    if isinstance(alpha, Tensor):
        if alpha.dim():
            raise ValueError(f"expected alpha of shape (), got {tuple(alpha.shape)}")
    elif not 0 <= alpha <= 1:
        raise ValueError(f"expected alpha in [0, 1], got {alpha}")

    wide = torch.promote_types(student_logits.dtype, torch.float32)
    student = student_logits.to(wide)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(wide)
    alpha = alpha.to(wide) if isinstance(alpha, Tensor) else float(alpha)
    q = _cooled(teacher_logits.detach().to(wide), temperature).softmax(1)
    soft, hard = _terms(student, q, labels.unsqueeze(1), temperature)
    soft, hard = soft.squeeze(1), hard.squeeze(1)
    # A term of weight 0 is not there, not even where it is infinite.
    soft = soft.masked_fill(soft.isposinf() & (alpha == 0), 0)
    hard = hard.masked_fill(hard.isposinf() & (alpha == 1), 0)
    return (alpha * soft + (1 - alpha) * hard).to(student_logits.dtype)
