"""Box AP: numbers worked by hand, equality with raw pycocotools and hotcoco, and every use of the metric."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.metrics.coco_ap import CocoAP

LABELS = LabelMap.from_names(["brick", "crane"])
ONE = pytest.approx(1.0)  # pycocotools adds one epsilon to its divisor
STATS = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR"]
Rows = list[dict[str, Any]]


def truth(image_id: int, boxes: list, labels: list[int], crowd: list[bool] | None = None) -> dict[str, Any]:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    areas = (array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1])
    crowd = crowd or [False] * len(labels)
    return {"image_id": image_id, "boxes_xyxy_px": array, "labels": labels, "areas": areas, "iscrowd": crowd}


def found(image_id: int, boxes: list, scores: list[float], labels: list[int]) -> dict[str, Any]:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return {"image_id": image_id, "boxes_xyxy_px": array, "scores": scores, "labels": labels}


def as_prediction(row: dict[str, Any]) -> dict[str, Any]:
    """Ground truth as a prediction with scores 1.0, crowds left out."""
    keep = ~np.array(row["iscrowd"], bool)
    labels = np.array(row["labels"], int)[keep]
    return found(row["image_id"], row["boxes_xyxy_px"][keep], [1.0] * len(labels), labels)


def random_rows(images: int = 12, classes: int = 5, seed: int = 0) -> tuple[Rows, Rows]:
    """Detections are jittered truth and noise; images without objects, crowds and tied scores occur."""
    rng = np.random.default_rng(seed)
    predictions, references = [], []
    for image_id in range(images):
        n = int(rng.integers(0, 9)) if image_id % 4 else 0
        corners = rng.uniform(0, 300, (n, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(4, 150, (n, 2))], 1)
        labels = rng.integers(0, classes, n)
        references.append(truth(image_id, boxes, labels.tolist(), (rng.random(n) < 0.2).tolist()))
        near = np.sort((boxes + rng.normal(0, 6, boxes.shape)).reshape(-1, 2, 2), 1).reshape(-1, 4)
        corners = rng.uniform(0, 300, (3, 2))
        noise = np.concatenate([corners, corners + rng.uniform(4, 150, (3, 2))], 1)
        scores = rng.random(n + 3).round(1)
        guesses = np.concatenate([np.where(rng.random(n) < 0.8, labels, 0), rng.integers(0, classes, 3)])
        predictions.append(found(image_id, np.concatenate([near, noise]), scores.tolist(), guesses.tolist()))
    return predictions, references


def many_labels(classes: int) -> LabelMap:
    return LabelMap.from_names([f"class {i}" for i in range(classes)])


# -- by hand


def test_truth_as_prediction_is_perfect() -> None:
    rows = [
        truth(7, [[0, 0, 50, 50], [60, 0, 80, 20]], [0, 1]),
        truth(8, [], []),
        truth(9, [[5, 5, 200, 200]], [1]),
    ]
    result = CocoAP(LABELS).compute(predictions=[as_prediction(row) for row in rows], references=rows)
    assert [result[key] for key in STATS if result[key] != ONE] == []
    assert result["per_class"] == {
        "brick": {"AP": ONE, "AP50": ONE, "AR": ONE, "objects": 1},
        "crane": {"AP": ONE, "AP50": ONE, "AR": ONE, "objects": 2},
    }


def test_disjoint_boxes_score_nothing() -> None:
    result = CocoAP(LABELS).compute(
        predictions=[found(1, [[100, 100, 150, 150]], [0.9], [0])],
        references=[truth(1, [[0, 0, 50, 50]], [0])],
    )
    assert (result["AP"], result["AR"]) == (0.0, 0.0)
    assert result["per_class"]["crane"] == {"AP": None, "AP50": None, "AR": None, "objects": 0}


def test_mixed_case_by_hand() -> None:
    """One of two bricks found exactly, above a false alarm: recall 1/2, precision 1 up to there.

    Of the 101 recall points 0, 0.01, ..., 1 the 51 up to 0.50 have precision 1: AP = 51/101, at every IoU.
    """
    result = CocoAP(LABELS).compute(
        predictions=[found(1, [[0, 0, 50, 50], [300, 300, 350, 350]], [0.9, 0.8], [0, 0])],
        references=[truth(1, [[0, 0, 50, 50], [100, 0, 150, 50]], [0, 0])],
    )
    assert result["AP"] == pytest.approx(51 / 101)
    assert result["AP50"] == pytest.approx(51 / 101)
    assert result["AR"] == result["AR1"] == pytest.approx(0.5)
    assert result["AP_small"] is None
    assert result["AP_medium"] == pytest.approx(51 / 101)


def test_iou_thresholds_by_hand() -> None:
    """IoU 80/100 = 0.8 passes the thresholds 0.50, 0.55, ..., 0.80: 7 of 10."""
    result = CocoAP(LABELS).compute(
        predictions=[found(1, [[0, 0, 100, 80]], [0.9], [0])], references=[truth(1, [[0, 0, 100, 100]], [0])]
    )
    assert (result["AP"], result["AP50"], result["AP75"]) == (pytest.approx(0.7), ONE, ONE)
    assert result["AR"] == pytest.approx(0.7)


def test_small_medium_large_follow_the_given_areas_not_the_boxes() -> None:
    row = {**truth(1, [[0, 0, 200, 200]], [0]), "areas": [900.0]}
    result = CocoAP(LABELS).compute(predictions=[as_prediction(row)], references=[row])
    assert (result["AP_small"], result["AP_medium"], result["AP_large"]) == (ONE, None, None)


def test_detections_inside_a_crowd_are_no_false_alarms() -> None:
    boxes = [[0, 0, 50, 50], [100, 100, 200, 200]]
    detections = found(
        1, [[0, 0, 50, 50], [110, 110, 140, 140], [150, 150, 190, 190]], [0.5, 0.9, 0.8], [0, 0, 0]
    )
    score = CocoAP(LABELS)
    crowded = score.compute(predictions=[detections], references=[truth(1, boxes, [0, 0], [False, True])])
    assert crowded["AP"] == ONE
    assert crowded["per_class"]["brick"]["objects"] == 1
    alone = score.compute(predictions=[detections], references=[truth(1, boxes[:1], [0])])
    assert alone["AP"] == pytest.approx(1 / 3)


def test_no_more_than_a_hundred_detections_count() -> None:
    noise = [[300.0 + i, 300, 310 + i, 310] for i in range(100)]
    result = CocoAP(LABELS).compute(
        predictions=[found(1, [*noise, [0, 0, 50, 50]], [0.9] * 100 + [0.1], [0] * 101)],
        references=[truth(1, [[0, 0, 50, 50]], [0])],
    )
    assert result["AR"] == 0.0


# -- nothing there


def test_no_detection_at_all() -> None:
    """Guards: pycocotools' loadRes fails on an empty list."""
    result = CocoAP(LABELS).compute(
        predictions=[found(1, [], [], []), found(2, [], [], [])],
        references=[truth(1, [[0, 0, 50, 50]], [0]), truth(2, [], [])],
    )
    assert (result["AP"], result["AR"]) == (0.0, 0.0)


