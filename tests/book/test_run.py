"""Running chapters: every failure at its line, every run cached by all that it depends on."""

import os
import re
import shutil
from pathlib import Path

import pytest

from lossbook.book import __main__ as command
from lossbook.book.runs import chapters, run, testing
from lossbook.book.runs.chapters import ChapterError
from lossbook.book.runs.run import Result, Run, run_all

pytest_plugins = ["pytester"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository of its own, without chapters."""
    return repository(tmp_path, monkeypatch)


def repository(root, patch):
    """A second checkout, without chapters."""
    (root / "docs").mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(chapters.ROOT / "lossbook", root / "lossbook", ignore=ignored)
    patch.setattr(chapters, "ROOT", root)
    patch.setattr(chapters, "DOCS", root / "docs")
    patch.setattr(run, "ROOT", root)
    patch.setattr(run, "BUILD", root / "build")
    return root


def write(root, name, body):
    path = root / f"docs/{name}.md"
    path.write_text(f"---\ntitle: {name}\n---\n\n{body}")
    return chapters.read(path)


def line(chapter, text):
    """The line on which a text stands, once."""
    (found,) = [i for i, said in enumerate(chapter.text.splitlines(), 1) if text in said]
    return found


# Real kernels ------------------------------------------------------------------------------------

MISTAKES = """
```python
def fail(x):
    return {}[x]


kept = 1
```

```python
# A comment.

kept += 1
fail("deep")
```

```python
kept = kept +
```

```pycon
>>> kept
2
>>> 1 / 3
0.3333
>>> kept + 1
3
```

```pycon
>>> kept
2

>>> int("one")
```

```python
import a_package_that_is_missing
```

```python
import sys

print("to the reader")
print("to the author", file=sys.stderr)
```

```pycon
3 without a prompt
```

```python
kept
```
"""

MEETING = """
```python
import os
import pathlib
import tempfile
import time

mine, other = pathlib.Path(r"{mine}"), pathlib.Path(r"{other}")
mine.write_text("here")
deadline = time.monotonic() + 60
while not other.exists() and time.monotonic() < deadline:
    time.sleep(0.02)
assert other.exists(), "the other chapter does not run at the same time"
```
"""

GOOD = """
```python
count = 1
```

```pycon
>>> count
1
>>> count = count + 1
>>> def double(x):
...     return 2 * x
```

```python
print(double(count))
double(count)
```

```pycon
>>> double(count)
4
```

```python
pathlib.Path("note.txt").write_text("left behind")
print(os.getcwd(), os.environ["HOME"], tempfile.gettempdir())
```
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Three chapters, two at a time, all in real kernels: chapters and runs by name."""
    with pytest.MonkeyPatch.context() as patch:
        root = repository(tmp_path_factory.mktemp("repository"), patch)
        here, there = tmp_path_factory.mktemp("meeting") / "a", tmp_path_factory.mktemp("m") / "b"
        written = [
            write(root, "good", MEETING.format(mine=here, other=there) + GOOD),
            write(root, "mate", MEETING.format(mine=there, other=here)),
            write(root, "mistakes", MISTAKES),
        ]
        said = []
        runs = run_all(written, workers=2, report=said.append)
        cached = [p.name for p in sorted((root / "build/runs").iterdir())]
        errors = {c.name: r.errors(c) for c, r in zip(written, runs, strict=True)}
        yield {c.name: (c, r) for c, r in zip(written, runs, strict=True)}, errors, said, cached


def test_each_mistake_is_reported_at_its_line_and_the_rest_runs(ran):
    (chapter, done), errors = ran[0]["mistakes"], ran[1]["mistakes"]
    expected = [
        (line(chapter, 'fail("deep")'), "KeyError: 'deep'"),
        (line(chapter, "kept = kept +"), "SyntaxError: invalid syntax"),
        (line(chapter, ">>> 1 / 3"), "Expected:\n    0.3333\nGot:\n    0.3333333333333333"),
        (line(chapter, '>>> int("one")'), "ValueError: invalid literal"),
        (line(chapter, "import a_package"), "ModuleNotFoundError: No module named 'a_package_that"),
        (line(chapter, "import sys") - 1, "the cell wrote to stderr: to the author"),
        (line(chapter, "3 without a prompt") - 1, "a pycon block without a prompt"),
    ]
    assert len(errors) == len(expected)
    for error, (at, text) in zip(errors, expected, strict=True):
        assert error.path == chapter.path
        assert (error.line, text in error.message) == (at, True), error
        assert str(error).startswith(f"docs/mistakes.md:{at}: ")
        assert "\x1b" not in str(error)
    assert done.results[-1].outputs == [{"text/plain": "2"}]


def test_what_a_doctest_says_of_the_rest_of_its_block(ran):
    chapter, done = ran[0]["mistakes"]
    wrong = done.results[3].error
    assert wrong.count("Failed example") == 1
    assert f'File "docs/mistakes.md", line {line(chapter, ">>> 1 / 3")}' in wrong


def test_a_failed_chapter_hides_no_other_and_is_not_cached(ran):
    _, errors, said, cached = ran
    assert errors["good"] == errors["mate"] == []
    assert cached == ["good.json", "mate.json"]
    assert sorted(re.sub(r"\d+\.\d s", "1.0 s", s.split("/3  ")[1]).split() for s in said) == [
        ["good", "1.0", "s"],
        ["mate", "1.0", "s"],
        ["mistakes", "failed"],
    ]


def test_cells_and_doctests_share_their_variables_and_show_their_outputs(ran):
    _, done = ran[0]["good"]
    outputs = [result.outputs for result in done.results]
    assert outputs[3] == [{"text/plain": "4\n"}, {"text/plain": "4"}]
    assert [r.kind for r in done.results] == [
        *("python", "python", "pycon", "python", "pycon", "python")
    ]
    assert outputs[1] == outputs[2] == outputs[4] == []


def test_the_folder_of_a_kernel_is_its_own_and_is_removed(ran):
    where, home, temporary = ran[0]["good"][1].results[5].outputs[-1]["text/plain"].split()[-3:]
    assert where == home == temporary
    assert not Path(where).exists()
    assert not Path(where).parent.exists()
    assert not Path(where).is_relative_to(run.ROOT)


NEEDY = """
```python
import sys
from pathlib import Path

import lossbook
from lossbook import focal_loss
from lossbook.regression.huber import huber_loss

tree = Path(lossbook.__file__).parents[1]
print((tree / "docs/data.csv").read_text(), lossbook.regression.huber.mark, tree)
```
"""


def test_a_kernel_runs_the_lossbook_of_its_own_tree_and_says_what_it_loaded(root):
    add(root / "lossbook/regression/huber.py", "mark = 'second checkout'\n")
    (root / "docs/data.csv").write_text("data")
    chapter = write(root, "needy", NEEDY)
    done = run.run(chapter)
    assert done.errors(chapter) == []
    assert done.results[0].outputs == [{"text/plain": f"data second checkout {root}\n"}]
    assert {need for need in done.needs if "runs/" not in need} == {
        *("chapter", "versions", "docs/data.csv", "lossbook.focal_loss"),
        *("lossbook/classification/__init__.py", "lossbook/classification/focal.py"),
        *("lossbook/regression/__init__.py", "lossbook/regression/huber.py"),
        *("lossbook/book/__init__.py", "lossbook/book/plots.py"),
    }
    assert {need for need in done.needs if "runs/" in need} == {
        f"lossbook/book/runs/{stem}.py"
        for stem in ("__init__", "chapters", "charts", "kernel", "run")
    }
    assert run.run(chapter).cached


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Chapters that break their kernel or leave traces."""
    with pytest.MonkeyPatch.context() as patch:
        root = repository(tmp_path_factory.mktemp("repository"), patch)
        after = "\n```python\nprint('after')\n```\n"
        trace = root / "lossbook/trace.txt"
        written = [
            write(root, "endless", f"```python\nwhile True:\n    pass\n```\n{after}"),
            write(root, "killed", f"```python\nimport os\n\nos._exit(3)\n```\n{after}"),
            write(root, "writer", f"```python\nopen(r'{trace}', 'w').close()\n```\n{after}"),
        ]
        runs = run_all(written, workers=2, seconds=2)
        yield {c.name: (c, r.errors(c)) for c, r in zip(written, runs, strict=True)}, root


@pytest.mark.parametrize(
    ("name", "text"),
    [("endless", "the cell took more than 2 s"), ("killed", "the kernel died")],
)
def test_a_broken_kernel_is_reported_for_every_block_that_did_not_run(broken, name, text):
    chapter, (error, rest) = broken[0][name]
    assert (error.line, error.message) == (5, text)
    assert (rest.line, rest.message) == (line(chapter, "print") - 1, f"not run: line 5: {text}")


def test_a_chapter_that_changes_the_repository_fails(broken):
    _, (error,) = broken[0]["writer"]
    assert error.message == "the chapter changed lossbook/trace.txt"
    assert not (broken[1] / "build").exists()


def test_a_kernel_that_cannot_be_set_up_is_the_chapter_s_failure(root, monkeypatch):
    shadow = root / "shadow"
    shadow.mkdir()
    (shadow / "altair.py").write_text("raise RuntimeError('no charts today')\n")
    environment = run._environment
    path = os.pathsep.join([str(shadow), str(root)])
    monkeypatch.setattr(run, "_environment", lambda w: environment(w) | {"PYTHONPATH": path})
    chapter = write(root, "unlucky", "```python\n1\n```\n\n```pycon\n>>> 1\n1\n```\n")
    essay = write(root, "essay", "No code.\n")
    unlucky, fine = run_all([chapter, essay])
    assert [e.line for e in unlucky.errors(chapter)] == [5, 9]
    assert all("no charts today" in e.message for e in unlucky.errors(chapter))
    assert fine.errors(essay) == []


# The cache, without kernels ----------------------------------------------------------------------


LOADED = ["lossbook/regression/huber.py", "lossbook.huber_loss", "docs/data.csv"]


@pytest.fixture
def executed(monkeypatch):
    """The names of the chapters that were executed; a chapter fails if it says so."""
    names = []

    async def execute(chapter, _):
        names.append(chapter.name)
        error = "the cell failed" if "fail" in chapter.text else None
        return [Result("python", 5, "x", [{"text/plain": "1"}], error)], LOADED

    monkeypatch.setattr(run, "_execute", execute)
    return names


def test_an_unchanged_chapter_is_not_executed_again(root, executed):
    chapter = write(root, "a", "```python\nx\n```\n")
    first, again = run.run(chapter), run.run(chapters.read(chapter.path))
    assert executed == ["a"]
    assert (first.cached, again.cached) == (False, True)
    assert first.results == again.results


def add(path, text):
    path.write_text((path.read_text() if path.exists() else "") + text)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("docs/a.md", "More.\n"),
        ("docs/data.csv", "1\n"),
        ("lossbook/regression/huber.py", "# More.\n"),
        ("lossbook/__init__.py", "    from lossbook.regression.new import huber_loss\n"),
        ("lossbook/book/runs/run.py", "# More.\n"),
        ("lossbook/book/runs/charts.py", "# More.\n"),
        ("build/runs/a.json", "damage"),
    ],
)
def test_what_a_run_needed_makes_it_run_again(root, executed, file, text):
    chapter = write(root, "a", "```python\nx\n```\n")
    run.run(chapter)
    add(root / file, text if "__init__" not in file else f"\n\nif TYPE_CHECKING:\n{text}")
    chapter = chapters.read(chapter.path)
    assert not run.run(chapter).cached
    assert executed == ["a", "a"]
    assert run.run(chapter).cached


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("docs/b.md", "---\ntitle: b\n---\n"),
        ("lossbook/regression/absolute_error.py", "# More.\n"),
        ("lossbook/regression/new.py", "# New.\n"),
        ("lossbook/book/pages/stage.py", "# More.\n"),
        ("lossbook/book/__main__.py", "# More.\n"),
        (
            "lossbook/__init__.py",
            "if TYPE_CHECKING:\n    from lossbook.regression.new import new_loss\n",
        ),
    ],
)
def test_what_a_run_did_not_need_leaves_it_alone(root, executed, file, text):
    chapter = write(root, "a", "```python\nx\n```\n")
    run.run(chapter)
    add(root / file, text)
    assert run.run(chapter).cached
    assert executed == ["a"]


