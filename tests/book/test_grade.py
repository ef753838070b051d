"""Grading: what scores what is in `test_exercises`; here are the command, and who does it harm."""

import csv
import io
import os
import subprocess
import sys
import time
import zipfile
from textwrap import dedent

import nbformat
import psutil
import pytest

import lossbook
from lossbook import cli
from lossbook.book.pages import course
from lossbook.book.runs import chapters, grade
from lossbook.book.runs.chapters import DOCS

FOCAL = "classification/focal"
LIGHT = "preference/dpo"  # It runs in seconds.


# The cage ----------------------------------------------------------------------------------------


def caged(folder, program, seconds=600, **limits):
    """Why a program was stopped, and what it left in its log."""
    bounds = "".join(f"cage.{name} = {value}\n" for name, value in limits.items())
    caller = (
        "import pathlib, sys\nfrom lossbook.book.runs import cage\n"
        f"{bounds}folder, command = pathlib.Path(sys.argv[1]), [sys.executable, *sys.argv[2:]]\n"
        f"print(cage.run(command, folder, {seconds}, lambda: not cage.time.sleep(0.05)))\n"
    )
    words = [sys.executable, "-c", caller, folder, "-S", "-c", dedent(program)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout.strip(), (folder / "log").read_text()


def test_what_keeps_its_limits_is_left_alone(tmp_path):
    assert caged(tmp_path, "print('well')") == ("", "well\n")


@pytest.mark.parametrize(
    ("program", "limits", "why"),
    [
        ("import time\nwhile True: time.sleep(1)", {"seconds": 0.5}, "longer than 0.5 s"),
        (
            """
            import os, time
            for _ in range(40):
                os.fork() or time.sleep(60)
            time.sleep(60)
            """,
            {"PROCESSES": 8},
            "more than 8 processes",
        ),
        (
            """
            import os, time
            for _ in range(4):
                if os.fork() == 0:
                    block = b"x" * (40 << 20)
                    time.sleep(60)
            time.sleep(60)
            """,
            {"MEMORY": 100 << 20},
            "more than 0.0976562 GiB of memory",
        ),
        (
            """
            import os, time
            os.mkdir("many")
            for i in range(20_000):
                open(f"many/{i}", "w").close()
            time.sleep(60)
            """,
            {"DISK": 10 << 20},
            "more than 0.00976562 GiB of files",
        ),
    ],
    ids=["time", "processes", "memory", "disk"],
)
def test_what_takes_too_much_is_stopped(tmp_path, program, limits, why):
    assert caged(tmp_path, program, **limits)[0] == why


@pytest.mark.parametrize(
    ("program", "limits", "said"),
    [
        ("b'x' * (300 << 20)", {"MEMORY": 200 << 20}, "MemoryError"),
        (
            "file = open('large', 'wb')\nfile.seek(1 << 30)\nfile.write(b'x')\nfile.flush()",
            {"FILE": 1 << 20},
            "File too large",
        ),
    ],
    ids=["memory", "file"],
)
def test_one_process_meets_the_limits_of_the_system(tmp_path, program, limits, said):
    why, log = caged(tmp_path, program, **limits)
    assert (why, said in log) == ("", True)


def test_what_prints_for_ever_fills_no_disk(tmp_path):
    program = "while True: print('x' * 10_000)"
    assert len(caged(tmp_path, program, FILE=1 << 20)[1]) <= 1 << 20


ORPHAN = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open(f"{os.getpid()}.pid", "w").close()
            time.sleep(600)
        os._exit(0)
while len([name for name in os.listdir() if name.endswith(".pid")]) < 3:
    time.sleep(0.01)
"""


def orphans(folder):
    left = [int(path.stem) for path in folder.rglob("*.pid")]
    assert left
    return [pid for pid in left if psutil.pid_exists(pid)]


@pytest.mark.skipif(sys.platform != "linux", reason="orphans come back on Linux only")
def test_what_left_its_process_group_is_killed(tmp_path):
    assert caged(tmp_path, ORPHAN)[0] == ""
    assert orphans(tmp_path) == []


def test_nothing_lives_longer_than_who_asked_for_it(tmp_path):
    program = "import os, time\nopen(f'{os.getpid()}.pid', 'w').close()\ntime.sleep(600)"
    words = [sys.executable, "-m", "lossbook.book.runs.cage", str(tmp_path), "600"]
    words += [sys.executable, "-S", "-c", program]
    with subprocess.Popen(words, stdin=-1, stdout=-1, text=True) as cage:
        while not list(tmp_path.glob("*.pid")):
            time.sleep(0.01)
        assert orphans(tmp_path)
        said, _ = cage.communicate()  # It closes the pipe.
    assert said == "interrupted\n"
    assert orphans(tmp_path) == []


# What was handed in ------------------------------------------------------------------------------


def notebook(*sources, chapter=FOCAL):
    cells = [nbformat.v4.new_code_cell(dedent(source)) for source in sources]
    made = nbformat.v4.new_notebook(cells=cells, metadata={"lossbook": {"chapter": chapter}})
    return nbformat.writes(made)


def handed_in(folder, **texts):
    """Submissions, by their paths with `__` for `/`, and without their ending."""
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_student_is_a_folder_or_a_notebook_and_the_chapter_is_in_it(tmp_path):
    handed_in(
        tmp_path,
        alice=notebook(),
        bob__week_1__renamed=notebook(chapter=LIGHT),
        bob__focal=notebook(chapter="no/chapter"),
        bob__notes=notebook(chapter=["odd"]),
    )
    handed_in(tmp_path / "bob/.ipynb_checkpoints", focal=notebook())
    handed_in(tmp_path, **{"car\x1b[2Jla": notebook()})
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "readme.txt").touch()
    found = [(s.student, s.path.stem, s.chapter, s.why) for s in grade.find(tmp_path)]
    assert found == [
        ("alice", "alice", FOCAL, ""),
        ("bob", "focal", FOCAL, ""),
        ("bob", "notes", "", "no chapter that it says it is of"),
        ("bob", "renamed", LIGHT, ""),
        ("car?[2Jla", "car\x1b[2Jla", FOCAL, ""),
    ]


def test_what_cannot_be_read_is_named_and_scores_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(grade, "LARGEST", 10_000)
    texts = {"broken": "{", "deep": "[" * 9000, "list": "[]", "large": notebook("#" * 10_000)}
    handed_in(tmp_path, **texts, text__focal="")
    handed_in(tmp_path / "empty/.of/another", theirs=notebook())
    (tmp_path / "none").mkdir()
    (tmp_path / "link.ipynb").symlink_to(tmp_path / "empty/.of/another/theirs.ipynb")
    os.mkfifo(tmp_path / "pipe.ipynb")
    found = {s.student: s for s in grade.find(tmp_path)}
    assert set(found) == {*texts, "text", "none", "empty", "link", "pipe"}
    assert all(s.why.startswith("no notebook") for s in found.values())
    assert {s.chapter for s in found.values()} == {"", FOCAL}  # The name tells which.


def test_a_handed_out_notebook_is_one_that_can_be_graded(tmp_path):
    text = course.student(chapters.read(DOCS / f"{FOCAL}.md"))
    (found,) = grade.find(handed_in(tmp_path, alice=text))
    assert (found.chapter, found.why) == (FOCAL, "")
    assert "%pip" in text
    assert b"%pip" not in found.notebook
    nbformat.validate(nbformat.reads(found.notebook.decode(), as_version=4))


def test_each_exercise_is_a_question_of_otter_s_configuration():
    chapter = chapters.read(DOCS / f"{FOCAL}.md")
    name, configuration, points = grade.autograder(chapter)
    assert (name, points) == (FOCAL, {f"{FOCAL} 1": 1, f"{FOCAL} 2": 1, f"{FOCAL} 3": 2})
    with zipfile.ZipFile(io.BytesIO(configuration)) as archive:
        tests = [name for name in archive.namelist() if name.startswith("tests/")]
        assert sorted(tests) == [f"tests/exercise-{i}.py" for i in (1, 2, 3)]
        assert f"lossbook[book]=={lossbook.__version__}" in archive.read("environment.yml").decode()
        assert {"setup.sh", "run_autograder"} <= set(archive.namelist())


def test_whoever_teaches_keeps_tests_of_their_own(tmp_path):
    (tmp_path / FOCAL).parent.mkdir()
    own = "from tests.answers import Answers\nANSWERS = {2: Answers(wrong=(), hidden='assert own')}"
    (tmp_path / f"{FOCAL}.py").write_text(own)
    chapter = chapters.read(DOCS / f"{FOCAL}.md")
    made = grade.questions(chapter, grade.answers(FOCAL, tmp_path))
    assert [points for _, points in made.values()] == [1, 2, 1]
    assert "assert own" in made[f"{FOCAL} 2"][0]
    assert grade.answers(LIGHT, tmp_path) == grade.answers(LIGHT)


# The command -------------------------------------------------------------------------------------


def run(folder, *options):
    """Grade a folder: the exit code, the scores by student and exercise, and what was said."""
    table = folder.parent / "grades.csv"
    words = [sys.executable, "-m", "lossbook", "grade", folder, "--csv", table, *options]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    rows = list(csv.DictReader(table.read_text().splitlines())) if table.exists() else []
    assert all(list(row) == ["student", "exercise", "score", "max", "version"] for row in rows)
    assert {row["version"] for row in rows} <= {lossbook.__version__}
    scores = {(r["student"], r["exercise"]): (float(r["score"]), float(r["max"])) for r in rows}
    assert len(scores) == len(rows)
    return done.returncode, scores, done.stderr


def of(name, exercise, scores):
    return {student: score for (student, at), score in scores.items() if at == f"{name} {exercise}"}


def test_a_submission_costs_only_itself(tmp_path):
    answers = grade.answers(FOCAL)[3]
    needed = "import torch\nfrom lossbook import sigmoid_focal_loss"
    table = f"table = {str(tmp_path / 'grades.csv')!r}\n"
    handed_in(
        tmp_path / "in",
        # Before the others, and after.
        anna=notebook(needed, answers.solution),
        bert=notebook(needed, answers.wrong[0]),
        crash=notebook("import os\nos._exit(0)"),
        forge=notebook(table + "open(table, 'w').write('student,score\\nforge,100\\n')"),
        orphans=notebook(
            ORPHAN.replace('f"{', f'f"{tmp_path}/{{').replace("dir()", f"dir({str(tmp_path)!r})")
        ),
        broken="{",
        teacher=course.teacher(chapters.read(DOCS / f"{LIGHT}.md")),
    )
    (tmp_path / "in/empty").mkdir()
    code, scores, said = run(tmp_path / "in", "--jobs", "2")
    assert code == 1
    assert "crash: otter has no result: " in said
    assert "broken: no notebook" in said
    assert "empty: no notebook" in said
    assert said.endswith("] 8/8\n")
    assert scores.pop(("broken", "")) == scores.pop(("empty", "")) == (0, 0)
    assert of(FOCAL, 3, scores) == {
        "anna": (2, 2),
        **dict.fromkeys(("bert", "crash", "forge", "orphans"), (0, 2)),
    }
    assert set(of(FOCAL, 1, scores).values()) == {(0, 1)}
    full = {score == most for (student, _), (score, most) in scores.items() if student == "teacher"}
    assert full == {True}
    assert orphans(tmp_path) == []


def test_what_never_ends_is_stopped_and_the_others_are_graded(tmp_path):
    handed_in(
        tmp_path / "in",
        loop=notebook("import time\nwhile True: time.sleep(1)"),
        prints=notebook("import time\nwhile True: print('x' * 10_000), time.sleep(0.01)"),
    )
    code, scores, said = run(tmp_path / "in", "--jobs", "2", "--seconds", "6")
    assert code == 1
    assert "loop: longer than 6 s" in said
    assert "prints: longer than 6 s" in said
    assert set(scores.values()) == {(0, 1), (0, 2)}


@pytest.mark.parametrize("result", ["", "[]", '{"tests": 3}', "[" * 5000, None])
def test_a_result_that_is_none_scores_nothing(tmp_path, result):
    graded = grade.Submission("alice", tmp_path, FOCAL)
    run = object.__new__(grade.Run)
    run.submission, run.folder = graded, tmp_path
    (tmp_path / "results").mkdir()
    if result is not None:
        (tmp_path / "results/results.json").write_text(result)
    run._scores()
    assert graded.scores == {}
    assert graded.why == "otter has no result"


@pytest.mark.parametrize("score", ["1e400", "NaN", '"2"', "true", "-1", "3"])
def test_a_score_that_cannot_be_is_none(tmp_path, score, monkeypatch):
    def graded(submissions, *_):
        for submission in submissions:
            run = object.__new__(grade.Run)
            run.submission, run.folder = submission, tmp_path
            run._scores()
            yield submission

    (tmp_path / "results").mkdir()
    tests = f'{{"tests": [{{"name": "{FOCAL} 3", "score": {score}}}]}}'
    (tmp_path / "results/results.json").write_text(tests)
    monkeypatch.setattr(grade, "_graded", graded)
    handed_in(tmp_path / "in", alice=notebook())
    found = grade.prepare(tmp_path / "in")
    rows = grade.grade(*found, save=lambda _: None, report=lambda *_: None)
    assert [row.score for row in rows] == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--csv", "no/table.csv"), "cannot write no/table.csv: No such file or directory"),
        ((), "expected notebooks in {folder}, got none"),
        (("--answers", "no/where"), "expected a folder of answers, got no/where"),
        (("--autograders", "zips"), "expected one of --csv and --autograders"),
    ],
)
def test_what_cannot_be_graded_is_told_in_a_line(tmp_path, capfd, options, said):
    table = tmp_path / "grades.csv"
    (tmp_path / "in").mkdir()
    if "--csv" in options:
        handed_in(tmp_path / "in", alice=notebook())
    assert cli.main(["grade", str(tmp_path / "in"), "--csv", str(table), *options]) == 2
    assert capfd.readouterr().err == f"lossbook: {said.format(folder=tmp_path / 'in')}\n"
    assert not table.exists()


def test_a_container_gets_the_same_configuration(tmp_path, capsys):
    handed_in(tmp_path / "in", alice=notebook())
    words = ["grade", str(tmp_path / "in"), "--autograders", str(tmp_path / "zips")]
    assert cli.main(words) == 0
    with zipfile.ZipFile(tmp_path / "zips/classification-focal.zip") as archive:
        assert "tests/exercise-3.py" in archive.namelist()
    assert capsys.readouterr().out.endswith("zips/classification-focal.zip\n")


@pytest.mark.slow
def test_every_teacher_s_notebook_scores_full(tmp_path):
    taught = [c for c in chapters.load()[0] if grade.SECTION.search(c.text)]
    for chapter in taught:
        handed_in(tmp_path / "in", **{chapter.name.replace("/", "__"): course.teacher(chapter)})
    code, scores, said = run(tmp_path / "in", "--jobs", str(os.cpu_count()), "--seconds", "3600")
    assert [name for name, (score, most) in scores.items() if score != most] == []
    assert (code, len(scores)) == (0, sum(c.text.count("\n### Exercise ") for c in taught)), said
