"""Small real experiments: data that ships with a package, models with reproducible weights.

Weights, splits, batches and whatever else a chapter draws come from `rng`: NumPy's PCG64, whose
streams do not change between releases. The environment variable LOSSBOOK_SHIFT moves every seed, so
that what a chapter claims can be tried on other draws.
"""

import ast
import os
import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    *("breast_cancer", "coins", "diabetes", "digits", "docstrings", "picture"),
    *("convolutions", "fit", "mlp", "rng", "split", "strips"),
]


def rng(seed: int) -> np.random.Generator:
    """The generator of a seed: `default_rng(seed)`, unless LOSSBOOK_SHIFT moves all seeds."""
    shift = int(os.environ.get("LOSSBOOK_SHIFT", "0"))
    return np.random.default_rng([shift, seed] if shift else seed)


@cache
def _load(name: str) -> tuple[Tensor, Tensor]:
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return torch.from_numpy(x).float(), torch.from_numpy(y)


def digits() -> tuple[Tensor, Tensor]:
    """1,797 handwritten digits: pixels in [0, 1], shape `(1797, 64)`, and labels 0 to 9."""
    x, y = _load("digits")
    return x / 16, y


def breast_cancer() -> tuple[Tensor, Tensor]:
    """569 tumors: 30 standardized measurements, and 1 for benign, 0 for malignant."""
    x, y = _load("breast_cancer")
    return (x - x.mean(0)) / x.std(0), y


def diabetes() -> tuple[Tensor, Tensor]:
    """442 patients: 10 standardized measurements, and the disease's progress after a year."""
    x, y = _load("diabetes")
    return (x - x.mean(0)) / x.std(0), y.float()


@cache
def picture(name: str) -> Tensor:
    """A picture that ships with scikit-image: shape `(H, W)` or `(H, W, 3)`, values in [0, 1].

    Among them are brick, camera, cell, chelsea, coffee, coins, grass, gravel, horse, page, retina
    and text.
    """
    from skimage import data

    values = torch.from_numpy(np.array(getattr(data, name)()))
    return values / 255 if values.dtype == torch.uint8 else values.float()


@cache
def docstrings() -> list[tuple[str, str, str]]:
    """File, name and first sentence of the docstring of about 1,900 public functions.

    They are read, not imported, from Python's own library and from NumPy, and sorted by name. Of
    functions with the same name the first is kept. Other releases of the two have other sentences.
    """
    python, numpy = Path(os.__file__).parent, Path(np.__file__).parent
    sources = [
        *(python / package for package in ("asyncio", "email", "http", "importlib")),
        *(python / package for package in ("logging", "multiprocessing", "urllib", "xml")),
        *(python / f"{m}.py" for m in ("calendar", "configparser", "contextlib", "datetime")),
        *(python / f"{m}.py" for m in ("ftplib", "inspect", "ipaddress", "mailbox", "pathlib")),
        *(python / f"{m}.py" for m in ("shutil", "smtplib", "ssl", "statistics", "tarfile")),
        *(python / f"{m}.py" for m in ("threading", "typing", "zipfile")),
        *(numpy / package for package in ("fft", "lib", "linalg", "ma", "polynomial")),
    ]
    found: dict[str, tuple[str, str, str]] = {}
    for source in sources:
        for file in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            if "tests" in file.parts or not file.exists():
                continue
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                    text = re.split(r"\n\n|(?<=\.)\s", ast.get_docstring(node) or "")[0]
                    if 15 < len(text) < 150:
                        line = " ".join(text.split())
                        found.setdefault(node.name, (file.stem, node.name, line))
    return sorted(found.values(), key=lambda row: row[1])


