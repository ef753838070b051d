"""The contract itself: what it must never say, and what it must find."""

import json
import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lossbook.book.pages import card
from tests import contract
from tests.contract import Case, Options, integer, real
from tests.regression import test_huber


def pair(rng):
    return real(rng.normal(size=3)), real(rng.normal(size=3))


def squared_error(predictions, targets):
    return (predictions - targets) ** 2


def case(**fields):
    return Case(**({"loss": squared_error, "inputs": pair, "reference": squared_error} | fields))


def test_every_public_loss_has_one_case():
    names = [case.name for case, _ in contract.discover()]
    assert sorted(set(card.losses()) - set(names)) == []
    assert len(names) == len(set(names))


def test_a_check_that_compares_nothing_fails():
    nothing = case(peers={"numpy": lambda *_: NotImplemented})
    result = contract.run(nothing, "peers")
    assert (result["status"], result["cases"]) == ("failed", 0)
    assert "nothing was compared" in result["reason"]


def test_a_case_that_gives_nothing_fails():
    for check in ("peers", "relations", "errors", "next to the optimum"):
        result = contract.run(case(), check)
        assert result["status"] == "failed"
        assert f"gives nothing for {check!r}" in result["reason"]
        assert contract.run(case(exempt={check: "why"}), check)["status"] == "not run"
    assert "no adversarial inputs" in contract.run(case(), "value")["reason"]


def test_one_failed_part_fails_the_check():
    relations = {"true": lambda _, p, t: (p + t, t + p), "false": lambda _, p, t: (p, t)}
    result = contract.run(case(relations=relations), "relations")
    assert result["status"] == "failed"
    statuses = {name: part["status"] for name, part in result["parts"].items()}
    assert statuses == {"true": "passed", "false": "failed"}


def test_an_exempt_check_says_why():
    exempt = {"vmap": "autograd inside", "layout/empty": "no empty batch"}
    result = contract.run(case(exempt=exempt), "vmap")
    assert (result["status"], result["reason"]) == ("not run", "autograd inside")
    part = contract.run(case(exempt=exempt), "layout")["parts"]["empty"]
    assert (part["status"], part["reason"]) == ("not run", "no empty batch")
    with pytest.raises(ValueError, match=r"expected exempt to name checks of .* got 'speed'"):
        case(exempt={"speed": "too slow"})


def test_a_missing_library_is_not_run():
    def absent(*_):
        import library_that_nobody_has

        return library_that_nobody_has

    result = contract.run(case(peers={"absent": absent}), "peers")
    assert result["status"] == "not run"
    assert result["reason"] == "absent: library_that_nobody_has is not installed"


def test_device_needs_a_device():
    result = contract.run(case(), "device", Options(device="cuda"))
    if torch.cuda.is_available():
        assert (result["status"], result["device"]) == ("passed", "cuda")
    else:
        assert (result["status"], result["reason"]) == ("not run", "no CUDA device")


def test_naive_formulas_are_exact_on_extremes():
    def naive(logits, labels):
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        rows = np.arange(len(labels))
        return np.stack([-np.log(p[rows, labels]), -np.log(1 - p)[rows, labels]])

    logits = real([[1e4, 0.0, -1e4], [0.0, 30.0, 30.0]])
    found = contract.exactly(naive, (logits, integer([2, 0])), {})
    # log(1 - p) of a p of exp(-20000), and -log(1 - e^-30 / 2) = e^-30 / 2 less its square.
    expected = [[2e4, 30 + math.log(2)], [0, math.exp(-30) / 2]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_exact_numbers_follow_numpy():
    def formula(x):
        masked = np.where(x > 0, x, -np.inf)
        weights = np.exp(masked) / np.exp(masked).sum()
        return np.array(
            [
                weights[0],
                (x / x[0])[1],
                np.linalg.norm(x),
                np.log(x[1] + 1),
                x[0] ** -0.5,
            ]
        )

    x = real([0.0, 3.0, 4.0])
    found = contract.exactly(formula, (x,), {})
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found, formula(x.numpy()), rtol=1e-15)


