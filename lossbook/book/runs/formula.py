r"""Formulas of the chapters, read from their LaTeX and compared with the code.

In a section "In short" one comment binds the symbols of a loss; the displays below it, up to the
next such comment, hold its formula and its gradient:

    <!-- formula focal_loss: z_j = logits, t = labels, \gamma = gamma, \alpha_j = alpha or 1 -->
    $$ \ell = -\alpha_t (1 - p_t)^\gamma \log p_t, \qquad p = \mathrm{softmax}(z) $$
    $$ \frac{\partial \ell}{\partial z_j} = ... $$

Behind the name stands in brackets which draws of the tests it is for: `[dense_labels, gamma=2]`
names their form and a setting. What follows a colon there, `[images: one channel]`, is said in
words on the API page, which names a form no other way.

`python -m lossbook.book.runs.formula CHAPTER`
prints what was compared.
"""

import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lark import Token, Tree

import lossbook
from lossbook.book.runs.chapters import Chapter, ChapterError, read
from lossbook.book.runs.latex import (
    Everywhere,
    FormulaError,
    Index,
    Node,
    Scope,
    functions,
    parse,
    place_of,
    spell,
    split,
)


@dataclass(frozen=True)
class Text:
    """What a chapter says of one loss: its bindings and its displays, each with its line.

    Attributes:
        only: In words, for which inputs.
    """

    loss: str
    options: list[str]
    only: list[str]
    bindings: list[tuple[str, str]]
    line: int
    displays: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """A formula that was compared: how many numbers, and the largest relative error."""

    loss: str
    kind: str
    line: int
    tex: str
    compared: int
    error: float


_PIECE = re.compile(
    r"<!--\s*formula\s+(?P<loss>\w+)\s*(?:\[(?P<options>[^\]]*)\])?\s*:(?P<bindings>.*?)-->"
    r"|\$\$(?P<tex>.*?)\$\$",
    re.S,
)
_BINDING = re.compile(r"\s*(?P<symbol>.+?)\s*=\s*(?P<argument>[^=]+?)\s*$", re.S)


def texts(chapter: Chapter) -> list[Text]:
    """Find what stands in the section "In short"."""
    section = re.search(r"^## In short\n(.*?)(?=^## |\Z)", chapter.text, re.S | re.M)
    found: list[Text] = []
    for match in _PIECE.finditer(section[1] if section else ""):
        assert section is not None
        line = chapter.text.count("\n", 0, section.start(1) + match.start()) + 1
        if match["loss"]:
            parts = [part.partition(":") for part in (match["options"] or "").split(",")]
            options, only = ([p[i].strip() for p in parts if p[i].strip()] for i in (0, 2))
            bindings = []
            for part in re.split(r",(?![^{\[]*[}\]])", match["bindings"]):
                bound = _BINDING.match(part)
                if not bound:
                    message = f"expected a binding as x = logits, got {part.strip()!r}"
                    raise ChapterError(chapter.path, line, message)
                bindings.append((bound["symbol"], bound["argument"]))
            found.append(Text(match["loss"], options, only, bindings, line))
        elif found:
            found[-1].displays.append((line, match["tex"]))
        else:
            message = "expected <!-- formula LOSS: symbol = argument, ... --> before the display"
            raise ChapterError(chapter.path, line, message)
    return found


@dataclass(frozen=True)
class Target:
    """The left-hand side of a formula: the loss, or its slope by a symbol."""

    symbol: Node | None
    summed: bool = False
    indices: tuple[str, ...] = ()  # Those of the loss.


def target(left: Node) -> Target | None:
    r"""Tell what is defined: `\ell`, a slope of it, or (None) something else."""
    indices = _loss(left)
    if indices is not None:
        return Target(None, False, indices)
    pieces = _pieces(left)
    if spell(pieces[0]).startswith(r"\nabla_") and len(pieces) == 2:
        (symbol,) = pieces[0].children[1].children
        return _slope(pieces[1], symbol)
    if not (isinstance(pieces[0], Tree) and pieces[0].data == "fraction"):
        return None
    above, below = (_pieces(child) for child in pieces[0].children)
    above += pieces[1:]
    if spell(above[0]) != spell(below[0]) or spell(above[0]) not in (r"\partial", "d"):
        return None
    return _slope(above[1], below[1]) if len(above) == len(below) == 2 else None


def _slope(of: Node, symbol: Node) -> Target | None:
    summed = isinstance(of, Tree) and of.data == "big" and of.children[0] == r"\sum"
    indices = _loss(of.children[3] if summed else of)
    return None if indices is None else Target(symbol, summed, indices)


def _loss(node: Node) -> tuple[str, ...] | None:
    if isinstance(node, Token):
        return () if spell(node) == r"\ell" else None
    if node.data == "index" and spell(node.children[0]) == r"\ell":
        return tuple(spell(item) for item in split(node.children[1]))
    return None


