"""The built site in a browser: what a reader sees, moves, copies and finds."""

import doctest
import gzip
import re
import subprocess
import sys

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from lossbook.book.runs.chapters import ROOT, fences
from tests.book.browser import (
    DESK,
    FOCAL,
    HOME,
    HUBER,
    LINES,
    MARKS,
    PAINT,
    PHONE,
    SITE,
    both_schemes,
    contrast,
    every_chapter,
    every_page,
    luminance,
    reach_every_figure,
    unfold,
)

# Reading -----------------------------------------------------------------------------------------

PROSE = """() => {
    const article = document.querySelector("article").cloneNode(true);
    article.querySelectorAll("pre, code, annotation, svg").forEach(e => e.remove());
    return article.textContent;
}"""
HIDDEN = (
    "e => [getComputedStyle(e).clipPath, getComputedStyle(e).clip].some(c => /inset|rect/.test(c))"
)


@every_page
def test_a_page_opens_and_its_mathematics_is_typeset(visit, path):
    page = visit(path, share=True)
    shown = page.evaluate(PROSE)
    assert len(shown) > 100
    assert not re.search(r"\$|\\\(|\\\[|\\[a-z]{3}", shown)
    formulas = page.locator("article .katex")
    assert path == HOME or formulas.count() > 10
    for formula in formulas.all()[:5]:
        # KaTeX's style and fonts are there: glyphs are seen, the MathML is for screen readers.
        assert formula.locator(".katex-html").bounding_box()["height"] > 8
        assert formula.locator(".katex-mathml").evaluate(HIDDEN)
        assert page.evaluate(
            "[...document.fonts].some(f => /KaTeX/.test(f.family) && f.status === 'loaded')"
        )


SHIFTS = """() => new Promise(done => {
    let sum = 0;
    new PerformanceObserver(list => {
        for (const shift of list.getEntries()) sum += shift.hadRecentInput ? 0 : shift.value;
    }).observe({type: "layout-shift", buffered: true});
    setTimeout(() => done(sum), 300);
})"""


@every_page
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_moves_while_a_page_loads_and_its_figures_come_alive(visit, path, viewport):
    page = visit(path, share=True, viewport=viewport)
    reach_every_figure(page)
    assert page.evaluate(SHIFTS) < 0.05


@pytest.mark.parametrize("path", ["policy/ppo/", "sequence/ctc/", "segmentation/jaccard/"])
def test_nothing_moves_when_fonts_come_late(visit, path):
    page = visit(path, viewport=PHONE, slow=True)
    reach_every_figure(page)
    assert page.evaluate(SHIFTS) < 0.05


@every_chapter
def test_without_javascript_everything_is_there(visit, path):
    page = visit(path, java_script_enabled=False)
    for what in ("p", ".highlight code", ".output", "figure.chart svg.wide", ".katex-html"):
        shown = page.locator(f"article {what}:not(details:not([open]) *)")
        assert shown.count() > 0, what
        for element in shown.all():
            assert element.bounding_box()["height"] > 4, element.inner_html()
    for kind, inside in ((".code", "pre"), (":not(.code)", "p")):
        folded = page.locator(f"article details{kind}").first
        assert not folded.locator(inside).first.is_visible()
        folded.locator("summary").click()
        assert folded.locator(inside).first.is_visible()


def test_without_javascript_a_dark_screen_is_as_dark_as_with_it(visit):
    seen = []
    for runs in (False, True):
        page = visit(HUBER, color_scheme="dark", java_script_enabled=runs)
        inks = "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
        shown = (".md-header", "article p", "article p a", ".highlight .k", ".highlight code")
        seen.append([page.locator(f"{what} >> nth=0").evaluate(inks) for what in ("body", *shown)])
    assert luminance(seen[0][0][1]) < 0.05
    assert seen[0] == seen[1]


# Whether a finger that lands 21 px above or below the middle still hits.
HIT = """e => {
    e.scrollIntoView({block: "center"});
    const box = e.getBoundingClientRect();
    const x = (Math.max(box.left, 0) + Math.min(box.right, innerWidth)) / 2;
    return [-21, 0, 21].every(dy => {
        const hit = document.elementFromPoint(x, (box.top + box.bottom) / 2 + dy);
        return hit === e || e.contains(hit);
    });
}"""


