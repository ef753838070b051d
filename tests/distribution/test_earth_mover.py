import math

import numpy as np
import pytest
import torch

from lossbook.book.pages.speed import FORMULA
from lossbook.distribution.earth_mover import earth_mover_distance, squared_emd_loss
from tests.bench import rows as bench
from tests.bench.measure import Row
from tests.contract import Case, real


def rest_beyond(rng):
    """Five of six bins, so that the last cumulative sums differ and no term sits at its kink."""
    p, q = rng.dirichlet(np.ones(6), size=(2, 4))
    return real(p[:, :5]), real(q[:, :5])


def dense(rng):
    p, q = rng.dirichlet(np.ones(4), size=(2, 2, 3))
    return real(p[..., :3]).movedim(-1, 1), real(q[..., :3]).movedim(-1, 1)


def near(rng):
    histograms, others = rng.dirichlet(np.ones(5), size=(2, 8))
    distances = np.array([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0])[:, None]
    return real(histograms + distances * (others - histograms)), real(histograms)


def with_the_rest(histograms):
    """Rows of all bins: the last one holds what is missing."""
    rows = histograms.movedim(1, -1).flatten(0, -2)
    return torch.cat([rows, 1 - rows.sum(-1, keepdim=True)], -1).clamp_min(0).numpy()


def by_row(distance):
    """Make a peer of a distance between the values and weights of two samples."""

    def peer(predictions, targets):
        pairs = zip(with_the_rest(predictions), with_the_rest(targets), strict=True)
        found = np.array([distance(np.arange(len(p)), p, q) for p, q in pairs])
        return found.reshape(predictions.select(1, 0).shape)

    return peer


@by_row
def scipy_wasserstein(bins, p, q):
    from scipy.stats import wasserstein_distance

    return wasserstein_distance(bins, bins, p, q)


@by_row
def scipy_energy(bins, p, q):
    from scipy.stats import energy_distance

    return energy_distance(bins, bins, p, q) ** 2 / 2


@by_row
def pot_plan(bins, p, q):
    import ot

    costs = np.abs(bins[:, None] - bins[None, :]).astype(float)
    return ot.emd2(p / p.sum(), q / q.sum(), costs)


@by_row
def pot_line(bins, p, q):
    import ot

    return float(ot.wasserstein_1d(bins.astype(float), bins.astype(float), p, q, p=1))


def gaps(predictions, targets):
    """Cumulative differences, bin by bin."""
    p, q = np.moveaxis(predictions, 1, 0), np.moveaxis(targets, 1, 0)
    return [p[: j + 1].sum(0) - q[: j + 1].sum(0) for j in range(len(p))]


def emd(predictions, targets):
    return sum(np.abs(gap) for gap in gaps(predictions, targets))


def squared_emd(predictions, targets):
    return sum(gap * gap for gap in gaps(predictions, targets))


def to_each_bin(slopes):
    """A bin is in its own cumulative sum and in all later ones."""
    slope = np.stack([sum(slopes[j:]) for j in range(len(slopes))], 1)
    return slope, -slope


def emd_slope(predictions, targets):
    return to_each_bin([(g > 0) * 1.0 - (g < 0) * 1.0 for g in gaps(predictions, targets)])


def squared_emd_slope(predictions, targets):
    return to_each_bin([2 * g for g in gaps(predictions, targets)])


def work_of_the_best_plan(predictions, targets):
    """Fill the bins from the left: an optimal plan on a line never crosses itself."""
    found = []
    for p, q in zip(with_the_rest(predictions), with_the_rest(targets), strict=True):
        p, q, work, i, j = p.copy(), q.copy(), 0.0, 0, 0
        while i < len(p) and j < len(q):
            moved = min(p[i], q[j])
            work += moved * abs(i - j)
            p[i], q[j] = p[i] - moved, q[j] - moved
            i, j = (i + 1, j) if p[i] <= q[j] else (i, j + 1)
        found.append(work)
    return real(found).view(predictions.select(1, 0).shape)


