"""Reports a chapter's run to pytest: one item a block, from the run that its page shows too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lossbook.book.runs.chapters import DOCS, Chapter, ChapterError, read, relative
from lossbook.book.runs.run import Result, Run, run


def pytest_collect_file(parent: Any, file_path: Path) -> "ChapterFile | None":
    """Collect every chapter below `docs/`."""
    if file_path.suffix == ".md" and file_path.is_relative_to(DOCS):
        return ChapterFile.from_parent(parent, path=file_path)
    return None


class ChapterFile(pytest.File):
    """A chapter; it is executed once, when its first block is asked for."""

    chapter: Chapter
    ran: Run | None = None

    def collect(self) -> Iterator["BlockItem"]:
        """List the blocks, without running them."""
        try:
            self.chapter = read(self.path)
        except ChapterError as error:
            raise self.CollectError(str(error)) from None
        for i, block in enumerate(self.chapter.blocks):
            yield BlockItem.from_parent(self, name=f"{block.kind}:{block.line}", index=i)

    def result(self, index: int) -> Result:
        """Return what a block did, running the chapter if it has not run."""
        if self.ran is None:
            self.ran = run(self.chapter)
        return self.ran.results[index]


class BlockItem(pytest.Item):
    """One cell or doctest of a chapter."""

    def __init__(self, *, index: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.index = index

    def runtest(self) -> None:
        """Fail if the block failed."""
        file = self.parent
        assert isinstance(file, ChapterFile)
        result = file.result(self.index)
        if result.error:
            raise ChapterError(self.path, result.error_line or result.line, result.error)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show the chapter's error alone, not this plugin's traceback."""
        if isinstance(excinfo.value, ChapterError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Point at the block."""
        file = self.parent
        assert isinstance(file, ChapterFile)
        line = file.chapter.blocks[self.index].line
        return self.path, line - 1, f"{relative(self.path)}:{line}"
