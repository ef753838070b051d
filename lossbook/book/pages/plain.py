"""The book for machines that read: each page as Markdown beside its HTML, and `llms.txt`.

TeX as it was written, outputs as text, the card as lines, no figure but its alt text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import nbformat

from lossbook.book.pages import card
from lossbook.book.runs.chapters import Chapter


def text(notebook: str, chapter: Chapter, address: str) -> str:
    """Write a chapter's published notebook as Markdown.

    Args:
        notebook: The notebook, executed, as JSON.
        chapter: Whose card is put below its heading.
        address: Of its page.
    """
    parts = [f"<{address}> (text CC BY 4.0, code MIT-0)"]
    for cell in nbformat.reads(notebook, as_version=4).cells[2:]:  # The two say how to run it.
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        said = [str(o.data.get("text/plain", "")).rstrip() for o in cell.outputs]
        parts += [f"```text\n{out}\n```" for out in said if out]
    page = "\n\n".join(parts) + "\n"
    heading = "## Vetting card\n"
    return page.replace(heading, f"{heading}\n{_card(chapter.losses)}", 1)


def _card(losses: Sequence[str]) -> str:
    lines = []
    for loss in losses:
        found = card.results(loss)
        lines.append(f"`{loss}`:\n" if found else f"`{loss}`: not run on this code.\n")
        for check, label in card.CHECKS.items():
            entry = (found or {"checks": {}})["checks"].get(check)
            if entry:
                error = f", within {card.bound(entry['error'])}" if entry["error"] else ""
                why = f" ({entry['reason']})" if entry["reason"] else ""
                lines.append(f"- {check}, {label}: {entry['status']}{error}{why}")
        lines.append("")
    return "\n".join(lines)


def index(groups: Mapping[str, Sequence[Chapter]], settings: Mapping[str, Any]) -> str:
    """Write `llms.txt`: what the book is, and each chapter's Markdown with its description."""
    site = settings["site_url"].rstrip("/")
    lines = [f"# {settings['site_name']}", "", f"> {settings['site_description']}", ""]
    for title, chapters in groups.items():
        lines += [f"## {title}", ""]
        for chapter in chapters:
            address = "" if chapter.name == "index" else f"{chapter.name}/"
            losses = f" ({', '.join(chapter.losses)})" if chapter.losses else ""
            told = chapter.meta.get("description", "")
            lines.append(f"- [{chapter.title}]({site}/{address}index.md){losses}: {told}")
        lines.append("")
    return "\n".join(lines)
