"""examine: a look at one batch before training, for the mistakes that raise no error.

Chapter: https://lossbook.example/choose/
"""

import copy
import functools
import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossbook.criterion import Criterion

__all__ = ["Finding", "Report", "examine"]


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong with a call.

    Attributes:
        severity: `"wrong"`: the loss is not the one that was meant, or cannot be computed.
            `"suspicious"`: the numbers speak against the call. `"note"`: they cannot decide.
        what: What was seen, with its numbers.
        fix: The line to change.
    """

    severity: Literal["wrong", "suspicious", "note"]
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.what}\n    {self.fix}"


class Report(list[Finding]):
    """Findings, the worst first; empty where nothing was found."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self)) or "no findings"


class _Limit:
    """Each number that parts a finding from none, and why; both sides of it are tested."""

    # How much must be seen.
    listed = 10  # Distinct values: a line holds so many; of more it says the range.
    crowd = 3  # Rows: two are one point, or of as many classes, by chance.
    few = 8  # Values: fewer are alike, or on one side, by chance (8 coins: 1 in 128).
    some = 16  # Values: fewer may be whole because what they predict is.
    many = 32  # Values: a share of fewer says little.
    # What rounding leaves.
    softmax = 1e-4  # Off 1: the sum of a softmax is nearer, logits are so by chance alone.
    rounded = 1e-3  # Off 0 or 1: what is left of a probability written with three digits.
    eps = 4  # Times the dtype's: the same, of a softmax in half precision.
    point = 1e-6  # Of the largest: what differs by less is equal in single precision.
    whole = 0.01  # A dtype whose step at this size is wider makes whole numbers by itself.
    square = 0.01  # Values within this of a multiple of the square are a squared error.
    # How large, how often, how far.
    rows = 0.9  # Share of rows that are probabilities: the rest may be padding.
    spread = 0.6  # Lowest to highest: sigmoids reach it, small logits of a fresh model do not.
    dead = 10.0  # A loss: nothing but a clamp is flat so far above its floor.
    pixel = 50.0  # Targets: up to this they may be classes; above, up to 255, they are bytes.
    near = 2.0  # Times: log-rates this near to the counts, on average, are rates ...
    rate = 5.0  # ... if the rates that they would stand for are so many times the counts.
    twice = 2.0  # Times: a cross entropy or a weight that much better is no chance.
    chance = 5.0  # Nats above log C: half of the truths e^5 = 148 times less likely than guessed.
    rare = 0.2  # Share of positives: nearer to half, either weight is defensible.
    often = 4  # Times, and `few` more: a class so much more frequent than another is common.
    huge = 1e6  # Targets: no usual learning rate gets there.
    large = 1e3  # Targets: nor here ...
    scale = 100  # ... from predictions so many times smaller; and residuals in units of `delta`.
    far = 10.0  # Times the median residual: 6.7 standard deviations of a normal one.
    share = 0.5  # Of the squared error: the few that have it decide the fit.
    outliers = 0.1  # Share of residuals: more are no outliers.
    average = -20.0  # Nats a token: e^-20 = 2e-9 is no model's guess, and a usual sum.


def examine(loss: Callable[..., Any], *inputs: Any, **settings: Any) -> Report:
    """Look at one batch and the loss of it, before training.

    The losses never read the values of their inputs; this does. It knows what the inputs mean by
    the loss's argument names (`logits` and `labels`, `logits` and `targets`, `predictions` and
    `targets` ...), so any function that uses them will do, and knows what the losses of torch
    take, modules and functions. Of another it says that it does not know it. Given the model's own
    output, not detached, it also sees the last layer.

    Args:
        loss: A lossbook function, a `Criterion`, or any function with the same argument names.
        *inputs: What `loss` takes, one batch.
        **settings: Keyword arguments of `loss`; `weights` and `normalizer` for a `Criterion`.

    Returns:
        The findings, the worst first; empty for a call that looks right.

    Raises:
        TypeError: If `loss` does not take these arguments.

    Example:
        >>> import torch
        >>> from lossbook import focal_loss
        >>> logits, labels = torch.tensor([[2.0, 1.0, -1.0]]), torch.tensor([0])
        >>> examine(focal_loss, logits, labels)
        no findings
        >>> examine(focal_loss, logits.softmax(1), labels)
        wrong: logits hold probabilities: 1 of 1 rows lie in [0, 1] and sum to 1, and another \
softmax keeps cross entropy above 0.5514 (3 classes)
            logits = model(inputs)  # before the softmax
    """
    call = _run(loss, inputs, settings)
    misfits = [*_unknown(call), *_shapes(call), *_labels(call)]
    if call.error is not None and all(found.severity == "note" for found in misfits):
        what = f"{call.name} raises {type(call.error).__name__}: {call.error}"
        misfits.append(Finding("wrong", what, f"{call.name}(...)  # what the message asks for"))
    first = call.given.get(call.first)
    if isinstance(first, Tensor) and first.numel() == 0:
        what, fix = "the batch is empty: its plain mean is nan", f"Criterion({call.name})  # 0"
        return Report([Finding("suspicious", what, fix)])
    findings = misfits + [finding for check in _CHECKS for finding in check(call)]
    order = ("wrong", "suspicious", "note")
    return Report(sorted(findings, key=lambda finding: order.index(finding.severity)))