def one_hot(index, bins=4):
    return real(np.eye(bins)[index])


SAME = (real([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]]), real([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]]))
ADVERSARIAL = {
    "the same histogram": SAME,
    "from end to end": (one_hot([0, 3]), one_hot([3, 0])),
    "neighbors": (one_hot([0, 2]), one_hot([1, 1])),
    "one bin": (real([[1.0], [0.5]]), real([[1.0], [0.25]])),
    "cumulative sums that cross": (real([[0.5, 0.0, 0.5]]), real([[0.0, 1.0, 0.0]])),
    "underflown softmax": (real([[1.0, 1e-300, 0.0]]), real([[1e-300, 1.0, 0.0]])),
    # Mass 10, for histograms that are not normalized.
    "far apart": (real([[1.0] * 200]) / 10, real([[0.0] * 200])),
}
COMMON = {
    "inputs": (rest_beyond, dense),
    "domains": {0: (0.0, 1.0), 1: (0.0, 1.0)},
    "adversarial": ADVERSARIAL,
    "near": near,
    "invariances": {
        "prediction and target exchanged": lambda p, q: (q, p),
        "the same added to both": lambda p, q: (p + 0.125, q + 0.125),
    },
    "errors": [
        ((torch.zeros(2, 3), torch.zeros(3)), {}, r"targets of shape \(2, 3\), got \(3,\)"),
        ((torch.zeros(2, 3), torch.zeros(1, 3)), {}, r"shape \(2, 3\), got \(1, 3\)"),
        ((torch.zeros(2, 3), torch.zeros(2, 1)), {}, r"shape \(2, 3\), got \(2, 1\)"),
        ((torch.zeros(2, 3), torch.zeros(())), {}, r"shape \(2, 3\), got \(\)"),
    ],
}


def moved(p, q):
    return p.movedim(1, -1), q.movedim(1, -1)


def cases():
    return [
        Case(
            loss=earth_mover_distance,
            reference=emd,
            gradient=emd_slope,
            relations={
                "the work of the best plan": lambda loss, p, q: (
                    loss(p, q),
                    work_of_the_best_plan(p, q),
                ),
                "twice the difference, twice the distance": lambda loss, p, q: (
                    loss(2 * p, 2 * q),
                    2 * loss(p, q),
                ),
                "dim counts the axis": lambda loss, p, q: (loss(*moved(p, q), dim=-1), loss(p, q)),
            },
            peers={
                "scipy": scipy_wasserstein,
                "POT": pot_plan,
                "POT on a line": pot_line,
            },
            facts={"range": (0.0, math.inf), "perfect": (SAME, 0.0), "convex": True},
            **COMMON,
        ),
        Case(
            loss=squared_emd_loss,
            reference=squared_emd,
            gradient=squared_emd_slope,
            relations={
                "twice the difference, four times the loss": lambda loss, p, q: (
                    loss(2 * p, 2 * q),
                    4 * loss(p, q),
                ),
                "dim counts the axis": lambda loss, p, q: (loss(*moved(p, q), dim=-1), loss(p, q)),
                "the earth mover's distance of one gap, squared": lambda loss, p, q: (
                    loss(p[:, :1], q[:, :1]),
                    earth_mover_distance(p[:, :1], q[:, :1]) ** 2,
                ),
            },
            peers={"scipy": scipy_energy},
            facts={"range": (0.0, math.inf), "perfect": (SAME, 0.0), "convex": True},
            **COMMON,
        ),
    ]


def bench_pot(p, q):
    import ot

    bins = torch.arange(p.shape[1], dtype=p.dtype)[:, None].expand(-1, len(p))
    return ot.wasserstein_1d(bins, bins, p.T, q.T, p=1).mean()


