"""What a run says before its first step: data, weights, transforms, and a sheet of augmented samples."""

from __future__ import annotations

from collections.abc import Iterator

from transformers import DetrForSegmentation

from detr_hf.errors import UserError
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.truth import images_with_more_objects
from detr_hf.modeling.backbones import patch_side
from detr_hf.modeling.pretrained import LoadReport
from detr_hf.prepare.bundle import DataBundle
from detr_hf.run_folder import SAMPLES_FILE
from detr_hf.training.sample_grid import save_training_grid
from detr_hf.training.state import Run


def report_start(run: Run, data: DataBundle, loaded: LoadReport) -> None:
    """Print what the run is made of and save the sheet of samples; the main process does."""
    if not run.accelerator.is_main_process:
        return
    kind = "training" if data.stream is None else "streamed training"
    sizes = {"train": len(run.train_loader.dataset), "validation": len(run.validation_loader.dataset)}
    things, stuff = len(data.labels.thing_ids), len(data.labels.stuff_ids)
    learned = sum(p.numel() for p in run.task.parameters() if p.requires_grad)
    every = sum(p.numel() for p in run.task.parameters())
    print(f"data: {sizes['train']} {kind} and {sizes['validation']} validation images; ", end="")
    print(f"{data.labels.num_classes} classes ({things} things, {stuff} stuff)")
    for note in data.notes:
        print(f"  note: {note}")
    for note in _notes_on_fit(run, data):
        print(f"  note: {note}")
    print(f"model: {learned:,} of {every:,} parameters learn\n  " + str(loaded).replace("\n", "\n  "))
    for split, images in (("train", run.train_loader.dataset), ("validation", run.validation_loader.dataset)):
        print(f"transforms ({split}): " + _steps(images))
    print(f"steps: {run.total_steps} of {run.recipe.optim.batch_size} images; output: {run.folder}")
    skip_bad = run.recipe.data.on_bad_sample == "skip"
    path = save_training_grid(
        run.train_loader.dataset, data.labels, run.folder / SAMPLES_FILE, skip_bad=skip_bad
    )
    print(f"augmented training samples: {path}", flush=True)


def _steps(dataset: DetectionDataset) -> str:
    return "; ".join(dataset.augmentation.describe())


def _notes_on_fit(run: Run, data: DataBundle) -> Iterator[str]:
    """What the model cannot see or learn of this data."""
    model = run.task.model
    queries = model.config.num_queries
    crowded, most = (0, 0) if data.stream else images_with_more_objects(data.dataset["train"], queries)
    if crowded:
        yield (
            f"{crowded} training images have more objects (up to {most}) than the model has queries "
            f"({queries}); in each the {queries} that match best are learned, the others are not"
        )
    detector = model.detr if isinstance(model, DetrForSegmentation) else model
    side, size_hw = patch_side(detector), _first_size(run.validation_loader.dataset)
    if side is not None and size_hw is not None and any(pixels % side for pixels in size_hw):
        yield (
            f"the backbone sees whole patches of {side} pixels only, and the first validation image is "
            f"{size_hw[0]} x {size_hw[1]}: its rim is lost, and boxes come out stretched. Sizes that are "
            f"multiples of {side} both ways lose nothing (transforms)"
        )


def _first_size(dataset: DetectionDataset) -> tuple[int, int] | None:
    try:
        return dataset[0, 0][1]["size_hw"]
    except UserError:  # a broken picture has its own moment, and its own policy
        return None
