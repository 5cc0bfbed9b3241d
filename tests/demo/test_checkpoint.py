"""The checkpoint that is shipped: small, safe, and what both stages and the teacher of pseudo-labels need."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import DetrForSegmentation, DetrImageProcessor

from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.scene import draw_scene
from detr_hf.demo.worlds import YARD, categories_of
from detr_hf.inference import Predictor
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction
from tools.pretrain_tiny.street import STREET

MOST_BYTES = 20 * 2**20


def test_the_folder_is_small_and_without_pickles() -> None:
    files = {path.name: path.stat().st_size for path in CHECKPOINT.iterdir()}
    assert sum(files.values()) <= MOST_BYTES
    assert set(files) == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "label_map.json",
        "pretrain_log.jsonl",
    }


def test_stock_transformers_loads_every_tensor() -> None:
    model, info = DetrForSegmentation.from_pretrained(CHECKPOINT, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())
    assert DetrImageProcessor.from_pretrained(CHECKPOINT).size.shortest_edge == 192


def test_its_classes_are_those_of_the_street_with_stuff_as_coco_names_it() -> None:
    labels = LabelMap.load(CHECKPOINT)
    assert labels == LabelMap.from_coco(categories_of(STREET))
    stuff = [labels.names[index] for index in labels.stuff_ids]
    assert {"sky-other-merged", "dirt-merged", "building-other-merged", "tree-merged"} <= set(stuff)
    yard = LabelMap.from_coco(categories_of(YARD))
    assert not set(labels.names) & set(yard.names)


def test_the_log_tells_all_three_phases() -> None:
    lines = [json.loads(line) for line in (CHECKPOINT / "pretrain_log.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(line["phase"] for line in lines)) == ["warm-up", "detector", "masks"]
    losses = [line["loss"] for line in lines if line["phase"] == "detector" and "loss" in line]
    assert losses[-1] < losses[0] / 2


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_pretrained(CHECKPOINT, score_threshold=0.7, device="cpu")


def test_it_sees_the_stuff_of_yards_it_was_never_shown(predictor: Predictor) -> None:
    """What a teacher of pseudo-labels must do: most sky and ground pixels get the right class."""
    same = {"sky": "sky-other-merged", "ground": "dirt-merged"}
    right = total = 0
    for index in range(6):
        scene = draw_scene(seed=99, index=index)
        [found] = predictor.stream([scene.image])
        assert isinstance(found, PanopticPrediction)
        wanted = {segment["category"]: segment["id"] for segment in scene.segments}
        for name, coco_name in same.items():
            truth = scene.id_map == wanted[name]
            ids = [s.id for s in found.segments if predictor.labels.names[s.category_id] == coco_name]
            right += int((truth & (found.id_map == (ids[0] if ids else -1))).sum())
            total += int(truth.sum())
    assert right / total > 0.7
