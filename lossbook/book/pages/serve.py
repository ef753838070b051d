"""Serves the book while it is written: a chapter that is saved runs again, and the page reloads."""

import os
import subprocess
import sys
from pathlib import Path

from lossbook.book.pages.stage import stage
from lossbook.book.runs.chapters import BUILD, DOCS, ROOT


def serve(address: str = "localhost:8000") -> int:
    """Stage the book, serve it, and keep it current until interrupted."""
    from watchfiles import watch

    os.environ |= {"SITE_URL": f"http://{address}/", "NO_MKDOCS_2_WARNING": "1"}
    code = _code()
    _update(None, code)
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "serve",
        "--no-strict",
        "--dirty",
        "--dev-addr",
        address,
    ]
    server = subprocess.Popen([*command, "--config-file", str(BUILD / "mkdocs.yml")], cwd=ROOT)
    print(f"\nThe book is at http://{address}/ (Ctrl-C ends it)\n", flush=True)
    try:
        for changes in watch(DOCS, ROOT / "lossbook", yield_on_timeout=True, rust_timeout=1000):
            if server.poll() is not None:
                return server.returncode
            paths = {Path(path) for _, path in changes if not path.endswith((".ipynb", ".pyc"))}
            if paths:
                chapters = [p for p in paths if p.suffix == ".md" and p.exists()]
                _update(chapters if len(chapters) == len(paths) else None, code)
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        server.wait()
    return 0


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
