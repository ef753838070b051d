import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbook.book.pages.speed import FORMULA
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.embedding.arcface import arcface_loss, sphereface_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, integer, real


def faces(rng):
    x = real(rng.normal(size=(6, 3)))
    return x, real(rng.normal(size=(5, 3))), integer([0, 3, 4, 1, 3, 2])


def flat(rng):
    """Angles in a plane, also obtuse ones."""
    x = real(rng.normal(size=(4, 2)))
    return x, real([[1.0, 0.2], [-2.0, 0.1], [0.3, 1.5]]), integer([2, 0, 1, 0])


def near(rng):
    """Embeddings from 1 down to 1e-6 from prototypes at right angles to each other."""
    w = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    steps = np.array([1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    return real(w + steps * rng.normal(size=(8, 8))), real(w), integer(np.arange(8))


def cosines(x, prototypes):
    dots = (x[:, None] * prototypes).sum(2)
    lengths = np.sqrt((x * x).sum(1)[:, None] * (prototypes * prototypes).sum(1))
    return np.maximum(-1, np.minimum(1, dots / np.where(lengths == 0, 1, lengths)))


def softmax_loss(cosines, own, labels, scale):
    true = np.arange(cosines.shape[1]) == labels[:, None]
    logits = scale * np.where(true, np.stack(own)[:, None], cosines)
    return np.log(np.exp(logits).sum(1)) - logits[true]


def additive_angle(embeddings, prototypes, labels, scale=64.0, margin=0.5):
    c, own = cosines(embeddings, prototypes), []
    for cosine in c[np.arange(len(labels)), labels]:
        theta = np.arccos(cosine)
        past = np.sin(theta + margin) < 0  # Beyond pi, to all digits of the angle.
        own.append(cosine - margin * math.sin(margin) if past else np.cos(theta + margin))
    return softmax_loss(c, own, labels, scale)


def angular_softmax(embeddings, prototypes, labels, margin=4):
    c, own = cosines(embeddings, prototypes), []
    for cosine in c[np.arange(len(labels)), labels]:
        theta = np.arccos(cosine)
        k = next(k for k in range(margin) if k == margin - 1 or margin * theta <= (k + 1) * np.pi)
        own.append((-1) ** k * np.cos(margin * theta) - 2 * k)
    return softmax_loss(c, own, labels, np.sqrt((embeddings**2).sum(1))[:, None])


def pml_arcface(embeddings, prototypes, labels, scale=64.0, margin=0.5):
    from pytorch_metric_learning.losses import ArcFaceLoss

    if not margin:
        return NotImplemented
    loss = ArcFaceLoss(*prototypes.shape, margin=math.degrees(margin), scale=scale).double()
    loss.W.data = prototypes.T.clone()
    return torch.stack([loss(x[None], y[None]) for x, y in zip(embeddings, labels, strict=True)])


def pml_sphereface(embeddings, prototypes, labels, margin=4):
    from pytorch_metric_learning.losses import SphereFaceLoss

    loss = SphereFaceLoss(*prototypes.shape, margin=margin, scale=1).double()
    loss.W.data = prototypes.T.clone()
    return torch.stack([loss(x[None], y[None]) for x, y in zip(embeddings, labels, strict=True)])


AXES = real([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
ADVERSARIAL = {
    "cosine 1": (real([[1.0, 0.0], [0.0, 1.0]]), AXES, integer([0, 1])),
    "cosine 1 but for rounding": (
        real([[0.3, -0.7]]),
        real([[0.9, -2.1], [1.0, 0.0]]),
        integer([0]),
    ),
    "cosine -1": (real([[1.0, 0.0], [-7.0, 0.0]]), AXES, integer([2, 0])),
    "a right angle": (real([[0.0, 2.0]]), AXES, integer([0])),
    "zero embedding": (real([[0.0, 0.0], [1.0, 1.0]]), AXES, integer([0, 1])),
    "zero prototype": (real([[1.0, 2.0]] * 2), real([[0.0, 0.0], [1.0, 1.0]]), integer([0, 1])),
    "nearly cosine 1": (real([[1.0, 1e-7]]), AXES, integer([0])),
    "nearly cosine -1": (real([[1.0, 1e-5]]), AXES, integer([2])),
    "one class": (real([[1.0, 2.0]]), real([[2.0, 1.0]]), integer([0])),
    "lengths of 1e4": (real([[1e4, 1e3]]), real([[1e4, 0.0], [-1e4, 1e4]]), integer([1])),
}
HUGE = {
    "squares overflow": (real([[1e200, 1e200]]), real([[1e200, 0.0], [0.0, 3.0]]), integer([1])),
}
ROWS, WEIGHTS, LABELS = torch.zeros(2, 3), torch.zeros(4, 3), integer([0, 1])


def errors():
    return [
        ((ROWS, WEIGHTS, LABELS[:1]), {}, r"labels of shape \(2,\), got \(1,\)"),
        ((ROWS, WEIGHTS, LABELS[:, None]), {}, r"labels of shape \(2,\), got \(2, 1\)"),
        ((ROWS, WEIGHTS[:, :1], LABELS), {}, r"prototypes of shape \(C, 3\), got \(4, 1\)"),
        ((ROWS, WEIGHTS[0], LABELS), {}, r"prototypes of shape \(C, 3\), got \(3,\)"),
        ((ROWS[0], WEIGHTS, LABELS), {}, r"embeddings of shape \(N, D\)"),
        ((ROWS.long(), WEIGHTS, LABELS), {}, "floating embeddings .* got torch.int64"),
        ((ROWS, WEIGHTS.long(), LABELS), {}, "floating prototypes, got torch.int64"),
    ]


# Of a vector of length 1e-5 the gradient is beyond float16; zero vectors stand above.
COMMON = {
    "inputs": (faces, flat),
    "near": near,
    "batch": (0, 2),
    "classes": {1: 0, 2: 0},
    "domains": {0: (0.05, 100.0), 1: (0.05, 100.0)},
}


def cases():
    given = (ROWS, WEIGHTS, LABELS)
    return [
        Case(
            loss=arcface_loss,
            reference=additive_angle,
            settings=(
                {},
                {"margin": 0.0},
                {"margin": math.pi / 2, "scale": 8.0},
                {"margin": 1.2, "scale": 0.0},
            ),
            # cos(theta + margin) jumps where theta + margin is pi; both ends are tried.
            ranges={"scale": (0.0, 80.0), "margin": (0.0, math.pi / 2)},
            adversarial=ADVERSARIAL | HUGE,
            invariances={"lengths": lambda x, w, y: (3 * x, w / 7, y)},
            relations={
                "at margin 0 it is cross entropy of the scaled cosines": lambda loss, x, w, y: (
                    loss(x, w, y, margin=0.0),
                    cross_entropy(64 * F.normalize(x) @ F.normalize(w).T, y),
                ),
                "at scale 0 it is log C": lambda loss, x, w, y: (
                    loss(x, w, y, scale=0.0),
                    real([math.log(len(w))] * len(x)),
                ),
            },
            peers={"pytorch-metric-learning": pml_arcface},
            errors=[
                *errors(),
                (given, {"scale": -1.0}, "scale >= 0, got -1.0"),
                (given, {"scale": math.nan}, "scale >= 0, got nan"),
                (given, {"margin": -0.1}, r"margin in \[0, pi/2\] radians, got -0.1"),
                (given, {"margin": 28.6}, r"margin in \[0, pi/2\] radians, got 28.6"),
                (given, {"margin": math.nan}, "margin in .*, got nan"),
            ],
            facts={
                "chance": (
                    (real([[0.0, 0.0]]), real([[1.0, 0.0], [0.0, 1.0]]), integer([0])),
                    math.log1p(math.exp(64 * math.sin(0.5))),
                    "a zero embedding, with two classes",
                ),
                "convex": False,
            },
            **COMMON,
        ),
        Case(
            loss=sphereface_loss,
            reference=angular_softmax,
            settings=({}, {"margin": 1}, {"margin": 2}, {"margin": 3}),
            adversarial=ADVERSARIAL,
            invariances={"lengths of the prototypes": lambda x, w, y: (x, w / 7, y)},
            relations={
                "at margin 1 it is cross entropy": lambda loss, x, w, y: (
                    loss(x, w, y, margin=1),
                    cross_entropy(x @ F.normalize(w).T, y),
                ),
                # Not among the settings: next to the optimum a sevenfold angle loses digits.
                "at margin 7 it is the equation": lambda loss, x, w, y: (
                    loss(x, w, y, margin=7),
                    real(angular_softmax(*(v.detach().numpy() for v in (x, w, y)), margin=7)),
                ),
                "short embeddings leave log C": lambda loss, x, w, y: (
                    loss(1e-14 * x, w, y),
                    real([math.log(len(w))] * len(x)),
                ),
            },
            peers={"pytorch-metric-learning": pml_sphereface},
            errors=[
                *errors(),
                (given, {"margin": 0}, "margin to be an integer >= 1, got 0"),
                (given, {"margin": -2}, "margin to be an integer >= 1, got -2"),
                (given, {"margin": 2.5}, "margin to be an integer >= 1, got 2.5"),
                (given, {"margin": math.nan}, "margin to be an integer >= 1, got nan"),
            ],
            facts={
                "range": (0.0, math.inf),
                "chance": (
                    (real([[0.0, 0.0]]), AXES, integer([0])),
                    math.log(3),
                    "a zero embedding: log C, with C = 3",
                ),
                "convex": False,
            },
            **COMMON,
        ),
    ]


def angles(parts):
    made = []

    def peer(x, w, y):
        if not made:
            made.append(parts[0].ArcFaceLoss(*w.shape, margin=math.degrees(0.5), scale=64))
            del made[0].W
        # Its prototypes are our own leaf, turned round, so that both train the same.
        made[0].W = w.T
        return made[0](x, y)

    return peer


def plain_arcface(x, w, y):
    cosines = F.linear(F.normalize(x), F.normalize(w)).clamp(-1 + 1e-7, 1 - 1e-7)
    angles = cosines.acos() + 0.5 * F.one_hot(y, len(w))
    return F.cross_entropy(64 * angles.cos(), y)


def plain_sphereface(x, w, y):
    cosines = F.linear(F.normalize(x), F.normalize(w)).clamp(-1 + 1e-7, 1 - 1e-7)
    theta = cosines.acos()
    k = (4 * theta / math.pi).floor()
    psi = (1 - 2 * (k % 2)) * (4 * theta).cos() - 2 * k
    hot = F.one_hot(y, len(w))
    return F.cross_entropy(x.norm(dim=1)[:, None] * (cosines * (1 - hot) + psi * hot), y)


def rows():
    def faces(n):
        return bench.leaf(n, 512), bench.leaf(10_000, 512), torch.randint(10_000, (n,))

    form = {"shape": "{} x 512, 10000 classes", "n": 256, "inputs": faces, "slower": bench.UNITS}
    peers = {
        "pytorch-metric-learning": bench.metric_learning(angles),
        FORMULA: plain_arcface,
    }
    return [
        Row(arcface_loss, peers=peers, **form),
        Row(sphereface_loss, peers={FORMULA: plain_sphereface}, **form),
    ]


def turned(theta):
    """Give a unit embedding at each angle from the first of two opposite prototypes."""
    theta = torch.as_tensor(theta, dtype=torch.float64)
    x = torch.stack([theta.cos(), theta.sin()], 1)
    return x, real([[1.0, 0.0], [-1.0, 0.0]]), torch.zeros(len(x), dtype=torch.int64)


def true_logit(loss, theta, **settings):
    """Undo the softmax: the other logit is -cos theta, the loss softplus of the difference."""
    x, w, y = turned(theta)
    return -torch.cos(torch.as_tensor(theta)) - loss(x, w, y, **settings).expm1().log()


def test_values_by_hand():
    # Cosines 3/5 and 4/5; cos(theta + 0.5) is 3/5 cos 0.5 - 4/5 sin 0.5 and the reverse.
    x, w = real([[3.0, 4.0]] * 2), real([[5.0, 0.0], [0.0, 0.1]])
    c, s = math.cos(0.5), math.sin(0.5)
    expected = [
        math.log1p(math.exp(10 * (0.8 - (0.6 * c - 0.8 * s)))),
        math.log1p(math.exp(10 * (0.6 - (0.8 * c - 0.6 * s)))),
    ]
    losses = arcface_loss(x, w, integer([0, 1]), scale=10.0)
    assert losses.tolist() == pytest.approx(expected)
    assert arcface_loss(x, w, integer([0, 1])).tolist() == pytest.approx(
        [64 * (0.8 - (0.6 * c - 0.8 * s)), math.log1p(math.exp(64 * (0.6 - (0.8 * c - 0.6 * s))))]
    )


def test_past_pi_it_goes_on_falling():
    # At pi cos(pi + 0.5) would be -0.8776; the rule says -1 - 0.5 sin 0.5 = -1.2397.
    theta = torch.linspace(0, math.pi, 401, dtype=torch.float64)
    t = true_logit(arcface_loss, theta, scale=1.0)
    assert (t.diff() < 0).all()
    assert t[-1].item() == pytest.approx(-1.2397127693021015)
    before, after = true_logit(
        arcface_loss, [math.pi - 0.5 - 1e-9, math.pi - 0.5 + 1e-9], scale=1.0
    )
    assert before.item() == pytest.approx(-1)
    assert after.item() == pytest.approx(-math.cos(0.5) - 0.5 * math.sin(0.5))


def test_the_slope_in_the_angle_is_exact():
    """Of t = cos(theta + 0.5) it is -sin(theta + 0.5), down to angles of 1e-6."""
    for angle in (1e-6, 1e-3, 0.1, 1.0, 2.0, 2.6):
        theta = real([angle]).requires_grad_()
        (slope,) = torch.autograd.grad(true_logit(arcface_loss, theta, scale=1.0).sum(), theta)
        assert slope.item() == pytest.approx(-math.sin(angle + 0.5), rel=1e-8)


def test_small_angles_in_float32():
    # 1 - cos^2 has no digits left at 1e-4: the loss would be off by 2 %.
    x = torch.tensor([[1.0, 1e-4]])
    w = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    exact = arcface_loss(x.double(), w.double(), integer([0]), scale=16.0).item()
    assert arcface_loss(x, w, integer([0]), scale=16.0).item() == pytest.approx(exact, rel=1e-5)


def test_gradients_at_cosines_of_one():
    for sign in (1, -1):
        for loss in (arcface_loss, sphereface_loss):
            for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
                x = torch.tensor([[0.3, -0.7], [1.0, 0.0]], dtype=dtype, requires_grad=True)
                w = torch.cat([sign * 3 * x.detach(), x.detach().flip(1)]).requires_grad_()
                slopes = torch.autograd.grad(loss(x, w, integer([0, 1])).sum(), (x, w))
                assert all(slope.isfinite().all() for slope in slopes)
                assert max(slope.abs().max() for slope in slopes) < 200


def test_a_zero_vector_moves_nowhere():
    x = real([[0.0, 0.0], [1.0, 1.0]]).requires_grad_()
    w = real([[0.0, 0.0], [1.0, -3.0], [1.0, 0.0]]).requires_grad_()
    slopes = torch.autograd.grad(arcface_loss(x, w, integer([1, 0])).sum(), (x, w))
    for slope in slopes:
        assert not slope[0].any()
        assert slope[1].any()
    (slope,) = torch.autograd.grad(sphereface_loss(x, w, integer([1, 0])).sum(), w)
    assert not slope[0].any()


def test_lengths_at_the_ends_of_float32():
    x, w, y = faces(np.random.default_rng(0))
    x, w = x.float(), w.float()
    for size in (1e30, 1e-30):
        losses = arcface_loss(size * x, size * w, y)
        assert torch.allclose(losses, arcface_loss(x, w, y), rtol=1e-4, atol=1e-5)
        losses = sphereface_loss(x, size * w, y)
        assert torch.allclose(losses, sphereface_loss(x, w, y), rtol=1e-4, atol=1e-5)


def test_psi_at_known_angles():
    # psi(0, pi/4, pi/2, 3 pi/4, pi) = 1, -1, -3, -5, -7.
    angles = [0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4, math.pi]
    psi = true_logit(sphereface_loss, angles)
    assert psi.tolist() == pytest.approx([1, -1, -3, -5, -7])


def test_psi_falls_and_is_exact_in_its_slope():
    theta = torch.linspace(0.01, 3.1, 200, dtype=torch.float64).requires_grad_()
    psi = true_logit(sphereface_loss, theta)
    assert (psi.diff() < 0).all()
    (slope,) = torch.autograd.grad(psi.sum(), theta)
    k = (4 * theta.detach() / math.pi).floor()
    assert torch.allclose(slope, -4 * (-1.0) ** k * torch.sin(4 * theta.detach()), atol=1e-9)


def test_only_the_true_column_is_edited():
    """The others still compete by their plain cosine."""
    x, w, y = faces(np.random.default_rng(0))
    losses = arcface_loss(x, w, y, scale=2.0)
    plain = 2 * F.normalize(x) @ F.normalize(w).T
    for i in range(len(x)):
        others = torch.cat([plain[i, : y[i]], plain[i, y[i] + 1 :]]).logsumexp(0)
        target = 2 * math.cos(math.acos(plain[i, y[i]] / 2) + 0.5)
        if math.acos(plain[i, y[i]] / 2) + 0.5 <= math.pi:
            assert losses[i].item() == pytest.approx(math.log1p(math.exp(others - target)))


def test_a_learned_margin_gets_its_gradient():
    # With t = cos(theta + m) the loss has the slope 10 (1 - p) sin(theta + m).
    x, w = real([[3.0, 4.0]]), real([[1.0, 0.0], [0.0, 1.0]])
    margin = torch.nn.Parameter(real(0.5))
    loss = arcface_loss(x, w, integer([0]), scale=10.0, margin=margin)
    (slope,) = torch.autograd.grad(loss.sum(), margin)
    wrong = 1 - math.exp(-loss.item())
    expected = 10 * wrong * math.sin(math.acos(0.6) + 0.5)
    assert slope.item() == pytest.approx(expected, rel=1e-9)


def test_a_certain_answer_keeps_its_digits():
    # At a right angle to the other prototype: log(1 + exp(-64 cos 0.5)) is 4e-25.
    x, w = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    expected = math.log1p(math.exp(-64 * math.cos(0.5)))
    assert arcface_loss(x, w, integer([0])).item() == pytest.approx(expected, rel=1e-4)


def test_autocast_rounds_no_logits():
    # Logits of some hundreds, where bfloat16 steps by 1 or more.
    x, w, y = faces(np.random.default_rng(0))
    x, w = 100 * x.float(), w.float()
    with torch.autocast("cpu", torch.bfloat16):
        losses = sphereface_loss(x, w, y)
    assert losses.equal(sphereface_loss(x, w, y))


def test_second_slope_at_a_zero_vector_is_a_number():
    x = torch.eye(3, 4)
    x[1] = 0
    x.requires_grad_()
    prototypes, labels = torch.ones(3, 4).cumsum(1), torch.arange(3)
    for function in (arcface_loss, sphereface_loss):
        (slope,) = torch.autograd.grad(function(x, prototypes, labels).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(slope.square().sum(), x)
        assert slope.isfinite().all()
        assert second.isfinite().all()
