"""What runs inside a chapter's kernel before its first cell."""

import doctest
from typing import Any

DOCTEST = "application/vnd.lossbook.doctest+json"
CHART = "application/vnd.vegalite.v6+json"


def start() -> None:
    """Show Altair charts as their specification, which the page draws."""
    import altair

    def renderer(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {CHART: spec, "text/plain": ""}

    altair.renderers.register("lossbook", renderer)
    altair.renderers.enable("lossbook")


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
