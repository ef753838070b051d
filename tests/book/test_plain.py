"""The book for machines that read: what stands on the page stands in its Markdown."""

import nbformat
import pytest

from lossbook.book.pages import card, plain
from lossbook.book.runs.chapters import DOCS, Chapter


def cells(*made):
    """A published notebook: two cells that say how to run it, then these."""
    note, install = nbformat.v4.new_markdown_cell("note"), nbformat.v4.new_code_cell("install")
    return nbformat.writes(nbformat.v4.new_notebook(cells=[note, install, *made]))


def code(source, *texts):
    outputs = [
        nbformat.v4.new_output("display_data", {} if text is None else {"text/plain": text})
        for text in texts
    ]
    return nbformat.v4.new_code_cell(source, outputs=outputs)


def chapter(name="image/a", losses=(), **meta):
    return Chapter(DOCS / f"{name}.md", "", {"title": "A", "losses": list(losses), **meta})


def test_a_page_is_its_text_its_code_and_what_that_printed():
    note = nbformat.v4.new_markdown_cell("Some $x$.")
    made = cells(note, code("one", "1\n", None, "  two"), code("two", ""))
    assert plain.text(made, chapter(), "https://a.example/image/a/") == (
        "<https://a.example/image/a/> (text CC BY 4.0, code MIT-0)\n\n"
        "Some $x$.\n\n"
        "```python\none\n```\n\n```text\n1\n```\n\n```text\n  two\n```\n\n"
        "```python\ntwo\n```\n"
    )


@pytest.fixture
def _vetted(monkeypatch):
    def entry(status, error=None, reason=""):
        return {"status": status, "error": error, "reason": reason}

    checks = {
        "value": entry("passed", 3e-7),
        "peers": entry("failed", reason="differs"),
        "gradient": entry("passed", 0.0),
        "device": entry("not run", reason="no GPU"),
    }
    found = {"near_loss": {"checks": checks}}
    monkeypatch.setattr(card, "results", found.get)


@pytest.mark.usefixtures("_vetted")
def test_the_card_stands_below_its_heading_with_each_result_as_it_is():
    heading = nbformat.v4.new_markdown_cell("## Vetting card\n\nAfter. ## Vetting card\n")
    page = plain.text(cells(heading), chapter(losses=["near_loss", "new_loss"]), "x")
    lines = [f"- {name}, {card.CHECKS[name]}: " for name in card.CHECKS]
    line = dict(zip(card.CHECKS, lines, strict=True))
    shown = [
        "## Vetting card",
        "",
        "`near_loss`:",
        "",
        f"{line['value']}passed, within 5e-7",
        f"{line['peers']}failed (differs)",
        f"{line['gradient']}passed",
        f"{line['device']}not run (no GPU)",
        "",
        "`new_loss`: not run on this code.",
    ]
    assert page.splitlines()[2 : 2 + len(shown)] == shown
    assert page.count("`near_loss`:") == 1
    assert "After." in page


def test_the_index_has_each_chapter_with_its_losses_and_its_description():
    settings = {"site_url": "https://a.example/", "site_name": "Book", "site_description": "Told."}
    groups = {
        "Start": [chapter("index", description="Hello.")],
        "Image": [chapter("image/a", ["near_loss", "far_loss"]), chapter("image/b")],
    }
    assert (
        plain.index(groups, settings).splitlines()
        == [
            *("# Book", "", "> Told.", "", "## Start", ""),
            *("- [A](https://a.example/index.md): Hello.", "", "## Image", ""),
            "- [A](https://a.example/image/a/index.md) (near_loss, far_loss): ",
            *("- [A](https://a.example/image/b/index.md): ", ""),
        ][:-1]
    )
