"""Notebooks: the pair that authors edit, and the one that readers take away and run."""

import ast
import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest
from jupytext.cli import jupytext

from lossbook import __version__
from lossbook.book.pages import notebook
from lossbook.book.runs import chapters
from lossbook.book.runs.chapters import ROOT, fences

CHAPTERS = [c for c in chapters.load()[0] if c.blocks]
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=[c.name for c in CHAPTERS])


def round_trip(text, folder):
    """What `jupytext --sync` makes of a chapter when its .md is rebuilt from its .ipynb."""
    path = folder / "chapter.md"
    (folder / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    path.write_bytes(text.encode())
    assert not jupytext(["--quiet", "--sync", str(path)])
    made = path.with_suffix(".ipynb")
    assert made.exists()
    synced = path.read_bytes().decode()
    path.unlink()
    assert not jupytext(["--quiet", "--sync", str(made)])
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
    cells = {
        "python": ["x = 1\n", "x, y, f()\n", "y = 1\nx = y\n", "x, y\n"],
        "pycon": [">>> x, y = 2, 3\n>>> def f():\n...     return 1\n"],
    }
    order = ("python", "pycon", "python", "python", "python")
    text = "".join(f"```{kind}\n{cells[kind].pop(0)}```\n\n" for kind in order)
    assert list(borrowed(fences(text))) == [(11, "f"), (11, "x"), (11, "y")]


# The published notebook --------------------------------------------------------------------------


RUN = """
import nbclient, nbformat, sys
found = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(found, timeout=600, kernel_name="python3").execute()
nbformat.write(found, sys.argv[1])
"""


@pytest.mark.slow
def test_a_published_notebook_runs_in_a_fresh_environment(book, tmp_path):
    """As a reader does: its own first cell installs what the others import."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    wheels, source = tmp_path / "wheels", tmp_path / "source"
    environment |= {"PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_FIND_LINKS": str(wheels)}
    if "PIP_FIND_LINKS" in os.environ:
        environment["PIP_FIND_LINKS"] += f" {os.environ['PIP_FIND_LINKS']}"

    def run(*command):
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    shutil.copytree(ROOT / "lossbook", source / "lossbook")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    made = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", wheels, source)
    assert made.returncode == 0, made.stderr
    (wheel,) = wheels.iterdir()
    assert wheel.name == f"lossbook-{__version__}-py3-none-any.whl"
    assert "lossbook/changes.toml" in zipfile.ZipFile(wheel).namelist()

    fresh = venv.EnvBuilder(with_pip=True)
    fresh.create(tmp_path / "fresh")
    python = fresh.ensure_directories(tmp_path / "fresh").env_exe
    # A notebook runs where Jupyter and torch are.
    needed = run(python, "-m", "pip", "install", "torch", "ipykernel", "nbclient")
    if needed.returncode:
        reason = needed.stderr.strip().splitlines()[-1]
        pytest.skip(f"pip's sources have no torch, ipykernel and nbclient: {reason}")
    name = "classification/focal"
    path = tmp_path / "focal.ipynb"
    shutil.copy(book.folder / f"docs/{name}.ipynb", path)
    done = run(python, "-c", RUN, path)
    assert done.returncode == 0, done.stderr[-3000:]

    (chapter,) = [c for c in book.chapters if c.name == name]
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert len(cells) == 1 + sum(block.kind == "python" for block in chapter.blocks)
    shown = [output for cell in cells for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in shown)
    assert not any("No module named" in str(output) for output in shown)
