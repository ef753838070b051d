"""The helpers of detection chapters: scenes, overlaps, suppression, average precision, frames."""

import os

import pytest
import torch

from lossbook.book import experiments, plots

UNIT = torch.tensor([0.0, 0.0, 2.0, 2.0])


def test_a_scene_is_brightest_in_its_boxes_and_no_box_covers_another():
    images, boxes, labels = experiments.scenes(20, 0)
    assert images.shape == (20, 1, 48, 48)
    assert images.min() >= 0
    assert images.max() <= 1
    for image, at, kinds in zip(images[:, 0], boxes, labels, strict=True):
        assert 1 <= len(at) == len(kinds) <= 3
        assert set(kinds.tolist()) <= {1, 2, 3}
        outside = torch.ones(48, 48, dtype=torch.bool)
        for x1, y1, x2, y2 in at.int().tolist():
            assert image[y1:y2, x1:x2].max() > 0.6
            outside[y1:y2, x1:x2] = False
        assert image[outside].max() <= 0.6
        shared = experiments.overlaps(at, at) - torch.eye(len(at))
        assert shared.abs().max() < 1e-6


def test_held_out_scenes_show_other_digits():
    seen, unseen = (experiments.scenes(30, 0, held_out=held)[0] for held in (False, True))
    assert not torch.equal(seen, unseen)


def test_a_detector_answers_cell_by_cell():
    net = experiments.detector(3, 4, seed=0)
    image = torch.zeros(1, 1, 48, 48) + 0.3
    image[..., 40:44, 4:8] = 1  # In the second cell of the eleventh row of the fine map.
    with torch.no_grad():
        moved = (net(image) - net(torch.zeros(1, 1, 48, 48) + 0.3)).abs().sum(2)[0]
    assert moved.shape == (3 * (144 + 36),)
    fine, coarse = moved[:432].reshape(12, 12, 3).sum(2), moved[432:].reshape(6, 6, 3).sum(2)
    assert fine[10, 1] > 0
    assert fine[:5].sum() == 0
    assert fine[:, 7:].sum() == 0
    assert coarse[5, 0] > 0


def test_overlaps_are_shared_area_over_covered_area():
    others = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [2.0, 2.0, 3.0, 3.0]])
    assert experiments.overlaps(UNIT[None], others)[0].tolist() == pytest.approx([1, 1 / 3, 0])


def test_the_surest_of_boxes_that_overlap_survives():
    boxes = torch.stack([UNIT, UNIT + 0.1, UNIT + 5])
    assert experiments.survivors(boxes, torch.tensor([0.5, 0.9, 0.2])).tolist() == [1, 2]
    assert experiments.survivors(boxes[:0], torch.zeros(0)).tolist() == []


def test_average_precision_by_hand():
    """Right, wrong, right of three objects: the precisions 1 and 2/3 at two of three recalls."""
    objects = torch.stack([UNIT, UNIT + 5, UNIT + 10])
    kinds = torch.tensor([1, 1, 1])
    at = torch.stack([UNIT, UNIT, UNIT + 5])  # The second finds what is already taken.
    found = [(at, kinds, torch.tensor([0.9, 0.8, 0.7]))]
    given = experiments.average_precision(found, [objects], [kinds])
    assert given == pytest.approx((1 + 2 / 3) / 3)
    wrong = [(at, kinds + 1, torch.tensor([0.9, 0.8, 0.7]))]
    assert experiments.average_precision(wrong, [objects], [kinds]) == 0
    empty = [(at[:0], kinds[:0], torch.zeros(0))]
    assert experiments.average_precision(empty, [objects], [kinds]) == 0
    near = [(objects + torch.tensor([0.4, 0.0, 0.4, 0.0]), kinds, torch.ones(3))]
    assert experiments.average_precision(near, [objects], [kinds]) == 1
    assert experiments.average_precision(near, [objects], [kinds], iou=0.75) == 0


def test_precision_is_the_best_at_a_recall_or_beyond():
    objects, kinds = torch.stack([UNIT, UNIT + 5]), torch.tensor([1, 1])
    at = torch.stack([UNIT + 20, UNIT, UNIT + 5])
    found = [(at, torch.tensor([1, 1, 1]), torch.tensor([0.9, 0.8, 0.7]))]
    assert experiments.average_precision(found, [objects], [kinds]) == pytest.approx(2 / 3)


def test_frames_are_drawn_around_enlarged_pixels_and_cut_off_at_the_edge():
    drawn = plots.framed(torch.zeros(6, 8), torch.tensor([[1.0, 1, 4, 4], [-3, 2, 20, 5]]), zoom=2)
    assert drawn.shape == (12, 16, 3)
    lit = drawn.sum(2) > 0
    assert lit[2, 2:10].all()
    assert lit[2:10, 2].all()
    assert not lit[0].any()
    assert lit[4].all()
    still = torch.rand(3, 3)
    torch.testing.assert_close(plots.framed(still, zoom=1)[..., 0], still)


def test_the_memory_of_a_step_is_that_of_all_that_it_holds_at_once(capfd):
    def step():
        first = torch.ones(1000)
        first = first + torch.ones(1000)  # Three at once, then one.
        return first * 2

    assert experiments.peak_memory(step) == 3 * 4000
    assert experiments.peak_memory(lambda: torch.ones(2000).sum()) == 8004
    assert capfd.readouterr().err == ""
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
