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
    *("breast_cancer", "coins", "diabetes", "digits", "docstrings", "picture", "scenes", "strips"),
    *(
        "average_precision",
        "convolutions",
        "detector",
        "fit",
        "mlp",
        "overlaps",
        "peak_memory",
        "rng",
        "split",
        "survivors",
    ),
]


def rng(seed: int) -> np.random.Generator:
    """The generator of a seed: `default_rng(seed)`, unless LOSSBOOK_SHIFT moves all seeds."""
    # Zeros at the end count for nothing, so that without a shift this is default_rng(seed).
    return np.random.default_rng([seed, int(os.environ.get("LOSSBOOK_SHIFT", "0"))])


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
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
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


def scenes(
    count: int, seed: int, *, held_out: bool = False
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Compose scenes: one to three of the digits 1, 2 and 3 on brick, grass or gravel.

    Each digit is cut to its ink and enlarged 1.2 to 3 times; none covers another.

    Args:
        count: How many scenes.
        seed: Of what is drawn.
        held_out: Whether to use the last 30 % of the digits, which the other scenes never show.

    Returns:
        The scenes, values in [0, 1], shape `(count, 1, 48, 48)`; for each of them the boxes of its
        digits as corners (x1, y1, x2, y2), shape `(G, 4)`, and the digits, shape `(G,)`.
    """
    draw = rng(seed)
    x, y = digits()
    x, y = x[(y > 0) & (y < 4)].reshape(-1, 8, 8), y[(y > 0) & (y < 4)]
    cut = int(0.7 * len(x))
    first, last = (cut, len(x)) if held_out else (0, cut)
    walls = (picture(name)[None] for name in ("brick", "grass", "gravel"))
    grounds = [nn.functional.avg_pool2d(wall, 4)[0] for wall in walls]
    images, boxes, labels = [], [], []
    for _ in range(count):
        ground = grounds[draw.integers(len(grounds))]
        top, left = draw.integers(len(ground) - 47, size=2)
        image = 0.6 * ground[top : top + 48, left : left + 48]
        placed: list[tuple[int, int, int, int]] = []
        kinds: list[int] = []
        for i in draw.integers(first, last, size=draw.integers(1, 4)).tolist():
            rows, columns = ((x[i] > 0.3).any(axis).nonzero()[:, 0] for axis in (1, 0))
            ink = x[i, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            times = 1.2 * 2.5 ** draw.random()
            h, w = (round(times * side) for side in ink.shape)
            y1, x1 = int(draw.integers(49 - h)), int(draw.integers(49 - w))
            if any(x1 < c and a < x1 + w and y1 < d and b < y1 + h for a, b, c, d in placed):
                continue
            ink = nn.functional.interpolate(ink[None, None], (h, w), mode="bilinear")[0, 0]
            under = image[y1 : y1 + h, x1 : x1 + w]
            under.copy_(torch.maximum(under, ink))
            placed.append((x1, y1, x1 + w, y1 + h))
            kinds.append(int(y[i]))
        images.append(image)
        boxes.append(torch.tensor(placed).float())
        labels.append(torch.tensor(kinds))
    return torch.stack(images)[:, None], boxes, labels


class _Detector(nn.Module):
    """Two maps of a scene, 12 x 12 and 6 x 6, and on each of them a convolution that answers."""

    def __init__(self, kinds: int, classes: int, seed: int) -> None:
        super().__init__()
        relu, half = nn.ReLU(), nn.MaxPool2d(2)
        first, second, third, fourth, *heads = (
            convolutions(i, o, seed=100 * seed + k, size=size)
            for k, (i, o, size) in enumerate(
                [(1, 8, 5), (8, 24, 3), (24, 32, 3), (32, 48, 3)]
                + [(i, kinds * (4 + classes), 3) for i in (32, 48)]
            )
        )
        self.fine = nn.Sequential(first, half, relu, second, half, relu, third, relu)
        self.coarse = nn.Sequential(half, fourth, relu)
        self.heads = nn.ModuleList(heads)
        self.classes = classes
        with torch.no_grad():
            for head in heads:
                weight, _ = head.parameters()
                weight.mul_(0.1)

    def forward(self, images: Tensor) -> Tensor:
        fine = self.fine(images - 0.3)
        maps = zip(self.heads, (fine, self.coarse(fine)), strict=True)
        rows = [head(seen).movedim(1, 3).reshape(len(images), -1) for head, seen in maps]
        return torch.cat(rows, 1).reshape(len(images), -1, 4 + self.classes)


def detector(kinds: int, classes: int, *, seed: int) -> nn.Module:
    """A small network for `scenes`, its weights drawn as in `convolutions`.

    Args:
        kinds: Default boxes in each cell.
        classes: Scores for each, the background's among them.
        seed: Of its weights.

    Returns:
        A module from scenes `(N, 1, 48, 48)` to `(N, P, 4 + classes)`: for each default box four
        offsets and the scores. The boxes are those of the 12 x 12 cells of the first map, row by
        row, each with its kinds; then those of the 6 x 6 cells of the second.
    """
    return _Detector(kinds, classes, seed)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of each box with each of the others, corners (x1, y1, x2, y2): shape `(P, G)`."""
    lows = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    highs = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (highs - lows).clamp_min(0).prod(2)
    areas, more = ((b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, others))
    return shared / (areas[:, None] + more - shared)


def survivors(boxes: Tensor, scores: Tensor, *, threshold: float = 0.45) -> Tensor:
    """Non-maximum suppression: the best box, then the best that no kept one overlaps, and so on.

    Args:
        boxes: Corners, shape `(P, 4)`.
        scores: How sure each is, shape `(P,)`.
        threshold: IoU with a kept box above which a box goes.

    Returns:
        The indices of those kept, the surest first.
    """
    order = scores.argsort(descending=True)
    near = overlaps(boxes[order], boxes[order]) > threshold
    gone = torch.zeros(len(order), dtype=torch.bool)
    kept = []
    for i in range(len(order)):
        if not gone[i]:
            kept.append(i)
            gone |= near[i]
    return order[kept]


def average_precision(
    found: Sequence[tuple[Tensor, Tensor, Tensor]],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    iou: float = 0.5,
) -> float:
    """Average precision of detections, the mean over the classes that occur.

    Going down from the surest, a detection is right if it overlaps an object of its class that is
    not taken yet by at least `iou`. The precision at each recall is the best at it or beyond.

    Args:
        found: For each image boxes (corners), classes and scores.
        boxes: For each image the true boxes.
        labels: For each image the true classes.
        iou: The overlap that is asked for.
    """
    values = []
    for kind in sorted({int(kind) for known in labels for kind in known}):
        rows: list[tuple[float, bool]] = []
        for (at, named, scores), true, known in zip(found, boxes, labels, strict=True):
            mine = (named == kind).nonzero()[:, 0]
            mine = mine[scores[mine].argsort(descending=True)]
            shared = overlaps(at[mine], true[known == kind])
            for overlap, score in zip(shared, scores[mine].tolist(), strict=True):
                right = len(overlap) > 0 and bool(overlap.max() >= iou)
                if right:
                    shared[:, overlap.argmax()] = -1
                rows.append((score, right))
        hits = np.array([right for _, right in sorted(rows, key=lambda row: -row[0])], bool)
        precision = hits.cumsum() / np.arange(1, len(hits) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        values.append(best[hits].sum() / sum(int((known == kind).sum()) for known in labels))
    return float(np.mean(values))


def peak_memory(step: Callable[[], object]) -> int:
    """Bytes that a step holds at its highest, what it returns included, on the CPU.

    They are counted from the events of torch's allocator, so that what an operator needs for
    itself counts, too. The same step has the same number again.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    error = os.dup(2)
    try:  # The profiler's C++ speaks to the error stream when it starts and stops.
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
            kept = step()
    finally:
        os.dup2(error, 2)
        os.close(error)
    del kept
    results: Any = profile.profiler
    events = [e for e in results.kineto_results.events() if e.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum([0, *sizes]).max())
