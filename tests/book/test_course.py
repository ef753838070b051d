"""The syllabi: their times add up, their exercises exist, every unit says what it is for."""

import importlib
import re
import zipfile
from textwrap import dedent

import nbformat
import pytest

from lossbook.book.pages import course
from lossbook.book.runs import chapters
from lossbook.book.runs.chapters import DOCS, ROOT

SYLLABI = [path for path in sorted(DOCS.glob("course/*.md")) if path.stem != "index"]
PLANS = [
    pytest.param(*plan, id=f"{path.stem}-{i}")
    for path in SYLLABI
    for i, plan in enumerate(
        re.findall(r"((?:^\|.*\n)+)\n\*\*Total: (\d+) minutes\.\*\*", path.read_text(), re.M)
    )
]


def rows(table):
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]


def test_every_syllabus_has_a_plan():
    tables = sum(path.read_text().count("\n|---") for path in SYLLABI)
    assert tables == len(PLANS) >= len(SYLLABI) == 3


@pytest.mark.parametrize(("table", "total"), PLANS)
def test_times_add_up(table, total):
    assert sum(int(minutes) for minutes, *_ in rows(table)) == int(total)


@pytest.mark.parametrize(("table", "total"), PLANS)
def test_a_unit_has_a_chapter_and_says_what_students_can_do_afterwards(table, total):
    breaks = [row for row in rows(table) if row[1] in ("Break", "Lunch")]
    for row in rows(table):
        assert len(row) == 4
        assert row in breaks or (row[2] and row[3])
    assert sum(int(row[0]) for row in breaks) <= int(total) / 4


@pytest.mark.parametrize("path", SYLLABI, ids=lambda path: path.stem)
def test_the_exercises_that_a_syllabus_names_are_there(path):
    text = path.read_text()
    named = re.findall(r"Exercises?: ([^|]+?) \|[^|]*?\]\(\.\./([\w/]+)\.md#exercises\)", text)
    named += re.findall(
        r"Graded exercise(?:, begun in class)?: ([^|]+?) \|[^|]*?\]\(\.\./([\w/]+)\.md#", text
    )
    named += re.findall(r"At home: \[([^]]+)\]\(\.\./([\w/]+)\.md#exercises\)", text)
    assert named
    for titles, chapter in named:
        headings = re.findall(
            r"^### Exercise \d+: (.*?) \(", (DOCS / f"{chapter}.md").read_text(), re.M
        )
        for title in titles.split("; "):
            assert title in headings


def test_six_weeks_name_every_chapter_of_a_loss_but_a_few():
    text = (DOCS / "course/weeks.md").read_text()
    linked = set(re.findall(r"\(\.\./([\w/]+)\.md", text))
    written = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.glob("*/*.md")}
    losses = {name for name in written if not name.startswith(("course/", "foundations/"))}
    assert len(losses & linked) >= 0.75 * len(losses)


# Notebooks ---------------------------------------------------------------------------------------

TAUGHT = [c for c in chapters.load()[0] if "\n### Exercise " in c.text]
every_taught = pytest.mark.parametrize("chapter", TAUGHT, ids=[c.name for c in TAUGHT])


def cells(text):
    found = nbformat.reads(text, as_version=4)
    nbformat.validate(found)
    return found.cells


@every_taught
def test_a_student_s_notebook_has_no_solutions_no_hidden_tests_and_no_outputs(chapter):
    found = cells(course.student(chapter))
    assert not any(cell.get("outputs") for cell in found)
    text = "\n".join(cell.source for cell in found)
    assert "Solution" not in text
    assert "For the teacher" not in text
    for source in secrets(chapter):
        assert source.strip() not in text
    assert text.count("### Exercise ") == chapter.text.count("\n### Exercise ")


@every_taught
def test_a_teacher_s_notebook_has_every_solution_between_stub_and_check(chapter):
    found = cells(course.teacher(chapter))
    sources = [cell.source for cell in found if cell.cell_type == "code"]
    checks = [i for i, source in enumerate(sources) if "with attempt():" in source]
    assert len(checks) == chapter.text.count("\n### Exercise ")
    for i in checks:
        assert "NotImplementedError" in sources[i - 2]
        assert "NotImplementedError" not in sources[i - 1]
        assert "def " in sources[i - 1] or "=" in sources[i - 1]
    text = "\n".join(cell.source for cell in found)
    assert text.count("For the teacher.") == len(re.findall("^<!-- note: ", chapter.text, re.M))


def secrets(chapter):
    """The graded solutions and hidden tests of a chapter, as they stand in `tests/answers`."""
    path = ROOT / f"tests/answers/{chapter.name}.py"
    if path.exists():
        answers = importlib.import_module(f"tests.answers.{chapter.name.replace('/', '.')}")
        for answer in answers.ANSWERS.values():
            yield from [dedent(source) for source in (answer.solution, answer.hidden) if source]


def test_the_notebooks_of_a_course_are_two_zips(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "BUILD", tmp_path)
    students, teachers = course.pack(TAUGHT[:1])
    for path, folder in ((students, "students"), (teachers, "teachers")):
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == [f"{folder}/{TAUGHT[0].name}.ipynb"]
