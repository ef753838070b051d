"""Grades submitted notebooks with otter-grader, each on its own, and writes what they scored.

Each exercise of a chapter is a question: a point for the check of the page, and for the graded one
a point for the hidden tests of `tests/answers`.
"""

import contextlib
import importlib.util
import json
import math
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

from lossbook import __version__
from lossbook.book.runs.chapters import DOCS, ROOT, Chapter, executed, read

ANSWERS = ROOT / "tests" / "answers"
LARGEST = 20 * 2**20  # Bytes of a notebook that are read.
SECTION = re.compile(r"^### Exercise (?P<number>\d+): .*?(?=^#{1,3} |\Z)", re.S | re.M)

_TEST = """\
from contextlib import nullcontext

from otter.test_files import test_case

OK_FORMAT = False
name = {name!r}
points = None


def judge(source, names):
    exec(source, {{**names, "attempt": nullcontext}})


@test_case(name="the check of the page", points=1)
def check(env):
    judge({check!r}, env)
"""
_HIDDEN = """

@test_case(name="hidden tests", points=1, hidden=True)
def hidden(env):
    judge({hidden!r}, env)
"""


class GradeError(Exception):
    """What keeps all submissions from being graded."""


class Row(NamedTuple):
    """A line of the table."""

    student: str
    exercise: str
    score: float
    max: int
    version: str = __version__


@dataclass
class Submission:
    """A notebook of one student, and what is known of it."""

    student: str
    path: Path
    chapter: str = ""
    notebook: bytes = b""
    why: str = ""  # It has no score.
    scores: dict[str, float] = field(default_factory=dict)


