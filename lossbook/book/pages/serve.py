"""Serves the book while it is written: a chapter that is saved runs again, and the page reloads.

Pages are there at once. What has not run yet says so, and fills in as chapters end; then the
contract runs and fills the cards.
"""

import os
import subprocess
import sys
from pathlib import Path

from lossbook.book.pages import card
from lossbook.book.pages.stage import stage
from lossbook.book.runs import chapters, run
from lossbook.book.runs.chapters import BUILD, DOCS, ROOT


def serve(address: str = "localhost:8000") -> int:
    """Stage the book, serve it, and keep it current until interrupted."""
    from watchfiles import watch

    os.environ |= {"SITE_URL": f"http://{address}/", "NO_MKDOCS_2_WARNING": "1"}
    code = _code()
    stage(watch_tree=False, wait=False)
    command = [sys.executable, "-m", "mkdocs", "serve", "--quiet", "--no-strict", "--dirty"]
    command += ["--dev-addr", address, "--config-file", str(BUILD / "mkdocs.yml")]
    server = subprocess.Popen(command, cwd=ROOT)
    print(f"\nThe book will be at http://{address}/ in a few seconds (Ctrl-C ends it).", flush=True)
    waiting = [c.path for c in sorted(chapters.load()[0], key=_place) if run.cached(c) is None]
    unvetted, contract = card.stale(), None
    try:
        for changes in watch(DOCS, ROOT / "lossbook", yield_on_timeout=True, rust_timeout=1000):
            if server.poll() is not None:
                return server.returncode
            paths = {Path(path) for _, path in changes if not path.endswith((".ipynb", ".pyc"))}
            if paths:
                pages = [p for p in paths if p.suffix == ".md" and p.exists()]
                _update(pages if len(pages) == len(paths) else None, code)
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
                print("The cards are filled.", flush=True)
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


def _code() -> dict[Path, int]:
    """The time of every Python file that staging may have loaded."""
    return {path: path.stat().st_mtime_ns for path in (ROOT / "lossbook").rglob("*.py")}


def _update(only: list[Path] | None, loaded: dict[Path, int]) -> None:
    """Stage; in a process of its own once lossbook's code is no longer what is loaded."""
    if _code() == loaded:
        for error in stage(only=only, watch_tree=False, report=print):
            print(f"\n{error}", file=sys.stderr)
        return
    chosen = [str(path) for path in only or []]
    command = [sys.executable, "-m", "lossbook.book", "stage", "--keep-going", *chosen]
    subprocess.run(command, cwd=ROOT, check=False)
