"""Chapters as they stand on disk: front matter, text and executable blocks."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
BUILD = ROOT / "build"

_FENCE = re.compile(r"(?P<marks>`{3,}|~{3,})(?P<info>[^`\n]*)$")


class ChapterError(Exception):
    """What is wrong with a chapter, with its file and line."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        self.path, self.line, self.message = path, line, message
        super().__init__(f"{relative(path)}:{line}: {message}")


def relative(path: Path) -> str:
    """Return `path` as seen from the repository, or as it is outside of it."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


@dataclass(frozen=True)
class Block:
    """An executable fence: `kind` is "python" (a cell) or "pycon" (a doctest).

    `line` is the 1-based line of the opening fence; the code starts on the next one.
    """

    kind: str
    line: int
    source: str


@dataclass(frozen=True)
class Chapter:
    """A Markdown file of the book; an essay without blocks is a chapter too."""

    path: Path
    text: str
    meta: dict[str, Any] = field(compare=False)

    @property
    def name(self) -> str:
        """Its path below `docs/`, without the ending: `classification/focal`."""
        return self.path.relative_to(DOCS).with_suffix("").as_posix()

    @property
    def title(self) -> str:
        """The title of the front matter."""
        return str(self.meta["title"])

    @property
    def losses(self) -> list[str]:
        """The public names that the chapter is about."""
        return list(self.meta.get("losses", []))

    @property
    def file(self) -> str | None:
        """The loss file that the chapter shows: its own mirror unless the front matter says."""
        own = f"lossbook/{self.name}.py"
        if "file" in self.meta:
            return str(self.meta["file"])
        return own if (ROOT / own).exists() else None

    @property
    def body_line(self) -> int:
        """The 1-based line on which the text starts, below the front matter."""
        return self.text[: len(self.text) - len(self.body)].count("\n") + 1

    @property
    def body(self) -> str:
        """The text below the front matter."""
        return split_front_matter(self.text)[1]

    @property
    def blocks(self) -> list[Block]:
        """The fences that are executed, in order."""
        return [
            Block(info.split()[0], line, code)
            for line, indent, info, code in fences(self.text)
            if not indent and info.split() and info.split()[0] in ("python", "pycon")
        ]


def split_front_matter(text: str) -> tuple[str, str]:
    """Split a file into its YAML front matter (without the rules) and the rest."""
    match = re.match(r"---\n(.*?)^---\n", text, re.S | re.M)
    return (match[1], text[match.end() :]) if match else ("", text)


def fences(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield every fenced block as (line of the opening fence, indent, info, code)."""
    lines = text.splitlines(keepends=True)
    i = 0
    while i < len(lines):
        stripped = lines[i].lstrip(" ")
        indent = lines[i][: len(lines[i]) - len(stripped)]
        opening = _FENCE.match(stripped.rstrip("\n"))
        if not opening:
            i += 1
            continue
        start, marks = i, opening["marks"]
        closing = re.compile(rf" *{re.escape(marks[0])}{{{len(marks)},}}\s*$")
        i += 1
        while i < len(lines) and not closing.match(lines[i]):
            i += 1
        code = "".join(line.removeprefix(indent) for line in lines[start + 1 : i])
        yield start + 1, indent, opening["info"].strip(), code
        i += 1


def read(path: Path) -> Chapter:
    """Read one chapter.

    Raises:
        ChapterError: If the file is not UTF-8 or its front matter is not YAML with a title.
    """
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ChapterError(
            path, line, f"not UTF-8: byte {error.object[error.start]:#04x}"
        ) from None
    try:
        meta = yaml.safe_load(split_front_matter(text)[0])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 1
        raise ChapterError(
            path, line, f"front matter: {getattr(error, 'problem', error)}"
        ) from None
    if not isinstance(meta, dict) or not meta.get("title"):
        raise ChapterError(path, 1, "expected front matter with a title")
    return Chapter(path, text, meta)


def load(docs: Path = DOCS) -> tuple[list[Chapter], list[ChapterError]]:
    """Read every chapter below `docs`; what cannot be read is returned, not raised."""
    chapters: list[Chapter] = []
    errors: list[ChapterError] = []
    for path in sorted(docs.rglob("*.md")):
        try:
            chapters.append(read(path))
        except ChapterError as error:
            errors.append(error)
    return chapters, errors + duplicates(chapters)


def duplicates(chapters: Iterable[Chapter]) -> list[ChapterError]:
    """Report a title or a loss that two chapters claim."""
    seen: dict[tuple[str, str], Chapter] = {}
    errors = []
    for chapter in chapters:
        claims = [("title", chapter.title), *(("loss", name) for name in chapter.losses)]
        for kind, name in claims:
            first = seen.setdefault((kind, name), chapter)
            if first is not chapter:
                lines = chapter.text.splitlines()
                line = next((i for i, text in enumerate(lines, 1) if name in text), 1)
                errors.append(
                    ChapterError(
                        chapter.path, line, f"the {kind} {name!r} is that of {relative(first.path)}"
                    )
                )
    return errors
