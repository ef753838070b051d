"""Chapters as they stand on disk: their fences, their front matter, what they include."""

from pathlib import Path

import pytest

from lossbook.book.runs import chapters
from lossbook.book.runs.chapters import DOCS, ROOT, Chapter, ChapterError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```python\na\n```\n", [(1, 3, "python", "a\n")]),
        ("b\n\n~~~text x=1\na\n~~~\n", [(3, 5, "text x=1", "a\n")]),
        ("````text\n```\na\n```\n````\n", [(1, 5, "text", "```\na\n```\n")]),
        ("```text\na\n~~~\n````\nb\n", [(1, 4, "text", "a\n~~~\n")]),
        ("    ```python\n    a\n     b\n    ```\n", [(1, 4, "python", "a\n b\n")]),
        ("```python\na\n", [(1, 3, "python", "a\n")]),
        ("```\n```\n```pycon\n```\n", [(1, 2, "", ""), (3, 4, "pycon", "")]),
        ("a ``` b\n``\nc\n``\n", []),
        ("```a`b\nc\n", []),
    ],
)
def test_what_a_fence_is(text, found):
    fences = [(f.line, f.end, f.info, f.source) for f in chapters.fences(text)]
    assert fences == found


@pytest.mark.parametrize(
    ("info", "indent", "runs"),
    [
        *(("python", "", True), ("pycon", "", True), ('python title="a"', "", True)),
        *(("py", "", False), ("text", "", False), ("", "", False), ("python", "    ", False)),
        ("python3", "", False),
    ],
)
def test_which_fences_run(info, indent, runs):
    text = f"{indent}```{info}\n{indent}a\n{indent}```\n"
    assert bool(chapters.executed(text)) == runs


def test_what_stands_in_a_fence_is_not_changed():
    text = "a\n\n```text\na\n```\n\na\n    ~~~\n    a\n    ~~~\na"
    expected = "b\n\n```text\na\n```\n\nb\n    ~~~\n    a\n    ~~~\nb"
    assert chapters.outside_fences(text, lambda part: part.replace("a", "b")) == expected


def test_a_chapter_knows_its_name_its_file_and_its_lines():
    text = "---\ntitle: T\nlosses: [huber_loss]\n---\n\n# T\n\n```python\n1\n```\n"
    meta = {"title": "T", "losses": ["huber_loss"]}
    chapter = Chapter(DOCS / "regression/huber.md", text, meta)
    assert (chapter.name, chapter.title) == ("regression/huber", "T")
    assert chapter.file == "lossbook/regression/huber.py"
    assert (chapter.losses, chapter.own) == (["huber_loss"], ["huber_loss"])
    assert (chapter.body, chapter.body_line) == (text[text.index("\n# T") :], 5)
    assert [block.line for block in chapter.blocks] == [8]
    other = Chapter(
        DOCS / "regression/other.md", "T\n---\na: b\n---\n", {**meta, "file": "lossbook/a.py"}
    )
    assert (other.file, other.own, other.losses) == ("lossbook/a.py", [], ["huber_loss"])
    assert (other.body, other.body_line) == ("T\n---\na: b\n---\n", 1)
    essay = Chapter(DOCS / "essay.md", "", {"title": "E"})
    assert (essay.file, essay.losses, essay.blocks) == (None, [], [])


def test_a_file_is_included_with_its_indent_and_a_missing_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text("one\n  two\n")
    text = 'x\n--8<-- "a.py"\n    --8<-- "a.py"\ny --8<-- "a.py"\n'
    expected = 'x\none\n  two\n    one\n      two\ny --8<-- "a.py"\n'
    assert chapters.include(text, Path("a.md")) == expected
    with pytest.raises(ChapterError) as caught:
        chapters.include('x\n--8<-- "a.py"\n--8<-- "b.py"\n', Path("a.md"), 10)
    assert (caught.value.line, "'b.py'" in caught.value.message) == (12, True)
    with pytest.raises(ChapterError):
        chapters.include('--8<-- "."\n', Path("a.md"))


def test_every_chapter_below_docs_is_read_in_order(tmp_path):
    for name in ("b", "a", "image/c"):
        (tmp_path / f"{name}.md").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.md").write_text(f"---\ntitle: {name}\n---\n")
    (tmp_path / "latin.md").write_bytes(b"---\ntitle: \xff\n---\n")
    (tmp_path / "twin.md").write_text("---\ntitle: a\n---\n")
    (tmp_path / "note.txt").write_text("")
    found, errors = chapters.load(tmp_path)
    assert [c.title for c in found] == ["a", "b", "image/c", "a"]
    assert [(e.path.name, e.line) for e in errors] == [("latin.md", 2), ("twin.md", 2)]


def test_the_settings_are_those_of_the_file_and_of_the_environment(tmp_path, monkeypatch):
    read = chapters.settings.__wrapped__
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    nav = "nav: [{Start: index.md}, {Losses: [{B: b/}, {A: a/}]}, {End: [{C: c/}]}]\n"
    (tmp_path / "mkdocs.yml").write_text(f"site: !ENV [A_SITE, default]\n{nav}")
    monkeypatch.delenv("A_SITE", raising=False)
    assert read()["site"] == "default"
    monkeypatch.setenv("A_SITE", "set")
    assert read()["site"] == "set"
    monkeypatch.setattr(chapters, "settings", read)
    assert chapters.families() == ["b", "a"]


def test_a_path_is_said_as_seen_from_the_repository(tmp_path):
    assert chapters.relative(ROOT / "docs/a.md") == "docs/a.md"
    assert chapters.relative(tmp_path / "a.md") == str(tmp_path / "a.md")
    error = ChapterError(ROOT / "docs/a.md", 3, "wrong")
    assert (str(error), error.line, error.message) == ("docs/a.md:3: wrong", 3, "wrong")
