"""What a run says before its first step: data, weights, transforms, and a sheet of augmented samples."""

from __future__ import annotations

from detr_hf.loading.dataset import PreparedImages
from detr_hf.modeling.pretrained import LoadReport
from detr_hf.prepare.bundle import DataBundle
from detr_hf.training.loop import Run
from detr_hf.training.sample_grid import save_training_grid

SAMPLES_FILE = "train_samples.jpg"


def report_start(run: Run, data: DataBundle, loaded: LoadReport) -> None:
    """Print what the run is made of and save the sheet of samples; the main process does."""
    if not run.accelerator.is_main_process:
        return
    sizes = {name: len(split) for name, split in data.dataset.items()}
    things, stuff = len(data.labels.thing_ids), len(data.labels.stuff_ids)
    learnt = sum(p.numel() for p in run.task.parameters() if p.requires_grad)
    every = sum(p.numel() for p in run.task.parameters())
    print(f"data: {sizes['train']} training and {sizes['validation']} validation images; ", end="")
    print(f"{data.labels.num_classes} classes ({things} things, {stuff} stuff)")
    for note in data.notes:
        print(f"  note: {note}")
    print(f"model: {learnt:,} of {every:,} parameters learn\n  " + str(loaded).replace("\n", "\n  "))
    for split, images in (("train", run.training.images), ("validation", run.validation.images)):
        print(f"transforms ({split}): " + _steps(images))
    print(f"steps: {run.total_steps} of {run.recipe.optim.batch_size} images; output: {run.folder}")
    path = save_training_grid(run.training.images, data.labels, run.folder / SAMPLES_FILE)
    print(f"augmented training samples: {path}", flush=True)


def _steps(images: PreparedImages) -> str:
    return "; ".join(images.augmentation.describe())