def test_another_version_makes_it_run_again(root, executed, monkeypatch):
    chapter = write(root, "a", "```python\nx\n```\n")
    run.run(chapter)
    now = run.versions()
    monkeypatch.setattr(run, "versions", lambda: {**now, "torch": now["torch"] + "1"})
    assert not run.run(chapter).cached
    assert executed == ["a", "a"]


def test_the_versions_are_those_of_what_is_installed():
    import sys

    import torch

    found = run.versions()
    assert found["python"] == sys.version.split()[0]
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"lossbook", "numpy", "altair", "nbclient"} <= set(found)


def test_a_failed_run_is_not_cached(root, executed):
    chapter = write(root, "a", "```python\nfail\n```\n")
    assert run.run(chapter).errors(chapter)
    assert run.run(chapter).errors(chapter)
    assert executed == ["a", "a"]


def test_code_that_changes_while_a_chapter_runs_makes_it_run_again(root, monkeypatch):
    async def execute(*_):
        add(root / "lossbook/regression/huber.py", "# More.\n")
        return [Result("python", 5, "x", [])], LOADED

    monkeypatch.setattr(run, "_execute", execute)
    chapter = write(root, "a", "```python\nx\n```\n")
    run_all([chapter], watch_tree=False)
    assert run.cached(chapter) is None


