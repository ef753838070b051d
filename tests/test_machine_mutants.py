"""Every bug planted in the book's machine is caught by the test that it names."""

import importlib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.mutants.machine import Session

STEMS = [path.stem for path in sorted(Path(__file__).parent.glob("mutants/machine/[!_]*.py"))]
BUGS = {
    (stem, bug.name): bug
    for stem in STEMS
    for bug in importlib.import_module(f"tests.mutants.machine.{stem}").BUGS
}
MANY = {"card", "peers", "drift", "run"}  # What a reader's trust hangs on.


@cache
def session(stem, folder):
    """Run the killers of one module's bugs."""
    one = Session(bug for (of, _), bug in BUGS.items() if of == stem)
    one.run(folder / stem)
    return one


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bugs")


@pytest.mark.parametrize(("stem", "name"), BUGS, ids=[f"{s}: {name}" for s, name in BUGS])
def test_bug_is_caught(stem, name, folder):
    bug = BUGS[stem, name]
    assert bug.source()  # The text that it edits stands there once.
    raised = session(stem, folder).raised[bug]
    assert raised, f"{bug.killed_by} passes"
    # A bug that doesn't run was caught by nobody.
    wrong = (TypeError, NameError, ImportError, AttributeError)
    assert not isinstance(raised[0], wrong), repr(raised[0])


@pytest.mark.parametrize("stem", STEMS)
def test_every_module_has_its_bugs(stem):
    assert Counter(of for of, _ in BUGS)[stem] >= (10 if stem in MANY else 6)
