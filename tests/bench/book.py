"""Times the book: cold and warm builds, one edited chapter, the tests, and the weight of a page.

It works in a clone of the last commit, so that nothing of this folder is touched or reused.
"""

import functools
import gzip
import http.server
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from lossbook.book.runs.chapters import ROOT
from tests.book.browser import FLAGS, Handler, executable


def main() -> int:
    """Measure, printing each figure as it comes."""
    with tempfile.TemporaryDirectory(prefix="lossbook-bench-") as folder:
        clone = Path(folder) / "lossbook"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        (clone / "node_modules").symlink_to(ROOT / "node_modules")
        print(f"On {os.cpu_count()} cores.\n")

        def timed(what: str, *command: str) -> float:
            """Run a module in the clone; print and return its seconds."""
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=clone,
                env={**os.environ, "PYTHONPATH": str(clone), "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            seconds = time.perf_counter() - start
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{what}: {seconds:.1f} s, {spent:.0f} s of processor time", flush=True)
            if done.returncode:
                print(done.stdout[-2000:], done.stderr[-2000:], sep="\n")
            return seconds

        timed("the contract, from nothing", "tests.contract")
        timed("every chapter, from nothing", "lossbook.book", "stage")
        runs = {p.stem: json.loads(p.read_text())["seconds"] for p in clone.glob("build/runs/*")}
        for name in sorted(runs, key=runs.__getitem__, reverse=True)[:5]:
            print(f"  {name}: {runs[name]:.1f} s")
        middle = statistics.median(runs.values())
        print(f"  median of {len(runs)} chapters: {middle:.1f} s")
        timed("the site, chapters having run", "lossbook.book", "build")
        timed("the site again, nothing changed", "lossbook.book", "build")
        timed("staging again, nothing changed", "lossbook.book", "stage")
        chapter = clone / "docs/regression/huber.md"
        chapter.write_text(chapter.read_text() + "\nOne line more.\n")
        timed("staging one edited chapter", "lossbook.book", "stage", str(chapter))
        edited = json.loads((clone / "build/runs/regression.huber.json").read_text())
        print(f"  of which its own run: {edited['seconds']:.1f} s")
        weigh(clone / "site")
        timed("the tests", "pytest", "-q")
    return 0


def weigh(site: Path) -> None:
    """Print what each page loads before anyone touches it, compressed."""
    from playwright.sync_api import sync_playwright

    handler = functools.partial(Handler, directory=site)
    pages = sorted(p.parent.relative_to(site).as_posix() for p in site.glob("*/*/index.html"))
    pages = [page for page in pages if not page.startswith("api/")]
    weights = {}
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as playwright,
    ):
        path = executable(playwright)
        if path is None:
            print("page weights: not measured, there is no Chromium")
            return
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        for name in pages:
            asked: set[str] = set()
            page = browser.new_page()
            page.on("request", lambda request, asked=asked: asked.add(request.url))
            page.goto(f"{address}{name}/")
            page.wait_for_load_state("networkidle")
            files = {site / url.removeprefix(address).partition("?")[0] for url in asked}
            files = {file / "index.html" if file.is_dir() else file for file in files}
            sizes = {f: len(gzip.compress(f.read_bytes())) for f in files if f.is_file()}
            weights[name] = sum(
                size for file, size in sizes.items() if file.name != "search_index.json"
            )
            page.close()
        browser.close()
        server.shutdown()
    index = len(gzip.compress((site / "search/search_index.json").read_bytes()))
    heaviest = max(weights, key=weights.__getitem__)
    print(
        f"page weights, compressed: largest {weights[heaviest] / 1000:.0f} KB ({heaviest}), "
        f"median {statistics.median(weights.values()) / 1000:.0f} KB of {len(weights)} pages; "
        f"the search index, loaded behind them, {index / 1000:.0f} KB"
    )
