"""Running chapters: every failure at its line, every run cached by all that it depends on."""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

import nbclient
import nbformat
import pytest
from filelock import FileLock
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

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
            write(root, "mate", MEETING.format(mine=there, other=here)),
            write(root, "good", MEETING.format(mine=here, other=there) + GOOD),
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

```python
import torch

print(torch.backends.cpu.get_cpu_capability())
```
"""


@pytest.mark.parametrize("forked", [False, True])
def test_a_kernel_runs_the_lossbook_of_its_own_tree_and_says_what_it_loaded(root, forked):
    add(root / "lossbook/regression/huber.py", "mark = 'second checkout'\n")
    (root / "docs/data.csv").write_text("data")
    chapter = write(root, "needy", NEEDY)
    others = [write(root, "essay", "No code.\n")] if forked else []
    done = run_all([chapter, *others])[0]
    assert done.errors(chapter) == []
    assert done.results[0].outputs == [{"text/plain": f"data second checkout {root}\n"}]
    assert "AVX" not in done.results[1].outputs[0]["text/plain"], "instructions of this processor"
    assert {need for need in done.needs if "runs/" not in need} == {
        *("chapter", "versions", "docs/data.csv", "lossbook.focal_loss"),
        *("lossbook/classification/__init__.py", "lossbook/classification/focal.py"),
        *("lossbook/regression/__init__.py", "lossbook/regression/huber.py"),
        *("lossbook/book/__init__.py", "lossbook/book/plots.py"),
    }
    assert {need for need in done.needs if "runs/" in need} == {
        f"lossbook/book/runs/{stem}.py"
        for stem in ("__init__", "chapters", "charts", "forks", "kernel", "run")
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


def test_a_kernel_that_cannot_be_set_up_is_the_chapter_s_failure(root):
    add(root / "lossbook/book/runs/kernel.py", "raise RuntimeError('no charts today')\n")
    chapter = write(root, "unlucky", "```python\n1\n```\n\n```pycon\n>>> 1\n1\n```\n")
    essay = write(root, "essay", "No code.\n")
    unlucky, fine = run_all([chapter, essay])
    assert [e.line for e in unlucky.errors(chapter)] == [5, 9]
    assert all("no charts today" in e.message for e in unlucky.errors(chapter))
    assert fine.errors(essay) == []


# Their pieces, without kernels -------------------------------------------------------------------

PIECES = """
```python
one
```

```pycon
>>> "two"
```

```python
three
```
"""


class Client:
    """A kernel that does what a cell's text says."""

    def __init__(self, notebook, **options):
        self.notebook, self.options, self.ran = notebook, options, []
        self.timeout = options["timeout"]
        Client.last = self

    @contextlib.asynccontextmanager
    async def async_setup_kernel(self, env):
        self.env, self.there = env, Path(env["HOME"]).is_dir()
        if Client.broken == "early":
            raise RuntimeError("\x1b[31mno kernel\x1b[0m")
        yield
        if Client.broken == "late":
            raise AssertionError

    async def async_execute_cell(self, cell, index):
        self.ran.append((index, cell.source, self.timeout))
        if cell.source == "_kernel.needs()":
            data = {run.NEEDS: LOADED}
            cell.outputs = [nbformat.v4.new_output("display_data", data)]
        elif "hang" in cell.source:
            raise CellTimeoutError("late")
        elif "die" in cell.source:
            raise DeadKernelError("dead")
        elif "fail" in cell.source:
            cell.outputs = [nbformat.v4.new_output("error", ename="E", evalue="no", traceback=[])]
            raise CellExecutionError("", "E", "no")
        elif not cell.source.startswith("from"):
            cell.outputs = [nbformat.v4.new_output("stream", text=f"{index}")]


@pytest.fixture
def pieces(root, monkeypatch):
    """Execute three blocks, with words in their place, by such a kernel."""
    monkeypatch.setattr(Client, "broken", None, raising=False)
    monkeypatch.setattr(nbclient, "NotebookClient", Client)

    def execute(**words):
        text = PIECES
        for old, new in words.items():
            text = text.replace(old, new)
        chapter = write(root, "pieces", text)
        return asyncio.run(run._execute(chapter, 7))

    return execute


