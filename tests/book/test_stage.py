"""Staging: its pieces without kernels, and every staged page against its chapter."""

import base64
import html
import io
import json
import re
import shutil
from pathlib import Path
from textwrap import indent

import altair as alt
import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from pybtex.database import parse_string

import lossbook
from lossbook import __version__
from lossbook.book import plots
from lossbook.book.pages import card, cite, facts, gallery, notebook, stage, tex
from lossbook.book.runs import chapters, charts, formula
from lossbook.book.runs.chapters import ROOT, Chapter, ChapterError, settings
from lossbook.book.runs.run import Result, Run

CHAPTERS = chapters.load()[0]
LOSSES = sorted(ROOT.glob("lossbook/*/*.py"))
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=[c.name for c in CHAPTERS])


# Mathematics -------------------------------------------------------------------------------------


EXTENSIONS = ["tables", "lossbook.book.pages.tex:Formulas"]


def sources(page):
    """The TeX that the typeset formulas of a page carry along for screen readers."""
    page = tex.unpacked(page)
    found = re.findall(r'<annotation encoding="application/x-tex">(.*?)</annotation>', page, re.S)
    return [html.unescape(html.unescape(tex)) for tex in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A $p_t$ and $1 - p_t$.", ["p_t", "1 - p_t"]),
        ("**A $a_1*b_1$ in bold** and [a $x$ link](b.md)", ["a_1*b_1", "x"]),
        ("over\na $line\nbreak$.", ["line\nbreak"]),
        ("$$\n\\frac{a}{b}\n$$", ["\\frac{a}{b}\n"]),
        ("text\n\n$$\na\n$$\n\ntext $b$\n\n$$\nc\n$$", ["a\n", "b", "c\n"]),
        ("- item\n\n    $$\n    a\n    $$", ["    a\n"]),
        ("| a | b |\n|---|---|\n| $|r|$ | $x$ |", ["|r|", "x"]),
        ('??? tip "T"\n\n    With $x$.', ["x"]),
        ("`$a$` and ``b ` $c$`` but $d$", ["d"]),
        ("costs \\$5 and \\$6, $5 and $6, a $ b $", []),
        ("from $5-$6 to $7/$8", []),
        ("<!-- $a$ --> $b$", ["b"]),
        ("```python\nx = '$a$'\n```\n\n$b$\n\n    ~~~text\n    $c$\n    ~~~\n", ["b"]),
        ("```text\n$$\na\n$$\n```", []),
        ("a $x$-axis, ($y$), $z$.", ["x", "y", "z"]),
        ("$\\text{a \\$ b}$", ["\\text{a \\$ b}"]),
    ],
)
def test_what_is_a_formula(text, expected):
    assert [formula for formula, _ in tex.formulas(text)] == expected
    assert [tex.split() for tex in sources(tex.render(text))] == [t.split() for t in expected]


def test_what_is_no_formula_is_left_as_it_is():
    text = "`$a$`, \\$5, <!-- $b$ -->\n\n```python\nx = '$c$'\n```\n"
    assert tex.render(text) == text


def test_a_displayed_formula_stands_in_a_box_of_its_own():
    page = tex.unpacked(tex.render("a\n\n$$\nx^2\n$$\n\nb\n"))
    assert page.count("\n") == 5
    (box,) = [line for line in page.splitlines() if "katex" in line]
    assert box.startswith('<div class="math" data-search-exclude><span class="katex-display">')
    assert box.endswith("</div>")
    assert page.startswith("a\n\n<div")
    assert page.endswith("</div>\n\nb\n")


def test_markdown_finds_none_of_its_marks_in_a_formula():
    import markdown

    cases = ["**$a_1*b_1$**", "$[a](b)$", "$x_{i}$ and $y_{i}$", "$`a`$", "$a \\_ b$", "$<b>$"]
    for text in [
        *cases,
        "- item\n\n    $$\n    a_1 * b_1 * c_1\n    $$",
        "| a |\n|---|\n| $|r|$ |",
    ]:
        rendered = tex.render(text)
        page = markdown.markdown(rendered, extensions=[*EXTENSIONS, "attr_list", "md_in_html"])
        assert "<em>" not in page
        assert "<a " not in page
        assert "<code>" not in page
        assert sources(page) == sources(rendered)
        assert sources(page)


def test_a_displayed_formula_stays_in_its_note():
    import markdown

    text = "!!! note\n\n    Before.\n\n    $$\n    a\n    = b\n    $$\n\n    After.\n\nOutside.\n"
    page = markdown.markdown(tex.render(text), extensions=[*EXTENSIONS, "admonition"])
    inside = page[: page.index("</div>\n<p>Outside.</p>")]
    assert [inside.count(part) for part in ("Before.", "katex-display", "After.")] == [1, 1, 1]


def test_a_formula_in_a_table_stays_in_its_cell():
    import markdown

    text = "| a | b |\n|---|---|\n| $|r|$ | $p(y \\mid x)$ |\n"
    page = markdown.markdown(tex.render(text), extensions=EXTENSIONS)
    assert page.count("<td>") == 2
    assert page.count('class="katex"') == 2


