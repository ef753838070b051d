"""Criterion: every sentence of its docstring, and its use with accumulation and two processes."""

import copy
import functools
import json
import math
import pickle
import subprocess
import sys

import mypy.api
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lossbook import (
    Criterion,
    batch_hard_triplet_loss,
    crammer_singer_loss,
    cross_entropy,
    distillation_loss,
    focal_loss,
    huber_loss,
    info_nce,
    multibox_loss,
    sigmoid_focal_loss,
)


def identity(values):
    """The simplest loss: its values are its input."""
    return values


def batch(n=12, c=5):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, c, generator=generator, dtype=torch.float64)
    return logits, torch.arange(n) % c


def test_mean_without_weights_is_the_mean():
    x, y = batch()
    torch.testing.assert_close(Criterion(cross_entropy)(x, y), F.cross_entropy(x, y))


def test_reductions_by_hand():
    losses, weights = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 0.0, 1.0])
    # 3 * 1 + 0 * 2 + 1 * 4 = 7, and the weights sum to 4.
    assert Criterion(identity)(losses, weights=weights).item() == 7 / 4
    assert Criterion(identity, reduction="sum")(losses, weights=weights).item() == 7
    assert Criterion(identity, reduction="none")(losses, weights=weights).tolist() == [3, 0, 4]


def test_small_weights_keep_their_mean():
    losses, weights = torch.tensor([1.0, 2.0]), torch.tensor([0.25, 0.25])
    assert Criterion(identity)(losses, weights=weights).item() == 1.5
    # Weights wider than the loss keep their width: in float32 these would be 0.
    tiny = torch.tensor([1e-50, 1e-50], dtype=torch.float64)
    assert Criterion(identity)(losses, weights=tiny).item() == 1.5


def test_class_weights_equal_torchs_weighted_mean():
    x, y = batch()
    w = torch.tensor([0.5, 1.0, 2.0, 3.0, 0.0], dtype=torch.float64)
    ours = Criterion(cross_entropy)(x, y, weights=w[y])
    torch.testing.assert_close(ours, F.cross_entropy(x, y, weight=w))


def test_weights_may_be_bool_or_integer():
    losses, mask = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([True, False, True])
    assert Criterion(identity)(losses, weights=mask).item() == 2.5
    assert Criterion(identity)(losses, weights=mask.long()).item() == 2.5


def test_normalizer_takes_the_place_of_the_sum_of_weights():
    losses, weights = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 0.0, 1.0])
    for ten in (10, 10.0, torch.tensor(10), torch.tensor([10.0])):
        mean = Criterion(identity)(losses, weights=weights, normalizer=ten)
        assert mean.shape == ()
        assert mean.item() == pytest.approx(0.7)
        assert Criterion(identity)(losses, normalizer=ten).item() == pytest.approx(0.7)


def test_sum_and_none_ignore_the_normalizer():
    losses = torch.tensor([1.0, 2.0, 4.0])
    assert Criterion(identity, reduction="sum")(losses, normalizer=10).item() == 7
    assert Criterion(identity, reduction="none")(losses, normalizer=10).tolist() == [1, 2, 4]
    for wrong in (0, -1.0, math.nan, torch.ones(3)):
        assert Criterion(identity, reduction="sum")(losses, normalizer=wrong).item() == 7


def test_zero_weight_removes_nan_and_inf():
    losses = torch.tensor([1.0, math.nan, math.inf, 4.0])
    weights = torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert Criterion(identity)(losses, weights=weights).item() == 2.5
    assert Criterion(identity, reduction="sum")(losses, weights=weights).item() == 5
    none = Criterion(identity, reduction="none")(losses, weights=weights)
    assert none.tolist() == [1, 0, 0, 4]


def test_nan_with_weight_is_not_hidden():
    losses = torch.tensor([1.0, math.nan])
    assert Criterion(identity)(losses).isnan()
    assert Criterion(identity)(losses, weights=torch.tensor([0.0, 0.5])).isnan()


