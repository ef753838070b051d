"""The book, staged once for all test files: into a folder of its own, from cached runs."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from lossbook.book import chapters, run, stage
from lossbook.book.chapters import Chapter, ChapterError
from lossbook.book.run import Run


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
