"""The notebook that readers take away: executed, self-contained, with absolute links."""

import re
from posixpath import join, normpath
from textwrap import dedent
from typing import Any

import jupytext
import nbformat

from lossbook import __version__
from lossbook.book.pages import cite
from lossbook.book.runs.chapters import Chapter, include, outside_fences
from lossbook.book.runs.run import Run

_FOLDED = re.compile(
    r'^(?P<mark>\?\?\?\+?|!!!) (?P<kind>\w+)(?: "(?P<title>[^"]*)")?\n(?P<body>(?:(?: {4}.*)?\n)+)',
    re.M,
)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)(?:\{[^}]*\})?")
_REFERENCE = re.compile(r"\[([^\]]+)\]\[(lossbook[\w.]*)\]")


def convert(text: str) -> Any:
    """Read a chapter as Jupytext does."""
    return jupytext.reads(text, fmt={"extension": ".md", "format_name": "markdown"})


def publish(chapter: Chapter, run: Run | None, settings: dict[str, Any]) -> str:
    """Make the notebook of a chapter: executed, or without outputs where no run is given.

    Its first cell installs what the chapter imports, at this version of lossbook; torch is left
    as the reader has it.
    """
    notebook = convert(chapter.text)
    address = f"{settings['site_url'].rstrip('/')}/{chapter.name}/"
    results = iter([r for r in run.results if r.kind == "python"]) if run else None
    cells = [
        nbformat.v4.new_markdown_cell(
            f"*This is the notebook of [{chapter.title}]({address}), a chapter of "
            f"[lossbook]({settings['site_url']}) {__version__}. Text CC BY 4.0, code MIT-0.*"
        ),
        nbformat.v4.new_code_cell(f'%pip install -q "lossbook[book]=={__version__}"'),
    ]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            source = _markdown(cell.source, chapter, address, settings["site_url"])
            if source.strip():
                cells.append(nbformat.v4.new_markdown_cell(source))
        elif cell.cell_type == "code":
            outputs = [_output(o) for o in next(results).outputs] if results else []
            cells.append(nbformat.v4.new_code_cell(cell.source, outputs=outputs))
    for i, cell in enumerate(cells):
        cell.id = f"cell-{i}"
    notebook.cells = cells
    notebook.metadata = {
        "kernelspec": notebook.metadata.get("kernelspec", {}),
        "lossbook": {"chapter": chapter.name, "version": __version__},
    }
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook)) + "\n"


def _markdown(text: str, chapter: Chapter, address: str, site: str) -> str:
    """Turn what only the site can show into what a notebook can."""
    text = include(text, chapter.path)
    text = _FOLDED.sub(_unfold, text)
    folder = chapter.name.rpartition("/")[0]

    def absolute(match: re.Match[str]) -> str:
        target = match[2]
        if target.startswith("#"):
            target = address + target
        elif not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            page = normpath(join(folder, path.removesuffix(".md"))) + "/"
            target = site.rstrip("/") + "/" + page + (f"#{anchor}" if anchor else "")
        return f"[{match[1]}]({target})"

    def prose(text: str) -> str:
        text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.S)
        text = cite._CITATION.sub(
            lambda m: f"({cite.label(m['key'])}{', ' + m['where'] if m['where'] else ''})", text
        )
        text = _REFERENCE.sub(lambda m: f"[{m[1]}]({site.rstrip('/')}/api/)", text)
        return _LINK.sub(absolute, text)

    return outside_fences(text, prose).strip("\n")


def _unfold(match: re.Match[str]) -> str:
    body = dedent(match["body"]).strip("\n")
    title = match["title"] or match["kind"].capitalize()
    if match["mark"] == "!!!":
        quoted = "\n".join(f"> {line}".rstrip() for line in body.split("\n"))
        return f"> **{title}**\n>\n{quoted}\n\n"
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>\n\n"


def _output(data: dict[str, Any]) -> Any:
    if "chart" in data:
        from lossbook.book.runs.charts import plain

        chart = data["chart"]
        shown = {"image/svg+xml": plain(chart["svg"]), "text/plain": chart["alt"]}
        return nbformat.v4.new_output("display_data", shown)
    return nbformat.v4.new_output("display_data", data)
