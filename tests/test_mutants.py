"""Every wrong loss is caught by the check that it names."""

import importlib
import inspect
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import lossbook
from tests import contract
from tests.mutants import KINDS, edits

FOLDER = Path(__file__).parent
MUTANTS = [
    (path.stem, mutant)
    for path in sorted(FOLDER.glob("mutants/[!_]*.py"))
    for mutant in importlib.import_module(f"tests.mutants.{path.stem}").MUTANTS
]


def module_of(stem):
    """Import the test file of a stem."""
    (path,) = FOLDER.rglob(f"test_{stem}.py")
    return importlib.import_module(".".join(path.relative_to(FOLDER.parent).with_suffix("").parts))


def failure(stem, mutant, monkeypatch):
    """Run the named check on the mutant, and say how it failed; None if it passed."""
    module = module_of(stem)
    if mutant.killed_by in contract.CHECKS:
        (case,) = (case for case in module.cases() if case.name == mutant.of)
        wrong = replace(case, loss=mutant.make())
        result = contract.run(wrong, mutant.killed_by, contract.Options(stop=True))
        return result["reason"] if result["status"] == "failed" else None
    test = getattr(module, mutant.killed_by)
    monkeypatch.setattr(module, mutant.of, mutant.make())
    try:
        test()
    except (Exception, pytest.fail.Exception) as error:
        return repr(error)
    return None


@pytest.mark.parametrize(
    ("stem", "mutant"), MUTANTS, ids=[f"{mutant.of}: {mutant.name}" for _, mutant in MUTANTS]
)
def test_mutant_is_caught(stem, mutant, monkeypatch):
    reason = failure(stem, mutant, monkeypatch)
    assert reason, f"{mutant.killed_by!r} passes"
    # A mutant that doesn't run was caught by nobody.
    assert not re.search(r"\b(Type|Name|Attribute|Import)Error", reason), reason


@pytest.mark.slow
def test_no_check_catches_a_copy_without_a_bug(monkeypatch):
    tried = {(stem, mutant.of, mutant.killed_by) for stem, mutant in MUTANTS}
    for stem, of, killed_by in sorted(tried):
        begins = f"class {of}" if of == "Criterion" else f"def {of}("
        (same,) = edits(lossbook._HOMES[of], {of: [("nothing", begins, begins, killed_by)]})
        assert failure(stem, same, monkeypatch) is None, f"{killed_by} of {of}"


def kinds(case):
    """Say of which kinds a loss can have bugs."""
    parameters = inspect.signature(case.loss).parameters
    found = {
        "two classes": case.classes is not None,
        "setting": bool(case.ranges),
        "dim": "dim" in parameters,
        "dtype": True,
    }
    assert tuple(found) == KINDS
    return {kind for kind, possible in found.items() if possible}


def test_every_public_name_has_eight_mutants():
    counts = Counter(mutant.of for _, mutant in MUTANTS)
    elsewhere = {"examine", "gathered"}  # In `mutants/machine`.
    few = {name: counts[name] for name in lossbook._HOMES if counts[name] < 8}
    assert {name: n for name, n in few.items() if name not in elsewhere} == {}


def test_every_loss_has_mutants_of_every_kind():
    for case, _ in contract.discover():
        have = {mutant.kind for _, mutant in MUTANTS if mutant.of == case.name}
        assert not kinds(case) - have, f"{case.name} lacks mutants: {kinds(case) - have}"
