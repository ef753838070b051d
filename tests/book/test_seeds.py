"""Claims under other seeds: what breaks is found, and a record is of one text alone."""

import json

import pytest

from lossbook.book.runs import chapters, seeds

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
        ("regression/huber.py", "", "# Changed.\n", False),
        ("regression/squared_error.py", "", "# Changed.\n", True),
        ("book/experiments.py", "[shift, seed]", "[seed, shift]", False),
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
