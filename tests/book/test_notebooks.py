"""Notebooks: the pair that authors edit, and the one that readers take away and run."""

import ast
import doctest
import json
import os
import re
import subprocess
import sys
import venv

import pytest

from lossbook import __version__
from lossbook.book import chapters, notebook
from lossbook.book.chapters import ROOT, Block

CHAPTERS = [c for c in chapters.load()[0] if c.blocks]
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=[c.name for c in CHAPTERS])


def round_trip(text, folder):
    """What `jupytext --sync` makes of a chapter when its .md is rebuilt from its .ipynb."""
    path = folder / "chapter.md"
    (folder / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    path.write_bytes(text.encode())
    sync = [sys.executable, "-m", "jupytext", "--quiet"]
    subprocess.run([*sync, "--sync", path.name], cwd=folder, check=True)
    made = path.with_suffix(".ipynb")
    assert made.exists()
    synced = path.read_bytes().decode()
    path.unlink()
    subprocess.run([*sync, "--sync", made.name], cwd=folder, check=True)
    return synced, path.read_bytes().decode()


@every_chapter
def test_the_pair_of_a_chapter_leaves_its_text_as_it_is(chapter, tmp_path):
    assert round_trip(chapter.text, tmp_path) == (chapter.text, chapter.text)


@every_chapter
def test_the_cells_of_the_pair_are_the_cells_of_the_run(chapter):
    cells = [c.source for c in notebook.convert(chapter.text).cells if c.cell_type == "code"]
    own = re.findall(r"^```python\n(.*?)^```$", chapter.text, re.M | re.S)
    assert cells == [code.rstrip("\n") for code in own]
    assert own == [block.source for block in chapter.blocks if block.kind == "python"]


@pytest.mark.parametrize(
    "planted",
    ["```python tags=['x']\n1\n```\n", "\n```bash\nls\n```\n", "\n```python\n```\n", "no newline"],
)
def test_a_text_that_jupytext_would_change_is_caught(planted, tmp_path):
    text = CHAPTERS[0].text + "\n" + planted
    cells = [c.source for c in notebook.convert(text).cells if c.cell_type == "code"]
    own = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert round_trip(text, tmp_path) != (text, text) or cells != [c.rstrip("\n") for c in own]


# A doctest is text in a notebook: what it defines, no cell may use.


def names(source, kind):
    """The names that code defines and those that it uses, in functions too."""
    tree = ast.parse(source)
    found = {kind: set() for kind in ("defined", "used")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found["used" if isinstance(node.ctx, ast.Load) else "defined"].add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found["defined"].add(node.name)
        elif isinstance(node, ast.arg):
            found["defined"].add(node.arg)
        elif isinstance(node, ast.alias):
            found["defined"].add((node.asname or node.name).partition(".")[0])
    return found[kind]


def borrowed(blocks):
    """The cells that use a name which a doctest defined last: line, name."""
    last = {}
    for block in blocks:
        source = block.source
        if block.kind == "pycon":
            source = "".join(e.source for e in doctest.DocTestParser().get_examples(source))
        own = names(source, "defined")
        if block.kind == "python":
            used = sorted(names(source, "used") - own)
            yield from ((block.line, n) for n in used if last.get(n) == "pycon")
        last |= dict.fromkeys(own, block.kind)


@every_chapter
def test_no_cell_needs_a_doctest_to_have_run(chapter):
    assert list(borrowed(chapter.blocks)) == []


def test_a_cell_that_needs_a_doctest_is_caught():
    blocks = [
        Block("python", 1, "x = 1\n"),
        Block("pycon", 5, ">>> x, y = 2, 3\n>>> def f():\n...     return 1\n"),
        Block("python", 9, "x, y, f()\n"),
        Block("python", 13, "y = 1\nx = y\n"),
        Block("python", 17, "x, y\n"),
    ]
    assert list(borrowed(blocks)) == [(9, "f"), (9, "x"), (9, "y")]


# The published notebook --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_published_notebook_runs_in_a_fresh_environment(book, tmp_path):
    """As a reader does: its own first cell installs what the others import."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    (chapter,) = [c for c in book.chapters if c.name == "classification/focal"]
    wheels = tmp_path / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "-w", wheels, ROOT], cwd=tmp_path, check=True)
    assert [p.name for p in wheels.iterdir()] == [f"lossbook-{__version__}-py3-none-any.whl"]

    venv.create(tmp_path / "fresh", with_pip=True)
    python = tmp_path / (
        "fresh/Scripts/python.exe" if sys.platform == "win32" else "fresh/bin/python"
    )
    fresh = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    constraints = ROOT / "constraints.txt"
    # A notebook runs where a kernel and torch are; a peer that is missing says so on the page.
    needed = subprocess.run(
        [*fresh, "-c", constraints, "torch", "ipykernel", "nbclient"],
        capture_output=True,
        text=True,
        check=False,
    )
    if needed.returncode:
        last = (needed.stderr.strip() or "no message").splitlines()[-1]
        pytest.skip(f"pip's sources have no torch, ipykernel and nbclient for it: {last}")
    path = tmp_path / "focal.ipynb"
    path.write_bytes((book.folder / f"docs/{chapter.name}.ipynb").read_bytes())
    run = (
        "import nbformat, nbclient, sys\n"
        "found = nbformat.read(sys.argv[1], as_version=4)\n"
        "nbclient.NotebookClient(found, timeout=600, kernel_name='python3').execute()\n"
        "nbformat.write(found, sys.argv[1])\n"
    )
    done = subprocess.run(
        [python, "-c", run, path],
        cwd=tmp_path,
        env={
            **clean_environment(),
            "PIP_FIND_LINKS": str(wheels),
            "PIP_CONSTRAINT": str(constraints),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    printed = json.loads(path.read_text())
    code = [c for c in printed["cells"] if c["cell_type"] == "code"]
    assert all(o["output_type"] != "error" for c in code for o in c["outputs"])
    assert any("".join(c["source"]).startswith("%pip install") for c in code)


def clean_environment():
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