def test_zero_weight_sends_exactly_zero_back():
    losses = torch.tensor([1.0, math.nan, math.inf, 4.0], requires_grad=True)
    weights = torch.tensor([1.0, 0.0, 0.0, 1.0])
    for reduction in ("mean", "sum", "none"):
        reduced = Criterion(identity, reduction=reduction)(losses, weights=weights)
        (slope,) = torch.autograd.grad(reduced.sum(), losses)
        half = 0.5 if reduction == "mean" else 1.0
        assert slope.tolist() == [half, 0, 0, half]


def test_zero_weight_gets_exactly_zero_back():
    losses = torch.tensor([1.0, math.nan, math.inf, 4.0])
    weights = torch.tensor([1.0, 0.0, 0.0, 1.0], requires_grad=True)
    # The mean is 2.5, and a weight moves it by (loss - 2.5) / 2.
    for reduction, slopes in (("mean", [-0.75, 0, 0, 0.75]), ("sum", [1, 0, 0, 4])):
        reduced = Criterion(identity, reduction=reduction)(losses, weights=weights)
        (slope,) = torch.autograd.grad(reduced, weights)
        assert slope.tolist() == slopes


def test_nothing_left_is_zero_with_zero_gradient():
    losses = torch.tensor([1.0, math.nan], requires_grad=True)
    for normalizer in (None, 3.0, torch.tensor(0.0)):
        mean = Criterion(identity)(losses, weights=torch.zeros(2), normalizer=normalizer)
        (slope,) = torch.autograd.grad(mean, losses)
        assert mean.item() == 0
        assert slope.tolist() == [0, 0]


def test_weights_that_cancel_are_divided_by_the_normalizer():
    # (1 * 3 - 1 * 1) / 4; weights like the advantages of a policy.
    losses = torch.tensor([3.0, 1.0], requires_grad=True)
    weights = torch.tensor([1.0, -1.0])
    for four in (4, 4.0, torch.tensor(4)):
        mean = Criterion(identity)(losses, weights=weights, normalizer=four)
        (slope,) = torch.autograd.grad(mean, losses)
        assert mean.item() == 0.5
        assert slope.tolist() == [0.25, -0.25]
    assert not Criterion(identity)(losses, weights=weights).isfinite()  # The caller's error.


def test_a_normalizer_of_0_is_1_only_where_nothing_is_left():
    nothing = torch.tensor(0.0)
    losses = torch.tensor([3.0, 1.0])
    assert Criterion(identity)(losses, weights=torch.zeros(2), normalizer=nothing).item() == 0
    assert Criterion(identity)(torch.zeros(0), normalizer=nothing).item() == 0
    assert Criterion(identity)(losses, normalizer=nothing).item() == math.inf
    cancelling = torch.tensor([1.0, -1.0])
    assert Criterion(identity)(losses, weights=cancelling, normalizer=nothing).item() == math.inf


def test_a_number_as_normalizer_keeps_its_digits():
    losses = torch.ones(3, dtype=torch.float64)
    for number in (0.1, 1e9 + 1, 2**53 - 1):
        assert Criterion(identity)(losses, normalizer=number).item() == 3 / number
    weighted = Criterion(identity)(losses.float(), weights=losses, normalizer=0.1)
    assert weighted.item() == 3 / 0.1


def test_empty_batch_is_zero_with_zero_gradient():
    x = torch.zeros(0, 5, requires_grad=True)
    for arguments in ({}, {"weights": torch.zeros(0)}, {"normalizer": 7}):
        mean = Criterion(cross_entropy)(x, torch.zeros(0, dtype=torch.int64), **arguments)
        (slope,) = torch.autograd.grad(mean, x)
        assert mean.item() == 0
        assert slope.shape == (0, 5)


