"""The score threshold of a finished model: chosen on the validation split, kept, used, and dropped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detr_hf.data.build import build_bundle
from detr_hf.inference import Predictor, TiledPredictor
from detr_hf.labels import LabelMap
from detr_hf.loading.truth import GroundTruth
from detr_hf.modeling.model_files import load_config
from detr_hf.modeling.task import PanopticTask
from detr_hf.modeling.threshold_record import RECORD, drop_threshold, read_threshold, record_threshold
from detr_hf.train import run as run_recipe
from detr_hf.training import threshold
from detr_hf.training.build import build_task
from detr_hf.training.engine import predict_at, predict_one
from tests.commands import told
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.tiny_runs import (
    ALL_LABELS,
    assembled,
    detection_recipe,
    panoptic_recipe,
    save_detector,
    save_segmenter,
)


def test_a_run_keeps_it_evaluate_chooses_it_again_and_the_next_training_drops_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = write_coco_detection(tmp_path / "data", count=4)
    recipe = detection_recipe(tmp_path / "run", split, save_detector(tmp_path / "start"), "optim.epochs=1")
    run_recipe(recipe)
    best = tmp_path / "run" / "best"
    chosen = read_threshold(load_config(str(best)))
    assert chosen is not None and f"{chosen:g}, the best on the validation split" in capsys.readouterr().out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["score_threshold"] == chosen, "one threshold, wherever it is told"
    assert Predictor.from_pretrained(best).score_threshold == chosen
    assert Predictor.from_pretrained(best, 0.5).score_threshold == 0.5
    assert RECORD not in json.loads((tmp_path / "run" / "last" / "config.json").read_text())

    before = (best / "config.json").read_bytes()
    record_threshold(best, 0.99)
    told(["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "elsewhere")], capsys)
    assert read_threshold(load_config(str(best))) == 0.99, "--out leaves the run alone"
    told(["evaluate", str(tmp_path / "run"), "evaluation.every=2"], capsys)
    assert read_threshold(load_config(str(best))) == 0.99
    told(["evaluate", str(tmp_path / "run" / "last")], capsys)
    assert RECORD not in json.loads((tmp_path / "run" / "last" / "config.json").read_text())
    told(["evaluate", str(tmp_path / "run")], capsys)
    assert (best / "config.json").read_bytes() == before

    further = detection_recipe(tmp_path / "further", split, best)
    task, _ = build_task(further, build_bundle(further.data, tmp_path))
    assert read_threshold(task.model.config) is None


@pytest.fixture(scope="module")
def segmenting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("threshold")
    save_detector(folder / "stage1", ALL_LABELS)
    save_segmenter(folder / "head")
    return folder


def test_stage_2_takes_the_one_with_the_best_pq_of_those_tried(
    segmenting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = write_coco_panoptic(segmenting / "data", count=3)
    recipe = panoptic_recipe(
        tmp_path, split, segmenting / "stage1", segmenting / "head", "evaluation.score_threshold=0.9"
    )
    run = assembled(recipe)
    assert isinstance(run.task, PanopticTask)
    run.task.eval()
    rows = run.validation_loader.dataset
    [low, usual] = predict_at(run.task, rows, 0, [0.1, 0.9])
    assert usual.id_map.tolist() == predict_one(run.task, rows, 0).id_map.tolist()  # type: ignore[union-attr]
    assert len(low.segments) > len(usual.segments)  # type: ignore[union-attr]
    pq = {0.3: 0.4, 0.5: 0.6, 0.9: 0.2}
    counted: list[int] = []

    class Quality:
        def __init__(self, _: LabelMap) -> None:
            self.images = 0

        def add(self, **_: object) -> None:
            self.images += 1

        def compute(self) -> dict[str, dict[str, float]]:
            counted.append(self.images)
            return {"All": {"pq": list(pq.values())[len(counted) - 1]}}

    monkeypatch.setattr(threshold, "PanopticQuality", Quality)
    monkeypatch.setattr(threshold, "TRIED", (0.3, 0.5))
    monkeypatch.setattr(threshold, "SAMPLE", 2)
    truth = GroundTruth(build_bundle(recipe.data, tmp_path).dataset["validation"])
    assert threshold.choose_threshold(run.task, rows, truth, None) == 0.5
    assert counted == [2, 2, 2]
    counted.clear()
    pq |= {0.5: 0.205}
    pq |= {0.3: 0.1}
    assert threshold.choose_threshold(run.task, rows, truth, None) == 0.9, "for less than 0.01 it stays"
    counted.clear()
    pq |= dict.fromkeys(pq, 0.0)
    assert threshold.choose_threshold(run.task, rows, truth, None) is None, (
        "none is best where nothing is found"
    )


def test_a_config_that_makes_no_sense_counts_as_none(tmp_path: Path) -> None:
    save_detector(tmp_path / "model")
    config = load_config(str(tmp_path / "model"))
    assert read_threshold(config) is None
    for value in ("0.5", True, -0.1, 1.1, float("nan"), None, [0.5]):
        setattr(config, RECORD, value)
        assert read_threshold(config) is None, value
    drop_threshold(config)
    assert not hasattr(config, RECORD)
    record_threshold(tmp_path / "model", 0.25)
    predictor = Predictor.from_pretrained(tmp_path / "model")
    assert predictor.score_threshold == predictor.best_threshold == 0.25
    assert TiledPredictor(predictor).score_threshold == 0.25
    assert Predictor.from_pretrained(tmp_path / "model", 0.0).score_threshold == 0.0
