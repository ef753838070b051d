"""Bugs of the book's machine: each an edit of a module's text, and the test that must catch it.

A module here has the stem of a module of the machine and a list `BUGS`.
"""

import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants import replaced

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Bug:
    """An edit of a module.

    Attributes:
        module: Its dotted name.
        name: What is wrong.
        old: A text that stands once in the module.
        new: What is written in its place.
        killed_by: The test that must fail, as pytest names it; without brackets, one of its cases.
    """

    module: str
    name: str
    old: str
    new: str
    killed_by: str

    def source(self) -> str:
        """Return the module's source with the bug in it."""
        text = inspect.getsource(importlib.import_module(self.module))
        return replaced(text, self.old, self.new, self.module)


def bugs(module: str, tests: str, table: Iterable[tuple[str, str, str, str]]) -> list[Bug]:
    """Make the bugs of a module.

    Args:
        module: Its dotted name.
        tests: The test file of the killers that name no other.
        table: Rows of what is wrong, the old text, the new text and the test that kills it.
    """
    return [
        Bug(module, name, old, new, killer if "::" in killer else f"{tests}::{killer}")
        for name, old, new, killer in table
    ]


@contextmanager
def planted(module: str, source: str) -> Iterator[None]:
    """Give a loaded module another source for a while, wherever its names were imported."""
    loaded = importlib.import_module(module)
    saved = dict(vars(loaded))
    with pytest.MonkeyPatch.context() as patch:
        try:
            exec(compile(source, f"<{module} with a bug>", "exec"), vars(loaded))
            own = {name: x for name, x in saved.items() if getattr(x, "__module__", "") == module}
            other = {id(x): vars(loaded)[name] for name, x in own.items() if name in vars(loaded)}
            for function in filter(inspect.isfunction, own.values()):  # Who holds it, runs it.
                made = other.get(id(function))
                if inspect.isfunction(made) and not function.__closure__:
                    for part in ("__code__", "__defaults__", "__kwdefaults__"):
                        patch.setattr(function, part, getattr(made, part))
            for name, place in [*sys.modules.items()]:
                if name.startswith(("lossbook", "tests.")) and place is not loaded:
                    for key, value in [*vars(place).items()]:
                        if id(value) in other:
                            patch.setattr(place, key, other[id(value)])
            yield
        finally:
            vars(loaded).clear()
            vars(loaded).update(saved)


class Session:
    """A pytest plugin: runs the killer of each bug with the bug planted, and nothing else."""

    def __init__(self, bugs: Iterable[Bug]) -> None:
        self.bugs = list(bugs)
        self.raised: dict[Bug, list[BaseException]] = {bug: [] for bug in self.bugs}

    def run(self, folder: Path) -> None:
        """Run a session of its own for them."""
        files = sorted({bug.killed_by.partition("::")[0] for bug in self.bugs})
        off = ("xdist", "terminal", "cacheprovider", "faulthandler", "logging", "doctest")
        arguments = ["--override-ini=addopts=", "--capture=no", f"--basetemp={folder}"]
        arguments += [f"-pno:{plugin}" for plugin in off]
        code = pytest.main([*arguments, f"--rootdir={ROOT}", *files], plugins=[self])
        assert code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), code

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for bug in self.bugs:
            starts = (f"{bug.killed_by}[", f"{bug.killed_by}::")
            chosen = [
                item
                for item in session.items
                if item.nodeid == bug.killed_by or item.nodeid.startswith(starts)
            ]
            assert chosen, f"there is no test {bug.killed_by}"
            try:
                source = bug.source()
            except ValueError:  # Its own test says so.
                continue
            with planted(bug.module, source):
                self.current = bug
                for item in chosen:
                    if not self.raised[bug]:
                        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        return True

    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        if call.excinfo and not call.excinfo.errisinstance(pytest.skip.Exception):
            self.raised[self.current].append(call.excinfo.value)
