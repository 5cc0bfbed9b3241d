"""Learning weights dealt out over processes: the same training, resumed with and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from detr_hf.modeling.backbones import freeze_backbone
from detr_hf.modeling.detection_task import DetectionTask
from detr_hf.modeling.panoptic_task import PanopticTask
from detr_hf.recipe import DetectionLoss, Ema, MaskLoss, PanopticEvaluation
from detr_hf.training.ema import AverageOfWeights
from detr_hf.training.sharding import deal_out, dealt_out_like, gather_into, held_here, sharded_twin, whole
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.tiny_models import tiny_detector, tiny_segmenter
from tests.tiny_runs import ALL_LABELS, NO_DROPOUT, THING_LABELS, lines_of, save_detector, save_segmenter
from tests.training.test_two_processes import (
    SIZES,
    gradient_of_first_step,
    norm_of,
    recipe_of,
    run_on,
)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A process group of one, as far as sharding asks an accelerator for it."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield SimpleNamespace(device=torch.device("cpu"), num_processes=1)
    distributed.destroy_process_group()


def detection_task() -> DetectionTask:
    detector = tiny_detector(labels=THING_LABELS)
    freeze_backbone(detector, "stem+layer1")
    return DetectionTask(detector, THING_LABELS, DetectionLoss(), [1.0] * THING_LABELS.num_classes)


def sharded_parts(module: nn.Module) -> set[str]:
    return {name for name, part in module.named_modules() if isinstance(part, FSDPModule)}


def test_what_learns_is_dealt_out_and_what_is_frozen_is_shared(alone: SimpleNamespace) -> None:
    task = detection_task()
    twin = sharded_twin(task, alone)
    frozen = 0
    for mine, theirs in zip(task.parameters(), twin.parameters(), strict=True):
        assert not isinstance(mine, DTensor) and isinstance(theirs, DTensor) == mine.requires_grad
        assert (mine is theirs) != mine.requires_grad
        frozen += not mine.requires_grad
    assert frozen > 0
    assert all(mine is theirs for mine, theirs in zip(task.buffers(), twin.buffers(), strict=True))
    layers = {f"model.model.encoder.layers.{index}" for index in range(2)}
    layers |= {f"model.model.decoder.layers.{index}" for index in range(3)}
    assert sharded_parts(twin) == {"", "model.model.backbone", *layers}
    assert held_here(twin) == held_here(task) == sum(p.numel() for p in task.parameters() if p.requires_grad)


def test_a_frozen_detector_has_no_shards(alone: SimpleNamespace) -> None:
    segmenter = tiny_segmenter(labels=ALL_LABELS)
    task = PanopticTask(segmenter, ALL_LABELS, MaskLoss(), PanopticEvaluation(), mask_chunk=4)
    twin = sharded_twin(task, alone)
    assert sharded_parts(twin) == {""}
    assert isinstance(twin, PanopticTask) and not twin.train().model.detr.training


def test_weights_go_to_and_fro(alone: SimpleNamespace) -> None:
    task = detection_task()
    twin = sharded_twin(task, alone)
    name = "model.model.encoder.layers.0.mlp.fc1.weight"
    before = task.get_parameter(name).detach().clone()
    with torch.no_grad():
        twin.get_parameter(name).add_(1.0)
    assert torch.equal(task.get_parameter(name), before), "a twin has weights of its own"
    gather_into(task, twin)
    assert torch.equal(task.get_parameter(name), before + 1)
    with torch.no_grad():
        task.get_parameter(name).copy_(before)
    deal_out(task, twin)
    assert torch.equal(whole(twin.get_parameter(name)), before)
    step = torch.tensor(3.0)
    assert dealt_out_like(step, twin.get_parameter(name)) is step, "a count is no weight"


def test_an_average_over_shards(alone: SimpleNamespace) -> None:
    task = detection_task()
    twin = sharded_twin(task, alone)
    average = AverageOfWeights(twin, Ema(decay=0.75, warmup_steps=0))
    name = "model.bbox_predictor.layers.0.weight"
    before = task.get_parameter(name).detach().clone()
    with torch.no_grad():
        twin.get_parameter(name).add_(1.0)
    average.update(1)
    with average.in_place():
        gather_into(task, twin)
    assert torch.allclose(task.get_parameter(name), before + 0.25)
    assert torch.allclose(whole(twin.get_parameter(name)), before + 1)
    average.load({key: whole(value) * 0 for key, value in average.tensors().items()})
    assert float(whole(average.tensors()[name]).abs().max()) == 0


CASES = {
    "detection": ("detection", ["compute.gradient_checkpointing=true", "optim.micro_batch_size=1"]),
    "frozen": ("panoptic", ["mixed_precision=bf16"]),
    "end-to-end": ("panoptic", ["model.freeze_detector=false"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_with_shards_what_they_learn_with_copies(case: str, tmp_path: Path) -> None:
    """Five images to validate give the processes unlike numbers of passes, which shards would not bear."""
    stage, changes = CASES[case]
    write = write_coco_detection if stage == "detection" else write_coco_panoptic
    split = write(tmp_path / "data", count=5, sizes_hw=SIZES)
    save_detector(tmp_path / "start", **NO_DROPOUT)
    save_detector(tmp_path / "stage1", ALL_LABELS, **NO_DROPOUT)
    save_segmenter(tmp_path / "head", **NO_DROPOUT)
    gradients, printed = {}, {}
    for shard in ("false", "true"):
        changes = [*changes, "optim.max_steps=1", "optim.epochs=1", "optim.clip_norm=1e9"]
        recipe = recipe_of(stage, tmp_path, shard, split, f"compute.shard={shard}", *changes)
        done = run_on(2, recipe, tmp_path)
        assert done.returncode == 0, done.stderr
        gradients[shard], printed[shard] = gradient_of_first_step(tmp_path / shard), done.stdout
    whole_copies, shards = gradients["false"], gradients["true"]
    assert whole_copies.keys() == shards.keys()
    size = norm_of(whole_copies.values())
    assert size > 0
    assert norm_of(whole_copies[name] - shards[name] for name in shards) <= 1e-5 * size
    after = [load_file(tmp_path / shard / "best" / "model.safetensors") for shard in ("false", "true")]
    assert after[0].keys() == after[1].keys()
    assert max(float((after[0][name] - after[1][name]).abs().max()) for name in after[0]) < 2.1e-5
    lines = [lines_of(tmp_path / shard) for shard in ("false", "true")]
    for one, other in zip(*lines, strict=True):
        for name in ("loss", "gradient_norm"):
            if name in one:
                assert other[name] == pytest.approx(one[name], rel=1e-4)
    assert "sharded: gradient and optimizer state of" in printed["true"]


@pytest.mark.slow
def test_a_sharded_run_goes_on_exactly_and_without_shards_too(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "data", count=4, sizes_hw=SIZES)
    save_detector(tmp_path / "start")
    constant = ["optim.schedule.name=constant", "optim.epochs=9", "optim.ema.decay=0.9"]

    def after(steps: int, output: str, shard: str, *changes: str, processes: int = 2) -> Path:
        settings = [*constant, f"optim.max_steps={steps}", f"compute.shard={shard}", *changes]
        done = run_on(processes, recipe_of("detection", tmp_path, output, split, *settings), tmp_path)
        assert done.returncode == 0, done.stderr
        return tmp_path / output

    undisturbed = after(4, "undisturbed", "true")
    after(2, "cut", "true")
    first_half = f"resume={tmp_path / 'cut' / 'last'}"
    copies = after(4, "copies", "false", first_half)
    cut = after(4, "cut", "true")
    for file in ("last/model.safetensors", "last/training_state.safetensors", "best/model.safetensors"):
        expected, found = load_file(undisturbed / file), load_file(cut / file)
        assert expected.keys() == found.keys() and any("ema." in key or "weight" in key for key in found)
        for name, value in expected.items():
            assert torch.equal(value, found[name]), f"{file}: {name}"
    losses = [[line["loss"] for line in lines_of(run) if line["kind"] == "train"] for run in (cut, copies)]
    assert len(losses[0]) == 4 and len(losses[1]) == 2
    assert losses[0][2:] == pytest.approx(losses[1], rel=1e-5)
