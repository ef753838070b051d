"""Wrong losses, each a bug that somebody has shipped, and the check that must catch it.

A module here has the stem of a loss file, and a list `MUTANTS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """A wrong version of a public name.

    Attributes:
        of: The public name.
        name: What is wrong.
        killed_by: The check of the contract that must fail, or a test function of the loss's
            test file.
        loss: The wrong function or class.
    """

    of: str
    name: str
    killed_by: str
    loss: Callable[..., Any]


class Mutants(list[Mutant]):
    """A list to which functions add themselves."""

    def of(self, of: str, name: str, *, killed_by: str) -> Callable[..., Any]:
        def add(loss: Callable[..., Any]) -> Callable[..., Any]:
            self.append(Mutant(of, name, killed_by, loss))
            return loss

        return add
