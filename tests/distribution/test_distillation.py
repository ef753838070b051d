import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.classification.cross_entropy import cross_entropy
from lossbook.distribution.distillation import distillation_loss
from lossbook.distribution.kl_divergence import kl_divergence
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def answers(rng):
    student, teacher = rng.normal(size=(2, 5, 3)) * 2
    return real(student), real(teacher), integer(rng.integers(0, 3, 5))


def near(rng):
    """Student and teacher sure of the label but for a share of 1 down to 1e-7, at T = 4."""
    labels = rng.integers(0, 3, 8)
    student, teacher = rng.normal(size=(2, 8, 3))
    lead = 4 * math.log(10) * np.arange(8)
    student[np.arange(8), labels] = teacher[np.arange(8), labels] = lead
    return real(student), real(teacher), integer(labels)


def softmax(logits):
    e = np.exp(logits)
    return e / e.sum(1, keepdims=True)


def distillation(student, teacher, labels, temperature=4.0, alpha=0.9):
    q, p = softmax(teacher / temperature), softmax(student / temperature)
    soft = np.where(q > 0, q * np.log(p), 0).sum(1)
    hard = np.log((np.eye(student.shape[1])[labels] * softmax(student)).sum(1))
    return -alpha * temperature**2 * soft - (1 - alpha) * hard


def slope(student, teacher, labels, temperature=4.0, alpha=0.9):
    q, p = softmax(teacher / temperature), softmax(student / temperature)
    truth = np.eye(student.shape[1])[labels]
    return alpha * temperature * (p - q) + (1 - alpha) * (softmax(student) - truth)


def torch_terms(student, teacher, labels, temperature=4.0, alpha=0.9):
    q = (teacher / temperature).softmax(1)
    soft = F.cross_entropy(student / temperature, q, reduction="none")
    hard = F.cross_entropy(student, labels, reduction="none")
    return alpha * temperature**2 * soft + (1 - alpha) * hard


def optax_terms(student, teacher, labels, temperature=4.0, alpha=0.9):
    import optax

    s, t = student.float().numpy(), teacher.float()
    q = (t / temperature).softmax(1).numpy()
    soft = optax.losses.softmax_cross_entropy(s / temperature, q)
    hard = optax.losses.softmax_cross_entropy_with_integer_labels(s, labels.numpy())
    return alpha * temperature**2 * soft + (1 - alpha) * hard


def soft_slope(loss, student, teacher, labels, temperature):
    student = student.clone().requires_grad_()
    losses = loss(student, teacher, labels, temperature=temperature, alpha=1.0)
    (slope,) = torch.autograd.grad(losses.sum(), student)
    return slope


INF = math.inf
ROW = (real([[1.0, 0.0, -1.0]]), real([[2.0, 0.0, 0.0]]), integer([2]))
SURE = (real([[1e5, 0.0, 0.0]]), real([[1e5, 0.0, 0.0]]), integer([0]))


