import torch
from torch.nn import functional as F

from tests.mutants import Mutants

MUTANTS = Mutants()


def soft(student, teacher, T):
    q, log_p = (teacher / T).softmax(1), (student / T).log_softmax(1)
    return -(q * torch.where(q > 0, log_p, 0)).sum(1)


def hard(student, labels):
    return -student.log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)


def mix(student, teacher, labels, T=4.0, alpha=0.9):
    return alpha * T**2 * soft(student, teacher.detach(), T) + (1 - alpha) * hard(student, labels)


def checked(student, teacher, labels, T=1.0, alpha=0.0):
    if student.dim() != 2:
        raise ValueError(f"expected student_logits of shape (N, C), got {tuple(student.shape)}")
    if teacher.shape != student.shape:
        expected, got = tuple(student.shape), tuple(teacher.shape)
        raise ValueError(f"expected teacher_logits of shape {expected}, got {got}")
    if labels.shape != student.shape[:1]:
        expected, got = tuple(student.shape[:1]), tuple(labels.shape)
        raise ValueError(f"expected labels of shape {expected}, got {got}")
    if not T > 0:
        raise ValueError(f"expected temperature > 0, got {T}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"expected alpha in [0, 1], got {alpha}")


@MUTANTS.of("distillation_loss", "no T^2", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    s = soft(student_logits, teacher_logits.detach(), temperature)
    return alpha * s + (1 - alpha) * hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "T for T^2", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    s = soft(student_logits, teacher_logits.detach(), temperature)
    return alpha * temperature * s + (1 - alpha) * hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "T^2 on the labels' term, too", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    s = soft(student_logits, teacher_logits.detach(), temperature)
    return temperature**2 * (alpha * s + (1 - alpha) * hard(student_logits, labels))


@MUTANTS.of("distillation_loss", "alpha weighs the labels", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    return mix(student_logits, teacher_logits, labels, temperature, 1 - alpha)


@MUTANTS.of("distillation_loss", "the two terms added, unweighted", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, **_):
    s = soft(student_logits, teacher_logits.detach(), temperature)
    return temperature**2 * s + hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "the labels see softened logits", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    softened = student_logits / temperature
    s = soft(student_logits, teacher_logits.detach(), temperature)
    return alpha * temperature**2 * s + (1 - alpha) * hard(softened, labels)


@MUTANTS.of("distillation_loss", "only the teacher is softened", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    s = soft(student_logits, teacher_logits.detach() / temperature, 1.0)
    return alpha * temperature**2 * s + (1 - alpha) * hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "logits times T", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    s = soft(student_logits, teacher_logits.detach(), 1 / temperature)
    return alpha * temperature**2 * s + (1 - alpha) * hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "KL in place of cross entropy", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    q = (teacher_logits.detach() / temperature).softmax(1)
    losses = mix(student_logits, teacher_logits, labels, temperature, alpha)
    return losses - alpha * temperature**2 * torch.special.entr(q).sum(1)


@MUTANTS.of("distillation_loss", "student and teacher exchanged", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    return mix(teacher_logits, student_logits, labels, temperature, alpha)


@MUTANTS.of("distillation_loss", "the mean over classes, torch's default", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    q = (teacher_logits.detach() / temperature).softmax(1)
    s = -(q * (student_logits / temperature).log_softmax(1)).mean(1)
    return alpha * temperature**2 * s + (1 - alpha) * hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "squared difference of logits, the limit", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    s = ((student_logits - teacher_logits.detach()) / temperature).square().mean(1) / 2
    return alpha * temperature**2 * s + (1 - alpha) * hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "averaged over the batch", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    return mix(student_logits, teacher_logits, labels, temperature, alpha).mean()


@MUTANTS.of("distillation_loss", "0 times -inf is nan", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    q = (teacher_logits.detach() / temperature).softmax(1)
    s = -(q * (student_logits / temperature).log_softmax(1)).sum(1)
    return alpha * temperature**2 * s + (1 - alpha) * hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "the logarithm of a softmax that underflows", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    log_p = (student_logits / temperature).softmax(1).log()
    s = soft(log_p * temperature, teacher_logits.detach(), temperature)
    return alpha * temperature**2 * s + (1 - alpha) * hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "the teacher learns, too", killed_by="gradient")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    s = soft(student_logits, teacher_logits, temperature)
    return alpha * temperature**2 * s + (1 - alpha) * hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "the student detached in the soft term", killed_by="gradient")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    s = soft(student_logits.detach(), teacher_logits.detach(), temperature)
    return alpha * temperature**2 * s + (1 - alpha) * hard(student_logits, labels)


@MUTANTS.of("distillation_loss", "one teacher's row for the whole batch", killed_by="errors")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    checked(student_logits, student_logits, labels, temperature, alpha)
    teacher = teacher_logits.expand_as(student_logits)
    return mix(student_logits, teacher, labels, temperature, alpha)


@MUTANTS.of("distillation_loss", "alpha above 1: away from the labels", killed_by="errors")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    checked(student_logits, teacher_logits, labels, temperature)
    return mix(student_logits, teacher_logits, labels, temperature, alpha)


@MUTANTS.of("distillation_loss", "a negative temperature lets the order turn", killed_by="errors")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    checked(student_logits, teacher_logits, labels, abs(temperature), alpha)
    return mix(student_logits, teacher_logits, labels, temperature, alpha)


@MUTANTS.of("distillation_loss", "softened in half precision", killed_by="bfloat16")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    return mix(student_logits, teacher_logits, labels, temperature, alpha)


@MUTANTS.of("distillation_loss", "a one-hot of int64", killed_by="value")
def _(student_logits, teacher_logits, labels, *, temperature=4.0, alpha=0.9):
    q = (teacher_logits.detach() / temperature).softmax(1)
    truth = F.one_hot(labels, student_logits.shape[1])
    targets = (alpha * temperature**2 * q + (1 - alpha) * truth).to(truth)
    return -(targets * student_logits.log_softmax(1)).sum(1)
