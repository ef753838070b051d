"""The same loss in other libraries: calls that must agree, and calls that only look alike."""

import ast
import importlib.util
import os
import re
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbook.book.plots import Table

__all__ = ["compare"]

# Libraries that take tensors; the others take arrays.
TORCH = (
    "kornia.",
    "monai.",
    "pytorch_metric_learning.",
    "torchvision.",
    "segmentation_models_pytorch.",
    "timm.",
    "liger_kernel.",
    "piq.",
    "torchmetrics.",
    "fvcore.",
    "entmax.",
    "pytorch_toolbelt.",
)
PEERS = "application/vnd.lossbook.peers+json"


class Comparison(Table):
    """The outcome of `compare`: a table for the page, rows for the page of all libraries."""

    def __init__(self, loss: str, rows: list[dict[str, Any]]) -> None:
        self.record = {"loss": loss, "rows": rows}
        header = ["library", "call", "outcome"]
        super().__init__(header, [[r["library"], r["call"], r["outcome"]] for r in rows])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        cells = "".join(
            f"<tr><td>{escape(lib)}</td><td><code>{escape(call)}</code></td><td>{escape(out)}</td></tr>"
            for lib, call, out in self.rows
        )
        head = "".join(f"<th>{h}</th>" for h in self.header)
        html = f'<table class="data"><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>'
        return {PEERS: self.record, "text/html": html, "text/plain": repr(self)}


def compare(
    loss: str,
    ours: Tensor,
    equal: Mapping[str, str],
    differ: Mapping[str, str] | None = None,
    *,
    tolerance: float = 1e-5,
    **inputs: Any,
) -> Comparison:
    """Run each call where its library is installed, and compare with `ours`.

    Args:
        loss: The public name that the calls are peers of.
        ours: The vetted value.
        equal: Library and call, as one would type it; each must give `ours`.
        differ: Library and call that look the same; each must differ by more than 1 %.
        tolerance: The largest relative difference of equal calls.
        **inputs: The names that the calls use. Tensors reach JAX and NumPy libraries as arrays.

    Returns:
        A row a call: how far it is from `ours`, or why it was not run.

    Raises:
        AssertionError: If an equal call differs, or one that should differ is equal.
    """
    rows = []
    for must_agree, calls in ((True, equal), (False, differ or {})):
        for library, call in calls.items():
            rows.append({"library": library, "call": call, "equal": must_agree})
            try:
                theirs = _evaluate(call, inputs)
            except ModuleNotFoundError as error:
                missing = (error.name or "").partition(".")[0]
                # Where the library is there, what is asked of it is not.
                if missing and importlib.util.find_spec(missing):
                    raise
                rows[-1]["outcome"] = f"not run in this build: {missing} is not installed"
                continue
            mine = ours.detach().double().numpy()
            if theirs.size == 1:
                mine = mine.mean()
            elif theirs.shape != mine.shape:
                shapes = f"{theirs.shape}, not {mine.shape}"
                raise AssertionError(f"{library}: {call} has shape {shapes}")
            gap = float(np.max(np.abs(theirs - mine)) / max(np.max(np.abs(mine)), 1e-300))
            if must_agree:
                assert gap <= tolerance, f"{library}: {call} differs by {gap:.2g}"
                rows[-1]["outcome"] = f"equal within {_bound(tolerance)}"
            else:
                assert not gap <= 0.01, f"{library}: {call} is equal after all"
                unlike = np.argmax(~(np.abs(theirs - mine) <= 0.01 * np.abs(mine)))
                a, b = np.ravel(theirs)[unlike], np.ravel(mine)[unlike]
                rows[-1]["outcome"] = f"not equal: {a:.4g}, not {b:.4g}"
    return Comparison(loss, rows)


def _bound(value: float) -> str:
    """Write a bound as a power of ten, which does not change from one machine to the next."""
    return f"1e{int(np.ceil(np.log10(value)))}" if value else "0"


def _evaluate(call: str, inputs: dict[str, Any]) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("KERAS_TORCH_DEVICE", "cpu")  # Else it takes a GPU that it sees.
    names: dict[str, Any] = {"np": np, "torch": torch, "F": torch.nn.functional, **inputs}
    paths = re.findall(r"(?<![\w.'\"])([A-Za-z_]\w*(?:\.\w+)+)", call)
    nodes = list(ast.walk(ast.parse(call, mode="eval")))
    bound = {n.arg for n in nodes if isinstance(n, ast.arg)}  # Of its lambdas, and its loops.
    bound |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    libraries = {path for path in paths if path.partition(".")[0] not in names.keys() | bound}
    if not all(path.startswith(TORCH) for path in libraries):
        names |= {n: v.detach().numpy() for n, v in inputs.items() if isinstance(v, Tensor)}
    for path in libraries:
        library, *parts = path.split(".")
        names[library] = module = importlib.import_module(library)
        for part in parts[:-1]:
            if not hasattr(module, part):
                importlib.import_module(f"{module.__name__}.{part}")
            module = getattr(module, part)
    with torch.random.fork_rng(devices=[]):  # A peer may draw weights that the call replaces.
        value = eval(call, names)  # The calls are the chapter's own text.
    return np.asarray(value.detach() if isinstance(value, Tensor) else value, dtype=np.float64)
