"""Exercises: the stub and every wrong answer fail the check, the solution passes it."""

import ast
import contextlib
import doctest
import importlib
import io
import math
import re
import symtable
import warnings
from dataclasses import replace
from textwrap import dedent

import pytest
import torch
from otter.test_files.exception_test import ExceptionTestFile

from lossbook.book import exercises
from lossbook.book.runs import chapters, grade
from lossbook.book.runs.chapters import DOCS, ROOT, Chapter
from tests.answers import Answers

HEADING = re.compile(r"^#{1,3} ", re.M)
SOLUTION = re.compile(r'^\?\?\? success "Solution"\n((?: {4}.*\n|\n)+)', re.M)


def execute(chapter, block, names):
    """Run a block in the namespace `names`; errors show the chapter's own lines."""
    pieces, mode = [doctest.Example(block.source, "")], "exec"
    if block.kind == "pycon":
        pieces, mode = doctest.DocTestParser().get_examples(block.source), "single"
    for piece in pieces:
        code = compile("\n" * (block.line + piece.lineno) + piece.source, chapter.path, mode)
        meant = pytest.raises(Exception) if piece.exc_msg else contextlib.nullcontext()
        # What a cell shows and warns of is for its own run to judge.
        with meant, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            exec(code, names)


class Order(ast.NodeVisitor):
    """Whether each name is used or bound first, in the order in which Python does it."""

    def __init__(self, tree):
        self.first = {}
        self.visit(tree)

    def visit_Name(self, node):
        self.first.setdefault(node.id, type(node.ctx))

    def visit_Assign(self, node):
        for part in (node.value, *node.targets):
            self.visit(part)

    def visit_FunctionDef(self, node):
        arguments = ast.walk(node.args)
        inner = [n for part in node.body for n in ast.walk(part) if isinstance(n, ast.Name)]
        own = {n.arg for n in arguments if isinstance(n, ast.arg)}
        own |= {n.id for n in inner if isinstance(n.ctx, ast.Store)}
        for part in (*node.decorator_list, node.args, *(n for n in inner if n.id not in own)):
            self.visit(part)

    def visit_AugAssign(self, node):
        self.first.setdefault(ast.unparse(node.target), ast.Load)
        self.visit(node.value)

    def visit_For(self, node):
        for part in (node.iter, node.target, *node.body, *node.orelse):
            self.visit(part)


def names_of(tree):
    """The names that some code takes from what stands before it, and those that it binds."""
    tables = [symtable.symtable(ast.unparse(tree), "", "exec")]
    own = tables[0].get_symbols()
    used = {s.get_name() for s in own if s.is_referenced()}
    while tables:
        table = tables.pop()
        tables += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global()}
    bound = {s.get_name() for s in own if s.is_assigned() or s.is_imported()}
    first = Order(tree).first
    return {name for name in used if first.get(name) != ast.Store}, bound


def statements(block):
    """The statements of a block, or its examples: their lines and their code."""
    if block.kind == "pycon":
        for example in doctest.DocTestParser().get_examples(block.source):
            lines = (example.source + example.want).count("\n")
            yield example.lineno, example.lineno + lines, ast.parse(example.source).body[0]
    else:
        for node in ast.parse(block.source).body:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            yield first - 1, node.end_lineno, node


GIVEN = ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef  # Nothing changes those.
SHOWS = re.compile(r"(plots|peers|print|torch\.testing|np\.testing)\b")


def changed_by(node):
    """The names of what a statement may change: an object whose method it calls, an item."""
    if isinstance(node, GIVEN):
        return set()
    parts = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Subscript | ast.Attribute) and isinstance(inner.ctx, ast.Store):
            parts.append(inner.value)
        trains = isinstance(inner, ast.Call) and ast.unparse(inner.func).startswith("experiments.")
        if trains or (isinstance(inner, ast.Expr) and not SHOWS.match(ast.unparse(inner))):
            parts.append(inner)
    return {n.id for part in parts for n in ast.walk(part) if isinstance(n, ast.Name)}


