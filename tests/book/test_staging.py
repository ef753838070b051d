"""Staging without kernels: every chapter has its page, and a page hides nothing that happened."""

import re

import pytest

from lossbook.book.pages import card, notebook, plain, stage, tex
from lossbook.book.runs import chapters, seeds
from lossbook.book.runs.chapters import DOCS, Chapter, ChapterError
from lossbook.book.runs.run import Result, Run

CELLS = """---
title: A < B
losses: [huber_loss]
jupyter:
  kernelspec:
    display_name: Python 3
    language: python
    name: python3
---

# Headed

Seen. <!-- unseen -->

```python
one
```

<!-- note: unspoken -->

```pycon
>>> "<!-- kept -->"
```

## Vetting card

<!-- card -->
"""


def chapter(name, text=CELLS, **meta):
    return Chapter(DOCS / f"{name}.md", text, {"title": "A < B", **meta})


def run(of, *outputs, error=None, line=None):
    results = [Result(b.kind, b.line, b.source, []) for b in of.blocks]
    for result, shown in zip(results, outputs, strict=False):
        result.outputs = shown
    if error:
        results[-1].error, results[-1].error_line = error, line
    return Run(of.name, results, 1.0)


@pytest.fixture
def staged(tmp_path, monkeypatch):
    """Stage these runs: what is wrong, and each page that lies there."""
    monkeypatch.setattr(stage, "BUILD", tmp_path)
    monkeypatch.setattr(stage, "STAGED", tmp_path / "docs")
    monkeypatch.setattr(stage, "_assets", lambda: {"assets/a.css": b"css"})
    monkeypatch.setattr(stage, "_index", lambda _: "index")
    monkeypatch.setattr(stage, "_errata", lambda _: "# Errata\n")
    monkeypatch.setattr(stage, "_generated", lambda *_: {"speed.md": "# Speed\n"})
    monkeypatch.setattr(stage, "_configure", lambda *_: None)
    monkeypatch.setattr(tex, "typeset", lambda _: {})
    monkeypatch.setattr(card, "card", lambda losses: f"CARD OF {losses}")
    monkeypatch.setattr(seeds, "said", lambda c: f"SEEDS OF {c.name}")

    def go(*runs, errors=(), **options):
        by_name = {c.name: done for c, done in runs}
        asked = []

        def run_all(chosen, **_):
            asked.extend(c.name for c in chosen)
            return [by_name[c.name] for c in chosen]

        monkeypatch.setattr(stage, "load", lambda: ([c for c, _ in runs], [*errors]))
        monkeypatch.setattr(stage, "run_all", run_all)
        monkeypatch.setattr(stage, "cached", lambda c: by_name[c.name])
        wrong = [str(e) for e in stage.stage(**options)]
        docs = tmp_path / "docs"
        files = {p.relative_to(docs).as_posix(): p for p in docs.rglob("*") if p.is_file()}
        return wrong, {n: p.read_text() for n, p in files.items() if n.endswith(".md")}, asked

    return go


def done(name, *outputs, **options):
    made = chapter(name)
    return made, run(made, *outputs, **options)


def test_every_chapter_and_every_generated_page_is_staged_and_what_is_gone_goes(staged, tmp_path):
    three = [done(name) for name in ("image/a", "image/b", "c")]
    wrong, pages, asked = staged(*three)
    assert wrong == []
    assert asked == ["image/a", "image/b", "c"]
    made = {"speed.md", "errata.md", "elsewhere.md"}
    assert set(pages) == {"image/a.md", "image/b.md", "c.md"} | made
    assert pages["speed.md"] == "---\nsearch:\n  boost: 0.1\n---\n# Speed\n"
    beside = tmp_path / "beside"
    assert (beside / "llms.txt").read_text() == "index"
    assert (beside / "image/b/index.md").is_file()
    assert (tmp_path / "docs/assets/a.css").read_bytes() == b"css"
    assert (tmp_path / "docs/image/b.ipynb").is_file()
    assert set(staged(*three[::2])[1]) == set(pages) - {"image/b.md"}
    assert not (beside / "image/b/index.md").exists()
    assert not (tmp_path / "docs/image/b.ipynb").exists()


def test_of_some_chapters_the_others_keep_their_page(staged):
    both = [done("a", [{"text/plain": "old"}]), done("b", [{"text/plain": "old"}])]
    _, before, _ = staged(*both)
    again = [done("a", [{"text/plain": "new"}]), done("b", [{"text/plain": "new"}])]
    _, after, asked = staged(*again, only=[again[1][0].path])
    assert asked == ["b"]
    assert after["a.md"] == before["a.md"]
    assert ("old" in after["b.md"], "new" in after["b.md"]) == (False, True)
    assert after.keys() == before.keys()


