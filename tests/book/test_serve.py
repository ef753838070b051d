"""Serving: what runs when, and that nothing is called done before it is."""

import subprocess
import sys
from pathlib import Path

import pytest
import watchfiles

from lossbook.book.pages import card, serve
from lossbook.book.runs import chapters, run
from lossbook.book.runs.chapters import DOCS, ROOT, Chapter, ChapterError

NAMES = ("a", "b", "c", "d")


class Process:
    """A process that runs until it is told to end, or ends by itself when asked `lives` times."""

    def __init__(self, command, lives=10**9):
        self.command, self.lives, self.returncode, self.said = command, lives, 3, []

    def poll(self):
        self.lives -= 1
        return self.returncode if self.lives < 0 else None

    def terminate(self):
        self.said.append("terminate")

    def wait(self):
        self.said.append("wait")


@pytest.fixture
def served(monkeypatch):
    """Serve while the watch reports these changes: what was staged, and what was started."""
    written = [Chapter(DOCS / f"{name}.md", "", {}) for name in NAMES]
    monkeypatch.setattr(chapters, "load", lambda: (written, []))
    monkeypatch.setattr(serve, "_code", lambda: {Path("loss.py"): 1})

    def go(*changes, done=NAMES, unvetted=(), lives=(), end=KeyboardInterrupt):
        events, processes, lengths = [], [], [*lives]

        def watch(*folders, **options):
            assert folders == (DOCS, ROOT / "lossbook")
            assert options["yield_on_timeout"]
            for change in changes:
                yield {(1, str(path)) for path in change}
            raise end

        def start(command, **_):
            processes.append(Process(command, lengths.pop(0) if lengths else 10**9))
            events.append(command[2])
            return processes[-1]

        def update(only, code):
            assert code == {Path("loss.py"): 1}
            events.append(only and [path.stem for path in only])

        monkeypatch.setattr(watchfiles, "watch", watch)
        monkeypatch.setattr(subprocess, "Popen", start)
        monkeypatch.setattr(serve, "_update", update)
        monkeypatch.setattr(serve, "stage", lambda **options: events.append(options))
        monkeypatch.setattr(run, "cached", lambda c: True if c.name in done else None)
        monkeypatch.setattr(card, "stale", lambda: list(unvetted))
        code = serve.serve("localhost:1")
        return events[2:], processes, code, events[:2]

    for name in ("SITE_URL", "NO_MKDOCS_2_WARNING"):
        monkeypatch.setenv(name, "")
    return go


def test_pages_are_there_at_once_and_the_server_ends_with_us(served):
    events, (server,), code, first = served()
    assert first == [{"watch_tree": False, "wait": False}, "mkdocs"]
    assert (events, code) == ([], 0)
    assert server.command[-3:] == ["localhost:1", "--config-file", str(serve.BUILD / "mkdocs.yml")]
    assert server.said == ["terminate", "wait"]


def test_what_has_not_run_runs_two_at_a_time_and_then_all_is_drawn_again(served):
    events, *_ = served([], [], [], [], done="b")
    assert events == [["a", "c"], ["d"], None]


def test_what_is_saved_goes_first(served):
    saved = DOCS / "index.md"
    events, *_ = served([saved], [], [], done="abc")
    assert events == [["index"], ["d"], None]


@pytest.mark.parametrize(
    ("changed", "staged"),
    [
        ([DOCS / "index.md"], [["index"]]),
        ([DOCS / "gone.md"], [None]),
        ([ROOT / "lossbook/regression/huber.py"], [None]),
        ([DOCS / "index.md", ROOT / "lossbook/regression/huber.py"], [None]),
        ([DOCS / "references.bib"], [None]),
        ([DOCS / "a.ipynb", ROOT / "x.pyc"], []),
        ([DOCS / "a.ipynb", DOCS / "index.md"], [["index"]]),
    ],
)
def test_a_change_stages_what_it_can_reach(served, changed, staged):
    assert served(changed)[0] == staged


def test_the_contract_runs_last_and_the_cards_are_filled_when_it_ends(served, capsys):
    events, (server, contract), *_ = served(
        *([] for _ in range(6)), done="abc", unvetted=["near_loss", "far_loss"], lives=(99, 2)
    )
    assert events == [["d"], None, "tests.contract", None]
    assert contract.command[1:] == ["-m", "tests.contract", "near_loss", "far_loss"]
    assert contract.command[0] == sys.executable
    said = capsys.readouterr().out
    assert said.index("The contract runs on 2 losses") < said.index("The cards are filled.")
    assert (contract.said, server.said) == ([], ["terminate", "wait"])


def test_a_card_is_not_called_filled_while_the_contract_runs(served, capsys):
    events, (_, contract), *_ = served([], [], [], unvetted=["near_loss"])
    assert events == ["tests.contract"]
    assert "filled" not in capsys.readouterr().out
    assert contract.said == ["terminate", "wait"]


def test_a_server_that_ends_ends_us_with_its_code(served):
    events, (server,), code, _ = served([], [DOCS / "index.md"], lives=(1,))
    assert (events, code) == ([], 3)
    assert server.said == ["terminate", "wait"]


def test_staging_is_in_a_process_of_its_own_once_the_code_has_changed(monkeypatch, capsys):
    asked, commands, errors = [], [], [ChapterError(DOCS / "a.md", 3, "wrong")]
    monkeypatch.setattr(serve, "stage", lambda **options: asked.append(options) or errors)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    monkeypatch.setattr(serve, "_code", lambda: {Path("loss.py"): 1})
    serve._update([DOCS / "a.md"], {Path("loss.py"): 1})
    assert asked == [{"only": [DOCS / "a.md"], "watch_tree": False, "report": print}]
    assert commands == []
    assert "docs/a.md:3: wrong" in capsys.readouterr().err
    for only, named in (([DOCS / "a.md"], [str(DOCS / "a.md")]), (None, [])):
        commands.clear()
        serve._update(only, {Path("loss.py"): 0})
        assert commands[0][1:] == ["-m", "lossbook.book", "stage", "--keep-going", *named]
    assert len(asked) == 1


def test_the_code_is_every_python_file_with_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "ROOT", tmp_path)
    file = tmp_path / "lossbook/book/a.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    (tmp_path / "lossbook/b.txt").write_text("")
    assert serve._code() == {file: file.stat().st_mtime_ns}


def test_chapters_run_in_the_order_of_the_book():
    names = [c.name for c in sorted(chapters.load()[0], key=serve._place)]
    assert names[0] in ("index", "choose")
    order = [names.index(n) for n in ("symptoms", "foundations/outliers", "regression/huber")]
    assert order == sorted(order)
    assert names.index("regression/huber") < names.index("classification/focal")
    assert names.index("policy/ppo") < names.index("course/index")


def test_what_waits_runs_in_that_order(served, monkeypatch):
    monkeypatch.setattr(serve, "_place", lambda chapter: -ord(chapter.name))
    events, *_ = served([], [], [], [], done="b")
    assert events == [["d", "c"], ["a"], None]