def test_ignore_index_equals_torchs_mean():
    x, y = batch()
    y[::3] = -100
    for void in (-100, 255):
        labels = y.where(y != -100, void)
        ours = Criterion(cross_entropy, ignore_index=void)(x, labels)
        torch.testing.assert_close(ours, F.cross_entropy(x, labels, ignore_index=void))


def test_ignore_index_with_smoothing_equals_the_kept_rows():
    x, y = batch()
    y[::3] = -100
    kept = y != -100
    criterion = Criterion(cross_entropy, ignore_index=-100, label_smoothing=0.1)
    expected = Criterion(cross_entropy, label_smoothing=0.1)(x[kept], y[kept])
    torch.testing.assert_close(criterion(x, y), expected)


def test_ignore_index_works_for_focal_loss_and_dense_labels():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 4, 5, generator=generator, requires_grad=True)
    y = torch.randint(3, (2, 4, 5), generator=generator)
    y[0, 1:3] = 255
    alpha = torch.tensor([0.2, 0.3, 0.5])
    mean = Criterion(focal_loss, ignore_index=255, alpha=alpha)(x, y)
    (slope,) = torch.autograd.grad(mean, x)
    kept = y != 255
    flat = focal_loss(x.movedim(1, -1)[kept], y[kept], alpha=alpha)
    torch.testing.assert_close(mean, flat.mean())
    assert not slope.movedim(1, -1)[~kept].any()