@pytest.mark.parametrize("drawn", [False, True])
def test_the_many_charts_of_the_benchmark_wait_while_chapters_run(staged, monkeypatch, drawn):
    asked = []
    monkeypatch.setattr(stage, "_generated", lambda _, drawn: asked.append(drawn) or {})
    waiting = (chapter("waiting"), None)
    stored = done("ran")
    stored[1].cached = True
    staged(stored, *([] if drawn else [waiting]), wait=False)
    staged(done("ran"))
    assert asked == [drawn, True]


def test_what_has_no_run_says_that_it_is_running(staged):
    ran, waiting = done("ran", [{"text/plain": "seen"}]), (chapter("waiting"), None)
    wrong, pages, asked = staged(ran, waiting, wait=False)
    assert (wrong, asked) == ([], [])
    assert pages["waiting.md"].count('<div class="output"><pre>running</pre></div>') == 2
    assert "running" not in pages["ran.md"]
    assert "<pre>seen</pre>" in pages["ran.md"]


def test_a_failure_stands_on_the_page_and_is_reported(staged):
    wrong, pages, _ = staged(done("a", error="E < F", line=17), done("b", error="G"), done("c"))
    assert wrong == ["docs/a.md:17: E < F", "docs/b.md:21: G"]
    alert = '<div class="output error" role="alert"><pre>docs/{}</pre></div>'
    assert alert.format("a.md:17: E &lt; F") in pages["a.md"]
    assert alert.format("b.md:21: G") in pages["b.md"]
    assert "alert" not in pages["c.md"]


def test_a_page_that_cannot_be_made_says_why(staged):
    broken = chapter("a", CELLS.replace("Seen.", "[@nobody1900]"))
    unread = ChapterError(DOCS / "latin.md", 2, "not UTF-8")
    wrong, pages, _ = staged((broken, run(broken, error="E")), done("b"), errors=[unread])
    assert [w.partition(" ")[0] for w in wrong] == [
        *("docs/latin.md:2:", "docs/a.md:21:", "docs/a.md:13:")
    ]
    assert pages["a.md"].startswith("# A < B\n\n")
    assert "docs/a.md:21: E" in pages["a.md"]
    assert "docs/a.md:13: " in pages["a.md"]
    assert "docs/latin.md:2: not UTF-8" in pages["latin.md"]
    assert "alert" not in pages["b.md"]


def test_what_nobody_foresaw_stands_on_the_page_too(staged, monkeypatch):
    said = {"a": KeyError("wrong")}

    def fail(chapter, *_):
        if chapter.name in said:
            raise said[chapter.name]
        return "{}"

    monkeypatch.setattr(notebook, "publish", fail)
    monkeypatch.setattr(plain, "text", lambda *_: "")
    wrong, pages, _ = staged(done("a"), done("b"))
    assert wrong == ["docs/a.md:1: KeyError: 'wrong'"]
    assert "alert" in pages["a.md"]
    assert "alert" not in pages["b.md"]


def test_errata_that_cannot_be_made_say_why(staged, monkeypatch):
    def fail(_):
        raise KeyError("wrong")

    monkeypatch.setattr(stage, "_errata", fail)
    wrong, pages, _ = staged(done("a"))
    assert wrong == ["docs/errata/errata.yaml:1: KeyError: 'wrong'"]
    assert 'role="alert"' in pages["errata.md"]


@pytest.mark.usefixtures("staged")
def test_a_page_is_its_text_with_each_output_at_its_block_and_without_comments():
    made = chapter("image/a", losses=["huber_loss"], description="Told.")
    shown = run(made, [{"text/plain": "1 < 2\n"}, {"text/plain": "two"}], [{"text/plain": "3"}])
    files = stage._page(made, shown, [made])
    page = files["image/a.md"]
    assert page.startswith("---\ndescription: Told.\ntitle: A < B\n---\n")
    assert "unseen" not in page
    assert "Seen. \n" in page
    assert "<!-- note: unspoken -->\n" in page
    first = '<div class="output"><pre>1 &lt; 2</pre></div>\n\n'
    second = '<div class="output"><pre>two</pre></div>\n\n'
    assert f"```python\none\n```\n\n{first}{second}" in page
    assert '```pycon\n>>> "<!-- kept -->"\n```\n\n<div class="output"><pre>3</pre></div>' in page
    assert "CARD OF ['huber_loss']\nSEEDS OF image/a\n" in page
    assert page.count("CARD OF") == page.count("SEEDS OF") == 1
    assert re.search(r"^# Headed\n\n<div class=\"chapter-links\" markdown>\n", page, re.M)
    assert "[Slides](a/slides.html)" in page
    assert set(files) == {
        *("image/a.md", "image/a.ipynb", "image/a/slides.html", "../beside/image/a/index.md")
    }


