"""The slides of every chapter, in a browser."""

import pytest

from lossbook.book.runs import chapters
from tests.book.browser import (
    FOCAL,
    HUBER,
)

DECKS = [f"{c.name}/slides.html" for c in chapters.load()[0] if "/" in c.name and c.blocks]
SHOWN_WHOLE = """() => {
    const slide = deck.getCurrentSlide(), inside = "pre > code, div.math, .output, .card";
    return slide.scrollHeight <= slide.clientHeight + 1 && [...slide.querySelectorAll(inside)]
        .every(e => e.scrollWidth <= e.clientWidth + 1);
}"""
CUT = f"""() => [...Array(deck.getTotalSlides()).keys()].filter(i => {{
    deck.slide(i);
    return !({SHOWN_WHOLE})();
}})"""
TEX = "all => all.map(e => e.textContent)"


@pytest.mark.parametrize("path", DECKS)
def test_a_deck_is_of_a_lecture_s_length_and_every_slide_is_seen_whole(visit, path):
    page = visit(path, viewport={"width": 1280, "height": 720})
    page.wait_for_function("window.deck?.isReady()")
    assert 8 <= page.evaluate("deck.getTotalSlides()") <= 15
    for i in page.evaluate(CUT):  # Or not there yet.
        page.evaluate("i => deck.slide(i)", i)
        page.wait_for_function(SHOWN_WHOLE)


def test_a_key_leads_from_slide_to_slide(visit):
    page = visit(DECKS[0])
    page.wait_for_function("window.deck?.isReady()")
    for i in range(page.evaluate("deck.getTotalSlides()")):
        assert page.evaluate("deck.getIndices().h") == i
        page.keyboard.press("ArrowRight")


@pytest.mark.parametrize("path", [f"{FOCAL}slides.html", f"{HUBER}slides.html"])
def test_what_a_deck_shows_is_what_its_chapter_shows(visit, path):
    page, chapter = visit(path), visit(path.removesuffix("slides.html"))
    for what in ("annotation", "figure.chart svg.wide text"):
        own, theirs = (
            p.locator(f"{where} {what}").evaluate_all(TEX)
            for p, where in ((page, ".slides"), (chapter, "article"))
        )
        assert own
        assert set(own) <= set(theirs)
