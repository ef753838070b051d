"""The contract: one battery of checks that every loss of the book must pass.

Each loss's test file holds `cases()`, a list with one `Case` per public function. pytest runs
every check on every case and writes what it measured to `build/vetting/<loss>.json`, from which
the vetting cards are drawn. The same without pytest: `python -m tests.contract [LOSS ...]`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Inputs = tuple[Any, ...]
Settings = Mapping[str, Any]

# Sound relative errors, |ours - theirs| / (|theirs| + FLOOR), by the dtype of the computation.
TOLERANCES = {
    "float64": 1e-10,
    "float32": 1e-5,
    "float16": 4e-3,
    "bfloat16": 3e-2,
    "autocast": 3e-2,
}
FLOOR = 1e-3


def real(values: Any) -> Tensor:
    """Make a float64 tensor of numbers, lists or a NumPy array."""
    return torch.as_tensor(np.array(values, dtype=np.float64))


def integer(values: Any) -> Tensor:
    """Make an int64 tensor of numbers, lists or a NumPy array."""
    return torch.as_tensor(np.array(values, dtype=np.int64))


@dataclass(frozen=True)
class Case:
    """What the contract must know of one loss. Only `loss`, `inputs` and `reference` are required.

    An input is a tensor, a list of tensors, None or anything else that the loss takes (a critic).
    "Input 1" below is the second positional argument. Keep shapes small and unequal: (4, 3), not
    (3, 3), and never one draw that happens to be symmetric.

    Attributes:
        loss: The function.
        inputs: Draws one set of inputs from a NumPy generator: float64, int64 or bool tensors,
            away from kinks. A tuple of such functions where the loss takes several forms (labels
            or soft targets; flat or dense).
        reference: The paper's equation, transcribed naively in NumPy and written differently from
            the code: called with arrays and settings, returns the unreduced values. The same
            function is run twice: in float64 on random draws, and on the extremes with arrays of
            mpmath numbers of some hundred digits, where naive is exact. So use operators, methods
            (`x.sum(1)`) and NumPy's elementwise functions; np.linalg, scipy and arrays made by
            np.zeros hold no mpmath numbers.
        exact: Takes the place of `reference` on the extremes, where that cannot run there.
        settings: Keyword arguments to sweep. The first are those of which the facts speak:
            the defaults, or the least that the signature demands. Values may be tensors.
        adversarial: Named inputs at which code breaks: a logit of 1e4, a zero residual, the knee,
            equal vectors, an empty mask. Value is compared with the exact one, value and gradient
            must be finite in every dtype that can hold them.
        domains: The interval from which hypothesis draws each floating input, by index: 0 to 1
            for probabilities; None keeps what `inputs` drew (labels -1 and 1, boxes). Not named:
            -1000 to 1000. Narrow it where cancellation makes even a right answer inexact.
        differentiable: Inputs that get gradients; None means every floating one.
        detached: Floating inputs that must get none (a teacher, centers).
        gradient: The closed form that the chapter derives, in NumPy as `reference`: the gradient
            of the sum of the losses for each differentiable input (an array, or a tuple of them,
            None where the chapter gives none). nan where the chapter defines no gradient.
        batch: Inputs that share the batch axis 0, which the values have too; None means every
            tensor, () no batch axis.
        classes: Axis on which the classes lie, by input or by name of a setting: {0: 1, 1: 1,
            "alpha": 0}; integer inputs named here are relabeled. "values": 1 if the losses
            themselves are per class. None where classes cannot be exchanged.
        invariances: name -> function of the inputs that gives other inputs with the same values.
        relations: name -> function of (loss, *inputs) that gives two tensors that must agree:
            {"gamma 0 is cross entropy": lambda loss, x, y: (loss(x, y, gamma=0.0), ...)}. Call
            the `loss` that is handed in, so that mutants can be caught.
        peers: distribution name (with a word after it, if need be) -> function of inputs and
            settings, which imports its library inside and gives an unreduced array, or a scalar
            to compare with our mean. It returns NotImplemented for settings that it lacks. A
            float32 answer is compared as float32.
        errors: (inputs, settings, pattern of the ValueError's message). "expected ..., got ..."
            is demanded of each.
        facts: What the card states, at the first settings. "range": (low, high), both reached or
            approached by the adversarial inputs; "perfect" and "chance": (inputs, value); "empty":
            (inputs, value), where no values on an empty batch is not the answer; "convex": bool,
            in the first differentiable input.
        tolerances: Own bounds by dtype or "autocast", with the reason in a comment.
        exempt: check, or "check/part" -> why it is not run.
    """

    loss: Callable[..., Tensor]
    inputs: Callable[[np.random.Generator], Inputs] | tuple[Callable[..., Inputs], ...]
    reference: Callable[..., Any]
    exact: Callable[..., Any] | None = None
    settings: Sequence[Settings] = ({},)
    adversarial: Mapping[str, Inputs] = field(default_factory=dict)
    domains: Mapping[int, tuple[float, float] | None] = field(default_factory=dict)
    differentiable: tuple[int, ...] | None = None
    detached: tuple[int, ...] = ()
    gradient: Callable[..., Any] | None = None
    batch: tuple[int, ...] | None = None
    classes: Mapping[int | str, int] | None = None
    invariances: Mapping[str, Callable[..., Inputs]] = field(default_factory=dict)
    relations: Mapping[str, Callable[..., tuple[Any, Any]]] = field(default_factory=dict)
    peers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    errors: Sequence[tuple[Inputs, Settings, str]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    tolerances: Mapping[str, float] = field(default_factory=dict)
    exempt: Mapping[str, str] = field(default_factory=dict)