@dataclass(frozen=True)
class _Call:
    """A loss, what it was given by name, and what came of it."""

    name: str
    given: dict[str, Any]
    kept: Tensor | None  # False where `ignore_index` drops a label
    weights: Tensor | None
    values: Tensor | None
    gradient: Tensor | None
    error: Exception | None
    last: bool  # Whether classes are last, as in every loss of language models.
    home: str  # The package that the loss is from.

    def tensor(self, *names: str) -> tuple[str, Tensor]:
        """Return the first of `names` that was given as a tensor, or an empty tensor."""
        for name in names:
            if isinstance(self.given.get(name), Tensor):
                return name, self.given[name].detach()
        return "", torch.empty(0)

    @property
    def first(self) -> str:
        """The name of the prediction: the first argument."""
        return next(iter(self.given), "")

    @property
    def by_class(self) -> bool:
        """Whether logits go through a softmax rather than a sigmoid."""
        return self.last or "labels" in self.given or "target_logits" in self.given

    @property
    def axis(self) -> int:
        """Where the classes are."""
        last = self.last or "box_offsets" in self.given or "logit_lengths" in self.given
        return -1 if last else int(self.given.get("dim", 1))

    def shown(self, values: Tensor) -> Tensor:
        """Where the loss looks at `values`: everywhere but under the mask."""
        mask = self.given.get("mask")
        shown = torch.ones_like(values, dtype=torch.bool)
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            return shown
        if values.shape[: mask.dim()] != mask.shape:
            return shown
        return shown & mask.reshape(mask.shape + (1,) * (values.dim() - mask.dim()))

    @property
    def classes(self) -> tuple[str, Tensor, Tensor] | None:
        """The scores, their classes moved to dimension 1, and their labels, if they fit."""
        name, scores = self.tensor(*_CLASSES)
        labels = self.tensor("labels")[1]
        if not name or not labels.numel() or "logit_lengths" in self.given or scores.dim() < 2:
            return None
        scores = scores.movedim(self.axis, 1)
        soft = labels.is_floating_point()
        fits = scores.shape if soft else scores.shape[:1] + scores.shape[2:]
        return (name, scores, labels) if labels.shape == fits else None

    def counted(self, values: Tensor) -> Tensor:
        """Return `values`, one per label, where they take part in the mean."""
        keep = self.shown(values)
        for mask in (self.kept, self.weights):
            if mask is not None and mask.shape == values.shape:
                keep &= mask != 0
        return values[keep]


# What has an entry for each class, beside labels.
_CLASSES = ("logits", "student_logits", "scores", "log_probs")
_LAST = ("lossbook.language.", "lossbook.preference.", "lossbook.policy.")