def test_two_chapters_of_one_stem_have_each_their_own_cache(root, executed):
    (root / "docs/image").mkdir()
    (root / "docs/sequence").mkdir()
    both = [write(root, f"{family}/a", "```python\nx\n```\n") for family in ("image", "sequence")]
    run_all(both)
    assert sorted(executed) == ["image/a", "sequence/a"]
    assert all(r.cached for r in run_all(both))
    assert sorted(executed) == ["image/a", "sequence/a"]


def test_an_essay_needs_no_kernel(root):
    essay = write(root, "essay", "Only words, and a fence:\n\n```text\n1\n```\n")
    assert run.run(essay).results == []


# The command -------------------------------------------------------------------------------------


def test_what_fails_is_not_recorded(root, executed, monkeypatch, capsys):
    monkeypatch.setattr(command.drift, "RECORDED", root / "recorded")
    good = write(root, "good", "```python\nx\n```\n")
    write(root, "bad", "```python\nfail\n```\n")
    (root / "docs/latin.md").write_bytes(b"---\ntitle: \xff\n---\n")
    files = [str(root / f"docs/{name}.md") for name in ("bad", "good", "latin")]
    assert command.main(["record", *files]) == 1
    assert [path.name for path in (root / "recorded").iterdir()] == ["good.json"]
    said = capsys.readouterr().err
    assert "docs/bad.md:5: the cell failed" in said
    assert "docs/latin.md:2: not UTF-8: byte 0xff" in said
    assert command.main(["record", str(good.path)]) == 0
    assert executed == ["bad", "good"]


