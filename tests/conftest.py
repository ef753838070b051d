"""Makes one test item of every check on every case, and holds the options of the battery."""

import logging
import os

import pytest
import torch

from tests import contract


def pytest_addoption(parser):
    group = parser.getgroup("lossbook")
    group.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="for check 'device'")
    group.addoption("--slow", action="store_true", help="run what takes more than ten seconds")


@pytest.hookimpl(optionalhook=True)  # The sessions of the mutants have no xdist.
def pytest_xdist_auto_num_workers():
    """One more than there are cores: who opens pages waits a third of the time."""
    return (os.cpu_count() or 1) + 1


def pytest_configure():
    torch.set_num_threads(1)  # Inputs are tiny; threads only wait for each other.
    torch._logging.set_logs(all=logging.CRITICAL)  # A failure shows its reason, not these.


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def pytest_pycollect_makeitem(collector, name, obj):
    """Turn a test file's `cases()` into items, so that one file holds all tests of its losses."""
    if name == "cases" and isinstance(collector, pytest.Module):
        return [
            Check.from_parent(collector, name=f"{case.name}[{check}]", case=case, check=check)
            for case in obj()
            for check in contract.CHECKS
        ]
    return None


def pytest_runtest_teardown(item, nextitem):
    """Record a case when the last of its checks has run: a file a case, not a file a check."""
    if isinstance(item, Check) and getattr(nextitem, "case", None) is not item.case:
        contract.record(item.case, item.path, item.config.stash.get(RESULTS, {}))
        item.config.stash[RESULTS] = {}


RESULTS = pytest.StashKey[dict]()


class Check(pytest.Item):
    def __init__(self, *, case, check, **kwargs):
        super().__init__(**kwargs)
        self.case, self.check = case, check

    def runtest(self):
        options = contract.Options(
            self.config.getoption("--device"), self.config.getoption("--slow")
        )
        result = contract.run(self.case, self.check, options)
        self.config.stash.setdefault(RESULTS, {})[self.check] = result
        if result["status"] == "failed":
            pytest.fail(result["reason"], pytrace=False)
        if result["status"] == "not run":
            pytest.skip(f"not run: {result['reason']}")

    def reportinfo(self):
        return self.path, None, self.name