def test_no_ground_truth_is_none_and_not_minus_one() -> None:
    detections = [found(1, [[0, 0, 5, 5]], [0.9], [0])]
    result = CocoAP(LABELS).compute(predictions=detections, references=[truth(1, [], [])])
    assert {result[key] for key in STATS} == {None}


def test_neither_detections_nor_ground_truth() -> None:
    result = CocoAP(LABELS).compute(predictions=[found(1, [], [], [])], references=[truth(1, [], [])])
    assert result["AP"] is None


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    row = truth(1, [[0, 0, 50, 50]], [0])
    CocoAP(LABELS).compute(predictions=[as_prediction(row)], references=[row])
    assert capsys.readouterr() == ("", "")


# -- against others


def coco_files(predictions: Rows, references: Rows, classes: int) -> tuple[dict[str, Any], Rows]:
    """The same rows as a COCO ground-truth dict and a COCO results list."""
    annotations = [
        {
            "image_id": row["image_id"],
            "category_id": int(label) + 1,
            "bbox": [float(b[0]), float(b[1]), float(b[2]) - float(b[0]), float(b[3]) - float(b[1])],
            "area": float(area),
            "iscrowd": int(crowd),
        }
        for row in references
        for b, label, area, crowd in zip(
            row["boxes_xyxy_px"], row["labels"], row["areas"], row["iscrowd"], strict=True
        )
    ]
    results = [
        {
            "image_id": row["image_id"],
            "category_id": int(label) + 1,
            "bbox": [float(b[0]), float(b[1]), float(b[2]) - float(b[0]), float(b[3]) - float(b[1])],
            "score": score,
        }
        for row in predictions
        for b, label, score in zip(row["boxes_xyxy_px"], row["labels"], row["scores"], strict=True)
    ]
    dataset = {
        "images": [{"id": row["image_id"], "height": 500, "width": 500} for row in references],
        "categories": [{"id": i + 1, "name": f"class {i}"} for i in range(classes)],
        "annotations": [{**annotation, "id": i} for i, annotation in enumerate(annotations, start=1)],
    }
    return dataset, results


def stats_of_pycocotools(dataset: dict[str, Any], results: Rows) -> np.ndarray:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    scoring = COCOeval(coco, coco.loadRes(results), "bbox")
    scoring.evaluate()
    scoring.accumulate()
    scoring.summarize()
    return scoring.stats


def stats_of_hotcoco(dataset: dict[str, Any], results: Rows) -> np.ndarray:
    hotcoco = pytest.importorskip("hotcoco")
    coco = hotcoco.COCO(dataset)
    scoring = hotcoco.COCOeval(coco, coco.load_res(results), "bbox")
    scoring.evaluate()
    scoring.accumulate()
    scoring.summarize()
    return np.array(scoring.stats)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("oracle", [stats_of_pycocotools, stats_of_hotcoco])
