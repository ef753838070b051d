"""The format of every chapter, in a browser: what is seen first, wide and narrow, on paper."""

import pytest

from lossbook.book.runs import chapters
from tests.book.browser import (
    DRAWN,
    FOCAL,
    PAINT,
    PHONE,
    SHOWN,
    contrast,
    reach_every_figure,
)

FORMATTED = [f"{c.name}/" for c in chapters.load()[0] if "\n## In short\n" in c.text]
every_formatted = pytest.mark.parametrize("path", FORMATTED)
OPEN = """() => {
    const figure = document.querySelector("article figure");
    return [...document.querySelectorAll("article .highlight pre > code")].filter(e =>
        e.compareDocumentPosition(figure) & Node.DOCUMENT_POSITION_FOLLOWING
        && !e.closest("details:not([open])")
    ).map(e => e.textContent.trimEnd().split("\\n").length);
}"""
# A word of a shown figure that lies outside of its drawing, by more than a pixel.
OUTSIDE = f"""e => {SHOWN}.flatMap(s => [...s.querySelectorAll("text")].filter(t => {{
    const inner = t.getBoundingClientRect(), outer = s.getBoundingClientRect();
    return inner.width && (inner.left < outer.left - 1 || inner.right > outer.right + 1
        || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1);
}}).map(t => t.textContent))"""
LINE = """() => [...document.querySelectorAll("article > p, article > ul > li")].filter(
    e => !e.querySelector(".math, code")
).map(e => {
    const box = document.createElement("span");
    box.textContent = e.textContent.slice(0, 200);
    box.style = "white-space: nowrap; position: absolute";
    e.append(box);
    const size = [e.clientWidth, box.textContent.length * e.clientWidth / box.offsetWidth];
    box.remove();
    return size;
}).filter(([width]) => width > 500).map(([, length]) => length)"""
# Width over height of a figure of several panels; 0 of a map, which has one.
SHAPE = """e => {
    const seen = [...e.querySelectorAll("svg")].find(s => s.getClientRects().length).viewBox;
    return e.querySelector("svg.wide g.concat_1_group")
        ? seen.baseVal.width / seen.baseVal.height : 0;
}"""
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@every_formatted
def test_a_page_has_the_form_of_the_book(visit, path):
    """Narrow, wide, on paper and narrow again, in one visit: to lay a page out anew takes long."""
    page = visit(path, viewport=NARROW, color_scheme="dark")
    formula_within(page, path, 1100)
    no_word_is_cut(page)
    page.set_viewport_size(PHONE)
    facts_keep_names_on_one_line(page)
    page.set_viewport_size(WIDE)
    opens_with_its_formula_and_its_figure(page, path)
    no_word_is_cut(page)
    figures = reach_every_figure(page)
    no_word_is_cut(page)
    wide = [shape for figure in figures if (shape := figure.evaluate(SHAPE))]
    is_light_on_paper_and_without_what_cannot_be_opened_there(page)
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(300)
    no_word_is_cut(page)
    narrow = [shape for figure in figures if (shape := figure.evaluate(SHAPE))]
    assert len(wide) == len(narrow)
    assert all(w > 1.5 > n for w, n in zip(wide, narrow, strict=True)), "panels side by side"


def opens_with_its_formula_and_its_figure(page, path):
    formula_within(page, path, 700)
    lines = page.evaluate(OPEN)
    assert max(lines, default=0) <= 3
    first = page.locator("article figure").first
    folded = page.locator("article figure ~ details.code").first
    assert folded.get_attribute("open") is None
    assert first.bounding_box()["y"] < folded.bounding_box()["y"]
    assert first.bounding_box()["width"] > 800
    lengths = sorted(page.evaluate(LINE))
    assert len(lengths) > 5
    assert 65 <= lengths[len(lengths) // 2] <= 80, "prose has lines of a book"


def facts_keep_names_on_one_line(page):
    names = page.locator(".facts code").evaluate_all(
        "all => all.map(e => e.getClientRects().length)"
    )
    assert set(names) <= {1}, "a name among the facts stands on one line"


def formula_within(page, path, highest):
    if not path.startswith("foundations/"):  # They answer in words.
        assert page.locator("article div.math").first.bounding_box()["y"] < highest


def no_word_is_cut(page):
    figures = page.locator("article figure.chart")
    assert figures.evaluate_all(f"all => all.flatMap({OUTSIDE})") == []
    assert not figures.evaluate_all("all => all.some(e => e.innerText.includes('…'))")


def is_light_on_paper_and_without_what_cannot_be_opened_there(page):
    still = page.add_style_tag(content="* { transition: none !important; }")
    page.emulate_media(media="print", color_scheme="dark")
    words = "article :is(p, a:not(.headerlink), figure text, pre span)"
    inks = page.locator(words).evaluate_all(
        "all => all.map(e => (s => e.closest('svg') ? s.fill : s.color)(getComputedStyle(e)))"
    )
    assert min(contrast(ink, "rgb(255, 255, 255)") for ink in set(inks)) >= 4.5
    figures = page.locator("article figure.chart")
    for colors in figures.evaluate_all(f"all => all.map(e => {DRAWN}.map(p => {PAINT}))"):
        assert colors
        assert min(contrast(color, "rgb(255, 255, 255)") for color in set(colors)) >= 3
    folded = page.locator("article :is(.controls, .chapter-links, details.code)")
    assert not folded.evaluate_all("all => all.some(e => e.checkVisibility())")
    page.emulate_media(media="screen", color_scheme="dark")
    still.evaluate("e => e.remove()")


def test_a_word_that_is_cut_is_found(visit):
    page = visit(FOCAL)
    figure = page.locator("article figure.chart").first
    figure.evaluate("e => e.querySelector('svg.wide text').textContent = 'x'.repeat(500)")
    assert figure.evaluate(OUTSIDE) == ["x" * 500]