def test_class_weights_and_ignore_index_multiply():
    x, y = batch()
    w = torch.tensor([0.5, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    ignored = y.clone()
    ignored[::3] = -100
    ours = Criterion(cross_entropy, ignore_index=-100)(x, ignored, weights=w[y])
    torch.testing.assert_close(ours, F.cross_entropy(x, ignored, weight=w))


def test_ignoring_everything_is_zero_with_zero_gradient():
    x, y = batch()
    x.requires_grad_()
    mean = Criterion(cross_entropy, ignore_index=-100)(x, torch.full_like(y, -100))
    (slope,) = torch.autograd.grad(mean, x)
    assert mean.item() == 0
    assert not slope.any()


def test_labels_are_not_changed():
    x, y = batch()
    y[::3] = -100
    before = y.clone()
    Criterion(cross_entropy, ignore_index=-100)(x, y)
    assert y.equal(before)


def test_half_precision_is_summed_in_float32():
    # 70,000 ones: their sum exceeds float16's largest number, 65504; in bfloat16 a sum of ones
    # stops at 256.
    for dtype in (torch.float16, torch.bfloat16):
        ones = torch.ones(70_000, dtype=dtype)
        for arguments in ({}, {"weights": ones}, {"normalizer": 70_000}):
            assert Criterion(identity)(ones, **arguments).item() == 1
            assert Criterion(identity, reduction="sum")(ones, **arguments).item() == 70_000


def test_mean_and_sum_are_float32_or_wider_and_none_is_the_losses():
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        wide = torch.promote_types(dtype, torch.float32)
        for width in (None, torch.float64, torch.float32, torch.float16, torch.int64, torch.bool):
            weights = None if width is None else torch.ones(3, dtype=width)
            expected = torch.float64 if width == torch.float64 else wide
            for reduction in ("mean", "sum", "none"):
                ours = Criterion(identity, reduction=reduction)(
                    torch.ones(3, dtype=dtype), weights=weights
                )
                assert ours.dtype == (dtype if reduction == "none" else expected)


def test_integer_losses_are_weighted_as_numbers():
    halves = Criterion(torch.abs, reduction="none")(torch.tensor([-3]), weights=torch.tensor([0.5]))
    assert halves.tolist() == [1.5]


def test_weights_of_another_shape_raise():
    x, y = batch(4, 4)
    for shape in ((), (1,), (3,), (4, 1), (1, 4), (4, 4)):
        for dtype in (torch.float32, torch.bool):
            with pytest.raises(ValueError, match=r"expected weights of shape \(4,\), got \("):
                Criterion(cross_entropy)(x, y, weights=torch.ones(shape, dtype=dtype))


def test_ignore_index_needs_labels_of_the_losses_shape():
    x = batch(4, 4)[0]
    criterion = Criterion(cross_entropy, ignore_index=-100)
    for second in (x.softmax(1), None):
        with pytest.raises(ValueError, match="expected integer labels as second input"):
            criterion(x, second)

    def mean_of_rows(x, _):
        return x.mean(1)

    with pytest.raises(ValueError, match=r"expected labels for ignore_index of shape \(4,\), got"):
        Criterion(mean_of_rows, ignore_index=0)(x, torch.ones(4, 4).long())


def test_normalizer_must_be_one_positive_number():
    for wrong in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match="expected normalizer > 0, got"):
            Criterion(identity)(torch.ones(3), normalizer=wrong)
    with pytest.raises(ValueError, match=r"expected normalizer of one element, got \(3,\)"):
        Criterion(identity)(torch.ones(3), normalizer=torch.ones(3))


def test_unknown_reduction_and_setting_raise():
    with pytest.raises(ValueError, match="expected reduction 'mean', 'sum' or 'none', got 'avg'"):
        Criterion(huber_loss, reduction="avg")
    with pytest.raises(TypeError, match="beta"):
        Criterion(huber_loss, beta=1.0)


def test_rows_that_are_compared_cannot_be_ignored():
    losses = [batch_hard_triplet_loss, multibox_loss, distillation_loss]
    for wrapped in (*losses, functools.partial(batch_hard_triplet_loss)):
        with pytest.raises(ValueError, match=r"expected no ignore_index .*leave .* out.*, got -1"):
            Criterion(wrapped, ignore_index=-1)


def test_rows_that_are_compared_need_no_ignore_index():
    x, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    found = Criterion(batch_hard_triplet_loss, margin=2.0)(x, y)
    assert found.equal(batch_hard_triplet_loss(x, y, margin=2.0).mean())


def test_the_loss_sees_label_0_where_one_is_ignored_and_its_other_inputs():
    seen = []

    def spy(x, targets, factor):
        seen.append(targets.tolist())
        return x * factor

    x, y = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, -1, 1])
    criterion = Criterion(spy, ignore_index=-1)
    assert criterion(x, y, 3.0).item() == 3 * 2.5
    assert criterion(x, targets=y, factor=3.0).item() == 3 * 2.5
    assert seen == [[2, 0, 1]] * 2
    with pytest.raises(ValueError, match=r"for ignore_index, got torch\.float32$"):
        criterion(x, x, 3.0)


def test_other_callables_may_ignore():
    def theirs(embeddings, labels):
        return embeddings.sum(1) * labels

    x, y = torch.ones(2, 3), torch.tensor([1, -1])
    assert Criterion(theirs, ignore_index=-1)(x, y).item() == 3
    assert Criterion(crammer_singer_loss, ignore_index=-1)(x, y).item() == 1
    # Of a function written in C there is no signature.
    assert Criterion(torch.maximum, ignore_index=-1)(torch.tensor([0, 5]), y).item() == 1


def test_a_callable_without_a_signature():
    assert Criterion(torch.abs)(torch.tensor([-1.0, 3.0])).item() == 2


def test_inputs_by_name():
    x, y = batch()
    y[::3] = -100
    for arguments in ({}, {"ignore_index": 255}):
        labels = y.where(y != -100, 255) if arguments else y.relu()
        criterion = Criterion(cross_entropy, **arguments)
        expected = criterion(x, labels)
        assert criterion(logits=x, labels=labels).equal(expected)
        assert criterion(x, labels=labels).equal(expected)
    with pytest.raises(ValueError, match="expected integer labels as second input"):
        Criterion(cross_entropy, ignore_index=255)(logits=x)