def test_equals_other_code_on_random_rows(oracle: Callable, seed: int) -> None:
    predictions, references = random_rows(seed=seed)
    expected = oracle(*coco_files(predictions, references, 5))
    result = CocoAP(many_labels(5)).compute(predictions=predictions, references=references)
    ours = [-1.0 if result[key] is None else result[key] for key in STATS]
    np.testing.assert_allclose(ours, expected[:9], rtol=0, atol=1e-12)
    assert 0.05 < result["AP"] < 0.95
    per_class = [row["AP"] for row in result["per_class"].values() if row["AP"] is not None]
    assert np.mean(per_class) == pytest.approx(result["AP"])


# -- streams and processes


def test_streamed_equals_plain_and_the_metric_is_empty_afterwards() -> None:
    predictions, references = random_rows()
    metric = CocoAP(many_labels(5))
    plain = metric.compute(predictions=predictions, references=references)
    for start in range(0, 12, 5):
        metric.add_batch(predictions=predictions[start : start + 5], references=references[start : start + 5])
    assert len(metric) == 12
    assert metric.compute() == plain
    assert len(metric) == 0
    metric.add(prediction=predictions[1], reference=references[1])
    assert len(metric) == 1


def test_two_processes_with_a_doubled_image_equal_one() -> None:
    """Guards: Accelerate repeats samples to even out the last batches; each image must count once."""
    predictions, references = random_rows()
    plain = CocoAP(many_labels(5)).compute(predictions=predictions, references=references)
    states = []
    for part in ([9, 1, 3, 5, 7, 11], [0, 2, 4, 6, 8, 10, 9]):  # image 9 pads the second process's last batch
        rank = CocoAP(many_labels(5))
        rank.add_batch(predictions=[predictions[i] for i in part], references=[references[i] for i in part])
        states.append(pickle.loads(pickle.dumps(rank.state())))
    main = CocoAP(many_labels(5))
    main.load_states(states)
    assert len(main) == 12
    assert main.compute() == plain


def test_rows_pair_up_by_image_id_in_any_order() -> None:
    predictions, references = random_rows()
    metric = CocoAP(many_labels(5))
    plain = metric.compute(predictions=predictions, references=references)
    assert metric.compute(predictions=predictions[::-1], references=references) == plain


def test_it_is_a_metric_of_evaluate_that_touches_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "cache")
    metric = CocoAP(LABELS)
    row = truth(1, [[0, 0, 50, 50]], [0])
    assert isinstance(metric, evaluate.Metric)
    metric.compute(predictions=[as_prediction(row)], references=[row])
    assert list(tmp_path.iterdir()) == []
    assert set(metric.features["predictions"]) == set(as_prediction(row))
    assert set(metric.features["references"]) == set(row)


# -- bad input


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"boxes_xyxy_px": [[0, 0, np.nan, 5]]}, "NaN or infinity in a box"),
        ({"scores": [np.inf]}, "NaN or infinity in scores"),
        ({"boxes_xyxy_px": [[9, 0, 3, 5]]}, "right edge left"),
        ({"labels": [2]}, "class id 2 is outside 0..1"),
        ({"scores": [0.5, 0.5]}, "1 boxes but 2 scores"),
    ],
)
def test_bad_prediction_names_its_image(change: dict[str, Any], words: str) -> None:
    row = truth(41, [[0, 0, 50, 50]], [0])
    with pytest.raises(UserError, match=words) as caught:
        CocoAP(LABELS).add_batch(predictions=[{**as_prediction(row), **change}], references=[row])
    assert "prediction for image 41" in str(caught.value)


def test_bad_ground_truth_names_its_image() -> None:
    row = truth(41, [[0, 0, 50, 50]], [5])
    with pytest.raises(UserError, match=r"ground truth of image 41: class id 5 is outside 0\.\.1"):
        CocoAP(LABELS).add_batch(predictions=[found(41, [], [], [])], references=[row])


@pytest.mark.parametrize("ids", [[1], [1, 3], [1, 1]])
def test_rows_that_do_not_pair_up(ids: list[int]) -> None:
    references = [truth(1, [], []), truth(2, [], [])]
    with pytest.raises(UserError, match=r"have only one or are repeated: .*2"):
        CocoAP(LABELS).add_batch(predictions=[found(i, [], [], []) for i in ids], references=references)


def test_one_image_id_with_two_ground_truths() -> None:
    metric = CocoAP(LABELS)
    metric.add(prediction=found(1, [], [], []), reference=truth(1, [[0, 0, 5, 5]], [0]))
    with pytest.raises(UserError, match="image id 1 came twice with different ground truth"):
        metric.add(prediction=found(1, [], [], []), reference=truth(1, [[0, 0, 6, 5]], [0]))


def test_no_image_at_all() -> None:
    with pytest.raises(UserError, match="nothing to score"):
        CocoAP(LABELS).compute()
