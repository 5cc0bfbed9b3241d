"""What became of each object, counted by hand, and mended AP, equal to that of TIDE's own code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from detr_hf.metrics.fates import ERRORS, OBJECT_FATES, detection_errors, mended_ap, object_fates
from detr_hf.metrics.matching import chosen
from tests.report.report_factories import image_boxes, random_entries


def moved(image: ImageBoxes, row: int, right: float) -> ImageBoxes:
    """A detection some pixels to the right: 5 of 10 leave an IoU of 1/3, 3 leave 7/13."""
    boxes = image.boxes.copy()
    boxes[row, 0] += right
    return replace(image, boxes=boxes)


def fates_of(image: ImageBoxes, score_threshold: float = 0.5) -> tuple[list[str], list[int]]:
    fates, taken_for = object_fates(image, score_threshold)
    return [OBJECT_FATES[fate] if fate >= 0 else "crowd" for fate in fates], taken_for.tolist()


def test_every_object_has_one_fate() -> None:
    found = [(0, 0, 0.9), (1, 1, 0.8), (2, 0, 0.7), (3, 0, 0.4)]
    image = moved(image_boxes(found, [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1)]), 2, 5)
    fates, taken_for = fates_of(image)
    assert fates == ["found", "wrong class", "badly placed", "unsure", "missed"]
    assert taken_for == [0, 1, 0, 0, -1]


@pytest.mark.parametrize(
    ("found", "fates"),
    [
        ([(0, 0, 0.9), (0, 1, 0.8)], ["found"]),  # the wrong one is an error of its own
        ([(0, 1, 0.9), (0, 0, 0.4)], ["wrong class"]),  # a sure claim comes before an unsure one
        ([(0, 1, 0.4)], ["missed"]),  # unsure and wrong is nothing
        ([], ["missed"]),
    ],
)
def test_the_surest_claim_decides(found: list[tuple[int, int, float]], fates: list[str]) -> None:
    assert fates_of(image_boxes(found, [(0, 0)]))[0] == fates


def test_one_detection_serves_one_object() -> None:
    one = image_boxes([(0, 0, 0.9)], [(0, 0), (0, 1)])
    assert fates_of(one) == (["found", "missed"], [0, -1])
    crowd = image_boxes([(0, 0, 0.9), (0, 0, 0.8)], [(0, 0), (0, 1)], crowd=[True, False])
    assert fates_of(crowd) == (["crowd", "missed"], [-1, -1]), "what lies on a crowd serves nothing"


def errors_of(image: ImageBoxes) -> list[str]:
    return [ERRORS[kind] if kind >= 0 else "right" for kind in detection_errors(image).errors]


def test_errors_of_detections_by_hand() -> None:
    truth = [(0, 0), (1, 1)]
    found = [(0, 0, 0.9), (0, 0, 0.8), (1, 0, 0.7), (3, 0, 0.6), (1, 1, 0.5), (1, 0, 0.4)]
    image = moved(moved(image_boxes(found, truth), 4, 5), 5, 5)
    assert errors_of(image) == ["right", "duplicate", "wrong class", "background", "badly placed", "both"]
    errors = detection_errors(image)
    assert errors.mended_labels.tolist() == [-1, -1, 1, -1, -1, -1], "the surest at an object is mended"
    assert errors.missed.tolist() == [] and errors_of(image_boxes(found[:1], [])) == ["background"]
    assert detection_errors(image_boxes([], [(0, 1)])).missed.tolist() == [1]


def test_mended_ap_by_hand() -> None:
    """Two bricks: one found, one called a cone, whose own object was missed; a sure box on nothing."""
    image = image_boxes([(3, 0, 0.95), (0, 0, 0.9), (1, 1, 0.8)], [(0, 0), (1, 0), (2, 1)])
    aps = mended_ap([ImageEntry(0, 0, image)], 3)
    assert np.isnan(aps["AP50"][2]) and set(aps) == {"AP50", *ERRORS, "missed"}
    half = 51 / 101  # recalls 0 to 0.5
    expected = {
        "AP50": [half / 2, 0],
        "wrong class": [2 / 3, 0],  # the hull of precisions 0, 1/2, 2/3
        "background": [half, 0],
        "missed": [half / 2, 1],  # no cone is left to be missed
        "duplicate": [half / 2, 0],
    }
    for name, values in expected.items():
        assert aps[name][:2] == pytest.approx(values), name


# AP50, and AP50 + dAP of each kind: tidecv 1.0.1, TIDERun(truth, found, 0.5, 0.1, TIDE.BOX, 100)
TIDE = {
    0: (36.4435, 46.7858, 61.9717, 36.6619, 37.5329, 38.8544, 42.9614),
    1: (51.2472, 57.8124, 66.6228, 51.2472, 57.0427, 51.7503, 61.7038),
    3: (46.1017, 50.0108, 63.2882, 49.0531, 52.2398, 47.4540, 55.1898),
}


@pytest.mark.parametrize("seed", TIDE)
def test_mended_ap_is_that_of_tide(seed: int) -> None:
    rng, entries = np.random.default_rng(100 + seed), []
    for entry in random_entries(seed, images=25):
        image = entry.content
        keep = rng.random(len(image.scores)) >= 0.4
        image = chosen(image, keep, np.ones(len(image.truth_labels), bool))
        entries.append(replace(entry, content=replace(image, scores=rng.random(len(image.scores)))))
    aps = mended_ap(entries, 3)
    assert [100 * aps[name].mean() for name in ("AP50", *ERRORS, "missed")] == pytest.approx(
        TIDE[seed], abs=1e-4
    )