def cases():
    return [
        Case(
            loss=distillation_loss,
            inputs=answers,
            reference=distillation,
            settings=(
                {},
                {"temperature": 1.0, "alpha": 1.0},
                {"temperature": 2.5, "alpha": 0.0},
                {"temperature": 20.0, "alpha": 0.5},
            ),
            adversarial={
                "right and sure": SURE,
                "wrong by 1e4": (real([[1e4, 0.0, -1e4]]), real([[-1e4, 0.0, 1e4]]), integer([2])),
                "the teacher's own answer": (ROW[0], ROW[0], integer([0])),
                "equal logits": (
                    real([[1e4] * 3, [0.0] * 3]),
                    real([[0.0] * 3] * 2),
                    integer([0, 1]),
                ),
                "a class that the teacher rules out": (
                    real([[1.0, 0.0, -1.0]]),
                    real([[-INF, 0.0, 1.0]]),
                    integer([2]),
                ),
                "a class that both rule out": (
                    real([[-INF, 0.0, -1.0]]),
                    real([[-INF, 0.0, 1.0]]),
                    integer([2]),
                ),
            },
            detached=(1,),
            ranges={"temperature": (0.5, 20.0), "alpha": (0.0, 1.0)},
            near=near,
            infinite={
                "a class that both rule out": (
                    (real([[-INF, 0.0, 0.0]]), real([[-INF, 0.0, 0.0]]), integer([1])),
                    [14.5 * math.log(2)],
                ),
                "a class that the student rules out": (
                    (real([[-INF, 0.0, 0.0]]), real([[0.0, 0.0, 0.0]]), integer([1])),
                    [INF],
                ),
                "a label that the student rules out": (
                    (real([[-INF, 0.0, 0.0]]), real([[-INF, 0.0, 0.0]]), integer([0])),
                    [INF],
                ),
            },
            gradient=slope,
            classes={0: 1, 1: 1, 2: 0},
            invariances={
                "shift of the student's logits": lambda s, t, y: (s + 5.0, t, y),
                "shift of the teacher's logits": lambda s, t, y: (s, t - 5.0, y),
            },
            relations={
                "alpha 0 is cross entropy": lambda loss, s, t, y: (
                    loss(s, t, y, alpha=0.0),
                    cross_entropy(s, y),
                ),
                "alpha 1, T 1 is cross entropy with the teacher": lambda loss, s, t, y: (
                    loss(s, t, y, temperature=1.0, alpha=1.0),
                    cross_entropy(s, t.softmax(1)),
                ),
                "the soft term is T^2 (KL + entropy of the teacher)": lambda loss, s, t, y: (
                    loss(s, t, y, temperature=3.0, alpha=1.0),
                    9 * kl_divergence(s / 3, t / 3)
                    + 9 * torch.special.entr((t / 3).softmax(1)).sum(1),
                ),
                "alpha mixes the two terms": lambda loss, s, t, y: (
                    loss(s, t, y, alpha=0.3),
                    0.3 * loss(s, t, y, alpha=1.0) + 0.7 * loss(s, t, y, alpha=0.0),
                ),
            },
            peers={"torch": torch_terms, "optax": optax_terms},
            errors=[
                ((torch.zeros(3), torch.zeros(3), integer([0])), {}, r"\(N, C\), got \(3,\)"),
                (
                    (*[torch.zeros(2, 3, 4)] * 2, integer([[0] * 4] * 2)),
                    {},
                    r"\(N, C\), got \(2, 3",
                ),
                ((ROW[0], real([0.0, 0.0, 0.0]), ROW[2]), {}, r"teacher_logits of shape \(1, 3\)"),
                ((torch.zeros(2, 3), ROW[1], integer([0, 1])), {}, r"shape \(2, 3\), got \(1, 3\)"),
                ((*ROW[:2], integer([[2]])), {}, r"labels of shape \(1,\), got \(1, 1\)"),
                ((*ROW[:2], integer(2)), {}, r"labels of shape \(1,\), got \(\)"),
                (ROW, {"temperature": 0.0}, "temperature > 0, got 0.0"),
                (ROW, {"temperature": -4.0}, "temperature > 0, got -4.0"),
                (ROW, {"temperature": math.nan}, "temperature > 0, got nan"),
                (ROW, {"temperature": torch.ones(2)}, r"temperature of shape \(\), got \(2,\)"),
                (ROW, {"alpha": torch.ones(2)}, r"alpha of shape \(\), got \(2,\)"),
                ((ROW[0], ROW[1].long(), ROW[2]), {}, "floating teacher_logits, got torch.int64"),
                (ROW, {"alpha": -0.1}, r"alpha in \[0, 1\], got -0.1"),
                (ROW, {"alpha": 1.5}, r"alpha in \[0, 1\], got 1.5"),
                (ROW, {"alpha": math.nan}, r"alpha in \[0, 1\], got nan"),
            ],
            facts={
                "range": (0.0, INF),
                "perfect": (SURE, 0.0),
                # Both uniform: (0.9 * 16 + 0.1) log 3.
                "chance": (
                    (torch.zeros(2, 3).double(), torch.zeros(2, 3).double(), integer([0, 2])),
                    14.5 * math.log(3),
                    "both uniform: (alpha T^2 + 1 - alpha) log C, with C = 3",
                ),
                "convex": True,
            },
        ),
    ]


def plain_distillation(s, t, y):
    soft = F.cross_entropy(s / 4, (t / 4).softmax(1))
    return 0.9 * 16 * soft + 0.1 * F.cross_entropy(s, y)


def rows():
    return [
        Row(
            distillation_loss,
            slower="exact where a class is nearly certain: two softmaxes without their likeliest "
            "class, where torch has one kernel for each",
            shape="{} x 1000",
            n=8192,
            inputs=lambda n: (
                bench.leaf(n, 1000),
                torch.randn(n, 1000),
                torch.randint(1000, (n,)),
            ),
            peers={"torch idiom": plain_distillation},
        ),
    ]


def test_value_by_hand():
    # T = 2: the student's logits (0, 2 log 3) soften to (0, log 3), so p = (1/4, 3/4), and the
    # teacher's to q = (1/2, 1/2). Soft: 4 (log 4 + log(4/3)) / 2. Hard: softmax(0, log 9), label 0,
    # costs log 10.
    student, teacher = real([[0.0, 2 * math.log(3)]]), real([[0.0, 0.0]])
    expected = 0.75 * 2 * (math.log(4) + math.log(4 / 3)) + 0.25 * math.log(10)
    loss = distillation_loss(student, teacher, integer([0]), temperature=2.0, alpha=0.75)
    assert loss.item() == pytest.approx(expected)