def _pieces(node: Node) -> list[Node]:
    if isinstance(node, Tree) and node.data == "juxtapose":
        return [piece for child in node.children for piece in _pieces(child)]
    return [node]


@dataclass(frozen=True)
class Bound:
    """A symbol of a formula and the arguments of the loss that it stands for."""

    name: str
    subscripts: tuple[str, ...]
    arguments: tuple[str, ...]
    element: int | None = None
    default: float | None = None
    size_of: str | None = None


_ARGUMENT = re.compile(r"(\w+)(?:\[(\d+)\])?(?:\s+or\s+(-?[\d.]+))?$")


def bound(symbol: str, argument: str) -> Bound:
    """Read one binding."""
    (statement,) = parse(symbol).children
    (node,) = statement.children
    letters: tuple[str, ...] = ()
    name = spell(node)
    if isinstance(node, Tree) and node.data == "index":
        letters = tuple(spell(item) for item in split(node.children[1]))
        if all(re.fullmatch(r"[a-z]|\\[a-z]+", letter) for letter in letters):
            name = spell(node.children[0])
        else:
            letters = ()
    if argument.startswith("#"):
        return Bound(name, (), (), size_of=argument[1:].strip())
    if argument.startswith("["):
        parts = tuple(part.strip() for part in argument.strip("[]").split(","))
        return Bound(name, letters, parts)
    match = _ARGUMENT.match(argument)
    if not match:
        raise FormulaError(f"expected the name of an argument, got {argument!r}")
    element = None if match[2] is None else int(match[2])
    default = None if match[3] is None else float(match[3])
    return Bound(name, letters, (match[1],), element, default)


class SkipError(Exception):
    """A draw of which the formula does not speak."""


class Draw:
    """One draw of inputs, what the loss gives for it, and the symbols of a formula in it."""

    def __init__(self, case: Any, bounds: Sequence[Bound], indices: Sequence[str], data: Any):
        inputs, settings = data
        self.indices = indices
        parameters = inspect.signature(case.loss).parameters
        names = list(parameters)
        self.inputs = [_leaf(x, i in case.gets_gradient(inputs)) for i, x in enumerate(inputs)]
        self.arguments: dict[str, Any] = {
            name: parameter.default for name, parameter in parameters.items()
        }
        self.arguments.update(zip(names, self.inputs, strict=False))
        self.arguments.update(settings)
        every = case.batch is None
        self.batched = {n for i, n in enumerate(names[: len(inputs)]) if every or i in case.batch}
        self.batched |= {n for n in case.batch or () if isinstance(n, str)}
        self.given = set(names[: len(inputs)])
        self.losses = case.loss(*self.inputs, **settings)
        self.shape = tuple(self.losses.shape)
        self.bounds = {b.name: b for b in bounds}

    def whole(self, b: Bound) -> bool:
        """Say whether a symbol stands for the whole batch."""
        given = all(name not in self.batched for name in b.arguments)
        return (given and not self.broadcast(b)) or bool({*b.subscripts} & {*self.indices})

    def broadcast(self, b: Bound) -> bool:
        """Say whether it is a setting that is spread over the losses."""
        return not b.subscripts and not {*b.arguments} & self.given

    def tensors(self, b: Bound) -> list[Any]:
        """List the arguments that a symbol stands for."""
        found = []
        for name in b.arguments:
            if name not in self.arguments:
                raise FormulaError(f"{b.name}: the loss has no argument {name}")
            value = self.arguments[name]
            found.append(value if b.element is None or value is None else value[b.element])
        return found

    def value(self, b: Bound, item: tuple[int, ...]) -> Any:
        """Give the value of a symbol in an item."""
        values = self.tensors(b)
        if any(value is None for value in values):
            if b.default is None:
                raise SkipError
            return Everywhere(b.default)
        if any(isinstance(value, str) for value in values):
            raise FormulaError(f"{b.name}: {b.arguments[0]} is a text")
        arrays = [_array(value) for value in values]
        return self.slice(b, np.concatenate(arrays) if len(arrays) > 1 else arrays[0], item)

    def slice(self, b: Bound, array: np.ndarray, item: tuple[int, ...]) -> Any:
        """Take from an argument, or from a gradient by it, what belongs to an item."""
        if not self.whole(b):
            array = self.of_item(b, array, item)
            if len(b.subscripts) == 1 and array.ndim > 1:
                array = array.reshape(-1)
            if b.subscripts and array.ndim != len(b.subscripts):
                raise FormulaError(
                    f"expected {b.name} with {array.ndim} indices, got {len(b.subscripts)}"
                )
        return array[()]

    def of_item(self, b: Bound, array: np.ndarray, item: tuple[int, ...]) -> np.ndarray:
        """Take what belongs to an item out of an argument with a batch axis."""
        shape = self.shape
        if array.shape == shape[: array.ndim] and b.arguments[0] in self.given:
            return np.asarray(array[item[: array.ndim]])
        if array.ndim == 1 and array.shape == shape[1:2]:
            return np.asarray(array[item[1]])  # One number for each class.
        if array.ndim == 0:
            return np.asarray(np.broadcast_to(array, shape)[item])
        if array.ndim == len(shape) + 1 and array.shape[:1] + array.shape[2:] == shape:
            return np.asarray(np.moveaxis(array, 1, -1)[item])  # The classes lie on axis 1.
        if array.shape[: len(shape)] == shape:
            return np.asarray(array[item])
        raise FormulaError(f"{b.name}: an item of shape {shape} in {array.shape}")

    def scope(self, item: tuple[int, ...], pairs: Sequence[tuple[Node, Node]]) -> Scope:
        """Bind the symbols and the definitions for an item."""
        indices = {n: Index(i + 1) for n, i in zip(self.indices, item, strict=False)}
        values = {name: self.value(b, item) for name, b in self.bounds.items() if b.size_of is None}
        for name, b in self.bounds.items():
            if b.size_of is not None:
                values[name] = float(self.size(b.size_of, values))
        scope = Scope(values, {}, indices)
        for left, right in pairs:
            scope.define(left, right)
        return scope

    def size(self, letter: str, values: dict[str, Any]) -> int:
        """Count the values of an index."""
        for name, b in self.bounds.items():
            if letter in b.subscripts and not isinstance(values[name], Everywhere):
                return int(np.shape(values[name])[b.subscripts.index(letter)])
        raise FormulaError(f"no symbol is bound with the index {letter}")

    def slope(self, b: Bound, item: tuple[int, ...] | None) -> np.ndarray:
        """Differentiate the loss of an item, or the sum of all, by what a symbol stands for."""
        leaves = self.tensors(b)
        if not all(isinstance(leaf, torch.Tensor) and leaf.requires_grad for leaf in leaves):
            raise FormulaError(f"{b.name}: {b.arguments[0]} gets no gradient")
        of = self.losses.sum() if item is None else self.losses[item]
        found = torch.autograd.grad(
            of, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return np.concatenate([f.numpy() for f in found]) if len(found) > 1 else found[0].numpy()


def _leaf(value: Any, wanted: bool) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().clone()
        return value.requires_grad_() if wanted and value.is_floating_point() else value
    return [_leaf(v, wanted) for v in value] if isinstance(value, (list, tuple)) else value


def _array(value: Any) -> np.ndarray:
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.integer):
        return array.astype(np.float64)
    return array.astype(np.int64)


