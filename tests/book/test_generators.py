"""Two generators, one book: MkDocs with Material and Zensical build the same pages."""

import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
import yaml
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.book.browser import SITE
from tests.book.conftest import build

BOTH = ("mkdocs", "zensical")
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Page(HTMLParser):
    """What a reader finds in the article of a page, whatever the theme puts around it."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.headings, self.links, self.text = [], [], []
        self.counts = Counter()
        self.feed(text)
        self.close()

    def inside(self, tag=None, name=None):
        return any(
            (tag in (None, t)) and (name is None or name in classes) for t, classes in self.open
        )

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        classes = (given.get("class") or "").split()
        if self.inside("article"):
            self.counts["code"] += tag == "pre" and self.inside(name="highlight")
            self.counts["formulas"] += "katex" in classes
            self.counts["displayed"] += "katex-display" in classes
            self.counts["outputs"] += "output" in classes
            self.counts["figures"] += tag == "figure"
            self.counts["live"] += "data-chart" in given
            self.counts["drawn"] += tag == "svg" and self.inside("figure")
            self.counts["tables"] += tag == "table"
            self.counts["rows"] += tag == "tr"
            self.counts["details"] += tag == "details"
            self.counts["notes"] += "admonition" in classes
            self.counts["items"] += tag == "li"
            if re.fullmatch("h[1-6]", tag):
                self.headings.append([tag, given.get("id"), ""])
            own = "headerlink" not in classes and "md-content__button" not in classes
            if tag == "a" and own and given.get("href"):
                self.links.append(given["href"])
        if tag not in VOID:
            self.open.append((tag, classes))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        hidden = self.inside(name="headerlink") or self.inside(name="md-tags")
        if hidden or not self.inside("article"):
            return
        if any(re.fullmatch("h[1-6]", tag) for tag, _ in self.open):
            self.headings[-1][2] += data
        if not self.inside("svg"):
            self.text.append(data)

    def words(self):
        return "".join(self.text).split()


def pages(site):
    """Every page of a site by its path; the page for wrong addresses has no article."""
    found = {p.relative_to(site).as_posix(): p.read_text() for p in site.rglob("*.html")}
    return {
        p: Page(text) for p, text in found.items() if not p.endswith(("404.html", "slides.html"))
    }


def path_of(name):
    """The path of the page of what was staged under a name."""
    folder = name.removesuffix("index").rstrip("/")
    return f"{folder}/index.html".lstrip("/")


@pytest.fixture(scope="module")
def sites(book, built):
    """What each generator built and what it complained of."""
    said = {"mkdocs": built[1], "zensical": build(book.folder, "zensical", "site-zensical")}
    return {name: pages(book.folder / f"site-{name}") for name in BOTH}, said


@pytest.mark.parametrize("generator", BOTH)
def test_a_generator_complains_of_nothing(sites, generator):
    assert sites[1][generator] == ""


def test_the_pages_are_the_same_and_there_is_one_for_each_that_was_staged(book, sites):
    docs = book.folder / "docs"
    staged = {p.relative_to(docs).with_suffix("").as_posix() for p in docs.rglob("*.md")}
    expected = {path_of(name) for name in staged}
    for generator in BOTH:
        assert set(sites[0][generator]) == expected


@pytest.mark.parametrize("what", ["headings", "counts", "links", "words"])
def test_the_pages_have_the_same(sites, what):
    mkdocs, zensical = (sites[0][name] for name in BOTH)
    for path in sorted(mkdocs.keys() & zensical.keys()):
        here, there = (getattr(site[path], what) for site in (mkdocs, zensical))
        here, there = (here(), there()) if what == "words" else (here, there)
        if what == "links":  # However each writes them.
            here, there = ([urljoin(f"/{path}", link) for link in links] for links in (here, there))
        assert here == there, path


@pytest.mark.parametrize("generator", BOTH)
def test_a_page_has_all_that_was_staged(book, sites, generator):
    for chapter in book.chapters:
        page, text = sites[0][generator][path_of(chapter.name)], book.page(chapter)
        assert page.counts["formulas"] == text.count('<span class="katex">')
        assert page.counts["displayed"] == text.count('<span class="katex-display">')
        assert page.counts["figures"] == text.count("<figure")
        assert page.counts["live"] == text.count(" data-chart=")
        assert page.counts["outputs"] == len(re.findall(r'<div class="output\b', text))
        assert page.counts["details"] == len(re.findall(r"^\?\?\? ", text, re.M))
        fences = len(re.findall(r"^ *```\w", text, re.M))
        assert page.counts["code"] == fences
        assert next(text for tag, _, text in page.headings if tag == "h1").strip()


@pytest.mark.usefixtures("sites")
@pytest.mark.parametrize("generator", BOTH)
def test_a_page_asks_early_for_the_fonts_that_it_needs(book, generator):
    counts = Counter()
    for path in (book.folder / f"site-{generator}").rglob("index.html"):
        text = path.read_text()
        early = re.findall(r'<link rel="preload" href="[^"]*/([\w-]+)\.woff2" as="font"', text)
        formulas = ["KaTeX_Main-Regular", "KaTeX_Math-Italic"] if "mathnormal" in text else []
        assert early == ["inter", *formulas], path
        counts[len(early)] += 1
    assert counts.keys() == {1, 3}


@pytest.mark.usefixtures("sites")
@pytest.mark.parametrize("generator", BOTH)
def test_code_has_tags_only_where_it_has_colors(book, generator):
    text = (book.folder / f"site-{generator}/regression/huber/index.html").read_text()
    kinds = Counter(re.findall(r'<span class="(\w+)">[^<]+</span>', text))
    assert kinds["kn"] > 0
    assert kinds["n"] == kinds["w"] == 0


RETURNS = re.compile(r">Returns:</span></p>(.*?)</ul>", re.S)


@pytest.mark.usefixtures("sites")
@pytest.mark.parametrize("generator", BOTH)
def test_what_a_function_returns_is_one_item(book, generator):
    for path in (book.folder / f"site-{generator}/api").rglob("*.html"):
        found = RETURNS.findall(path.read_text())
        assert found
        assert {part.count("<li") for part in found} == {1}, path


def test_there_is_something_to_compare(sites):
    page = sites[0]["zensical"]["classification/focal/index.html"]
    for what in (
        "code",
        "formulas",
        "displayed",
        "outputs",
        "figures",
        "live",
        "tables",
        "details",
    ):
        assert page.counts[what] >= 1, what
    assert len(page.headings) >= 8
    assert len(page.words()) >= 1000


# What most readers type, and the page that Zensical must put first too.
COMMONEST = {
    "BCEWithLogitsLoss": "classification/binary_cross_entropy",
    "cross entropy": "classification/cross_entropy",
    "dice": "segmentation/dice",
    "focal": "classification/focal",
    "huber": "regression/huber",
    "kl": "distribution/kl_divergence",
    "mae": "regression/absolute_error",
    "mse": "regression/squared_error",
    "nan": "symptoms",
    "triplet": "embedding/triplet",
}
# Its results stand in a shadow tree.
FIRST = """() => {
    const trees = [...document.querySelectorAll("*")].map(e => e.shadowRoot).filter(Boolean);
    return trees.map(tree => tree.querySelector("a")?.href).find(Boolean);
}"""


@pytest.mark.usefixtures("sites")
def test_what_readers_ask_most_is_answered_first_by_zensical_too(book, browser):
    folder = book.folder / "site-zensical"

    def serve(route):
        path = folder / urlsplit(route.request.url).path.lstrip("/")
        route.fulfill(path=path / "index.html" if path.is_dir() else path)

    with browser.new_context() as context:
        context.route(f"{SITE}**", serve)
        page, wrong = context.new_page(), []
        page.goto(SITE)
        page.wait_for_load_state("networkidle")
        page.keyboard.press("/")
        for words, answer in COMMONEST.items():
            page.keyboard.press("ControlOrMeta+A")
            page.keyboard.type(words)
            try:
                page.wait_for_function(f"answer => ({FIRST})()?.includes(answer)", arg=answer)
            except PlaywrightTimeout:
                wrong.append(f"{words}: {page.evaluate(FIRST)}, not {answer}")
        assert wrong == []


# Planted ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(book, tmp_path_factory):
    """What the generators say of a page with a dead link."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "docs").mkdir()
    (folder / "docs/index.md").write_text("# Planted\n\nA [link](nowhere.md).\n")
    for name in BOTH:
        settings = yaml.safe_load((book.folder / f"{name}.yml").read_text())
        settings |= {"nav": [{"Home": "index.md"}], "plugins": ["search"]}
        (folder / f"{name}.yml").write_text(yaml.safe_dump(settings))
    return {name: build(folder, name, f"site-{name}") for name in BOTH}


@pytest.mark.parametrize("generator", BOTH)
def test_a_dead_link_is_caught(planted, generator):
    assert "nowhere.md" in planted[generator]


def test_a_difference_is_caught():
    article = (
        "<article><h1 id='a'>A <i>b</i><a class='headerlink'>#</a></h1>{}</article><h1>No</h1>"
    )
    page = Page(
        article.format("<p>c <span class='katex'>d</span></p><figure><svg>e</svg></figure>")
    )
    assert page.headings == [["h1", "a", "A b"]]
    assert page.words() == ["A", "bc", "d"]
    assert page.counts["formulas"] == page.counts["figures"] == page.counts["drawn"] == 1
    other = Page(article.format("<p>c <span>d</span></p>"))
    assert other.counts != page.counts
    assert other.words() == page.words()
    assert Page(article.replace("'a'", "'b'")).headings != page.headings
