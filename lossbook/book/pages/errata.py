"""The errata: wrong snippets that are widely copied, each run beside the right one."""

import ast
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import yaml

from lossbook.book.runs.chapters import relative

__all__ = ["Erratum", "ErratumError", "Value", "evaluate", "load", "page"]

Value = float | list[float]


class ErratumError(Exception):
    """What is wrong with an entry, with its file."""


@dataclass(frozen=True)
class Erratum:
    """One entry of `errata.yaml`; the file's head says what each key means."""

    id: str
    title: str
    losses: list[str]
    where: str
    setup: str
    wrong: str
    right: str
    compare: str
    why: str
    symptom: str
    numbers: dict[str, str] = field(default_factory=dict)


def load(path: Path) -> list[Erratum]:
    """Read the entries of a file.

    Raises:
        ErratumError: If the file is not a YAML list, a key is missing, unknown or of another type,
            or an id is taken.
    """
    try:
        entries = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ErratumError(f"{relative(path)}: {error}") from None
    if not isinstance(entries, list):
        raise ErratumError(f"{relative(path)}: expected a list, got {type(entries).__name__}")
    errata: list[Erratum] = []
    for number, entry in enumerate(entries, 1):
        taken = {erratum.id for erratum in errata}
        name = entry.get("id", f"entry {number}") if isinstance(entry, dict) else f"entry {number}"
        try:
            errata.append(_checked(entry, taken))
        except ErratumError as error:
            raise ErratumError(f"{relative(path)}: {name}: {error}") from None
    return errata


def _checked(entry: Any, taken: set[str]) -> Erratum:
    """Make an entry of what the file says, or say what is wrong with it."""
    if not isinstance(entry, dict):
        raise ErratumError(f"expected keys and values, got {entry!r}")
    kinds = {f.name: str for f in fields(Erratum)} | {"losses": list, "numbers": dict}
    entry = {"numbers": {}, **entry}
    for complaint, keys in (
        ("missing", kinds.keys() - entry.keys()),
        ("unknown", entry.keys() - kinds.keys()),
    ):
        if keys:
            raise ErratumError(f"{complaint} keys: {', '.join(sorted(map(str, keys)))}")
    for key, kind in kinds.items():
        if not isinstance(entry[key], kind) or (key != "numbers" and not entry[key]):
            raise ErratumError(f"expected {key} to be a {kind.__name__}, got {entry[key]!r}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry["id"]):
        raise ErratumError(f"expected an id of lower-case words and hyphens, got {entry['id']!r}")
    if entry["id"] in taken:
        raise ErratumError("this id is taken")
    if not re.fullmatch(r"value|gradient of \w+", entry["compare"]):
        got = entry["compare"]
        raise ErratumError(f"expected compare to be 'value' or 'gradient of x', got {got!r}")
    for key in ("setup", "wrong", "right"):
        try:
            tree = ast.parse(entry[key])
        except SyntaxError as error:
            raise ErratumError(f"{key}: line {error.lineno}: {error.msg}") from None
        if key != "setup" and not isinstance(tree.body[-1], ast.Expr):
            raise ErratumError(f"{key}: expected an expression on the last line")
    return Erratum(**entry)


def evaluate(erratum: Erratum) -> tuple[Value, Value]:
    """Run an entry, each side in a fresh namespace, and return (wrong, right)."""
    return _side(erratum, erratum.wrong), _side(erratum, erratum.right)


def _side(erratum: Erratum, code: str) -> Value:
    namespace = _execute(erratum, erratum.setup)
    value = torch.as_tensor(_execute(erratum, code, namespace)["_"])
    if erratum.compare != "value":
        by = namespace[erratum.compare.removeprefix("gradient of ")]
        (value,) = torch.autograd.grad(value.sum(), by)
    return _plain(value)


def _plain(value: Any) -> Value:
    """Return a number, or a list of them, with what was written as a tensor or in Python."""
    found: Value = (torch.as_tensor(value).detach().squeeze() + 0).tolist()  # -0 becomes 0.
    return found


def _execute(
    erratum: Erratum, code: str, namespace: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Run `code`; the value of its last line, if that is an expression, is named `_`."""
    namespace = {} if namespace is None else namespace
    tree = ast.parse(code)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        store = ast.Name("_", ast.Store())
        tree.body[-1] = ast.copy_location(ast.Assign([store], last.value), last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Some wrong lines are warned about; most are not.
        exec(compile(ast.fix_missing_locations(tree), f"<{erratum.id}>", "exec"), namespace)
    return namespace


def _told(erratum: Erratum, values: tuple[Value, Value]) -> dict[str, str]:
    """Fill the numbers into the entry's texts."""
    shown: dict[str, Value] = dict(zip(("wrong", "right"), values, strict=True))
    scope = _execute(erratum, erratum.setup) | shown
    numbers = {name: _plain(eval(code, dict(scope))) for name, code in erratum.numbers.items()}
    return {
        key: getattr(erratum, key).strip().format_map(shown | numbers) for key in ("why", "symptom")
    }


def _number(value: Value) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_number, value)) + "]"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.4f}" if abs(value) >= 1e-3 else f"{value:.1e}"


def page(entries: Iterable[Erratum], chapters: Mapping[str, str] | None = None) -> str:
    """Write the errata page, running every entry.

    Args:
        entries: What `load` returned.
        chapters: The relative link to the chapter of each loss that has one.
    """
    parts = [
        "# Errata\n\n"
        "Wrong snippets and wrong numbers that are copied from page to page. Each is rewritten "
        "here and run beside the right line, on an input that tells them apart; every number "
        "below comes from that run.\n"
    ]
    for erratum in entries:
        values = evaluate(erratum)
        told = _told(erratum, values)
        compared = re.sub(r"(\w+)$", r"`\1`", erratum.compare.removeprefix("value"))
        names = [
            f"[{loss}]({chapters[loss]})" if chapters and loss in chapters else f"`{loss}`"
            for loss in erratum.losses
        ]
        parts.append(
            f"## {erratum.title}\n\n"
            f"Seen in {erratum.where}. It touches {', '.join(names)}.\n\n"
            f"```py\n{erratum.setup.strip()}\n```\n\n"
            f"**Wrong.** The {compared or 'value'} is {_number(values[0])}.\n\n"
            f"```py\n{erratum.wrong.strip()}\n```\n\n"
            f"**Right.** The {compared or 'value'} is {_number(values[1])}.\n\n"
            f"```py\n{erratum.right.strip()}\n```\n\n"
            f"{told['why']}\n\n"
            f"**In training.** {told['symptom']}\n"
        )
    return "\n".join(parts)
