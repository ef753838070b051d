"""Serves the book while it is written: a chapter that is saved runs again, and the page reloads."""

import os
import subprocess
import sys
from pathlib import Path

from lossbook.book.chapters import BUILD, DOCS, ROOT
from lossbook.book.stage import stage


def serve(address: str = "localhost:8000") -> int:
    """Stage the book, serve it, and keep it current until interrupted."""
    from watchfiles import watch

    _update(None)
    environment = {**os.environ, "SITE_URL": f"http://{address}/", "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "serve", "--no-strict", "--dev-addr", address]
    server = subprocess.Popen(
        [*command, "--config-file", str(BUILD / "mkdocs.yml")], cwd=ROOT, env=environment
    )
    print(f"\nThe book is at http://{address}/ (Ctrl-C ends it)\n", flush=True)
    try:
        for changes in watch(DOCS, ROOT / "lossbook", yield_on_timeout=True, rust_timeout=1000):
            if server.poll() is not None:
                return server.returncode
            paths = {Path(path) for _, path in changes if not path.endswith((".ipynb", ".pyc"))}
            if paths:
                chapters = [p for p in paths if p.suffix == ".md" and p.exists()]
                _update(chapters if len(chapters) == len(paths) else None)
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        server.wait()
    return 0


def _update(only: list[Path] | None) -> None:
    """Stage, in a process of its own: edited code of lossbook must be loaded afresh."""
    chosen = [str(path) for path in only or []]
    subprocess.run(
        [sys.executable, "-m", "lossbook.book", "stage", "--keep-going", *chosen],
        cwd=ROOT,
        env={**os.environ, "SITE_URL": "http://localhost:8000/"},
        check=False,
    )


__all__ = ["serve", "stage"]