def test_settings_reach_the_loss():
    x, y = torch.tensor([8.0]), torch.tensor([0.0])
    # delta (|r| - delta / 2) = 2 (8 - 1)
    assert Criterion(huber_loss, delta=2.0)(x, y).item() == 14


def test_tensor_settings_move_with_the_module():
    alpha = torch.tensor([0.2, 0.3, 0.5])
    criterion = Criterion(focal_loss, alpha=alpha, gamma=1.0)
    assert [name for name, _ in criterion.named_buffers()] == ["setting_alpha"]
    assert criterion.state_dict()["setting_alpha"].equal(alpha)
    assert not list(criterion.parameters())
    assert criterion.double().setting_alpha.dtype == torch.float64
    assert criterion.to("meta").setting_alpha.device.type == "meta"


def heat(kind):
    value = torch.tensor(0.5)
    return nn.Parameter(value) if kind is nn.Parameter else value


def test_a_parameter_among_the_settings_is_learned():
    temperature = nn.Parameter(torch.tensor(0.5))
    criterion = Criterion(info_nce, temperature=temperature)
    assert dict(criterion.named_parameters()) == {"setting_temperature": temperature}
    assert not list(criterion.buffers())

    def scaled(x, y, *, temperature):
        return (x - y).sum(1) / temperature

    x, y = torch.ones(2, 3), torch.zeros(2, 3)
    Criterion(scaled, temperature=temperature)(x, y).backward()
    assert temperature.grad.item() == -12  # Of 3 / T, at T = 1/2.


@pytest.mark.parametrize("kind", [nn.Parameter, torch.Tensor])
def test_what_people_do_with_modules(kind):
    def own(criterion):
        return criterion.setting_temperature

    criterion = Criterion(info_nce, temperature=heat(kind))
    x = torch.eye(3)
    value = criterion(x, x)
    for twin in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert twin(x, x).equal(value)
        assert isinstance(own(twin), kind)
        assert own(twin) is not own(criterion)

    other = Criterion(info_nce, temperature=heat(kind) / 2 if kind is torch.Tensor else heat(kind))
    with torch.no_grad():
        own(other).fill_(3.0)
    other.load_state_dict(criterion.state_dict())
    assert other(x, x).equal(value)

    assert own(criterion.half()).dtype == torch.float16
    assert own(criterion.to(torch.float64)).dtype == torch.float64
    assert own(criterion.to("meta")).is_meta

    shared = heat(kind)
    pair = nn.ModuleList([Criterion(info_nce, temperature=shared) for _ in range(2)])
    assert own(pair[0]) is own(pair[1])
    assert len(list(pair.parameters())) == (kind is nn.Parameter)
    seen = []
    pair.apply(seen.append)
    assert len(seen) == 3


def test_description_names_loss_and_settings():
    criterion = Criterion(cross_entropy, ignore_index=255, label_smoothing=0.1)
    expected = "cross_entropy, reduction='mean', ignore_index=255, label_smoothing=0.1"
    assert criterion.extra_repr() == expected
    assert Criterion(info_nce, temperature=heat(nn.Parameter)).extra_repr() == (
        "info_nce, reduction='mean', temperature=Parameter()"
    )


def test_description_prints_no_thousand_weights():
    many = Criterion(focal_loss, alpha=torch.ones(1000), gamma=2.0)
    assert many.extra_repr() == "focal_loss, reduction='mean', alpha=Tensor(1000,), gamma=2.0"

    def weighed(x, *, alpha):
        return x * sum(alpha)

    assert len(repr(Criterion(weighed, alpha=tuple(range(1000))))) < 100


TYPED = """
import torch
from typing import assert_type
from lossbook.criterion import Criterion
def loss(x: torch.Tensor) -> torch.Tensor:
    return x
assert_type(Criterion(loss, reduction="sum")(torch.ones(3), normalizer=2.0), torch.Tensor)
Criterion(loss, reduction="avg")
Criterion(loss)(torch.ones(3), weights=3)
"""