def thinned(blocks, asked):
    """Leave of the blocks the statements on which an exercise depends; lines keep their numbers.

    Most of a chapter's time goes into experiments and figures for which no exercise asks. What is
    changed out of sight of this, by a function's body, is missed.

    Args:
        asked: For the blocks that stay as they are, the names that are used there.
    """
    found, wanted, given = [], set(), set()
    for block in (b for b in blocks if b not in asked):
        for _, _, node in statements(block):
            given |= names_of(node)[1] if isinstance(node, GIVEN) else set()
    for block in reversed(blocks):
        if block in asked:
            wanted |= asked[block]
            found.append(block)
            continue
        lines = block.source.split("\n")
        for start, end, node in reversed(list(statements(block))):
            used, bound = names_of(node)
            changes = changed_by(node) - given
            if wanted & (bound | changes):
                wanted = wanted - bound | changes | used
            else:
                lines[start:end] = [""] * (end - start)
        found.append(block._replace(source="\n".join(lines)))
    return found[::-1]


def exercises_of(chapter):
    """Each exercise: its heading's line, its two cells and its solution's block."""
    starts = [m.start() for m in HEADING.finditer(chapter.text)]
    for start, end in zip(starts, [*starts[1:], len(chapter.text)], strict=True):
        section = chapter.text[start:end]
        if not section.startswith("### Exercise"):
            continue
        first = chapter.text[:start].count("\n") + 1
        last = chapter.text[:end].count("\n") + 1
        stub, check = [b for b in chapter.blocks if first < b.line < last]
        folded = SOLUTION.search(section)  # A graded exercise has none here.
        before = first + section[: folded.start(1)].count("\n") - 1 if folded else 0
        solution = [
            fence._replace(line=before + fence.line)
            for fence in chapters.fences(dedent(folded[1]) if folded else "")
            if fence.info == "python"
        ]
        yield first, stub, check, solution


def answers_of(chapter):
    """What `tests/answers` has for a chapter: an entry an exercise."""
    path = ROOT / f"tests/answers/{chapter.name}.py"
    if not path.exists():
        return {}
    return importlib.import_module(f"tests.answers.{chapter.name.replace('/', '.')}").ANSWERS


def written(stub, source):
    """An answer that stands outside of the chapter, in place of the stub."""
    return stub._replace(source=dedent(source))


@pytest.fixture
def strict(monkeypatch):
    """Let a failed check raise, and leave torch as it was."""
    monkeypatch.setattr(exercises, "strict", True)
    dtype, threads, grad = (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
    )
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(grad)
    torch.set_printoptions(profile="default")


RAISES = re.compile(r"raise NotImplementedError\(.*\)")


def answer(stub, value):
    """A stub that answers the same to everything."""
    return stub._replace(source=RAISES.sub(f"return {value}", stub.source))


def verdicts(chapter, answers=None, *, whole=False):
    """Try every exercise of a chapter: what went wrong, an empty list if nothing.

    What goes wrong after a thinned chapter is judged after the whole one, with `whole` everything.
    """
    answers = answers_of(chapter) if answers is None else answers
    tried, asked = list(exercises_of(chapter)), {}
    for number, (_, stub, check, solution) in enumerate(tried, 1):
        known = answers.get(number, Answers(wrong=()))
        given = filter(None, (*known.wrong, known.solution, known.hidden))
        code = [*map(dedent, given), *(block.source for block in (stub, check, *solution))]
        used = set().union(*(names_of(ast.parse(text))[0] for text in code))
        asked[stub] = asked[check] = used - names_of(ast.parse(stub.source))[1]
    if not whole:
        with contextlib.suppress(Exception):
            if found_wrong(chapter, thinned(chapter.blocks, asked), tried, answers) == []:
                return []
    return found_wrong(chapter, chapter.blocks, tried, answers)


