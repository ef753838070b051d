"""The gallery of the landing page: every loss, with a small picture of it from its own chapter."""

import re
from collections.abc import Mapping, Sequence
from html import escape

from lossbook.book.pages import card
from lossbook.book.runs import charts, formula
from lossbook.book.runs.chapters import Chapter
from lossbook.book.runs.run import Run

HEAVY = 6000  # A picture of more characters is not small.
_MARKS = re.compile(r'<g class="mark-\w+ role-mark (?:concat_0_)?(?:layer_\d_)?marks".*?</g>', re.S)


def section(title: str, chapters: Sequence[Chapter], runs: Mapping[str, Run]) -> str:
    """Draw the tiles of a family's chapters below its title.

    Args:
        title: The family's, as the navigation has it.
        chapters: In the order of the navigation.
        runs: The runs of chapters by name, whose first figures become pictures.
    """
    tiles = "".join(_tile(chapter, runs.get(chapter.name)) for chapter in chapters)
    return f'### {title}\n\n<ul class="gallery">{tiles}</ul>\n'


def _tile(chapter: Chapter, run: Run | None) -> str:
    names = "".join(f"<li><code>{escape(n)}</code> {_mark(n)}</li>" for n in chapter.losses)
    return (
        f'<li><a href="{chapter.name}/">{picture(run) if run else ""}'
        f"<strong>{escape(chapter.title)}</strong></a>{_formula(chapter)}<ul>{names}</ul></li>"
    )


def picture(run: Run) -> str:
    """Cut the lines of the first panel out of the first figure that is small enough."""
    width, height = charts.NARROW
    for output in (output for result in run.results for output in result.outputs):
        if "chart" in output:
            marks = "".join(_MARKS.findall(output["chart"]["narrow"]))
            marks = re.sub(r' clip-path="[^"]*"', "", marks)
            marks = re.sub(r"-?\d+\.\d+", lambda n: f"{float(n[0]):.0f}", marks)
            if marks and len(marks) < HEAVY:
                box = f'viewBox="0 0 {width} {height}" preserveAspectRatio="none"'
                return f'<svg {box} fill="none" aria-hidden="true">{marks}</svg>'
    return ""


def _formula(chapter: Chapter) -> str:
    """Give the chapter's first formula, without what it defines behind it."""
    for text in formula.texts(chapter):
        for _, display in text.displays[:1]:
            first = re.split(r",?\s*\\q?quad|,\s*\\text", display)[0].strip().rstrip(",.")
            return f'<p class="formula">${first}$</p>'
    return ""


def _mark(name: str) -> str:
    """Say of a loss whether its contract ran on today's code, and what came of it."""
    found = card.results(name)
    statuses = [check["status"] for check in found["checks"].values()] if found else []
    passed, failed = statuses.count("passed"), statuses.count("failed")
    if failed:
        return f'<span class="failed">✗ {failed} of {passed + failed} checks</span>'
    if passed:
        return f'<span class="passed">✓ {passed} checks</span>'
    return '<span class="not-run">not run</span>'
