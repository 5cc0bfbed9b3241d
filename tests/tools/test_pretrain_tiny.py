"""The pretraining of the tiny checkpoint: its aids by hand-made cases, and the whole of it in a few steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DetrForObjectDetection, DetrForSegmentation

from detr_hf.demo.dataset import ensure_dataset
from detr_hf.demo.worlds import categories_of
from detr_hf.labels import LabelMap
from detr_hf.modeling.families.detr import DETR
from tools.pretrain_tiny import aids, pretrain
from tools.pretrain_tiny.aids import VOID, DenseHeads, QueryGroups
from tools.pretrain_tiny.architecture import tiny_config
from tools.pretrain_tiny.data import SceneMemory
from tools.pretrain_tiny.street import STREET

LABELS = LabelMap.from_names(["a", "b", "c"], ["sky"])


def test_rasters_give_each_cell_the_segment_at_its_center() -> None:
    id_map = torch.zeros(8, 8, dtype=torch.int32)
    id_map[:, 4:] = 7
    target = {
        "id_map": id_map,
        "segment_ids": torch.tensor([7], dtype=torch.int32),
        "class_labels": torch.tensor([2]),
        "boxes_cxcywh_norm": torch.tensor([[0.75, 0.5, 0.5, 1.0]]),
    }
    classes, boxes = aids._rasters([target], (2, 4))
    assert classes.tolist() == [[[VOID, VOID, 2, 2], [VOID, VOID, 2, 2]]]
    assert boxes[0, 1, 3].tolist() == [0.75, 0.5, 0.5, 1.0]


def test_dense_heads_learn_from_void_pictures_too() -> None:
    heads = DenseHeads(width=16, stride8_channels=8, num_classes=4)
    empty = {
        "id_map": torch.zeros(16, 16, dtype=torch.int32),
        "segment_ids": torch.zeros(0, dtype=torch.int32),
        "class_labels": torch.zeros(0, dtype=torch.int64),
        "boxes_cxcywh_norm": torch.zeros(0, 4),
    }
    id_map = torch.ones(16, 16, dtype=torch.int32)
    full = {
        "id_map": id_map,
        "segment_ids": torch.tensor([1], dtype=torch.int32),
        "class_labels": torch.tensor([1]),
        "boxes_cxcywh_norm": torch.tensor([[0.5, 0.5, 1.0, 1.0]]),
    }
    loss = heads(torch.randn(2, 8, 2, 2), torch.randn(2, 16, 1, 1), [empty, full])
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert heads.position_box[0].weight.grad is not None


def test_a_group_with_the_models_own_queries_predicts_what_the_model_does() -> None:
    """Groups share decoder and heads and do not see one another."""
    torch.manual_seed(0)
    detector = DetrForObjectDetection(tiny_config(LABELS)).eval()
    groups = QueryGroups(detector, groups=3)
    own = detector.model.query_position_embeddings.weight.detach()
    groups.further.data[1] = own
    with torch.no_grad():
        detected = DETR.run(
            detector, torch.randn(2, 3, 64, 96), torch.ones(2, 64, 96, dtype=torch.int64), all_layers=True
        )
        logits, boxes = groups.run(detector, detected)
    layers = len(detected.logits)
    assert logits.shape == (layers * 2, 2, *detected.logits.shape[2:])
    torch.testing.assert_close(logits.unflatten(0, (layers, 2))[:, 1], detected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        boxes.unflatten(0, (layers, 2))[:, 1], detected.boxes_cxcywh_norm, atol=1e-5, rtol=1e-5
    )


def test_views_keep_boxes_on_their_segments(tmp_path: Path) -> None:
    ensure_dataset(tmp_path / "street", {"train": 4}, seed=0, world=STREET)
    memory = SceneMemory(tmp_path / "street" / "train", LabelMap.from_coco(categories_of(STREET)))
    random = np.random.default_rng(0)
    pixels, mask, targets = memory.batch(np.arange(4), random, size_hw=(96, 128))
    assert pixels.shape == (4, 3, 96, 128)
    assert bool((mask == 1).all())
    for target in targets:
        for segment, box in zip(target["segment_ids"], target["boxes_cxcywh_norm"], strict=True):
            rows, columns = torch.nonzero(target["id_map"] == segment, as_tuple=True)
            left, right = columns.min() / 128, (columns.max() + 1) / 128
            top, bottom = rows.min() / 96, (rows.max() + 1) / 96
            expected = torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
            torch.testing.assert_close(box, expected.float())


def test_three_phases_leave_a_loadable_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = pretrain.Plan(
        scenes=4, held_out=2, warm_up_steps=1, detector_steps=1, mask_steps=1, batch_size=2, seed=3
    )
    pretrain.pretrain(plan, tmp_path / "tiny", tmp_path / "street")
    DetrForSegmentation.from_pretrained(tmp_path / "tiny")
    lines = [json.loads(line) for line in (tmp_path / "tiny" / "pretrain_log.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines if "loss" in line] == ["warm-up", "detector", "masks"]
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