def test_a_formula_that_katex_refuses_is_named_and_the_others_are_set():
    refused = tex.typeset(
        [("x_7", False), ("\\wrong{x}", False), ("\\frac{1", True), ("y_7", True)]
    )
    assert {formula: "KaTeX parse error" in said for formula, said in refused.items()} == {
        "\\wrong{x}": True,
        "\\frac{1": True,
    }
    assert sources(tex.render("$x_7$")) == ["x_7"]
    assert "<code>\\wrong{x}</code>" in tex.unpacked(tex.render("$\\wrong{x}$"))


# Citations and included files --------------------------------------------------------------------

BIB = """@article{one2001, author = {One, Ann}, title = {First}, journal = {J}, year = {2001}}

@article{two2002,
  author = {Two, Bo and Ones, Al},
  title = {Second}, journal = {J}, year = {2002},
}

@article{all2003,
  author = {M{\\"u}ller, Jo and B, C and D, E}, title = {Third}, journal = {J}, year = {2003},
}
"""


@pytest.fixture
def _bibliography(tmp_path, monkeypatch):
    path = tmp_path / "references.bib"
    path.write_text(BIB)
    read = cite.entries.__wrapped__
    monkeypatch.setattr(cite, "entries", lambda: read(path))
    monkeypatch.setattr(cite, "full", cite.full.__wrapped__)


@pytest.mark.usefixtures("_bibliography")
def test_citations_become_links_to_one_list():
    text, keys = cite.cite(
        "A [@two2002,\neq. 5] b [@one2001], [@two2002] and [@all2003].", Path("a")
    )
    assert text == (
        "A ([Two and Ones, 2002](#ref-two2002), eq. 5) b ([One, 2001](#ref-one2001)), "
        "([Two and Ones, 2002](#ref-two2002)) and ([Müller et al., 2003](#ref-all2003))."
    )
    assert keys == ["two2002", "one2001", "all2003"]
    listed = cite.references(keys)
    assert re.findall(r'<li id="ref-(\w+)">', listed) == keys
    assert listed.startswith("\n## References\n")
    assert all(title in listed for title in ("First", "Second", "Third"))
    assert cite.references([]) == ""


@pytest.mark.usefixtures("_bibliography")
@pytest.mark.parametrize("text", ["[@one2001; @two2002]", "[@one2001 eq. 5]", "[@]"])
def test_a_citation_of_another_form_is_reported_at_its_line(text):
    with pytest.raises(ChapterError, match=r"a\.md:2: .*\[@key\] or \[@key, eq\. 5\]"):
        cite.cite(f"One [@one2001].\n{text}\n", Path("a.md"))


@pytest.mark.usefixtures("_bibliography")
def test_an_unknown_key_is_reported_at_its_line():
    with pytest.raises(ChapterError) as caught:
        cite.cite("One [@one2001].\n\nTwo [@three2003].\n", Path("a.md"))
    assert (caught.value.line, "three2003" in caught.value.message) == (3, True)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (BIB + "@book{one2001, title = {Again}}\n", 11),
        (BIB.replace("author = {Two", "author {Two"), 4),
    ],
)
def test_a_broken_bibliography_is_reported_at_its_line(text, line, tmp_path):
    path = tmp_path / "references.bib"
    path.write_text(text)
    with pytest.raises(ChapterError) as caught:
        cite.entries.__wrapped__(path)
    assert (caught.value.path, caught.value.line) == (path, line)


def test_every_entry_of_the_bibliography_can_be_shown():
    for key in cite.entries():
        assert re.fullmatch(r"[\w .'-]+, \d{4}", cite.label(key)), cite.label(key)
        shown = cite.full(key)
        assert cite.entries()[key].fields["year"] in shown
        assert not re.search(r"[{}\\]", re.sub(r'href="[^"]*"', "", shown)), shown


def test_a_file_is_included_as_it_is():
    name = "lossbook/regression/huber.py"
    text = (ROOT / name).read_text()
    before, after = '```py title="x"\n', "```\n"
    assert stage.include(f'{before}--8<-- "{name}"\n{after}', Path("a")) == before + text + after
    indented = stage.include(f'    --8<-- "{name}"\n', Path("a"))
    assert "".join(line.removeprefix("    ") for line in indented.splitlines(True)) == text


def test_a_file_that_is_not_there_is_reported_at_its_line():
    with pytest.raises(ChapterError) as caught:
        stage.include('a\n\n--8<-- "lossbook/nowhere.py"\n', Path("a.md"))
    assert (caught.value.line, "lossbook/nowhere.py" in caught.value.message) == (3, True)


# Charts ------------------------------------------------------------------------------------------


def chart(**properties):
    base = alt.Chart(alt.Data(values=[{"x": 0, "y": 1, "c": "a"}, {"x": 1, "y": 3, "c": "b"}]))
    encoded = base.mark_line(clip=True).encode(alt.X("x:Q"), alt.Y("y:Q"), alt.Color("c:N"))
    return encoded.properties(**{"description": 'Up, from "1" to <3>.', **properties})