def test_a_second_run_adds_to_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "VETTING", tmp_path)
    huber = test_huber.cases()[0]
    source = contract.Path(test_huber.__file__)

    def written():
        return json.loads((tmp_path / "huber_loss.json").read_text())

    contract.record(huber, source, {"errors": contract.run(huber, "errors")})
    first = written()
    assert set(first["checks"]) == set(contract.CHECKS)
    assert first["checks"]["errors"]["status"] == "passed"
    assert first["checks"]["value"]["status"] == "not run"
    assert first["checks"]["value"]["reason"] == "not run yet"

    contract.record(huber, source, {"relations": contract.run(huber, "relations")})
    second = written()
    assert second["checks"]["errors"] == first["checks"]["errors"]
    assert second["checks"]["relations"]["status"] == "passed"

    # A "not run" takes nothing away; a failure does.
    exempt = contract.summary("errors", {}, Options(), "not today")
    contract.record(huber, source, {"errors": exempt})
    assert written()["checks"]["errors"]["status"] == "passed"
    wrong = contract.replace(huber, errors=[(test_huber.ZERO, {}, "never")])
    contract.record(huber, source, {"errors": contract.run(wrong, "errors")})
    assert written()["checks"]["errors"]["status"] == "failed"


def test_an_absent_peer_keeps_what_its_library_said_before(tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "VETTING", tmp_path)
    huber = test_huber.cases()[0]
    source = contract.Path(test_huber.__file__)
    peers = contract.run(huber, "peers")
    contract.record(huber, source, {"peers": peers})
    ran = {name: part for name, part in peers["parts"].items() if part["status"] == "passed"}

    def gone(*_, **__):
        raise ModuleNotFoundError("gone", name="scipy")

    fewer = contract.replace(huber, peers=dict(huber.peers) | {"scipy": gone})
    contract.record(huber, source, {"peers": contract.run(fewer, "peers")})
    kept = json.loads((tmp_path / "huber_loss.json").read_text())["checks"]["peers"]["parts"]
    assert {name: kept[name] for name in ran} == ran


@pytest.mark.parametrize("key", ["source_sha256", "contract_sha256", "torch", "python"])
def test_results_of_other_code_are_not_kept(key, tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "VETTING", tmp_path)
    huber = test_huber.cases()[0]
    source = contract.Path(test_huber.__file__)
    contract.record(huber, source, {"errors": contract.run(huber, "errors")})
    path = tmp_path / "huber_loss.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: "another"}))
    contract.record(huber, source, {"relations": contract.run(huber, "relations")})
    checks = json.loads(path.read_text())["checks"]
    assert checks["relations"]["status"] == "passed"
    assert checks["errors"]["status"] == "not run"
    assert checks["errors"]["reason"] == "older than the code"


def test_a_file_edited_during_the_run_was_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "VETTING", tmp_path)
    huber = test_huber.cases()[0]
    source = contract.Path(test_huber.__file__)
    result = contract.run(huber, "errors")
    monkeypatch.setitem(contract.IMPORTED, contract.ROOT / huber.file, "of another text")
    contract.record(huber, source, {"errors": result})
    checks = json.loads((tmp_path / "huber_loss.json").read_text())["checks"]
    assert {entry["status"] for entry in checks.values()} == {"not run"}


def test_command_prints_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contract, "VETTING", tmp_path)
    code = contract.main(["huber_loss", "--check", "errors", "--check", "device"])
    assert code == 0, "a test file of another loss does not import"
    assert "huber_loss" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["huber_loss.json"]


GOOD = '''
import torch
def loss(x):
    """
    >>> loss(torch.ones(2))
    tensor([2., 2.])
    """
    return 2 * x
'''


