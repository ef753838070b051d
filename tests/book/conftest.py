"""The book, staged once for all test files: into a folder of its own, from cached runs."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from lossbook.book.pages import stage
from lossbook.book.runs import chapters, run
from lossbook.book.runs.chapters import Chapter, ChapterError
from lossbook.book.runs.run import Run

# What the generators say of a build that goes well.
QUIET = r"INFO|Build (started|finished)|No issues found|\s*$"


@dataclass
class Book:
    """What staging left: the pages in `folder / "docs"`, and what was wrong."""

    folder: Path
    chapters: list[Chapter]
    errors: list[ChapterError]

    def page(self, chapter: Chapter) -> str:
        return (self.folder / f"docs/{chapter.name}.md").read_text()

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
    with FileLock(f"{folder}.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "BUILD", folder)
        patch.setattr(stage, "STAGED", folder / "docs")
        errors = stage.stage(watch_tree=False)
    return Book(folder, chapters.load()[0], errors)


def build(folder, generator, name, site_url=None):
    """Build what is staged in a folder, with "mkdocs" or "zensical", into `folder / name`.

    Returns what the generator complained of.
    """
    settings = yaml.safe_load((folder / f"{generator}.yml").read_text())
    settings |= {"site_dir": name, "site_url": site_url or settings["site_url"], "watch": []}
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