@pytest.mark.slow
def test_types_know_the_reductions_and_the_call():
    said, _, _ = mypy.api.run(["--strict", "--config-file=", "-c", TYPED])
    assert [line.split(":")[1] for line in said.splitlines()[:-1]] == ["8", "9"], said


def test_detection_divides_by_the_positives():
    # The focal loss paper divides the sum over all anchors by the number of positives.
    x = torch.linspace(-3, 3, 8)
    y = torch.tensor([0.0, 0, 0, 0, 0, 1, 0, 1])
    ours = Criterion(sigmoid_focal_loss)(x, y, normalizer=y.sum())
    torch.testing.assert_close(ours, sigmoid_focal_loss(x, y).sum() / 2)


def test_accumulated_gradient_is_that_of_the_whole_batch():
    x, y = batch()
    y[1:5] = -100  # Three parts with 1, 3 and 4 labels left.
    model = torch.nn.Linear(5, 5).double()
    criterion = Criterion(cross_entropy, ignore_index=-100)

    criterion(model(x), y).backward()
    whole = model.weight.grad.clone()

    model.zero_grad()
    count = (y != -100).sum()
    for part in range(0, 12, 4):
        rows = slice(part, part + 4)
        criterion(model(x[rows]), y[rows], normalizer=count).backward()
    torch.testing.assert_close(model.weight.grad, whole)


def test_compiles_in_one_graph():
    x, y = batch()
    y[::3] = -100
    weights = torch.arange(12.0)
    criterion = Criterion(cross_entropy, ignore_index=-100)
    torch.compiler.reset()
    fast = torch.compile(criterion, fullgraph=True, backend="eager")
    torch.testing.assert_close(fast(x, y, weights=weights), criterion(x, y, weights=weights))
    count = torch.tensor(4.0)
    torch.testing.assert_close(fast(x, y, normalizer=count), criterion(x, y, normalizer=count))


PROCESS = """
import json, sys
import torch
from torch.distributed import all_reduce, destroy_process_group, init_process_group
from lossbook import Criterion, cross_entropy
store, rank, data = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
torch.set_num_threads(1)
init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
weight = torch.tensor(data["weight"], dtype=torch.float64, requires_grad=True)
x = torch.tensor(data["x"][rank], dtype=torch.float64)
y = torch.tensor(data["y"][rank])
count = (y != -100).sum()
all_reduce(count)
Criterion(cross_entropy, ignore_index=-100)(x @ weight.T, y, normalizer=count / 2).backward()
all_reduce(weight.grad)
print(json.dumps((weight.grad / 2).tolist()))  # The average, as DistributedDataParallel has it.
destroy_process_group()
"""


def test_two_processes_give_the_gradient_of_one(tmp_path):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    y = torch.tensor([[0, 1, 2, 0, 1, 2], [1, -100, -100, 2, -100, -100]])  # Six labels and two.
    weight = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    data = json.dumps({"x": x.tolist(), "y": y.tolist(), "weight": weight.tolist()})
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path / "store"), str(rank), data],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = []
    for process in started:
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0, err
        outputs.append(out)

    weight.requires_grad_()
    logits = x.flatten(0, 1) @ weight.T
    whole = Criterion(cross_entropy, ignore_index=-100)(logits, y.flatten())
    (expected,) = torch.autograd.grad(whole, weight)
    for out in outputs:
        gradient = torch.tensor(json.loads(out), dtype=torch.float64)
        torch.testing.assert_close(gradient, expected)


def test_a_module_may_ignore_labels_by_name():
    class Module(torch.nn.Module):
        def forward(self, scores, labels):
            return cross_entropy(scores, labels)

    criterion = Criterion(Module(), ignore_index=-100)
    labels = torch.tensor([0, -100])
    value = criterion(torch.zeros(2, 3), labels=labels)
    assert value.item() == pytest.approx(math.log(3))
