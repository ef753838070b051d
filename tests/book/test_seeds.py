"""Claims under other seeds: what breaks is found, and a record is of one text alone."""

import json
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from lossbook.book.runs import chapters, seeds
from lossbook.book.runs.run import NUMERICS

LUCKY = """---
title: Lucky
---

# Lucky

```python
from lossbook import huber_loss
from lossbook.book import experiments

first = experiments.rng(0).integers(10**9)
```

What holds for the seed that was tried:

```python
assert first == {first}
```

```pycon
>>> first < 10**9
True
```
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A chapter that claims what its first draw happens to be."""
    monkeypatch.setattr(chapters, "DOCS", tmp_path)
    monkeypatch.setattr(seeds, "RECORDED", tmp_path / "seeds")

    def plant(text=LUCKY):
        path = tmp_path / "lucky.md"
        path.write_text(text.replace("{first}", "850624225"))
        return chapters.read(path)

    return plant


def test_a_claim_that_holds_for_the_shown_seeds_only_is_found(planted, monkeypatch):
    chapter, said = planted(), []
    monkeypatch.delenv("LOSSBOOK_SHIFT", raising=False)
    assert seeds.broken(chapter) == []
    assert seeds.record([chapter.path], 2, report=said.append) == 1
    found = json.loads(seeds.file(chapter).read_text())
    assert found["broken"] == {
        shift: [f"{chapter.path}:17: AssertionError: "] for shift in ("1", "2")
    }
    assert "held for 0 of 2 shifts" in said[0]
    assert "held for 0 of 2 shifts" in seeds.said(chapter)


def test_a_record_is_of_one_text(planted):
    chapter = planted()
    assert "not run for this text" in seeds.said(chapter)
    seeds.RECORDED.mkdir()
    seeds.file(chapter).write_text(
        json.dumps({"key": seeds.key(chapter), "shifts": 5, "broken": {}})
    )
    assert "held for 5 of 5 shifts" in seeds.said(chapter)
    assert "held for 5 of 5 shifts" in seeds.said(planted(LUCKY.replace("What holds", "Held")))
    assert "not run for this text" in seeds.said(planted(LUCKY.replace("10**9)\n", "10**8)\n")))


@pytest.mark.parametrize(
    ("file", "old", "new", "same"),
    [
        ("regression/huber.py", "", "# Changed.\n", True),
        ("regression/huber.py", '"""Huber loss and', '"""Huber and', True),
        ("regression/huber.py", '"""Huber loss, one value', '"""One value', True),
        ("regression/huber.py", "alpha=0.5", "alpha=0.6", False),
        ("regression/squared_error.py", "", "changed = 1\n", True),
        ("book/experiments.py", "[seed, int(", "[seed + 1, int(", False),
        ("book/experiments.py", "epochs: int = 40", "epochs: int = 41", True),
    ],
)
def test_the_key_is_of_what_the_cells_use(planted, tmp_path, monkeypatch, file, old, new, same):
    chapter = planted()
    before = seeds.key(chapter)
    for name in ("regression/huber.py", "regression/squared_error.py", "book/experiments.py"):
        copy = tmp_path / "lossbook" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((chapters.ROOT / "lossbook" / name).read_text())
    changed = tmp_path / "lossbook" / file
    assert old in changed.read_text()
    changed.write_text(changed.read_text().replace(old, new, 1))
    monkeypatch.setattr(seeds, "ROOT", tmp_path)
    monkeypatch.setattr(seeds, "EXPERIMENTS", tmp_path / "lossbook/book/experiments.py")
    assert (seeds.key(chapter) == before) == same


@pytest.mark.parametrize(
    ("code", "does"),
    [
        ("net = experiments.mlp(64, 2, seed=0)", True),
        ("experiments.fit(\n    net, step, x, seed=0\n)", True),
        ("x, y = experiments.digits()", False),
        ("estimator.fit(x, y)", False),
        ("words = text.split()", False),
    ],
)
def test_a_chapter_draws_if_it_asks_the_experiments_to(planted, code, does):
    chapter = planted(f"---\ntitle: Planted\n---\n\n```python\n{code}\n```\n")
    assert seeds.draws(chapter) == does
    assert bool(seeds.said(chapter)) == does


