"""Notebooks for a course: the student's has no solutions, the teacher's has all, and the notes."""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

from lossbook.book.pages import notebook
from lossbook.book.runs.chapters import BUILD, Chapter, fences, settings
from lossbook.book.runs.grade import SECTION, answers

_SOLUTION = re.compile(r'^\?\?\? success "Solution"\n(?P<body>(?: {4}.*\n|\n)+)', re.M)
_NOTE = re.compile(r"^<!-- note: (.*?) -->$", re.S | re.M)


def student(chapter: Chapter) -> str:
    """Write the notebook that is handed out: no solutions, no outputs."""
    text = _SOLUTION.sub("", chapter.text)
    return notebook.publish(replace(chapter, text=text), None, settings())


def teacher(chapter: Chapter) -> str:
    """Write the notebook with each solution below its stub, so that every check passes."""
    known = answers(chapter.name)

    def solved(match: re.Match[str]) -> str:
        section, folded = match[0], _SOLUTION.search(match[0])
        codes = [
            f.source for f in fences(dedent(folded["body"]) if folded else "") if f.kind == "python"
        ]
        solution = "\n\n".join(codes) if folded else dedent(known[int(match["number"])].solution)
        lines = _SOLUTION.sub("", section).splitlines(keepends=True)
        stub = next(f for f in fences("".join(lines)) if f.kind == "python")
        lines.insert(stub.end, f"\nThe solution:\n\n```python\n{solution.strip()}\n```\n")
        return "".join(lines)

    def quoted(match: re.Match[str]) -> str:
        return f"> **For the teacher.** {' '.join(match[1].split())}"

    text = _NOTE.sub(quoted, SECTION.sub(solved, chapter.text))
    return notebook.publish(replace(chapter, text=text), None, settings())


def pack(chapters: Sequence[Chapter]) -> list[Path]:
    """Zip the notebooks of the chapters that have exercises: students', then teachers'."""
    made = []
    for name, write in (("students", student), ("teachers", teacher)):
        path = BUILD / f"lossbook-{name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for chapter in chapters:
                if SECTION.search(chapter.text):
                    archive.writestr(f"{name}/{chapter.name}.ipynb", write(chapter))
        made.append(path)
    return made