def split(
    x: Tensor, y: Tensor, seed: int, *, test: float = 0.3
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shuffle and split: x and y to train on, x and y to test on."""
    order = torch.from_numpy(rng(seed).permutation(len(x)))
    cut = int(len(x) * (1 - test))
    return x[order[:cut]], y[order[:cut]], x[order[cut:]], y[order[cut:]]


def mlp(*sizes: int, seed: int) -> nn.Sequential:
    """A network of linear layers and ReLUs, its weights drawn with He's variance."""
    layers = [nn.Linear(i, o, device="meta") for i, o in pairwise(sizes)]
    return _drawn(layers, seed)


def convolutions(*channels: int, seed: int, size: int = 3) -> nn.Sequential:
    """A network of convolutions that keep height and width, and ReLUs, drawn as in `mlp`."""
    pairs = pairwise(channels)
    layers = [nn.Conv2d(i, o, size, padding="same", device="meta") for i, o in pairs]
    return _drawn(layers, seed)


def _drawn(layers: Sequence[nn.Linear | nn.Conv2d], seed: int) -> nn.Sequential:
    draw = rng(seed)
    parts: list[nn.Module] = []
    for layer in layers:
        layer = layer.to_empty(device="cpu")
        weight, bias = layer.parameters()
        drawn = draw.normal(0, np.sqrt(2 / weight[0].numel()), tuple(weight.shape))
        with torch.no_grad():
            weight.copy_(torch.from_numpy(drawn))
            bias.zero_()
        parts += [layer, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def fit(
    model: nn.Module,
    step: Callable[..., Tensor],
    *data: Tensor,
    seed: int,
    epochs: int = 40,
    batch: int = 128,
    rate: float = 3e-3,
    watch: Callable[[nn.Module], Tensor] | None = None,
) -> list[Tensor]:
    """Train a model by Adam.

    Args:
        model: What to train, in place.
        step: Returns the scalar to minimize from the model's output and the rest of a batch.
        *data: The inputs, then what `step` takes besides the model's output; the first dimension
            of all is the sample.
        seed: Of the order of the samples.
        epochs: Passes over the data.
        batch: Samples in a step.
        rate: The learning rate.
        watch: What to note of the model after each epoch.

    Returns:
        What `watch` returned, an entry an epoch.
    """
    draw = rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    noted = []
    for _ in range(epochs):
        order = torch.from_numpy(draw.permutation(len(data[0])))
        for rows in torch.split(order, batch):
            inputs, *rest = (tensor[rows] for tensor in data)
            optimizer.zero_grad()
            torch.autograd.backward(step(model(inputs), *rest))
            optimizer.step()
        if watch is not None:
            with torch.no_grad():
                noted.append(watch(model))
    return noted


def strips(
    x: Tensor, y: Tensor, count: int, *, seed: int, most: int = 6
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Three or more digits side by side, each cut to its ink, with 0 to 5 empty columns between.

    Args:
        x: The digits to draw from, as `digits` has them.
        y: Their labels.
        count: How many strips.
        seed: Of the draws.
        most: How many digits a strip holds at most.

    Returns:
        The strips, shape `(count, 8, W)`, empty on the right; their widths; their digits plus 1,
        shape `(count, most)`, 0 for none; how many they are; and the columns where each digit
        begins and ends, shape `(count, most, 2)`.
    """
    draw = rng(seed)
    cut = []
    for digit in x.view(-1, 8, 8):
        ink = digit.any(0).nonzero()
        cut.append(digit[:, ink.min() : ink.max() + 1])
    sizes = torch.from_numpy(draw.integers(3, most + 1, count))
    labels = torch.zeros(count, most, dtype=torch.int64)
    edges = torch.zeros(count, most, 2, dtype=torch.int64)
    rows = []
    for i in range(count):
        parts = [torch.zeros(8, int(draw.integers(6)))]
        for j in range(int(sizes[i])):
            k = int(draw.integers(len(x)))
            start = sum(part.shape[1] for part in parts)
            labels[i, j] = y[k] + 1
            edges[i, j] = torch.tensor([start, start + cut[k].shape[1]])
            parts += [cut[k], torch.zeros(8, int(draw.integers(6)))]
        rows.append(torch.cat(parts, 1).T)
    widths = torch.tensor([len(row) for row in rows])
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return padded.transpose(1, 2), widths, labels, sizes, edges


@cache
def coins() -> tuple[Tensor, Tensor]:
    """24 coins at half their size: brightness and true masks (bool), both of shape `(150, 192)`.

    The masks are a watershed of the edges between what is surely bright and surely dark, cleaned.
    """
    from scipy import ndimage
    from skimage import filters, segmentation

    edges: Callable[..., Any] = filters.sobel
    flood: Callable[..., Any] = segmentation.watershed
    full = (255 * picture("coins")).round().numpy()
    bright = flood(edges(full), 2 * (full > 150) + (full < 30)) == 2
    masks = ndimage.binary_opening(ndimage.binary_fill_holes(bright), iterations=2)
    small = nn.functional.avg_pool2d(picture("coins")[None, None, :300], 2)[0, 0]
    return small, torch.from_numpy(masks[:300:2, ::2].copy())