ITEMS, DRAWS, TOLERANCE, FLOOR = 6, 2, 1e-9, 1e-3


def compared(text: Text, case: Any, path: Path) -> list[Result]:
    """Compare the formulas of one loss with its values and gradients.

    Raises:
        ChapterError: If a formula cannot be read or says something else.
    """
    line, tex = text.line, ""
    try:
        bounds = [bound(*binding) for binding in text.bindings]
        formulas: list[tuple[int, str, Target, list[Node]]] = []
        pairs: list[tuple[Node, Node]] = []
        applied = functions(*(tex for _, tex in text.displays))
        for line, tex in text.displays:
            for statement in parse(tex, applied).children:
                left, *members = statement.children
                wanted = target(left)
                if not members:
                    raise FormulaError("expected an equation", place_of(left))
                if wanted is None:
                    pairs += [(left, member) for member in members]
                else:
                    formulas.append((line, tex, wanted, members))
                    if wanted.symbol is None:
                        pairs.append((left, members[0]))
        results = []
        with np.errstate(all="ignore"):
            for formula in formulas:
                line, tex, _, _ = formula
                results.append(_compare(text, case, bounds, pairs, formula))
    except FormulaError as error:
        place = error.place or 0
        at = tex.count("\n", 0, place)
        shown = tex.split("\n")[at] if tex else ""
        column = place - (tex.rfind("\n", 0, place) + 1)
        caret = f"\n    {shown}\n    {' ' * column}^" if error.place is not None and tex else ""
        raise ChapterError(path, line + at, f"{text.loss}: {error.message}{caret}") from error
    return results


