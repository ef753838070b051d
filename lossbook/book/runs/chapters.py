"""Chapters as they stand on disk, and the settings that list their families."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
BUILD = ROOT / "build"

# Ten times as fast, where PyYAML was built with it.
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FENCE = re.compile(r"( *)(`{3,}|~{3,})([^`\n]*)$")
_INCLUDE = re.compile(r'^( *)--8<-- "([^"]+)"\n', re.M)


class Settings(yaml.SafeLoader):  # type: ignore[misc]
    """Reads `mkdocs.yml`, with the values of environment variables where they are set."""

    def variable(self, node: yaml.SequenceNode) -> Any:
        """Read `!ENV [NAME, default]`."""
        name, default = self.construct_sequence(node)
        return os.environ.get(name, default)


Settings.add_constructor("!ENV", Settings.variable)


@cache
def settings() -> dict[str, Any]:
    """The settings of `mkdocs.yml`."""
    return dict(yaml.load((ROOT / "mkdocs.yml").read_text(), Settings))


def families() -> list[str]:
    """The folders of losses, in the order of the navigation: it lists them, and nothing else."""
    groups = {title: inside for entry in settings()["nav"] for title, inside in entry.items()}
    return [folder.rstrip("/") for entry in groups["Losses"] for folder in entry.values()]


class ChapterError(Exception):
    """What is wrong with a chapter, with its file and line."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        self.path, self.line, self.message = path, line, message
        super().__init__(f"{relative(path)}:{line}: {message}")


def relative(path: Path) -> str:
    """Return `path` as seen from the repository, or as it is outside of it."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


class Fence(NamedTuple):
    """A fenced block, from the line of the opening fence to that of the closing one, 1-based.

    The code starts on the line after the opening. A fence that is never closed ends one line
    behind the text.
    """

    line: int
    end: int
    indent: str
    marks: str
    info: str
    source: str

    @property
    def kind(self) -> str:
        """The first word behind the marks: "python" is a cell, "pycon" a doctest."""
        return self.info.partition(" ")[0]


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
    def own(self) -> list[str]:
        """The losses that no other chapter has: none if it shows the file of another."""
        return [] if "file" in self.meta else self.losses

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
    def blocks(self) -> list[Fence]:
        """The fences that are executed, in order."""
        return executed(self.text)


def split_front_matter(text: str) -> tuple[str, str]:
    """Split a file into its YAML front matter (without the rules) and the rest."""
    match = re.match(r"---\n(.*?)^---\n", text, re.S | re.M)
    return (match[1], text[match.end() :]) if match else ("", text)


def fences(text: str) -> Iterator[Fence]:
    """Yield every fenced block."""
    lines = text.splitlines(keepends=True)
    i = 0
    while i < len(lines):
        opening = _FENCE.match(lines[i].rstrip("\n"))
        if opening:
            indent, marks, info = opening.groups()
            closing = re.compile(rf" *{re.escape(marks[0])}{{{len(marks)},}}\s*$")
            start = i = i + 1
            while i < len(lines) and not closing.match(lines[i]):
                i += 1
            source = "".join(line.removeprefix(indent) for line in lines[start:i])
            yield Fence(start, i + 1, indent, marks, info.strip(), source)
        i += 1


def executed(text: str) -> list[Fence]:
    """List the fences that are executed: those of Python at the start of a line."""
    return [f for f in fences(text) if not f.indent and f.kind in ("python", "pycon")]


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """Change a Markdown text, but none of its fenced blocks."""
    lines = text.splitlines(keepends=True)
    parts, end = [], 0
    for fence in fences(text):
        parts.append(change("".join(lines[end : fence.line - 1])))
        parts += lines[fence.line - 1 : fence.end]
        end = fence.end
    return "".join([*parts, change("".join(lines[end:]))])


def include(text: str, path: Path, line: int = 1) -> str:
    """Insert the files that `--8<-- "path"` lines name; the text starts on `line` of `path`."""

    def insert(match: re.Match[str]) -> str:
        source = ROOT / match[2]
        if not source.is_file():
            at = line + text[: match.start()].count("\n")
            raise ChapterError(path, at, f"expected a file of the repository, got {match[2]!r}")
        return "".join(match[1] + line for line in source.read_text().splitlines(keepends=True))

    return _INCLUDE.sub(insert, text)


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
        meta = yaml.load(split_front_matter(text)[0], _YAML)
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
        claims = [("title", chapter.title), *(("loss", name) for name in chapter.own)]
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
