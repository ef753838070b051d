"""Starting a loss: what the templates give passes the layout test but for what a person writes."""

import re
import shutil
import subprocess
import sys

import pytest

import lossbook
from lossbook.book import __main__ as command
from lossbook.book.runs import add, chapters
from tests import test_layout as layout


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("lossbook", "tests/templates", "docs/regression"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(chapters.ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("regression", "answers", "mutants"):
        shutil.copytree(chapters.ROOT / "tests" / name, tmp_path / "tests" / name)
    monkeypatch.setattr(add, "ROOT", tmp_path)
    monkeypatch.setattr(layout, "ROOT", tmp_path)
    return tmp_path


def test_a_new_loss_lacks_what_a_person_must_write_and_nothing_else(root, capsys):
    before = list(layout.mirror(root))
    assert command.main(["add", "regression/near"]) == 0
    files = capsys.readouterr().out.split()
    assert files == [
        *("lossbook/regression/near.py", "tests/regression/test_near.py"),
        *("docs/regression/near.md", "tests/mutants/near.py", "tests/answers/regression/near.py"),
        "lossbook/__init__.py",
    ]
    code, test, text, mutants, answers, listed = [(root / file).read_text() for file in files]
    assert list(layout.mirror(root)) == before
    address = f"{layout.MKDOCS['site_url']}regression/near/"
    assert list(layout.loss_file(code, address)) == ["near_loss: Reference has no year"]
    assert list(layout.chapter(text)) == []
    known = {}
    exec(compile(answers, "answers.py", "exec"), known)
    assert list(layout.form(text, known["ANSWERS"])) == []
    meta = layout.front_matter(text)
    docs = root / "docs"
    assert list(layout.data(meta, "regression/near", ["near_loss"], layout.BIBLIOGRAPHY, docs)) == [
        "paper: 'author2000' is not in references.bib"
    ]
    homes = lossbook._homes(listed.encode())
    assert homes == {**lossbook._HOMES, "near_loss": "lossbook.regression.near"}
    lint = [sys.executable, "-m", "ruff", "check", "--quiet", root / files[0], root / files[-1]]
    assert subprocess.run(lint, capture_output=True, cwd=chapters.ROOT, check=False).stdout == b""
    scope = {}
    exec(compile(code, "near.py", "exec"), scope)
    assert "near_loss" in scope
    compile(test, "test_near.py", "exec")
    known = {}
    exec(compile(mutants, "near.py", "exec"), known)
    assert {mutant.of for mutant in known["MUTANTS"]} == {"near_loss"}
    assert re.findall(r'"lossbook[\w.]*"', mutants) == ['"lossbook.regression.near"']


def test_the_first_and_the_last_of_the_list_are_in_their_place(root):
    for module in ("lossbook.aaa.first", "lossbook.zzz.last"):
        add.export(module, "found")
    exports = [
        line.split()[1]
        for line in (root / "lossbook/__init__.py").read_text().splitlines()
        if line.startswith("    from lossbook.")
    ]
    assert exports == sorted(exports)
    assert (exports[0], exports[-1]) == ("lossbook.aaa.first", "lossbook.zzz.last")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere/near", "expected a family of regression, classification, "),
        ("foundations/near", "got 'foundations'"),
        ("regression", "expected a stem of lower-case letters, digits and _, got ''"),
        ("regression/../near", "got '../near'"),
        ("regression/huber", "expected a new loss, got lossbook/regression/huber.py, tests/"),
    ],
)
def test_what_cannot_be_added_is_refused(root, name, said, capsys):
    before = sorted(root.rglob("*"))
    with pytest.raises(SystemExit, match="2"):
        command.main(["add", name])
    assert said in capsys.readouterr().err
    assert sorted(root.rglob("*")) == before