@every_chapter
def test_on_a_phone_every_control_is_44_px_high(visit, path):
    page = visit(path, share=True, viewport=PHONE)
    reach_every_figure(page)
    for what in (".controls input", ".chapter-links a", "button", "details > summary"):
        controls = page.locator(f"article {what}:not(details:not([open]) > :not(summary) *)").all()
        assert controls, what
        for control in controls:
            assert control.evaluate(HIT), control.evaluate("e => e.outerHTML")


CUT = """() => [...document.querySelectorAll("article *")].filter(e => {
    if (e.closest("svg, .katex-mathml") || !e.offsetParent) return false;
    if (e.getBoundingClientRect().right <= document.documentElement.clientWidth + 1) return false;
    for (let p = e; p; p = p.parentElement)
        if (["auto", "scroll"].includes(getComputedStyle(p).overflowX)) return false;
    return true;
}).map(e => e.outerHTML.slice(0, 160))"""
SCROLLED = """boxes => boxes.filter(e => {
    if (e.scrollWidth <= e.clientWidth) return false;
    e.scrollLeft = 10;
    return e.scrollLeft > 0;
}).map(e => e.tabIndex)"""


@every_chapter
def test_on_a_phone_only_formulas_code_and_outputs_scroll_sideways_each_in_its_box(visit, path):
    page = visit(path, share=True, viewport=PHONE)
    reach_every_figure(page)
    unfold(page)
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
    assert page.evaluate(CUT) == []
    for what in ("div.math", ".highlight code", ".output"):
        scrolled = page.locator(f"article {what}:not(details *)").evaluate_all(SCROLLED)
        assert scrolled, what
        assert set(scrolled) == {0}, f"the keyboard does not reach {what}"


@both_schemes
@every_chapter
def test_a_figure_can_be_read_in_both_color_schemes(visit, path, scheme):
    page = visit(path, color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(ground) > 0.5) == (scheme == "light")
    words = "e => [...e.querySelectorAll('svg text')].map(t => getComputedStyle(t).fill)"
    for live in (False, True):
        if live:
            reach_every_figure(page)
        figures = page.locator("article figure.chart").all()
        assert figures
        for figure in figures:
            inks, colors = (
                figure.evaluate(words),
                figure.evaluate(f"e => {MARKS}.map(p => {PAINT})"),
            )
            assert inks
            assert colors
            assert min(contrast(ink, ground) for ink in inks) >= 4.5, inks
            assert min(contrast(color, ground) for color in colors) >= 3, colors


@every_page
def test_a_page_is_light(visit, built, path, capsys):
    """Until the reader scrolls; the search index, which the theme loads behind it, is apart."""
    page = visit(path)
    page.evaluate("document.fonts.ready.then(() => true)")
    page.wait_for_load_state("networkidle")
    asked = {url.removeprefix(SITE).partition("?")[0] for url in page.asked if url.startswith(SITE)}
    assert {path, "assets/book.css", "assets/fonts/inter.woff2"} <= asked
    files = [built[0] / name for name in asked]
    files = [file / "index.html" if file.is_dir() else file for file in files]
    sizes = {file.name: len(gzip.compress(file.read_bytes())) / 1000 for file in files}
    index = sizes.pop("search_index.json", 0)
    with capsys.disabled():
        print(
            f"\n{path or 'index'}: {sum(sizes.values()):.0f} KB compressed, search {index:.0f} KB"
        )
    assert sum(sizes.values()) < 300, sorted(sizes.items(), key=lambda item: -item[1])


# Moving ------------------------------------------------------------------------------------------

SLIDE = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }"


def alike(some, others):
    """Whether lines run through the same points; a still figure keeps tenths of pixels."""
    return some == pytest.approx(others, rel=0, abs=0.1)


def changed(figure, before, to=None):
    """Wait until a figure's lines differ from what they were, or are what they should be."""
    for _ in range(100):
        now = figure.evaluate(LINES)
        if not alike(now, before) if to is None else alike(now, to):
            return now
        figure.page.wait_for_timeout(20)
    raise AssertionError("the slider does not move the lines")


