import json
import subprocess
from types import SimpleNamespace

import pytest

from lossbook.book.runs import changed

HUBER = "lossbook/regression/huber.py"


@pytest.fixture(autouse=True)
def _runs(tmp_path, monkeypatch):
    """Stored runs: of two chapters, one of which loaded the Huber loss."""
    monkeypatch.setattr(changed, "BUILD", tmp_path)
    (tmp_path / "runs").mkdir()
    for chapter in changed.load()[0]:
        needs = {HUBER: "0"} if chapter.name == "foundations/outliers" else {}
        path = tmp_path / f"runs/{chapter.name.replace('/', '.')}.json"
        path.write_text(json.dumps({"needs": needs}))


def test_a_loss_reaches_its_tests_and_the_chapters_that_loaded_it(tmp_path):
    found = changed.reached([HUBER])
    assert {HUBER, "tests/regression/test_huber.py", "tests/test_layout.py"} <= set(found)
    assert "tests/regression/test_absolute_error.py" in found, "it compares with smooth L1"
    assert [path for path in found if path.startswith("docs/")] == ["docs/foundations/outliers.md"]
    drift = "tests/book/test_drift.py::test_a_chapter_prints_what_was_recorded"
    assert [path for path in found if path.startswith(drift)] == [f"{drift}[foundations/outliers]"]
    assert "tests/sequence/test_ctc.py" not in found
    (tmp_path / "runs/regression.poisson_nll.json").unlink()
    assert "docs/regression/poisson_nll.md" in changed.reached([HUBER]), (
        "nobody knows what it loads"
    )


def test_a_chapter_reaches_its_blocks_its_record_and_the_layout():
    assert changed.reached(["docs/regression/huber.md"]) == [
        "docs/regression/huber.md",
        "tests/book/test_drift.py::test_a_chapter_prints_what_was_recorded[regression/huber]",
        "tests/test_layout.py",
    ]


@pytest.mark.parametrize(
    "file",
    [
        *("tests/contract.py", "lossbook/criterion.py", "lossbook/book/plots.py", "mkdocs.yml"),
        *("lossbook/regression/gone.py", "lossbook/regression/__init__.py", "docs/references.bib"),
    ],
)
def test_anything_else_reaches_everything(file):
    assert changed.reached([HUBER, file]) == []


def test_no_change_reaches_the_layout_alone():
    assert changed.reached([]) == ["tests/test_layout.py"]


def test_a_test_file_reaches_itself():
    file = "tests/regression/test_huber.py"
    assert changed.reached([file]) == [file, "tests/test_layout.py"]


@pytest.mark.parametrize("known", [["origin/main", "main"], ["main"], []])
def test_what_changed_is_what_differs_from_main_and_what_is_new(monkeypatch, known):
    def git(command, **_):
        said = {
            **{("merge-base", "HEAD", name): f"base of {name}" for name in known},
            ("diff", "--name-only", f"base of {known[0]}" if known else "HEAD"): "a.py\nb.md",
            ("ls-files", "--others", "--exclude-standard"): "new.py",
        }
        assert command[0] == "git"
        return SimpleNamespace(stdout=said.get(tuple(command[1:]), ""))

    monkeypatch.setattr(subprocess, "run", git)
    assert changed.files() == ["a.py", "b.md", "new.py"]
