"""Shifted seeds: whether a chapter's assertions hold when every seed is another.

`python -m lossbook.book seeds` runs the chapters that draw numbers once for each shift and records
how often they held. Displayed numbers are those of shift 0 and are not compared here.
"""

import ast
import contextlib
import doctest
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lossbook.book.runs.chapters import ROOT, Chapter, read, relative
from lossbook.book.runs.run import NUMERICS

EXPERIMENTS = ROOT / "lossbook" / "book" / "experiments.py"
RECORDED = ROOT / "tests" / "book" / "seeds"
_DRAWS = re.compile(r"\bexperiments\.(?:rng|split|mlp|fit)\(")
_IMPORTED = re.compile(r"^(?:>>> |\.\.\. )?from lossbook import (\([^)]*\)|.*)", re.M)


def draws(chapter: Chapter) -> bool:
    """Whether a chapter's blocks depend on the seeds of `lossbook.book.experiments`."""
    return any(_DRAWS.search(block.source) for block in chapter.blocks)


def key(chapter: Chapter) -> str:
    """Hash a chapter's blocks, what the loss files that they import compute, its experiments."""
    import lossbook

    code = "\n".join(block.source for block in chapter.blocks)
    names = re.findall(r"\w+", " ".join(_IMPORTED.findall(code)))
    modules = {lossbook._HOMES[name] for name in names if name in lossbook._HOMES}
    digest = hashlib.sha256(code.encode())
    for module in sorted(modules):
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        digest.update(_meaning(source).encode())
    digest.update(_experiments(code).encode())
    return digest.hexdigest()[:20]


@cache
def _meaning(source: str) -> str:
    """Give what a file computes: its code without docstrings and comments."""
    tree, documented = ast.parse(source), ast.Module | ast.FunctionDef | ast.ClassDef
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _experiments(code: str) -> str:
    """Collect what some code calls of `experiments`, functions and classes, and what that calls."""
    functions = _functions(EXPERIMENTS.read_text())
    called: dict[str, str] = {}
    todo = set(re.findall(r"\bexperiments\.(\w+)", code))
    while todo := todo & functions.keys() - called.keys():
        called |= {name: functions[name][0] for name in todo}
        todo = {other for name in todo for other in functions[name][1]}
    return "\n".join(called[name] for name in sorted(called))


@cache
def _functions(source: str) -> dict[str, tuple[str, set[str]]]:
    """Give the text of each function and class of a file, and the names in it."""
    return {
        f.name: (
            ast.get_source_segment(source, f) or "",
            {n.id for n in ast.walk(f) if isinstance(n, ast.Name)},
        )
        for f in ast.parse(source).body
        if isinstance(f, ast.FunctionDef | ast.ClassDef)
    }


def file(chapter: Chapter) -> Path:
    """Return the file in which it is recorded how often a chapter's claims held."""
    return RECORDED / f"{chapter.name.replace('/', '.')}.json"


def recorded(chapter: Chapter) -> dict[str, Any] | None:
    """Return what was recorded for exactly these blocks and loss files, if anything was."""
    path = file(chapter)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found if found.get("key") == key(chapter) else None


def said(chapter: Chapter) -> str:
    """Say for how many shifts the chapter's claims held; nothing if it draws no numbers."""
    if not draws(chapter):
        return ""
    found = recorded(chapter)
    if found is None:
        return '<p class="seeds">Claims under other seeds: not run for this text.</p>\n'
    held = found["shifts"] - len(found["broken"])
    return (
        f'<p class="seeds">These claims held for {held} of {found["shifts"]} '
        "shifts of the seeds.</p>\n"
    )


def record(
    paths: Sequence[Path], shifts: int, *, report: Callable[[str], None] = lambda _: None
) -> int:
    """Run chapters under shifts 1 to `shifts` and record what broke; return how many broke."""
    failed = 0
    for chapter in map(read, paths):
        if not draws(chapter):
            continue
        broken = {}
        for shift in range(1, shifts + 1):
            if lines := _shifted(chapter, shift):
                broken[str(shift)] = lines
        found = {"key": key(chapter), "shifts": shifts, "broken": broken}
        RECORDED.mkdir(exist_ok=True)
        file(chapter).write_text(json.dumps(found, indent=1) + "\n")
        failed += bool(broken)
        report(f"{chapter.name:44} held for {shifts - len(broken)} of {shifts} shifts")
        for shift_, lines in broken.items():
            report("\n".join(f"    shift {shift_}: {line}" for line in lines))
    return failed


def _shifted(chapter: Chapter, shift: int) -> list[str]:
    """Run a chapter under a shift, in an interpreter and a folder of its own."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "lossbook.book.runs.seeds", chapter.path],
            cwd=folder,
            env={**os.environ, **NUMERICS, "PYTHONPATH": paths, "LOSSBOOK_SHIFT": str(shift)},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    lines = done.stdout.splitlines()
    return lines if done.returncode == 0 else [*lines, f"the run ended with {done.returncode}"]


def broken(chapter: Chapter) -> list[str]:
    """Run a chapter's blocks here, under today's shift; say what each failed block raised."""
    names: dict[str, Any] = {"__name__": "__main__"}
    lines = []
    for block in chapter.blocks:
        pieces, mode = [doctest.Example(block.source, "")], "exec"
        if block.kind == "pycon":
            pieces, mode = doctest.DocTestParser().get_examples(block.source), "single"
        for piece in pieces:
            try:
                code = compile("\n" * (block.line + piece.lineno) + piece.source, "chapter", mode)
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("ignore")
                    exec(code, names)
            except Exception as error:
                if piece.exc_msg:
                    continue
                trace, line = error.__traceback__, block.line
                while trace is not None:
                    if trace.tb_frame.f_code.co_filename == "chapter":
                        line = trace.tb_lineno
                    trace = trace.tb_next
                what = f"{type(error).__name__}: {error}".splitlines()[0]
                lines.append(f"{relative(chapter.path)}:{line}: {what}")
    return lines


if __name__ == "__main__":
    for line in broken(read(Path(sys.argv[1]))):
        print(line)
