"""The tiny Deformable DETR that is shipped: small, safe, whole, and what learns the yard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import DeformableDetrForObjectDetection, DeformableDetrImageProcessor

from detr_hf.demo.resolve import DEFORMABLE_CHECKPOINT, resolve_demo
from detr_hf.demo.scene import draw_scene
from detr_hf.demo.worlds import categories_of
from detr_hf.geometry import boxes_and_areas_of_segments, pairwise_iou
from detr_hf.inference import Predictor
from detr_hf.labels import LabelMap
from detr_hf.modeling.pretrained import load_finished
from detr_hf.recipe import load_recipe
from detr_hf.train import run as run_recipe
from tools.pretrain_tiny.street import STREET

MOST_BYTES = 10 * 2**20
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "demo" / "deformable_detr.yaml"


@pytest.fixture
def fresh_accelerate(own_cache: object) -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_the_folder_is_small_and_without_pickles() -> None:
    files = {path.name: path.stat().st_size for path in DEFORMABLE_CHECKPOINT.iterdir()}
    assert sum(files.values()) <= MOST_BYTES
    assert set(files) == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "label_map.json",
        "pretrain_log.jsonl",
    }


def test_stock_transformers_loads_every_tensor() -> None:
    model, info = DeformableDetrForObjectDetection.from_pretrained(
        DEFORMABLE_CHECKPOINT, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert DeformableDetrImageProcessor.from_pretrained(DEFORMABLE_CHECKPOINT).size.shortest_edge == 144
    ours = load_finished(str(DEFORMABLE_CHECKPOINT)).state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=0)
    heads = [head.weight for head in model.class_embed]
    assert not torch.equal(heads[0], heads[-1]), "every layer has a head of its own"


def test_its_classes_are_those_of_the_street_stuff_and_all() -> None:
    labels = LabelMap.load(DEFORMABLE_CHECKPOINT)
    assert labels == LabelMap.from_coco(categories_of(STREET)) and labels.stuff_ids
    config = DeformableDetrForObjectDetection.config_class.from_pretrained(DEFORMABLE_CHECKPOINT)
    assert config.id2label == labels.id2label


def test_the_log_tells_of_a_run_that_learned() -> None:
    lines = [
        json.loads(line) for line in (DEFORMABLE_CHECKPOINT / "pretrain_log.jsonl").read_text().splitlines()
    ]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < losses[0] / 2


def test_it_finds_the_things_of_streets_it_was_never_shown() -> None:
    predictor = Predictor.from_pretrained(DEFORMABLE_CHECKPOINT, score_threshold=0.3, device="cpu")
    labels = predictor.labels
    found = total = 0
    for index in range(6):
        scene = draw_scene(seed=99, index=index, world=STREET)
        found_boxes = predictor.predict([scene.image])[0].detections
        of_class = {one["id"]: labels.names.index(one["category"]) for one in scene.segments}
        things = np.array([id for id, label in of_class.items() if label in labels.thing_ids])
        truth, _ = boxes_and_areas_of_segments(scene.id_map, things)
        iou = pairwise_iou(torch.from_numpy(truth), torch.from_numpy(found_boxes.boxes_xyxy_px))
        same = torch.tensor([of_class[id] for id in things])[:, None] == torch.from_numpy(found_boxes.labels)
        found += int(((iou > 0.5) & same).any(1).sum())
        total += len(things)
    assert found / total > 0.5


@pytest.mark.usefixtures("fresh_accelerate")
def test_the_recipe_of_the_yard_starts_from_it(tmp_path: Path) -> None:
    small = ["data.demo.train=4", "data.demo.validation=1", f"data.demo.folder={tmp_path / 'yard'}"]
    steps = ["optim.epochs=1", "optim.batch_size=4", "optim.micro_batch_size=4", "evaluation.every=1"]
    recipe = load_recipe(RECIPE, [*small, *steps, f"output_dir={tmp_path / 'run'}"])
    results = run_recipe(resolve_demo(recipe))
    assert "AP" in results["detection"]
    best = DeformableDetrForObjectDetection.from_pretrained(tmp_path / "run" / "best")
    assert best.config.num_labels == 15