def test_the_blocks_run_in_order_between_what_prepares_and_what_watches(pieces):
    results, needs = pieces()
    start, one, two, three, end = Client.last.ran
    assert start == (0, start[1], run.START_SECONDS)
    assert start[1].endswith("_kernel.start()")
    assert one == (1, "one", 7)
    assert two == (2, """_kernel.check('>>> "two"\\n', 'docs/pieces.md', 10)""", 7)
    assert three == (3, "three", 7)
    assert end == (4, "_kernel.needs()", 7)
    assert [(r.kind, r.line, r.source) for r in results] == [
        *(("python", 6, "one\n"), ("pycon", 10, '>>> "two"\n'), ("python", 14, "three\n"))
    ]
    assert [r.outputs for r in results] == [[{"text/plain": str(i)}] for i in (1, 2, 3)]
    assert [r.error for r in results] == [None] * 3
    assert needs == LOADED
    options = Client.last.options
    assert (options["kernel_name"], options["shutdown_kernel"]) == ("python3", "immediate")
    assert options["coalesce_streams"]
    assert Client.last.there
    assert Client.last.env["HOME"] == options["resources"]["metadata"]["path"]
    if os.name == "posix":  # Ports may be taken while one asks.
        assert options["config"].AsyncKernelManager.transport == "ipc"


def test_a_cell_that_fails_stops_no_other(pieces):
    results, needs = pieces(one="fail")
    assert [r.error for r in results] == ["E: no\n", None, None]
    assert [r.outputs for r in results[1:]] == [[{"text/plain": "2"}], [{"text/plain": "3"}]]
    assert needs == LOADED


@pytest.mark.parametrize(
    ("word", "said"), [("hang", "the cell took more than 7 s"), ("die", "the kernel died")]
)
def test_a_cell_that_loses_its_kernel_stops_the_rest(pieces, word, said):
    results, needs = pieces(two=word)
    assert [r.error for r in results] == [None, said, f"not run: line 10: {said}"]
    assert [r.outputs for r in results] == [[{"text/plain": "1"}], [], []]
    assert needs == []
    assert [index for index, *_ in Client.last.ran] == [0, 1, 2]
    assert [r.error for r in pieces(three=word)[0]] == [None, None, said]


def test_a_kernel_that_does_not_start_fails_every_block(pieces, monkeypatch):
    monkeypatch.setattr(Client, "broken", "early")
    results, needs = pieces()
    assert [r.error for r in results] == ["the kernel failed: no kernel"] * 3
    assert needs == []


def test_a_lost_kernel_that_does_not_end_leaves_the_first_errors(pieces, monkeypatch):
    monkeypatch.setattr(Client, "broken", "late")
    first, *rest = (r.error for r in pieces(one="die")[0])
    assert first == "the kernel died"
    assert rest == ["not run: line 6: the kernel died"] * 2


def cell(*outputs):
    return nbformat.v4.new_code_cell(
        outputs=[nbformat.v4.new_output(kind, **given) for kind, given in outputs]
    )


@pytest.fixture
def collected(root, monkeypatch):
    """Collect the outputs of a block on line 5."""
    monkeypatch.setattr(run, "draw", lambda spec, name: {"drawn": spec, "name": name})
    chapter = write(root, "pieces", PIECES)

    def collect(*outputs):
        result = Result("python", 5, "one\n", [])
        run._collect(chapter, result, cell(*outputs))
        return result

    return collect


@pytest.mark.parametrize(
    ("trace", "line"),
    [
        (["Cell In[2], line 3"], 8),
        (["\x1b[0mCell In[2], line\x1b[0m 3", "Cell In[1], line 9"], 8),
        (["<ipython-input-2>, line 1", "File x.py, line 9"], 6),
        (["File /lib/x.py, line 9"], 5),
        ([], 5),
    ],
)
def test_an_error_stands_on_the_line_of_its_cell(collected, trace, line):
    given = {"ename": "KeyError", "evalue": "\x1b[1m'a'\x1b[0m", "traceback": trace}
    result = collected(("error", given))
    assert result.error_line == line
    assert result.error.startswith("KeyError: 'a'\n")
    assert "\x1b" not in result.error


