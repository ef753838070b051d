"""The notation: every symbol of a formula is listed."""

import re

import pytest

from lossbook.book.pages import tex
from lossbook.book.runs.chapters import DOCS

NOTATION = DOCS / "notation.md"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if path != NOTATION]
ACCENTS = "hat|bar|tilde|mathbf|mathcal|mathbb"
SYMBOL = re.compile(rf"\\({ACCENTS})\s*\{{?\s*(\\?[A-Za-z]+)|\\([A-Za-z]+)|([A-Za-z])")
WORDS = re.compile(r"\\(?:text|mathrm|operatorname\*?|begin|end)\{[^}]*\}")
# Greek letters and signs; other commands are functions, relations, layout.
LETTERS = {
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "pi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Pi",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "ell",
    "odot",
    "Vert",
    "triangle",
}


def symbols(formula):
    """The letters of a formula, with their accents and without their indices' words."""
    found = set()
    for accent, accented, command, letter in SYMBOL.findall(WORDS.sub("", formula)):
        if accent:
            found.add(f"\\{accent} {accented}")
        elif letter or command in LETTERS:
            found.add(letter or f"\\{command}")
    return found


def listed():
    """The symbols of the two tables of the notation."""
    text = NOTATION.read_text().split("\n## How formulas are read\n")[0]
    return {symbol for formula, _ in tex.formulas(text) for symbol in symbols(formula)}


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(DOCS).as_posix())
def test_every_symbol_of_a_page_is_in_the_notation(path):
    used = {s for formula, _ in tex.formulas(path.read_text()) for s in symbols(formula)}
    assert sorted(used - listed()) == []


def test_symbols_are_found():
    assert symbols(r"\hat{y}_i + \bar z \cdot \log \alpha_{\mathrm{ab}}") == {
        *(r"\hat y", r"\bar z", r"\alpha", "i")
    }