def found_wrong(chapter, blocks, tried, answers):
    """Try every exercise after the blocks before it."""
    wrong, names, left = [], {"__name__": "__main__"}, iter(blocks)
    own = {block for _, stub, check, _ in tried for block in (stub, check)}
    for number, (line, stub, check, solution) in enumerate(tried, 1):
        for block in left:
            if block == check:
                break
            if block not in own:
                execute(chapter, block, names)
        known = answers.get(number, Answers(wrong=()))
        if known.solution:
            solution = [written(stub, known.solution)]
        refusals = (AssertionError, NotImplementedError)
        tries = [
            ("the stub", [stub], refusals),
            ("the answer 0.0", [answer(stub, "0.0")], Exception),
            ("the answer 1.0", [answer(stub, "1.0")], Exception),
            ("the solution", solution, refusals),
        ]
        for i, source in enumerate(known.wrong, 1):
            tries.append((f"wrong answer {i}", [written(stub, source)], refusals))
        checks = [("", check)]
        if known.hidden:
            checks.append(("hidden: ", written(check, known.hidden)))
        for who, blocks, refused in tries:
            for kind, judge in checks:
                fresh = dict(names)
                said = f"{chapter.path.name}:{line}: {kind}{who}"
                try:
                    for block in [*blocks, judge]:
                        execute(chapter, block, fresh)
                except refused as error:
                    if who == "the solution":
                        wrong.append(f"{said} fails: {error}")
                except Exception as error:
                    if not who.startswith("wrong answer"):
                        raise
                    wrong.append(f"{said} crashes: {type(error).__name__}: {error}")
                else:
                    if who != "the solution":
                        wrong.append(f"{said} passes")
        if not RAISES.search(stub.source):  # The answers above would have been the stub itself.
            wrong.append(f"{chapter.path.name}:{line}: the stub raises nothing")
        execute(chapter, stub, names)
        # What a check imports, the next one may use.
        with contextlib.suppress(AssertionError, NotImplementedError):
            execute(chapter, check, names)
    return wrong + marks(chapter, names, answers, tried)


def marks(chapter, names, answers, tried):
    """Let otter mark the answers in what a notebook leaves at its end: what it got wrong."""
    wrong = []
    questions = grade.questions(chapter, answers).items()
    for (name, (text, most)), (_, stub, _, solution) in zip(questions, tried, strict=True):
        known = answers.get(int(name.rpartition(" ")[2]), Answers(wrong=()))
        if known.solution:
            solution = [written(stub, known.solution)]
        tries = [("the solution", solution, most), ("the stub", [stub], 0)]
        if known.hidden:
            wrongs = [written(stub, source) for source in known.wrong]
            tries += [(f"wrong answer {i}", [answer], 0) for i, answer in enumerate(wrongs, 1)]
        for who, blocks, expected in tries:
            fresh = dict(names)
            for block in blocks:
                execute(chapter, block, fresh)
            test = ExceptionTestFile.from_string(text)
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                test.run(fresh)
            if (test.score, test.possible) != (expected, most):
                said = f"{name}: {who} scores {test.score:g} of {test.possible:g}"
                wrong.append(said if expected else f"{said}, not 0")
    return wrong


CHAPTERS = [c for c in chapters.load()[0] if "\n### Exercise" in c.text]


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("chapter", CHAPTERS, ids=[c.name for c in CHAPTERS])
def test_each_stub_and_wrong_answer_fails_its_check_and_each_solution_passes_it(
    chapter, pytestconfig
):
    assert verdicts(chapter, whole=pytestconfig.getoption("--slow")) == []


def test_there_are_exercises():
    assert sum(1 for c in CHAPTERS for _ in exercises_of(c)) >= 3


# Planted -----------------------------------------------------------------------------------------

EXERCISE = """---
title: Planted
---

```python
one = 1
```

```pycon
>>> one = one + 1
>>> for i in range(1):
...     one = one + i
```

## Exercises

### Exercise 1: add (1 minute, easy)

```python
def add(a, b):
    raise NotImplementedError("write add(a, b)")
```

```python
from lossbook.book.exercises import attempt

with attempt():
    assert add(one, 2) == 4, "two and two must give four"
```

??? tip "Hint"

    Add.

??? success "Solution"

    ```python
    def add(a, b):
        return a + b
    ```

### Exercise 2: twice (1 minute, easy)

```python
def twice(a):
    raise NotImplementedError("write twice(a)")
```

```python
with attempt():
    assert twice(one) == 4, "twice two must give four"
```

??? success "Solution"

    ```python
    def twice(a):
        return 2 * a
    ```
"""