def test_a_chart_is_drawn_in_the_colors_of_the_page_under_a_name_of_its_own():
    drawn = charts.draw(chart().to_dict(), "image-a-7-1")
    svg = drawn["svg"]
    assert svg.startswith('<svg role="img" aria-label="Up, from &quot;1&quot; to &lt;3&gt;." ')
    assert drawn["alt"] == 'Up, from "1" to <3>.'
    assert drawn["vega"] is None
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert ids
    assert all(name.startswith("image-a-7-1-") for name in ids)
    used = re.findall(r"url\(#([^)]+)\)", svg)
    assert used
    assert set(used) <= set(ids)
    assert {"var(--chart-1)", "var(--chart-2)", "currentColor"} <= set(
        re.findall(r"var\(--chart-\d\)|currentColor", svg)
    )
    colors = re.findall(r'(?:fill|stroke)="([^"]+)"', svg)
    fixed = {c for c in colors if c not in ("none", "transparent", "currentColor")}
    assert all(re.fullmatch(r"var\(--chart-\d\)|url\(#.+\)", c) for c in fixed), fixed


def panels(**size):
    line = alt.Chart(alt.Data(values=[{"x": 0, "y": 1}, {"x": 1, "y": 3}])).mark_line(clip=True)
    both = [line.encode(alt.X("x:Q"), alt.Y("y:Q")).properties(**size) for _ in range(2)]
    return alt.concat(*both, columns=2).properties(description="Two.")


def width(svg):
    return float(re.search(r'width="([\d.]+)"', svg)[1])


def test_a_chart_is_drawn_wide_and_narrow_its_panels_side_by_side_or_one_above_the_other():
    for made, wide in ((chart(), charts.ALONE[0]), (panels(), 2 * charts.BESIDE[0])):
        drawn = charts.draw(made.to_dict(), "a-1")
        assert wide < width(drawn["svg"]) < 880
        assert charts.NARROW[0] < width(drawn["narrow"]) < 370
        page = stage._output({"chart": drawn}, CHAPTERS[0], {})
        assert re.findall(r'<svg class="(\w+)"', page) == ["wide", "narrow"]
        ids = re.findall(r'\bid="([^"]+)"', page)
        assert len(ids) == len(set(ids)) > 0


def test_a_live_chart_knows_the_signals_that_make_it_narrow():
    slider = alt.param(name="k", value=1, bind=alt.binding_range(min=0, max=2, step=1, name="k "))
    for made in (chart(), panels()):
        vega = charts.draw(made.add_params(slider).to_dict(), "a-1")["vega"]
        sizes, known = vega["usermeta"], {s["name"] for s in vega["signals"]} | {"width", "height"}
        assert set(sizes["wide"]) == set(sizes["narrow"]) <= known
        assert sizes["narrow"]["columns"] == 1 != sizes["wide"]["columns"]
        assert charts.NARROW[0] in sizes["narrow"].values()
        assert not {charts.NARROW[0], 1} & set(sizes["wide"].values())


def test_two_charts_share_no_id():
    both = [charts.draw(chart().to_dict(), f"a-{i}")["svg"] for i in (1, 2)]
    first, second = (set(re.findall(r'\bid="([^"]+)"', svg)) for svg in both)
    assert first
    assert first & second == set()


def test_only_a_chart_with_a_slider_is_live_and_in_the_colors_of_the_page():
    slider = alt.param(name="k", value=1, bind=alt.binding_range(min=0, max=2, step=1, name="k "))
    drawn = charts.draw(chart().add_params(slider).to_dict(), "a-1")
    assert [s["name"] for s in drawn["vega"]["signals"] if "bind" in s] == ["k"]
    text = json.dumps(drawn["vega"])
    assert "var(--chart-1)" in text
    assert not any(color in text for color in [*plots.COLORS, plots.INK])


def test_a_title_is_a_caption_and_a_chart_without_alt_text_is_refused():
    drawn = charts.draw(chart(title="A & B").to_dict(), "a-1")
    assert drawn["title"] == "A & B"
    assert "A &amp; B" not in drawn["svg"]
    page = stage._output({"chart": drawn}, CHAPTERS[0], {})
    assert page.endswith("</svg><figcaption>A &amp; B</figcaption></figure>\n\n")
    with pytest.raises(ValueError, match="no description"):
        charts.draw(chart(description="").to_dict(), "a-1")


def test_outside_of_the_page_a_chart_has_colors_of_its_own():
    svg = charts.plain(charts.draw(chart().to_dict(), "a-1")["svg"])
    assert "var(" not in svg
    assert "currentColor" not in svg
    assert plots.COLORS[0] in svg
    assert plots.INK in svg


# Order and comments ------------------------------------------------------------------------------

CELLS = """One.

<!-- slide -->

```python
drawn
```

Two <!-- note: $x$ and [@nobody1900], over
two lines -->.

```python
print("a")

print("<!-- kept -->")
```

<!-- card -->
"""


