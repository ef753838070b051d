"""What is timed: each loss at the sizes of its use, with the peers that compute the same mean.

Peers import their library inside, so that a missing one is a row "not run". `FORMULA` is the
equation written straight, as a reader of the paper would.
"""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.bench.measure import Row, Step, stepwise

TESTS = Path(__file__).resolve().parents[1]

# Inputs, by size.


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape).requires_grad_()


def scores(classes: int, *rest: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    return lambda n: (leaf(n, classes, *rest), torch.randint(classes, (n, *rest)))


def residuals(n: int) -> tuple[Tensor, Tensor]:
    return leaf(n), torch.randn(n)


def small(n: int) -> tuple[Tensor, Tensor]:
    return leaf(n, 10), torch.randn(n, 10)


def binary(*rest: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    return lambda n: (leaf(n, *rest), torch.randint(2, (n, *rest)).float())


def signs(n: int) -> tuple[Tensor, Tensor]:
    return leaf(n), torch.randint(2, (n,)).float() * 2 - 1


def pairs(n: int) -> tuple[Tensor, Tensor]:
    return leaf(n, 256), leaf(n, 256)


def maps(side: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    def inputs(n: int) -> tuple[Tensor, Tensor]:
        logits, labels = torch.randn(n, 4, side, side), torch.randint(4, (n, side, side))
        truth = F.one_hot(labels, 4).movedim(-1, 1).float().contiguous()
        return logits.softmax(1).requires_grad_(), truth

    return inputs


def batch(n: int) -> tuple[Tensor, Tensor]:
    """Embeddings of n / 4 classes, four each."""
    return leaf(n, 256), torch.arange(n) // 4


# Peers.


def optax(function: str, *order: int, **settings: Any) -> Callable[..., Step]:
    """A loss of Optax, compiled by XLA, with its gradient in the first input."""

    @stepwise
    def peer(*inputs: Tensor) -> Step:
        import jax
        import optax

        call = getattr(optax, function, None) or getattr(optax.losses, function)
        arrays = [jax.numpy.asarray(x.detach().cpu().numpy()) for x in inputs]
        chosen = order or tuple(range(len(arrays)))
        wanted = tuple(i for i, x in enumerate(inputs) if x.requires_grad)

        def mean(*given: Any) -> Any:
            return call(*(given[i] for i in chosen), **settings).mean()

        compiled = jax.jit(jax.value_and_grad(mean, argnums=wanted))
        return lambda: jax.block_until_ready(compiled(*arrays))[0]

    return peer


def keras(name: str, **settings: Any) -> Callable[..., Tensor]:
    """A loss of Keras on torch: the truth comes first there."""

    def peer(predictions: Tensor, truth: Tensor) -> Tensor:
        import keras

        return getattr(keras.losses, name)(**settings)(truth, predictions)

    return peer


def metric_learning(make: Callable[[Any], Any]) -> Callable[..., Tensor]:
    """A loss of pytorch-metric-learning, which is made once."""
    made: list[Any] = []

    def peer(*inputs: Tensor) -> Tensor:
        import pytorch_metric_learning as library
        from pytorch_metric_learning import distances, losses, miners, reducers

        made[:] = made or [make((losses, distances, miners, reducers))]
        assert library
        return made[0](*inputs)

    return peer


def monai_overlap(**settings: Any) -> Callable[[Tensor, Tensor], Tensor]:
    def peer(probabilities: Tensor, truth: Tensor) -> Tensor:
        from monai.losses import DiceLoss

        return DiceLoss(smooth_nr=1e-5, smooth_dr=1e-5, **settings)(probabilities, truth)

    return peer


# The rows.

FUSED = "torch has one kernel for the loss and one for its slope; the file shows the formula"
DIGITS = "exact where p is nearly 1, which takes the other classes without the true one"
INFINITE = "infinite logits must cost 0 on their side and inf on the other"
CALL = "few kernels: the call's checks count, and Criterion's sum and division for one mean"
UNITS = "vectors are scaled before they are squared, and a row's own score is kept out of its sum"


def classes(n: int, c: int) -> dict[str, Any]:
    return {"shape": f"{{}} x {c}", "n": n, "inputs": scores(c)}


def masks(side: int, n: int) -> dict[str, Any]:
    return {"shape": f"{{}} x 4 x {side} x {side}", "n": n, "inputs": maps(side)}


M = 1 << 22
ELEMENTWISE = (("{}", M, residuals), ("{} x 10", 32, small))


def rows() -> Iterator[Row]:
    """Give every row: they stand beside the cases of each loss."""
    for path in sorted(TESTS.glob("*/test_*.py")):
        if "\ndef rows()" in path.read_text():
            yield from importlib.import_module(f"tests.{path.parent.name}.{path.stem}").rows()
