"""What runs inside a kernel, without one: doctests, charts, and the watches."""

import os
import sys
from types import ModuleType, SimpleNamespace

import altair as alt
import IPython
import numpy as np
import pytest
import torch

from lossbook.book.runs import kernel


@pytest.fixture
def shell(monkeypatch):
    """A shell: its namespace, what it displays, what is called after each cell."""
    shown, called = [], []
    events = SimpleNamespace(register=lambda event, call: called.append((event, call)))
    made = SimpleNamespace(user_ns={}, events=events, shown=shown, called=called)
    monkeypatch.setattr(IPython, "get_ipython", lambda: made)
    monkeypatch.setattr(
        IPython.display, "display", lambda data, *, raw=False: shown.append((data, raw))
    )
    return made


def test_a_doctest_that_holds_says_nothing_and_shares_the_namespace(shell):
    shell.user_ns["kept"] = 1
    kernel.check(">>> kept\n1\n>>> more = kept + 1\n>>> print('a')\na\n", "docs/a.md", 7)
    assert shell.shown == []
    assert shell.user_ns["more"] == 2
    kernel.check(">>> int('one')\nTraceback (most recent call last):\nValueError: x\n", "a", 1)
    ((data, _),) = shell.shown
    assert "Expected:" in data[kernel.DOCTEST]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (">>> 1\n2\n", ['File "docs/a.md", line 8, ', "Expected:\n    2\nGot:\n    1\n"]),
        (">>> 1\n1\n>>> 3\n4\n", ['File "docs/a.md", line 10, ', "Got:\n    3\n"]),
        (
            ">>> 1\n",
            ["line 8, in docs/a.md\nFailed example:\n    1\nExpected nothing\nGot:\n    1"],
        ),
        (">>> 1\n2\n>>> 3\n4\n", ["line 8, ", "Got:\n    1\n", "line 10, ", "Got:\n    3\n"]),
        (">>> 1 / 0\n", ["line 8, ", "ZeroDivisionError: division by zero"]),
        (">>> 1 / 3\n0.333\n", ["Expected:\n    0.333\n"]),
        (">>> [1,  2]\n[1,  2]\n", ["Got:\n    [1, 2]"]),
        ("1 without a prompt\n", ["docs/a.md:7: a pycon block without a prompt\n"]),
    ],
)
def test_what_differs_is_displayed_for_the_runner(shell, source, said):
    kernel.check(source, "docs/a.md", 7)
    ((data, raw),) = shell.shown
    assert raw
    assert data.keys() == {kernel.DOCTEST, "text/plain"}
    assert data["text/plain"] == ""
    at = 0
    for part in said:
        at = data[kernel.DOCTEST].index(part, at) + len(part)


def test_a_cell_that_draws_from_torch_is_told_once(capsys):
    state = torch.get_rng_state()
    watch = kernel.watch_random()
    watch("a cell's result")
    np.random.default_rng(0).random()
    watch()
    assert capsys.readouterr().err == ""
    torch.rand(1)
    watch()
    assert "it drew from torch's random generator" in capsys.readouterr().err
    watch()
    assert capsys.readouterr().err == ""
    torch.rand(1)
    watch()
    assert capsys.readouterr().err
    torch.set_rng_state(state)


def test_only_files_that_are_opened_by_name_are_noted(monkeypatch, tmp_path):
    monkeypatch.setattr(kernel, "_opened", set())
    monkeypatch.chdir(tmp_path)
    kernel._note("open", ("a.csv", "r", 0))
    kernel._note("open", ("/b.csv", "r", 0))
    kernel._note("open", (3, "r", 0))
    kernel._note("import", ("c.py",))
    assert kernel._opened == {os.path.join(os.getcwd(), "a.csv"), "/b.csv"}


def test_a_run_needs_what_it_loaded_opened_and_asked_for(shell, monkeypatch, tmp_path):
    root = tmp_path.resolve()
    opened = ["docs/data.csv", "docs/../docs/a.bib", ".venv/x.py", "build/y", "site/z", "x.pyc"]
    opened += [
        "own.egg-info/PKG-INFO",
        "node_modules/n.js",
        "lossbook/__init__.py",
        "docs/build/kept",
        "docs/site.txt",
    ]
    loaded = ModuleType("loaded")
    loaded.__file__ = f"{root}/lossbook/regression/huber.py"
    nowhere = ModuleType("nowhere")
    nowhere.__file__ = None
    homes = {"huber_loss": "lossbook.regression.huber", "focal_loss": "lossbook.focal"}
    package = SimpleNamespace(_HOMES=homes, huber_loss=len, other=1)
    monkeypatch.setattr(kernel, "ROOT", root)
    monkeypatch.setattr(kernel, "_opened", {f"{root}/{file}" for file in opened} | {"/etc/a"})
    monkeypatch.setattr(kernel, "lossbook", package)
    monkeypatch.setitem(sys.modules, "loaded", loaded)
    monkeypatch.setitem(sys.modules, "nowhere", nowhere)
    kernel.needs()
    found = ["docs/a.bib", "docs/build/kept", "docs/data.csv", "docs/site.txt"]
    found += ["lossbook.huber_loss", "lossbook/regression/huber.py"]
    assert shell.shown == [({kernel.NEEDS: found, "text/plain": ""}, True)]


def test_a_kernel_starts_with_charts_as_specifications_and_its_watches(shell, monkeypatch):
    hooks, before = [], alt.renderers.active
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    try:
        kernel.start()
        shown = alt.renderers.get()({"mark": "line"}, embed_options={})
    finally:
        alt.renderers.enable(before)
        alt.renderers.register("lossbook", None)
    assert hooks == [kernel._note]
    assert shown == {kernel.CHART: {"mark": "line"}, "text/plain": ""}
    ((event, watch),) = shell.called
    assert event == "post_run_cell"
    assert watch() is None