def test_pictures_stand_side_by_side_with_their_values_one_alt_text_and_captions():
    ramp = torch.linspace(0, 1, 6).reshape(2, 3)
    shown = plots.Pictures({"a ramp": ramp, "<b>": ramp > 0.5}, alt_text='A "ramp".')
    page = shown._repr_html_()
    addresses = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    first, second = (np.array(Image.open(io.BytesIO(base64.b64decode(a)))) for a in addresses)
    assert first.tolist() == [[0, 51, 102], [153, 204, 255]]
    assert second.tolist() == [[0, 0, 0], [255, 255, 255]]
    assert re.findall('alt="([^"]*)"', page) == ["A &quot;ramp&quot;.", ""]
    assert re.findall("<figcaption>(.*?)</figcaption>", page) == ["a ramp", "&lt;b&gt;"]
    assert repr(shown) == 'A "ramp". (a ramp; <b>)'


def test_a_signed_map_is_white_at_zero_and_of_two_colors_around_it():
    colors = plots.signed(torch.tensor([[-2.0, 0.0, 2.0, 1.0]]))
    below, zero, above, half = (255 * colors[0]).round().int().tolist()
    assert (zero, below, above) == ([255] * 3, [0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00])
    assert half == pytest.approx([(255 + c) / 2 for c in above], abs=1)


def test_comments_for_authors_go_and_every_line_keeps_its_number():
    text = stage.uncommented(CELLS)
    assert "\n<!-- slide -->\n" in text
    assert "nobody" not in text
    assert '"<!-- kept -->"' in text
    assert "\n<!-- card -->\n" in text
    lines = text.splitlines()
    assert len(lines) == len(CELLS.splitlines())
    assert [i for i, line in enumerate(lines) if line == "```python"] == [4, 11]


@pytest.mark.parametrize(
    ("output", "error", "first"),
    [
        ({"chart": {}}, None, True),
        ({"image/png": "", "text/plain": "A."}, None, True),
        ({stage.PEERS: {}, "text/html": "<table>"}, None, True),
        ({"text/html": '<figure class="pictures">'}, None, True),
        ({"text/html": "<table>"}, None, False),
        ({"text/plain": "1"}, None, False),
        ({"chart": {}}, "AssertionError", False),
    ],
)
def test_a_cell_that_draws_or_compares_is_folded_below_what_it_shows(output, error, first):
    drawn = Result("python", 5, "drawn", [output], error)
    printed = Result("python", 12, 'print("a")', [{"text/plain": "a"}])
    text = stage._mark(stage.uncommented(CELLS), [drawn, printed])
    folded = '<!--output 0-->\n\n??? code "Code"\n\n    ```python\n    drawn\n    ```\n'
    open_ = "```python\ndrawn\n```\n\n<!--output 0-->\n"
    assert (folded in text, open_ in text) == (first, not first)
    assert 'kept -->")\n```\n\n<!--output 1-->\n' in text


def test_two_shapes_are_told_where_a_docstring_says_or():
    text = facts.table(["signed_distance_map"], {})
    assert "<code>masks</code> (N, C, H, W) or (N, C, D, H, W)</td>" in text
    assert "<td>(N, C, H, W) or (N, C, D, H, W)</td>" in text


def test_a_helper_states_no_fact(monkeypatch):
    found = {"checks": {"facts": {"parts": {"range": {"status": "passed", "note": "0 to inf"}}}}}
    monkeypatch.setattr(card, "results", lambda _: found)
    text = facts.table(["center_loss", "update_centers"], {})
    assert '<th scope="row">range</th><td>0 to inf</td><td class="not-run">not stated</td>' in text


def test_the_facts_come_from_signature_docstring_and_vetting(monkeypatch):
    part = {"status": "passed", "note": "0 to inf"}
    found = {"checks": {"facts": {"parts": {"range": part, "chance": {"status": "failed"}}}}}
    monkeypatch.setattr(card, "results", lambda name: found if name == "focal_loss" else None)
    text = facts.table(["focal_loss", "sigmoid_focal_loss"], {"aliases": ["FL", "a < b"]})
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', text)
    cells = {label: re.findall(r"<td[^>]*>(.*?)</td>", row) for label, row in rows}
    assert cells == {
        "takes": [
            "<code>logits</code> (N, C, *), <code>labels</code> (N, *)",
            "<code>logits</code> (*), <code>targets</code> (*)",
        ],
        "gives": ["(N, *)", "(*)"],
        "settings": [
            "<code>gamma=2.0</code>, <code>alpha=None</code>",
            "<code>gamma=2.0</code>, <code>alpha=0.25</code>",
        ],
        "range": ["0 to inf", "not stated"],
    }
    assert text.endswith('<p class="aliases">Also called FL, a &lt; b.</p>\n')
    assert "Also called" not in facts.table(["focal_loss"], {})


