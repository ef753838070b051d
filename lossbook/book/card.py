"""The vetting card of a chapter: what the contract measured, and nothing else."""

import json
from html import escape
from typing import Any

from lossbook.book.chapters import BUILD, Chapter

VETTING = BUILD / "vetting"


def results(loss: str) -> dict[str, Any] | None:
    """What the contract recorded for a loss, if it ran."""
    path = VETTING / f"{loss}.json"
    return dict(json.loads(path.read_text())) if path.exists() else None


def card(chapter: Chapter) -> str:
    """Draw the card."""
    return "".join(f"<p>{escape(name)}: not run</p>\n" for name in chapter.losses)