def rows():
    def histograms(n):
        return torch.rand(n, 1024).softmax(1).requires_grad_(), torch.rand(n, 1024).softmax(1)

    bins = {"shape": "{} x 1024", "n": 4096, "inputs": histograms, "slower": bench.CALL}
    return [
        Row(
            earth_mover_distance,
            peers={
                "POT": bench_pot,
                FORMULA: lambda p, q: (p.cumsum(1) - q.cumsum(1)).abs().sum(1).mean(),
                "torch idiom": lambda p, q: (p - q).cumsum(1).abs().sum(1).mean(),
            },
            **bins,
        ),
        Row(
            squared_emd_loss,
            peers={
                FORMULA: lambda p, q: ((p.cumsum(1) - q.cumsum(1)) ** 2).sum(1).mean(),
                "torch idiom": lambda p, q: (p - q).cumsum(1).square().sum(1).mean(),
            },
            **bins,
        ),
    ]


def test_values_by_hand():
    # Cumulative sums 0.5, 0.5, 1 and 0, 1, 1: gaps 0.5, -0.5, 0.
    p, q = real([[0.5, 0.0, 0.5]]), real([[0.0, 1.0, 0.0]])
    assert earth_mover_distance(p, q).item() == 1
    assert squared_emd_loss(p, q).item() == 0.5


def test_a_unit_misplaced_by_d_bins_costs_d():
    p, q = one_hot([0, 0, 0, 3]), one_hot([0, 1, 3, 1])
    assert earth_mover_distance(p, q).tolist() == [0, 1, 3, 2]
    assert squared_emd_loss(p, q).tolist() == [0, 1, 3, 2]


def test_mirrored_bins_change_nothing():
    p, q = real([[0.5, 0.25, 0.125, 0.125]]), real([[0.125, 0.125, 0.25, 0.5]])
    for loss in (earth_mover_distance, squared_emd_loss):
        assert loss(p.flip(1), q.flip(1)).equal(loss(p, q))


def test_triangle_inequality():
    rng = np.random.default_rng(0)
    p, q, r = (real(rng.dirichlet(np.ones(5), size=50)) for _ in range(3))
    d = earth_mover_distance
    assert (d(p, r) <= d(p, q) + d(q, r) + 1e-12).all()
    # The square is no metric: two steps of one gap each cost less than one of both.
    a, b, c = real([[1.0, 0.0]]), real([[0.5, 0.5]]), real([[0.0, 1.0]])
    assert squared_emd_loss(a, c) > squared_emd_loss(a, b) + squared_emd_loss(b, c)


def test_order_of_the_bins_matters():
    # Cross entropy cannot tell these apart: each gives the truth, bin 0, half.
    near, far = real([[0.5, 0.5, 0.0]]), real([[0.5, 0.0, 0.5]])
    truth = real([[1.0, 0.0, 0.0]])
    assert earth_mover_distance(near, truth).item() == 0.5
    assert earth_mover_distance(far, truth).item() == 1
    assert squared_emd_loss(near, truth).item() == 0.25
    assert squared_emd_loss(far, truth).item() == 0.5


def test_gradient_is_zero_where_the_histograms_agree():
    for loss in (earth_mover_distance, squared_emd_loss):
        p = SAME[0].clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(p, SAME[1]).sum(), p)
        assert not slope.any()


def test_sums_of_half_precision_do_not_stall():
    # In bfloat16 a running sum of 1/512 stops growing at 1/2.
    p = torch.full((1, 512), 1 / 512).bfloat16()
    q = torch.zeros_like(p)
    q[0, -1] = 1
    # The mean position of p is 255.5, that of q 511.
    assert earth_mover_distance(p, q).item() == pytest.approx(255.5, rel=4e-3)
    assert earth_mover_distance(p, q).dtype == torch.bfloat16


def test_integer_targets_are_cast():
    p = torch.tensor([[0.5, 0.5]])
    assert earth_mover_distance(p, torch.tensor([[1, 0]])).item() == 0.5
    assert squared_emd_loss(p, torch.tensor([[1, 0]])).item() == 0.25