@pytest.mark.parametrize("name", [n for n in lossbook.__all__ if n in card.losses()])
def test_every_loss_has_facts(name):
    text = facts.table([name], {})
    for label in ("takes", "gives"):
        assert re.search(rf'"row">{label}</th><td>[^<]*.*?\(.*?\)', text), label


# The notebook ------------------------------------------------------------------------------------

NOTEBOOK = """---
title: A title
jupyter:
  jupytext:
    formats: md,ipynb
  kernelspec:
    display_name: Python 3
    language: python
    name: python3
---

# A title

A [chapter](../image/b.md#part), [here](#there), [out](https://out.example/x),
![image](c.png) and [@lin2017, eq. 5]. See [it][lossbook.focal_loss].

<!-- card -->

```python
print(1)
[len][0]([1])
```

```pycon
>>> [len][0]([1])  # [@lin2017] is left alone
1
```

```py title="lossbook/regression/huber.py"
--8<-- "lossbook/regression/huber.py"
```

!!! note "Careful"

    First line.

    Second line.

??? tip "Hint"

    Think.

??? success "Solution"

    ```python
    def f():
        return 1
    ```

The end.

```python
chart
```
"""


@pytest.fixture(scope="module")
def published():
    chapter = Chapter(chapters.DOCS / "regression/a.md", NOTEBOOK, {"title": "A title"})
    drawn = charts.draw(chart().to_dict(), "a-1")
    lines = [b.line for b in chapter.blocks]
    results = [
        Result("python", lines[0], "", [{"text/plain": "1\n"}, {"text/plain": "1"}]),
        Result("pycon", lines[1], "", []),
        Result("python", lines[2], "", [{"chart": drawn}]),
    ]
    site = {"site_url": "https://book.example/"}
    text = notebook.publish(chapter, Run(chapter.name, results, 1.0), site)
    return nbformat.reads(text, as_version=4)


def test_the_notebook_is_valid_and_is_nobody_s_pair(published):
    nbformat.validate(published)
    assert set(published.metadata) == {"kernelspec", "lossbook"}
    assert published.metadata.lossbook == {"chapter": "regression/a", "version": __version__}
    assert published.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in published.cells}) == len(published.cells)


def test_the_notebook_starts_with_what_it_is_and_what_it_needs(published):
    note, install, *rest = published.cells
    assert note.cell_type == "markdown"
    assert "[A title](https://book.example/regression/a/)" in note.source
    assert (install.cell_type, install.outputs) == ("code", [])
    assert install.source == f'%pip install -q "lossbook[book]=={__version__}"'
    assert "torch" not in install.source  # The reader's torch stays.
    assert not any(cell.cell_type == "raw" for cell in published.cells)
    assert "title: A title" not in "".join(cell.source for cell in rest)


def test_the_notebook_has_the_cells_and_their_outputs(published):
    cells = [cell for cell in published.cells[2:] if cell.cell_type == "code"]
    assert [cell.source for cell in cells] == ["print(1)\n[len][0]([1])", "chart"]
    assert [o.data["text/plain"] for o in cells[0].outputs] == ["1\n", "1"]
    (shown,) = cells[1].outputs
    assert shown.data["image/svg+xml"].startswith("<svg ")
    assert plots.COLORS[0] in shown.data["image/svg+xml"]
    assert "var(--" not in shown.data["image/svg+xml"]
    assert shown.data["text/plain"] == 'Up, from "1" to <3>.'


def prose(published):
    return "\n\n".join(c.source for c in published.cells[2:] if c.cell_type == "markdown")


def test_the_links_of_the_notebook_are_absolute(published):
    text = prose(published)
    assert "[chapter](https://book.example/image/b/#part)" in text
    assert "[here](https://book.example/regression/a/#there)" in text
    assert "[out](https://out.example/x)" in text
    assert "[it](https://book.example/api/" in text
    assert "(Lin et al., 2017, eq. 5)" in text
    assert "<!--" not in text


def test_the_notebook_leaves_code_as_it_is(published):
    text = prose(published)
    assert "```pycon\n>>> [len][0]([1])  # [@lin2017] is left alone\n1\n```" in text
    shown = (ROOT / "lossbook/regression/huber.py").read_text()
    assert f"\n{shown}```" in text


def test_the_notebook_folds_hints_and_solutions(published):
    text = prose(published)
    assert "<details><summary>Hint</summary>\n\nThink.\n\n</details>" in text
    assert (
        "<details><summary>Solution</summary>\n\n"
        "```python\ndef f():\n    return 1\n```\n\n</details>"
    ) in text
    assert "> **Careful**\n>\n> First line.\n>\n> Second line.\n" in text
    assert "???" not in text
    assert "!!!" not in text
    assert text.rstrip().endswith("The end.")


# Navigation --------------------------------------------------------------------------------------


