"""Panoptic quality: numbers worked by hand, equality with the official code, and every use of the metric."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.metrics.panoptic_quality import PanopticQuality
from detr_hf.metrics.pq_counts import SEGMENT_FATES
from tests.metrics.panoptic_rows import BRICK, CRANE, LABELS, SKY, picture, random_rows, score


def counts(result: dict[str, Any], name: str) -> tuple[int, int, int]:
    row = result["per_class"][name]
    return row["tp"], row["fp"], row["fn"]


# -- by hand


def test_truth_as_prediction_is_perfect() -> None:
    truth = picture(5, [1, 1, 2, 2, 3, 3, 0], s1=BRICK, s2=BRICK, s3=SKY)
    perfect = {"pq": 1.0, "sq": 1.0, "rq": 1.0}
    result = score(truth, truth)
    assert result["All"] == {**perfect, "n": 2}
    assert result["Things"] == result["Stuff"] == {**perfect, "n": 1}
    assert result["per_class"]["brick"] == {**perfect, "tp": 2, "fp": 0, "fn": 0}
    assert result["per_class"]["crane"] == {"pq": None, "sq": None, "rq": None, "tp": 0, "fp": 0, "fn": 0}


def test_disjoint_segments_are_one_false_and_one_missed() -> None:
    result = score(picture(1, [0, 0, 9, 9], s9=BRICK), picture(1, [4, 4, 0, 0], s4=BRICK))
    # the prediction lies on void alone, so it is ignored: only the miss counts
    assert counts(result, "brick") == (0, 0, 1)
    result = score(picture(1, [0, 0, 9, 9], s9=BRICK), picture(1, [4, 4, 5, 5], s4=BRICK, s5=SKY))
    assert counts(result, "brick") == (0, 1, 1)
    assert result["All"] == {"pq": 0.0, "sq": 0.0, "rq": 0.0, "n": 2}


def test_mixed_case_by_hand() -> None:
    """Brick 1: 3 of 4 pixels found, IoU 3/4. Brick 2 missed. Sky: 4 of 4 found plus 3 more, IoU 4/7.

    Brick: PQ = 0.75 / (1 + 1/2) = 0.5, SQ 0.75, RQ 2/3. Sky: PQ = SQ = 4/7, RQ 1.
    """
    truth = picture(1, [1, 1, 1, 1, 2, 2, 3, 3, 3, 3], s1=BRICK, s2=BRICK, s3=SKY)
    found = picture(1, [7, 7, 7, 8, 8, 8, 8, 8, 8, 8], s7=BRICK, s8=SKY)
    result = score(found, truth)
    assert counts(result, "brick") == (1, 0, 1)
    assert counts(result, "sky") == (1, 0, 0)
    assert result["Things"] == {"pq": pytest.approx(0.5), "sq": 0.75, "rq": pytest.approx(2 / 3), "n": 1}
    assert result["Stuff"] == {"pq": pytest.approx(4 / 7), "sq": pytest.approx(4 / 7), "rq": 1.0, "n": 1}
    assert result["All"]["pq"] == pytest.approx((0.5 + 4 / 7) / 2)


def test_iou_of_exactly_one_half_is_no_match() -> None:
    truth = picture(1, [1, 1, 2, 2], s1=BRICK, s2=SKY)
    assert counts(score(picture(1, [1, 1, 1, 1], s1=BRICK), truth), "brick") == (0, 1, 1)


def test_same_place_other_class_is_no_match() -> None:
    result = score(picture(1, [1, 1], s1=CRANE), picture(1, [1, 1], s1=BRICK))
    assert counts(result, "brick") == (0, 0, 1)
    assert counts(result, "crane") == (0, 1, 0)


def test_void_pixels_leave_the_union() -> None:
    truth = picture(1, [1, 1, 0, 0, 0], s1=BRICK)
    assert score(picture(1, [1, 1, 1, 1, 1], s1=BRICK), truth)["per_class"]["brick"]["sq"] == 1.0


def test_void_in_the_prediction_is_simply_not_found() -> None:
    truth = picture(1, [1, 1, 1, 1], s1=BRICK)
    assert score(picture(1, [1, 1, 1, 0], s1=BRICK), truth)["per_class"]["brick"]["sq"] == 0.75


def test_half_on_void_is_a_false_alarm_more_than_half_is_not() -> None:
    other = picture(1, [0, 0, 0, 2, 2], s2=SKY)
    assert counts(score(picture(1, [0, 1, 1, 1, 1], s1=BRICK), other), "brick") == (0, 1, 0)
    assert counts(score(picture(1, [1, 1, 1, 1, 1], s1=BRICK), other), "brick") == (0, 0, 0)


def test_crowd_is_never_missed_and_shields_its_own_class_only() -> None:
    truth = picture(1, [1, 1, 1, 1], crowd1=BRICK)
    result = score(picture(1, [5, 5, 6, 6], s5=BRICK, s6=CRANE), truth)
    assert counts(result, "brick") == (0, 0, 0)
    assert counts(result, "crane") == (0, 1, 0)


def test_of_several_crowds_of_a_class_only_the_last_listed_shields() -> None:
    found = picture(1, [5, 5, 6, 6], s5=BRICK, s6=BRICK)
    assert counts(score(found, picture(1, [1, 1, 2, 2], crowd1=BRICK, crowd2=BRICK)), "brick") == (0, 1, 0)


def test_empty_prediction_misses_everything() -> None:
    result = score(picture(1, [0, 0]), picture(1, [1, 2], s1=BRICK, s2=SKY))
    assert result["All"] == {"pq": 0.0, "sq": 0.0, "rq": 0.0, "n": 2}


def test_truth_segment_without_a_pixel_is_missed() -> None:
    assert counts(score(picture(1, [1], s1=SKY), picture(1, [1], s1=SKY, s2=BRICK)), "brick") == (0, 0, 1)


@pytest.mark.parametrize(
    ("found", "classes", "fate", "other"),
    [
        ([1, 1, 1, 1, 1, 1, 1, 1, 2, 2], {"s1": CRANE, "s2": SKY}, "wrong class", CRANE),
        ([0, 0, 0, 0, 1, 1, 0, 0, 2, 2], {"s1": BRICK, "s2": SKY}, "void", BRICK),
        ([2, 2, 2, 2, 2, 2, 0, 0, 2, 2], {"s2": SKY}, "wrong class", SKY),
        ([1, 1, 1, 3, 3, 3, 2, 2, 2, 2], {"s1": BRICK, "s3": BRICK, "s2": SKY}, "split", BRICK),
        ([1, 1, 2, 2, 2, 0, 0, 0, 2, 2], {"s1": BRICK, "s2": SKY}, "badly placed", SKY),
        ([2, 2, 3, 3, 3, 0, 0, 0, 2, 2], {"s3": CRANE, "s2": SKY}, "missed", CRANE),
    ],
)
def test_what_became_of_a_lost_segment(
    found: list[int], classes: dict[str, int], fate: str, other: int
) -> None:
    truth = picture(0, [1] * 8 + [2] * 2, s1=BRICK, s2=SKY)
    metric = PanopticQuality(LABELS)
    metric.add_batch(predictions=[picture(0, found, **classes)], references=[truth])
    lost = metric.state()[0].content.lost.tolist()
    assert (SEGMENT_FATES[lost[0][1]], lost[0][2]) == (fate, other) and lost[0][0] == BRICK


def test_the_smaller_of_two_in_one_segment_is_merged() -> None:
    truth = picture(0, [1, 1, 1, 1, 1, 1, 3, 3, 2, 2], s1=BRICK, s3=BRICK, s2=SKY)
    metric = PanopticQuality(LABELS)
    found = picture(0, [1] * 8 + [2] * 2, s1=BRICK, s2=SKY)
    metric.add_batch(predictions=[found], references=[truth])
    assert metric.state()[0].content.lost.tolist() == [[BRICK, SEGMENT_FATES.index("merged"), BRICK]]


@pytest.mark.parametrize("backend", ["ours", "panopticapi"])
def test_group_without_a_seen_class_is_none_and_no_crash(backend: str) -> None:
    """Guards: the official code divides by the number of seen classes."""
    if backend == "panopticapi":
        pytest.importorskip("panopticapi")
    truth = picture(1, [1, 1], s1=BRICK)
    result = score(truth, truth, backend=backend)
    assert result["Stuff"] == {"pq": None, "sq": None, "rq": None, "n": 0}
    assert result["All"]["n"] == 1
    nothing = score(picture(1, [0]), picture(1, [0]), backend=backend)
    assert nothing["All"] == {"pq": None, "sq": None, "rq": None, "n": 0}


def test_label_map_without_stuff() -> None:
    truth = picture(1, [1, 1], s1=0)
    result = PanopticQuality(LabelMap.from_names(["brick"])).compute(predictions=[truth], references=[truth])
    assert result["Stuff"]["pq"] is None
    assert result["Things"]["pq"] == 1.0


# -- streams and processes


def six_labels() -> LabelMap:
    return LabelMap.from_names(["a", "b", "c", "d"], stuff=["e", "f"])


def test_streamed_equals_plain_exactly_in_any_order() -> None:
    predictions, references = random_rows(2)
    metric = PanopticQuality(six_labels())
    plain = metric.compute(predictions=predictions, references=references)
    for i in (4, 0, 5, 2, 1, 3):
        metric.add_batch(predictions=[predictions[i]], references=[references[i]])
    assert metric.compute() == plain


def test_two_processes_with_a_doubled_image_equal_one() -> None:
    """Guards: Accelerate repeats samples to even out the last batches; each image must count once."""
    predictions, references = random_rows(3)
    plain = PanopticQuality(six_labels()).compute(predictions=predictions, references=references)
    states = []
    for part in ([0, 2, 4], [1, 3, 5, 0]):
        rank = PanopticQuality(six_labels())
        rank.add_batch(predictions=[predictions[i] for i in part], references=[references[i] for i in part])
        states.append(pickle.loads(pickle.dumps(rank.state())))
    main = PanopticQuality(six_labels())
    main.load_states(states)
    assert main.compute() == plain


def test_only_small_counts_are_kept_of_an_image() -> None:
    metric = PanopticQuality(six_labels())
    big = np.zeros((600, 800), np.int32)
    big[:300] = 1
    row = {"image_id": 1, "id_map": big, "segments": [{"id": 1, "category_id": 0, "iscrowd": False}]}
    metric.add(prediction=row, reference=row)
    assert len(pickle.dumps(metric.state())) < 2000


def test_it_is_a_metric_of_evaluate_that_touches_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "cache")
    metric = PanopticQuality(LABELS)
    truth = picture(1, [1], s1=SKY)
    metric.compute(predictions=[truth], references=[truth])
    assert isinstance(metric, evaluate.Metric)
    assert list(tmp_path.iterdir()) == []
    encoded = metric.features.encode_example({"predictions": truth, "references": truth})
    assert encoded["references"]["id_map"] == [[1]]


# -- bad input


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (picture(41, [1, 9], s1=BRICK), r"holds ids that no segment has: \[9\]"),
        (picture(41, [1, 1], s1=BRICK, s2=SKY), r"segments \[2\] have no pixel"),
        (picture(41, [1, 1], s1=7), r"class id 7 is outside 0\.\.2"),
        (picture(41, [1, 0], s1=BRICK, s0=SKY), "unique and at least 1"),
        ({**picture(41, [1, 1]), "id_map": np.ones((1, 2), np.float32)}, "integers"),
        ({**picture(41, [1, 1]), "id_map": np.ones((1, 2, 3), np.uint8)}, "integers"),
    ],
)
def test_bad_prediction_names_its_image(found: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        score(found, picture(41, [1, 1], s1=BRICK))
    assert "prediction for image 41" in str(caught.value)


def test_bad_ground_truth_names_its_image() -> None:
    with pytest.raises(UserError, match=r"ground truth of image 41: the id map holds ids .*\[3\]"):
        score(picture(41, [0]), picture(41, [3]))


def test_other_size_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"image 41: the predicted id map is \[1, 2\] pixels and the true one \[1, 3\]"
    ):
        score(picture(41, [0, 0]), picture(41, [0, 0, 0]))


def test_one_image_id_with_two_ground_truths() -> None:
    metric = PanopticQuality(LABELS)
    metric.add(prediction=picture(1, [0, 0]), reference=picture(1, [1, 0], s1=SKY))
    with pytest.raises(UserError, match="image id 1 came twice with different ground truth"):
        metric.add(prediction=picture(1, [0, 0]), reference=picture(1, [0, 1], s1=SKY))