def test_alone_finds_other_imports_and_wrong_examples(tmp_path, monkeypatch):
    folder = tmp_path / "lossbook" / "family"
    folder.mkdir(parents=True)
    files = {
        "good": GOOD,
        "wrong": GOOD.replace("2 * x", "3 * x"),
        "numpy": "import numpy" + GOOD,
        "ours": "import lossbook" + GOOD,
        "scientific": "import scipy" + GOOD,
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(contract, "ROOT", tmp_path)
    report = contract.load_alone()
    found = {path.rsplit("/")[-1][:-3]: entry for path, entry in report.items()}
    assert found["good"] == {"error": None, "examples": {"loss": [1, 0, ""]}}
    assert found["wrong"]["examples"]["loss"][:2] == [1, 1]
    assert "tensor([3., 3.])" in found["wrong"]["examples"]["loss"][2]
    for name, missing in (("numpy", "numpy"), ("ours", "lossbook"), ("scientific", "scipy")):
        assert f"No module named '{missing}'" in found[name]["error"]


# Each of these checks finds the faults for which it was written.


def fails(check, **fields):
    """List the parts of a check that fail on a case, with their reasons."""
    parts = contract.run(case(**fields), check)["parts"]
    return {name: part["reason"] for name, part in parts.items() if part["status"] == "failed"}


def beside(rng):
    targets = rng.normal(size=(4, 3))
    steps = 10.0 ** -np.array([[0], [2], [4], [6]]) * (rng.integers(0, 2, (4, 1)))
    return real(targets + steps * rng.normal(size=(4, 3))), real(targets)


def kl(logits, target_logits):
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits, target_logits))
    return (q * np.log(q / p)).sum(1)


def kl_of_terms_that_cancel(logits, target_logits):
    log_p, log_q = logits.log_softmax(1), target_logits.log_softmax(1)
    return (log_q.exp() * (log_q - log_p)).sum(1)


def test_the_optimum_wants_digits():
    check = "next to the optimum"
    assert fails(check, near=beside) == {}
    cancelling = {"loss": kl_of_terms_that_cancel, "reference": kl, "inputs": beside}
    assert set(fails(check, near=beside, **cancelling)) == {"float64", "float32"}
    for wrong, reason in (
        (lambda p, t: squared_error(p, t) + 1e-13, "where .* is 0"),
        (lambda p, t: squared_error(p, t) - 1e-13, "negative"),
        (lambda p, t: squared_error(p.half(), t.half()).to(p), "the root is off"),
        (lambda p, t: squared_error(p, t).sum(1), "shape"),
    ):
        found = fails(check, near=beside, loss=wrong)
        assert re.search(reason, found["float64"], re.DOTALL)


def test_the_optimum_is_looked_for_where_it_is_0():
    elsewhere = contract.run(case(facts={"range": (-math.inf, 0)}), "next to the optimum")
    assert (elsewhere["status"], elsewhere["reason"]) == ("not run", "its range starts at -inf")
    assert contract.run(case(facts={"range": (0, 1)}), "next to the optimum")["status"] == "failed"


def sized(x):
    return (*pair(x)[:1],)


def power(x, *, gamma: float | Tensor = 2.0):
    if isinstance(gamma, Tensor) and gamma.dim():
        raise ValueError(f"expected gamma to be a number or 0-d, got {tuple(gamma.shape)}")
    return x.abs() ** gamma


def power_reference(x, gamma=2.0):
    return np.abs(x) ** gamma


def power_of_a_number(x, *, gamma: float | Tensor = 2.0):
    return power(x, gamma=float(gamma))


def power_by_cases(x, *, gamma: float | Tensor = 2.0):
    return power(x, gamma=gamma) if gamma else torch.ones_like(x)


def power_detached(x, *, gamma: float | Tensor = 2.0):
    return power(x, gamma=gamma.detach() if isinstance(gamma, Tensor) else gamma)


def power_of_at_least_a_tenth(x, *, gamma: float | Tensor = 2.0):
    return power(x, gamma=torch.as_tensor(gamma).clamp_min(0.1).to(x))


def power_of_any_shape(x, *, gamma: float | Tensor = 2.0):
    return x.abs() ** (gamma.flatten()[0] if isinstance(gamma, Tensor) else gamma)


def power_that_widens(x, *, gamma: float | Tensor = 2.0):
    return power(x, gamma=gamma).to(gamma.dtype if isinstance(gamma, Tensor) else x.dtype)


