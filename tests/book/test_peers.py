"""Other libraries: what must agree agrees, what only looks alike differs, nothing else passes."""

import math
import os
import sys
import types

import numpy as np
import pytest
import torch

from lossbook.book import peers

X = torch.tensor([1.0, 2.0, 4.0])


def compared(call, ours=X, *, equal=True, **options):
    """Compare one call, and give its row."""
    calls = {"lib": call}
    found = (
        peers.compare("near_loss", ours, calls, **options)
        if equal
        else peers.compare("near_loss", ours, {}, calls, **options)
    )
    (row,) = found.record["rows"]
    return row


def test_equal_calls_give_a_row_each_and_say_how_close():
    equal = {"NumPy": "np.asarray(x)", "torch": "x + 0"}
    found = peers.compare("near_loss", X, equal, {"half": "x / 2"}, x=X)
    assert found.record["loss"] == "near_loss"
    assert found.record["rows"] == [
        {"library": lib, "call": call, "equal": True, "outcome": "equal within 1e-5"}
        for lib, call in equal.items()
    ] + [{"library": "half", "call": "x / 2", "equal": False, "outcome": "not equal: 0.5, not 1"}]


@pytest.mark.parametrize(
    ("off", "options", "outcome"),
    [
        (0, {}, "equal within 1e-5"),
        (0.99e-5, {}, "equal within 1e-5"),
        (-0.99e-5, {}, "equal within 1e-5"),
        (0.99e-3, {"tolerance": 1e-3}, "equal within 1e-3"),
        (1e-4, {"tolerance": 2e-4}, "equal within 1e-3"),
        (0, {"tolerance": 0.0}, "equal within 0"),
    ],
)
def test_within_the_tolerance_a_call_is_equal(off, options, outcome):
    assert compared("x * (1 + off)", X.double(), x=X.double(), off=off, **options)["outcome"] == (
        outcome
    )


@pytest.mark.parametrize(
    ("call", "options"),
    [
        ("x * (1 + 1.01e-5)", {}),
        ("x * (1 - 1.01e-5)", {}),
        ("x * (1 + 1.01e-3)", {"tolerance": 1e-3}),
        ("-x", {}),
        ("x + torch.tensor([0., 0., 1e-4])", {}),
        ("x + torch.tensor([1e-4, 0., 0.])", {}),
        ("x * torch.nan", {}),
        ("x + torch.tensor([torch.nan, 0., 0.])", {}),
        ("x * torch.inf", {}),
        ("x.flip(0)", {}),
        ("x.sum()", {}),
        ("x[:1]", {}),
        ("torch.zeros(3)", {}),
        ("x + 1e-12", {"tolerance": 0.0}),
    ],
)
def test_beyond_it_the_library_and_its_call_are_named(call, options):
    with pytest.raises(AssertionError) as caught:
        compared(call, X.double(), x=X.double(), **options)
    assert str(caught.value).startswith(f"lib: {call} differs by ")


@pytest.mark.parametrize("scale", [1e-12, 1e-200, 0.0, 1e200])
def test_the_difference_is_relative(scale):
    compared("x", X.double() * scale, x=X.double() * scale)
    with pytest.raises(AssertionError, match="differs by"):
        compared(
            "x + 1e-4 * (scale or 1e-200)", X.double() * scale, x=X.double() * scale, scale=scale
        )


def test_a_nan_of_ours_is_equal_to_nothing():
    with pytest.raises(AssertionError, match="differs by nan"):
        compared("x", X * math.nan, x=X * math.nan)


def test_a_mean_is_compared_with_our_mean():
    assert compared("x.mean()", x=X)["outcome"] == "equal within 1e-5"
    assert compared("[x.mean()]", x=X)["outcome"] == "equal within 1e-5"
    leaf = X.clone().requires_grad_()
    assert compared("leaf * 2", leaf * 2, leaf=leaf)["outcome"] == "equal within 1e-5"


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        ("x * 1.011", "not equal: 1.011, not 1"),
        ("x * 0.989", "not equal: 0.989, not 1"),
        ("x + torch.tensor([0.009, 1, 2])", "not equal: 3, not 2"),
        ("x + torch.tensor([0.009, 0.015, 1])", "not equal: 5, not 4"),
        ("x + torch.tensor([0, 0.1, 2])", "not equal: 2.1, not 2"),
        ("-x", "not equal: -1, not 1"),
        ("x * torch.nan", "not equal: nan, not 1"),
        ("x + torch.tensor([0, torch.inf, 0])", "not equal: inf, not 2"),
        ("x.sum()", "not equal: 7, not 2.333"),
    ],
)
def test_what_only_looks_alike_says_where_it_first_differs(call, outcome):
    assert compared(call, x=X, equal=False)["outcome"] == outcome


@pytest.mark.parametrize("call", ["x", "x * 1.0099", "x * 0.9901", "x.mean()"])
def test_what_should_differ_and_is_equal_is_named(call):
    with pytest.raises(AssertionError) as caught:
        compared(call, X.double(), equal=False, x=X.double())
    assert str(caught.value) == f"lib: {call} is equal after all"


