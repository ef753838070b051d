"""What runs inside a chapter's kernel: doctests, charts, and a watch on what is printed."""

import ast
import builtins
import doctest
import re
import sys
from contextlib import suppress
from textwrap import indent
from typing import Any

DOCTEST = "application/vnd.lossbook.doctest+json"
CHART = "application/vnd.vegalite.v6+json"
NUMBER = re.compile(r"-?\d+\.?(\d*)(?:e([+-]?\d+))?")


def start() -> None:
    """Prepare the kernel: charts as specifications, and the watches."""
    import altair
    from IPython import get_ipython

    def renderer(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {CHART: spec, "text/plain": ""}

    altair.renderers.register("lossbook", renderer)
    altair.renderers.enable("lossbook")
    shell = get_ipython()
    shell.ast_transformers.append(Watch())
    shell.user_ns.update(_steady=steady, _shown=shown, _rounded=rounded)
    shell.events.register("post_run_cell", watch_random())


def check(source: str, path: str, line: int) -> None:
    """Run a `pycon` block as a doctest in the chapter's namespace.

    `line` is that of the opening fence. What differs is displayed as JSON, for the runner.
    """
    from IPython import get_ipython
    from IPython.display import display

    said: list[str] = []
    examples = doctest.DocTestParser().get_examples(source, path)
    written = {}
    for example in examples:
        with suppress(SyntaxError):  # The doctest reports it.
            watched = Watch().visit(ast.parse(example.source))
            watched = ast.unparse(ast.fix_missing_locations(watched)) + "\n"
            written[indent(watched, "    ")] = indent(example.source, "    ")
            example.source = watched
    test = doctest.DocTest(examples, {}, path, path, line, None)
    test.globs = get_ipython().user_ns
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test, out=said.append, clear_globs=False)
    if not examples:
        said.append(f"{path}:{line}: a pycon block without a prompt\n")
    if said:
        report = "".join(said)
        for watched, source in written.items():
            report = report.replace(watched, source)
        display({DOCTEST: report, "text/plain": ""}, raw=True)


class Watch(ast.NodeTransformer):
    """Sends every number that is about to be printed through `steady`.

    A digit on a rounding boundary is printed differently by the next processor or release.
    """

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Watch the last expression, which is shown."""
        self.generic_visit(node)
        if node.body and isinstance(last := node.body[-1], ast.Expr):
            last.value = _call("_shown", last.value)
        return node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        """Watch `{value:.3f}`."""
        self.generic_visit(node)
        spec = node.format_spec
        if isinstance(spec, ast.JoinedStr) and all(
            isinstance(p, ast.Constant) for p in spec.values
        ):
            text = "".join(str(p.value) for p in spec.values if isinstance(p, ast.Constant))
            node.value = _call("_steady", node.value, ast.Constant(text))
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Watch `round(value, digits)` and what `print` is given."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "round" and node.args:
            node.func.id = "_rounded"
        elif isinstance(node.func, ast.Name) and node.func.id == "print":
            node.args = [a if isinstance(a, ast.Starred) else _call("_shown", a) for a in node.args]
        return node


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def steady(value: Any, spec: str) -> Any:
    """Return a value that is about to be formatted, unless its last digit is a matter of luck."""
    number = getattr(value, "item", lambda: value)() if not _many(value) else None
    if isinstance(number, float):
        _compare(format(number, spec), number)
    return value


def rounded(value: Any, digits: int | None = None) -> Any:
    """Round as `round` does, watching the last digit."""
    result = builtins.round(value, digits)
    number = getattr(value, "item", lambda: value)()
    if isinstance(number, float):
        _compare(f"{number:.{max(digits or 0, 0)}f}", number)
    return result


def shown(value: Any) -> Any:
    """Watch the numbers of a tensor that is about to be shown, or of several in a tuple."""
    import torch

    for item in value if isinstance(value, (tuple, list)) else (value,):
        if isinstance(item, torch.Tensor) and item.is_floating_point() and item.numel() < 1000:
            numbers = [m[0] for m in NUMBER.finditer(repr(item).split("dtype")[0])]
            values = item.detach().double().flatten().tolist()
            if len(numbers) == len(values):
                for text, number in zip(numbers, values, strict=True):
                    _compare(text, number)
    return value


def _many(value: Any) -> bool:
    return getattr(value, "numel", lambda: 1)() != 1


def _compare(text: str, number: float) -> None:
    """Refuse a printed text whose last digit would turn with a thousandth of its unit."""
    match = NUMBER.search(text)
    if match is None or "%" in text:
        return
    unit = 10.0 ** (int(match[2] or 0) - len(match[1] or ""))
    if abs(abs(float(match[0]) - number) / unit - 0.5) < 1e-3:
        raise ValueError(f"{text.strip()} is printed from {number!r}, on a rounding boundary")


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