def power_rounded(x, *, gamma: float | Tensor = 2.0):
    return power(x, gamma=gamma.float() if isinstance(gamma, Tensor) else gamma)


@pytest.mark.parametrize(
    ("loss", "parts"),
    [
        (power, set()),
        (power_of_a_number, {"gradient of gamma", "vmap"}),
        (power_by_cases, {"one graph", "vmap"}),
        (power_detached, {"gradient of gamma"}),
        (power_of_at_least_a_tenth, {"numbers"}),
        (power_of_any_shape, {"shape of gamma"}),
        (power_that_widens, {"dtypes"}),
        (power_rounded, {"tensors"}),
    ],
)
def test_settings_may_be_learned(loss, parts):
    fields = {"loss": loss, "inputs": sized, "reference": power_reference}
    found = fails("settings", ranges={"gamma": (0.0, 3.0)}, **fields)
    assert set(found) >= parts
    assert parts or not found
    assert fails("settings", **fields) == {"ranges": "AssertionError: no range for ['gamma']"}


def test_a_setting_may_be_one_per_class():
    def weighted(x, *, alpha: float | Tensor = 1.0):
        return x * alpha

    fields = {"loss": weighted, "inputs": lambda rng: (real(rng.normal(size=(4, 2))),)}
    fields |= {"reference": lambda x, alpha=1.0: x * alpha, "ranges": {"alpha": (0.0, 1.0)}}
    assert set(fails("settings", **fields)) == {"shape of alpha"}
    assert fails("settings", classes={0: 1, "alpha": 0}, **fields) == {}


def sides(logits, targets):
    return F.softplus((1 - 2 * targets) * logits)


def sides_that_cancel(logits, targets):
    return logits.clamp_min(0) - logits * targets + torch.log1p((-logits.abs()).exp())


def sides_with_a_nan_behind(logits, targets):
    z = (1 - 2 * targets) * logits
    return torch.where(z > 0, z + (-z).exp().log1p(), z.exp().log1p())


def test_infinite_logits_want_the_value_and_a_gradient():
    def two(rng):
        return real(rng.normal(size=2)), real([0.0, 1.0])

    ends = (real([-math.inf, math.inf, math.inf]), real([0.0, 1.0, 0.0]))
    fields = {"inputs": two, "infinite": {"ends": (ends, [0.0, 0.0, math.inf])}}
    assert fails("infinite", loss=sides, **fields) == {}
    everywhere = {"float64", "float32", "bfloat16", "float16"}
    assert set(fails("infinite", loss=sides_that_cancel, **fields)) == everywhere
    found = fails("infinite", loss=sides_with_a_nan_behind, **fields)
    assert "gradient of input 0" in found["float32"]
    assert contract.run(case(loss=sides), "infinite")["status"] == "failed"
    assert contract.run(case(), "infinite")["reason"] == "it takes no logits"


def test_a_finite_point_does_not_stand_for_an_infinite_one():
    infinite = {"none": ((real([1.0]), real([1.0])), [0.0])}
    assert "no input is infinite" in fails("infinite", loss=sides, infinite=infinite)["float64"]


def test_integers_where_floats_belong_are_refused():
    def refuses(predictions, targets):
        if not predictions.is_floating_point():
            raise ValueError(f"expected floating predictions, got {predictions.dtype}")
        return squared_error(predictions.double(), targets).to(predictions)

    assert fails("dtypes", loss=refuses) == {}
    assert set(fails("dtypes")) == {"integers", "mixed"}


def test_mixed_dtypes_give_the_first_ones_as_precisely():
    for wrong in (
        lambda p, t: squared_error(p, t),
        lambda p, t: squared_error(p, t.to(p)),
    ):
        assert "mixed" in fails("dtypes", loss=wrong)


def picked(logits, labels):
    return logits.logsumexp(1) - logits.gather(1, labels[:, None]).squeeze(1)


def picked_with_care(logits, labels):
    for name, x, good in (
        ("floating logits", logits, logits.is_floating_point()),
        ("int64 labels (labels.long())", labels, labels.dtype == torch.int64),
    ):
        if not good:
            raise ValueError(f"expected {name}, got {x.dtype}")
    return picked(logits, labels)