@every_chapter
def test_a_figure_becomes_live_when_it_is_reached_and_its_slider_moves_it(visit, path):
    page = visit(path)
    figures = page.locator("figure[data-chart]").all()
    assert figures
    still = [figure.evaluate(LINES) for figure in figures]
    for figure, before in zip(figures, still, strict=True):
        figure.scroll_into_view_if_needed()
        slider, value = figure.locator("input[type=range]").first, figure.locator("output").first
        slider.wait_for()
        assert before
        assert alike(figure.evaluate(LINES), before)
        assert figure.locator("svg").count() == 1
        assert slider.evaluate("e => e.labels[0].textContent").strip()
        first, low, high = (slider.evaluate(f"e => e.{name}") for name in ("value", "min", "max"))
        assert float(value.text_content()) == float(first)

        slider.focus()
        page.keyboard.press("ArrowRight" if first != high else "ArrowLeft")
        moved = changed(figure, before)
        assert float(value.text_content()) == float(slider.input_value()) != float(first)

        end = high if slider.input_value() != high else low
        slider.evaluate(SLIDE, end)
        changed(figure, moved)
        assert float(value.text_content()) == float(end)

        slider.evaluate(SLIDE, first)
        changed(figure, moved, to=before)


def test_a_figure_that_is_not_reached_loads_nothing(visit):
    page = visit(FOCAL, viewport={"width": 1280, "height": 300})
    assert not any(url.endswith("vega.min.js") for url in page.asked)
    assert page.locator("figure[data-live]").count() == 0
    reach_every_figure(page)
    assert any(url.endswith("vega.min.js") for url in page.asked)


def test_instant_navigation_keeps_the_document_and_figures_live_there(visit):
    page = visit(HUBER)
    page.evaluate("window.__mark = 1")
    page.locator(f".md-nav a[href$='{FOCAL}']").first.evaluate("e => e.click()")
    page.wait_for_url(SITE + FOCAL)
    page.locator("h1", has_text="Focal loss").wait_for()
    assert page.evaluate("window.__mark") == 1
    for title, back in (("Focal loss", False), ("Huber loss", True)):
        if back:
            page.go_back()
        page.locator("h1", has_text=title).wait_for()
        figures = reach_every_figure(page)
        assert figures
        assert all(figure.locator("svg").count() == 1 for figure in figures)
        assert page.locator(".controls").count() == len(figures)
        assert page.evaluate("window.__mark") == 1


# What readers type, and the page that must stand first.
ASKED = {
    "classification/bi_tempered": ["bi-tempered"],
    "classification/binary_cross_entropy": ["BCEWithLogitsLoss"],
    "classification/cross_entropy": [
        "F.cross_entropy",
        "CrossEntropyLoss",
        "label smoothing",
        "ignore_index",
    ],
    "classification/focal": [
        "focal",
        "focal_loss",
        "Focal loss",
        "sigmoid_focal_loss",
        "RetinaNet",
    ],
    "classification/hinge": ["hinge", "svm"],
    "detection/multibox": ["ssd"],
    "distribution/distillation": ["knowledge distillation"],
    "distribution/earth_mover": ["earth mover", "emd"],
    "distribution/kl_divergence": ["kl", "KLDivLoss"],
    "embedding/arcface": ["AAM softmax", "arcface"],
    "embedding/center": ["center loss"],
    "embedding/contrastive": ["contrastive"],
    "embedding/cosine": ["cosine similarity"],
    "embedding/info_nce": ["info nce", "InfoNCE", "NT-Xent", "SimCLR"],
    "embedding/multiple_negatives_ranking": ["sentence transformers"],
    "embedding/triplet": ["triplet"],
    "foundations/gradient_descent": ["gradient descent"],
    "foundations/outliers": ["outliers"],
    "foundations/weights_masks_means": ["class weights"],
    "generative/minimax_gan": ["gan"],
    "generative/wasserstein_gan": ["WGAN"],
    "image/total_variation": ["total variation"],
    "notation": ["notation"],
    "ranking/margin_ranking": ["margin ranking", "MarginRankingLoss"],
    "regression/absolute_error": ["mae", "L1Loss"],
    "regression/huber": ["huber", "smooth l1"],
    "regression/poisson_nll": ["poisson"],
    "regression/squared_error": ["mse", "MSELoss", "mean squared error", "RMSE"],
    "segmentation/dice": ["soft dice", "dice"],
    "sequence/ctc": ["CTC"],
    "symptoms": ["log cosh", "nan", "inf", "negative loss"],
}


