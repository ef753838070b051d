"""Citations: `[@key]` and `[@key, eq. 5]` in a chapter, rendered from `docs/references.bib`."""

import re
import subprocess
from datetime import date
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import Any

from lossbook import __version__
from lossbook.book.runs.chapters import DOCS, ROOT, Chapter, ChapterError, settings

BIBLIOGRAPHY = DOCS / "references.bib"
_CITATION = re.compile(r"\[@(?P<key>[\w-]+)(?:,\s+(?P<where>[^\]]+))?\]|\[@")


@cache
def entries(path: Path = BIBLIOGRAPHY) -> dict[str, Any]:
    """Read the bibliography: every entry by its key.

    Raises:
        ChapterError: If the file is not BibTeX, or holds a key twice.
    """
    from pybtex.database import parse_string
    from pybtex.exceptions import PybtexError

    text = path.read_text()
    keys = [
        (m[1], text[: m.start()].count("\n") + 1)
        for m in re.finditer(r"^@\w+\{([^,]+),", text, re.M)
    ]
    for i, (key, line) in enumerate(keys):
        if key in {k for k, _ in keys[:i]}:
            raise ChapterError(path, line, f"the key {key!r} stands twice")
    try:
        return dict(parse_string(text, "bibtex").entries)
    except PybtexError as error:
        line = getattr(error, "lineno", None) or 1
        raise ChapterError(path, line, str(error)) from None


@cache
def _pybtex() -> tuple[Any, Any, Any]:
    """The style of the list, and what writes HTML and text: pybtex takes long to find them."""
    from pybtex.plugin import find_plugin

    style = find_plugin("pybtex.style.formatting", "unsrt")()
    return style, *(find_plugin("pybtex.backends", name)() for name in ("html", "text"))


@cache
def label(key: str) -> str:
    """Name a work as the text does: `Lin et al., 2017`."""
    from pybtex.richtext import Text

    entry = entries()[key]
    names = [str(" ".join(p.prelast_names + p.last_names)) for p in entry.persons["author"]]
    *_, plain = _pybtex()
    names = [str(Text.from_latex(name).render(plain)) for name in names]
    who = names[0] if len(names) == 1 else f"{names[0]} and {names[1]}"
    return f"{who if len(names) < 3 else names[0] + ' et al.'}, {entry.fields['year']}"


@cache
def full(key: str) -> str:
    """Format a work for the list of references, as HTML."""
    style, html, _ = _pybtex()
    (entry,) = style.format_entries([entries()[key]])
    return " ".join(str(entry.text.render(html)).split())


def cite(text: str, path: Path, line: int = 1) -> tuple[str, list[str]]:
    """Replace the citations of a text by links to its list of references.

    Args:
        text: Markdown.
        path: The file that it stands in.
        line: The line of the file on which it starts.

    Returns:
        The text, and the keys that it cites in the order of their first use.

    Raises:
        ChapterError: If a key is not in the bibliography, or a citation is of another form.
    """
    keys: list[str] = []

    def link(match: re.Match[str]) -> str:
        key = match["key"]
        at = line + text[: match.start()].count("\n")
        if key is None:
            raise ChapterError(path, at, "expected a citation [@key] or [@key, eq. 5]")
        if key not in entries():
            raise ChapterError(path, at, f"{key!r} is not in {BIBLIOGRAPHY.name}")
        keys.append(key)
        where = f", {match['where']}" if match["where"] else ""
        return f"([{label(key)}](#ref-{key}){where})"

    replaced = _CITATION.sub(link, text)
    return replaced, list(dict.fromkeys(keys))


def box(chapter: Chapter) -> str:
    """Write the folded BibTeX of a chapter's paper and of the chapter itself."""
    entry = rf"^@\w+\{{{re.escape(chapter.meta['paper'])},.*?^\}}$"
    (paper,) = re.findall(entry, BIBLIOGRAPHY.read_text(), re.S | re.M)
    commit, day = _commit()
    own = {
        "author": "{The lossbook authors}",
        "title": chapter.title,
        "booktitle": "lossbook: the loss functions of deep learning, derived, run and vetted",
        "year": day[:4],
        "url": f"{settings()['site_url']}{chapter.name}/",
        "note": f"Version {__version__}" + (f", commit {commit}" if commit else ""),
    }
    fields = ",\n".join(f"  {name} = {{{value}}}" for name, value in own.items())
    key = f"lossbook-{chapter.path.stem.replace('_', '-')}"
    return (
        '\n??? quote "Cite"\n\n    The paper:\n\n'
        + indent(f"```bibtex\n{paper}\n```", "    ")
        + "\n\n    This chapter:\n\n"
        + indent(f"```bibtex\n@incollection{{{key},\n{fields}\n}}\n```", "    ")
        + "\n"
    )


@cache
def _commit() -> tuple[str, str]:
    """The commit that is checked out, short, and its day; no commit and today without git."""
    command = ["git", "log", "-1", "--format=%h %cs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    commit, _, day = done.stdout.strip().partition(" ")
    return commit, day or date.today().isoformat()


def references(keys: list[str]) -> str:
    """Write the list of references of a page."""
    if not keys:
        return ""
    items = "\n".join(f'<li id="ref-{key}">{full(key)}</li>' for key in keys)
    return f'\n## References\n\n<ul class="references">\n{items}\n</ul>\n'
