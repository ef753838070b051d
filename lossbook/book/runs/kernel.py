"""What runs inside a chapter's kernel: doctests, charts, and a watch on what it depends on."""

import doctest
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import lossbook

DOCTEST = "application/vnd.lossbook.doctest+json"
CHART = "application/vnd.vegalite.v6+json"
NEEDS = "application/vnd.lossbook.needs+json"
ROOT = Path(lossbook.__file__).resolve().parents[1]
_opened: set[str] = set()


def start() -> None:
    """Prepare the kernel: charts as specifications, and the watches."""
    sys.addaudithook(_note)
    import altair
    from IPython import get_ipython

    def renderer(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {CHART: spec, "text/plain": ""}

    altair.renderers.register("lossbook", renderer)
    altair.renderers.enable("lossbook")
    get_ipython().events.register("post_run_cell", watch_random())


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """Remember the files that are opened."""
    if event == "open" and isinstance(arguments[0], str):
        _opened.add(os.path.abspath(arguments[0]))


def needs() -> None:
    """Display, for the runner, what was loaded of this repository.

    Of `lossbook/__init__.py` those are the names that were asked for: its other lines are nothing
    to this chapter.
    """
    from IPython.display import display

    loaded = {getattr(module, "__file__", None) or "" for module in [*sys.modules.values()]}
    real = cache(os.path.realpath)  # The files are thousands, their folders hundreds.
    split = (os.path.split(file) for file in loaded | _opened)
    paths = (Path(real(folder), name) for folder, name in split)
    files = {path.relative_to(ROOT).as_posix() for path in paths if path.is_relative_to(ROOT)}
    # Versions stand for .venv.
    made = re.compile(r"\.|(build|site|node_modules|[^/]*\.egg-info)/|.*\.pyc$")
    files = {file for file in files if not made.match(file)}
    names = {f"lossbook.{name}" for name in lossbook._HOMES.keys() & vars(lossbook).keys()}
    found = sorted(files - {"lossbook/__init__.py"} | names)
    display({NEEDS: found, "text/plain": ""}, raw=True)


def check(source: str, path: str, line: int) -> None:
    """Run a `pycon` block as a doctest in the chapter's namespace.

    `line` is that of the opening fence. What differs is displayed as JSON, for the runner.
    """
    from IPython import get_ipython
    from IPython.display import display

    said: list[str] = []
    examples = doctest.DocTestParser().get_examples(source, path)
    test = doctest.DocTest(examples, {}, path, path, line, None)
    test.globs = get_ipython().user_ns
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test, out=said.append, clear_globs=False)
    if not examples:
        said.append(f"{path}:{line}: a pycon block without a prompt\n")
    if said:
        display({DOCTEST: "".join(said), "text/plain": ""}, raw=True)


def watch_random() -> Any:
    """Make a callback that reports a cell which drew from torch's random generator.

    Its streams change between releases; NumPy's PCG64 does not.
    """
    import torch

    state = torch.get_rng_state()

    def watch(*_: Any) -> None:
        nonlocal state
        now = torch.get_rng_state()
        if not torch.equal(state, now):
            state = now
            print("it drew from torch's random generator; use NumPy's", file=sys.stderr)

    return watch
