"""What readers take away: a site without a server, PDFs, and a search index that is slim."""

import json
import zipfile

import pytest

from lossbook.book import __main__ as command
from lossbook.book.pages import take
from lossbook.book.runs import chapters


def test_a_link_of_raw_html_to_a_folder_names_its_page(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.html").write_text(f'<a href="../c/"></a><script src="{take._SHIM}">')
    (tmp_path / "c.html").write_text('<a href="a/b/"></a><a href="d/"></a>')
    take.relink(tmp_path)
    assert (tmp_path / "c.html").read_text() == '<a href="a/b.html"></a><a href="d/"></a>'
    page = (tmp_path / "a/b.html").read_text()
    assert page == '<a href="../c.html"></a><script src="../assets/iframe-worker.js">'


def test_the_zip_unpacks_into_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(take, "BUILD", tmp_path)
    monkeypatch.setattr(take, "OFFLINE", tmp_path / "offline")
    (tmp_path / "offline/a").mkdir(parents=True)
    (tmp_path / "offline/a/b.html").write_text("B")
    with zipfile.ZipFile(take.pack()) as archive:
        assert archive.namelist() == ["lossbook/a/b.html"]
        assert archive.read("lossbook/a/b.html") == b"B"


def test_the_slides_are_a_zip_of_their_own_whose_links_lead_to_the_site(tmp_path, monkeypatch):
    monkeypatch.setattr(take, "BUILD", tmp_path)
    monkeypatch.setattr(take, "OFFLINE", tmp_path / "offline")
    (tmp_path / "offline/assets").mkdir(parents=True)
    (tmp_path / "offline/assets/book.css").write_text("")
    (tmp_path / "offline/a").mkdir()
    (tmp_path / "offline/a/b.html").write_text("B")
    links = ["../assets/book.css", "#r", "../c/d.html#e", "https://f.g/h.html"]
    (tmp_path / "offline/a/b-slides.html").write_text("".join(f'<a href="{x}">' for x in links))
    with zipfile.ZipFile(take.decks()) as archive:
        assert archive.namelist() == ["slides/a/b-slides.html", "slides/assets/book.css"]
        text = archive.read("slides/a/b-slides.html").decode()
    links[2] = f"{chapters.settings()['site_url'].rstrip('/')}/c/d/#e"
    assert text == "".join(f'<a href="{x}">' for x in links)


def test_without_a_browser_nothing_is_printed_and_that_is_said(monkeypatch):
    monkeypatch.setattr(take.shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match=r"a browser that prints, .*, got none"):
        take.pdf([], report=print)


@pytest.mark.parametrize("before", ["", "var __index = "])
def test_a_search_index_holds_no_blocks_of_code(tmp_path, before):
    index = {"docs": [{"text": "<p>A <code>b</code></p> <pre><code>c\nd</code></pre> e"}]}
    path = tmp_path / ("search_index.js" if before else "search_index.json")
    path.write_text(before + json.dumps(index))
    command.slim(tmp_path / "search_index.json")
    (entry,) = json.loads(path.read_text().removeprefix(before))["docs"]
    assert entry["text"] == "<p>A <code>b</code></p>  e"