def test_what_a_cell_prints_shows_and_draws_is_kept_in_order(collected):
    png = {"image/png": "x", "text/plain": "'Alt.'"}
    result = collected(
        ("stream", {"text": "printed\n"}),
        ("display_data", {"data": {run.CHART: {"mark": 1}, "text/plain": ""}}),
        ("display_data", {"data": png}),
        ("display_data", {"data": {}}),
        ("display_data", {"data": {run.CHART: {"mark": 2}}}),
        ("execute_result", {"data": {"text/plain": "1"}, "execution_count": 1}),
    )
    assert result.outputs == [
        {"text/plain": "printed\n"},
        {"chart": {"drawn": {"mark": 1}, "name": "pieces-5-1"}},
        png,
        {"chart": {"drawn": {"mark": 2}, "name": "pieces-5-2"}},
        {"text/plain": "1"},
    ]
    assert (result.error, result.error_line) == (None, None)


def test_what_a_cell_says_to_the_author_fails_it(collected, monkeypatch):
    result = collected(("stream", {"text": "shown"}), ("stream", {"name": "stderr", "text": "no"}))
    assert (result.error, result.outputs) == (
        *("the cell wrote to stderr: no", [{"text/plain": "shown"}]),
    )
    said = {run.DOCTEST: 'File "docs/pieces.md", line 7, in x\nFailed', "text/plain": ""}
    result = collected(("display_data", {"data": said}))
    assert (result.error, result.error_line) == (said[run.DOCTEST], 7)
    assert result.outputs == []
    result = collected(("display_data", {"data": {run.DOCTEST: "a block without a prompt"}}))
    assert (result.error, result.error_line) == ("a block without a prompt", None)

    def refuse(*_):
        raise ValueError("no description")

    monkeypatch.setattr(run, "draw", refuse)
    result = collected(("display_data", {"data": {run.CHART: {}}}))
    assert (result.error, result.outputs) == ("no description", [])


