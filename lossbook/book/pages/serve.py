"""Serves the book while it is written: a chapter that is saved runs again, and the page reloads.

Pages are there before their chapters run. What has not run yet says so, and fills in as chapters
end; then the contract runs and fills the cards. Zensical serves: of MkDocs and it, it builds the
changed page alone.
"""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from lossbook.book.pages import card
from lossbook.book.pages.stage import stage
from lossbook.book.runs import chapters, run
from lossbook.book.runs.chapters import BUILD, DOCS, ROOT


def serve(address: str = "localhost:8000") -> int:
    """Stage the book, serve it, and keep it current until interrupted."""
    from watchfiles import watch

    if not re.fullmatch(r".+:\d+", address) or _answers(address):
        print(f"expected a free address such as localhost:8001, got {address}", file=sys.stderr)
        return 1
    url = os.environ["SITE_URL"] = f"http://{address}/"
    code = _code()
    print("The pages are made, before their chapters run.", flush=True)
    stage(watch_tree=False, wait=False)
    server, news = _start(address), f"The book is at {url} (Ctrl-C ends it)."
    waiting = [c.path for c in sorted(chapters.load()[0], key=_place) if run.cached(c) is None]
    unvetted = card.stale()
    contract: subprocess.Popen[Any] | None = None
    try:
        for changes in watch(DOCS, ROOT / "lossbook", yield_on_timeout=True, rust_timeout=1000):
            if server.poll() is not None:
                return server.returncode
            paths = {Path(path) for _, path in changes if not path.endswith((".ipynb", ".pyc"))}
            if paths:
                pages = [p for p in paths if p.suffix == ".md" and p.exists()]
                _update(pages if len(pages) == len(paths) else None, code)
            elif news:
                if _there(url):
                    print(f"\n{news}\n", flush=True)
                    news = ""
            elif waiting:
                _update(waiting[:2], code)
                waiting = waiting[2:]
                if not waiting:
                    _update(None, code)  # What is drawn from several chapters.
            elif unvetted:
                print(f"The contract runs on {len(unvetted)} losses, for their cards.", flush=True)
                tests = [sys.executable, "-m", "tests.contract", *unvetted]
                contract = subprocess.Popen(tests, cwd=ROOT, stdout=subprocess.DEVNULL)
                unvetted = []
            elif contract is not None and contract.poll() is not None:
                contract = None
                _update(None, code)
                server.terminate()  # It would build one page after another, all of them at each.
                server.wait()
                server, news = _start(address), "The cards are filled."
    except KeyboardInterrupt:
        pass
    finally:
        for process in filter(None, (server, contract)):
            process.terminate()
            process.wait()
    return 0


def _place(chapter: chapters.Chapter) -> int:
    """Where a chapter stands in the book: its start, the families of the navigation, the rest."""
    parts = ["index", "choose", "symptoms", "foundations", *chapters.families()]
    part = chapter.name.partition("/")[0]
    return parts.index(part) if part in parts else len(parts)


def _answers(address: str) -> bool:
    """Whether somebody is at an address."""
    host, _, port = address.rpartition(":")
    with suppress(OSError, OverflowError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def _start(address: str) -> subprocess.Popen[Any]:
    """Start the server."""
    command = [sys.executable, "-m", "zensical", "serve", "--dev-addr", address]
    command += ["--config-file", str(BUILD / "zensical.yml")]
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    server = subprocess.Popen(command, cwd=ROOT, **quiet)
    assert server.stderr is not None
    threading.Thread(target=_complain, args=[server.stderr], daemon=True).start()
    return server


def _complain(lines: Iterable[str]) -> None:
    """Print what a generator complains of."""
    for line in lines:
        if line.strip() and "No issues found" not in line:
            print(line, end="", file=sys.stderr, flush=True)


def _there(url: str) -> bool:
    """Whether the first build is there."""
    with suppress(OSError), urlopen(url, timeout=1):
        return True
    return False


def _code() -> dict[Path, int]:
    """The time of every Python file that staging may have loaded."""
    return {path: path.stat().st_mtime_ns for path in (ROOT / "lossbook").rglob("*.py")}


def _update(only: list[Path] | None, loaded: dict[Path, int]) -> None:
    """Stage; in a process of its own once lossbook's code is no longer what is loaded."""
    if _code() == loaded:
        # In a thread, for in the main one nbclient keeps an interruption to itself.
        thread = threading.Thread(target=_stage, args=[only], daemon=True)
        thread.start()
        thread.join()
        return
    chosen = [str(path) for path in only or []]
    command = [sys.executable, "-m", "lossbook.book", "stage", "--keep-going", *chosen]
    subprocess.run(command, cwd=ROOT, check=False)


def _stage(only: list[Path] | None) -> None:
    """Stage here, each page as its chapter ends."""

    def ended(line: str) -> None:
        print(line, flush=True)
        if only and len(only) > 1:
            stage(only=only, watch_tree=False, wait=False)

    for error in stage(only=only, watch_tree=False, report=ended):
        print(f"\n{error}", file=sys.stderr)
