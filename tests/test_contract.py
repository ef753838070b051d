"""The contract itself: what it must never say, and what it must find."""

import json
import math

import numpy as np
import pytest
import torch

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


def test_a_check_without_parts_is_not_run():
    for check in ("peers", "relations", "errors"):
        result = contract.run(case(), check)
        assert result["status"] == "not run"
        assert result["reason"]


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
    report = contract.alone.__wrapped__()
    found = {path.rsplit("/")[-1][:-3]: entry for path, entry in report.items()}
    assert found["good"] == {"error": None, "examples": {"loss": [1, 0, ""]}}
    assert found["wrong"]["examples"]["loss"][:2] == [1, 1]
    assert "tensor([3., 3.])" in found["wrong"]["examples"]["loss"][2]
    for name, missing in (("numpy", "numpy"), ("ours", "lossbook"), ("scientific", "scipy")):
        assert f"No module named '{missing}'" in found[name]["error"]