def test_chapters_are_listed_by_order_then_year_then_title():
    losses = [{"Image": "image/"}, {"Ranking": "ranking/"}]
    nav = [{"Home": "index.md"}, {"Losses": losses}, {"API": "api/"}, {"Course": "course/"}]

    def made(stem, **meta):
        return Chapter(chapters.DOCS / f"image/{stem}.md", "", {"title": stem.upper(), **meta})

    written = [made("d", year=2000), made("c", year=1990), made("b", year=1990), made("a", order=1)]
    pages = ["api/zed.md", "api/image.md", "vetting.md"]
    expected = [{"B": "image/b.md"}, {"C": "image/c.md"}, {"D": "image/d.md"}, {"A": "image/a.md"}]
    assert stage.navigation(nav, written, pages) == [
        {"Home": "index.md"},
        {"Losses": [{"Image": expected}]},
        {"API": ["api/image.md", "api/zed.md"]},
    ]


def test_every_chapter_is_in_the_navigation_once():
    def targets(entry):
        if isinstance(entry, str):
            return [entry]
        if isinstance(entry, dict):
            return [t for value in entry.values() for t in targets(value)]
        return [t for item in entry for t in targets(item)]

    listed = targets(stage.navigation(settings()["nav"], CHAPTERS, []))
    assert len(listed) == len(set(listed))
    assert {f"{c.name}.md" for c in CHAPTERS} <= set(listed)


# For those who look around, cite, or read by machine ---------------------------------------------


def test_a_picture_of_the_gallery_is_cut_from_the_first_panel_of_the_first_small_figure():
    panel = '<g class="mark-line role-mark concat_{}_marks" clip-path="url(#a)"><path d="M{}"/></g>'
    svg = f"<svg>{panel.format(0, '0,1.26L280,90')}{panel.format(1, '5,5')}</svg>"
    large = svg.replace("1.26", "1.26" * gallery.HEAVY)
    outputs = [{"text/plain": "1"}, {"chart": {"narrow": large}}, {"chart": {"narrow": svg}}]
    drawn = gallery.picture(Run("a/b", [Result("python", 1, "", outputs, None)], 0.0, {}))
    assert drawn.count("<path") == 1
    assert '<path d="M0,1L280,90"/>' in drawn
    assert "clip-path" not in drawn


def test_every_loss_stands_in_the_gallery_once_with_its_mark(book):
    page = (book.folder / "docs/index.md").read_text()
    found = re.findall(r'<li><code>(\w+)</code> <span class="(passed|failed|not-run)">', page)
    assert sorted({name for name, _ in found}) == sorted(card.losses() + helpers())
    tiles = re.findall(r'<li><a href="([^"]+)/">', page)
    assert len(tiles) == len(set(tiles))
    assert all((book.folder / f"docs/{tile}.md").is_file() for tile in tiles)


def helpers():
    public = [name for name, home in lossbook._HOMES.items() if home.count(".") == 2]
    return [name for name in public if name not in card.losses()]


@pytest.mark.parametrize(
    ("statuses", "mark"),
    [
        (["passed", "not run"], '"passed">✓ 1 checks'),
        (["passed", "failed"], '"failed">✗ 1 of 2'),
        ([], "not run"),
    ],
)
def test_a_mark_of_the_gallery_says_what_the_contract_found(monkeypatch, statuses, mark):
    checks = {str(i): {"status": status} for i, status in enumerate(statuses)}
    monkeypatch.setattr(card, "results", lambda _: {"checks": checks} if checks else None)
    assert mark in gallery._mark("huber_loss")


def test_what_a_chapter_offers_to_cite_is_bibtex_of_the_paper_and_of_itself():
    (chapter,) = [c for c in CHAPTERS if c.name == "regression/huber"]
    blocks = re.findall(r"```bibtex\n(.*?)```", cite.box(chapter), re.S)
    paper, own = (parse_string(block, "bibtex").entries for block in blocks)
    assert paper["huber1964"].fields == cite.entries()["huber1964"].fields
    assert own["lossbook-huber"].fields["title"] == "Huber loss"
    assert f"Version {__version__}" in own["lossbook-huber"].fields["note"]
    assert own["lossbook-huber"].fields["url"].endswith("/regression/huber/")


def test_the_markdown_beside_a_page_has_tex_outputs_as_text_and_the_card(book):
    page = (book.folder / "beside/regression/huber/index.md").read_text()
    assert "\\begin{cases}" in page
    assert "<svg" not in page
    assert "Huber loss and its gradient" in page  # An alt text.
    assert "`huber_loss`" in page.split("## Vetting card")[1]
    assert (ROOT / "lossbook/regression/huber.py").read_text() in page


def test_machines_find_every_chapter(book):
    listed = (book.folder / "beside/llms.txt").read_text()
    for path in re.findall(r"\]\(https?://[^/]+/(.*?)\)", listed):
        assert (book.folder / "beside" / path).is_file()
    for chapter in book.chapters:
        assert not chapter.losses or f"/{chapter.name}/index.md)" in listed


