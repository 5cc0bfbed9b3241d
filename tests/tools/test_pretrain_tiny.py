"""The pretraining of the tiny checkpoint: its aids by hand-made cases, and the whole of it in a few steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import DeformableDetrForObjectDetection, DetrForObjectDetection, DetrForSegmentation

from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.labels import LabelMap
from detr_hf.modeling.loss_record import read_losses
from detr_hf.modeling.loss_terms import LossSettings
from tests.tiny_models import random_batch
from tools.pretrain_tiny.aids import DENSE_TERMS, VOID, DenseHeads, rasters
from tools.pretrain_tiny.architecture import tiny_config
from tools.pretrain_tiny.deformable import pretrain_deformable
from tools.pretrain_tiny.pretrain import PHASES, Plan, pretrain
from tools.pretrain_tiny.task import AidedDetection

LABELS = LabelMap.from_names(["a", "b", "c"], ["sky"])


@pytest.fixture(autouse=True)
def fresh_accelerate(own_cache: object) -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_rasters_give_each_cell_the_segment_at_its_center() -> None:
    id_map = torch.zeros(8, 8, dtype=torch.int32)
    id_map[:, 4:] = 7
    target = {
        "id_map": id_map,
        "segment_ids": torch.tensor([7], dtype=torch.int32),
        "class_labels": torch.tensor([2]),
        "boxes_cxcywh_norm": torch.tensor([[0.75, 0.5, 0.5, 1.0]]),
    }
    classes, boxes = rasters([target], (2, 4))
    assert classes.tolist() == [[[VOID, VOID, 2, 2], [VOID, VOID, 2, 2]]]
    assert boxes[0, 1, 3].tolist() == [0.75, 0.5, 0.5, 1.0]


def test_dense_terms_learn_from_void_images_too() -> None:
    heads = DenseHeads(width=16, stride8_channels=8, num_classes=4)
    empty: dict[str, Any] = {
        "id_map": torch.zeros(16, 16, dtype=torch.int32),
        "segment_ids": torch.zeros(0, dtype=torch.int32),
        "class_labels": torch.zeros(0, dtype=torch.int64),
        "boxes_cxcywh_norm": torch.zeros(0, 4),
    }
    full = {
        "id_map": torch.ones(16, 16, dtype=torch.int32),
        "segment_ids": torch.tensor([1], dtype=torch.int32),
        "class_labels": torch.tensor([1]),
        "boxes_cxcywh_norm": torch.tensor([[0.5, 0.5, 1.0, 1.0]]),
    }
    maps = SimpleNamespace(feature_maps=[None, torch.randn(2, 8, 2, 2)], memory=torch.randn(2, 16, 1, 1))
    for targets, has_truth in (([empty, full], True), ([empty, empty], False)):
        matched: Any = SimpleNamespace(features=maps, heads=heads, targets=targets)
        losses = [term.function(matched) for term in DENSE_TERMS]
        assert all(loss.shape == (1,) and bool(torch.isfinite(loss)) for loss in losses)
        assert bool(sum(losses) > 0) == has_truth
        sum(losses).backward()  # type: ignore[union-attr]
    assert heads.position_box[0].weight.grad is not None


def test_dense_terms_are_rows_beside_those_of_the_boxes() -> None:
    torch.manual_seed(0)
    detector = DetrForObjectDetection(tiny_config(LABELS))
    batch = random_batch([2, 1], (64, 96))
    terms = {}
    for alone in (False, True):
        task = AidedDetection(detector, LABELS, LossSettings(), groups=2, dense_alone=alone)
        terms[alone] = task(*batch, task.normalizers(batch[2]))
    dense = {term.name for term in DENSE_TERMS}
    assert terms[True].keys() - {"loss", "loss_auxiliary", "loss_groups"} == dense
    assert terms[False].keys() - terms[True].keys() == {"loss_ce", "loss_bbox", "loss_giou"}
    assert float(terms[True]["loss"].detach()) == pytest.approx(
        sum(float(terms[True][name]) for name in dense)
    )


def test_three_phases_learn_and_leave_a_checkpoint_that_stock_classes_load(
    tmp_path: Path,
) -> None:
    plan = Plan(scenes=8, held_out=2, steps=(8, 2, 2), batch_size=4, seed=3)
    folder = pretrain(plan, tmp_path / "tiny", tmp_path / "street")
    model, info = DetrForSegmentation.from_pretrained(folder, output_loading_info=True)
    assert not (info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"])
    assert LabelMap.load(folder) == LabelMap.load(CHECKPOINT)
    assert model.config.num_labels == LabelMap.load(CHECKPOINT).num_classes
    losses = [line["loss"] for line in lines_of(tmp_path / "tiny" / PHASES[0])]
    assert losses[-1] < 0.95 * losses[0]
    for phase in PHASES:
        assert all(torch.isfinite(torch.tensor(line["loss"])) for line in lines_of(tmp_path / "tiny" / phase))
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert pretrain(plan, tmp_path / "tiny", tmp_path / "street") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before, "what is done is not done again"


def test_a_later_run_starts_from_an_earlier_checkpoint_class_head_and_all(tmp_path: Path) -> None:
    plan = Plan(scenes=4, held_out=1, steps=(0, 1, 0), batch_size=2, lr=1e-9)
    folder = pretrain(plan, tmp_path / "more", tmp_path / "street", start=CHECKPOINT)
    assert folder == tmp_path / "more" / "detector" / "best"
    kept = DetrForObjectDetection.from_pretrained(folder).class_labels_classifier.weight
    shipped = DetrForSegmentation.from_pretrained(CHECKPOINT).detr.class_labels_classifier.weight
    torch.testing.assert_close(kept, shipped, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_the_deformable_one_starts_from_the_other_ones_backbone_and_learns(tmp_path: Path) -> None:
    plan = Plan(scenes=4, held_out=1, batch_size=2, lr=2e-3, seed=3)
    folder = pretrain_deformable(plan, tmp_path / "tiny", tmp_path / "street", steps=12)
    model, info = DeformableDetrForObjectDetection.from_pretrained(folder, output_loading_info=True)
    assert not (info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"])
    assert LabelMap.load(folder) == LabelMap.load(CHECKPOINT)
    losses = [line["loss"] for line in lines_of(tmp_path / "tiny" / "detector")]
    assert losses[-1] < 0.95 * losses[0]
    start = DeformableDetrForObjectDetection.from_pretrained(tmp_path / "tiny" / "start")
    donor = DetrForSegmentation.from_pretrained(CHECKPOINT).detr.model.backbone.state_dict()
    for name, tensor in start.model.backbone.state_dict().items():
        torch.testing.assert_close(tensor, donor[name], rtol=0, atol=0)
    assert not start.bbox_embed[0].layers[-1].weight.any(), "boxes start at their reference points"
    assert read_losses(model.config).class_loss_coefficient == 2.0, "the family's own"
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert pretrain_deformable(plan, tmp_path / "tiny", tmp_path / "street", steps=12) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before, "what is done is not done again"


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """What was measured in every epoch."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "train"]