def test_the_square_of_the_temperature_keeps_the_size_of_the_gradient():
    student, teacher, labels = answers(np.random.default_rng(0))
    sizes = {
        T: soft_slope(distillation_loss, student, teacher, labels, T).norm().item()
        for T in (1.0, 4.0, 20.0)
    }
    # Without T^2 the slope at T = 20 would be 400 times smaller, about as small as 1 / T^2.
    assert 0.5 < sizes[4.0] / sizes[1.0] < 2
    assert 0.5 < sizes[20.0] / sizes[4.0] < 2


def test_at_high_temperature_it_matches_logits():
    # Section 2.1 of the paper: the soft slope becomes (z - v) / C once both are centered.
    student, teacher, labels = answers(np.random.default_rng(0))
    z, v = (x - x.mean(1, keepdim=True) for x in (student, teacher))
    slope = soft_slope(distillation_loss, student, teacher, labels, 1e5)
    torch.testing.assert_close(slope, (z - v) / 3, rtol=1e-3, atol=1e-4)


def test_the_labels_see_the_student_at_temperature_1():
    losses = [distillation_loss(*ROW, temperature=T, alpha=0.0).item() for T in (0.5, 1.0, 20.0)]
    assert losses == pytest.approx([cross_entropy(ROW[0], ROW[2]).item()] * 3)


def test_the_teacher_gets_no_gradient():
    student, teacher = ROW[0].clone().requires_grad_(), ROW[1].clone().requires_grad_()
    distillation_loss(student, teacher, ROW[2]).sum().backward()
    assert teacher.grad is None
    assert student.grad.any()


def test_a_student_that_rules_out_what_the_teacher_expects_costs_inf():
    student = real([[-INF, 0.0, 0.0]])
    assert distillation_loss(student, ROW[1], integer([1])).item() == INF


def test_a_teacher_without_probabilities_makes_the_loss_nan():
    student = real([[1.0, 0.0, -1.0]] * 4).requires_grad_()
    teacher = real([[math.nan, 0.0, 1.0], [INF, 0.0, 1.0], [-INF] * 3, [0.0, 0.0, 1.0]])
    for temperature in (4.0, torch.tensor(4.0)):
        loss = distillation_loss(student, teacher, integer([1] * 4), temperature=temperature)
        (slope,) = torch.autograd.grad(loss.sum(), student)
        assert loss.isnan().tolist() == [True] * 3 + [False]
        assert slope.isnan().all(1).tolist() == [True] * 3 + [False]


def test_a_term_of_weight_0_is_not_there():
    student, teacher = torch.tensor([[1.0, 2.0, -math.inf]]), torch.zeros(1, 3)
    only_hard = distillation_loss(student, teacher, torch.tensor([1]), alpha=0.0)
    assert only_hard.item() == pytest.approx(math.log1p(math.exp(-1)))
    ruled_out = torch.tensor([[0.0, 0.0, -math.inf]])
    only_soft = distillation_loss(student, ruled_out, torch.tensor([2]), alpha=1.0, temperature=1.0)
    assert only_soft.item() == pytest.approx(math.log1p(math.exp(-1)) + 0.5)


def test_a_weight_of_0_as_a_tensor():
    student, teacher = real([[1.0, 2.0, -INF]]), real([[0.0, 0.0, 0.0]])
    alpha = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    loss = distillation_loss(student, teacher, integer([1]), alpha=alpha)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1)))
    # By alpha: the soft term less the hard one.
    loss = distillation_loss(*ROW, temperature=2.0, alpha=alpha)
    (slope,) = torch.autograd.grad(loss.sum(), alpha)
    soft, hard = (distillation_loss(*ROW, temperature=2.0, alpha=a).item() for a in (1.0, 0.0))
    assert slope.item() == pytest.approx(soft - hard)


def test_a_learned_temperature_leaves_the_teacher_alone():
    teacher = ROW[1].clone().requires_grad_()
    t = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    distillation_loss(ROW[0], teacher, ROW[2], temperature=t).sum().backward()
    assert teacher.grad is None
    assert t.grad is not None


def test_more_classes_than_half_precision_counts():
    # float16 ends at 65504.
    x = torch.zeros(1, 70_000).half()
    loss = distillation_loss(x, x, integer([0]), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(70_000), rel=1e-3)
