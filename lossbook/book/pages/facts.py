"""The facts of *In short*: what a loss takes and gives, and what the contract found of it."""

import inspect
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import lossbook
from lossbook.book.pages import card

_SHAPE = re.compile(r"`(\([^`]*\))`(?:\s+or\s+`(\([^`]*\))`)?")


def table(losses: Sequence[str], meta: Mapping[str, Any]) -> str:
    """Draw the table of a chapter's losses, from their signatures, docstrings and vetting files.

    Args:
        losses: Public names; a helper that is no loss has no fact from the contract.
        meta: The chapter's front matter, whose `aliases` are printed below.

    Returns:
        HTML, a column a loss.
    """
    head = "".join(f'<th scope="col"><code>{escape(name)}</code></th>' for name in losses)
    rows = [f'<tr><th scope="col"></th>{head}</tr>']
    described = [_described(name) for name in losses]
    for label in ("takes", "gives", "settings"):
        if any(cells[label] for cells in described):
            cells = "".join(f"<td>{c[label]}</td>" for c in described)
            rows.append(f'<tr><th scope="row">{label}</th>{cells}</tr>')
    found = [
        None if card.helper(getattr(lossbook, name).__doc__) else card.results(name)
        for name in losses
    ]
    for fact in ("range", "perfect", "chance"):
        stated = [card.fact(f, fact) for f in found]
        if any("not-run" not in cell for cell in stated):
            label = card.FACTS[fact]
            rows.append(f'<tr><th scope="row">{label}</th>{"".join(stated)}</tr>')
    aliases = ", ".join(escape(alias) for alias in meta.get("aliases", []))
    also = f'<p class="aliases">Also called {aliases}.</p>' if aliases else ""
    return (
        '<div class="card facts" role="region" aria-label="Facts" tabindex="0">'
        f'<table class="data">{"".join(rows)}</table></div>{also}\n'
    )


def _shape(text: str) -> str:
    """The first shape that a text names, or the first two if it says "or" between them."""
    found = _SHAPE.search(text)
    return " or ".join(escape(shape) for shape in found.groups() if shape) if found else ""


def _described(name: str) -> dict[str, str]:
    """What a function takes, gives and can be set to; each shape as its docstring has it."""
    function = getattr(lossbook, name)
    parts = re.split(r"^(Args|Returns|Raises):\n", inspect.getdoc(function) or "", flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    entries = dict(re.findall(r"^    (\w+): (.*\n(?:(?: {5}.*)?\n)*)", sections["Args"], re.M))
    takes, settings = [], []
    for parameter in inspect.signature(function).parameters.values():
        label = f"<code>{parameter.name}</code>"
        if parameter.kind is parameter.KEYWORD_ONLY:
            given = parameter.default is not parameter.empty
            settings.append(
                f"<code>{parameter.name}={parameter.default}</code>" if given else label
            )
        else:
            takes.append(f"{label} {_shape(entries[parameter.name])}".strip())
    return {
        "takes": ", ".join(takes),
        "gives": _shape(sections["Returns"]),
        "settings": ", ".join(settings),
    }
