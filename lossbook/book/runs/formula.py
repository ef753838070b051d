r"""Formulas of the chapters, read from their LaTeX and compared with the code.

In a section "In short" one comment binds the symbols of a loss; the displays below it, up to the
next such comment, hold its formula and its gradient:

    <!-- formula focal_loss: z_j = logits, t = labels, \gamma = gamma, \alpha_j = alpha or 1 -->
    $$ \ell = -\alpha_t (1 - p_t)^\gamma \log p_t, \qquad p = \mathrm{softmax}(z) $$
    $$ \frac{\partial \ell}{\partial z_j} = ... $$

What can be written is listed in docs/notation.md. `python -m lossbook.book.runs.formula CHAPTER`
prints what was compared.
"""

import importlib
import inspect
import itertools
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from lark import Lark, Token, Tree, UnexpectedInput

import lossbook
from lossbook.book.runs.chapters import Chapter, ChapterError, read

Node = Any  # A Tree or a Token of Lark.

# Reading

GRAMMAR = r"""
start: statement (_sep statement)*
_sep: "," | ","? _WITH ","?
statement: expr ("=" expr)*

?expr: product | "+" product
    | "-" product -> negative
    | expr "+" product -> add
    | expr "-" product -> subtract
?product: factor
    | product factor -> juxtapose
    | product TIMES factor -> times
    | product "/" factor -> divide
?factor: simple | group | apply | big
?simple: plain | shaped
?plain: NAME | NUMBER | HALF
    | plain "_" arg -> index
    | plain "^" arg -> power
    | plain "!" -> factorial
?shaped: atom
    | shaped "_" arg -> index
    | shaped "^" arg -> power
?group: "(" expr ")"
    | "[" expr "]"
    | "[" cond "]" -> iverson
    | "\\mathbb1" ("[" cond "]" | "\\{" cond "\\}" | "_" "{" cond "}") -> iverson
    | group "_" arg -> index
    | group "^" arg -> power
?apply: (FUNC | FUNCTION) _args -> call
    | FUNC run -> call
    | FUNC "^" arg run -> call_power
    | apply "_" arg -> index
    | apply "^" arg -> power
_args: "(" expr ("," expr)* ")" | "[" expr "]" | "\\{" expr ("," expr)* "\\}"
?run: simples | big | apply
?simples: simple | simples plain -> juxtapose
big: BIG "_" arg ["^" arg] product

arg: "{" item (("," | ":") item)* "}" | NAME | NUMBER | sign | "{" sign "}"
!sign: "+" | "-" | "*"
?item: expr | cond
cond: expr (rel expr)+
!rel: "=" | "\\ne" | "\\neq" | "<" | "\\lt" | ">" | "\\gt" | "\\le" | "\\leq" | "\\ge" | "\\geq"

?atom: _FRAC _braced _braced -> fraction
    | "\\sqrt" ["[" expr "]"] _braced -> root
    | "\\lvert" expr "\\rvert" -> absolute
    | "\\lVert" expr "\\rVert" -> norm
    | "\\lfloor" expr "\\rfloor" -> floor
    | "\\langle" expr "," expr "\\rangle" -> inner
    | "\\begin{cases}" row ("\\\\" row)* "\\\\"? "\\end{cases}" -> cases
_braced: "{" expr "}" | NAME | NUMBER
row: expr ","? "&" (OTHERWISE | IF? cond ((","|_WITH) cond)*) ","?

NAME: (DRESSED | /\\(@GREEK)(?![A-Za-z])/ | /[A-Za-z]/) /'*/
DRESSED: /\\(@DRESS)\s*/ (/\{[^{}]*(\{[^{}]*\}[^{}]*)*\}/ | /\\?[A-Za-z]+/)
NUMBER: /\d+(\.\d+)?/
HALF.3: /\\[dt]?frac\s*\d\s*\d/
_FRAC: /\\[dt]?frac(?![A-Za-z])/
BIG.4: /\\(sum|prod)(?![A-Za-z])/ | /((\\arg\s*)?\\(max|min)|\\operatorname\s*\{mean\})(?=\s*_)/
FUNC.3: /\\(@PLAIN)(?![A-Za-z])|\\(operatorname|mathrm)\s*\{(@NAMED)\}/
FUNCTION.3: /(@APPLIED)(?=\s*\()/
TIMES: /\\(cdot|times|odot)(?![A-Za-z])/
_WITH: /\\text\s*\{\s*(with|where|and)\s*\}/
IF: /\\text\s*\{\s*(if|for|when)\s*\}/
OTHERWISE: /\\text\s*\{\s*(otherwise|else)[.,]?\s*\}/
%ignore /\s+/
"""

GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "pi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Pi",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "ell",
    "partial",
    "nabla",
    "top",
    "infty",
]

FUNCTIONS: dict[str, Any] = {
    "log": np.log,
    "ln": np.log,
    "exp": np.exp,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "arccos": np.arccos,
    "arcsin": np.arcsin,
    "arctan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "max": lambda *x: np.max(x[0]) if len(x) == 1 else np.maximum.reduce(x),
    "min": lambda *x: np.min(x[0]) if len(x) == 1 else np.minimum.reduce(x),
    "sign": np.sign,
    "sg": lambda x: x,
    "clip": np.clip,
    "expm1": np.expm1,
    "logaddexp": np.logaddexp,
    "softplus": lambda x: np.logaddexp(0, x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softmax": lambda x: np.exp(x - np.max(x)) / np.exp(x - np.max(x)).sum(),
    "mean": np.mean,
    "diag": np.diag,
    "tr": np.trace,
    "det": np.linalg.det,
    r"\sigma": lambda x: 1 / (1 + np.exp(-x)),
    r"\Phi": lambda x: (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    r"\varphi": lambda x: np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
    r"\Gamma": np.vectorize(math.gamma),
}
DRESS = ["hat", "bar", "tilde", "vec", "mathbf", "mathrm", "mathcal", "boldsymbol", "operatorname"]
PLAIN = [
    "log",
    "ln",
    "exp",
    "sin",
    "cos",
    "tan",
    "arccos",
    "arcsin",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "max",
    "min",
    "det",
]
CONSTANTS = {"e": math.e, r"\pi": math.pi, r"\infty": math.inf}

# Commands that only set type; each is replaced by as many blanks, so that places stay.
_TYPE = re.compile(
    r"(?<!\\)\\[,;:!> ]|~|\{\}"
    r"|\\(?:left|right|[bB]igg?[lrm]?|q?quad|displaystyle|(?:no)?limits)(?![A-Za-z])"
)
_CASES = re.compile(r"\\begin\{cases\}.*?\\end\{cases\}", re.S)
_ALIGNMENT = re.compile(r"&|\\\\(?:\[[^\]]*\])?|\\(?:begin|end)\{(?:aligned|split|gathered)\}")
_APPLIED = re.compile(r"(?:^|[,}])\s*([A-Za-z])\s*\(\s*[A-Za-z](?:\s*,\s*[A-Za-z])*\s*\)\s*=")


class FormulaError(Exception):
    """What is wrong with a formula, and at which character."""

    def __init__(self, message: str, place: int | None = None) -> None:
        self.message, self.place = message, place
        super().__init__(message)


def clean(tex: str) -> str:
    """Blank out what only sets type; every place stays where it was."""
    text = re.sub(r"\\(?:mathbb|mathbf)(?:\s*\{1\}|\s*1)", _indicator, tex)
    text = re.sub(r"(?<![,\s])(\s*)\\qquad", r"\1,     ", text)
    text = re.sub(r"[.,;](\s*)$", r" \1", _TYPE.sub(_blank, text))
    outside, end = [], 0
    for match in _CASES.finditer(text):
        outside += [_ALIGNMENT.sub(_blank, text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*outside, _ALIGNMENT.sub(_blank, text[end:])])


def functions(*displays: str) -> frozenset[str]:
    """List the functions that displays define, as f in `f(x) = ...`."""
    return frozenset(name for tex in displays for name in _APPLIED.findall(clean(tex)))


def parse(tex: str, applied: frozenset[str] | None = None) -> Node:
    """Read a display into its statements, each a chain of equal expressions.

    `applied` are letters that stand for functions, where not only this display defines them.

    Raises:
        FormulaError: If anything of it cannot be read.
    """
    text = clean(tex)
    try:
        return _parser(functions(tex) if applied is None else applied).parse(text)
    except UnexpectedInput as error:
        place = error.pos_in_stream if error.pos_in_stream is not None else len(text)
        if getattr(getattr(error, "token", None), "type", "") == "$END":
            raise FormulaError("expected more, got the end", len(text.rstrip())) from None
        hint = r" (write \lvert ... \rvert)" if text[place : place + 1] == "|" else ""
        message = f"cannot read {text[place : place + 12].split()[0]!r} here{hint}"
        raise FormulaError(message, place) from None


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _indicator(match: re.Match[str]) -> str:
    return r"\mathbb1".ljust(len(match[0]))


@lru_cache
def _parser(applied: frozenset[str]) -> Lark:
    greek = [re.escape(name) for name in FUNCTIONS if name.startswith("\\")]
    words = [name for name in FUNCTIONS if not name.startswith("\\") and name not in PLAIN]
    grammar = (
        GRAMMAR.replace("@GREEK", "|".join(GREEK))
        .replace("@DRESS", "|".join(DRESS))
        .replace("@PLAIN", "|".join(PLAIN))
        .replace("@NAMED", "|".join(words))
        .replace("@APPLIED", "|".join([f"({x})(?![A-Za-z])" for x in greek] + sorted(applied)))
    )
    return Lark(grammar, parser="lalr", propagate_positions=True)


def spell(node: Node) -> str:
    r"""Write a symbol in one way: `\hat{y}` as `\hat y`, `p_{t}` as `p_t`."""
    if isinstance(node, Token):
        word = re.sub(r"[{}\s]+", " ", node).strip()
        word = re.sub(r"^\\(mathrm|operatorname) ?(?!\\)", "", word)
        return re.sub(r"^(\\[a-z]+)(?=\\)", r"\1 ", word)
    mark = {"index": "_", "power": "^"}.get(node.data, " ")
    parts = [spell(child) for child in node.children if child is not None]
    return parts[0] + mark + parts[1] if mark != " " and len(parts) == 2 else "".join(parts)


def symbols(tex: str) -> set[str]:
    """List the symbols of a formula, without their subscripts."""
    tree = parse(tex)
    names = {spell(token) for token in tree.scan_values(lambda t: t.type in ("NAME", "FUNCTION"))}
    return names - {r"\top", r"\partial"}


# Values


class Index(int):
    """The value of an index: a number, counted from `base`, that names a place."""

    base: int

    def __new__(cls, value: int, base: int = 1) -> Self:  # noqa: D102
        index = super().__new__(cls, value)
        index.base = base
        return index


class Everywhere(float):
    """One number at every index."""


@dataclass
class Scope:
    """What the symbols of a formula stand for, in one item of a loss."""

    values: dict[str, Any]
    definitions: dict[str, tuple[list[str], Node]] = field(default_factory=dict)
    indices: dict[str, Index] = field(default_factory=dict)  # Those of the item.
    known: dict[Any, Any] = field(default_factory=dict)

    def define(self, left: Node, right: Node) -> None:
        """Take `p = ...`, `s_{ij} = ...` or `f(x) = ...` in."""
        if isinstance(left, Tree) and left.data in ("index", "call"):
            base, *rest = left.children
            arguments = split(rest[0]) if left.data == "index" else rest
            name = spell(base) + ("()" if left.data == "call" else "")
        else:
            name, arguments = spell(left), []
        if name in self.definitions or name in self.values:
            raise FormulaError(f"{name} has two meanings", _place(left))
        self.definitions[name] = ([spell(argument) for argument in arguments], right)

    def evaluate(self, node: Node, env: dict[str, Any]) -> Any:
        """Compute an expression. `env` has the values of indices and of functions' arguments."""
        if isinstance(node, Token):
            return self._token(node, env)
        try:
            return getattr(self, f"_{node.data}")(node, env)
        except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError) as error:
            raise FormulaError(str(error), _place(node)) from error

    def _token(self, token: Token, env: dict[str, Any]) -> Any:
        if token.type == "NUMBER":
            return float(token)
        if token.type == "HALF":
            above, below = re.findall(r"\d", token)
            return int(above) / int(below)
        name = spell(token)
        for values in (env, self.values):
            if name in values:
                return values[name]
        if name in self.definitions:
            return self._defined(name, [], token)
        if name in CONSTANTS:
            return CONSTANTS[name]
        raise FormulaError(f"{name} has no value", _place(token))

    def _defined(self, name: str, arguments: Sequence[Any], node: Node) -> Any:
        parameters, body = self.definitions[name]
        if parameters and not arguments:
            sizes = [self._extent(p, [body], self.indices, node) for p in parameters]
            places = itertools.product(*(range(1, size + 1) for size in sizes))
            entries = [self._defined(name, [Index(p) for p in place], node) for place in places]
            return np.array(entries).reshape(*sizes, *np.shape(entries[0]))
        if len(parameters) != len(arguments):
            raise FormulaError(
                f"expected {name} with {len(parameters)} indices, got {len(arguments)}",
                _place(node),
            )
        given = {k: v for k, v in zip(parameters, arguments, strict=True) if v is not None}
        key = (name, tuple(map(str, arguments)))
        if key not in self.known:
            self.known[key] = None
            self.known[key] = self.evaluate(body, self.indices | given)
        if self.known[key] is None:
            raise FormulaError(f"{name} is defined by itself", _place(node))
        return self.known[key]

    # Subscripts and exponents

    def _index(self, node: Node, env: dict[str, Any]) -> Any:
        base, subscript = node.children
        if spell(node) in self.values:
            return self.values[spell(node)]
        if spell(subscript) == "+":
            return np.maximum(self.evaluate(base, env), 0.0)
        if isinstance(base, Tree) and base.data == "norm":
            return self._norm(base, env, spell(subscript))
        items = split(subscript)
        name = spell(base)
        if isinstance(base, Token) and name not in self.values and name not in env:
            if name == r"\delta" and len(items) == 2:
                return float(
                    compare(self.evaluate(items[0], env), "=", self.evaluate(items[1], env))
                )
            if self.definitions.get(name, ([], base))[0]:
                return self._defined(name, [self._argument(item, env) for item in items], node)
        value = self.evaluate(base, env)
        if isinstance(value, Everywhere):
            return value
        places = [self._position(item, env) for item in items]
        if len(places) > np.ndim(value):
            raise FormulaError(
                f"{name} has {np.ndim(value)} indices, got {len(places)}", _place(node)
            )
        for place, size in zip(places, np.shape(value), strict=False):
            if not 0 <= place < size:
                raise FormulaError(f"{name} has no place {place + 1} of {size}", _place(node))
        return value[tuple(places)]

    def _argument(self, item: Node, env: dict[str, Any]) -> Index | None:
        # The t of a definition `p_t = ...` may be a mere word.
        if isinstance(item, Token) and item.type == "NAME":
            name = spell(item)
            if not any(name in known for known in (env, self.values, self.definitions)):
                return None
        return Index(self._position(item, env) + 1)

    def _position(self, item: Node, env: dict[str, Any]) -> int:
        value = self.evaluate(item, env)
        if isinstance(value, Index):
            return int(value) - value.base
        if isinstance(value, np.integer):  # A label.
            return int(value)
        if np.ndim(value) or value != int(value):
            raise FormulaError(f"expected an index, got {value}", _place(item))
        return int(value) - 1

    def _power(self, node: Node, env: dict[str, Any]) -> Any:
        base, exponent = node.children
        for known in (env, self.values):
            if spell(node) in known:
                return known[spell(node)]
        if spell(node) in self.definitions:
            return self._defined(spell(node), [], node)
        value = self.evaluate(base, env)
        if spell(exponent) == r"\top":
            return value.reshape(1, -1) if np.ndim(value) == 1 else np.transpose(value)
        (item,) = exponent.children
        return np.float64(number(value)) ** number(self.evaluate(item, env))

    def _call_power(self, node: Node, env: dict[str, Any]) -> Any:
        function, exponent, argument = node.children
        value = FUNCTIONS[spell(function).lstrip("\\")](number(self.evaluate(argument, env)))
        return value ** number(self.evaluate(exponent.children[0], env))

    def _factorial(self, node: Node, env: dict[str, Any]) -> Any:
        return math.gamma(number(self.evaluate(node.children[0], env)) + 1)

    # Sums, conditions, cases

    def _big(self, node: Node, env: dict[str, Any]) -> Any:
        operator, subscript, upper, body = node.children
        kind = re.sub(r"\\|\s|operatorname|[{}]", "", operator)
        names: list[str] = []
        conditions: list[Node] = []
        base = 1
        for k, item in enumerate(itertools.chain(*map(split, subscript.children))):
            if isinstance(item, Token):
                names.append(spell(item))
                continue
            left, _, right = item.children[:3]
            if k == 0:
                if not isinstance(left, Token):
                    raise FormulaError("expected an index first", _place(item))
                names.append(spell(left))
            if upper is None:
                conditions.append(item)
                name = spell(right)
                if isinstance(right, Token) and right.type == "NAME" and not self._has(name, env):
                    names.append(name)
        if not names:
            raise FormulaError("expected an index", _place(node))
        if upper is not None:
            first = int(number(self.evaluate(right, env)))
            last = int(number(self.evaluate(upper.children[0], env)))
            base = min(first, 1)
            ranges: list[Any] = [range(first, last + 1)]
        else:
            parts = [body, *conditions]
            ranges = [range(1, 1 + self._extent(name, parts, env, node)) for name in names]
        values, places = [], []
        for numbers in itertools.product(*ranges):
            inner = env | {n: Index(v, base) for n, v in zip(names, numbers, strict=True)}
            if all(self._holds(condition, inner) for condition in conditions):
                values.append(number(self.evaluate(body, inner)))
                places.append(numbers[0])
        if kind.startswith("arg"):
            best = (max if kind == "argmax" else min)(range(len(values)), key=values.__getitem__)
            return Index(places[best], base)
        if kind in ("max", "min"):
            empty = -math.inf if kind == "max" else math.inf
            return (max if kind == "max" else min)(values, default=empty)
        if kind == "prod":
            return math.prod(values)
        total = sum(values, 0.0)
        return total / len(values) if kind == "mean" else total

    def _has(self, name: str, env: dict[str, Any]) -> bool:
        return any(name in known for known in (env, self.values, self.definitions, CONSTANTS))

    def _extent(self, name: str, nodes: Sequence[Any], env: dict[str, Any], at: Node) -> int:
        """Find how far an index goes: to the end of what it is a subscript of."""
        size = self._reach(name, nodes, env, ())
        if size is None:
            raise FormulaError(f"nothing in the sum has the index {name}", _place(at))
        return size

    def _reach(
        self, name: str, nodes: Sequence[Any], env: dict[str, Any], seen: tuple[str, ...]
    ) -> int | None:
        trees = [t for node in nodes if isinstance(node, Tree) for t in node.iter_subtrees()]
        for tree in (t for t in trees if t.data == "index"):
            base, subscript = tree.children
            known = spell(base)
            for k, item in enumerate(split(subscript)):
                if not isinstance(item, Token) or spell(item) != name:
                    continue
                parameters, body = self.definitions.get(known, ([], base))
                if k < len(parameters) and known not in seen:
                    size = self._reach(parameters[k], [body], env, (*seen, known))
                    if size is not None:
                        return size
                    continue
                try:
                    shape = np.shape(self.evaluate(base, env))
                except FormulaError:
                    continue
                if k < len(shape):
                    return int(shape[k])
        for tree in (t for t in trees if t.data == "cond"):
            sides = [spell(side) for side in tree.children[::2] if isinstance(side, Token)]
            if name in sides and name not in seen:
                for other in sides:
                    if other != name:
                        size = self._reach(other, nodes, env, (*seen, name))
                        if size is not None:
                            return size
        return None

    def _holds(self, condition: Node, env: dict[str, Any]) -> bool:
        sides = [self.evaluate(side, env) for side in condition.children[::2]]
        relations = [spell(relation) for relation in condition.children[1::2]]
        return all(
            compare(a, relation, b)
            for a, relation, b in zip(sides, relations, sides[1:], strict=False)
        )

    def _iverson(self, node: Node, env: dict[str, Any]) -> float:
        return float(self._holds(node.children[0], env))

    def _cases(self, node: Node, env: dict[str, Any]) -> Any:
        for row in node.children:
            value, *conditions = row.children
            if all(self._holds(c, env) for c in conditions if isinstance(c, Tree)):
                return self.evaluate(value, env)
        raise FormulaError("no case applies", _place(node))

    # Arithmetic

    def _two(self, node: Node, env: dict[str, Any]) -> tuple[Any, Any]:
        a, b = (self.evaluate(child, env) for child in node.children)
        return a, b

    def _negative(self, node: Node, env: dict[str, Any]) -> Any:
        return -number(self.evaluate(node.children[0], env))

    def _add(self, node: Node, env: dict[str, Any], sign: int = 1) -> Any:
        a, b = self._two(node, env)
        if isinstance(a, Index) and number(b) == int(number(b)):
            return Index(int(a) + sign * int(b), a.base)
        if np.ndim(a) and np.ndim(b) and np.shape(a) != np.shape(b):
            raise FormulaError(f"shapes {np.shape(a)} and {np.shape(b)}", _place(node))
        return number(a) + sign * number(b)

    def _subtract(self, node: Node, env: dict[str, Any]) -> Any:
        return self._add(node, env, -1)

    def _juxtapose(self, node: Node, env: dict[str, Any]) -> Any:
        a, b = map(number, self._two(node, env))
        if np.ndim(a) and np.ndim(b):
            if np.ndim(a) == np.ndim(b) == 1:
                raise FormulaError(r"two vectors side by side: write \cdot", _place(node))
            product = a @ b
            return product[0] if product.shape == (1,) else product
        return multiply(a, b)

    def _times(self, node: Node, env: dict[str, Any]) -> Any:
        left, operator, right = node.children
        a, b = number(self.evaluate(left, env)), number(self.evaluate(right, env))
        if np.ndim(a) and np.ndim(b) and "cdot" in operator:
            return a @ b
        return multiply(a, b)

    def _divide(self, node: Node, env: dict[str, Any]) -> Any:
        a, b = map(number, self._two(node, env))
        return a / np.float64(b)

    _fraction = _divide

    def _inner(self, node: Node, env: dict[str, Any]) -> Any:
        a, b = self._two(node, env)
        return np.sum(a * b)

    def _root(self, node: Node, env: dict[str, Any]) -> Any:
        degree, of = node.children
        power = 2.0 if degree is None else number(self.evaluate(degree, env))
        return np.float64(number(self.evaluate(of, env))) ** (1 / power)

    def _absolute(self, node: Node, env: dict[str, Any]) -> Any:
        return np.abs(self.evaluate(node.children[0], env))

    def _floor(self, node: Node, env: dict[str, Any]) -> Any:
        return np.floor(self.evaluate(node.children[0], env))

    def _norm(self, node: Node, env: dict[str, Any], kind: str = "2") -> Any:
        value = np.ravel(self.evaluate(node.children[0], env))
        order = {"1": 1, "2": 2, "F": 2, r"\infty": np.inf}.get(kind)
        if order is None:
            raise FormulaError(f"expected a norm of 1, 2, F or infinity, got {kind}", _place(node))
        return np.linalg.norm(value, order)

    def _call(self, node: Node, env: dict[str, Any]) -> Any:
        function, *arguments = node.children
        values = [number(self.evaluate(argument, env)) for argument in arguments]
        name = spell(function)
        if name + "()" in self.definitions:
            parameters, body = self.definitions[name + "()"]
            given = [self.evaluate(argument, env) for argument in arguments]
            inner = dict(zip(parameters, given, strict=True))
            return self.evaluate(body, self.indices | inner)
        if function.type == "FUNC":
            name = name.lstrip("\\")
        return FUNCTIONS[name](*values)


def split(node: Node) -> list[Node]:
    """List the indices of a subscript: `ij` are two, `2i` is one."""
    if isinstance(node, Token):
        return [node]
    if node.data == "arg":
        return [part for child in node.children for part in split(child)]
    if node.data == "juxtapose" and not any(
        isinstance(child, Token) and child.type == "NUMBER" for child in node.children
    ):
        return [part for child in node.children for part in split(child)]
    return [node]


def number(value: Any) -> Any:
    """Make float64 of a value; labels and indices become numbers."""
    return value.astype(np.float64) if isinstance(value, np.ndarray) else np.float64(value)


def multiply(a: Any, b: Any) -> Any:
    """Multiply, where 0 times infinity is 0, as in 0 log 0."""
    if np.ndim(a) and np.ndim(b) and np.shape(a) != np.shape(b):
        raise FormulaError(f"shapes {np.shape(a)} and {np.shape(b)}")
    nothing = ((a == 0) & np.isinf(b)) | ((b == 0) & np.isinf(a))
    return np.where(nothing, 0.0, a * b)[()]


def compare(a: Any, relation: str, b: Any) -> bool:
    """Compare numbers; an index and a label are compared by place."""
    if isinstance(a, Index) != isinstance(b, Index):
        a, b = (
            int(x) - x.base if isinstance(x, Index) and isinstance(y, np.integer) else x
            for x, y in ((a, b), (b, a))
        )
    relations: dict[str, Any] = {
        "=": a == b,
        "<": a < b,
        ">": a > b,
        "\\lt": a < b,
        "\\gt": a > b,
        "\\le": a <= b,
        "\\leq": a <= b,
        "\\ge": a >= b,
        "\\geq": a >= b,
        "\\ne": a != b,
        "\\neq": a != b,
    }
    return bool(relations[relation])


def _place(node: Node) -> int | None:
    return node.start_pos if isinstance(node, Token) else getattr(node.meta, "start_pos", None)


# Comparing


@dataclass(frozen=True)
class Text:
    """What a chapter says of one loss: its bindings and its displays, each with its line."""

    loss: str
    options: list[str]
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
            options = [part.strip() for part in (match["options"] or "").split(",") if part.strip()]
            bindings = []
            for part in re.split(r",(?![^{\[]*[}\]])", match["bindings"]):
                bound = _BINDING.match(part)
                if not bound:
                    message = f"expected a binding as x = logits, got {part.strip()!r}"
                    raise ChapterError(chapter.path, line, message)
                bindings.append((bound["symbol"], bound["argument"]))
            found.append(Text(match["loss"], options, bindings, line))
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
    summed = isinstance(of, Tree) and of.data == "big"
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
                    raise FormulaError("expected an equation", _place(left))
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
            for env, theirs in _truths(draw, wanted, item):
                for member in members:
                    ours = scope.evaluate(member, scope.indices | env)
                    if np.shape(ours) != np.shape(theirs):
                        raise FormulaError(
                            f"the formula has the shape {np.shape(ours)}, "
                            f"{text.loss} {np.shape(theirs)}",
                            _place(member),
                        )
                    error = np.abs(ours - theirs) / np.maximum(np.abs(theirs), FLOOR)
                    if not np.all(error <= TOLERANCE):
                        where = "".join(f", {k} = {int(v)}" for k, v in env.items())
                        raise FormulaError(
                            f"at item {list(item)}{where} the formula gives {_shown(ours)}, "
                            f"{text.loss} {_shown(theirs)} ({label})",
                            _place(member),
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
        raise FormulaError(f"{spell(node)} is bound to no argument", _place(node))
    b = draw.bounds[spell(node)]
    slope = draw.slice(b, draw.slope(b, None if wanted.summed else item), item)
    if len(letters) > np.ndim(slope):
        raise FormulaError(f"expected {spell(node)} with {np.ndim(slope)} indices", _place(node))
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