def test_a_library_that_is_missing_is_said_to_be_and_the_next_call_runs():
    for equal in (True, False):
        row = compared("no_such_library.inside.loss(x)", equal=equal, x=X)
        assert row["outcome"] == "not run in this build: no_such_library is not installed"
        assert row["equal"] == equal
    with pytest.raises(AssertionError, match="differs"):
        peers.compare("near_loss", X, {"a": "no_such_library.loss(x)", "b": "x * 2"}, x=X)


@pytest.mark.parametrize("call", ["x.no_such_method()", "unknown(x)", "1 / 0", "math.no_such(x)"])
def test_a_call_that_fails_is_no_missing_library(call):
    with pytest.raises((AttributeError, NameError, ZeroDivisionError)):
        compared(call, x=X)


def test_a_call_that_an_installed_library_lacks_is_no_missing_library():
    with pytest.raises(ModuleNotFoundError, match=r"scipy\.no_such"):
        compared("scipy.no_such.loss(x)", x=X)


def test_another_shape_is_not_equal():
    with pytest.raises(AssertionError, match=r"a: x\[:, None\] has shape \(\d, 1\), not"):
        peers.compare("near_loss", X, {"a": "x[:, None]"}, x=X)


def test_what_a_call_names_itself_is_no_library():
    call = "(lambda row: row.copy())(np.array([y.item() for y in x]))"
    assert compared(call, x=X)["outcome"].startswith("equal")


@pytest.fixture
def _libraries(monkeypatch):
    """One library that takes tensors, and one that takes arrays: each says what it was given."""
    for name in ("timm", "arrays"):
        library, inside = types.ModuleType(name), types.ModuleType(f"{name}.inside")
        inside.kind = lambda x: {np.ndarray: 1.0, torch.Tensor: 2.0}[type(x)]
        library.top = inside.kind
        monkeypatch.setitem(sys.modules, name, library)
        monkeypatch.setitem(sys.modules, f"{name}.inside", inside)
        monkeypatch.setattr(library, "__path__", [], raising=False)


@pytest.mark.usefixtures("_libraries")
@pytest.mark.parametrize(
    ("call", "kind"),
    [
        *(("timm.top(x)", 2.0), ("arrays.top(x)", 1.0), ("arrays.top(x) + 0 * timm.top(x)", 1.0)),
        ("{np.ndarray: 1.0, torch.Tensor: 2.0}[type(x)]", 2.0),
        ("F.relu(torch.ones(1)).item() + timm.top(x) - 1", 2.0),
    ],
)
def test_tensors_reach_libraries_of_arrays_as_arrays(call, kind):
    assert peers._evaluate(call, {"x": X, "n": 3}) == kind


def test_each_library_of_tensors_is_known_as_one():
    names = ["kornia", "monai", "pytorch_metric_learning", "torchvision", "timm", "liger_kernel"]
    names += ["segmentation_models_pytorch"]
    assert all(f"{name}.losses".startswith(peers.TORCH) for name in names)
    assert not any(f"{name}.nn".startswith(peers.TORCH) for name in ("jax", "keras", "optax"))


def test_a_module_inside_a_library_is_imported(tmp_path, monkeypatch):
    inside = tmp_path / "nested_library/deep/deeper.py"
    inside.parent.mkdir(parents=True)
    inside.write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("", ".deep", ".deep.deeper"):
        monkeypatch.delitem(sys.modules, f"nested_library{name}", raising=False)
    row = compared("nested_library.deep.deeper.double(x)", 2 * X, x=X)
    assert row["outcome"] == "equal within 1e-5"


def test_a_peer_that_draws_leaves_the_generator_alone(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.delenv("KERAS_TORCH_DEVICE", raising=False)
    before = torch.get_rng_state()
    compared("0 * torch.rand(3) + x", x=X)
    assert torch.equal(torch.get_rng_state(), before)
    assert os.environ["KERAS_BACKEND"] == "torch"
    assert os.environ["KERAS_TORCH_DEVICE"] == "cpu"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    compared("x", x=X)
    assert os.environ["KERAS_BACKEND"] == "jax"


def test_the_page_gets_the_table_and_the_rows():
    found = peers.compare("near_loss", X, {"a < b": "x if 1 < 2 else 0"}, x=X)
    shown = found._repr_mimebundle_(include=None)
    assert shown[peers.PEERS] == found.record
    assert shown["text/html"] == (
        '<table class="data"><thead><tr><th>library</th><th>call</th><th>outcome</th></tr></thead>'
        "<tbody><tr><td>a &lt; b</td><td><code>x if 1 &lt; 2 else 0</code></td>"
        "<td>equal within 1e-5</td></tr></tbody></table>"
    )
    assert shown["text/plain"].splitlines() == [
        "library  call               outcome",
        "a < b    x if 1 < 2 else 0  equal within 1e-5",
    ]