@pytest.mark.parametrize("verb", ["stage", "record"])
@pytest.mark.parametrize("name", ["docs/nope.md", "docs", "nope.md"])
def test_a_chapter_that_is_not_there_is_named(root, verb, name, capsys):
    (root / "nope.md").write_text("")
    with pytest.raises(SystemExit, match="2"):
        command.main([verb, str(root / name)])
    assert f"expected a chapter below docs/, got {root / name}" in capsys.readouterr().err


# Reading -----------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_reported_and_the_rest_is_read(root):
    docs = root / "docs"
    (docs / "latin.md").write_bytes(b"---\ntitle: a\n---\n\nna\xefve\n")
    (docs / "yaml.md").write_text("---\ntitle: a\nlosses: [b\nyear: 1\n---\n")
    (docs / "untitled.md").write_text("---\nyear: 1\n---\n")
    (docs / "bare.md").write_text("# No front matter\n")
    write(root, "good", "Text.\n")
    found, errors = chapters.load(docs)
    assert [c.name for c in found] == ["good"]
    assert {e.path.stem: (e.line, e.message) for e in errors} == {
        "latin": (5, "not UTF-8: byte 0xef"),
        "yaml": (4, "front matter: expected ',' or ']', but got ':'"),
        "untitled": (1, "expected front matter with a title"),
        "bare": (1, "expected front matter with a title"),
    }