def _run(loss: Callable[..., Any], inputs: tuple[Any, ...], settings: dict[str, Any]) -> _Call:
    """Compute the unreduced values of `loss`, and the gradient of their sum by its first input."""

    def bind(function: Callable[..., Any], **named: Any) -> inspect.BoundArguments:
        function = function.forward if isinstance(function, nn.Module) else function
        return inspect.signature(function).bind(*inputs, **named)

    function, run, weights, kept = loss, _unreduced(loss), None, None
    if isinstance(loss, Criterion):
        if others := set(settings) - {"weights", "normalizer"}:
            raise TypeError(f"expected weights and normalizer alone, got {sorted(others)}")
        function, own, ignore_index = loss.loss, loss._settings(), loss.ignore_index
        run = Criterion(function, reduction="none", ignore_index=ignore_index, **own)
        weights = settings.get("weights") if isinstance(settings.get("weights"), Tensor) else None
        if ignore_index is not None and len(inputs) > 1 and isinstance(inputs[1], Tensor):
            kept = inputs[1] != ignore_index
        bound = bind(function, **own)
    else:
        bound = bind(function, **settings)
    bound.apply_defaults()
    given = dict(bound.arguments)
    if names := _torch(function):
        theirs = [*given.items()]
        more = vars(function) if isinstance(function, nn.Module) else {}
        more = {**more, **dict(theirs[len(names) :])}
        if more.get("log_target"):
            names = ("log_probs", "target_log_probs")
        elif more.get("log_input") is False:
            names = ("rates", "counts")
        given = {**dict(zip(names, (value for _, value in theirs), strict=False)), **more}
        ignored, labels = given.get("ignore_index"), given.get("labels")
        if kept is None and isinstance(ignored, int) and isinstance(labels, Tensor):
            kept = labels != ignored

    def cloned(value: Any) -> Any:
        return value.detach().clone() if isinstance(value, Tensor) else value

    values, gradient, error = None, None, None
    with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
        warnings.simplefilter("ignore")
        copies = [cloned(value) for value in inputs]
        leaf = copies[0] if copies else None
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            leaf.requires_grad_()
        try:
            reduced = {"reduction"} if _torch(loss) else set()
            named = {n: cloned(v) for n, v in settings.items() if n not in reduced}
            losses = run(*copies, **named)
            if isinstance(losses, Tensor):
                values = losses.detach()
                if isinstance(leaf, Tensor) and leaf.requires_grad and losses.requires_grad:
                    total = losses.float().sum()
                    (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
        except Exception as raised:  # Whatever a loss raises is a finding.
            error = raised
    function = getattr(function, "func", function)  # What a partial is of.
    last = str(getattr(function, "__module__", None)).startswith(_LAST)
    last = last or any({"logits", other} <= given.keys() for other in ("mask", "negatives"))
    home = _home(function)
    return _Call(_name(function), given, kept, weights, values, gradient, error, last, home)


# What the losses of torch take, modules and functions, by the names that lossbook has for it.
_TORCH = {
    name: tuple(takes.split())
    for names, takes in {
        "CrossEntropyLoss cross_entropy": "logits labels",
        "LinearCrossEntropyLoss": "hidden labels",
        "linear_cross_entropy": "hidden prototypes labels",
        "NLLLoss nll_loss": "log_probs labels",
        "BCEWithLogitsLoss binary_cross_entropy_with_logits": "logits targets",
        "MultiLabelSoftMarginLoss multilabel_soft_margin_loss": "logits targets",
        "BCELoss binary_cross_entropy": "probabilities targets",
        "KLDivLoss kl_div": "log_probs targets",
        "MSELoss mse_loss L1Loss l1_loss": "predictions targets",
        "SmoothL1Loss smooth_l1_loss HuberLoss huber_loss": "predictions targets",
        "GaussianNLLLoss gaussian_nll_loss": "predictions targets variances",
        "PoissonNLLLoss poisson_nll_loss": "log_rates counts",
        "SoftMarginLoss soft_margin_loss": "scores targets",
        "MultiMarginLoss multi_margin_loss": "scores labels",
        "MarginRankingLoss margin_ranking_loss": "scores1 scores2 targets",
        "HingeEmbeddingLoss hinge_embedding_loss": "distances targets",
        "CosineEmbeddingLoss cosine_embedding_loss": "embeddings1 embeddings2 targets",
        "TripletMarginLoss triplet_margin_loss": "anchors positives negatives",
        "TripletMarginWithDistanceLoss": "anchors positives negatives",
        "triplet_margin_with_distance_loss": "anchors positives negatives",
        "CTCLoss ctc_loss": "log_probs labels logit_lengths label_lengths",
    }.items()
    for name in names.split()
}


def _name(function: Any) -> str:
    function = getattr(function, "func", function)  # What a partial is of.
    return str(getattr(function, "__name__", type(function).__name__))


def _home(function: Any) -> str:
    """The package that a function or a module's class is from."""
    function = getattr(function, "func", function)
    kind = function if hasattr(function, "__name__") else type(function)
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def _torch(function: Any) -> tuple[str, ...]:
    """What a loss of torch takes, by our names; empty for what is not known or not torch's."""
    return _TORCH.get(_name(function), ()) if _home(function) == "torch" else ()


def _unreduced(loss: Any) -> Any:
    """A loss of torch with a value for each item; any other as it is."""
    if _torch(loss) and isinstance(loss, nn.Module):
        loss = copy.copy(loss)
        loss.reduction = "none"
    elif _torch(loss):
        loss = functools.partial(loss, reduction="none")
    return loss


def _unknown(call: _Call) -> Iterator[Finding]:
    """An argument whose meaning is not told by its name."""
    if call.home != "lossbook" and not _KNOWN & call.given.keys():
        names = ", ".join(call.given)
        what = f"{call.name} is not known: none of {names or 'no arguments'} says what it means"
        fix = "def loss(logits, labels): ...  # or predictions, targets; lossbook's names"
        yield Finding("note", what, fix)


def _slack(values: Tensor, least: float) -> float:
    """How far rounding may put a sum of probabilities off 1."""
    return max(least, _Limit.eps * torch.finfo(values.dtype).eps)


def _n(mask: Tensor) -> str:
    """Say how many of a mask are true."""
    return f"{int(mask.sum())} of {mask.numel()}"


def _where(mask: Tensor) -> str:
    """Say where a mask is true first."""
    return f"the first at {tuple(mask.nonzero()[0].tolist())}" if mask.dim() else "its only one"


def _range(values: Tensor) -> str:
    return f"{values.min().item():.4g} to {values.max().item():.4g}"


def _set(values: Tensor) -> set[float]:
    """Return the distinct values, or nothing where there are many."""
    distinct = set(values.double().unique().tolist())  # type: ignore[no-untyped-call]
    return distinct if len(distinct) <= _Limit.listed else set()


def _listed(values: Tensor) -> str:
    """List the distinct values, or say their range where there are many."""
    return ", ".join(f"{value:g}" for value in sorted(_set(values))) or _range(values)


# The operations that autograd recorded behind a tensor; some only move values.
_MOVES = {"View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Select", "Slice", "Index"}
_MOVES |= {"IndexSelect", "MaskedSelect", "Clone", "ToCopy", "Expand", "Alias", "Split", "Unbind"}
_SWAPS = {"Permute", "Transpose", "T"}
_LINEAR = {"Addmm", "Mm", "Bmm", "Baddbmm", "Linear"}
_ACTIVATIONS = {
    "Sigmoid": (0.0, 1.0),
    "Hardsigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Relu": (0.0, math.inf),
    "Softplus": (0.0, math.inf),
    "Exp": (0.0, math.inf),
    "LogSigmoid": (-math.inf, 0.0),
    "LogSoftmax": (-math.inf, 0.0),
}


def _history(tensor: Any) -> list[str]:
    """Return the operations behind `tensor`, back to the first that changed its values."""
    steps: list[str] = []
    node = getattr(tensor, "grad_fn", None)
    while node is not None:
        steps.append(node.name().split("Backward")[0])
        passes = steps[-1] in _MOVES | _SWAPS and node.next_functions
        node = node.next_functions[0][0] if passes else None
    return steps or [""]


_ALIKE = (
    ("logits", "targets"),
    ("predictions", "targets"),
    ("scores", "targets"),
    ("probabilities", "targets"),
    ("probabilities", "distance_maps"),
    ("log_probs", "targets"),
    ("log_probs", "target_log_probs"),
    ("distances", "targets"),
    ("log_rates", "counts"),
    ("rates", "counts"),
    ("scores1", "scores2"),
    ("scores1", "targets"),
    ("embeddings1", "embeddings2"),
    ("anchors", "positives"),
    ("queries", "keys"),
    ("views1", "views2"),
    ("offsets", "target_offsets"),
    ("logits", "target_logits"),
    ("logits", "negatives"),
    ("chosen_rewards", "rejected_rewards"),
    ("chosen_rewards", "margins"),
    ("chosen_log_probs", "rejected_log_probs"),
    ("chosen_log_probs", "reference_chosen_log_probs"),
    ("log_probs", "reference_log_probs"),
    ("log_probs", "old_log_probs"),
    ("log_probs", "mask"),
    ("log_probs", "is_desirable"),
    ("values", "old_values"),
    ("values", "returns"),
)


_KNOWN = {name for pair in _ALIKE for name in pair}
_KNOWN |= {"labels", "student_logits", "masks", "images", "features", "embeddings", "rewards"}
_KNOWN |= {"real_logits", "fake_logits", "real_scores", "fake_scores", "boxes", "critic"}


def _shapes(call: _Call) -> Iterator[Finding]:
    """Shapes that differ where they must not: the loss raises or, worse, broadcasts."""
    # Where a mask is given, an answer has one advantage for all its tokens.
    each_token = [] if "mask" in call.given else [("log_probs", "advantages")]
    for pair in [*_ALIKE, *each_token]:
        (a, x), (b, y) = call.tensor(pair[0]), call.tensor(pair[1])
        if a and b and x.shape != y.shape:
            what = f"{a} have shape {tuple(x.shape)} and {b} {tuple(y.shape)}"
            try:
                pairs = (x.to("meta") + y.to("meta")).numel()
                if pairs > max(x.numel(), y.numel()):
                    what += f", which broadcast to {pairs} values"
            except RuntimeError:
                pass
            yield Finding("wrong", what, _reshape(a, x, b, y))

    name, scores = call.tensor(*_CLASSES)
    labels = call.tensor("labels")[1]
    if not name or not labels.numel() or "logit_lengths" in call.given or call.classes:
        return
    seen = f"{name} have shape {tuple(scores.shape)} and labels {tuple(labels.shape)}"
    fits = scores.shape[:-1] if call.last else scores.shape[:1] + scores.shape[2:]
    if call.last and labels.shape == fits:
        return
    if call.home == "torch" and scores.dim() == 1 and labels.dim() == 0:
        return  # One sample, which torch takes without a batch.
    if scores.dim() < 2:
        what, fix = "one score is no class", f"{name} = {name}.unsqueeze(0)  # (N, C)"
        if scores.shape == labels.shape:
            what = "one score per sample is a binary problem"
            fix = f"Criterion(binary_cross_entropy)({name}, labels.float())"
    elif labels.shape == fits and labels.is_floating_point():
        what, fix = f"labels are {labels.dtype}, and classes are int64", "labels = labels.long()"
    elif labels.shape == scores.shape:
        what, fix = "integer labels look one-hot", f"labels = labels.argmax({call.axis})"
    elif call.last and labels.shape == scores.shape[:1] + scores.shape[2:]:
        what, fix = "the vocabulary is last here", f"{name} = {name}.movedim(1, -1)"
    elif labels.shape == scores.shape[:-1]:
        what, fix = "classes come last, not on dimension 1", f"{name} = {name}.movedim(-1, 1)"
    elif labels.numel() == math.prod(fits):
        what, fix = "labels must have no class dimension", f"labels = labels.reshape({tuple(fits)})"
    else:
        what, fix = "these are not (N, C, *) and (N, *)", f"{name}, labels = ...  # of one batch"
    yield Finding("wrong", f"{seen}: {what}", fix)


def _reshape(a: str, x: Tensor, b: str, y: Tensor) -> str:
    """Write the line that makes two shapes equal."""
    for name, tensor, other in ((a, x, y), (b, y, x)):
        for d, size in enumerate(tensor.shape):
            if size == 1 and tensor.shape[:d] + tensor.shape[d + 1 :] == other.shape:
                return f"{name} = {name}.squeeze({d})"
    if x.dim() > 1 and x.shape[:1] + x.shape[2:] == y.shape:
        if a == "probabilities":
            return f"{b} = one_hot({b}.long(), {x.shape[1]}).movedim(-1, 1)"
        if a == "logits":
            return f"Criterion(cross_entropy)({a}, {b}.long())  # {x.shape[1]} classes"
    if y.dim() > 2 and x.shape == y.movedim(-1, 1).shape:
        return f"{b} = {b}.movedim(-1, 1)"
    if x.numel() == y.numel():
        return f"{b} = {b}.reshape({a}.shape)"
    return f"{a}, {b} = ...  # of one shape"


def _labels(call: _Call) -> Iterator[Finding]:
    """Integer predictions, and class labels that are no integers from 0 to C - 1."""
    first = call.given.get(call.first)
    if isinstance(first, Tensor) and not first.is_floating_point():
        what = f"{call.first} are {first.dtype}: no gradient flows through them"
        yield Finding("wrong", what, f"{call.first} = model(inputs)  # no argmax, no comparison")
    name, is_same = call.tensor("is_same")
    if name and is_same.dtype != torch.bool:
        what = f"is_same is {is_same.dtype}: texts differ on whether 1 means the same or another"
        yield Finding("wrong", what, "is_same = labels1 == labels2")

    labels, prototypes = call.tensor("labels")[1], call.tensor("prototypes", "centers")[1]
    if "hidden" in call.given and not prototypes.numel():
        prototypes = call.tensor("weight")[1]
    if prototypes.numel() and labels.numel():
        count = prototypes.shape[0]
    elif call.classes and not labels.is_floating_point():
        count = call.classes[1].shape[1]
    else:
        return
    if call.error is not None and labels.dtype != torch.int64:
        what = f"labels are {labels.dtype}, and classes are int64"
        yield Finding("wrong", what, "labels = labels.long()")
        return
    if call.kept is not None and call.kept.shape == labels.shape:
        labels = labels[call.kept]
    labels = labels[call.shown(labels)]
    outside = (labels < 0) | (labels >= count)
    if not outside.any():
        return
    bad, rest = labels[outside], labels[~outside]
    low, high = int(bad.min()), int(bad.max())
    if low == high and (low < 0 or low == 255):
        fix = f"keep = labels != {low}  # and only those rows"
        if list(call.given)[1] == "labels":
            fix = f"Criterion({call.name}, ignore_index={low})"
    elif low == high == count and rest.numel() and rest.min() > 0:
        fix = "labels = labels - 1  # they start at 1"
    elif low >= 0:
        fix = f"nn.Linear(..., {high + 1})  # one output for each class"
    else:
        fix = f"labels = ...  # 0 to {count - 1}"
    what = f"{_n(outside)} labels are outside 0 to {count - 1} ({count} classes): {_listed(bad)}"
    yield Finding("wrong", what, fix)


def _numbers(call: _Call) -> Iterator[Finding]:
    """What is nan or infinite: in the inputs, in the loss, in the gradient."""
    clean, hidden = True, ""
    for name, value in call.given.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        bad = ~value.detach().isfinite() & call.shown(value)
        if name.endswith("logits"):  # A logit of -inf rules a class out.
            bad &= ~value.isneginf()
        if call.weights is not None and call.weights.shape == bad.shape:
            hidden = name if (bad & (call.weights == 0)).any() else hidden
            bad &= call.weights != 0
        labels = call.tensor("labels")[1]
        if name == "target_offsets" and labels.shape == bad.shape[:-1]:
            bad &= (labels > 0).unsqueeze(-1)  # The background has no box: anything may be there.
        if bad.any():
            clean = False
            what = f"{_n(bad)} values of {name} are nan or infinite, {_where(bad)}"
            yield Finding("wrong", what, f"assert {name}.isfinite().all()  # layer by layer")
    if call.values is None or not clean:
        return

    bad, (name, first) = ~call.values.isfinite(), call.tensor(call.first)
    needed, has = _frames(call)
    if has.numel() == bad.numel():  # Of a row that is too short, `_alignments` says why.
        bad &= (has >= needed).reshape(bad.shape)
    if bad.any():
        what = f"{_n(bad)} losses are nan or infinite though the inputs are not, {_where(bad)}"
        fix = f"{call.name}(...)  # alone, on that position"
        truth = call.tensor("targets", "target_offsets")[1]
        if name == "log_rates":
            what += f": exp of log_rates from {_range(first)}"
            fix = f"{call.name}(rates.log(), counts)  # if these are rates"
        elif first.dtype == torch.float16:
            if truth.shape == first.shape:
                size = (first.double() - truth.double()).abs().max().item()
                what += f": the largest residual is {size:.4g}, and float16 holds squares to 255.9"
            fix = f"{call.name}({name}.float(), ...)"
        elif first.isneginf().any():
            what += f": {_n(first.isneginf())} {name} are -inf, the truth among them"
            fix = f"{name}.masked_fill(impossible, -inf)  # never the true class"
            if call.given.get("label_smoothing"):
                fix = "label_smoothing=0.0  # it makes every class a little true"
        yield Finding("wrong", what, fix)
    elif (has < needed).any():
        return
    elif call.gradient is None:
        if first.is_floating_point() and name:
            what = f"no gradient reaches {name}: {call.name} cuts the graph"
            yield Finding("wrong", what, f"{call.name}  # no argmax, detach or comparison inside")
    elif not call.gradient.isfinite().all():
        bad = ~call.gradient.isfinite()
        what = f"the loss is finite, and {_n(bad)} values of its gradient are not, {_where(bad)}"
        fix = f"{call.name}  # a root or a quotient at 0 inside"
        if hidden:
            what += f": a weight of 0 does not stop the nan or inf in {hidden}"
            fix = f"{hidden} = {hidden}.where(weights != 0, 0)"
        yield Finding("wrong", what, fix)
    elif call.values.shape == call.gradient.shape:
        dead = (call.values > _Limit.dead) & (call.gradient == 0)
        clips = any(name.startswith("old_") for name in call.given)  # There it is meant.
        if dead.any() and not clips:
            what = f"{_n(dead)} losses above {_Limit.dead:g} have a gradient of exactly 0"
            what += f", {_where(dead)}"
            yield Finding("suspicious", what, f"{call.name}  # on logits, without a clamp")


def _last_layer(call: _Call) -> Iterator[Finding]:
    """An activation behind the inputs that the loss does not expect."""
    for name, value in call.given.items():
        made_by = _history(value)[-1]
        if made_by not in _ACTIVATIONS:
            continue
        low, high = _ACTIVATIONS[made_by]
        fix = f"{name} = model(inputs)  # no {made_by} after the last layer"
        unlimited = name in ("scores", "real_scores", "fake_scores", "log_rates")
        if name.endswith("logits"):
            # A softmax of log-probabilities gives the probabilities back; a sigmoid does not.
            unlimited = "Soft" not in made_by or made_by == "Softplus" or not call.by_class
        if unlimited and not (made_by == "Softmax" and call.by_class):
            bound = f"[{low:g}, {high:g}]"
            what = f"{name} come out of {made_by} and never leave {bound}: this loss takes any real"
            yield Finding("wrong", what, fix)
        elif name == "predictions" and "dim" not in call.given:
            targets = call.tensor("targets")[1]
            outside = (targets < low) | (targets > high)
            if outside.any():
                what = f"{_n(outside)} targets ({_range(targets)}) are out of reach of predictions "
                what += f"that come out of {made_by}, in [{low:g}, {high:g}]"
                yield Finding("wrong", what, fix)


def _probabilities(call: _Call) -> Iterator[Finding]:
    """Probabilities where a loss takes scores, and scores where it takes probabilities."""
    for name, value in call.given.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        if name != "scores" and not name.endswith("logits"):
            continue
        values, axis = value.detach().float(), call.axis
        inside, made_by = (values >= 0) & (values <= 1), _history(value)[-1]
        if call.by_class:
            if not -values.dim() <= axis < values.dim() or values.shape[axis] < 2:
                continue
            close = (values.sum(axis) - 1).abs() < _slack(value, _Limit.softmax)
            rows = inside.all(axis) & close
            if rows.float().mean() > _Limit.rows:
                count = values.shape[axis]
                what = f"{name} hold probabilities: {_n(rows)} rows lie in [0, 1] and sum to 1"
                if name in ("logits", "student_logits"):
                    floor = math.log1p((count - 1) / math.e)
                    what += f", and another softmax keeps cross entropy above {floor:.4f}"
                    what += f" ({count} classes)"
                yield Finding("wrong", what, f"{name} = model(inputs)  # before the softmax")
        elif made_by in _LINEAR | {"Convolution"} | set(_ACTIVATIONS):
            continue  # The last layer is known.
        elif (
            inside.all()
            and values.numel() >= _Limit.few
            and values.max() - values.min() >= _Limit.spread
        ):
            what = f"all {values.numel()} {name} lie in [0, 1], from {_range(values)}, as the "
            what += "outputs of a sigmoid do: "
            if name == "scores":
                least = "0.6931" if "soft" in call.name.lower() else "1"
                what += f"a target of -1 then costs at least {least}"
            else:
                what += (
                    "through another one a sure positive costs 0.3133 and a sure negative 0.6931"
                )
            yield Finding("suspicious", what, f"{name} = model(inputs)  # before the sigmoid")

    name, values = call.tensor("probabilities")
    if not name:
        return
    outside = (values < -_Limit.rounded) | (values > 1 + _Limit.rounded)
    if outside.any():
        what = f"{_n(outside)} probabilities are outside [0, 1] ({_range(values)}), as logits are"
        one = values.dim() < 2 or values.shape[1] == 1
        yield Finding("wrong", what, f"logits.{'sigmoid()' if one else 'softmax(1)'}")
    elif (
        _set(values) == {0, 1}
        and values.numel() >= _Limit.few
        and not call.given[name].requires_grad
    ):
        what = f"all {values.numel()} probabilities are exactly 0 or 1: a threshold has no gradient"
        yield Finding("suspicious", what, "logits.sigmoid()  # no threshold before the loss")


def _distributions(call: _Call) -> Iterator[Finding]:
    """Soft labels that are no probabilities."""
    if not call.classes or not call.classes[2].is_floating_point():
        return
    labels = call.classes[2]
    sums, lowest = labels.double().sum(1), labels.min().item()
    bad = (sums - 1).abs() > _slack(labels, _Limit.rounded)
    bad |= (labels < 0).any(1)
    if bad.any():
        what = f"{_n(bad)} rows of soft labels are no probabilities: they sum to "
        what += f"{_range(sums[bad])}, their lowest entry is {lowest:.4g}"
        fix = "labels = labels / labels.sum(1, keepdim=True)"
        if lowest < 0:
            fix = "labels = labels.softmax(1)  # if they are logits"
        elif not sums[bad].any():
            fix = f"Criterion({call.name})(..., weights=labels.sum(1) > 0)"
        yield Finding("wrong", what, fix)


def _truths(call: _Call) -> Iterator[Finding]:
    """Signs, binary targets and counts outside their domain."""
    name, targets = call.tensor("targets")
    seen = _set(targets)
    signs = any(n in call.given for n in ("scores", "scores1", "embeddings1", "distances"))
    if name and signs:
        bad = targets.float().abs() != 1
        if bad.any():
            what = f"{_n(bad)} targets are neither -1 nor +1: {_listed(targets)}"
            fix = "targets = ...  # -1 or +1"
            if seen and seen <= {0, 1}:
                fix = "targets = 2 * targets.float() - 1"
            yield Finding("wrong", what, fix)
    elif name and any(n in call.given for n in ("logits", "probabilities", "log_probs")):
        bad = (targets < 0) | (targets > 1)
        others = seen - {0, 1}
        if bad.any():
            fix = "targets = ...  # probabilities, or 0 and 1"
            if seen and seen <= {-1, 1}:
                fix = "targets = (targets + 1) / 2"
            elif "log_probs" in call.given and (targets <= 0).all():
                fix = "log_target=True  # if these are log-probabilities"
            elif others in ({255}, {-1}, {-100}) and 1 in seen:
                fix = f"Criterion({call.name})(..., weights=targets != {others.pop():g})"
                if "probabilities" in call.given:
                    fix = "known = (targets >= 0) & (targets <= 1)  # multiply both inputs by it"
            elif seen == {1, 2}:
                fix = "targets = targets - 1"
            elif targets.min() >= 0 and _Limit.pixel < targets.max() <= 255:
                fix = "targets = targets / 255"
            elif seen and all(value in range(255) for value in seen):
                fix = "Criterion(cross_entropy)(logits, labels)  # more than two classes"
            yield Finding("wrong", f"{_n(bad)} targets are outside [0, 1]: {_listed(targets)}", fix)
    if name and call.given[name].requires_grad:
        what = "targets require a gradient: training will move the truth too"
        yield Finding("note", what, "targets = targets.detach()")

    for name, fix in (("distances", "F.pairwise_distance(...)"), ("rates", "log_input=True")):
        values = call.tensor(name)[1]
        if (values < 0).any():
            what = f"{_n(values < 0)} {name} are negative ({_range(values)})"
            yield Finding("wrong", what, f"{fix}  # {name} are at least 0")
    name, counts = call.tensor("counts")
    if name and (counts < 0).any():
        what = f"{_n(counts < 0)} counts are negative ({_range(counts)})"
        yield Finding("wrong", what, "assert (counts >= 0).all()  # in the data")
    log_rates = call.tensor("log_rates")[1].double()
    if name and log_rates.numel() and (log_rates >= 0).all():
        mean, truth = log_rates.mean().item(), counts.double().mean().item()
        rate = log_rates.exp().mean().item()
        alike = truth / _Limit.near < mean < truth * _Limit.near
        if alike and rate > _Limit.rate * truth:
            what = f"log_rates average {mean:.4g}, much as the counts do ({truth:.4g}); the rates "
            what += f"that they stand for average {rate:.4g}"
            fix = f"{call.name}(rates.log(), counts)  # if these are rates"
            yield Finding("suspicious", what, fix)


def _collapse(call: _Call) -> Iterator[Finding]:
    """Outputs that do not depend on the input."""
    truth = call.tensor("targets", "labels", "counts")[1]
    varied = truth.dim() > 0 and bool((truth != truth[:1]).any())
    for name in ("logits", "predictions", "scores", "probabilities", "log_rates"):
        rows = call.tensor(name)[1]
        if not varied or rows.shape[:1] != truth.shape[:1] or len(rows) < _Limit.few:
            continue
        if rows.any() and (rows == rows[:1]).all():
            what = f"all {len(rows)} rows of {name} are equal, and their truths are not"
            fix = "model  # dead units, or one input for the whole batch"
            yield Finding("suspicious", what, fix)

    vectors = ("embeddings", "embeddings1", "embeddings2", "anchors", "positives", "queries")
    for name in (*vectors, "keys", "views1", "views2"):
        rows = call.tensor(name)[1]
        if rows.dim() < 2:
            continue
        rows = rows.flatten(0, -2)
        zero = (rows == 0).all(1)
        if zero.any():
            what = f"{_n(zero)} {name} are zero vectors: a cosine gives them no gradient"
            yield Finding("suspicious", what, "model  # no ReLU after the last layer")
            continue
        reach = (rows - rows[:1]).abs().max()
        if len(rows) >= _Limit.crowd and reach <= _Limit.point * rows.abs().max():
            what = f"all {len(rows)} {name} are one point: they have collapsed"
            yield Finding("suspicious", what, "model  # a lower learning rate, easier negatives")

    labels = call.tensor("labels")[1]
    if list(call.given)[:2] == ["embeddings", "labels"] and len(labels) > _Limit.crowd:
        classes = len(labels.unique())  # type: ignore[no-untyped-call]
        if classes in (1, len(labels)):
            kind = "negative" if classes == 1 else "positive"
            what = f"no anchor has a {kind}: {len(labels)} samples of {classes} classes"
            fix = "DataLoader(..., sampler=...)  # several classes, several samples of each"
            yield Finding("suspicious", what, fix)


def _axes(call: _Call) -> Iterator[Finding]:
    """Classes on another axis than 1, where every axis has the same length."""
    if not call.classes or call.axis != 1 or call.classes[2].is_floating_point():
        return
    name, scores, labels = call.classes
    if scores.dim() < 3 or scores.shape[1] < 2 or len(set(scores.shape[1:])) > 1:
        return
    last, history = scores.movedim(-1, 1), _history(call.given[name])

    def normalized(x: Tensor) -> bool:
        x = x.float() if (x >= 0).all() else x.float().exp()
        return bool(((x.sum(1) - 1).abs() < _Limit.rounded).all())

    severity: Literal["wrong", "note"] = "wrong"
    what = f"{name} of shape {tuple(scores.shape)} may have their classes on any axis but the first"
    fix = f"{name} = {name}.movedim(-1, 1)"
    read, swapped = (_cross_entropy(x, labels).mean().item() for x in (scores, last))
    half_chance = math.log(scores.shape[1]) / _Limit.twice
    if history[-1] in _LINEAR and not _SWAPS & set(history):
        what += "; the linear layer behind them puts them last"
    elif normalized(scores) or history != [""]:
        return
    elif normalized(last):
        what += "; they are normalized along the last"
    elif swapped < min(read / _Limit.twice, half_chance):
        what += f"; cross entropy is {swapped:.4g} along the last, and {read:.4g} as they are read"
    elif read < min(swapped / _Limit.twice, half_chance):
        return
    else:
        severity, fix = "note", f"{fix}  # if the model puts classes last; dimension 1 is read"
    yield Finding(severity, what, fix)


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of each position, 0 where the label is no class."""
    if labels.is_floating_point():
        return F.cross_entropy(scores.float(), labels.float(), reduction="none")
    known = (labels >= 0) & (labels < scores.shape[1])
    return F.cross_entropy(scores.float(), labels.long().where(known, -100), reduction="none")


def _chance(call: _Call) -> Iterator[Finding]:
    """A loss that is 0 whatever happens, or far above that of a model that knows nothing."""
    name, scores = call.tensor("logits", "student_logits")
    targets = call.tensor("targets")[1]
    if not name:
        return
    if call.classes:
        _, scores, labels = call.classes
        if scores.shape[1] == 1:
            what = f"{name} of shape {tuple(scores.shape)} have one class: the softmax is 1 and "
            what += "the loss 0, whatever the model says"
            fix = f"Criterion(binary_cross_entropy)({name}.squeeze(1), labels.float())"
            yield Finding("wrong", what, fix)
            return
        losses, count = _cross_entropy(scores, labels), scores.shape[1]
    elif scores.shape == targets.shape and ((targets >= 0) & (targets <= 1)).all():
        losses, count = F.softplus(scores.float()) - scores.float() * targets.float(), 2
    else:
        return
    losses = call.counted(losses)
    # A trained model may be sure and wrong on a few; on half of a batch it is not.
    if losses.numel() >= _Limit.few and losses.median() > math.log(count) + _Limit.chance:
        what = f"half of the batch has a cross entropy above {losses.median().item():.4g}, where a "
        what += f"model that knows nothing has log {count} = {math.log(count):.4g}: {name} from "
        what += f"{_range(scores)} are sure and wrong"
        fix = "model  # smaller initial weights in the last layer, or labels in another order"
        yield Finding("suspicious", what, fix)


def _balance(call: _Call) -> Iterator[Finding]:
    """Class weights that favor what is frequent."""
    alpha, targets = call.given.get("alpha"), call.tensor("targets")[1]
    enough = targets.numel() >= _Limit.many
    if isinstance(alpha, (int, float)) and "logits" in call.given and enough:
        share = targets.double().mean().item()
        both_rare = max(share, alpha) < _Limit.rare or min(share, alpha) > 1 - _Limit.rare
        if share not in (0, 1) and both_rare:
            what = f"alpha = {alpha:g} is the weight of positives, {100 * share:.3g} % of the batch"
            what += f"; negatives weigh {1 - alpha:g}"
            yield Finding("suspicious", what, f"alpha={1 - alpha:g}  # the rarer weighs more")
    if isinstance(alpha, Tensor) and call.classes and not call.classes[2].is_floating_point():
        labels = call.counted(call.classes[2])
        labels = labels[(labels >= 0) & (labels < alpha.numel())]
        counts = labels.long().bincount(minlength=alpha.numel())
        seen = counts.nonzero().flatten()
        if len(labels) < _Limit.many or len(seen) < 2 or alpha.dim() != 1:
            return
        common, rare = int(seen[counts[seen].argmax()]), int(seen[counts[seen].argmin()])
        frequent = counts[common] >= _Limit.few + _Limit.often * counts[rare]
        if frequent and alpha[common] >= _Limit.twice * alpha[rare] > 0:
            what = (
                f"alpha is {alpha[common].item():.4g} for class {common}, {counts[common]} times "
            )
            what += f"in the batch, and {alpha[rare].item():.4g} for class {rare}, {counts[rare]}"
            yield Finding("suspicious", what, "alpha = 1 / counts  # the rarer weighs more")


def _residuals(call: _Call) -> Iterator[Finding]:
    """Regression: scale, outliers, and predictions that no model makes."""
    (a, x), (b, y) = call.tensor("predictions"), call.tensor("targets")
    if not a or not b or x.shape != y.shape or "dim" in call.given:
        return
    predictions, targets = call.counted(x).double(), call.counted(y).double()
    residuals = (predictions - targets).abs()
    if not residuals.numel() or not residuals.isfinite().all():
        return
    size, reach = targets.abs().median().item(), predictions.abs().median().item()
    middle, count = residuals.median().item(), residuals.numel()
    threshold = next((name for name in ("delta", "beta") if call.given.get(name)), "")
    if size >= _Limit.huge or (size >= _Limit.large and reach <= size / _Limit.scale):
        what = f"targets are around {size:.3g}, predictions around {reach:.3g}, and half of the "
        what += f"residuals are above {middle:.3g}"
        yield Finding("suspicious", what, "targets = (targets - mean) / std  # of the training set")
    elif threshold and count >= _Limit.few and middle > _Limit.scale * call.given[threshold]:
        what = f"half of the residuals are above {middle:.3g}, far beyond "
        what += f"{threshold} = {call.given[threshold]:g}: the loss is the absolute error"
        yield Finding("suspicious", what, f"{threshold}={middle:.2g}  # in the unit of the targets")

    if count >= _Limit.few and (targets != targets[0]).any() and not residuals.any():
        what = f"all {count} predictions equal their targets: nothing is left to learn"
        fix = "predictions = model(inputs)  # of inputs that do not hold the targets"
        yield Finding("suspicious", what, fix)
    elif count >= _Limit.some and x.is_floating_point() and not call.given[a].requires_grad:
        fine = predictions.abs().max() * torch.finfo(x.dtype).eps < _Limit.whole
        varied = (predictions != predictions[0]).any()
        if fine and varied and (predictions == predictions.round()).all():
            what = f"all {count} predictions are whole numbers: rounding leaves no gradient"
            fix = "predictions = model(inputs)  # round for reading, not for the loss"
            yield Finding("suspicious", what, fix)

    if call.values is None or call.values.shape != x.shape or count < _Limit.many or x.dim() > 2:
        return
    values, squares = call.counted(call.values).double(), residuals**2
    factor = values[squares.argmax()] / squares.max()
    if not residuals.any() or not torch.allclose(values, factor * squares, rtol=_Limit.square):
        return
    usual = residuals[residuals > 0].median().item()
    far = residuals > _Limit.far * usual
    share = (squares[far].sum() / squares.sum()).item()
    if share > _Limit.share and far.double().mean() <= _Limit.outliers:
        what = f"{_n(far)} residuals make {100 * share:.3g} % of the squared error; the largest is "
        what += f"{residuals.max().item():.3g}, the median {usual:.3g}"
        fix = f"Criterion(huber_loss, delta={3 * usual:.2g})  # if they are outliers"
        yield Finding("suspicious", what, fix)


def _log_probs(call: _Call) -> Iterator[Finding]:
    """Log-probabilities that are none, or sums where averages are meant; advantages of nothing."""
    for name, value in call.given.items():
        if not name.endswith("log_probs") or not isinstance(value, Tensor):
            continue
        seen = value.detach()[call.shown(value)].double()
        above = seen > _Limit.rounded
        if above.any():
            what = f"{_n(above)} {name} are above 0 ({_range(seen)}), and no log-probability is"
            fix = f"{name} = -{name}  # if these are losses"
            if call.home == "torch" and (seen < 0).any():
                fix = f"{name} = logits.log_softmax({call.axis})  # if these are logits"
            elif (seen <= 1).all():
                fix = f"{name} = {name}.log()  # if these are probabilities"
            yield Finding("wrong", what, fix)
        elif name == "log_probs" and "labels" in call.given and value.dim() > 1:
            yield from _normalized(call, value.detach())
        average = name == "chosen_log_probs" and "reference_chosen_log_probs" not in call.given
        if average and seen.numel() and seen.median() < _Limit.average:
            what = f"half of the {name} are below {seen.median().item():.4g}: as averages, that is "
            what += f"a probability below e^{_Limit.average:g} for each token"
            yield Finding("suspicious", what, "sequence_log_probs(..., average=True)")

    if call.name in ("KLDivLoss", "kl_div") and call.given.get("reduction") == "mean":
        rows = call.tensor("log_probs")[1]
        if rows.dim() > 1:
            what = f"the mean is over all {rows.numel()} values, and a divergence over rows: it is "
            what += f"{rows.numel() // len(rows)} times too small"
            yield Finding("suspicious", what, 'reduction="batchmean"')
    name, advantages = call.tensor("advantages")
    if name and advantages.numel() and not advantages.any():
        what = f"all {advantages.numel()} advantages are 0: nothing is learned"
        yield Finding("suspicious", what, "group_advantages(rewards)  # of rewards that differ")


def _normalized(call: _Call, log_probs: Tensor) -> Iterator[Finding]:
    """Log-probabilities of classes that do not add up to 1: logits, most often."""
    sums = log_probs.double().exp().sum(call.axis)
    off = call.counted((sums - 1).abs() > _slack(log_probs, _Limit.rounded))
    if off.float().mean() > 1 - _Limit.rows:  # Padding may hold anything.
        what = f"{_n(off)} rows of log_probs are not normalized: their probabilities sum to "
        fix = f"log_probs = logits.log_softmax({call.axis})  # if these are logits"
        yield Finding("wrong", f"{what}{_range(sums)}", fix)


def _frames(call: _Call) -> tuple[Tensor, Tensor]:
    """Return the frames that each row's labels need in CTC, and those that it has."""
    labels, given = call.tensor("labels")[1], call.given
    if "logit_lengths" not in given or "label_lengths" not in given:
        return torch.empty(0), torch.empty(0)
    has, lengths = (torch.as_tensor(given[f"{n}_lengths"]).flatten() for n in ("logit", "label"))
    rows = [*labels] if labels.dim() > 1 else [labels]
    if labels.dim() == 1 and labels.numel() == lengths.sum():  # Torch takes them end to end.
        rows = [*torch.split(labels, lengths.tolist())]
    if not len(rows) == len(lengths) == len(has):
        return torch.empty(0), torch.empty(0)
    rows = [row[:n] for row, n in zip(rows, lengths, strict=True)]
    needed = [len(row) + int((row[1:] == row[:-1]).sum()) for row in rows]
    return torch.tensor(needed), has


def _alignments(call: _Call) -> Iterator[Finding]:
    """Rows of CTC with fewer frames than labels, and blanks between equal ones."""
    needed, has = _frames(call)
    short = has < needed
    if short.any():
        row = int(short.nonzero()[0])
        what = f"{_n(short)} rows are too short for their labels, {_where(short)}: needs "
        what += f"{int(needed[row])} frames, has {int(has[row])}"
        if call.given.get("zero_infinity"):
            yield Finding("suspicious", f"{what}; it counts as 0", "model  # fewer strides")
        else:
            yield Finding("wrong", f"{what}; the loss is inf", "model  # fewer strides")


def _nothing_left(call: _Call) -> Iterator[Finding]:
    """A mask or weights that leave nothing, or less than nothing."""
    if call.kept is not None and not call.kept.any():
        what, fix = f"all {call.kept.numel()} labels are ignored", "the label of padding alone"
        if call.home == "torch" and call.given.get("reduction") == "mean":  # Torch divides 0 by 0.
            yield Finding("wrong", f"{what}: the loss is nan", f"ignore_index=...  # {fix}")
        else:
            what += ": the loss is 0 with zero gradient"
            yield Finding("suspicious", what, f"ignore_index=...  # {fix}")
    if call.weights is not None and not call.weights.any():
        what = f"all {call.weights.numel()} weights are 0: the loss is 0 with zero gradient"
        yield Finding("suspicious", what, "weights=...  # 1 keeps a value, 0 drops it")
    mask = call.tensor("mask")[1]
    if mask.dtype == torch.bool and mask.dim():
        empty = ~mask.any(-1)
        if empty.any():
            what = f"{_n(empty)} rows of the mask are False throughout, {_where(empty)}: they "
            what += "have no token"
            fix = "mask = labels != -100  # True where a token counts"
            yield Finding("suspicious", what, fix)
    if call.weights is not None and (call.weights < 0).any():
        what = f"{_n(call.weights < 0)} weights are negative: training drives their losses up"
        yield Finding("wrong", what, "weights=...  # at least 0")


_CHECKS = (
    _numbers,
    _last_layer,
    _probabilities,
    _distributions,
    _truths,
    _collapse,
    _axes,
    _chance,
    _balance,
    _residuals,
    _log_probs,
    _alignments,
    _nothing_left,
)