def test_the_environment_is_the_kernel_s_own(root, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("KEPT", "kept")
    fixed = run.NUMERICS | {"PYTHONDONTWRITEBYTECODE": "1"}
    for name in fixed:
        monkeypatch.setenv(name, "another")
    found = run._environment(root / "work")
    own = {name: str(root / "work") for name in ("HOME", "TMPDIR", "IPYTHONDIR")}
    assert {name: found[name] for name in own} == own
    assert found["PYTHONPATH"] == os.pathsep.join([str(root), "elsewhere"])
    assert {name: found[name] for name in fixed} == fixed
    known = ("OMP_NUM_THREADS", "PYTHONHASHSEED", "KERAS_BACKEND")
    assert [found[name] for name in known] == ["1", "0", "torch"]
    assert found["KEPT"] == "kept"
    monkeypatch.delenv("PYTHONPATH")
    assert run._environment(root)["PYTHONPATH"] == str(root)


def test_every_failure_has_its_line(root):
    chapter = write(root, "pieces", PIECES)
    results = [
        Result("python", 5, "", [], "first"),
        Result("pycon", 9, "", []),
        Result("python", 13, "", [], "second", 14),
    ]
    assert [str(e) for e in Run("pieces", results, 0.0).errors(chapter)] == [
        *("docs/pieces.md:5: first", "docs/pieces.md:14: second")
    ]


def test_the_tree_is_every_file_that_is_written_by_hand(root):
    before = run.tree()
    assert {"lossbook/__init__.py", "lossbook/book/runs/run.py"} <= set(before)
    made = ["build/a", "site/a", "node_modules/a", "lossbook/__pycache__/a", ".git/a"]
    for name in [*made, "lossbook.egg-info/a"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("made")
    assert run.tree() == before
    (root / "docs/a.md").write_text("new")
    assert run.tree().keys() - before.keys() == {"docs/a.md"}
    stat = (root / "docs/a.md").stat()
    assert run.tree()["docs/a.md"] == (3, stat.st_mtime_ns)


# The cache, without kernels ----------------------------------------------------------------------


LOADED = ["lossbook/regression/huber.py", "lossbook.huber_loss", "docs/data.csv"]


@pytest.fixture
def executed(monkeypatch):
    """The names of the chapters that were executed; a chapter fails if it says so."""
    names = []

    async def execute(chapter, *_):
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
        ("lossbook/book/runs/chapters.py", "# More.\n"),
        ("lossbook/book/plots.py", "# More.\n"),
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


def test_each_chapter_is_reported_as_it_ends(root, executed):
    good = write(root, "good", "```python\nx\n```\n")
    bad = write(root, "bad", "```python\nfail\n```\n")
    said = []
    run_all([good], report=said.append)
    run_all([good, bad], workers=1, report=said.append)
    assert executed == ["good", "bad"]
    assert [re.sub(r"\d+\.\d s", "1.0 s", line).split() for line in said] == [
        *(["1/1", "good", "1.0", "s"], ["1/2", "good", "cached"], ["2/2", "bad", "failed"])
    ]


@pytest.mark.parametrize("watched", [True, False])
def test_a_chapter_that_writes_into_the_repository_fails_if_it_is_watched(
    root, monkeypatch, watched
):
    async def execute(*_):
        add(root / "docs/trace.txt", "x")
        add(root / "lossbook/regression/huber.py", "x")
        return [Result("python", 5, "x", []), Result("python", 9, "y", [])], []

    monkeypatch.setattr(run, "_execute", execute)
    chapter = write(root, "a", "```python\nx\n```\n")
    (done,) = run_all([chapter], watch_tree=watched)
    first, last = (r.error for r in done.results)
    assert first is None
    assert bool(last) == watched
    names = (last or "").removeprefix("the chapter changed ").split(", ")
    assert set(names) == ({"docs/trace.txt", "lossbook/regression/huber.py"} if watched else {""})
    assert (run.cached(chapter) is None) == watched


@pytest.mark.parametrize("workers", [1, 2, None])
def test_as_many_chapters_run_at_once_as_asked_for(root, monkeypatch, workers):
    now, most, limits = [], [], []

    async def execute(chapter, seconds, _):
        now.append(chapter.name)
        most.append(len(now))
        limits.append(seconds)
        await asyncio.sleep(0.05)
        now.remove(chapter.name)
        return [Result("python", 5, "x", [])], []

    monkeypatch.setattr(run, "_execute", execute)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    written = [write(root, name, "```python\nx\n```\n") for name in "abcd"]
    assert [r.name for r in run_all(written, workers=workers, watch_tree=False)] == list("abcd")
    assert max(most) == (workers or 3)
    run.run(write(root, "e", "```python\nx\n```\n"), seconds=7)
    assert limits == [run.CELL_SECONDS] * 4 + [7]


def test_a_chapter_waits_for_its_run_in_another_process(root, executed):
    chapter = write(root, "a", "```python\nx\n```\n")
    name = hashlib.sha256(str(run._cache(chapter)).encode()).hexdigest()[:16]
    lock = FileLock(f"{tempfile.gettempdir()}/lossbook-{name}.lock")

    async def both():
        with lock:
            ours = asyncio.create_task(run._run_all([chapter], 1, 1, False, lambda _: None))
            await asyncio.sleep(0.2)
            assert executed == []
            run._store(chapter, Run("a", [], 1.0, run.always(chapter)))
        return await ours

    (done,) = asyncio.run(both())
    assert (executed, done.cached) == ([], True)


def test_an_essay_needs_no_kernel(root, monkeypatch):
    monkeypatch.setattr(nbclient, "NotebookClient", None)
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
    said = {e.path.stem: (e.line, e.message) for e in errors}
    line, message = said.pop("yaml")  # Two loaders word it in two ways.
    assert line == 4
    assert "front matter: " in message
    assert "expected ',' or ']'" in message
    assert said == {
        "latin": (5, "not UTF-8: byte 0xef"),
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
