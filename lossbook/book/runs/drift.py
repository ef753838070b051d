"""Drift: what a chapter prints today against what was recorded when its prose was written.

Words must be equal. A number may move by two units of its last printed digit or by 2 %, whichever
is more: results of training differ that much between releases and kinds of processors.
"""

import json
import re
from pathlib import Path

from lossbook.book.runs.chapters import ROOT, Chapter
from lossbook.book.runs.run import Run

RECORDED = ROOT / "tests" / "book" / "recorded"
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.(\d*))?(?:e([+-]?\d+))?(?![\w.])")


def printed(run: Run) -> list[str]:
    """List what each output of a run says: its text, or a figure's alt text."""
    outputs = [output for result in run.results for output in result.outputs]
    return [o["chart"]["alt"] if "chart" in o else str(o.get("text/plain", "")) for o in outputs]


def file(chapter: Chapter) -> Path:
    """Return the file in which a chapter's outputs are recorded."""
    return RECORDED / f"{chapter.name.replace('/', '.')}.json"


def record(chapter: Chapter, run: Run) -> None:
    """Record what a chapter prints, once its author has read it."""
    RECORDED.mkdir(exist_ok=True)
    file(chapter).write_text(json.dumps(printed(run), indent=1, ensure_ascii=False) + "\n")


def differences(before: list[str], now: list[str]) -> list[str]:
    """Compare recorded with printed outputs; return a line for each that drifted."""
    if len(before) != len(now):
        return [f"{len(before)} outputs were recorded, {len(now)} are printed"]
    return [
        f"recorded {a!r}, printed {b!r}"
        for a, b in zip(before, now, strict=True)
        if not _same(a, b)
    ]


def _same(before: str, now: str) -> bool:
    words = [" ".join(_NUMBER.sub("#", text).split()) for text in (before, now)]
    pairs = zip(_NUMBER.finditer(before), _NUMBER.finditer(now), strict=False)
    return words[0] == words[1] and all(_near(a, b) for a, b in pairs)


def _near(before: re.Match[str], now: re.Match[str]) -> bool:
    a, b = float(before[0]), float(now[0])
    unit = 10.0 ** (int(before[2] or 0) - len(before[1] or ""))
    whole = "." not in before[0] and "e" not in before[0]
    slack = 0.0 if whole and abs(a) < 1000 else 2.001 * unit
    return abs(a - b) <= max(slack, 0.0 if whole else 0.02 * abs(a))
