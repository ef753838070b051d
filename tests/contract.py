"""The contract: one battery of checks that every loss of the book must pass.

Each loss's test file holds `cases()`, a list with one `Case` per public function. pytest runs
every check on every case and writes what it measured to `build/vetting/<loss>.json`, from which
the vetting cards are drawn. The same without pytest: `python -m tests.contract [LOSS ...]`.
"""

import argparse
import contextlib
import functools
import hashlib
import importlib
import inspect
import itertools
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import hypothesis
import mpmath
import numpy as np
import torch
from filelock import FileLock
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

os.environ.setdefault("KERAS_BACKEND", "torch")  # Read when a peer imports Keras,
os.environ.setdefault("KERAS_TORCH_DEVICE", "cpu")  # which else takes a GPU that it sees,
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # or JAX, which would take most of a GPU's memory.

ROOT = Path(__file__).resolve().parent.parent
VETTING = ROOT / "build" / "vetting"


def sha256(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


# What the files were when they were imported: a file that is edited meanwhile was not run.
IMPORTED = {
    path: sha256(path) for path in [*ROOT.glob("lossbook/**/*.py"), *ROOT.glob("tests/**/*.py")]
}

Inputs = tuple[Any, ...]
Settings = Mapping[str, Any]

# Sound relative errors, |ours - theirs| / (|theirs| + FLOOR), by the dtype of the computation. In
# half precision: one rounding, of what was computed in float32.
TOLERANCES = {
    "float64": 1e-10,
    "float32": 1e-4,
    "float16": 5e-4,
    "bfloat16": 4e-3,
    "autocast": 1.6e-2,
}
FLOOR = 1e-3
SAME = 1e-12  # Between two runs of the same formula, whose sums may be ordered differently.


def real(values: Any) -> Tensor:
    """Make a float64 tensor of numbers, lists or a NumPy array."""
    return torch.as_tensor(np.array(values, dtype=np.float64))


def integer(values: Any) -> Tensor:
    """Make an int64 tensor of numbers, lists or a NumPy array."""
    return torch.as_tensor(np.array(values, dtype=np.int64))


@dataclass(frozen=True, eq=False)  # One of its own kind, by which draws are kept.
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
            np.zeros hold no mpmath numbers. A list of tensors arrives as a list of arrays.
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
            of the sum of the losses for the one differentiable input, or a tuple with one for
            each (None where the chapter gives none). nan where no gradient is defined.
        batch: Inputs, and settings by name, that share the batch axis 0, which the values have
            too; None means every input, () no batch axis.
        classes: Axis on which the classes lie, by input or by name of a setting: {0: 1, 1: 1,
            "alpha": 0}; integer inputs named here are relabeled. "values": 1 if the losses
            themselves are per class. None where classes cannot be exchanged.
        invariances: name -> function of the inputs that gives other inputs with the same values.
        relations: name -> function of (loss, *inputs) that gives two tensors that must agree:
            {"gamma 0 is cross entropy": lambda loss, x, y: (loss(x, y, gamma=0.0), ...)}. Call
            the `loss` that is handed in, so that mutants can be caught. It returns
            NotImplemented for inputs of which it does not speak.
        peers: distribution name (with a word after it, if need be) -> function of inputs and
            settings, which imports its library inside and gives an unreduced array, or a scalar
            to compare with our mean. It returns NotImplemented for settings that it lacks. A
            float32 answer is compared as float32.
        errors: (inputs, settings, pattern of the ValueError's message). "expected ..., got ..."
            is demanded of each.
        facts: What the card states, at the first settings. "range": (low, high), both reached or
            approached by the adversarial inputs; "perfect" and "chance": (inputs, value), and in
            words what the value depends on; "empty": (inputs, value), where no values on an empty
            batch is not the answer; "convex": bool, in the first differentiable input.
        ranges: For each real-valued setting the interval from which its values are drawn, as
            numbers and as 0-d tensors: {"gamma": (0.0, 5.0)}. The ends are drawn too.
        near: Draws inputs next to the best prediction, at distances from 1 down to 1e-6 and at 0,
            for losses whose least value is 0: there the value must keep its digits.
        infinite: Named inputs with infinite logits, and the values that are right there. Gradients
            must be finite wherever the value is; for sigmoid losses everywhere.
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
    batch: tuple[int | str, ...] | None = None
    classes: Mapping[int | str, int] | None = None
    invariances: Mapping[str, Callable[..., Inputs]] = field(default_factory=dict)
    relations: Mapping[str, Callable[..., tuple[Any, Any]]] = field(default_factory=dict)
    peers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    errors: Sequence[tuple[Inputs, Settings, str]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    near: Callable[[np.random.Generator], Inputs] | None = None
    infinite: Mapping[str, tuple[Inputs, Any]] = field(default_factory=dict)
    tolerances: Mapping[str, float] = field(default_factory=dict)
    exempt: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.exempt:
            if key.split("/")[0] not in CHECKS:
                raise ValueError(f"expected exempt to name checks of {list(CHECKS)}, got {key!r}")
        for key in self.facts:
            if key not in ("range", "perfect", "chance", "empty", "convex"):
                raise ValueError(f"expected facts of the five kinds, got {key!r}")

    @property
    def name(self) -> str:
        return self.loss.__name__

    @property
    def file(self) -> str:
        """The path of the loss file from the repository's root."""
        return Path(inspect.getsourcefile(self.loss)).resolve().relative_to(ROOT).as_posix()

    @property
    def forms(self) -> tuple[Callable[..., Inputs], ...]:
        return self.inputs if isinstance(self.inputs, tuple) else (self.inputs,)

    def draws(self, count: int) -> Iterator[tuple[str, Inputs, Settings]]:
        """Give `count` random inputs of each form, with each of the settings."""
        for form in self.forms:
            for seed in range(count):
                for settings in self.settings:
                    inputs = form(np.random.default_rng(seed))
                    yield f"{form.__name__}, seed {seed}, {dict(settings)}", inputs, settings

    def graphs(self) -> Iterator[tuple[str, Inputs, Settings]]:
        """Give each form with the first settings, and the first form with each of the others."""
        for k, form in enumerate(self.forms):
            for settings in self.settings[: 1 if k else None]:
                inputs = form(np.random.default_rng(0))
                yield f"{form.__name__}, {dict(settings)}", inputs, settings

    def points(self) -> Iterator[tuple[str, Inputs, Settings]]:
        """Give the adversarial inputs, with each of the settings."""
        for name, inputs in self.adversarial.items():
            for settings in self.settings:
                yield f"{name!r}, {dict(settings)}", inputs, settings

    def gets_gradient(self, inputs: Inputs) -> list[int]:
        """List the inputs that are differentiated."""
        if self.differentiable is not None:
            return list(self.differentiable)
        floating = [i for i, x in enumerate(inputs) if any(map(is_floating, tensors(x)))]
        return [i for i in floating if i not in self.detached]

    def tolerance(self, dtype: str) -> float:
        return self.tolerances.get(dtype, TOLERANCES[dtype])


# Nested inputs


def each(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Apply a function to every tensor in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (list, tuple)):
        return type(value)(each(function, item) for item in value)
    if isinstance(value, dict):
        return {key: each(function, item) for key, item in value.items()}
    return value


def tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    each(found.append, value)
    return found


def is_floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def cast(value: Any, dtype: torch.dtype) -> Any:
    return each(lambda x: x.to(dtype) if is_floating(x) else x, value)


def holds(given: Tensor, narrow: Tensor) -> bool:
    """Whether a dtype can hold what was given: not 1e200 in float32."""
    return given.isfinite().equal(narrow.isfinite())


def refill(value: Any, leaves: Sequence[Tensor]) -> Any:
    """Put other tensors in the places of those in `value`."""
    queue = iter(leaves)
    return each(lambda _: next(queue), value)


def splice(inputs: Inputs, changed: Mapping[int, Any]) -> Inputs:
    return tuple(changed.get(i, x) for i, x in enumerate(inputs))


def differentiate(
    case: Case, inputs: Inputs, settings: Settings, only: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Compute the values, and the gradient of their mean for the differentiable tensors.

    `only` lets just one of those tensors require a gradient.
    """
    places = case.gets_gradient(inputs)
    leaves = [x.detach().clone() for i in places for x in tensors(inputs[i])]
    wanted = leaves if only is None else [leaves[only]]
    for leaf in wanted:
        leaf.requires_grad_()
    queue = iter(leaves)
    inputs = splice(inputs, {i: each(lambda _: next(queue), inputs[i]) for i in places})
    values = case.loss(*inputs, **settings)
    if not wanted:
        return values, []
    upstream = torch.full_like(values, 1 / max(values.numel(), 1))
    gradients = torch.autograd.grad(values, wanted, upstream, materialize_grads=True)
    return values.detach(), list(gradients)


# The reference, in float64 and exactly


class Digits(np.ndarray):
    """An object array of mpmath numbers on which NumPy's functions work.

    Division by zero gives inf or nan, as in NumPy.
    """

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any
    ) -> Any:
        plain = [np.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs]
        if method == "__call__" and ufunc in EXACT:
            function = np.frompyfunc(EXACT[ufunc], ufunc.nin, 1)
            result = function(*plain)
            if ufunc in (np.isnan, np.isinf, np.isfinite):
                return np.asarray(result, dtype=bool)
        else:
            result = getattr(ufunc, method)(*plain, **kwargs)
        if out is not None:
            out[0][...] = result
            return out[0]
        return digits(result)

    def __getitem__(self, index: Any) -> Any:
        return digits(super().__getitem__(index))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return digits(super().__array_function__(function, types, args, kwargs))


def digits(values: Any) -> Any:
    """View numbers as `Digits`; leave arrays of bool and int alone."""
    if isinstance(values, (list, tuple)):
        return values
    array = np.asarray(values)
    if array.dtype.kind in "biu":
        return values
    return np.asarray(np.frompyfunc(mpmath.mpf, 1, 1)(array), dtype=object).view(Digits)


def logarithm(a: Any) -> Any:
    # A hundred digits of log(1 - exp(-10000)) are enough; five thousand take seconds.
    with mpmath.workdps(min(100, mpmath.mp.dps)):
        return mpmath.log(a) if a >= 0 else mpmath.nan


def divide(a: Any, b: Any) -> Any:
    a, b = mpmath.mpf(a), mpmath.mpf(b)
    return a / b if b else a * mpmath.inf


def power(a: Any, b: Any) -> Any:
    a, b = mpmath.mpf(a), mpmath.mpf(b)
    if a == 0 and b < 0:
        return mpmath.inf
    # Roots of other than squares cost as much as logarithms.
    with mpmath.workdps(mpmath.mp.dps if 2 * b == int(2 * b) else min(100, mpmath.mp.dps)):
        result = a**b
    return mpmath.nan if isinstance(result, mpmath.mpc) else result


EXACT = (
    {
        np.divide: divide,
        np.power: power,
        np.float_power: power,
        np.isnan: mpmath.isnan,
        np.isinf: mpmath.isinf,
        np.isfinite: mpmath.isfinite,
        np.log: logarithm,
        np.arccos: mpmath.acos,
        np.arcsin: mpmath.asin,
        np.arctan: mpmath.atan,
        np.arctanh: mpmath.atanh,
        np.square: lambda x: x * x,
        np.reciprocal: lambda x: divide(1, x),
        np.logaddexp: lambda x, y: logarithm(mpmath.exp(x) + mpmath.exp(y)),
    }
    | {
        getattr(np, name): getattr(mpmath, name)
        for name in ("exp", "expm1", "log1p", "sqrt", "cbrt", "hypot", "floor", "ceil")
    }
    | {
        getattr(np, name): getattr(mpmath, name)
        for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")
    }
)


def as_numpy(value: Any) -> Any:
    return each(lambda x: x.detach().double().numpy() if is_floating(x) else x.numpy(), value)


def naively(case: Case, inputs: Inputs, settings: Settings) -> np.ndarray:
    """Run the reference in float64."""
    with np.errstate(all="ignore"):
        return np.asarray(case.reference(*as_numpy(inputs), **as_numpy(dict(settings))), float)


def exactly(function: Callable[..., Any], inputs: Inputs, settings: Settings) -> Any:
    """Run a naive formula with enough digits for 1 - exp(-x) at the largest x, and round."""
    spans = [x[x.isfinite()] for x in tensors(inputs) if is_floating(x)]
    largest = max((float(x.max().relu() + (-x).max().relu()) for x in spans if len(x)), default=0.0)
    arrays = each(lambda x: digits(as_numpy(x)) if is_floating(x) else x.numpy(), inputs)
    with np.errstate(all="ignore"), mpmath.workdps(50 + int(0.45 * min(largest, 2e4))):
        result = function(*arrays, **as_numpy(dict(settings)))
        if isinstance(result, tuple):
            return tuple(None if x is None else rounded(x) for x in result)
        return rounded(result)


def rounded(values: Any) -> Any:
    if isinstance(values, list):
        return [rounded(x) for x in values]

    def one(value: Any) -> float:
        try:
            return float(value)
        except OverflowError:
            return math.copysign(math.inf, value)

    return np.asarray(np.frompyfunc(one, 1, 1)(np.asarray(values, object)), dtype=np.float64)


# What a check measures


class NotRunError(Exception):
    """A part of a check cannot run here; the message says why."""


@dataclass(frozen=True)
class Options:
    """How checks are run: where `device` looks, whether slow ones run, whether to stop early."""

    device: str = "cpu"
    slow: bool = False
    stop: bool = False


@dataclass
class Measure:
    """What one part of a check has seen so far."""

    error: float | None = None
    cases: int = 0
    note: str = ""

    def close(self, ours: Any, theirs: Any, tolerance: float, where: str) -> None:
        """Demand that two arrays have one shape and agree within a relative error."""
        a, b = (np.asarray(as_numpy(x), dtype=np.float64) for x in (ours, theirs))
        self.demand(a.shape == b.shape, f"shape {a.shape} where {b.shape} was expected, at {where}")
        with np.errstate(invalid="ignore"):
            errors = np.where(a == b, 0.0, np.abs(a - b) / (np.abs(b) + FLOOR))
        worst = float(np.where(np.isnan(errors), math.inf, errors).max(initial=0.0))
        if worst < math.inf:
            self.error = max(worst, self.error or 0.0)
        self.cases += 1
        if not worst <= tolerance:
            with np.printoptions(threshold=12, edgeitems=2):
                message = f"error {worst:.1e} > {tolerance:.0e}, at {where}: {a} is not {b}"
            raise AssertionError(message)

    def demand(self, truth: Any, otherwise: str) -> None:
        if not truth:
            raise AssertionError(otherwise)

    def finite(self, values: Sequence[Tensor], where: str) -> None:
        """Demand that tensors hold neither inf nor nan."""
        self.cases += 1
        for x in values:
            self.demand(x.isfinite().all(), f"{x.tolist()} at {where}")


Part = Callable[[Measure], None]


def explore(case: Case, look: Callable[[str, Inputs, Settings], None]) -> None:
    """Look at inputs that hypothesis draws; where `look` raises, let it search for simpler ones."""

    def see(point: tuple[Inputs, Settings]) -> None:
        inputs, settings = point
        listed = each(lambda x: x.tolist(), inputs)
        look(f"{listed}, {settings}", inputs, settings)

    try:
        for point in drawn(case):
            see(point)
    except Exception:
        search(extreme(case), see, EXAMPLES)
        raise


EXAMPLES = 25
MOST = 3.3e38  # Nearly the largest number in float32.


@functools.lru_cache(maxsize=4)
def drawn(case: Case) -> list[tuple[Inputs, Settings]]:
    """Draw once for all checks: to draw costs more than to compute."""
    found: list[tuple[Inputs, Settings]] = []
    search(extreme(case), found.append, EXAMPLES)
    return found


# Numbers below the normal ones count as 0: many machines flush them.
normal = functools.partial(st.floats, allow_subnormal=False)


def extreme(case: Case) -> st.SearchStrategy[tuple[Inputs, Settings]]:
    """Draw inputs from their domains, and one of the settings."""

    @st.composite
    def points(draw: st.DrawFn) -> tuple[Inputs, Settings]:
        form = draw(st.sampled_from(case.forms))
        settings = draw(st.sampled_from(list(case.settings)))
        inputs = form(np.random.default_rng(draw(st.integers(0, 2**16))))

        def redraw(x: Tensor, low: float, high: float) -> Tensor:
            special = [v for v in (0.0, 1.0, -1.0, 1e-8, low, high) if low <= v <= high]
            number = st.sampled_from(special) | normal(low, high)
            size = x.numel()
            return real(draw(st.lists(number, min_size=size, max_size=size))).reshape(x.shape)

        changed = {}
        for i, x in enumerate(inputs):
            domain = case.domains.get(i, (-1e3, 1e3))
            if domain is not None:
                changed[i] = each(lambda x, d=domain: redraw(x, *d) if is_floating(x) else x, x)
        return splice(inputs, changed), settings

    return points()


def search(points: st.SearchStrategy[Any], see: Callable[[Any], None], examples: int) -> None:
    """Let hypothesis draw points; the same ones in every run."""

    @hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(points)
    def run(point: Any) -> None:
        see(point)

    run()


# The checks: each gives its parts by name


def check_value(case: Case, _: Options) -> dict[str, Part]:
    tolerance = case.tolerance("float64")

    def on_draws(measure: Measure) -> None:
        for where, inputs, settings in case.draws(5):
            ours = case.loss(*inputs, **settings)
            floating = any(map(is_floating, tensors(inputs)))
            kept = ours.dtype == torch.float64 or not floating
            measure.demand(kept, f"{ours.dtype} from float64, at {where}")
            measure.close(ours, naively(case, inputs, settings), tolerance, where)

    def exact(measure: Measure, where: str, inputs: Inputs, settings: Settings) -> None:
        theirs = exactly(case.exact or case.reference, inputs, settings)
        measure.close(case.loss(*inputs, **settings), theirs, tolerance, where)

    def on_points(measure: Measure) -> None:
        measure.demand(case.adversarial, "no adversarial inputs are given")
        for point in case.points():
            exact(measure, *point)

    def on_search(measure: Measure) -> None:
        explore(case, partial(exact, measure))

    return {"random": on_draws, "adversarial": on_points, "hypothesis": on_search}


def check_peers(case: Case, _: Options) -> dict[str, Part]:
    def compare(name: str, peer: Callable[..., Any], measure: Measure) -> None:
        with contextlib.suppress(metadata.PackageNotFoundError):
            measure.note = metadata.version(name.split()[0])
        for where, inputs, settings in case.draws(3):
            try:
                with warnings.catch_warnings(action="ignore"):
                    theirs = peer(*inputs, **settings)
            except ModuleNotFoundError as missing:
                raise NotRunError(f"{missing.name} is not installed") from None
            if theirs is NotImplemented:
                continue
            theirs = theirs.detach().numpy() if isinstance(theirs, Tensor) else np.asarray(theirs)
            ours = case.loss(*inputs, **settings)
            if theirs.ndim == 0:
                ours = ours.mean()
            width = "float32" if theirs.dtype == np.float32 else "float64"
            measure.close(ours, theirs, case.tolerance(width), where)

    return {name: partial(compare, name, peer) for name, peer in case.peers.items()}


def check_gradient(case: Case, _: Options) -> dict[str, Part]:
    def closed_form(measure: Measure) -> None:
        if case.gradient is None:
            raise NotRunError("no closed form is given")
        for where, inputs, settings in itertools.chain(case.draws(2), case.points()):
            formulas = exactly(case.gradient, inputs, settings)
            formulas = formulas if isinstance(formulas, tuple) else (formulas,)
            places = case.gets_gradient(inputs)
            enough = len(formulas) >= len(places)
            measure.demand(enough, f"{len(formulas)} formulas for inputs {places}, at {where}")
            values, found = differentiate(case, inputs, settings)
            queue = iter(found)
            for i, formula in zip(places, formulas, strict=False):
                ours = [next(queue) * values.numel() for _ in tensors(inputs[i])]
                theirs = formula if isinstance(formula, list) else [formula]
                for mine, yours in zip(ours, theirs, strict=True):
                    if yours is None:
                        continue
                    message = f"formula of shape {yours.shape} for input {i}, at {where}"
                    measure.demand(mine.shape == yours.shape, message)
                    known = ~np.isnan(yours)
                    ours_there, tolerance = mine.numpy()[known], case.tolerance("float64")
                    measure.close(ours_there, yours[known], tolerance, f"input {i}, {where}")

    def finite_differences(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            function, leaves = of_leaves(case, inputs, settings)
            measure.cases += 1
            try:
                torch.autograd.gradcheck(function, leaves)
            except RuntimeError as error:
                raise AssertionError(f"{error}, at {where}") from None

    def detached(measure: Measure) -> None:
        for where, inputs, settings in case.draws(5):
            leaves = {
                i: each(lambda x: x.clone().requires_grad_(is_floating(x)), inputs[i])
                for i in range(len(inputs))
            }
            values = case.loss(*leaves.values(), **settings)
            for i in case.detached:
                for x in tensors(leaves[i]):
                    (got,) = torch.autograd.grad(
                        values.sum(), x, retain_graph=True, materialize_grads=True
                    )
                    measure.demand(not got.any(), f"input {i} gets a gradient, at {where}")
                    measure.cases += 1

    parts = {"closed form": closed_form, "finite differences": finite_differences}
    return parts | ({"detached": detached} if case.detached else {})


def of_leaves(
    case: Case, inputs: Inputs, settings: Settings
) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """Make the loss a function of its differentiable tensors alone."""
    places = case.gets_gradient(inputs)
    if not places:
        raise NotRunError("no input gets a gradient")
    chosen = [inputs[i] for i in places]

    def function(*leaves: Tensor) -> Tensor:
        filled = refill(chosen, leaves)
        changed = dict(zip(places, filled, strict=True))
        return case.loss(*splice(inputs, changed), **settings)

    return function, [x.clone().requires_grad_() for x in tensors(chosen)]


def check_second_gradient(case: Case, _: Options) -> dict[str, Part]:
    def finite_differences(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            function, leaves = of_leaves(case, inputs, settings)
            measure.cases += 1
            try:
                torch.autograd.gradgradcheck(function, leaves, fast_mode=True)
            except RuntimeError as error:
                raise AssertionError(f"{error}, at {where}") from None

    return {"finite differences": finite_differences}


def check_extremes(case: Case, _: Options) -> dict[str, Part]:
    def finite_where_it_fits(
        dtype: torch.dtype, measure: Measure, where: str, inputs: Inputs, settings: Settings
    ) -> None:
        given, inputs = inputs, cast(inputs, dtype)
        if not all(map(holds, tensors(given), tensors(inputs))):
            return
        wide = cast(inputs, torch.float64)
        values = case.loss(*inputs, **settings)
        truth = case.loss(*wide, **settings)
        if not truth.isfinite().all():
            truth = real(exactly(case.exact or case.reference, wide, settings))
        fits = truth.abs() < torch.finfo(dtype).max
        measure.finite([values[fits]], f"{dtype}, value, {where}")
        if fits.all():
            slopes = differentiate(case, wide, settings)[1]
            gradients = [
                slope[~(exact.isfinite() & (exact.abs() > torch.finfo(dtype).max))]
                for slope, exact in zip(
                    differentiate(case, inputs, settings)[1], slopes, strict=True
                )
            ]
            measure.finite(gradients, f"{dtype}, gradient, {where}")

    def look(dtype: torch.dtype, measure: Measure) -> None:
        seek = partial(finite_where_it_fits, dtype, measure)
        for point in case.points():
            seek(*point)
        explore(case, seek)

    def nan(measure: Measure) -> None:
        for where, inputs, settings in case.graphs():
            if settings is not case.settings[0]:
                continue
            for i, given in enumerate(inputs):
                if any(map(is_floating, tensors(given))):
                    bad = each(
                        lambda x: torch.full_like(x, math.nan) if is_floating(x) else x, given
                    )
                    values = case.loss(*splice(inputs, {i: bad}), **settings)
                    measure.cases += 1
                    told = f"{values.tolist()} where input {i} is nan, at {where}"
                    measure.demand(bool(values.isnan().all()), told)

    def largest(measure: Measure) -> None:
        """What is finite has a slope that is a number, at the largest numbers that there are."""
        for where, inputs, settings in case.draws(1):
            inputs = cast(inputs, torch.float32)
            for i in unbounded(inputs):
                for step, number in ((2, -MOST), (2, MOST), (3, MOST)):
                    x = inputs[i].clone().flatten()
                    x[::step] = number
                    x = x.view_as(inputs[i]).requires_grad_()
                    values = case.loss(*splice(inputs, {i: x}), **settings)
                    measure.cases += 1
                    if values.isfinite().all():
                        (slope,) = torch.autograd.grad(values, x, torch.ones_like(values))
                        told = f"slope {slope.tolist()} at {x.tolist()}, input {i} of {where}"
                        measure.demand(not slope.isnan().any(), told)

    def unbounded(inputs: Inputs) -> list[int]:
        places = case.gets_gradient(inputs)
        return [i for i in places if i not in case.domains and isinstance(inputs[i], Tensor)]

    kinds = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    parts = {**{name_of(dtype): partial(look, dtype) for dtype in kinds}, "nan": nan}
    if any(unbounded(inputs) for _, inputs, _ in case.draws(1)):
        parts["largest"] = largest
    return parts


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def precision(dtype: torch.dtype, case: Case, _: Options) -> dict[str, Part]:
    def against_float64(measure: Measure) -> None:
        for where, inputs, settings in case.draws(5):
            inputs = cast(inputs, dtype)
            ours, gradients = differentiate(case, inputs, settings)
            measure.demand(ours.dtype == dtype, f"{ours.dtype} from {dtype}, at {where}")
            theirs = naively(case, inputs, settings)
            measure.close(ours, theirs, case.tolerance(name_of(dtype)), where)
            measure.finite(gradients, where)

    return {"against float64": against_float64}


def check_autocast(case: Case, _: Options) -> dict[str, Part]:
    def against_float64(measure: Measure) -> None:
        for where, inputs, settings in case.draws(2):
            inputs = cast(inputs, torch.float32)
            with torch.autocast("cpu", torch.bfloat16):
                ours, gradients = differentiate(case, inputs, settings)
            measure.close(ours, naively(case, inputs, settings), case.tolerance("autocast"), where)
            measure.finite(gradients, where)

    return {"bfloat16": against_float64}


def check_relations(case: Case, _: Options) -> dict[str, Part]:
    def compare(relation: Callable[..., tuple[Any, Any]], measure: Measure) -> None:
        for form in case.forms:
            for seed in range(5):
                inputs = form(np.random.default_rng(seed))
                pair = relation(case.loss, *inputs)
                if pair is not NotImplemented:
                    left, right = pair
                    where = f"{form.__name__}, seed {seed}"
                    measure.close(left, right, case.tolerance("float64"), where)

    return {name: partial(compare, relation) for name, relation in case.relations.items()}


def check_invariances(case: Case, _: Options) -> dict[str, Part]:
    tolerance = case.tolerance("float64")

    def batch(measure: Measure) -> None:
        for where, inputs, settings in case.draws(2):
            places = batch_of(case, inputs)
            size = next(
                x.shape[0] for i in places if i in range(len(inputs)) for x in tensors(inputs[i])
            )
            order = torch.from_numpy(np.random.default_rng(size).permutation(size))
            before = case.loss(*inputs, **settings)
            if before.dim():
                before = before.unflatten(0, (-1, size))[:, order].flatten(0, 1)
            moved, chosen = reorder(inputs, settings, dict.fromkeys(places, 0), order, False)
            measure.close(case.loss(*moved, **chosen), before, tolerance, where)

    def classes(measure: Measure) -> None:
        places = dict(case.classes or {})
        axis = places.pop("values", None)
        for where, inputs, settings in case.draws(2):
            sizes = {
                tensors(inputs[i])[0].shape[at]
                for i, at in places.items()
                if isinstance(i, int) and any(map(is_floating, tensors(inputs[i])))
            }
            measure.demand(len(sizes) == 1, f"expected one number of classes, got {sizes}")
            size = sizes.pop()
            order = torch.from_numpy(np.roll(np.random.default_rng(size).permutation(size), 1))
            before = case.loss(*inputs, **settings)
            if axis is not None:
                before = before.index_select(axis, order)
            moved, chosen = reorder(inputs, settings, places, order, True)
            measure.close(case.loss(*moved, **chosen), before, tolerance, where)

    def named(change: Callable[..., Inputs], measure: Measure) -> None:
        for where, inputs, settings in case.draws(2):
            before = case.loss(*inputs, **settings)
            measure.close(case.loss(*change(*inputs), **settings), before, tolerance, where)

    parts: dict[str, Part] = {} if case.batch == () else {"batch permutation": batch}
    if case.classes:
        parts["class permutation"] = classes
    return parts | {name: partial(named, change) for name, change in case.invariances.items()}


def batch_of(case: Case, inputs: Inputs) -> tuple[int | str, ...]:
    if case.batch is not None:
        return case.batch
    return tuple(i for i, x in enumerate(inputs) if tensors(x))


def reorder(
    inputs: Inputs,
    settings: Settings,
    axes: Mapping[int | str, int],
    order: Tensor,
    relabel: bool,
) -> tuple[Inputs, Settings]:
    """Permute inputs and settings along their axes; integers, if asked, are labels to rename."""
    inverse = order.argsort()

    def move(x: Tensor, axis: int) -> Tensor:
        if relabel and x.dtype == torch.int64:
            return inverse[x]
        return x.index_select(axis, order)

    changed = {
        key: each(partial(move, axis=axis), inputs[key])
        for key, axis in axes.items()
        if isinstance(key, int)
    }
    chosen = {
        key: each(partial(move, axis=axes[key]), value) if key in axes else value
        for key, value in settings.items()
    }
    return splice(inputs, changed), chosen


def check_vmap(case: Case, _: Options) -> dict[str, Part]:
    def stacks() -> Iterator[tuple[str, Callable[..., Tensor], list[list[Tensor]], Settings]]:
        for form in case.forms:
            for settings in case.settings:
                sets = [form(np.random.default_rng(seed)) for seed in range(3)]

                def function(*leaves: Tensor, inputs: Inputs = sets[0], s: Settings = settings):
                    return case.loss(*refill(inputs, leaves), **s)

                where = f"{form.__name__}, {dict(settings)}"
                yield where, function, [tensors(inputs) for inputs in sets], settings

    def values(measure: Measure) -> None:
        for where, function, rows, _ in stacks():
            stacked = [torch.stack(column) for column in zip(*rows, strict=True)]
            loop = torch.stack([function(*row) for row in rows])
            measure.close(torch.vmap(function)(*stacked), loop, SAME, where)

    def gradients(measure: Measure) -> None:
        for where, function, rows, _ in stacks():
            floating = tuple(i for i, x in enumerate(rows[0]) if is_floating(x))
            slope = torch.func.grad(lambda *x, f=function: f(*x).sum(), floating)
            stacked = [torch.stack(column) for column in zip(*rows, strict=True)]
            batched = torch.vmap(slope)(*stacked)
            for k, row in enumerate(rows):
                for ours, theirs in zip(batched, slope(*row), strict=True):
                    measure.close(ours[k], theirs, SAME, where)

    return {"values": values, "gradients": gradients}


def compiled(case: Case, backend: str) -> dict[str, Part]:
    def against_eager(measure: Measure) -> None:
        for where, inputs, settings in case.graphs():
            torch.compiler.reset()
            fast = torch.compile(case.loss, fullgraph=True, backend=backend)
            values, gradients = differentiate(case, inputs, settings)
            ours = differentiate(replace(case, loss=fast), inputs, settings)
            for a, b in zip([ours[0], *ours[1]], [values, *gradients], strict=True):
                measure.close(a, b, SAME, where)
        torch.compiler.reset()

    return {"against eager": against_eager}


def check_compile(case: Case, _: Options) -> dict[str, Part]:
    return compiled(case, "eager")


def check_inductor(case: Case, options: Options) -> dict[str, Part]:
    if not options.slow:
        raise NotRunError("slow: run with --slow")
    if not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise NotRunError("no C++ compiler")
    return compiled(case, "inductor")


class Wrapped(torch.nn.Module):
    """The module that torch.export asks for."""

    def __init__(self, case: Case, inputs: Inputs, settings: Settings) -> None:
        super().__init__()
        self.function = lambda *leaves: case.loss(*refill(inputs, leaves), **settings)

    def forward(self, *leaves: Tensor) -> Tensor:
        return self.function(*leaves)


def check_export(case: Case, _: Options) -> dict[str, Part]:
    def against_eager(measure: Measure) -> None:
        for where, inputs, settings in case.graphs():
            leaves = tuple(tensors(inputs))
            try:
                program = torch.export.export(Wrapped(case, inputs, settings), leaves)
            except Exception as error:
                # Its early forms know neither regions without autocast nor functions of autograd.
                if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
                    why = (
                        f"torch.export of torch {torch.__version__} cannot: {type(error).__name__}"
                    )
                    raise NotRunError(why) from error
                raise
            ours = program.module()(*leaves)
            measure.close(ours, case.loss(*inputs, **settings), SAME, where)

    return {"against eager": against_eager}


def check_layout(case: Case, _: Options) -> dict[str, Part]:
    def strided(x: Tensor) -> Tensor:
        """Copy into memory with gaps, the axes in reverse order."""
        backwards = tuple(reversed(range(x.dim())))
        return torch.stack([x.permute(backwards)] * 2, -1)[..., 0].permute(backwards)

    def non_contiguous(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            ours = case.loss(*each(strided, inputs), **each(strided, dict(settings)))
            measure.close(ours, case.loss(*inputs, **settings), SAME, where)

    def expanded(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            places = [i for i in batch_of(case, inputs) if isinstance(i, int)]
            wide = {i: each(lambda x: x[:1].expand(x.shape), inputs[i]) for i in places}
            ours = splice(inputs, wide)
            full = each(lambda x: x.clone(memory_format=torch.contiguous_format), ours)
            measure.close(case.loss(*ours, **settings), case.loss(*full, **settings), SAME, where)

    def empty(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            places = batch_of(case, inputs)
            nothing = splice(
                inputs,
                {i: each(lambda x: x[:0], inputs[i]) for i in places if isinstance(i, int)},
            )
            chosen = {
                k: each(lambda x: x[:0], v) if k in places else v for k, v in settings.items()
            }
            values, gradients = differentiate(case, nothing, chosen)
            measure.demand(values.numel() == 0, f"{values} from an empty batch, at {where}")
            measure.demand(
                not any(x.any() for x in gradients), f"a gradient from an empty batch, at {where}"
            )
            measure.cases += 1

    def requires_grad(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            values, gradients = differentiate(case, inputs, settings)
            for k, expected in enumerate(gradients):
                alone = differentiate(case, inputs, settings, only=k)
                measure.close(alone[0], values, SAME, where)
                measure.close(alone[1][0], expected, SAME, f"gradient of tensor {k} alone, {where}")
            measure.close(case.loss(*inputs, **settings), values, SAME, f"no gradient, {where}")

    parts = {"non-contiguous": non_contiguous, "requires_grad mix": requires_grad}
    if case.batch != ():
        parts |= {"expanded": expanded}
        if "empty" not in case.facts:
            parts |= {"empty": empty}
    return parts


def check_inputs_unchanged(case: Case, _: Options) -> dict[str, Part]:
    def untouched(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            given = tensors([inputs, dict(settings)])
            before = [(x.clone(), x._version) for x in given]
            first = case.loss(*inputs, **settings)
            second = case.loss(*inputs, **settings)
            measure.demand(first.equal(second), f"two calls differ, at {where}")
            for x, (copy, version) in zip(given, before, strict=True):
                intact = x.equal(copy) and x._version == version and x.grad is None
                measure.demand(intact, f"an input was changed, at {where}")
            measure.cases += 1

    return {"same before and after": untouched}


def check_errors(case: Case, _: Options) -> dict[str, Part]:
    def raised(measure: Measure) -> None:
        for inputs, settings, pattern in case.errors:
            shapes = each(lambda x: tuple(x.shape), inputs)
            try:
                case.loss(*inputs, **settings)
            except ValueError as error:
                for wanted in (pattern, r"expected .+, got .+"):
                    text = str(error)
                    found = re.search(wanted, text, re.DOTALL)
                    measure.demand(found, f"{text!r} does not match {wanted!r}")
            else:
                raise AssertionError(f"no error for shapes {shapes}, {settings}")
            measure.cases += 1

    return {"ValueError": raised} if case.errors else {}


def check_alone(case: Case, _: Options) -> dict[str, Part]:
    def doctest_passes(measure: Measure) -> None:
        report = alone()
        measure.demand(case.file in report, f"{case.file} is not a loss file of lossbook")
        found = report[case.file]
        measure.demand(found["error"] is None, found["error"])
        tried, failed, said = found["examples"].get(case.name, (0, 0, ""))
        measure.demand(tried, f"no doctest in {case.name}")
        measure.demand(not failed, said)
        measure.cases += tried

    return {"doctest": doctest_passes}


ALONE = """
import doctest, importlib.util, json, os, pathlib, sys
site, copies = sys.argv[1:]
sys.path.append(site)
import torch
sys.path.remove(site)
known = set(sys.modules)
report = {}
for path in sorted(pathlib.Path(copies).rglob("*.py")):
    entry = {"error": None, "examples": {}}
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        runner = doctest.DocTestRunner(verbose=False)
        for test in doctest.DocTestFinder().find(module, path.stem):
            said = []
            outcome = runner.run(test, out=said.append)
            name = test.name.removeprefix(path.stem + ".")
            entry["examples"][name] = outcome.attempted, outcome.failed, "".join(said)
        roots = {name.split(".")[0] for name in set(sys.modules) - known}
        others = sorted(roots - sys.stdlib_module_names - {"torch"})
        if others:
            entry["error"] = f"imports {others}"
    except Exception as error:
        entry["error"] = repr(error)
    report[str(path.relative_to(copies))] = entry
print(json.dumps(report))
"""


@functools.cache
def alone() -> dict[str, Any]:
    """Load every loss file alone, once for all processes that test the same files."""
    files = sorted(p for p in ROOT.glob("lossbook/*/*.py") if p.parent.name != "book")
    names = " ".join([ALONE, sys.version, torch.__version__, *map(str, files)])
    key = hashlib.sha256(names.encode() + sha256(*files).encode()).hexdigest()
    kept = ROOT / "build" / "alone" / f"{key}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            draft = kept.with_suffix(".draft")
            draft.write_text(json.dumps(load_alone()))
            draft.replace(kept)
    return json.loads(kept.read_text())


def load_alone() -> dict[str, Any]:
    """Load a copy of every loss file in one fresh interpreter that has torch and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        site, copies = Path(folder, "site"), Path(folder, "copies")
        site.mkdir()
        for name in sorted(needed_by("torch")):
            for top in {Path(f).parts[0] for f in metadata.files(name) or ()} - {"..", "/"}:
                source = Path(str(metadata.distribution(name).locate_file(top)))
                target = site / top
                if source.exists() and not target.exists() and top != "__pycache__":
                    target.symlink_to(source, source.is_dir())
        for path in sorted(ROOT.glob("lossbook/*/*.py")):
            if path.parent.name != "book" and path.name != "__init__.py":
                copy = copies / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
        command = [sys.executable, "-I", "-S", "-c", ALONE, str(site), str(copies)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def needed_by(name: str) -> set[str]:
    """List a distribution and all that it requires here."""
    found: set[str] = set()
    queue = [name]
    while queue:
        name = queue.pop()
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # A requirement of another platform.
        if name not in found:
            found.add(name)
            queue += [re.match(r"[\w.-]+", r)[0] for r in requirements if "extra ==" not in r]
    return found


class Traffic(TorchDispatchMode):
    """Counts the bytes that operators read and write; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += sum(x.nbytes for x in tensors([list(args), result]))
        return result


def check_facts(case: Case, _: Options) -> dict[str, Part]:
    first = case.settings[0]
    tolerance = case.tolerance("float64")

    def span(measure: Measure) -> None:
        low, high = case.facts["range"]
        seen = []

        def look(where: str, inputs: Inputs, _: Settings) -> None:
            values = case.loss(*inputs, **first)
            slack = 1e-9 * (1 + values.abs())
            inside = ((values >= low - slack) & (values <= high + slack)).all()
            measure.demand(inside, f"{values.tolist()} is outside [{low}, {high}], at {where}")
            measure.cases += 1
            seen.extend(values.flatten().tolist())

        for point in itertools.chain(case.draws(5), case.points()):
            look(*point)
        least, most = min(seen), max(seen)
        explore(case, look)
        measure.demand(
            least < -100 if low == -math.inf else least < low + 1e-3,
            f"no adversarial value comes near the lower end {low}: {least}",
        )
        measure.demand(
            most > 100 if high == math.inf else most > high - 1e-3,
            f"no adversarial value comes near the upper end {high}: {most}",
        )
        measure.note = f"{low:g} to {high:g}"

    def at(name: str, measure: Measure) -> None:
        inputs, value, *words = case.facts[name]
        ours = case.loss(*inputs, **first)
        measure.demand(ours.numel(), f"no value to compare for {name!r}")
        measure.close(ours, np.broadcast_to(value, ours.shape), tolerance, name)
        numbers = ", ".join(f"{number:.4g}" for number in np.ravel(value))
        measure.note = ": ".join([numbers, *words])

    def convex(measure: Measure) -> None:
        bent = 0.0
        for form in case.forms:
            for seed in range(20):
                a, b = (form(np.random.default_rng((seed, k))) for k in (0, 1))
                i = case.gets_gradient(a)[0]
                for scale in (1.0, 8.0) if i not in case.domains else (1.0,):
                    ends = [tensors(x[i]) for x in (a, b)]
                    points = [[scale * x for x in ends[0]], [scale * x for x in ends[1]]]
                    middle = [(x + y) / 2 for x, y in zip(*points, strict=True)]
                    left, right, center = (
                        case.loss(*splice(a, {i: refill(a[i], x)}), **first)
                        for x in (*points, middle)
                    )
                    above = (center - (left + right) / 2) / (1 + left.abs() + right.abs())
                    measure.finite([above], f"seed {seed}")
                    bent = max(bent, above.max().item())
        if case.facts["convex"]:
            measure.demand(bent <= 1e-9, f"above its chord by {bent:.1e}")
        else:
            measure.demand(bent > 1e-6, "never above a chord")
        measure.note = "convex" if case.facts["convex"] else "not convex"

    def passes(measure: Measure) -> None:
        inputs = cast(next(case.draws(1))[1], torch.float32)
        many = splice(
            inputs,
            {
                i: each(lambda x: torch.cat(256 * [x]), inputs[i])
                for i in batch_of(case, inputs)
                if isinstance(i, int)
            },
        )
        size = sum(x.nbytes for i in case.gets_gradient(many) for x in tensors(many[i]))
        with Traffic() as forward:
            places = case.gets_gradient(many)
            leaves = {i: each(lambda x: x.clone().requires_grad_(), many[i]) for i in places}
            forward.bytes = 0
            total = case.loss(*splice(many, leaves), **first).sum()
        with Traffic() as backward:
            torch.autograd.grad(total, tensors(list(leaves.values())), allow_unused=True)
        counts = [traffic.bytes / size for traffic in (forward, backward)]
        measure.cases += 1
        measure.demand(all(count > 0 for count in counts), f"no traffic seen: {counts}")
        measure.note = f"{counts[0]:.0f} forward, {counts[1]:.0f} backward"

    parts: dict[str, Part] = {"passes": passes}
    for name in case.facts:
        parts[name] = {"range": span, "convex": convex}.get(name) or partial(at, name)
    return parts


def check_optimum(case: Case, _: Options) -> dict[str, Part]:
    low = case.facts.get("range", (0.0, math.inf))[0]
    if case.near is None and low != 0:
        raise NotRunError(f"its range starts at {low:g}")

    def digits_kept(dtype: torch.dtype, measure: Measure) -> None:
        for seed in range(10):
            inputs = cast(case.near(np.random.default_rng(seed)), dtype)
            for settings in case.settings:
                where = f"{dtype}, seed {seed}, {dict(settings)}"
                ours = np.asarray(as_numpy(case.loss(*inputs, **settings)))
                wide = cast(inputs, torch.float64)
                exact = np.asarray(exactly(case.exact or case.reference, wide, settings))
                measure.demand(ours.shape == exact.shape, f"shape {ours.shape}, at {where}")
                measure.demand((ours >= 0).all(), f"{ours} is negative or nan, at {where}")
                exact = exact.clip(0)
                alike = exact < 1e-40  # What the digits of `exactly` leave of 0.
                measure.demand(not ours[alike].any(), f"{ours} where {exact} is 0, at {where}")
                size = np.maximum(surprise(case, wide, settings, exact), np.sqrt(exact).clip(1))
                errors = np.abs(np.sqrt(ours) - np.sqrt(exact)) / size
                worst, bound = errors.max(initial=0.0), 8 * torch.finfo(dtype).eps
                measure.cases += 1
                measure.error = max(measure.error or 0.0, float(worst))
                message = f"the root is off by {worst:.1e} > {bound:.1e} of its size, at {where}"
                measure.demand(worst <= bound, f"{message}: {ours} is not {exact}")

    kinds = (torch.float64, torch.float32)
    parts: dict[str, Part] = {name_of(dtype): partial(digits_kept, dtype) for dtype in kinds}
    return parts if case.near else {}


def surprise(case: Case, inputs: Inputs, settings: Settings, values: np.ndarray) -> np.ndarray:
    """Find the largest finite |log p| that the inputs speak of, for each row of the values."""
    found = np.zeros((len(values), *[1] * (values.ndim - 1)) if values.ndim else ())
    for i, name in enumerate(positional(case)[: len(inputs)]):
        for x in tensors(inputs[i]):
            if not is_floating(x) or not x.dim():
                continue
            log_p = x
            if name.endswith("logits"):
                axis = (case.classes or {}).get(i, settings.get("dim", 1 if x.dim() > 1 else 0))
                log_p = x.log_softmax(axis)
            elif not name.startswith("log_"):
                continue
            sizes = log_p.abs().masked_fill(~log_p.isfinite(), 0)
            rows = i in batch_of(case, inputs) and values.ndim and len(x) == len(values)
            sizes = sizes.flatten(1).amax(1) if rows and x.dim() > 1 else sizes
            largest = np.asarray(sizes if rows else sizes.max())
            found = np.maximum(found, largest.reshape(found.shape if rows else ()))
    return found


def positional(case: Case) -> list[str]:
    """Name the inputs of a loss."""
    parameters = inspect.signature(case.loss).parameters.values()
    return [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]


# Settings that stay numbers.
FIXED = {"variances", "spacing", "epsilons", "threshold"}


def real_settings(case: Case) -> list[str]:
    """Name the settings that may be any real number, and so may be learned."""
    names = []
    for p in inspect.signature(case.loss).parameters.values():
        kinds = (p.annotation, *typing.get_args(p.annotation))
        if p.kind is p.KEYWORD_ONLY and float in kinds and p.name not in FIXED:
            names.append(p.name)
    return [name for name in names if (case.name, name) != ("update_centers", "alpha")]


def numbers(low: float, high: float) -> list[float]:
    """Give the ends of an interval, 0 and 1 where they lie in it, and two numbers between."""
    between = [low + share * (high - low) for share in (0.37, 0.71)]
    return sorted({x for x in (low, high, 0.0, 1.0, *between) if low <= x <= high})


def check_settings(case: Case, _: Options) -> dict[str, Part]:
    names = real_settings(case)
    if not (names or case.ranges):
        raise NotRunError("it has no real-valued setting")
    tolerance = case.tolerance("float64")

    def bases() -> Iterator[tuple[str, Inputs, Settings]]:
        """Give each form once, with each of the settings that stay: None, and those unranged."""
        for form in case.forms:
            seen: list[Any] = []
            for settings in case.settings:
                others = {k: v for k, v in settings.items() if v is None or k not in case.ranges}
                if str(others) not in seen:
                    seen.append(str(others))
                    yield form.__name__, form(np.random.default_rng(0)), others

    def choices(others: Settings) -> list[dict[str, float]]:
        """Give rows of numbers for the rest, in which each setting takes all of its own."""
        columns = {k: numbers(*ends) for k, ends in case.ranges.items() if k not in others}
        count = max(map(len, columns.values()), default=0)
        return [{name: c[k % len(c)] for name, c in columns.items()} for k in range(count)]

    def named(measure: Measure) -> None:
        missing = sorted(set(names) - set(case.ranges))
        measure.demand(not missing, f"no range for {missing}")
        measure.cases += 1

    def drawn(measure: Measure) -> None:
        @st.composite
        def points(draw: st.DrawFn) -> tuple[str, Inputs, Settings]:
            def number(low: float, high: float) -> float:
                return draw(st.sampled_from(numbers(low, high)) | normal(low, high))

            where, inputs, others = draw(st.sampled_from(list(bases())))
            chosen = {
                name: number(low, high)
                for name, (low, high) in case.ranges.items()
                if name not in others
            }
            return where, inputs, {**others, **chosen}

        def compare(point: tuple[str, Inputs, Settings]) -> None:
            where, inputs, settings = point
            theirs = exactly(case.exact or case.reference, inputs, settings)
            measure.close(case.loss(*inputs, **settings), theirs, tolerance, f"{where}, {settings}")

        search(points(), compare, 20)

    def tensors_instead(measure: Measure) -> None:
        for where, inputs, others in bases():
            for chosen in choices(others):
                theirs = case.loss(*inputs, **others, **chosen)
                learned = {name: real(value) for name, value in chosen.items()}
                mixes = [learned, *({**chosen, name: learned[name]} for name in chosen)]
                for mix in mixes if len(chosen) > 1 else [learned]:
                    ours = case.loss(*inputs, **others, **mix)
                    measure.close(ours, theirs, SAME, f"{where}, {mix}")

    def dtypes(measure: Measure) -> None:
        for where, inputs, others in bases():
            for chosen in choices(others):
                for dtype in (torch.float32, torch.bfloat16, torch.float16):
                    given = cast(inputs, dtype)
                    theirs = case.loss(*given, **others, **chosen)
                    for width in (torch.float64, torch.float32):
                        learned = {k: torch.tensor(v, dtype=width) for k, v in chosen.items()}
                        ours = case.loss(*given, **others, **learned)
                        told = f"{dtype}, settings of {width}, {where}, {chosen}"
                        measure.demand(ours.dtype == theirs.dtype, f"{ours.dtype} from {told}")
                        tolerance = 2 * case.tolerance(name_of(dtype))  # Both round.
                        measure.close(ours, theirs, tolerance, told)

    def numpy(measure: Measure) -> None:
        """A NumPy number is a number, as a schedule of `np.linspace` gives it."""
        for where, inputs, others in bases():
            for chosen in choices(others):
                theirs = case.loss(*inputs, **others, **chosen)
                ours = case.loss(*inputs, **others, **{k: np.float64(v) for k, v in chosen.items()})
                measure.close(ours, theirs, SAME, f"{where}, {chosen}")

    def narrow(measure: Measure) -> None:
        """A setting of few digits, as `.half()` of a module makes it, costs no others theirs."""
        for where, inputs, others in bases():
            for chosen in choices(others):
                for dtype in (torch.float64, torch.float32):
                    given = cast(inputs, dtype)
                    for width in (torch.bfloat16, torch.float16):
                        learned = {k: torch.tensor(v, dtype=width) for k, v in chosen.items()}
                        same = {k: v.item() for k, v in learned.items()}
                        ends = [(*case.ranges[k], v) for k, v in same.items()]
                        if not all(low <= v <= high for low, high, v in ends):
                            continue  # Rounded out of its range.
                        theirs = case.loss(*given, **others, **same)
                        ours = case.loss(*given, **others, **learned)
                        told = f"{dtype}, settings of {width}, {where}, {same}"
                        measure.close(ours, theirs, case.tolerance(name_of(dtype)), told)

    def slopes(name: str, measure: Measure) -> None:
        low, high = case.ranges[name]
        for where, inputs, others in bases():
            for chosen in choices(others):
                if name not in chosen:
                    continue
                value = chosen[name]
                told = f"{where}, {chosen}"

                def at(number: Any, inputs=inputs, others=others, chosen=chosen) -> Tensor:
                    values = case.loss(*inputs, **others, **{**chosen, name: number})
                    return weighed(values)

                setting = real(value).requires_grad_()
                total = at(setting)
                total = total + 0 * setting  # Also where the setting is not in the graph.
                (ours,) = torch.autograd.grad(total, setting)
                if "modes/forward mode" not in case.exempt:
                    _, ahead = torch.func.jvp(at, (real(value),), (real(1.0),))
                    measure.close(ahead, ours, tolerance, f"forward mode, {told}")
                step = 1e-4 * max(abs(value), 0.01 * (high - low))
                theirs = difference(lambda x, at=at: at(x).item(), value, step, low, high)
                noise = 64 * torch.finfo(torch.float64).eps * abs(total.item()) / step
                error = abs(ours.item() - theirs)
                measure.cases += 1
                measure.demand(
                    error <= 1e-5 * (abs(theirs) + FLOOR) + noise,
                    f"gradient {ours.item()} where differences give {theirs}, at {told}",
                )

    def one_graph(measure: Measure) -> None:
        for where, inputs, others in bases():
            torch.compiler.reset()

            def function(learned: Settings, inputs=inputs, others=others) -> Tensor:
                return case.loss(*inputs, **others, **learned)

            fast = torch.compile(function, fullgraph=True, backend="eager")
            for chosen in choices(others):
                learned = {name: real(value) for name, value in chosen.items()}
                measure.close(fast(learned), function(learned), SAME, f"{where}, {chosen}")
        torch.compiler.reset()

    def mapped(measure: Measure) -> None:
        for where, inputs, others in bases():
            rows = choices(others)
            if not rows:
                continue
            columns = [real([row[name] for row in rows]) for name in rows[0]]

            def function(*column: Tensor, inputs=inputs, others=others, rows=rows) -> Tensor:
                learned = dict(zip(rows[0], column, strict=True))
                return case.loss(*inputs, **others, **learned)

            loop = torch.stack([function(*map(real, row.values())) for row in rows])
            measure.close(torch.vmap(function)(*columns), loop, SAME, where)

    def shaped(name: str, measure: Measure) -> None:
        for where, inputs, others in bases():
            chosen = choices({})[-1]
            for shape in ((3, 1), (2,)):
                wrong = {**chosen, name: torch.full(shape, chosen[name], dtype=torch.float64)}
                refused(
                    partial(case.loss, *inputs, **{**others, **wrong}),
                    rf"\b{name}\b",
                    f"{name} of shape {shape}, {where}",
                    measure,
                )

    parts: dict[str, Part] = {"ranges": named}
    if case.ranges:
        several = {*(case.classes or {}), *(case.batch or ())}
        single = [name for name in case.ranges if name not in several]
        parts |= {f"shape of {name}": partial(shaped, name) for name in single}
        parts |= {"numbers": drawn, "tensors": tensors_instead, "dtypes": dtypes}
        parts |= {"narrow settings": narrow, "NumPy numbers": numpy}
        parts |= {f"gradient of {name}": partial(slopes, name) for name in case.ranges}
        if "compile" not in case.exempt:
            parts["one graph"] = one_graph
        if "vmap" not in case.exempt:
            parts["vmap"] = mapped
    return parts


def difference(
    function: Callable[[float], float], x: float, step: float, low: float, high: float
) -> float:
    """Differentiate a function by its values in [low, high]: in the middle, or from one side."""
    if x - 2 * step < low or x + 2 * step > high:
        h = step if x - 2 * step < low else -step
        a, b, c, d, e = (function(x + k * h) for k in range(5))
        return (-25 * a + 48 * b - 36 * c + 16 * d - 3 * e) / (12 * h)
    a, b, c, d = (function(x + k * step) for k in (-2, -1, 1, 2))
    return (a - 8 * b + 8 * c - d) / (12 * step)


def refused(call: Callable[[], Any], pattern: str, where: str, measure: Measure) -> None:
    """Demand a ValueError that says what was expected and what came."""
    try:
        call()
    except ValueError as error:
        for wanted in (pattern, r"expected .+, got .+"):
            found = re.search(wanted, str(error), re.DOTALL)
            measure.demand(found, f"{str(error)!r} does not match {wanted!r}, for {where}")
    else:
        raise AssertionError(f"no error for {where}")
    measure.cases += 1


def numbers_of(case: Case) -> dict[str, float]:
    """Give the real settings of the first kind that are numbers, by default or by choice."""
    parameters = inspect.signature(case.loss).parameters
    given = {name: parameters[name].default for name in real_settings(case)} | case.settings[0]
    return {k: v for k in real_settings(case) if isinstance(v := given[k], (int, float))}


def check_infinite(case: Case, _: Options) -> dict[str, Part]:
    logits = [i for i, name in enumerate(positional(case)) if name.endswith("logits")]
    if not (logits or case.infinite):
        raise NotRunError("it takes no logits")

    def look(dtype: torch.dtype, measure: Measure) -> None:
        for name, (inputs, expected) in case.infinite.items():
            given = cast(inputs, dtype)
            where = f"{name!r}, {dtype}"
            infinite = any(x.isinf().any() for x in tensors(given) if is_floating(x))
            measure.demand(infinite, f"no input is infinite, at {where}")
            values = case.loss(*given, **case.settings[0])
            expected = np.broadcast_to(np.asarray(expected, float), values.shape)
            measure.close(values, expected, case.tolerance(name_of(dtype)), where)
            places = [i for i in case.gets_gradient(given) if i in logits]
            leaves = {i: given[i].clone().requires_grad_() for i in places}
            values = case.loss(*splice(given, leaves), **case.settings[0])
            finite = values.isfinite()
            for i, x in leaves.items():
                sigmoid = values.shape == x.shape
                total = values.sum() if sigmoid else values[finite].sum()
                (slope,) = torch.autograd.grad(total, x, retain_graph=True, materialize_grads=True)
                if not sigmoid and not finite.all():  # The rows of which all values are finite.
                    whole = finite.reshape(len(finite), -1).all(1)
                    slope = slope[whole] if len(whole) == len(slope) else slope[:0]
                measure.finite([slope], f"gradient of input {i}, {where}")
            if not numbers_of(case):
                continue
            # A learned setting sees all rows: of those whose values are finite, no slope is nan.
            whole = values.isfinite().reshape(len(values), -1).all(1)
            axes = dict.fromkeys(batch_of(case, given), 0)
            rows, settings = reorder(given, case.settings[0], axes, whole.nonzero()[:, 0], False)
            for setting, number in numbers_of(case).items():
                learned = torch.tensor(number, dtype=dtype, requires_grad=True)
                values = case.loss(*rows, **{**settings, setting: learned})
                (slope,) = torch.autograd.grad(values.sum() + 0 * learned, learned)
                measure.finite([slope], f"gradient of {setting}, {where}")

    kinds = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    parts: dict[str, Part] = {name_of(dtype): partial(look, dtype) for dtype in kinds}
    return parts if case.infinite else {}


# Inputs in which an integer dtype is a mistake, wherever they stand.
CONTINUOUS = re.compile(r"predictions|logits|probabilities|scores|rewards|^log_|_log_")


def check_dtypes(case: Case, _: Options) -> dict[str, Part]:
    names = positional(case)
    forms = [form(np.random.default_rng(0)) for form in case.forms]

    def floats(inputs: Inputs) -> list[int]:
        return [i for i, x in enumerate(inputs) if any(map(is_floating, tensors(x)))]

    def integers(measure: Measure) -> None:
        for inputs in forms:
            wanted = [i for i in case.gets_gradient(inputs) if CONTINUOUS.search(names[i])]
            for i in sorted({*floats(inputs)[:1], *wanted}):
                cut = each(lambda x: x.round().long(), inputs[i])
                call = partial(case.loss, *splice(inputs, {i: cut}), **case.settings[0])
                refused(call, names[i], f"int64 {names[i]}", measure)

    def bytes_(measure: Measure) -> None:
        for inputs in forms:
            labels = inputs[names.index("labels")]
            if not is_floating(labels):
                narrow = splice(inputs, {names.index("labels"): labels.to(torch.uint8)})
                call = partial(case.loss, *narrow, **case.settings[0])
                refused(call, r"labels\.long\(\)", "uint8 labels", measure)

    def mixed(measure: Measure) -> None:
        half, double = (torch.bfloat16, torch.float16), (torch.float64,)
        pairs = [(torch.float32, other) for other in double]
        pairs += [(first, other) for first in half for other in (torch.float32, *double)]
        for where, inputs, settings in case.draws(2):
            main, *rest = floats(inputs)
            for dtype, other in pairs:
                for i in rest if len(rest) < 2 else (*rest, None):
                    wider = rest if i is None else [i]
                    given = {
                        k: cast(inputs[k], other if k in wider else dtype) for k in (main, *rest)
                    }
                    ours, gradients = differentiate(case, splice(inputs, given), settings)
                    told = f"{dtype} {names[main]}, {other} {[names[k] for k in wider]}, {where}"
                    measure.demand(ours.dtype == dtype, f"{ours.dtype} from {told}")
                    theirs = naively(case, splice(inputs, given), settings)
                    measure.close(ours, theirs, case.tolerance(name_of(dtype)), told)
                    measure.finite(gradients, told)

    if not any(map(floats, forms)):
        raise NotRunError("no input is floating")
    parts: dict[str, Part] = {"integers": integers}
    if "labels" in names and any(not is_floating(x[names.index("labels")]) for x in forms):
        parts["uint8 labels"] = bytes_
    if any(len(floats(inputs)) > 1 for inputs in forms):
        parts["mixed"] = mixed
    return parts


def check_shapes(case: Case, _: Options) -> dict[str, Part]:
    names = positional(case)
    tolerance = case.tolerance("float64")
    has_dim = "dim" in inspect.signature(case.loss).parameters
    by_class = "labels" in names and {"logits", "scores", "student_logits"} & set(names)
    if not (has_dim or case.classes or by_class):
        raise NotRunError("it takes no `dim` and knows no classes")

    def two_classes(measure: Measure) -> None:
        for where, inputs, settings in case.draws(2):
            few, chosen = narrowed(case, inputs, settings)
            theirs = naively(case, few, chosen)
            measure.close(case.loss(*few, **chosen), theirs, tolerance, where)

    def ranks(measure: Measure) -> None:
        drawn = [form(np.random.default_rng(seed)) for form in case.forms for seed in range(12)]
        drawn = [inputs for inputs in drawn if inputs[0].dim() == 2]
        measure.demand(drawn, "no form draws matrices, whose last axis is `dim`")
        rows = [torch.cat(column)[:12] for column in zip(*drawn, strict=True)]
        for settings in case.settings:
            others = {name: value for name, value in settings.items() if name != "dim"}
            theirs = case.loss(*rows, **others, dim=-1)
            for batch in ((), (12,), (3, 4), (2, 3, 2)):
                for dim in range(-len(batch) - 1, len(batch) + 1):

                    def spread(x: Tensor, batch=batch, dim=dim) -> Tensor:
                        x = x[: math.prod(batch)].reshape((*batch, *x.shape[1:]))
                        return x.movedim(-1, dim) if x.dim() > len(batch) else x

                    ours = case.loss(*map(spread, rows), **others, dim=dim)
                    where = f"batch {batch}, dim {dim}, {settings}"
                    measure.close(ours, spread(theirs), tolerance, where)

    parts: dict[str, Part] = {}
    if case.classes:
        parts["two classes"] = two_classes
    if has_dim:
        parts["ranks"] = ranks
    return parts


def narrowed(case: Case, inputs: Inputs, settings: Settings) -> tuple[Inputs, Settings]:
    """Keep the first two classes of inputs and settings; probabilities sum to 1 again."""

    def cut(x: Tensor, axis: int) -> Tensor:
        if not is_floating(x):
            return x % 2
        few = x.narrow(axis, 0, 2)
        if torch.allclose(x.sum(axis), x.new_ones(()), atol=1e-9):
            few = few / few.sum(axis, keepdim=True)
        return few

    axes = dict(case.classes or {})
    changed = {
        i: each(partial(cut, axis=a), inputs[i]) for i, a in axes.items() if isinstance(i, int)
    }
    chosen = {
        name: each(partial(cut, axis=axes[name]), value) if name in axes else value
        for name, value in settings.items()
    }
    return splice(inputs, changed), chosen


def check_modes(case: Case, _: Options) -> dict[str, Part]:
    def meta(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            for dtype in (torch.float32, torch.bfloat16):
                here = cast(inputs, dtype), dict(settings)
                there = each(lambda x: x.to("meta"), here)
                ours, theirs = (differentiate(case, x, s) for x, s in (there, here))
                for a, b in zip([ours[0], *ours[1]], [theirs[0], *theirs[1]], strict=True):
                    measure.cases += 1
                    measure.demand(a.is_meta, f"a result on {a.device}, at {where}")
                    same = (a.shape, a.dtype) == (b.shape, b.dtype)
                    told = f"{a.dtype} {tuple(a.shape)} for {b.dtype} {tuple(b.shape)}"
                    measure.demand(same, f"{told}, at {where}")

    def inference(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            eager = case.loss(*inputs, **settings)
            with torch.inference_mode():
                copies = each(lambda x: x.clone(), inputs)
                measure.close(case.loss(*copies, **settings), eager, SAME, where)

    def anomaly(measure: Measure) -> None:
        # It writes down the stack of every operation: in a thread that is short.
        with ThreadPoolExecutor(1) as short:
            short.submit(in_anomaly_mode, measure).result()

    def in_anomaly_mode(measure: Measure) -> None:
        for where, inputs, settings in case.points():
            for dtype in (torch.float64, torch.float32):
                given = cast(inputs, dtype)
                held = all(map(holds, tensors(inputs), tensors(given)))
                if not held or not case.loss(*given, **settings).isfinite().all():
                    continue
                with warnings.catch_warnings(action="ignore"), torch.autograd.detect_anomaly():
                    try:
                        differentiate(case, given, settings)
                    except RuntimeError as error:
                        raise AssertionError(f"{error}, {dtype}, at {where}") from None
                measure.cases += 1

    def scalar(inputs: Inputs, settings: Settings) -> tuple[Callable[..., Tensor], list[Tensor]]:
        function, leaves = of_leaves(case, inputs, settings)
        return lambda *leaves: weighed(function(*leaves)), [x.detach() for x in leaves]

    def forward_mode(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            total, leaves = scalar(inputs, settings)
            rng = np.random.default_rng(1)
            tangents = tuple(real(rng.normal(size=tuple(x.shape))) for x in leaves)
            value, ours = torch.func.jvp(total, tuple(leaves), tangents)
            measure.close(value, total(*leaves), SAME, where)
            slopes = gradient_of(total, leaves)
            products = [(s * t).sum() for s, t in zip(slopes, tangents, strict=True)]
            measure.close(ours, sum(products), case.tolerance("float64"), where)

    def functional(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            total, leaves = scalar(inputs, settings)
            ours = torch.func.grad(total, tuple(range(len(leaves))))(*leaves)
            for a, b in zip(ours, gradient_of(total, leaves), strict=True):
                measure.close(a, b, SAME, where)

    def batched(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            function, leaves = of_leaves(case, inputs, settings)
            values = function(*leaves)
            weights = torch.stack([torch.ones_like(values), torch.zeros_like(values)])
            weights[1].view(-1)[0] = 3
            given = [values], leaves
            ours = torch.autograd.grad(
                *given,
                [weights],
                is_grads_batched=True,
                retain_graph=True,
                materialize_grads=True,
            )
            for i, weight in enumerate(weights):
                slopes = torch.autograd.grad(
                    *given, [weight], retain_graph=True, materialize_grads=True
                )
                for a, b in zip(ours, slopes, strict=True):
                    measure.close(a[i], b, SAME, where)

    def in_place(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            function, leaves = of_leaves(case, inputs, settings)
            slopes = torch.autograd.grad(
                2 * function(*leaves).sum(), leaves, materialize_grads=True
            )
            values = function(*leaves).mul_(2)
            ours = torch.autograd.grad(values.sum(), leaves, materialize_grads=True)
            for a, b in zip(ours, slopes, strict=True):
                measure.close(a, b, SAME, where)

    def hessian(measure: Measure) -> None:
        for where, inputs, settings in case.draws(1):
            total, leaves = scalar(inputs, settings)
            sizes = [x.numel() for x in leaves]

            def flat(x: Tensor, total=total, leaves=leaves, sizes=sizes) -> Tensor:
                parts = zip(x.split(sizes), leaves, strict=True)
                return total(*(part.reshape(like.shape) for part, like in parts))

            point = torch.cat([x.flatten() for x in leaves])
            theirs = torch.autograd.functional.hessian(flat, point)
            ours = torch.func.hessian(flat)(point)
            size = theirs.abs().max().clamp_min(1)  # Small entries are sums that cancel.
            measure.close(ours / size, theirs / size, case.tolerance("float64"), where)

    return {
        "meta": meta,
        "inference mode": inference,
        "anomaly mode": anomaly,
        "forward mode": forward_mode,
        "torch.func.grad": functional,
        "torch.func.hessian": hessian,
        "several gradients at once": batched,
        "values changed in place": in_place,
    }


def weighed(values: Tensor) -> Tensor:
    """Make one number of all values, each with a weight of its own."""
    weights = 1.5 + torch.arange(values.numel(), dtype=values.dtype, device=values.device).cos()
    return (values * weights.reshape(values.shape)).sum()


def gradient_of(total: Callable[..., Tensor], leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Differentiate in the plain way."""
    leaves = [x.clone().requires_grad_() for x in leaves]
    return torch.autograd.grad(total(*leaves), leaves, materialize_grads=True)


def check_device(case: Case, options: Options) -> dict[str, Part]:
    def compare(what: str, points: Sequence[Any], measure: Measure) -> None:
        for where, given, settings in points:
            for dtype in (torch.float64, torch.float32):
                inputs = cast(given, dtype)
                if not all(map(holds, tensors(given), tensors(inputs))):
                    continue  # What overflows as it is cast says nothing of a device.
                there = [each(lambda x: x.to(options.device), x) for x in (inputs, dict(settings))]
                found = [differentiate(case, x, s) for x, s in (there, (inputs, settings))]
                sides = [[value] if what == "value" else slopes for value, slopes in found]
                for a, b in zip(*sides, strict=True):
                    measure.demand(a.device.type == options.device, f"a result on {a.device}")
                    known = ~(a.cpu().isnan() & b.isnan())  # Where both are undefined.
                    tolerance = 4 * case.tolerance(name_of(dtype))  # Both round.
                    measure.close(a.cpu()[known], b[known], tolerance, where)

    if not torch.cuda.is_available():
        raise NotRunError("no CUDA device")
    if options.device == "cpu":
        raise NotRunError("run with --device cuda")
    draws, corners = list(case.draws(2)), list(case.points())
    parts: dict[str, Part] = {"value": partial(compare, "value", draws + corners)}
    if case.gets_gradient(draws[0][1]):
        parts["gradient"] = partial(compare, "gradient", draws)
        if corners:
            parts["gradient in the corners"] = partial(compare, "gradient", corners)
    return parts


CHECKS: dict[str, Callable[[Case, Options], dict[str, Part]]] = {
    "value": check_value,
    "next to the optimum": check_optimum,
    "settings": check_settings,
    "peers": check_peers,
    "gradient": check_gradient,
    "second gradient": check_second_gradient,
    "extremes": check_extremes,
    "float32": partial(precision, torch.float32),
    "bfloat16": partial(precision, torch.bfloat16),
    "float16": partial(precision, torch.float16),
    "autocast": check_autocast,
    "infinite": check_infinite,
    "dtypes": check_dtypes,
    "shapes": check_shapes,
    "relations": check_relations,
    "invariances": check_invariances,
    "vmap": check_vmap,
    "compile": check_compile,
    "inductor": check_inductor,
    "export": check_export,
    "modes": check_modes,
    "layout": check_layout,
    "inputs unchanged": check_inputs_unchanged,
    "errors": check_errors,
    "alone": check_alone,
    "facts": check_facts,
    "device": check_device,
}

DTYPES = {name: name for name in ("float32", "bfloat16", "float16")}
DTYPES |= {"autocast": "bfloat16", "extremes": "float64, float32, bfloat16, float16"}


# Running checks


def run(case: Case, check: str, options: Options | None = None) -> dict[str, Any]:
    """Run one check on one case.

    Returns:
        The entry of the vetting file: status, error, cases, dtype, device, note, reason, parts.
    """
    options = options or Options()
    if check in case.exempt:
        return summary(check, {}, options, case.exempt[check])
    try:
        steps = CHECKS[check](case, options)
    except NotRunError as why:
        return summary(check, {}, options, str(why))
    parts = {}
    for name, step in steps.items():
        measure = Measure()
        status, reason = "passed", ""
        try:
            if f"{check}/{name}" in case.exempt:
                raise NotRunError(case.exempt[f"{check}/{name}"])
            with warnings.catch_warnings():
                # Inductor and forward mode themselves call what torch deprecates.
                warnings.filterwarnings("ignore", r"`torch\.jit\.script", DeprecationWarning)
                step(measure)
            measure.demand(measure.cases, "nothing was compared")
        except NotRunError as why:
            status, reason = "not run", str(why)
        except Exception as error:
            status = "failed"
            reason = f"{type(error).__name__}: {error}{frame(error)}"
        parts[name] = {"status": status, "reason": reason, **asdict(measure)}
        if status == "failed" and options.stop:
            break
    if not parts:
        nothing = f"the case gives nothing for {check!r}, and does not say why in `exempt`"
        return summary(check, {}, options, nothing) | {"status": "failed"}
    return summary(check, parts, options, "")


def frame(error: Exception) -> str:
    """Say where in this repository an exception that no check raised came from."""
    if isinstance(error, AssertionError):
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) in IMPORTED]
    theirs = [f for f in frames if f.filename != __file__] or frames
    return f" ({Path(theirs[-1].filename).relative_to(ROOT)}:{theirs[-1].lineno})"


def summary(check: str, parts: dict[str, Any], options: Options, otherwise: str) -> dict[str, Any]:
    """Join the parts: failed if one failed, passed if one ran, else not run."""
    ran = [part for part in parts.values() if part["status"] != "not run"]
    statuses = [part["status"] for part in ran]
    status = "failed" if "failed" in statuses else "passed" if ran else "not run"
    reasons = [f"{name}: {part['reason']}" for name, part in parts.items() if part["reason"]]
    return {
        "status": status,
        "error": max((p["error"] for p in ran if p["error"] is not None), default=None),
        "cases": sum(part["cases"] for part in ran),
        "dtype": DTYPES.get(check, "float64"),
        "device": options.device if check == "device" else "cpu",
        "note": "; ".join(f"{name}: {p['note']}" for name, p in parts.items() if p["note"]),
        "reason": "; ".join(reasons) if parts else otherwise,
        "parts": parts,
    }


# The vetting files


@functools.cache
def commit() -> str | None:
    """Name the git commit, or None where there is no git."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def header(case: Case, test_file: Path) -> dict[str, Any]:
    """Say what was run: a result counts only as long as none of this changes."""
    return {
        "loss": case.name,
        "file": case.file,
        "source_sha256": sha256(ROOT / case.file),
        "contract_sha256": sha256(Path(__file__), test_file),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def record(case: Case, test_file: Path, results: Mapping[str, dict[str, Any]]) -> None:
    """Merge results into the vetting file of the loss.

    Results of other code become "not run"; of the same code, a check or part that was not run now
    takes nothing away from one that was. Nothing is recorded of files that changed meanwhile.
    """
    path = VETTING / f"{case.name}.json"
    now = header(case, test_file)
    files = (ROOT / case.file, test_file.resolve(), Path(__file__).resolve())
    if any(IMPORTED.get(file) != sha256(file) for file in files):
        results = {}
    try:
        old = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        old = {}
    fresh = all(old.get(key) == value for key, value in now.items())
    kept = old.get("checks", {}) if fresh else {}
    why = "older than the code" if old and not fresh else "not run yet"
    blank = summary("", {}, Options(), why)
    checks = {name: kept.get(name, blank) for name in CHECKS}
    checks |= {name: merge(name, checks[name], new) for name, new in results.items()}
    now |= {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}
    VETTING.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(now | {"checks": checks}, indent=1, allow_nan=False) + "\n")
    draft.replace(path)


def merge(check: str, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Let a new result replace an old one, but no "not run" a run."""
    if not new["parts"]:
        return old if old["parts"] else new
    parts = {
        name: old["parts"].get(name, part) if part["status"] == "not run" else part
        for name, part in new["parts"].items()
    }
    return summary(check, parts, Options(device=new["device"]), "")


# Without pytest: python -m tests.contract


def test_files() -> list[Path]:
    files = sorted(ROOT.glob("tests/*/test_*.py"))
    return [path for path in files if "\ndef cases()" in path.read_text()]


def cases_of(path: Path) -> list[Case]:
    module = importlib.import_module(f"tests.{path.parent.name}.{path.stem}")
    return list(module.cases())


def discover() -> list[tuple[Case, Path]]:
    """Collect the cases of all test files."""
    return [(case, path) for path in test_files() for case in cases_of(path)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the battery, print a table, write the vetting files; 1 if a check failed."""
    parser = argparse.ArgumentParser("python -m tests.contract", description=__doc__.split("\n")[0])
    parser.add_argument("losses", nargs="*", metavar="LOSS", help="public names (default: all)")
    parser.add_argument("--check", action="append", choices=CHECKS, help="only this one")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--slow", action="store_true", help="compile with inductor, too")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)  # Inputs are tiny; threads only wait for each other.
    found, failures = [], 0
    for path in test_files():
        try:
            found += [(case, path) for case in cases_of(path)]
        except Exception as error:
            print(f"{path.relative_to(ROOT)}: {type(error).__name__}: {error}")
            failures += 1
    unknown = set(chosen.losses) - {case.name for case, _ in found}
    if unknown:
        parser.error(f"expected losses with a case, got {sorted(unknown)}")

    names = chosen.check or list(CHECKS)
    print("columns:", ", ".join(names))
    print(". passed   F failed   - not run")
    remarks: dict[str, list[str]] = {}
    for case, path in found:
        if chosen.losses and case.name not in chosen.losses:
            continue
        began = time.perf_counter()
        print(f"{case.name:40s} ", end="", flush=True)
        for name in names:
            result = run(case, name, Options(chosen.device, chosen.slow))
            record(case, path, {name: result})
            mark = {"passed": ".", "failed": "F", "not run": "-"}[result["status"]]
            print(mark, end="", flush=True)
            failures += mark == "F"
            if result["reason"]:
                remark = f"{name}: {result['status']}: {result['reason']}"
                remarks.setdefault(remark, []).append(case.name)
        print(f" {time.perf_counter() - began:5.1f} s", flush=True)
    for remark, losses in remarks.items():
        print(f"{', '.join(losses)}\n    {remark}")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(importlib.import_module("tests.contract").main())
