"""The benchmark's bookkeeping and its page; what takes how long is no test's business."""

import json

import pytest
import torch

from lossbook import squared_error
from lossbook.book.pages import speed
from tests.bench import measure
from tests.bench.rows import rows

FILES = {"squared_error": "lossbook/regression/squared_error.py"}


def row(**peers):
    return measure.Row(
        squared_error,
        shape="{}",
        n=6,
        inputs=lambda n: (torch.arange(float(n)).requires_grad_(), torch.zeros(n)),
        peers=peers,
        sweep=(2, 4),
        compiled=False,
    )


def missing(*_):
    raise ModuleNotFoundError("no such thing", name="nosuchlibrary")


def test_only_what_computes_the_same_number_is_timed():
    found = measure.compare(
        row(
            same=lambda x, y: (x - y).square().mean(),
            halved=lambda x, y: (x - y).square().mean() / 2,
            detached=lambda x, y: (x - y).square().mean().detach() + 0 * x.sum(),
            absent=missing,
            broken=lambda x, y: x @ y[:3],
        ),
        "cpu",
        seconds=0,
    )
    assert {name: result["status"] for name, result in found.items()} == {
        "lossbook": "timed",
        "same": "timed",
        "halved": "not run",
        "detached": "not run",
        "absent": "not run",
        "broken": "not run",
    }
    assert "differs by 0.5" in found["halved"]["reason"]
    assert found["absent"]["reason"] == "nosuchlibrary is not installed"
    assert found["broken"]["reason"].startswith("RuntimeError: ")
    assert found["lossbook"]["ratio"] == [1, 1, 1]
    assert found["lossbook"]["rounds"] >= measure.ROUNDS[0]


def test_all_of_a_row_goes_to_the_device():
    critic, x = torch.nn.Linear(2, 1), torch.zeros(3, 2, requires_grad=True)
    moved, (y, n) = measure.place((critic, (x, 3)), "meta")
    assert [moved.weight.is_meta, y.is_meta, n, y.is_leaf] == [True, True, 3, True]
    assert [critic.weight.is_meta, x.is_meta] == [False, False]


def test_a_sweep_measures_every_size():
    found = measure.sweep(row(same=lambda x, y: (x - y).square().mean()), "cpu")
    assert list(found) == ["lossbook", "same"]
    assert list(found["lossbook"]) == ["2", "4"]


def test_peak_counts_what_lives_at_once():
    def step():
        for _ in range(3):
            one = torch.ones(1 << 18)
            del one
        two = torch.ones(1 << 18), torch.ones(1 << 18)
        return len(two)

    assert measure.peak(step, (), "cpu") == pytest.approx(2 << 20, rel=0.01)


def test_peak_counts_gradients_every_time():
    x = torch.zeros(1 << 18, requires_grad=True)
    step = measure.step_of(lambda x: x.sum(), (x,))
    peaks = [measure.peak(step, (x,), "cpu") for _ in range(3)]
    assert max(peaks) - min(peaks) < 1000
    assert peaks[0] >= 1 << 20


def result(threads=1, **candidates):
    timed = {"status": "timed", "error": 0.0, "rounds": 9, "memory": 2_000_000}
    one = {**timed, "ms": 2.0, "ratio": [1.0, 1.0, 1.0]}
    return {
        **measure.about(row(), threads, "cpu"),
        "candidates": {"lossbook": one}
        | {k: v if "status" in v else {**timed, "ms": 4.0, **v} for k, v in candidates.items()},
    }


@pytest.fixture
def page(monkeypatch):
    def drawn(*found):
        monkeypatch.setattr(speed, "results", lambda: list(found))
        return speed.page(FILES)

    return drawn


def test_nothing_measured_is_said(page):
    assert "Nothing has been measured yet" in page()


def test_the_page_has_every_number_and_every_reason(page):
    text = page(
        result(
            torch={"ratio": [0.4, 0.5, 0.6]},
            Keras={"status": "not run", "reason": "keras is not installed | really"},
        )
    )
    assert "| squared_error 6 | torch 0.50 | not known |" in text
    assert "| torch | 4 | 0.50 (0.40 to 0.60) | 2.0 |" in text
    assert "*not run: keras is not installed &#124; really*" in text
    assert 'aria-label="Time of other implementations' in text
    assert "torch: 0.5 to 0.5 times" in text


def test_noise_is_not_called_slower(page):
    assert "slower\n" not in page(result(torch={"ratio": [0.6, 0.9, 1.1]}))


def test_where_lossbook_is_slower_a_line_holds_every_device_and_the_reason(page):
    here, there = (
        {**result(**{name: {"ratio": [0.1, middle, 0.6]}}), "slower": "two passes"}
        for name, middle in (("torch", 0.5), ("the formula", 0.2))
    )
    text = page(here, {**there, "device": "a card"})
    assert "| | 1 thread | GPU | why |\n|---|---|---|---|\n" in text
    assert "| squared_error 6 | torch 0.50 | the formula 0.20 | two passes |" in text


def test_every_slower_row_of_the_recorded_ones_has_its_reason():
    text = speed._slower(json.loads(speed.RECORDED.read_text()))
    assert "| 1 thread | GPU | why |" in text
    assert "not known" not in text


def test_a_changed_file_is_marked(page):
    old = result(torch={"ratio": [1.0, 1.1, 1.2]})
    assert "last change" not in page(old)
    assert "last change" in page({**old, "source": "0" * 64})


def test_recording_keeps_what_was_not_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "RECORDED", tmp_path / "recorded.json")
    monkeypatch.setattr(speed, "MEASURED", tmp_path)
    (tmp_path / "bench.1.json").write_text(json.dumps(result(1)))
    speed.RECORDED.write_text(json.dumps([result(2, torch={"ratio": [1.0, 2.0, 3.0]})]))
    measured = tmp_path / "measured"
    measured.mkdir()
    (tmp_path / "bench.1.json").rename(measured / "bench.1.json")
    monkeypatch.setattr(speed, "MEASURED", measured)
    speed.record()
    kept = json.loads(speed.RECORDED.read_text())
    assert [r["threads"] for r in kept] == [1, 2]
    assert "torch" in kept[1]["candidates"]


def test_every_loss_has_a_row():
    from lossbook.book.pages.card import losses

    every = list(rows())
    assert {r.loss.__name__ for r in every} == set(losses())
    assert len({r.key for r in every}) == len(every)
