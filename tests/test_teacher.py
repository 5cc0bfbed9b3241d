"""A panoptic DETR asked for stuff alone, against the stock model's own masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DetrForSegmentation, DetrImageProcessor

from detr_hf.data.stuff_mapping import load_mapping
from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.scene import draw_scene
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.families.detr import DETR
from detr_hf.teacher import DetrTeacher, load_teacher
from tests.tiny_models import tiny_segmenter
from tools.pretrain_tiny.street import STREET

LABELS = LabelMap.load(CHECKPOINT)
STUFF = {index: LABELS.names[index] for index in LABELS.stuff_ids}
SURE = 0.5


@pytest.fixture(scope="module")
def teacher() -> DetrTeacher:
    return load_teacher(str(CHECKPOINT))


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A street, whose things the tiny checkpoint knows too."""
    return draw_scene(seed=5, index=1, size_hw=(180, 240), world=STREET).image


def stock_answer(teacher: DetrTeacher, image: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores, labels and mask probabilities of every query, by stock transformers, at its own size."""
    inputs = teacher.processor(images=image, return_tensors="pt")
    with torch.no_grad():
        outputs = DetrForSegmentation.from_pretrained(teacher.name).eval()(**inputs)
    scores, labels = outputs.logits[0].softmax(-1).max(-1)
    size_hw = inputs["pixel_values"].shape[-2:]
    masks = torch.nn.functional.interpolate(outputs.pred_masks, size_hw, mode="bilinear")[0].sigmoid()
    return scores, labels, masks


def test_it_finds_what_the_stock_model_does_and_only_stuff(
    teacher: DetrTeacher, photograph: np.ndarray
) -> None:
    scores, labels, masks = stock_answer(teacher, photograph)
    kept = [at for at in range(len(scores)) if scores[at] > SURE and int(labels[at]) in STUFF]
    things = [at for at in range(len(scores)) if scores[at] > SURE and int(labels[at]) in LABELS.thing_ids]
    assert kept and things, "the test needs both"
    best, winner = masks[kept].max(0)
    wanted = [STUFF[int(labels[at])] for at in kept]
    found = teacher.find(photograph, SURE, 0.5)
    names = {0: None, **{number: name for number, name, _ in found.segments}}
    assert set(names.values()) - {None} <= set(STUFF.values())
    differences = 0
    for row, column in np.ndindex(found.id_map.shape):
        truth = wanted[int(winner[row, column])] if best[row, column] >= 0.5 else None
        differences += truth != names[int(found.id_map[row, column])]
    assert differences <= 0.01 * found.id_map.size  # where two masks tie, rounding decides
    assert (found.id_map == 0).any(), "the test needs uncovered pixels"


def test_only_sure_queries_of_stuff_reach_the_mask_head(
    teacher: DetrTeacher, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, labels, _ = stock_answer(teacher, photograph)
    seen: list[int] = []
    head = DETR.mask_head
    original = head.logits

    def record(model, detected, image, query, chunk):  # type: ignore[no-untyped-def]
        seen.extend(query.tolist())
        return original(model, detected, image, query, chunk)

    monkeypatch.setattr(head, "logits", record)
    teacher.find(photograph, SURE, 0.5)
    assert seen == [at for at in range(len(scores)) if scores[at] > SURE and int(labels[at]) in STUFF]
    assert 0 < len(seen) < len(scores)


def test_nothing_sure_enough_is_all_void(teacher: DetrTeacher, photograph: np.ndarray) -> None:
    found = teacher.find(photograph, 1.0, 0.5)
    assert found.segments == [] and not found.id_map.any()


def test_without_a_mask_threshold_every_pixel_is_covered(
    teacher: DetrTeacher, photograph: np.ndarray
) -> None:
    assert (teacher.find(photograph, SURE, 0.0).id_map > 0).all()


def test_the_short_edge_is_the_processors_or_the_one_asked_for(
    teacher: DetrTeacher, photograph: np.ndarray
) -> None:
    assert teacher.find(photograph, SURE, 0.0).id_map.shape == (192, 256)
    larger = load_teacher(str(CHECKPOINT), short_edge=160)
    assert larger.find(photograph, SURE, 0.0).id_map.shape == (160, 213)
    assert larger.fingerprint != teacher.fingerprint


def test_the_fingerprint_is_that_of_the_weights(teacher: DetrTeacher) -> None:
    other = load_teacher(str(CHECKPOINT))
    assert other.fingerprint == teacher.fingerprint
    other = load_teacher(str(CHECKPOINT))
    with torch.no_grad():
        next(other.model.parameters()).view(-1)[0] += 1e-4
    assert other.fingerprint != teacher.fingerprint


def test_a_model_without_a_label_map_is_taken_for_cocos_by_its_250_classes(tmp_path: Path) -> None:
    names = {index: f"LABEL_{index}" for index in range(250)}
    settings = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    tiny_segmenter(**settings).save_pretrained(tmp_path / "coco")
    DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 100}).save_pretrained(tmp_path / "coco")
    stuff = load_teacher(str(tmp_path / "coco")).stuff
    assert len(stuff) == 53
    assert (stuff[92], stuff[149], stuff[200]) == ("banner", "road", "rug-merged")


def test_a_model_that_does_not_say_what_is_stuff_is_refused(tmp_path: Path) -> None:
    copy = shutil.copytree(CHECKPOINT, tmp_path / "copy")
    (copy / "label_map.json").unlink()
    with pytest.raises(UserError, match="put one there"):
        load_teacher(str(copy))


def test_the_tiny_checkpoints_stuff_has_a_place_in_the_construction_classes(teacher: DetrTeacher) -> None:
    mapping = load_mapping("construction")
    mapping.require(teacher.stuff_names, teacher.name)
    assert {mapping.to_class[name] for name in teacher.stuff_names} == {
        *("building", "ground", "plant", "sky", "structural")
    }