def test_a_title_or_a_loss_claimed_twice_is_reported_where_it_stands(root):
    docs = root / "docs"
    (docs / "a.md").write_text("---\ntitle: One\nlosses: [near_loss]\n---\n")
    (docs / "b.md").write_text("---\ntitle: Two\nyear: 1999\nlosses: [far, near_loss]\n---\n")
    (docs / "c.md").write_text("---\nyear: 1999\ntitle: One\n---\n")
    # Another use of a loss, which says whose file it shows, claims nothing.
    (docs / "d.md").write_text("---\ntitle: Four\nlosses: [far]\nfile: lossbook/b.py\n---\n")
    found, errors = chapters.load(docs)
    assert [c.name for c in found] == ["a", "b", "c", "d"]
    assert [str(e) for e in errors] == [
        "docs/b.md:4: the loss 'near_loss' is that of docs/a.md",
        "docs/c.md:3: the title 'One' is that of docs/a.md",
    ]


def test_only_fences_at_the_start_of_a_line_are_blocks(root):
    chapter = write(
        root,
        "a",
        "```python\none\n```\n\n??? tip\n\n    ```python\n    two\n    ```\n\n```py\nthree\n```\n\n"
        "````text\n```python\nfour\n```\n````\n\n```pycon\n>>> 5\n5\n```\n",
    )
    assert [(b.kind, b.line, b.source) for b in chapter.blocks] == [
        ("python", 5, "one\n"),
        ("pycon", 25, ">>> 5\n5\n"),
    ]


# pytest ------------------------------------------------------------------------------------------


def test_pytest_reports_each_block_at_its_line(root, monkeypatch, pytester):
    """From one run of each chapter, and none where no block was asked for."""
    asked = []

    def fake(chapter):
        asked.append(chapter.name)
        results = [Result(b.kind, b.line, b.source, []) for b in chapter.blocks]
        results[1].error, results[1].error_line = "Expected 3, got 2", results[1].line + 1
        return Run(chapter.name, results, 1.0)

    monkeypatch.setattr(testing, "DOCS", root / "docs")
    monkeypatch.setattr(testing, "run", fake)
    write(root, "a", "```python\n1\n```\n\n```pycon\n>>> 1 + 1\n3\n```\n\n```python\n2\n```\n")
    (root / "docs/latin.md").write_bytes(b"---\ntitle: \xff\n---\n")
    result = pytester.runpytest_inprocess(
        *("-p", "lossbook.book.runs.testing", "-p", "no:cacheprovider", "-p", "no:xdist"),
        *("--continue-on-collection-errors", "-v", f"--rootdir={root}", root / "docs"),
    )
    result.assert_outcomes(passed=2, failed=1, errors=1)
    assert asked == ["a"]
    result.stdout.fnmatch_lines_random(
        [
            "*python:5 PASSED*",
            "*pycon:9 FAILED*",
            "*python:14 PASSED*",
            "docs/a.md:10: Expected 3, got 2",
            "*docs/latin.md:2: not UTF-8: byte 0xff*",
        ]
    )


def test_an_error_outside_of_the_repository_names_the_whole_path(tmp_path):
    assert str(ChapterError(tmp_path / "a.md", 3, "wrong")) == f"{tmp_path}/a.md:3: wrong"
