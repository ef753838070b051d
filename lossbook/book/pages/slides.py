"""Slides: fragments of a chapter's built page, as a deck that needs no network.

A section gives one slide, which starts at its mark or else at its beginning; a second mark in it
gives another. A slide takes what follows until it is full, so that formulas, figures and code are
the page's own.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from pathlib import Path

from lossbook.book.runs.chapters import ROOT, Chapter

MOST = 15  # Slides of a deck; the last sections without a mark go first.
ROOM, SPARE = 17.0, 8.0  # Lines of prose that a slide has room for; more for a figure.
_VOID = {"br", "hr", "img", "input", "link", "meta", "path", "rect", "line", "circle", "wbr"}
_LEFT_OUT = ("Recipes", "The file", "Elsewhere", "Vetting card", "References")
_MARK, _NOTE = re.compile(r"<!--\s*slide\s*-->"), re.compile(r"<!--\s*note:(.*?)-->", re.S)


class _Blocks(HTMLParser):
    """Splits HTML into its outermost elements and comments."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        starts = [0]
        for line in text.split("\n"):
            starts.append(starts[-1] + len(line) + 1)
        self.text, self.lines = text, starts
        self.found: list[str] = []
        self.depth, self.start = 0, 0
        self.feed(text)

    def _at(self) -> int:
        line, column = self.getpos()
        return self.lines[line - 1] + column

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        if self.depth == 0:
            self.start = self._at()
        if tag not in _VOID:
            self.depth += 1

    def handle_startendtag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self.depth -= 1
            if self.depth == 0:
                end = self.text.index(">", self._at()) + 1
                self.found.append(self.text[self.start : end])

    def handle_comment(self, data: str) -> None:
        if self.depth == 0:
            self.found.append(f"<!--{data}-->")


@dataclass
class Slide:
    """One slide.

    Attributes:
        title: Its heading, as HTML.
        blocks: What it shows: elements of the page.
        notes: What the teacher says or asks.
    """

    title: str
    blocks: list[str]
    notes: list[str]


def blocks(page: str) -> list[str]:
    """List the outermost elements and comments of a built page's article."""
    article = re.search(r"<article[^>]*>(.*?)</article>", page, re.S)
    return _Blocks(article[1]).found if article else []


def deck(page: str) -> list[Slide]:
    """Choose the slides of a built page."""
    title, sections = "", [("", list[str]())]
    for block in blocks(page):
        heading = re.match(
            r"<h([123])[^>]*>(.*?)(?:<a class=\"headerlink\".*?)?</h\1>", block, re.S
        )
        if heading and heading[1] == "1":
            title = heading[2]
        elif heading:
            sections.append((heading[2], []))
        else:
            sections[-1][1].append(block)
    slides, spare = [_filled(title, sections[0][1])], list[int]()
    for heading_, inside in sections[1:]:
        if inside and not heading_.startswith(_LEFT_OUT):
            marks = [i for i, block in enumerate(inside) if _MARK.match(block)]
            if not marks and not heading_.startswith("Exercise"):
                spare.append(len(slides))
            marks = marks or [0]
            ends = [*marks[1:], len(inside)]
            slides += [_filled(heading_, inside[a:b]) for a, b in zip(marks, ends, strict=True)]
    gone = spare[::-1][: max(0, len(slides) - MOST)]
    return [slide for i, slide in enumerate(slides) if i not in gone]


def _filled(title: str, inside: Sequence[str]) -> Slide:
    """Take blocks until the slide is full; a comment costs nothing, wherever it stands."""
    slide, left = Slide(title, [], []), ROOM
    for block in inside:
        if note := _NOTE.match(block):
            slide.notes.append(" ".join(note[1].split()))
        elif not block.startswith(("<!--", "<details", '<div class="chapter-links')):
            if "attempt()" in re.sub("<[^>]+>", "", block):
                break  # An exercise's check is for the notebook.
            size, spare = _lines(block), SPARE * block.startswith(("<figure", '<div class="output'))
            if slide.blocks and size > left + spare:
                left *= "<pre" in block  # Code that does not fit is left out, and what follows not.
            elif left > 0:
                slide.blocks.append(block)
                left -= size
    return slide


def _lines(block: str) -> float:
    """Estimate how many lines of prose are as high as a block."""
    if block.startswith("<figure"):
        return 13.0
    if block.startswith('<div class="math"'):
        return 3.0
    text = re.sub(r'<span class="katex-mathml">.*?</math></span>|<[^>]+>', "", block, flags=re.S)
    if "<pre" in block or "<table" in block:
        return 0.8 * (text.strip().count("\n") + 1) + block.count("<tr") * 1.2
    return 0.7 + len(text) / 85


_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: slides</title>
<link rel="icon" href="{assets}/images/favicon.png">
<link rel="stylesheet" href="{assets}/reveal/reveal.css">
{styles}
<link rel="stylesheet" href="{assets}/slides.css">
</head>
<body>
<script>document.body.dataset.mdColorScheme =
  matchMedia("(prefers-color-scheme: dark)").matches ? "slate" : "default";
document.body.dataset.mdColorPrimary = "custom";</script>
<div class="reveal"><div class="slides">
"""
_TAIL = """</div></div>
<script src="{assets}/book.js"></script>
<script src="{assets}/reveal/reveal.js"></script>
<script src="{assets}/reveal/notes.js"></script>
<script src="{assets}/slides.js"></script>
</body>
</html>
"""


def html(page: str, chapter: Chapter, assets: str) -> str:
    """Write the deck of a built page; `assets` leads from it to the site's own."""
    styles = "\n".join(re.findall(r'<link rel="stylesheet"[^>]*>', page.split("<body")[0]))
    parts = [_HEAD.format(title=escape(chapter.title), assets=assets, styles=styles)]
    for i, slide in enumerate(deck(page)):
        level = "h2" if i else "h1"
        notes = "".join(f"<p>{escape(note)}</p>" for note in slide.notes)
        aside = f'<aside class="notes">{notes}</aside>' if notes else ""
        body = "\n".join(re.sub(r' id="[^"]*"', "", block, count=1) for block in slide.blocks)
        head = f'<section class="md-typeset"><{level}>{slide.title}</{level}>'
        parts.append(f"{head}\n{body}\n{aside}</section>\n")
    return "".join([*parts, _TAIL.format(assets=assets)])


def make(site: Path, chapters: Sequence[Chapter]) -> list[Path]:
    """Write a deck beside the page of each chapter that has one, and what the decks load."""
    reveal = ROOT / "node_modules/reveal.js/dist"
    (site / "assets/reveal").mkdir(parents=True, exist_ok=True)
    for file in ("reveal.css", "reveal.js", "plugin/notes.js"):
        shutil.copy(reveal / file, site / "assets/reveal")
    made = []
    for chapter in chapters:
        if "/" not in chapter.name or not chapter.blocks:
            continue
        page, up = site / chapter.name / "index.html", chapter.name.count("/") + 1
        deck_ = page.with_name("slides.html")
        if not page.exists():  # A site without folders for pages, as the one without a server.
            shutil.rmtree(site / chapter.name, ignore_errors=True)
            page, up = site / f"{chapter.name}.html", up - 1
            deck_ = page.with_name(f"{page.stem}-slides.html")
        deck_.write_text(html(page.read_text(), chapter, f"{'../' * up}assets"))
        made.append(deck_)
    return made
