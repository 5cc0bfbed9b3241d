"""Detours around faults of other libraries that run through several rooms of the package.

Those within one room are tested beside its code; docs/differences.md has the list of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from torch import Tensor, nn

from detr_hf.errors import UserError
from detr_hf.loading.collate import Batch, Target
from detr_hf.loading.transforms import build_transforms
from detr_hf.modeling.normalizers import Normalizers
from detr_hf.modeling.predictions import Detections
from detr_hf.modeling.task import DetectionTask
from detr_hf.training.engine import evaluate, optimizer_step, step_normalizers
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.tiny_models import LABELS, random_batch, tiny_detector
from tests.tiny_runs import ALL_LABELS, assembled, detection_recipe, panoptic_recipe, save_detector


@pytest.fixture(autouse=True)
def fresh_accelerate(own_cache: Path) -> Iterator[None]:
    """Accelerate keeps the settings of the first run of a process for all that follow."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class OneOfTwo:
    """The accelerator of a process whose neighbor has the other part of the step."""

    device, num_processes = torch.device("cpu"), 2

    def __init__(self, neighbor: Normalizers):
        self.neighbor = torch.tensor([neighbor.objects, neighbor.class_weight_sum])

    def reduce(self, share: Tensor, reduction: str = "mean") -> Tensor:
        return (share + self.neighbor) / (2 if reduction == "mean" else 1)


def test_the_normalizers_of_a_step_are_sums_over_its_processes() -> None:
    """Guards: Accelerate's `reduce`, a mean unless told otherwise, as number of boxes: the mean, or half of
    it, makes box and mask losses grow with the number of processes.
    """
    pixel_values, pixel_mask, targets = random_batch([3, 0, 5, 2, 9, 1])
    task = DetectionTask(tiny_detector(), LABELS)
    mine = [Batch(pixel_values[at : at + 2], pixel_mask[at : at + 2], targets[at : at + 2]) for at in (0, 2)]
    found = step_normalizers(OneOfTwo(task.normalizers(targets[4:])), task, mine)  # type: ignore[arg-type]
    whole = task.normalizers(targets)
    assert found.objects == whole.objects == 20
    assert found.class_weight_sum == pytest.approx(whole.class_weight_sum)


def test_gradients_are_summed_over_processes_not_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: distributed training averages gradients, and a loss divided by what all processes hold would be
    too small by their number. (AdamW and clipping hide a factor, so weights after a step do not tell.)
    """
    split, start = write_coco_detection(tmp_path / "data"), save_detector(tmp_path / "start")
    run = assembled(detection_recipe(tmp_path / "run", split, start))
    batches = iter(run.train_loader)
    micro_batches = [next(batches) for _ in range(run.train_loader.sampler.micro_batches_per_step)]
    learned: list[float] = []
    backward = run.accelerator.backward
    monkeypatch.setattr(
        run.accelerator, "backward", lambda loss: learned.append(loss.item()) or backward(loss)
    )
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda _: 2))
    loss = optimizer_step(run, micro_batches)["loss"]
    assert len(learned) == 2 and sum(learned) == pytest.approx(2 * loss)


@pytest.mark.parametrize(("frozen", "learns"), [("stem_and_first_stage", False), ("none", True)])
def test_the_freezing_of_a_recipe_reaches_the_model(frozen: str, learns: bool, tmp_path: Path) -> None:
    """Guards: stock freezing, which passes over every timm backbone."""
    split, start = write_coco_detection(tmp_path / "data"), save_detector(tmp_path / "start")
    run = assembled(detection_recipe(tmp_path / "run", split, start, f"model.freeze_backbone={frozen}"))
    backbone: nn.Module = run.task.model.model.backbone.model  # type: ignore[union-attr, assignment]
    assert backbone.get_submodule("conv1")[0].weight.requires_grad == learns  # type: ignore[index]
    assert all(
        parameter.requires_grad == learns for parameter in backbone.get_submodule("layer1").parameters()
    )
    assert all(parameter.requires_grad for parameter in backbone.get_submodule("layer2").parameters())


def test_a_run_in_bfloat16_is_scored_in_float32(tmp_path: Path) -> None:
    """Guards: box coordinates in steps of bfloat16, which cost AP at high IoU for no reason."""
    split, start = write_coco_detection(tmp_path / "data"), save_detector(tmp_path / "start")
    run = assembled(detection_recipe(tmp_path / "run", split, start, "mixed_precision=bf16"))
    seen: list[torch.dtype] = []
    projection: nn.Module = run.task.model.model.input_projection  # type: ignore[union-attr, assignment]
    projection.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    batch = next(iter(run.train_loader))
    run.ddp_task(batch.pixel_values, batch.pixel_mask, batch.targets, run.task.normalizers(batch.targets))
    assert seen == [torch.bfloat16]
    seen.clear()
    evaluate(run.accelerator, run.task, run.validation_loader, run.truth)
    assert set(seen) == {torch.float32}


def test_unsure_detections_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: stock post-processing, which shows AP no box below a score of 0.5 unless told otherwise."""
    split, start = write_coco_detection(tmp_path / "data"), save_detector(tmp_path / "start")
    run = assembled(detection_recipe(tmp_path / "run", split, start))

    def unsure(pixel_values: Tensor, pixel_mask: Tensor, targets: list[Target]) -> list[Detections]:
        truths = [run.truth.detection(target["image_id"]) for target in targets]
        return [
            Detections(
                truth["image_id"],
                truth["boxes_xyxy_px"].astype(np.float32),
                np.full(len(truth["labels"]), 0.02, np.float32),
                truth["labels"],
            )
            for truth in truths
        ]

    monkeypatch.setattr(run.task, "predict", unsure)
    results = evaluate(run.accelerator, run.task, run.validation_loader, run.truth).metrics
    assert results["detection"]["AP"] == pytest.approx(1.0)


def test_a_map_of_another_size_than_its_picture_is_refused_during_the_run(tmp_path: Path) -> None:
    """Guards: masks that do not fit their picture, to which stock code stretches its predictions."""
    split = write_coco_panoptic(tmp_path / "data", count=2)
    start = save_detector(tmp_path / "stage1", ALL_LABELS)
    run = assembled(panoptic_recipe(tmp_path / "run", split, start, "fresh", "optim.batch_size=2"))
    png = tmp_path / "data" / "panoptic" / "10_map.png"
    with Image.open(png) as image:
        half = image.resize((image.width // 2, image.height // 2), Image.Resampling.NEAREST)
    half.save(png)
    with pytest.raises(UserError, match=r"image 10 '000\.jpg': its PNG is now 64x48, it was 128x96"):
        run.train_loader.dataset[(0, 0)]


def test_a_box_without_width_or_beyond_the_edge_stops_no_transform() -> None:
    """Guards: albumentations refuses a picture for one box that has no width or reaches over the edge."""
    boxes = np.array([[10, 10, 10, 30], [10, 10, 30, 30], [70, 50, 90, 70], [85, 5, 95, 15]], np.float32)
    policy = build_transforms([{"name": "HorizontalFlip", "p": 1.0}], "transforms.train")
    out = policy(np.zeros((60, 80, 3), np.uint8), boxes, None, 0)
    assert out.kept.tolist() == [1, 2]
    assert np.allclose(out.boxes_xyxy_px, [[50, 10, 70, 30], [0, 50, 10, 60]], atol=1e-3)