def test_the_symbols_of_a_formula_on_an_api_page():
    bindings = [(r"\hat y", "predictions"), ("C", "#j"), ("w", "weight or 1"), ("t", "t1")]
    options = ["images", "one_layer", "delta=1.0", "kind=k3", "clip=None", "t1=0.8"]
    displays = [(1, r"\ell = \operatorname{sg}(w)")]
    text = formula.Text("a_loss", options, ["one layer"], bindings, 1, displays)
    assert stage._symbols(text) == (
        r"With $\hat y$ = `predictions`, $C$ = the number of $j$, $w$ = `weight` or 1, $t$ = `t1`, "
        r"$\operatorname{sg}$ a constant for the gradient; "
        "for `delta=1.0`, `kind='k3'`, `clip=None`, one layer."
    )


# The staged book ---------------------------------------------------------------------------------


def test_the_book_is_staged_without_an_error(book):
    assert [str(error) for error in book.errors] == []


def test_a_page_for_each_chapter_and_none_besides_but_the_generated_ones(book):
    pages = {
        p.relative_to(book.folder / "docs").as_posix() for p in book.folder.glob("docs/**/*.md")
    }
    own = {f"{c.name}.md" for c in book.chapters}
    assert own <= pages
    vetted = {path.relative_to(ROOT / "lossbook").with_suffix(".md").as_posix() for path in LOSSES}
    assert all(p.startswith("api/") or "/" not in p or p in vetted for p in pages - own)


@pytest.mark.parametrize(
    ("options", "names", "said"),
    [
        ("", [], "."),
        (
            "[images, gamma=2, kind=k3]",
            ["images", "gamma=2", "kind=k3"],
            "; for `gamma=2`, `kind='k3'`.",
        ),
        (
            "[images: one channel; $C$ is 1, gamma=2]",
            ["images", "gamma=2"],
            "; for `gamma=2`, one channel; $C$ is 1.",
        ),
        ("[: a token; none costs 0]", [], "; for a token; none costs 0."),
    ],
)
def test_an_api_page_says_for_which_inputs_a_formula_is(options, names, said):
    marker = f"<!-- formula a_loss {options}: x = inputs, g = gamma_or or 1, n = #k -->"
    chapter = Chapter(ROOT / "docs/a.md", f"## In short\n\n{marker}\n\n$$\nx\n$$\n", {})
    (text,) = formula.texts(chapter)
    assert text.options == names
    bound = "With $x$ = `inputs`, $g$ = `gamma_or` or 1, $n$ = the number of $k$"
    assert stage._symbols(text) == bound + said


def test_an_api_page_has_the_formulas_of_its_losses(book):
    for chapter in book.chapters:
        for text in (t for t in formula.texts(chapter) if t.loss in chapter.own):
            family = chapter.file.split("/")[1]
            page = (book.folder / f"docs/api/{family}.md").read_text()
            own = page.replace("<wbr>", "").split(f"\n## {text.loss} {{")[1].split("\n## ")[0]
            for argument in (argument.partition(" or ")[0] for _, argument in text.bindings):
                assert argument.startswith("#") or f"`{argument}`" in own
            shown = [" ".join(source.split()) for source in sources(own)]
            assert " ".join(text.displays[0][1].split()) in shown
            assert not re.search(r"\\partial|\\nabla", " ".join(shown)), (
                "gradients are the chapter's"
            )


def blocks_of(text):
    """Every fenced block: its language and its code, wherever it stands."""
    return [(fence.kind, fence.source) for fence in chapters.fences(text)]


@every_chapter
def test_every_block_of_a_chapter_is_on_its_page(book, chapter):
    page = [block for block in blocks_of(book.page(chapter)) if block[0] != "bibtex"]
    expected = [
        (language, (ROOT / m[1]).read_text() if (m := re.match(r'--8<-- "(.+)"', code)) else code)
        for language, code in blocks_of(chapter.body)
    ]
    assert page == expected


@every_chapter
def test_every_output_of_a_chapter_is_on_its_page(book, chapter):
    done, page = book.run(chapter), book.page(chapter)
    at = 0
    for result, block in zip(done.results, chapter.blocks, strict=True):
        assert (result.kind, result.line) == (block.kind, block.line)
        code, shown = f"```{block.kind}\n{block.source}```", []
        for output in result.outputs:
            if "chart" in output:
                # Between the two drawings of a figure lies nothing; each has its class.
                drawn = [output["chart"]["svg"], output["chart"]["narrow"]]
                shown += [svg.removeprefix("<svg ") for svg in drawn]
            elif "text/html" in output:
                shown.append(output["text/html"])
            else:
                shown.append(html.escape(output["text/plain"].rstrip("\n")))
        if stage.shown_first(result):
            shown.append(f'??? code "Code"\n\n{indent(code, "    ")}\n')
        else:
            shown.insert(0, code)
        for part in shown:
            at = page.index(part, at) + len(part)
    outputs = [o for r in done.results for o in r.outputs]
    pictures = "".join(o["text/html"] for o in outputs if stage._pictures(o))
    figures = sum("chart" in o for o in outputs) + pictures.count("<figure")
    tables = sum("text/html" in o and not ("chart" in o or stage._pictures(o)) for o in outputs)
    texts = sum(bool(o.get("text/plain", "").strip()) for o in outputs if "text/html" not in o)
    assert page.count("<figure") == figures
    assert page.count('<div class="output table">') == tables
    assert page.count('<div class="output">') == texts
    assert page.count('class="output error"') == 0
    assert "<!--output" not in page
    for output in outputs:
        if "chart" in output:
            name, live = output["chart"]["name"], output["chart"]["vega"] is not None
            assert (f'data-chart="{name}"' in page) == live
            assert (book.folder / f"docs/assets/charts/{name}.js").exists() == live


