import json

import pytest

from lossbook.book.runs import drift
from lossbook.book.runs.chapters import load
from lossbook.book.runs.run import run

CHAPTERS = [chapter for chapter in load()[0] if chapter.blocks]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_a_chapter_prints_what_was_recorded(chapter):
    path = drift.file(chapter)
    assert path.exists(), f"record its outputs: python -m lossbook.book record {chapter.path}"
    drifted = drift.differences(json.loads(path.read_text()), drift.printed(run(chapter)))
    assert not drifted, "\n".join(drifted)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("loss 0.1250", "loss 0.1290"),
        ("loss 1.50e-08", "loss 1.60e-08"),
        ("loss 0.5", "gain 0.5"),
        ("after 12 steps", "after 13 steps"),
        ("nan", "0.1"),
        ("-0.5", "0.5"),
    ],
)
def test_drift_is_seen(before, now):
    assert drift.differences([before], [now])


@pytest.mark.parametrize(
    ("before", "now"),
    [("loss 0.15", "loss 0.16"), ("tensor([0.1250,  2.])", "tensor([0.1251, 2.])"), ("inf", "inf")],
)
def test_what_differs_by_processor_is_not_drift(before, now):
    assert not drift.differences([before], [now])


def test_a_missing_output_is_drift():
    assert drift.differences(["1", "2"], ["1"])