def planted(old="", new=""):
    assert old in EXERCISE
    return Chapter(DOCS / "planted.md", EXERCISE.replace(old, new, 1), {"title": "Planted"})


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", None),
        ("a + b", "a - b", "planted.md:17: the solution fails: two and two must give four"),
        ("2 * a", "a", "planted.md:42: the solution fails: twice two must give four"),
        (
            'raise NotImplementedError("write add(a, b)")',
            "return 4",
            "planted.md:17: the stub passes",
        ),
        ("add(one, 2) == 4", "one == 2", "planted.md:17: the stub passes"),
        (
            "with attempt():\n    assert twice",
            "if True:\n    assert 4 or twice",
            "planted.md:42: the stub passes",
        ),
        ("add(one, 2) == 4", "add(one, 2) < 9", "planted.md:17: the answer 0.0 passes"),
        ("twice(one) == 4", "twice(one) > 0", "planted.md:42: the answer 1.0 passes"),
        ("def twice(a):", "one = 3\n\ndef twice(a):", "planted 1: the solution scores 0 of 1"),
    ],
)
def test_a_wrong_exercise_is_caught(old, new, expected):
    assert next(iter(verdicts(planted(old, new))), None) == expected


def test_a_chapter_is_thinned_to_what_its_exercises_use():
    slow = "one = 1\ntwo = [0]\ntwo.append(one)\nfor k in two:\n    print(k)\none = len(two) - 1\n"
    chapter = planted("one = 1\n", slow)
    asked = dict.fromkeys(chapter.blocks[2:], frozenset({"one"}))
    first, second, *rest = thinned(chapter.blocks, asked)
    assert first.source == slow.replace("for k in two:\n    print(k)\n", "\n\n")
    assert [second, *rest] == chapter.blocks[1:]


@pytest.mark.usefixtures("strict")
def test_what_a_function_changes_out_of_sight_is_judged_after_the_whole_chapter():
    hidden = "box = []\n\ndef fill():\n    box.append(1)\n\nfill()\none = box[0]\n"
    chapter = planted("one = 1\n", hidden)
    asked = dict.fromkeys(chapter.blocks[2:], frozenset({"one"}))
    assert "\nfill()\n" not in thinned(chapter.blocks, asked)[0].source
    assert verdicts(chapter) == []


ADDED = Answers(
    wrong=("def add(a, b):\n    return a - b\n",),
    solution="def add(a, b):\n    return a + b\n",
    hidden="assert add(1, 5) == 6, 'one and five'\n",
)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"wrong": ("def add(a, b):\n    return 4\n",)}, "17: wrong answer 1 passes"),
        ({"wrong": ("def add(a, b):\n    return [][a]\n",)}, "17: wrong answer 1 crashes: IndexE"),
        ({"wrong": ("def add(a):\n    return a\n",)}, "17: wrong answer 1 crashes: TypeError"),
        ({"solution": "def add(a, b):\n    return 4\n"}, "17: hidden: the solution fails: one and"),
        ({"hidden": "assert add\n"}, "17: hidden: the answer 0.0 passes"),
    ],
)
def test_answers_that_miss_their_point_are_caught(change, expected):
    said = verdicts(planted(), {1: replace(ADDED, **change)})
    assert any(expected in line for line in said) if expected else said == []


@pytest.mark.usefixtures("strict")
def test_an_error_shows_the_line_of_the_chapter():
    chapter = planted("return a + b", "return a + c")
    with pytest.raises(NameError) as caught:
        verdicts(chapter)
    (entry,) = [
        e for e in caught.traceback if str(e.path).endswith("planted.md") and e.name == "add"
    ]
    assert entry.lineno + 1 == 1 + chapter.text[: chapter.text.index("return a + c")].count("\n")


def test_attempt_says_what_failed_and_hides_nothing_else(capsys):
    with exercises.attempt():
        raise NotImplementedError("write it")
    with exercises.attempt():
        raise AssertionError
    with exercises.attempt():
        pass
    assert capsys.readouterr().out == "Not yet: write it\nNot yet.\nSolved.\n"
    with exercises.attempt():
        math.exp(1000)
    with exercises.attempt():
        1 / 0  # noqa: B018
    overflow, division = capsys.readouterr().out.splitlines()
    assert overflow == "Not yet: OverflowError: math range error"
    assert division == "Not yet: ZeroDivisionError: division by zero"
    with pytest.raises(IndexError), exercises.attempt():
        [][0]