@every_chapter
def test_every_formula_of_a_chapter_is_typeset(book, chapter):
    page = book.page(chapter)
    bare = re.sub(r"^( *)(`{3,}|~{3,}).*?^ *\2", "", chapter.body, flags=re.M | re.S)
    bare = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)|<!--.*?-->|\\\$", "", bare, flags=re.S)
    shown = re.findall(r"^ *\$\$\n(.+?)^ *\$\$$", bare, re.M | re.S)
    inline = re.findall(r"\$([^$]+)\$", re.sub(r"^ *\$\$\n.+?\$\$$", "", bare, flags=re.M | re.S))
    own = re.sub(
        r'<ul class="gallery">.*?</ul>\n', "", page, flags=re.S
    )  # Other chapters' formulas.
    assert sorted(t.split() for t in sources(own)) == sorted(t.split() for t in [*shown, *inline])
    left = re.sub(r"^( *)(`{3,}|~{3,}).*?^ *\2", "", page, flags=re.M | re.S)
    left = re.sub(
        r"(`+)(?!`).+?(?<!`)\1(?!`)|<(svg|pre|annotation)\b.*?</\2>|\\\$|&#36;",
        "",
        left,
        flags=re.S,
    )
    assert "$" not in left


@every_chapter
def test_a_page_names_no_key_and_shows_no_mark_of_ours(book, chapter):
    page = re.sub(r"^( *)(`{3,}|~{3,}).*?^ *\2", "", book.page(chapter), flags=re.M | re.S)
    assert "[@" not in page
    assert "--8<--" not in page
    assert re.findall(r"<!--(?! slide -->| note: )", page) == []
    for key in re.findall(r"\(#ref-(\w+)\)", page):
        assert page.count(f'<li id="ref-{key}">') == 1


@every_chapter
def test_the_notebook_of_a_chapter_is_valid_and_complete(book, chapter):
    path = book.folder / f"docs/{chapter.name}.ipynb"
    assert path.exists() == bool(chapter.blocks)
    if chapter.blocks:
        found = nbformat.read(path, as_version=4)
        nbformat.validate(found)
        cells = [c.source for c in found.cells if c.cell_type == "code"][1:]
        assert cells == [b.source.rstrip("\n") for b in chapter.blocks if b.kind == "python"]
        text = "\n".join(c.source for c in found.cells if c.cell_type == "markdown")
        assert not re.search(r"^(\?\?\?|!!!)|\]\((?!https?:|#)[^)]*\.md|--8<--|\[@", text, re.M)


def test_a_chapter_that_cannot_be_staged_is_reported_at_its_line_and_the_others_are_staged(
    tmp_path, monkeypatch
):
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs/assets", docs / "assets")
    head = "---\ntitle: {0}\n---\n\n# {0}\n\n"
    include = '```py title="{0}"\n--8<-- "{0}"\n```\n\n'
    texts = {
        "cited": include.format("lossbook/regression/huber.py") + "Who? [@nobody1900]\n",
        "formula": "Fine: $x$.\n\nNot: $\\wrong{x}$.\n",
        "included": 'A\n\n--8<-- "nowhere.py"\n',
        "fine": "Fine: $x$ and [@lin2017].\n",
    }
    for name, body in texts.items():
        docs.mkdir(exist_ok=True)
        (docs / f"{name}.md").write_text(head.format(name) + body)
    (docs / "latin.md").write_bytes(b"---\ntitle: \xff\n---\n")
    for module in (chapters, stage):
        monkeypatch.setattr(module, "DOCS", docs)
    monkeypatch.setattr(stage, "BUILD", tmp_path / "build")
    monkeypatch.setattr(stage, "STAGED", tmp_path / "build/docs")
    monkeypatch.setattr(stage, "load", lambda: chapters.load(docs))
    errors = {e.path.stem: (e.line, e.message) for e in stage.stage(watch_tree=False)}
    assert {name: line for name, (line, _) in errors.items()} == {
        "cited": 11,
        "formula": 9,
        "included": 9,
        "latin": 2,
    }
    assert "'nobody1900' is not in references.bib" in errors["cited"][1]
    assert "\\wrong" in errors["formula"][1]
    pages = {n: (tmp_path / f"build/docs/{n}.md").read_text() for n in [*texts, "latin"]}
    for name, (line, _) in errors.items():
        assert ('role="alert"' in pages[name]) == (name != "formula")
        if name != "formula":
            assert f"{name}.md:{line}: " in pages[name]
    assert sources(pages["fine"]) == ["x"]
    assert "(#ref-lin2017)" in pages["fine"]
