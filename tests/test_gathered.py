"""gathered: several processes over gloo, whose loss and gradients are those of one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lossbook import gathered, info_nce, multiple_negatives_ranking_loss, nt_xent

ROOT = Path(__file__).resolve().parent.parent
LOSSES = {
    "info_nce": info_nce,
    "nt_xent": nt_xent,
    "multiple_negatives_ranking_loss": multiple_negatives_ranking_loss,
}

PROCESS = """
import os
import sys
import torch
from torch import nn
from torch.distributed import barrier, init_process_group
from tests.test_gathered import LOSSES, model, rows
from lossbook import gathered

rank, world, store, found = *map(int, sys.argv[1:3]), *sys.argv[3:]
torch.set_num_threads(1)
init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
results = {}
own = slice(rank * 6 // world, (rank + 1) * 6 // world)
for name, loss in LOSSES.items():
    parallel = nn.parallel.DistributedDataParallel(model())
    value = loss(*(gathered(parallel(x[own])) for x in rows(name))).mean()
    value.backward()
    results[name] = value.detach(), [p.grad for p in parallel.parameters()]
try:
    gathered(torch.zeros(1 + (rank == 0), 2))
    results["uneven"] = "no error"
except ValueError as error:
    results["uneven"] = str(error)
try:
    gathered(torch.zeros(2, dtype=torch.float64 if rank else torch.float32))
    results["mixed"] = "no error"
except ValueError as error:
    results["mixed"] = str(error)
torch.save(results, f"{found}.{rank}")
# DistributedDataParallel keeps the group's threads alive, even beyond destroy_process_group: an
# interpreter that comes down around them may be aborted. So wait for the others, and go.
barrier()
os._exit(0)
"""


def model():
    made = nn.Linear(5, 4).double()
    with torch.no_grad():
        for i, p in enumerate(made.parameters(), 1):
            p.copy_(torch.arange(p.numel()).view_as(p).mul(0.7 * i).sin())
    return made


def rows(name):
    """Six rows for each input, hard negatives among them."""
    count = 3 if name.startswith("multiple") else 2
    return [torch.arange(30.0).double().mul(1.1 + i).cos().view(6, 5) for i in range(count)]


def run(folder, world):
    files = [str(folder / "store"), str(folder / "found")]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(world), *files],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0] * world, said
    return [torch.load(f"{folder / 'found'}.{rank}") for rank in range(world)]


def alone(name):
    one = model()
    value = LOSSES[name](*(gathered(one(x)) for x in rows(name))).mean()
    value.backward()
    return value.detach(), [p.grad for p in one.parameters()]


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_are_as_one(tmp_path, world):
    for found in run(tmp_path, world):
        for name in LOSSES:
            (value, slopes), (right, right_slopes) = found[name], alone(name)
            torch.testing.assert_close(value, right, rtol=1e-12, atol=0)
            for slope, expected in zip(slopes, right_slopes, strict=True):
                torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-12)
        assert "expected rows of one shape and dtype on all processes" in found["uneven"]
        assert "(2, 2)" in found["uneven"]
        assert "torch.float64" in found["mixed"]


def test_one_process_has_its_own_rows():
    x = torch.ones(2, 3)
    assert gathered(x) is x


class Group:
    """The middle one of three processes: the others hold 10 more, and 20 more, than it does."""

    def __init__(self):
        self.alone = False
        self.shapes = None
        self.reduced = []

    def is_available(self):
        return not self.alone

    def is_initialized(self):
        return True

    def get_world_size(self):
        return 3

    def get_rank(self):
        return 1

    def all_gather_object(self, found, own):
        found[:] = self.shapes or [own] * 3

    def all_gather(self, parts, own):
        assert own.is_contiguous()
        for part, more in zip(parts, (10, 0, 20), strict=True):
            part.copy_(own + more)

    def all_reduce(self, total):
        assert total.is_contiguous()
        total.mul_(3)
        self.reduced.append(total)


@pytest.fixture
def group(monkeypatch):
    made = Group()
    monkeypatch.setattr(sys.modules["lossbook.gathering"], "dist", made)
    return made


def test_the_rows_of_all_stand_in_the_order_of_the_ranks(group):
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert gathered(x).tolist() == [
        *([11, 12], [13, 14], [1, 2], [3, 4]),
        *([21, 22], [23, 24]),
    ]
    assert gathered(x.T).tolist()[2:4] == [[1, 3], [2, 4]]
    assert gathered(x.half()).dtype == torch.float16
    group.alone = True
    assert gathered(x) is x


def test_the_gradient_of_own_rows_is_summed_over_all(group):
    x = torch.zeros(2, 2, requires_grad=True)
    upstream = torch.arange(12.0).view(6, 2)
    gathered(x).backward(upstream)
    assert x.grad.tolist() == (3 * upstream[2:4]).tolist()
    assert upstream.equal(torch.arange(12.0).view(6, 2)), "the gradient of others is not ours"
    x.grad = None
    gathered(x).sum().backward()  # An expanded gradient, which no process can send.
    assert x.grad.tolist() == [[3, 3], [3, 3]]
    assert len(group.reduced) == 2


@pytest.mark.usefixtures("group")
def test_a_second_derivative_raises():
    x = torch.ones(2, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(gathered(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize("shapes", [[(2, 2), (2, 2), (1, 2)], [(1, 2), (2, 2), (2, 2)]])
def test_other_shapes_raise_on_every_process(group, shapes):
    group.shapes = [(shape, "torch.float32") for shape in shapes]
    with pytest.raises(ValueError, match="expected rows of one shape and dtype on all") as caught:
        gathered(torch.zeros(2, 2))
    assert str(group.shapes) in str(caught.value)
