"""The book, staged once for all test files: into a folder of its own, from cached runs."""

import functools
import http.server
import itertools
import json
import os
import re
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from playwright.sync_api import sync_playwright

from lossbook.book.__main__ import slim
from lossbook.book.pages import slides, stage, tex
from lossbook.book.runs import chapters, run
from lossbook.book.runs.chapters import Chapter, ChapterError
from lossbook.book.runs.run import Run
from tests.book.browser import DESK, FLAGS, NO_INDEX, SITE, Handler, executable

# What the generators say of a build that goes well.
QUIET = r"INFO|Build (started|finished)|No issues found|\s*$"

# Bytes a second and milliseconds.
SLOW = {"offline": False, "latency": 60, "downloadThroughput": 750e3, "uploadThroughput": 125e3}


@dataclass
class Book:
    """What staging left: the pages in `folder / "docs"`, and what was wrong."""

    folder: Path
    chapters: list[Chapter]
    errors: list[ChapterError]

    def page(self, chapter: Chapter) -> str:
        return tex.unpacked((self.folder / f"docs/{chapter.name}.md").read_text())

    def run(self, chapter: Chapter) -> Run:
        """The run that the page shows; it must not have failed."""
        wrong = [str(e) for e in self.errors if e.path == chapter.path]
        assert wrong == []
        done = run.cached(chapter)
        assert done is not None
        return done


@pytest.fixture(scope="session")
def book(tmp_path_factory, worker_id):
    """Stage the book; with several workers, the first that asks does it for all."""
    shared = tmp_path_factory.getbasetemp()
    folder = (shared if worker_id == "master" else shared.parent) / "book"
    found = folder.with_suffix(".json")
    with FileLock(f"{folder}.lock"), pytest.MonkeyPatch.context() as patch:
        if not found.exists():
            patch.setattr(stage, "BUILD", folder)
            patch.setattr(stage, "STAGED", folder / "docs")
            errors = [(str(e.path), e.line, e.message) for e in stage.stage(watch_tree=False)]
            found.write_text(json.dumps(errors))
        errors = [ChapterError(Path(path), *rest) for path, *rest in json.loads(found.read_text())]
    return Book(folder, chapters.load()[0], errors)


def build(folder, generator, name):
    """Build what is staged in a folder, with "mkdocs" or "zensical", into `folder / name`.

    Returns what the generator complained of.
    """
    settings = yaml.safe_load((folder / f"{generator}.yml").read_text())
    settings |= {"site_dir": name, "site_url": SITE, "watch": []}
    settings["strict"] = False  # One dead link must not hide every page from every test.
    for plugin in settings["plugins"]:
        if isinstance(plugin, dict) and "mkdocstrings" in plugin:
            plugin["mkdocstrings"]["handlers"]["python"]["paths"] = [str(chapters.ROOT)]
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    done = subprocess.run(
        [sys.executable, "-m", generator, "build", "--clean", "--config-file", path],
        cwd=folder,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
    return "\n".join(line for line in said.splitlines() if not re.match(QUIET, line))


@pytest.fixture(scope="session")
def built(book):
    """The folder of the site that MkDocs builds, once for all, and what it complained of."""
    folder, said = book.folder / "site-mkdocs", book.folder / "site-mkdocs.txt"
    with FileLock(f"{folder}.lock"):
        if not said.exists():
            complaints = build(book.folder, "mkdocs", folder.name)
            slides.make(folder, book.chapters)
            slim(folder / "search" / "search_index.json")
            said.write_text(complaints)
    return folder, said.read_text()


@pytest.fixture(scope="module")
def port(built):
    """Serve the site."""
    handler = functools.partial(Handler, directory=built[0])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(port):
    """A browser in which `SITE` is the server's address, whatever its port."""
    with sync_playwright() as playwright:
        path = executable(playwright)
        if path is None:
            pytest.skip("no Chromium: none on the path, and Playwright has none of its own")
        host = SITE.removeprefix("http://").rstrip("/")
        flags = [*FLAGS, f"--host-resolver-rules=MAP {host} 127.0.0.1:{port}"]
        with playwright.chromium.launch(executable_path=path, args=flags) as browser:
            yield browser


@pytest.fixture(scope="module")
def tabs():
    """What tests of one file have opened, by how it was opened: to make a window costs a second."""
    opened = defaultdict(list)
    yield opened
    for page in itertools.chain(*opened.values()):
        page.context.close()


@pytest.fixture
def visit(browser, tabs):
    """Open pages; none may report an error or ask another host for anything.

    The theme loads the whole search index with every page; without `search` it is empty. With
    `share`, tests that leave a page as they found it look at the same one. `slow` is a telephone's
    network.
    """
    seen = []

    def listen(page):
        def hear(message):
            if message.type in ("error", "warning"):
                page.wrong.append(f"{message.type}: {message.text}")

        def see(request):
            page.asked.append(request.url)
            if not request.url.startswith((SITE, "data:", "blob:")):
                page.wrong.append(f"another host: {request.url}")

        def fail(request):
            if request.failure != "net::ERR_ABORTED":  # The page was left meanwhile.
                page.wrong.append(f"failed: {request.url}")

        page.asked, page.wrong = [], []
        page.on("console", hear)
        page.on("pageerror", lambda error: page.wrong.append(f"uncaught: {error}"))
        page.on("requestfailed", fail)
        page.on("request", see)

    def new(*, search=False, slow=False, **options):
        context = browser.new_context(**options)
        context.set_default_timeout(15_000)
        if not search:
            context.route("**/search_index.json", lambda route: route.fulfill(json=NO_INDEX))
        page = context.new_page()
        listen(page)
        if slow:
            context.new_cdp_session(page).send("Network.emulateNetworkConditions", SLOW)
        return page

    def load(page, path, options):
        page.goto("about:blank")
        page.asked.clear()
        page.wrong.clear()
        page.set_viewport_size(options["viewport"])
        page.emulate_media(media="screen", color_scheme=options["color_scheme"])
        page.goto(SITE + path)
        page.wait_for_load_state("networkidle")
        # The theme's script chooses the scheme.
        if options["color_scheme"] == "dark" and options.get("java_script_enabled", True):
            page.locator("body[data-md-color-scheme=slate]").wait_for()

    def opened(path, *, share=False, **options):
        options = {"viewport": DESK, "color_scheme": "light"} | options
        known = tabs[path if share else None, repr(sorted(options.items()))]
        free = [page for page in known if page not in seen]
        if share and known:
            page = known[0]
        elif free and not options.get("slow"):  # What is fetched slowly is fetched anew.
            page = free[0]
            load(page, path, options)
        else:
            page = new(**options)
            known.append(page)
            load(page, path, options)
        if page not in seen:
            seen.append(page)
        return page

    yield opened
    assert [wrong for page in seen for wrong in page.wrong] == []
