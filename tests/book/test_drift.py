import json

import pytest

from lossbook.book.runs import chapters, drift
from lossbook.book.runs.chapters import Chapter, load
from lossbook.book.runs.run import Result, Run, run

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
        ("loss 1.50e-08", "loss 1.50e-07"),
        ("loss 1.50e+08", "loss 1.50e+09"),
        ("1e-08", "4e-08"),
        ("loss 0.5", "gain 0.5"),
        ("L1 0.5", "L2 0.5"),
        ("v0.50", "v0.51"),
        ("0.50x", "0.51x"),
        ("after 12 steps", "after 13 steps"),
        ("999", "1000"),
        ("1000", "1003"),
        ("100000", "99997"),
        ("0.125", "0.128"),
        ("0.125", "0.122"),
        ("0.500", "0.511"),
        ("0.500", "0.489"),
        ("12.00", "12.25"),
        ("0.5 and 1.0", "0.5 and 2.0"),
        ("0.5 and 1.0", "0.9 and 1.0"),
        ("1 2 3", "1 2"),
        ("1 2", "1 2 3"),
        ("True", "False"),
        ("nan", "0.1"),
        ("0.1", "nan"),
        ("inf", "-inf"),
        ("-0.5", "0.5"),
        ("0.5", "-0.5"),
    ],
)
def test_drift_is_seen(before, now):
    assert drift.differences([before], [now])


@pytest.mark.parametrize(
    ("before", "now"),
    [
        *(("loss 0.15", "loss 0.16"), ("loss 0.15", "loss 0.17"), ("loss 0.15", "loss 0.13")),
        *(("tensor([0.1250,  2.])", "tensor([0.1251, 2.])"), ("a\n  b", "a b"), ("a", " a\n")),
        *(("inf", "inf"), ("nan", "nan"), ("12 steps", "12 steps"), ("0.000", "0.002")),
        *(("0.500", "0.509"), ("0.500", "0.491"), ("-0.500", "-0.509"), ("12.00", "12.23")),
        *(("1.50e-08", "1.52e-08"), ("1e-08", "3e-08"), ("1.50e+08", "1.52e+08")),
        *(("1000", "1002"), ("1000", "998"), ("-1000", "-1002")),
    ],
)
def test_what_differs_by_processor_is_not_drift(before, now):
    assert not drift.differences([before], [now])


def test_a_missing_output_is_drift():
    assert drift.differences(["1", "2"], ["1"]) == ["2 outputs were recorded, 1 are printed"]
    assert drift.differences(["1"], ["1", "2"])
    assert drift.differences([], ["1"])
    assert not drift.differences([], [])


def test_every_output_is_compared_and_each_that_drifted_is_named():
    before = ["1", "2", "3", "4"]
    for i in range(4):
        now = [*before[:i], "5", *before[i + 1 :]]
        assert drift.differences(before, now) == [f"recorded {before[i]!r}, printed '5'"]
    assert len(drift.differences(before, ["1", "5", "6", "4"])) == 2
    assert drift.differences(["1", "2"], ["2", "1"])


RUN = Run(
    "image/a",
    [
        Result("python", 5, "", [{"text/plain": "é 1\n"}, {"text/plain": "2"}]),
        Result("pycon", 9, "", []),
        Result("python", 12, "", [{"chart": {"alt": "Falls.", "svg": "<svg>"}}, {"image/png": ""}]),
        Result("python", 19, "", [{"text/html": "<table>", "text/plain": "table"}]),
    ],
    1.0,
)


def test_what_is_printed_is_each_text_and_each_figure_s_alt_text():
    assert drift.printed(RUN) == ["é 1\n", "2", "Falls.", "", "table"]


def test_what_is_recorded_is_what_was_printed_in_a_file_of_the_chapter(tmp_path, monkeypatch):
    monkeypatch.setattr(drift, "RECORDED", tmp_path / "recorded")
    image, audio = (Chapter(chapters.DOCS / f"{at}/a.md", "", {}) for at in ("image", "audio"))
    drift.record(image, RUN)
    drift.record(audio, Run("audio/a", RUN.results[:1], 1.0))
    assert drift.file(image) == tmp_path / "recorded/image.a.json"
    assert json.loads(drift.file(image).read_text()) == drift.printed(RUN)
    assert json.loads(drift.file(audio).read_text()) == ["é 1\n", "2"]
    assert "é" in drift.file(image).read_text()