def _compare(
    text: Text,
    case: Any,
    bounds: list[Bound],
    pairs: list[tuple[Node, Node]],
    formula: tuple[int, str, Target, list[Node]],
) -> Result:
    line, tex, wanted, members = formula
    compared, largest = 0, 0.0
    for label, draw in _draws(text, case, bounds, wanted.indices):
        items = list(itertools.product(*map(range, draw.shape)))
        step = max(1, len(items) // ITEMS)
        for item in items[::step] if not wanted.summed else items[:1]:
            try:
                scope = draw.scope(item, pairs)
            except SkipError:
                break
            if wanted.summed:
                scope.indices.clear()
            for env, theirs in _truths(draw, wanted, item):
                for member in members:
                    ours = scope.evaluate(member, scope.indices | env)
                    if np.shape(ours) != np.shape(theirs):
                        raise FormulaError(
                            f"the formula has the shape {np.shape(ours)}, "
                            f"{text.loss} {np.shape(theirs)}",
                            place_of(member),
                        )
                    error = np.abs(ours - theirs) / np.maximum(np.abs(theirs), FLOOR)
                    if not np.all(error <= TOLERANCE):
                        where = "".join(f", {k} = {int(v)}" for k, v in env.items())
                        raise FormulaError(
                            f"at item {list(item)}{where} the formula gives {_shown(ours)}, "
                            f"{text.loss} {_shown(theirs)} ({label})",
                            place_of(member),
                        )
                    compared += np.size(ours)
                    largest = max(largest, float(np.max(error, initial=0.0)))
    if not compared:
        raise FormulaError("no draw of the tests fits the formula")
    kind = "loss" if wanted.symbol is None else f"slope by {spell(wanted.symbol)}"
    return Result(text.loss, kind, line, " ".join(tex.split()), compared, largest)


def _shown(value: Any) -> str:
    return np.array2string(np.asarray(value), precision=6, separator=", ")


def _draws(
    text: Text, case: Any, bounds: list[Bound], indices: Sequence[str]
) -> Iterator[tuple[str, Draw]]:
    forms = {form.__name__ for form in case.forms}
    wanted_forms = {option for option in text.options if "=" not in option}
    if wanted_forms - forms:
        raise FormulaError(f"expected forms of {sorted(forms)}, got {sorted(wanted_forms)}")
    wanted = dict(option.split("=") for option in text.options if "=" in option)
    defaults = inspect.signature(case.loss).parameters
    for label, inputs, settings in case.draws(DRAWS):
        values = {name: settings.get(name, defaults[name].default) for name in wanted}
        fits = all(str(values[name]) == value.strip() for name, value in wanted.items())
        if fits and (not wanted_forms or label.split(",")[0] in wanted_forms):
            yield label, Draw(case, bounds, indices, (inputs, settings))


def _truths(
    draw: Draw, wanted: Target, item: tuple[int, ...]
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Give what the loss says, for each value of the free indices."""
    if wanted.symbol is None:
        yield {}, draw.losses[item].detach().numpy()[()]
        return
    node, letters = wanted.symbol, []
    if spell(node) not in draw.bounds and isinstance(node, Tree) and node.data == "index":
        letters = [spell(letter) for letter in split(node.children[1])]
        node = node.children[0]
    if spell(node) not in draw.bounds:
        raise FormulaError(f"{spell(node)} is bound to no argument", place_of(node))
    b = draw.bounds[spell(node)]
    slope = draw.slice(b, draw.slope(b, None if wanted.summed else item), item)
    if len(letters) > np.ndim(slope):
        raise FormulaError(f"expected {spell(node)} with {np.ndim(slope)} indices", place_of(node))
    fixed = {} if wanted.summed else dict(zip(draw.indices, item, strict=False))
    ranges = [
        [fixed[letter]] if letter in fixed else range(size)
        for letter, size in zip(letters, np.shape(slope), strict=False)
    ]
    for places in itertools.product(*ranges):
        env = {k: Index(v + 1) for k, v in zip(letters, places, strict=True)}
        yield {} | env, slope[places] if places else slope


def case_of(name: str) -> Any:
    """Find the Case of a loss in its tests."""
    loss = getattr(lossbook, name, None)
    if loss is None:
        raise FormulaError(f"lossbook has no {name}")
    family, stem = loss.__module__.split(".")[1:]
    module = importlib.import_module(f"tests.{family}.test_{stem}")
    return next(case for case in module.cases() if case.name == name)


def check(chapter: Chapter) -> list[Result]:
    """Compare every formula of a chapter's section "In short".

    Raises:
        ChapterError: If one cannot be read, or says something else than the code.
    """
    results = []
    for text in texts(chapter):
        try:
            case = case_of(text.loss)
        except FormulaError as error:
            raise ChapterError(chapter.path, text.line, error.message) from None
        results += compared(text, case, chapter.path)
    return results


def main(paths: Sequence[str]) -> int:
    """Print what was compared in the chapters."""
    torch.set_num_threads(1)
    wrong = 0
    for path in paths:
        try:
            for r in check(read(Path(path).resolve())):
                print(f"{path}:{r.line}: {r.loss}, {r.kind}: {r.compared} numbers, {r.error:.0e}")
                print(f"    {r.tex}")
        except ChapterError as error:
            wrong += 1
            print(error)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