def classes(rng):
    return real(rng.normal(size=(4, 3))), integer([0, 2, 1, 1])


def picked_reference(logits, labels):
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]


PICKED = {"inputs": classes, "reference": picked_reference}


def test_bytes_are_no_labels():
    assert fails("dtypes", loss=picked_with_care, **PICKED) == {}
    assert set(fails("dtypes", loss=picked, **PICKED)) == {"integers", "uint8 labels"}


def test_two_classes_are_tried():
    places = {0: 1, 1: 1}
    assert fails("shapes", loss=picked, classes=places, **PICKED) == {}

    def spread(logits, labels):
        return picked(logits, labels) * logits[:, :3].shape[1] / 3

    assert set(fails("shapes", loss=spread, classes=places, **PICKED)) == {"two classes"}
    assert contract.run(case(loss=picked, **PICKED), "shapes")["status"] == "failed"
    assert contract.run(case(), "shapes")["status"] == "not run"


def test_dim_is_tried_at_every_rank():
    def summed(x, *, dim=1):
        return x.sum(dim)

    def summed_as_images(x, *, dim=1):
        return x.sum(dim if x.dim() < 4 else 1)

    def summed_from_the_front(x, *, dim=1):
        return x.sum(abs(dim) % x.dim())

    fields = {"inputs": lambda rng: (real(rng.normal(size=(4, 3))),)}
    assert fails("shapes", loss=summed, **fields) == {}
    for wrong in (summed_as_images, summed_from_the_front):
        assert set(fails("shapes", loss=wrong, **fields)) == {"ranks"}
    flat = fails("shapes", loss=summed, inputs=sized)
    assert "no form draws matrices" in flat["ranks"]


class Squared(torch.autograd.Function):
    """A backward of its own that knows only plain autograd."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, upstream):
        return 2 * ctx.saved_tensors[0] * upstream


def length_with_a_nan_behind(predictions, targets):
    squares = squared_error(predictions, targets)
    return torch.where(squares > 0, squares.sqrt(), 0)


def mean_of_a_batch(predictions, targets):
    return squared_error(predictions, targets) * (1 if predictions.sum() > 0 else 1.0)


def noted_in_place(predictions, targets):
    return squared_error(predictions.clone().requires_grad_(), targets)


def halved_when_not_learned(predictions, targets):
    return squared_error(predictions, targets) * (0.5 if torch.is_inference_mode_enabled() else 1)


@pytest.mark.parametrize(
    ("loss", "parts"),
    [
        (squared_error, set()),
        (mean_of_a_batch, {"meta"}),
        (lambda p, t: squared_error(p, t).to("cpu"), {"meta"}),
        (length_with_a_nan_behind, {"anomaly mode"}),
        (halved_when_not_learned, {"inference mode"}),
        (lambda p, t: Squared.apply(p - t), {"forward mode", "torch.func.grad"}),
        (noted_in_place, {"torch.func.grad"}),
    ],
)
def test_every_mode_is_tried(loss, parts):
    equal = {"equal": (real([1.0, 2.0]), real([1.0, 0.0]))}
    found = fails("modes", loss=loss, adversarial=equal)
    assert set(found) >= parts
    assert parts or not found


def test_an_exception_says_where_it_came_from():
    def wrong(predictions, _):
        return predictions.no_such_method()

    reason = fails("value", loss=wrong)["random"]
    line = wrong.__code__.co_firstlineno + 1
    assert reason.endswith(f"(tests/test_contract.py:{line})")


def test_the_card_shows_what_a_passed_check_left_out():
    exempt = {"modes/meta": "reads <labels>"}
    told = case(exempt=exempt, adversarial={"equal": (real([1.0]), real([1.0]))})
    cell = card._cell(contract.run(told, "modes"))
    assert cell.startswith('<td class="passed">')
    assert cell.endswith("cases; not run: meta: reads &lt;labels&gt;</td>")


def test_every_check_has_its_line_on_the_card():
    assert list(card.CHECKS) == list(contract.CHECKS)
