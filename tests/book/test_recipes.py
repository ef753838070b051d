"""What a reader pastes: the recipes of a chapter, and the call that stands in short."""

import importlib
import inspect
import json
import re
import subprocess
import sys

import numpy as np
import pytest

import lossbook
from lossbook.book.runs import chapters
from lossbook.book.runs.chapters import ROOT

SECTION = re.compile(r"^## (In short|Recipes)\n(.*?)(?=^## |\Z)", re.M | re.S)
CHAPTERS = [c for c in chapters.load()[0] if "\n## Recipes\n" in c.text]
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=[c.name for c in CHAPTERS])

# Runs pieces one after the other, each in a namespace of its own, in which torch and lossbook are
# all that can be imported besides the standard library. Each line of its input is a chapter, for
# which it forks: torch is loaded once.
RUN = """
import builtins, json, os, sys, traceback, torch, lossbook
real, allowed = __import__, {"torch", "lossbook", *sys.stdlib_module_names}

def only(name, given=None, *rest):
    asked = (given or {}).get("__name__") == "recipe"
    if asked and (name.partition(".")[0] not in allowed or name.startswith("lossbook.book")):
        raise ImportError(f"a recipe needs torch and lossbook alone, not {name}")
    return real(name, given, *rest)

def follow(path, folder, recipes):
    os.chdir(folder)
    said = os.open("said", os.O_CREAT | os.O_WRONLY)
    os.dup2(said, 1), os.dup2(said, 2)
    builtins.__import__ = only
    for line, code in recipes:
        torch.manual_seed(0)
        exec(compile("\\n" * line + code, path, "exec"), {"__name__": "recipe"})

for asked in sys.stdin:
    child = os.fork()
    if not child:
        code = 1
        try:
            follow(*json.loads(asked))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def pieces(text):
    """The recipes of a chapter's text, with their lines."""
    found = dict(SECTION.findall(text)).get("Recipes", "")
    before = text[: text.index(found)].count("\n")
    return [
        (before + fence.line, fence.source)
        for fence in chapters.fences(found)
        if fence.indent and fence.info == "python"
    ]


@pytest.fixture(scope="module")
def run():
    """Follow recipes in a process of their own; return its exit code and what it said."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", RUN],
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def run(recipes, path, folder):
            process.stdin.write(json.dumps([str(path), str(folder), recipes]) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline()), (folder / "said").read_text()

        yield run
        process.stdin.close()


@every_chapter
def test_recipes_run_with_torch_and_lossbook_alone(run, chapter, tmp_path):
    recipes = pieces(chapter.text)
    assert recipes
    code, said = run(recipes, chapter.path, tmp_path)
    assert code == 0, said


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import numpy\n", "not numpy"),
        ("from lossbook.book import plots\n", "not lossbook.book"),
        ("import torch\nassert torch.zeros(1) == 1\n", "AssertionError"),
        ("losses\n", "'losses' is not defined"),
    ],
)
def test_a_recipe_that_needs_more_is_caught(run, code, said, tmp_path):
    fine = [1, "import math, torch\nimport lossbook\nfrom lossbook import focal_loss as losses\n"]
    assert run([fine], "planted.md", tmp_path) == (0, "")
    failed, why = run([fine, [9, code]], "planted.md", tmp_path)
    assert failed == 1
    assert said in why
    assert 'File "planted.md", line 1' in why


def call(chapter):
    """The block of *In short* that calls the loss and its `Criterion`."""
    (code,) = [f.source for f in chapters.fences(dict(SECTION.findall(chapter.text))["In short"])]
    return code


@every_chapter
def test_the_call_in_short_runs_on_inputs_of_the_contract(chapter):
    code = call(chapter)
    name = next(name for name in chapter.losses if f"{name}(" in code)
    _, family, stem = getattr(lossbook, name).__module__.split(".")
    cases = importlib.import_module(f"tests.{family}.test_{stem}").cases()
    case = next(c for c in cases if c.loss is getattr(lossbook, name))
    draw = case.inputs[0] if isinstance(case.inputs, tuple) else case.inputs
    drawn = draw(np.random.default_rng(0))
    names = dict(zip(inspect.signature(case.loss).parameters, drawn, strict=False))
    exec(code, names)
    made = [v for k, v in names.items() if k in ("loss", "losses")]
    assert [v.dim() for v in made][-1] == 0
    assert len(made) == 2
