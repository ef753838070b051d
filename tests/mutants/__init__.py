"""Wrong losses, each a bug that somebody has shipped or could, and the check that must catch it.

A module here has the stem of a loss file, and a list `MUTANTS`: edits of the file's text, a line
each, and functions written anew where the bug has another shape than the file.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Kinds of bugs that hide where nobody looks. Every function has one of each that it can have.
KINDS = (
    "two classes",  # Wrong for two classes only.
    "setting",  # Wrong away from the settings that are listed.
    "dim",  # `dim` ignored where all axes look alike.
    "dtype",  # The value is right, its dtype is not.
)


@dataclass(frozen=True)
class Mutant:
    """A wrong version of a public name.

    Attributes:
        of: The public name.
        name: What is wrong.
        killed_by: The check of the contract that must fail, or a test function of the loss's
            test file.
        make: Makes the wrong function or class.
        kind: One of `KINDS`, if it is of one.
    """

    of: str
    name: str
    killed_by: str
    make: Callable[[], Any]
    kind: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in (None, *KINDS):
            raise ValueError(f"expected a kind of {KINDS}, got {self.kind!r}")


class Mutants(list[Mutant]):
    """A list to which functions add themselves."""

    def of(self, of: str, name: str, *, killed_by: str, kind: str | None = None) -> Any:
        def add(loss: Callable[..., Any]) -> Callable[..., Any]:
            self.append(Mutant(of, name, killed_by, lambda: loss, kind))
            return loss

        return add


def edits(module: str, table: Mapping[str, Iterable[tuple[str, ...]]]) -> Mutants:
    """Make mutants of a module from a table.

    Args:
        module: Its dotted name.
        table: For each public name rows of what is wrong, the old text, the new text, the check
            that kills it and, where it is of one, its kind. The old text stands once in the
            function, or else once in the module: the same bug, wherever the file goes.
    """
    return Mutants(
        Mutant(of, name, killed_by, lambda edit=(of, old, new): _edited(module, *edit), *kind)
        for of, rows in table.items()
        for name, old, new, killed_by, *kind in rows
    )


def _edited(module: str, of: str, old: str, new: str) -> Any:
    """Run a module's source with one piece of text changed, and give the public name."""
    loaded = importlib.import_module(module)
    source, own = inspect.getsource(loaded), inspect.getsource(getattr(loaded, of))
    part = own if own.count(old) == 1 else source
    changed = source.replace(part, replaced(part, old, new, f"{of} or {module}"))
    namespace: dict[str, Any] = {"__name__": module, "__file__": loaded.__file__}
    exec(compile(changed, f"<{of}: {new}>", "exec"), namespace)
    return namespace[of]


def replaced(source: str, old: str, new: str, where: str) -> str:
    """Replace a text that stands once in a source."""
    if source.count(old) != 1:
        raise ValueError(f"expected {old!r} once in {where}, got it {source.count(old)} times")
    return source.replace(old, new)