def test_what_readers_ask_is_answered_first(visit):
    page = visit(HOME, search=True)
    page.locator(".md-search__input").click()
    first, wrong = page.locator(".md-search-result__link").first, []
    for answer, queries in ASKED.items():
        for words in queries:
            page.locator(".md-search__input").fill(words)  # At once: no query ends in a hyphen.
            page.keyboard.press("End")
            try:
                found = page.locator(f".md-search-result__item:first-child a[href*='{answer}/']")
                found.first.wait_for(timeout=5000)
            except PlaywrightTimeout:
                wrong.append(f"{words}: {first.get_attribute('href')}, not {answer}")
    assert sum(map(len, ASKED.values())) >= 40
    assert wrong == []


# Copying -----------------------------------------------------------------------------------------

CLIPBOARD = ["clipboard-read", "clipboard-write"]


def copy(page, block):
    """Press the copy button of a block and read the clipboard."""
    page.context.grant_permissions(CLIPBOARD)
    page.evaluate("navigator.clipboard.writeText('nothing was copied')")
    block.hover()
    block.locator(".md-code__button[data-md-type=copy], .md-clipboard").first.click()
    for _ in range(100):
        text = page.evaluate("navigator.clipboard.readText()")
        if text != "nothing was copied":
            return text
        page.wait_for_timeout(20)
    raise AssertionError("the button copies nothing")


ALONE = """
import doctest, importlib.util, sys
sys.modules["lossbook"] = None  # Any import of it fails.
spec = importlib.util.spec_from_file_location("own", sys.argv[1])
own = importlib.util.module_from_spec(spec)
spec.loader.exec_module(own)
done = doctest.testmod(own)
assert done.attempted > 0 and done.failed == 0, done
"""


@every_chapter
def test_the_copied_file_is_the_file_to_the_byte_and_runs_with_torch_alone(visit, path, tmp_path):
    page = visit(path, share=True)
    block = page.locator("article .highlight:has(.filename)")
    name = block.locator(".filename").inner_text()
    text = copy(page, block)
    assert text.encode() == (ROOT / name).read_bytes()
    own = tmp_path / "own.py"
    own.write_bytes(text.encode())
    command = [sys.executable, "-I", "-W", "error", "-c", ALONE, own]
    subprocess.run(command, cwd=tmp_path, check=True)


def written(book, path, kind):
    """The blocks of a kind in the chapter of a page."""
    (chapter,) = [c for c in book.chapters if f"{c.name}/" == path]
    return [f.source for f in fences(chapter.body) if f.info == kind]


@every_chapter
def test_a_copied_doctest_has_no_prompts_and_no_outputs(visit, book, path):
    page = visit(path, share=True)
    sources = written(book, path, "pycon")
    blocks = page.locator("article .highlight:has(.gp)").all()
    assert len(blocks) == len(sources) > 0
    for block, source in zip(blocks, sources, strict=True):
        examples = doctest.DocTestParser().get_examples(source)
        wanted = "".join(example.source for example in examples)
        assert [line for line in copy(page, block).splitlines() if line.strip()] == [
            line for line in wanted.splitlines() if line.strip()
        ]


@every_chapter
def test_a_copied_cell_is_the_cell(visit, book, path):
    page = visit(path, share=True)
    (chapter,) = [c for c in book.chapters if f"{c.name}/" == path]
    kinds = [fence.kind for fence in fences(chapter.body)]
    cell = written(book, path, "python")[0]
    unfold(page)
    block = page.locator("article .highlight").nth(kinds.index("python"))
    assert copy(page, block) == cell.rstrip("\n")


# For everyone ------------------------------------------------------------------------------------

AXE = ROOT / "node_modules/axe-core/axe.min.js"
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"


def violations(page):
    """What axe calls serious or critical: rule and element."""
    page.add_style_tag(content=STILL)
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return sorted(
        {
            f"{rule['id']}: {node['html'][:160]}"
            for rule in found
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        }
    )


@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", DESK), ("dark", PHONE)], ids=["light", "dark on a phone"]
)
@every_page
def test_axe_finds_nothing_serious(visit, path, scheme, viewport):
    page = visit(path, share=scheme == "light", color_scheme=scheme, viewport=viewport)
    reach_every_figure(page)
    unfold(page)
    assert violations(page) == []


def test_axe_finds_what_is_planted(visit):
    page = visit(HOME)
    planted = "<img src='data:,'><p style='color: #bbb; background: #fff'>pale</p>"
    page.locator("article").evaluate(
        "(e, html) => e.insertAdjacentHTML('beforeend', html)", planted
    )
    rules = {line.partition(":")[0] for line in violations(page)}
    assert {"image-alt", "color-contrast"} <= rules
