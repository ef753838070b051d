"""Serving: what runs when, and that nothing is called done before it is."""

import socket
import subprocess
import sys
import threading
import time
from http.server import HTTPServer, SimpleHTTPRequestHandler
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
        self.stderr = []

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

    def go(*changes, done=NAMES, unvetted=(), lives=(), end=KeyboardInterrupt, there=(True, True)):
        events, processes, lengths, answers = [], [], [*lives], [*there]

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

        def answered(url):
            assert url == "http://localhost:1/"
            return answers.pop(0)

        monkeypatch.setattr(watchfiles, "watch", watch)
        monkeypatch.setattr(serve, "_answers", lambda _: False)
        monkeypatch.setattr(serve, "_there", answered)
        monkeypatch.setattr(subprocess, "Popen", start)
        monkeypatch.setattr(serve, "_update", update)
        monkeypatch.setattr(serve, "stage", lambda **options: events.append(options))
        monkeypatch.setattr(run, "cached", lambda c: True if c.name in done else None)
        monkeypatch.setattr(card, "stale", lambda: list(unvetted))
        code = serve.serve("localhost:1")
        return events[2:], processes, code, events[:2]

    monkeypatch.setenv("SITE_URL", "")
    return go


def test_pages_are_there_at_once_and_the_server_ends_with_us(served):
    events, (server,), code, first = served()
    assert first == [{"watch_tree": False, "wait": False}, "zensical"]
    assert (events, code) == ([], 0)
    assert server.command[-3:] == [
        "localhost:1",
        "--config-file",
        str(serve.BUILD / "zensical.yml"),
    ]
    assert server.said == ["terminate", "wait"]


def test_what_has_not_run_runs_two_at_a_time_and_then_all_is_drawn_again(served):
    events, *_ = served([], [], [], [], [], done="b")
    assert events == [["a", "c"], ["d"], None]


def test_nothing_runs_before_the_pages_are_there(served, capsys):
    assert served([], [], done="b", there=(False, False))[0] == []
    assert "The book is at" not in capsys.readouterr().out
    assert served([], [], [], done="b", there=(False, True))[0] == [["a", "c"]]
    assert "The book is at http://localhost:1/ " in capsys.readouterr().out


def test_what_is_saved_goes_first(served):
    saved = DOCS / "index.md"
    events, *_ = served([saved], [], [], [], done="abc")
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
    events, (server, contract, again), *_ = served(
        *([] for _ in range(9)),
        done="abc",
        unvetted=["near_loss", "far_loss"],
        lives=(99, 2),
        there=(True, False, True),
    )
    assert events == [["d"], None, "tests.contract", None, "zensical"]
    assert again.command == server.command
    assert server.said == again.said == ["terminate", "wait"]
    assert contract.command[1:] == ["-m", "tests.contract", "near_loss", "far_loss"]
    assert contract.command[0] == sys.executable
    said = capsys.readouterr().out
    assert said.index("The contract runs on 2 losses") < said.index("The cards are filled.")
    assert contract.said == []


def test_the_cards_are_called_filled_once_their_pages_are_there(served, capsys):
    options = {"unvetted": ["near_loss"], "lives": (99, 0), "there": (True, False)}
    assert served(*([] for _ in range(4)), **options)[0][-1] == "zensical"
    assert "The cards are filled." not in capsys.readouterr().out


def test_a_card_is_not_called_filled_while_the_contract_runs(served, capsys):
    events, (_, contract), *_ = served([], [], [], [], unvetted=["near_loss"])
    assert events == ["tests.contract"]
    assert "filled" not in capsys.readouterr().out
    assert contract.said == ["terminate", "wait"]


def test_a_server_that_ends_ends_us_with_its_code(served):
    events, (server,), code, _ = served([], [DOCS / "index.md"], lives=(1,))
    assert (events, code) == ([], 3)
    assert server.said == ["terminate", "wait"]


def test_staging_is_in_a_process_of_its_own_once_the_code_has_changed(monkeypatch, capsys):
    asked, commands, errors = [], [], [ChapterError(DOCS / "a.md", 3, "wrong")]

    def stage(report, **options):
        asked.append(options)
        report("one has ended")
        return errors

    monkeypatch.setattr(serve, "stage", stage)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    monkeypatch.setattr(serve, "_code", lambda: {Path("loss.py"): 1})
    serve._update([DOCS / "a.md"], {Path("loss.py"): 1})
    assert asked == [{"only": [DOCS / "a.md"], "watch_tree": False}]
    assert commands == []
    said = capsys.readouterr()
    assert ("one has ended" in said.out, "docs/a.md:3: wrong" in said.err) == (True, True)
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
    events, *_ = served([], [], [], [], [], done="b")
    assert events == [["d", "c"], ["a"], None]


def test_of_two_that_run_the_first_that_ends_is_on_its_page_before_the_second(monkeypatch):
    asked, both = [], [DOCS / "a.md", DOCS / "b.md"]

    def stage(report=None, **options):
        asked.append(options)
        if report:
            report("a has ended")
        return []

    monkeypatch.setattr(serve, "stage", stage)
    monkeypatch.setattr(serve, "_code", dict)
    serve._update(both, {})
    first = {"only": both, "watch_tree": False}
    assert asked == [first, first | {"wait": False}]


def test_an_address_that_is_taken_or_none_is_named(monkeypatch, capsys):
    monkeypatch.setattr(serve, "stage", lambda **_: pytest.fail("it staged"))
    with socket.create_server(("localhost", 0)) as server:
        taken = f"localhost:{server.getsockname()[1]}"
        for address in (taken, "localhost", "localhost:http"):
            assert serve.serve(address) == 1
            said = f"expected a free address such as localhost:8001, got {address}\n"
            assert capsys.readouterr().err == said
    assert not serve._answers(taken)
    assert not serve._answers("localhost:65536")


def test_a_page_is_there_once_it_answers(tmp_path, monkeypatch):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    monkeypatch.chdir(tmp_path)
    with HTTPServer(("localhost", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://localhost:{server.server_port}/index.html"
        before = serve._there(url)
        (tmp_path / "index.html").write_text("there")
        assert (before, serve._there(url)) == (False, True)
        server.shutdown()
    assert not serve._there(url)


def test_what_the_server_complains_of_is_printed(capsys):
    serve._complain(["\x1b[1mNo issues found\n", "\n", "Warning: nowhere.md\n"])
    assert capsys.readouterr().err == "Warning: nowhere.md\n"


def test_an_interruption_is_ours_while_chapters_run(monkeypatch):
    threads = []

    def stage(**_):
        time.sleep(0.1)
        threads.append(threading.current_thread())
        return []

    monkeypatch.setattr(serve, "stage", stage)
    monkeypatch.setattr(serve, "_code", dict)
    serve._update(None, {})
    (thread,) = threads
    assert thread is not threading.main_thread()
    assert (thread.daemon, thread.is_alive()) == (True, False)
