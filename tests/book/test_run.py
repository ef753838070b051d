"""Running chapters: every failure at its line, every run cached by all that it depends on."""

import re
from pathlib import Path

import pytest

from lossbook.book.runs import chapters, run, testing
from lossbook.book.runs.chapters import ChapterError
from lossbook.book.runs.run import Result, Run, run_all

pytest_plugins = ["pytester"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository of its own, without chapters."""
    return repository(tmp_path, monkeypatch)


def repository(root, patch):
    (root / "docs").mkdir()
    (root / "lossbook").mkdir()
    (root / "lossbook/loss.py").write_text("value = 1\n")
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
    monkeypatch.setattr(run, "_environment", lambda w: environment(w) | {"PYTHONPATH": str(shadow)})
    chapter = write(root, "unlucky", "```python\n1\n```\n\n```pycon\n>>> 1\n1\n```\n")
    essay = write(root, "essay", "No code.\n")
    unlucky, fine = run_all([chapter, essay])
    assert [e.line for e in unlucky.errors(chapter)] == [5, 9]
    assert all("no charts today" in e.message for e in unlucky.errors(chapter))
    assert fine.errors(essay) == []


# The cache, without kernels ----------------------------------------------------------------------


@pytest.fixture
def executed(monkeypatch):
    """The names of the chapters that were executed; a chapter fails if it says so."""
    names = []

    async def execute(chapter, _):
        names.append(chapter.name)
        error = "the cell failed" if "fail" in chapter.text else None
        return [Result("python", 5, "x", [{"text/plain": "1"}], error)]

    monkeypatch.setattr(run, "_execute", execute)
    return names


def test_an_unchanged_chapter_is_not_executed_again(root, executed):
    chapter = write(root, "a", "```python\nx\n```\n")
    first, again = run.run(chapter), run.run(chapters.read(chapter.path))
    assert executed == ["a"]
    assert (first.cached, again.cached) == (False, True)
    assert first.results == again.results


@pytest.mark.parametrize("change", ["chapter", "code", "new code", "version", "damage"])
def test_whatever_a_run_depends_on_makes_it_run_again(root, executed, monkeypatch, change):
    chapter = write(root, "a", "```python\nx\n```\n")
    run.run(chapter)
    if change == "chapter":
        chapter = write(root, "a", "```python\nx\n```\n\nMore.\n")
    elif change == "code":
        (root / "lossbook/loss.py").write_text("value = 2\n")
    elif change == "new code":
        (root / "lossbook/family").mkdir()
        (root / "lossbook/family/new.py").write_text("value = 1\n")
    elif change == "version":
        now = run.versions()
        monkeypatch.setattr(run, "versions", lambda: {**now, "torch": now["torch"] + "1"})
    else:
        (stored,) = (root / "build/runs").iterdir()
        stored.write_text(stored.read_text()[:-9])
    assert not run.run(chapter).cached
    assert executed == ["a", "a"]
    assert run.run(chapter).cached


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
        (root / "lossbook/loss.py").write_text("value = 3\n")
        return [Result("python", 5, "x", [])]

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
    found, errors = chapters.load(docs)
    assert [c.name for c in found] == ["a", "b", "c"]
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