@pytest.mark.usefixtures("staged")
def test_what_stands_for_something_is_put_in_its_place(monkeypatch):
    monkeypatch.setattr(stage, "_losses", lambda folder, *_: f"LOSSES OF {folder}")
    monkeypatch.setattr(stage, "_gallery", lambda _: "GALLERY")
    marks = '<!-- facts -->\n\n<!-- losses: image -->\n\n<!-- gallery -->\n\n--8<-- "LICENSE"\n'
    made = chapter(
        "image/a", f"# A\n\n{marks}", losses=["huber_loss"], family="image", aliases=["L"]
    )
    page = stage._page(made, run(made), [made])["image/a.md"]
    assert "GALLERY\n" in page
    assert "LOSSES OF image\n" in page
    assert "<code>predictions</code>" in page
    assert (chapters.ROOT / "LICENSE").read_text() in page
    assert "search:\n  boost: 4\n" in page
    assert "tags:\n- L\n" in page
    assert "<!--" not in page


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ({"text/plain": "a < b\n"}, '<div class="output"><pre>a &lt; b</pre></div>\n\n'),
        ({"text/plain": "\n"}, ""),
        ({}, ""),
        (
            {"text/html": "<table>", "text/plain": "t"},
            '<div class="output table"><table></div>\n\n',
        ),
        ({"text/html": "<figure>f"}, "<figure>f\n\n"),
        (
            {"image/svg+xml": "<svg>"},
            '<figure class="chart" data-search-exclude><svg></figure>\n\n',
        ),
    ],
)
def test_what_is_shown_of_an_output(output, shown):
    assert stage._output(output, chapter("image/a"), {}) == shown


def test_a_picture_lies_beside_its_page_and_has_an_alt_text():
    files = {}
    output = {"image/png": "aGVsbG8=", "text/plain": "'A \"b\".'"}
    shown = stage._output(output, chapter("image/a"), files)
    assert files == {"assets/figures/image-a-0.png": b"hello"}
    source = "../../assets/figures/image-a-0.png"
    assert shown == f'<figure><img src="{source}" alt="A &quot;b&quot;."></figure>\n\n'
    for alt in ("", "<Figure size 1x1>"):
        with pytest.raises(ChapterError, match="needs its alt text"):
            stage._output({"image/png": "", "text/plain": alt}, chapter("image/a"), {})


def test_a_live_chart_has_its_script_and_a_still_one_has_none():
    for vega, count in (({"signals": [1]}, 1), (None, 0)):
        files = {}
        drawn = {"name": "a-1", "alt": "A.", "title": "T", "svg": "<svg >", "narrow": "<svg >"}
        assert "<figure" in stage._output({"chart": drawn | {"vega": vega}}, chapter("a"), files)
        assert len(files) == count
    script = stage._output({"chart": drawn | {"vega": {"k": 1}}}, chapter("a"), files)
    assert 'data-chart="a-1"' in script
    assert files["assets/charts/a-1.js"] == 'lossbook.chart("a-1",{"k":1});\n'


def test_a_family_lists_its_chapters_by_year_and_its_files_without_one(monkeypatch):
    late = chapter("image/a", year=2001, task="t", sensitive_to=["x", "y"], output="o", target="g")
    early = chapter("image/b", year=1999)
    other = chapter("ranking/c")
    monkeypatch.setattr(chapters, "ROOT", DOCS)
    files = {"lossbook/image/new.py": ["new"], "lossbook/ranking/other.py": ["other"]}
    monkeypatch.setattr(stage, "_files", lambda: files)
    monkeypatch.setattr(stage, "_about", lambda _: ("New", "it is new."))
    lines = stage._losses("image", chapter("image/index"), [late, other, early]).splitlines()
    assert lines[2:] == [
        "| [A < B](../image/b.md) |  |  |  |  |",
        "| [A < B](../image/a.md) | t | g | o | x, y |",
        "| [New](../image/new.md) | it is new. | | | |",
    ]


def test_a_loss_without_a_chapter_has_a_page_with_its_file_and_its_card(monkeypatch):
    monkeypatch.setattr(card, "card", lambda losses: f"CARD OF {losses}")
    file = "lossbook/regression/huber.py"
    page = stage._vetting_page(file, ["huber_loss", "smooth_l1_loss"])
    assert f'```py title="{file}"\n{(chapters.ROOT / file).read_text()}```' in page
    assert page.endswith("CARD OF ['huber_loss', 'smooth_l1_loss']")
    assert page.count("```pycon\n>>> from lossbook import ") == 2
