"""Times losses against peers: interleaved in one process, forward and backward, with memory."""

import copy
import gc
import hashlib
import inspect
import json
import os
import platform
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lossbook import Criterion
from lossbook.book.experiments import peak_memory
from lossbook.book.pages.speed import COMPILED, MEASURED, OURS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 3.0  # Of timing for each row and number of threads.
ROUNDS = 5, 60  # At least, at most.
SAMPLE = 0.004  # Seconds that one sample lasts, at least: short calls are repeated.
SLOW = 1.5  # A candidate whose call takes longer is timed once.
SHORT = 0.05  # Seconds below which a call is made once before it is timed.
MOST = 1 << 30  # Bytes from which a sweep goes no further.
AGREE = 5e-3  # Relative difference in value or gradient at which float32 answers differ.

Step = Callable[[], Any]  # One forward and backward; gives the value.


@dataclass(frozen=True)
class Row:
    """One loss at one size, and who else computes the same number.

    Attributes:
        loss: The function of lossbook.
        shape: The size in words, with `{}` for n: "8192 x {}".
        n: The size.
        inputs: Makes the inputs of a size. Those that require a gradient are its leaves.
        peers: Name of a library, or `FORMULA` for the formula written straight -> function of the
            inputs that gives the same mean: of torch tensors; where it is marked by `stepwise`,
            one that makes the step itself.
        settings: Of the loss.
        sweep: Further sizes, where growth is worth seeing.
        compiled: Whether torch.compile applies.
        slower: Why a library on torch is faster, where one is.
    """

    loss: Callable[..., Tensor]
    shape: str
    n: int
    inputs: Callable[[int], tuple[Any, ...]]
    peers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    sweep: tuple[int, ...] = ()
    compiled: bool = True
    slower: str = ""

    @property
    def size(self) -> str:
        return self.shape.format(self.n)

    @property
    def numbers(self) -> dict[str, Any]:
        """The settings but for tensors, which no page shows."""
        return {k: v for k, v in self.settings.items() if not isinstance(v, Tensor)}

    @property
    def key(self) -> str:
        words = " ".join([self.loss.__name__, self.size, *map(str, self.numbers.values())])
        return "-".join("".join(c if c.isalnum() else " " for c in words).split())


def stepwise(peer: Callable[..., Step]) -> Callable[..., Step]:
    """Mark a peer that makes its own step: another framework."""
    peer.makes_step = True  # type: ignore[attr-defined]
    return peer


def leaves(inputs: tuple[Any, ...]) -> list[Tensor]:
    flat = [y for x in inputs for y in (x if isinstance(x, (list, tuple)) else [x])]
    return [x for x in flat if isinstance(x, Tensor) and x.requires_grad]


def step_of(function: Callable[..., Tensor], inputs: tuple[Any, ...]) -> Step:
    """Make the step of a torch function: its value, and gradients in the leaves."""
    own = leaves(inputs)

    def step() -> Tensor:
        for x in own:
            x.grad = None
        value = function(*inputs)
        value.backward()
        return value.detach()

    return step


def candidate(name: str, row: Row, inputs: tuple[Any, ...]) -> Step:
    if name in (OURS, COMPILED):
        criterion: Any = Criterion(row.loss, **row.settings).to(leaves(inputs)[0].device)
        if name == COMPILED:
            criterion = torch.compile(criterion, fullgraph=True)
        return step_of(criterion, inputs)
    peer = row.peers[name]
    if hasattr(peer, "makes_step") and any(x.is_cuda for x in leaves(inputs)):
        import jax

        if jax.default_backend() != "gpu":
            raise RuntimeError("JAX sees no GPU")
    return peer(*inputs) if hasattr(peer, "makes_step") else step_of(peer, inputs)


def answer(step: Step, inputs: tuple[Any, ...]) -> tuple[float, list[Tensor]]:
    """Run a step; give its value and the gradients that it left."""
    for x in leaves(inputs):
        x.grad = None
    value = float(step())
    return value, [x.grad.clone() for x in leaves(inputs) if x.grad is not None]


def difference(ours: tuple[float, list[Tensor]], theirs: tuple[float, list[Tensor]]) -> float:
    """The largest relative difference: of the value, and of each gradient over its norm."""
    found = [abs(theirs[0] - ours[0]) / (abs(ours[0]) + 1e-6)]
    # A gradient that is 0 but for rounding has no relative error: the largest one sets a floor.
    least = 1e-2 * max((float(x.norm()) for x in ours[1]), default=0) + 1e-20
    for mine, other in zip(*(x[1] for x in (ours, theirs)), strict=False):
        found.append(float((mine - other).norm()) / max(float(mine.norm()), least))
    return max(found)


def peak(step: Step, inputs: tuple[Any, ...], device: str) -> int:
    """Bytes that a step allocates at its highest, gradients included, inputs not."""
    for x in leaves(inputs):
        x.grad = None  # Or freeing the last ones would count as less than nothing.
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    return peak_memory(step)


