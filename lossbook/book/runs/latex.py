r"""The LaTeX of formulas, read by a grammar of its own and computed.

What can be written is listed in docs/notation.md. What is not there, is left over or has no value
is an error.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Self

import numpy as np
from lark import Lark, Token, Tree, UnexpectedInput

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

GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|kappa|lambda|mu|nu|xi|pi|rho"
    "|sigma|tau|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega|ell"
    "|partial|nabla|top|infty"
)
DRESS = "hat|bar|tilde|vec|mathbf|mathrm|mathcal|boldsymbol|operatorname"
PLAIN = "log|ln|exp|sin|cos|tan|arccos|arcsin|arctan|sinh|cosh|tanh|max|min|det"

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
    words = [name for name in FUNCTIONS if name[0] != "\\" and name not in PLAIN.split("|")]
    grammar = (
        GRAMMAR.replace("@GREEK", GREEK)
        .replace("@DRESS", DRESS)
        .replace("@PLAIN", PLAIN)
        .replace("@NAMED", "|".join(words))
        .replace("@APPLIED", "|".join([f"({x})(?![A-Za-z])" for x in greek] + sorted(applied)))
    )
    return Lark(grammar, parser="lalr", propagate_positions=True)


def spell(node: Node) -> str:
    r"""Write a symbol in one way: `\hat{y}` as `\hat y`, `p_{t}` as `p_t`."""
    if isinstance(node, Token):
        return _spell_word(node)
    mark = {"index": "_", "power": "^"}.get(node.data, " ")
    parts = [spell(child) for child in node.children if child is not None]
    return parts[0] + mark + parts[1] if mark != " " and len(parts) == 2 else "".join(parts)


@cache
def _spell_word(word: str) -> str:
    word = re.sub(r"[{}\s]+", " ", word).strip()
    word = re.sub(r"^\\(mathrm|operatorname) ?(?!\\)", "", word)
    return re.sub(r"^(\\[a-z]+)(?=\\)", r"\1 ", word)


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
            raise FormulaError(f"{name} has two meanings", place_of(left))
        self.definitions[name] = ([spell(argument) for argument in arguments], right)

    def evaluate(self, node: Node, env: dict[str, Any]) -> Any:
        """Compute an expression. `env` has the values of indices and of functions' arguments."""
        if isinstance(node, Token):
            return self._token(node, env)
        try:
            return getattr(self, f"_{node.data}")(node, env)
        except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError) as error:
            raise FormulaError(str(error), place_of(node)) from error

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
        raise FormulaError(f"{name} has no value", place_of(token))

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
                place_of(node),
            )
        given = {k: v for k, v in zip(parameters, arguments, strict=True) if v is not None}
        key = (name, tuple(map(str, arguments)))
        if key not in self.known:
            self.known[key] = None
            self.known[key] = self.evaluate(body, self.indices | given)
        if self.known[key] is None:
            raise FormulaError(f"{name} is defined by itself", place_of(node))
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
                f"{name} has {np.ndim(value)} indices, got {len(places)}", place_of(node)
            )
        for place, size in zip(places, np.shape(value), strict=False):
            if not 0 <= place < size:
                raise FormulaError(f"{name} has no place {place + 1} of {size}", place_of(node))
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
            raise FormulaError(f"expected an index, got {value}", place_of(item))
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
                    raise FormulaError("expected an index first", place_of(item))
                names.append(spell(left))
            if upper is None:
                conditions.append(item)
                name = spell(right)
                if isinstance(right, Token) and right.type == "NAME" and not self._has(name, env):
                    names.append(name)
        if not names:
            raise FormulaError("expected an index", place_of(node))
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
            raise FormulaError(f"nothing in the sum has the index {name}", place_of(at))
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
        raise FormulaError("no case applies", place_of(node))

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
            raise FormulaError(f"shapes {np.shape(a)} and {np.shape(b)}", place_of(node))
        return number(a) + sign * number(b)

    def _subtract(self, node: Node, env: dict[str, Any]) -> Any:
        return self._add(node, env, -1)

    def _juxtapose(self, node: Node, env: dict[str, Any]) -> Any:
        a, b = map(number, self._two(node, env))
        if np.ndim(a) and np.ndim(b):
            if np.ndim(a) == np.ndim(b) == 1:
                raise FormulaError(r"two vectors side by side: write \cdot", place_of(node))
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
            raise FormulaError(
                f"expected a norm of 1, 2, F or infinity, got {kind}", place_of(node)
            )
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
        if name in self.values or name in self.definitions:
            raise FormulaError(f"{name} is a number here: write \\cdot", place_of(node))
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


def place_of(node: Node) -> int | None:
    """Tell at which character a piece starts."""
    return node.start_pos if isinstance(node, Token) else getattr(node.meta, "start_pos", None)
