"""Notebooks for a course: the student's has no solutions, the teacher's has all, and the notes."""

import importlib
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

from lossbook.book.pages import notebook
from lossbook.book.runs.chapters import BUILD, ROOT, Chapter, fences, settings

_EXERCISE = re.compile(r"^### Exercise (\d+): .*?(?=^#{1,3} |\Z)", re.S | re.M)
_SOLUTION = re.compile(r'^\?\?\? success "Solution"\n(?P<body>(?: {4}.*\n|\n)+)', re.M)
_NOTE = re.compile(r"^<!-- note: (.*?) -->$", re.S | re.M)


def student(chapter: Chapter) -> str:
    """Write the notebook that is handed out: no solutions, no outputs."""
    text = _SOLUTION.sub("", chapter.text)
    return notebook.publish(replace(chapter, text=text), None, settings())


def teacher(chapter: Chapter) -> str:
    """Write the notebook with each solution below its stub, so that every check passes."""
    graded = dict(_graded(chapter))

    def solved(match: re.Match[str]) -> str:
        section, folded = match[0], _SOLUTION.search(match[0])
        codes = [
            f.source for f in fences(dedent(folded["body"]) if folded else "") if f.kind == "python"
        ]
        solution = "\n\n".join(codes) if folded else graded.get(int(match[1]), "")
        lines = _SOLUTION.sub("", section).splitlines(keepends=True)
        stub = next(f for f in fences("".join(lines)) if f.kind == "python")
        lines.insert(stub.end, f"\nThe solution:\n\n```python\n{solution.strip()}\n```\n")
        return "".join(lines)

    def quoted(match: re.Match[str]) -> str:
        return f"> **For the teacher.** {' '.join(match[1].split())}"

    text = _NOTE.sub(quoted, _EXERCISE.sub(solved, chapter.text))
    return notebook.publish(replace(chapter, text=text), None, settings())


def _graded(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """Find the solutions that no page has: those of `tests/answers`."""
    path = ROOT / f"tests/answers/{chapter.name}.py"
    if path.exists():
        sys.path.insert(0, str(ROOT))
        try:
            answers = importlib.import_module(f"tests.answers.{chapter.name.replace('/', '.')}")
        finally:
            sys.path.remove(str(ROOT))
        for number, answer in answers.ANSWERS.items():
            if answer.solution:
                yield number, dedent(answer.solution)


def pack(chapters: Sequence[Chapter]) -> list[Path]:
    """Zip the notebooks of the chapters that have exercises: students', then teachers'."""
    made = []
    for name, write in (("students", student), ("teachers", teacher)):
        path = BUILD / f"lossbook-{name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for chapter in chapters:
                if _EXERCISE.search(chapter.text):
                    archive.writestr(f"{name}/{chapter.name}.ipynb", write(chapter))
        made.append(path)
    return made