def answers(name: str, folder: Path = ANSWERS) -> dict[int, Any]:
    """What a folder of answers has for a chapter, an entry an exercise; the book's if nothing."""
    path = next((p for f in (folder, ANSWERS) if (p := f / f"{name}.py").exists()), None)
    if path is None:
        return {}
    spec = importlib.util.spec_from_file_location(f"answers_of_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT))
    return dict(module.ANSWERS)


def questions(chapter: Chapter, known: dict[int, Any]) -> dict[str, tuple[str, int]]:
    """Write otter's test file of each exercise, by the exercise's name, with its points."""
    made = {}
    for section in SECTION.finditer(chapter.text):
        number = int(section["number"])
        _, check = executed(section[0])
        # The name is given by the test: the page's prints what fails.
        judged = re.sub(r"^from lossbook.book.exercises import attempt\n", "", check.source)
        name = f"{chapter.name} {number}"
        text, points = _TEST.format(name=name, check=judged), 1
        hidden = known[number].hidden if number in known else None
        if hidden:
            text, points = text + _HIDDEN.format(hidden=dedent(hidden)), 2
        made[name] = text, points
    return made


class Autograder(NamedTuple):
    """Otter's configuration for a chapter, a zip, and the points of each question.

    It is held in memory, where no submission can change it.
    """

    name: str
    configuration: bytes
    points: dict[str, int]


def autograder(chapter: Chapter, folder: Path = ANSWERS) -> Autograder:
    """Make otter's configuration for a chapter."""
    try:
        from otter.generate import main as generate
    except ImportError as error:
        raise GradeError('expected otter-grader: pip install "lossbook[course]"') from error

    asked = questions(chapter, answers(chapter.name, folder))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for question, (text, _) in asked.items():
            (work / f"exercise-{question.rpartition(' ')[2]}.py").write_text(text)
        # What a container installs; without one, it is here.
        (work / "requirements.txt").write_text(f"lossbook[book]=={__version__}\n")
        generate(
            tests_dir=name,
            output_path=str(work / "autograder.zip"),
            no_config=True,
            no_environment=True,
            requirements=str(work / "requirements.txt"),
        )
        configuration = (work / "autograder.zip").read_bytes()
    points = {question: points for question, (_, points) in asked.items()}
    return Autograder(chapter.name, configuration, points)


def find(folder: Path) -> list[Submission]:
    """Read what a folder has: `STUDENT.ipynb`, or any notebooks below `STUDENT/`."""
    found = []
    for place in sorted(folder.iterdir()):
        if place.name.startswith("."):
            continue
        inside = place.is_dir() and not place.is_symlink()
        paths = [
            path
            for path in (sorted(place.rglob("*.ipynb")) if inside else [place])
            if path.suffix == ".ipynb"
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        ]
        name = os.fsencode(place.name.removesuffix(".ipynb")).decode(errors="replace")
        student = "".join(c if c.isprintable() else "?" for c in name)
        found += [_read(Submission(student, path)) for path in paths]
        if inside and not paths:
            found.append(Submission(student, place, why="no notebook"))
    return found


def _read(submission: Submission) -> Submission:
    """Read a notebook, and find out of which chapter it is: it says so itself, or its name does."""
    try:
        data = _bytes(submission.path, LARGEST)
        notebook = json.loads(data)
        said = notebook["metadata"].get("lossbook", {}).get("chapter")
        # The kernel of this environment; what the first cell installs is here.
        notebook["metadata"]["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        notebook["cells"] = [
            cell
            for cell in notebook["cells"]
            if not "".join(cell["source"]).startswith("%pip install ")
        ]
        submission.notebook = json.dumps(notebook).encode()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        submission.why = f"no notebook that can be read: {error!r}"
        said = None
    if not (isinstance(said, str) and said in _taught()):
        named = [name for name in _taught() if name.endswith(f"/{submission.path.stem}")]
        said = named[0] if len(named) == 1 else ""
        submission.why = submission.why or ("" if said else "no chapter that it says it is of")
    submission.chapter = said
    return submission


def _bytes(path: Path, most: int) -> bytes:
    """Read a file that a stranger left: no link, no pipe, no more than `most`."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("expected a file")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"expected at most {most} bytes")
    return data


def _taught() -> list[str]:
    """The names of all chapters."""
    return [p.relative_to(DOCS).with_suffix("").as_posix() for p in sorted(DOCS.glob("*/*.md"))]


def prepare(folder: Path, answers: Path = ANSWERS) -> tuple[list[Submission], list[Autograder]]:
    """Read what was handed in, and what it is graded with.

    Raises:
        GradeError: If nothing can be graded.
    """
    if os.name != "posix":
        raise GradeError("expected Linux or macOS, whose limits a submission is held to")
    if not DOCS.is_dir():
        raise GradeError(f"expected a clone of the book's repository, got no {DOCS}")
    submissions = find(folder)
    if not submissions:
        raise GradeError(f"expected notebooks in {folder}, got none")
    names = sorted({s.chapter for s in submissions if s.chapter})
    return submissions, [autograder(read(DOCS / f"{name}.md"), answers) for name in names]


def grade(
    submissions: Sequence[Submission],
    autograders: Sequence[Autograder],
    *,
    save: Callable[[Sequence[Row]], None],
    report: Callable[[int, int, str, str], None],
    seconds: float = 600,
    jobs: int = 1,
) -> list[Row]:
    """Grade submissions; `save` gets all rows so far, `report` how many are done."""
    points = {grader.name: grader.points for grader in autograders}
    configured = {grader.name: grader.configuration for grader in autograders}
    rows = list[Row]()
    save(rows)
    report(0, len(submissions), "", "")
    for done, submission in enumerate(_graded(submissions, configured, seconds, jobs), 1):
        for name, most in points.get(submission.chapter, {"": 0}).items():
            score = submission.scores.get(name, 0)
            rows.append(Row(submission.student, name, score if 0 <= score <= most else 0, most))
        rows.sort()
        save(rows)
        report(done, len(submissions), submission.student, submission.why)
    return rows


def _graded(
    submissions: Sequence[Submission], configured: dict[str, bytes], seconds: float, jobs: int
) -> Iterator[Submission]:
    """Run otter on the submissions, `jobs` at once, and yield each when it is done."""
    waiting = [s for s in submissions if not s.why]
    yield from (s for s in submissions if s.why)
    running = list[Run]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                submission = waiting.pop(0)
                running.append(Run(submission, configured[submission.chapter], seconds))
            for run in [run for run in running if run.ended()]:
                running.remove(run)
                run.close()
                yield run.submission
            time.sleep(0.05)
    finally:
        for run in running:
            run.close()


class Run:
    """A submission that is being graded, in a folder of its own."""

    def __init__(self, submission: Submission, configured: bytes, seconds: float) -> None:
        self.submission = submission
        self.folder = Path(tempfile.mkdtemp(prefix="lossbook-"))
        for name in ("home", "tmp", "results"):
            (self.folder / name).mkdir()
        (self.folder / "autograder.zip").write_bytes(configured)
        (self.folder / "submission.ipynb").write_bytes(submission.notebook)
        otter = ["-m", "otter", "run", "-a", "autograder.zip", "-o", "results", "submission.ipynb"]
        self.end = time.monotonic() + seconds + 60
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "lossbook.book.runs.cage", str(self.folder), str(seconds)),
                *(sys.executable, *otter),
            ],
            env=_environment(self.folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def ended(self) -> bool:
        """Whether it is done, or its cage does not answer."""
        return self.process.poll() is not None or time.monotonic() > self.end

    def close(self) -> None:
        """End it, read its scores, and remove what it left."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()  # The cage ends.
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        with self.process.stdout as said:
            self.submission.why = said.read(1000).strip()
        if code := self.process.wait():
            self.submission.why = f"what watched it ended with code {code}"
        if not self.submission.why:
            self._scores()
        for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            subprocess.run([*command, self.folder], stderr=subprocess.DEVNULL, check=False)

    def _scores(self) -> None:
        """Read what otter wrote, as the text of a stranger: the submission could write it too."""
        try:
            results = json.loads(_bytes(self.folder / "results/results.json", 2**20))
            for test in results["tests"]:
                score = test.get("score")
                if type(score) in (int, float) and math.isfinite(score):
                    self.submission.scores[test["name"]] = score
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.submission.why = "otter has no result"
            with contextlib.suppress(OSError, ValueError):
                log = _bytes(self.folder / "log", 2**20).decode(errors="replace").strip()
                last = "".join(c for c in log.rpartition("\n")[2] if c.isprintable())
                self.submission.why += f": {last[:200]}"


def _environment(folder: Path) -> dict[str, str]:
    """What a submission sees: nothing of the user's own but where programs are."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "IPYTHONDIR": str(folder / "home"),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "KERAS_BACKEND": "torch",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }
