"""The page of the same losses in other libraries: what the chapters' cells compared, twice ordered.

By loss, each pair of calls stands below its inputs, so that it can be run as it is printed. By
library, each of its functions leads to the losses that it is.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any

from lossbook.book.peers import PEERS, TORCH
from lossbook.book.runs.chapters import Chapter, ChapterError
from lossbook.book.runs.run import Run

PREAMBLE = """\
import numpy as np
import torch
from torch.nn import functional as F

from lossbook import *
from lossbook.book import experiments
"""
INTRODUCTION = f"""# Elsewhere

The calls in other libraries that give the number of lossbook, and the calls that only look the
same. Each was run by the chapter that it links to, or says why it was not, on the inputs above it
and below these lines:

```py
{PREAMBLE}```

PyTorch, {", ".join(f"`{name[:-1]}`" for name in TORCH)} take the tensors, every other library
their `.numpy()`.
"""
# A cross entropy of Keras that is told to expect probabilities.
_PROBABILITIES = re.compile(r"keras\.losses\.\w+Crossentropy\((?!.*from_logits=True)")
KERAS = (
    "Run with `KERAS_BACKEND=torch`. On TensorFlow, the default, what `keras.activations.sigmoid` "
    "and `softmax` return carries its logits, and a cross entropy computes from these, whatever "
    "`from_logits` says: [`_get_logits` of Keras 3.15](https://github.com/keras-team/keras/blob/"
    "v3.15.1/keras/src/backend/tensorflow/nn.py), read and not run here. The calls that say so "
    "below are given arrays, which carry none.\n"
)
_CARRIED = '; on TensorFlow, <a href="#keras">a sigmoid or softmax of Keras carries its logits</a>'
# What a call is not about where it names anything else of a library.
_HELPERS = (
    *("np.", "torch.", "keras.ops.", "jax.nn.", "scipy.special.softmax", "F.normalize"),
    *("F.one_hot", "F.pairwise_distance", "optax.losses.smooth_labels"),
)
# What has names of its own inside a statement.
_SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Compared:
    """One cell's comparison: the calls as they are typed, below what makes their inputs.

    Attributes:
        loss: The public name that the calls are peers of.
        chapter: Whose cell it is.
        inputs: The assignments of the names that the calls use.
        ours: The call of lossbook.
        rows: The other calls: library, call, whether they must agree, outcome.
    """

    loss: str
    chapter: Chapter
    inputs: str
    ours: str
    rows: list[dict[str, Any]]

    @property
    def short(self) -> str:
        """The loss with the settings of the call."""
        for node in ast.walk(ast.parse(self.ours)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == self.loss:
                settings = ", ".join(ast.unparse(k) for k in node.keywords)
                return f"{self.loss}({settings})" if settings else self.loss
        return self.loss


def page(chapters: Sequence[Chapter], runs: Sequence[Run]) -> str:
    """Write the page.

    Args:
        chapters: Whose cells compare.
        runs: Theirs, in the same order.

    Raises:
        ChapterError: If a comparison cannot be read from its cell.
    """
    pairs = zip(chapters, runs, strict=True)
    found = [one for chapter, run in pairs for one in comparisons(chapter, run)]
    losses: dict[str, list[Compared]] = defaultdict(list)
    for one in found:
        losses[one.loss].append(one)
    text = f"{INTRODUCTION}\n## By library\n\n{_by_library(found)}\n## By loss\n"
    for loss, compared in sorted(losses.items(), key=lambda item: item[0].lower()):
        text += f"\n### `{loss}` {{ #{loss} }}\n"
        chapter = None
        for (of, above), same in groupby(compared, key=lambda one: (one.chapter, one.inputs)):
            if of != chapter:
                chapter = of
                text += f"\n[{of.title}]({of.name}.md#elsewhere)\n"
            text += f"\n```py\n{above}\n```\n\n{_table(same)}\n"
    return text


def _table(compared: Iterable[Compared]) -> str:
    """Draw calls on the same inputs: each of lossbook, and those that it is compared with."""
    body = ""
    for one in compared:
        rows = [("lossbook", one.ours, "")]
        for row in one.rows:
            carried = _CARRIED if _PROBABILITIES.search(row["call"]) else ""
            rows.append((row["library"].strip(), row["call"], escape(row["outcome"]) + carried))
        body += "".join(
            f"<tr><td>{escape(library)}</td>"
            f"<td><code>{escape(' '.join(call.split()), quote=False)}</code></td>"
            f"<td>{outcome}</td></tr>"
            for library, call, outcome in rows
        )
    head = "<tr><th>library</th><th>call</th><th>outcome</th></tr>"
    table = f'<table class="data"><thead>{head}</thead><tbody>{body}</tbody></table>'
    return f'<div class="output table">{table}</div>'


# By library --------------------------------------------------------------------------------------


def _by_library(found: Sequence[Compared]) -> str:
    """List the functions of each library, with the losses that they are."""
    libraries: dict[str, dict[str, dict[str, list[str]]]] = {}
    for one in found:
        for row in one.rows:
            library = re.split(r", |\.", row["library"].strip().replace("torch.", "PyTorch."))[0]
            functions, alone = _functions(row["call"], one.inputs)
            kind = "differs" if not row["equal"] else "is" if alone else "part"
            link = f"[`{one.short}`](#{one.loss})"
            link += " (not run)" if row["outcome"].startswith("not run") else ""
            for function in functions or ["written out"]:
                columns = libraries.setdefault(library, {}).setdefault(function, {})
                links = columns.setdefault(kind, [])
                if link not in links:
                    links.append(link)
    text = ""
    for library, rows in sorted(libraries.items(), key=lambda item: -len(item[1])):
        anchor = re.sub(r"\W+", "-", library.lower())
        text += f"### I come from {library} {{ #{anchor} }}\n\n"
        text += f"{KERAS}\n" if library == "Keras" else ""
        text += '<div class="calls" markdown>\n\n'
        text += "| your call | is | is a part of | only looks like |\n|---|---|---|---|\n"
        for function in sorted(rows, key=lambda name: (name == "written out", name.lower())):
            cells = [", ".join(rows[function].get(kind, [])) for kind in ("is", "part", "differs")]
            name = function if function == "written out" else f"`{function}`"
            text += f"| {' | '.join([name, *cells])} |\n"
        text += "\n</div>\n\n"
    return text


def _functions(call: str, inputs: str) -> tuple[list[str], bool]:
    """Return what a call takes from the library that it names first, and whether it is all of it.

    A sum over an axis or an index behind a call is its reduction; arithmetic is more.
    """
    tree = ast.parse(call, mode="eval").body
    bound = {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}
    bound |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and _stored(n)}
    bound |= {name for stmt in ast.parse(inputs).body for name in _bound(stmt)}
    paths = [path for path in _paths(tree) if path.partition(".")[0] not in bound]
    paths = [path for path in paths if not path.startswith(_HELPERS)] or paths
    own = [path for path in paths if path.partition(".")[0] == paths[0].partition(".")[0]]
    alone = _alone(tree)
    return (own[:1] if alone else list(dict.fromkeys(own))), alone


def _alone(node: ast.AST) -> bool:
    """Whether nothing is done to what a call returns but to take, gather or average its values."""
    call = None
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Call)):
        call = node if isinstance(node, ast.Call) else call
        node = node.func if isinstance(node, ast.Call) else node.value
    if call and call.args and ast.unparse(call.func) in ("np.array", "np.mean", "keras.ops.mean"):
        inside = call.args[0]
        return _alone(inside.elt if isinstance(inside, ast.ListComp) else inside)
    return isinstance(node, ast.Name)


def _paths(node: ast.AST) -> Iterator[str]:
    """Yield the dotted names of an expression, each as long as it goes; `get` with its string."""
    typed = ast.unparse(node)
    if re.fullmatch(r"[\w.]+\.(\w+|get\('\w+'\))", typed) and not isinstance(node, ast.Constant):
        yield typed
    else:
        for child in ast.iter_child_nodes(node):
            yield from _paths(child)


# What a cell compares ----------------------------------------------------------------------------


def comparisons(chapter: Chapter, run: Run) -> Iterator[Compared]:
    """Read the comparisons of a chapter: their rows from the run, the rest from their cells."""
    before: list[tuple[ast.stmt, str]] = []
    for result in run.results:
        if result.kind != "python" or result.error:
            continue
        cell = [(stmt, result.source) for stmt in ast.parse(result.source).body]
        for record in (output[PEERS] for output in result.outputs if PEERS in output):
            call = cell[-1][0].value if isinstance(cell[-1][0], ast.Expr) else None
            if not isinstance(call, ast.Call) or len(call.args) < 2:
                what = "expected a cell that ends in peers.compare(loss, call, ...), got"
                line = result.line + cell[-1][0].lineno
                raise ChapterError(chapter.path, line, f"{what} {ast.unparse(cell[-1][0])}")
            try:
                yield _compared(chapter, record, call, [*before, *cell[:-1]], result.source)
            except ValueError as error:
                line = result.line + call.lineno
                raise ChapterError(chapter.path, line, str(error)) from None
        before += cell


def _compared(
    chapter: Chapter,
    record: dict[str, Any],
    call: ast.Call,
    before: Sequence[tuple[ast.stmt, str]],
    source: str,
) -> Compared:
    ours, used = call.args[1], set()
    for row in record["rows"]:
        used |= _loaded(ast.parse(row["call"], mode="eval"))
    given = {name: value for name, value in _keywords(call).items() if name in used}
    more = {n: v for n, v in given.items() if not (isinstance(v, ast.Name) and v.id == n)}
    for name in more:
        if any(name in _loaded(v) for v in (ours, *given.values()) if v is not more[name]):
            what = "expected names that mean the same in all calls"
            raise ValueError(f"{what}, got {name} = {ast.unparse(more[name])} for the others")
    needed = _loaded(ours).union(*map(_loaded, given.values()))
    lines = _needed(before, needed)
    lines += [f"{name} = {_source(source, value)}" for name, value in more.items()]
    return Compared(
        record["loss"], chapter, "\n".join(lines), _source(source, ours), record["rows"]
    )


def _source(source: str, node: ast.AST) -> str:
    return ast.get_source_segment(source, node) or ""


def _keywords(call: ast.Call) -> dict[str, ast.expr]:
    """The keyword arguments of a call by name, those of dictionaries among them."""
    found: dict[str, ast.expr] = {}
    for keyword in call.keywords:
        if keyword.arg is not None:
            found[keyword.arg] = keyword.value
        elif isinstance(keyword.value, ast.Dict):
            pairs = zip(keyword.value.keys, keyword.value.values, strict=True)
            found |= {str(k.value): v for k, v in pairs if isinstance(k, ast.Constant)}
    return found


def _needed(before: Sequence[tuple[ast.stmt, str]], names: set[str]) -> list[str]:
    """Return the statements that make `names`, in order, and what these need in turn."""
    # Whoever draws from a generator changes what the next one draws.
    draws = {
        name
        for stmt, _ in before
        if isinstance(stmt, ast.Assign) and ast.unparse(stmt.value).startswith("experiments.rng(")
        for name in _bound(stmt)
    }
    lines: list[str] = []
    for stmt, source in reversed(before):
        if isinstance(stmt, (ast.Import, ast.ImportFrom)):
            continue
        if not (_bound(stmt) | (_loaded(stmt) & draws)) & names:
            continue
        lines.insert(0, _source(source, stmt))
        if isinstance(stmt, (ast.Assign, ast.FunctionDef)):
            names = names - {name for name in _bound(stmt) if not _changed(stmt, name)}
        names = names | _loaded(stmt)
    return lines


def _stored(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Store)


def _loaded(node: ast.AST) -> set[str]:
    """The names that a piece of code reads."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not _stored(n)}


def _bound(stmt: ast.AST) -> set[str]:
    """The names that a statement assigns or changes in part, outside of inner scopes."""
    if isinstance(stmt, (ast.FunctionDef, ast.ClassDef)):
        return {stmt.name}
    if isinstance(stmt, _SCOPES):
        return set()
    inside = {name for child in ast.iter_child_nodes(stmt) for name in _bound(child)}
    if _stored(stmt) and isinstance(stmt, (ast.Name, ast.Subscript, ast.Attribute)):
        root: ast.AST = stmt
        while isinstance(root, (ast.Subscript, ast.Attribute)):
            root = root.value
        inside |= {root.id} if isinstance(root, ast.Name) else set()
    return inside


def _changed(stmt: ast.Assign | ast.FunctionDef, name: str) -> bool:
    """Whether a statement keeps a part of what `name` was."""
    return isinstance(stmt, ast.Assign) and not any(
        isinstance(n, ast.Name) and n.id == name and _stored(n)
        for target in stmt.targets
        for n in ast.walk(target)
    )