def once(step: Step, device: str) -> float:
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def interleave(steps: Mapping[str, Step], device: str, seconds: float) -> dict[str, list[float]]:
    """Run the steps in turns, A B C A B C; give the seconds that each took, round by round."""
    first = {name: once(step, device) for name, step in steps.items()}
    count = {name: max(1, int(SAMPLE / max(t, 1e-7))) for name, t in first.items()}
    taken = {name: [t] if t > SLOW else [] for name, t in first.items()}
    end = time.perf_counter() + seconds
    for turn in range(ROUNDS[1]):
        names = list(steps) if turn % 2 == 0 else list(reversed(steps))
        for name in names:
            if first[name] > SLOW:
                continue
            if first[name] < SHORT:
                steps[name]()  # Warms the caches that the last candidate has filled.
            spent = sum(once(steps[name], device) for _ in range(count[name]))
            taken[name].append(spent / count[name])
        if turn + 1 >= ROUNDS[0] and time.perf_counter() > end:
            break
    return taken


def compare(row: Row, device: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Check that all candidates compute the same number, then time them."""
    inputs = place(row.inputs(row.n), device)
    names = [OURS, *([COMPILED] if row.compiled else []), *row.peers]
    results: dict[str, dict[str, Any]] = {}
    steps: dict[str, Step] = {}
    ours: tuple[float, list[Tensor]] | None = None
    for name in names:
        try:
            step = candidate(name, row, inputs)
            found = answer(step, inputs)
        except Exception as error:
            if name == OURS:
                raise
            missing = isinstance(error, ModuleNotFoundError)
            why = (
                f"{error.name} is not installed" if missing else f"{type(error).__name__}: {error}"
            )
            results[name] = {"status": "not run", "reason": " ".join(why.split())[:300]}
            continue
        ours = ours or found
        error = difference(ours, found)
        if not error <= AGREE:
            why = f"another number: value or gradient differs by {error:.2g}"
            results[name] = {"status": "not run", "reason": why}
            continue
        steps[name] = step
        foreign = not found[1]
        results[name] = {"status": "timed", "error": error, "framework": not foreign}
    gc.collect()
    taken = interleave(steps, device, seconds)
    for name, times in taken.items():
        ratios = [t / o for t, o in zip(times, taken[OURS], strict=False)]
        low, middle, high = quartiles(ratios)
        results[name] |= {
            "ms": 1e3 * statistics.median(times),
            "ratio": [low, middle, high],
            "rounds": len(times),
            "memory": peak(steps[name], inputs, device) if results[name].pop("framework") else None,
        }
    return results


def quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 3:
        return min(values), statistics.median(values), max(values)
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def sweep(row: Row, device: str) -> dict[str, dict[str, list[float]]]:
    """Milliseconds and bytes by size, for us and for every peer in torch that keeps pace."""
    found: dict[str, dict[str, list[float]]] = {}
    names = [OURS, *(n for n, peer in row.peers.items() if not hasattr(peer, "makes_step"))]
    for name in names:
        found[name] = {}
        for n in row.sweep:
            inputs = place(row.inputs(n), device)
            try:
                step = candidate(name, row, inputs)
                once(step, device)
            except Exception:
                break
            first = once(step, device)
            times = [first, *(once(step, device) for _ in range(4 if first < SLOW / 5 else 0))]
            memory = peak(step, inputs, device)
            found[name][str(n)] = [1e3 * statistics.median(times), memory]
            # The next size may take four times as long and as much.
            if first > SLOW or memory > MOST:
                break
    return found


def place(inputs: tuple[Any, ...], device: str) -> tuple[Any, ...]:
    """Move inputs to a device, tensors as leaves."""

    def move(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return type(x)(move(y) for y in x)
        if isinstance(x, Tensor):
            return x.detach().to(device).requires_grad_(x.requires_grad)
        return copy.deepcopy(x).to(device) if isinstance(x, torch.nn.Module) else x

    return tuple(move(x) for x in inputs)


def about(row: Row, threads: int, device: str) -> dict[str, Any]:
    """What was measured, when, and on what."""
    versions = {}
    for name in ("keras", "kornia", "monai", "optax", "jax", "POT", "pytorch-metric-learning"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    source = Path(inspect.getfile(row.loss)).read_bytes()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "loss": row.loss.__name__,
        "size": row.size,
        "settings": {
            k: v if isinstance(v, (int, float)) else str(v) for k, v in row.numbers.items()
        },
        "slower": row.slower,
        "threads": threads,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "source": hashlib.sha256(source).hexdigest(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "versions": versions,
    }


def machine() -> str:
    """The processor, and how many of its cores there are."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} cores"


def measure(row: Row, threads: int, device: str, seconds: float) -> dict[str, Any]:
    """Measure one row and write `build/bench/<row>.<device>.<threads>.json`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Peers' notes on their own deprecations.
        result = about(row, threads, device)
        result["candidates"] = compare(row, device, seconds)
        if row.sweep and threads == 1:
            result["sweep"] = sweep(row, device)
    MEASURED.mkdir(parents=True, exist_ok=True)
    path = MEASURED / f"{row.key}.{device}.{threads}.json"
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    partial.replace(path)
    return result