def test_a_record_counts_the_shifts_that_held(planted, monkeypatch):
    chapter, said, asked = planted(), [], []
    idle = chapters.DOCS / "idle.md"
    idle.write_text("---\ntitle: Idle\n---\n\n```python\n1\n```\n")

    def shifted(chapter, shift):
        asked.append((chapter.name, shift))
        return {2: ["it broke", "twice"], 3: ["again"]}.get(shift, [])

    monkeypatch.setattr(seeds, "_shifted", shifted)
    assert seeds.record([chapter.path, idle], 4, report=said.append) == 1
    assert asked == [("lucky", shift) for shift in (1, 2, 3, 4)]
    assert [path.name for path in seeds.RECORDED.iterdir()] == ["lucky.json"]
    assert seeds.recorded(chapter) == {
        "key": seeds.key(chapter),
        "shifts": 4,
        "broken": {"2": ["it broke", "twice"], "3": ["again"]},
    }
    assert said[0].split(maxsplit=1) == ["lucky", "held for 2 of 4 shifts"]
    assert said[1:] == ["    shift 2: it broke\n    shift 2: twice", "    shift 3: again"]
    assert "held for 2 of 4 shifts" in seeds.said(chapter)
    monkeypatch.setattr(seeds, "_shifted", lambda *_: [])
    assert seeds.record([chapter.path], 4) == 0
    assert "held for 4 of 4 shifts" in seeds.said(chapter)


def test_chapters_of_one_stem_have_each_their_record():
    names = ("image/lucky", "ranking/lucky")
    made = [chapters.Chapter(chapters.DOCS / f"{name}.md", LUCKY, {}) for name in names]
    assert [seeds.file(c).name for c in made] == ["image.lucky.json", "ranking.lucky.json"]


def test_a_shift_runs_in_an_interpreter_and_a_folder_of_its_own(planted, monkeypatch):
    chapter, asked = planted(), []
    ends = [(0, ""), (0, "a\nb\n"), (3, "a\n")]

    def run(command, **options):
        asked.append((command, options))
        code, out = ends[len(asked) - 1]
        return SimpleNamespace(returncode=code, stdout=out)

    monkeypatch.setattr(subprocess, "run", run)
    assert seeds._shifted(chapter, 7) == []
    assert seeds._shifted(chapter, 8) == ["a", "b"]
    assert seeds._shifted(chapter, 9) == ["a", "the run ended with 3"]
    shifts = [options["env"]["LOSSBOOK_SHIFT"] for _, options in asked]
    assert shifts == ["7", "8", "9"]
    command, options = asked[0]
    assert command[1:] == ["-m", "lossbook.book.runs.seeds", chapter.path]
    assert options["env"].items() >= NUMERICS.items()
    assert options["env"]["PYTHONPATH"].startswith(str(chapters.ROOT))
    assert options["cwd"] != asked[1][1]["cwd"]


BREAKS = """---
title: Breaks
---

```python
def fail():
    raise KeyError("deep")


count = 1
print("not among what broke")
```

```pycon
>>> count += 1
>>> fail()
Traceback (most recent call last):
KeyError: 'deep'
>>> assert count == 3, "not three"
>>> count += 1
```

```python
assert count == 3
fail()
count = 9
```

```python
import warnings

warnings.warn("not either")
assert count == 4
```

```python
x =
```
"""


def test_each_block_that_breaks_is_named_at_its_line_and_the_rest_runs(planted, capsys):
    chapter = planted(BREAKS)
    found = seeds.broken(chapter)
    assert [line.removeprefix(f"{chapter.path}:") for line in found] == [
        *("19: AssertionError: not three", "7: KeyError: 'deep'", "33: AssertionError: "),
        "36: SyntaxError: invalid syntax (chapter, line 37)",
    ]
    assert capsys.readouterr().out == ""


IMPORTS = """---
title: Imports
---

```python
from lossbook import (
    huber_loss,
    smooth_l1_loss,
)
```

```pycon
>>> from lossbook import focal_loss, gathered, nothing
>>> experiments.rng(0)
```
"""


def test_the_key_is_of_every_block_and_every_import(planted, tmp_path, monkeypatch):
    before = seeds.key(planted(IMPORTS))
    assert seeds.key(planted(IMPORTS + "\nMore prose.\n")) == before
    for old, new in (
        ("huber_loss", "mse_loss"),
        ("rng(0)", "rng(1)"),
        ("    smooth_l1_loss,\n", ""),
    ):
        assert seeds.key(planted(IMPORTS.replace(old, new))) != before
    shutil.copytree(chapters.ROOT / "lossbook", tmp_path / "lossbook")
    monkeypatch.setattr(seeds, "ROOT", tmp_path)
    for name in ("regression/huber", "classification/focal", "gathering"):
        file = tmp_path / f"lossbook/{name}.py"
        text = file.read_text()
        file.write_text(text + "changed = 1\n")
        assert seeds.key(planted(IMPORTS)) != before, name
        file.write_text(text)
    assert seeds.key(planted(IMPORTS)) == before


def test_the_key_is_of_what_the_experiments_call_in_turn(tmp_path, monkeypatch):
    file = tmp_path / "experiments.py"
    file.write_text("def a(): B()\nclass B:\n    x = c\ndef c(): a()\ndef d(): pass\n")
    monkeypatch.setattr(seeds, "EXPERIMENTS", file)
    found = seeds._experiments("experiments.a(1)")
    assert [name in found for name in ("def a", "class B", "def c", "def d")] == [True] * 3 + [
        False
    ]
