"""For those who train with `transformers.Trainer`: this package's losses, padding and data sets, to plug in.

A stock detector computes other losses than the ones it was trained with, and pads boxes with the images
(docs/differences.md). ``with_losses`` and ``collate`` put that right where a ``Trainer`` drives the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers.core_model_loading import revert_weight_conversion

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.loading.collate import collate as padded
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.modeling.criterion import SetCriterion
from detr_hf.modeling.families.registry import family_of, is_segmenter
from detr_hf.modeling.loss_record import read_losses, write_losses
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.task import detection_losses
from detr_hf.recipe import DetectionRecipe

BOXES = "boxes_cxcywh_norm"


def with_losses(model: Any, settings: LossSettings | None = None) -> Any:
    """Let a stock detector of any family compute this package's losses from ``labels``, in place.

    Weights, names, ``save_pretrained`` and predictions stay those of the stock class; under mixed precision
    the heads work in float32. A batch's losses are divided by what that batch holds, as a ``Trainer`` knows
    no more: over accumulation steps and processes it takes means, where this package's own loop weighs every
    object alike.

    Args:
        model: of stage 1, with the class head for the data at hand.
        settings: of the losses; None: those that the model's config records or else its family was trained
            with.

    Returns:
        ``model``. With ``labels`` its forward pass gives "loss", "loss_dict", "logits" ``[B, Q, K]`` and
        "pred_boxes" ``[B, Q, 4]``, all of the last decoder layer but the loss.

    Raises:
        UserError: it is of no known family, or a segmenter: stage 2 needs the package's own loop.
    """
    family = family_of(model)
    if is_segmenter(model):
        raise UserError("with_losses: takes detectors; masks (stage 2) are trained by a recipe.")
    family.check_config(model.config, "the model")
    settings = settings or (read_losses(model.config) if hasattr(model.config, "detr_hf_losses") else None)
    settings = settings or family.defaults.losses
    write_losses(model.config, settings)
    model.set_criterion = SetCriterion(
        settings, family.box_terms, family.scores
    )  # has no weights to be saved
    model.__class__ = _with_losses(model.__class__)
    return model


@cache
def _with_losses(stock: Any) -> Any:
    class WithLosses(stock):
        accepts_loss_kwargs = False  # a Trainer then takes the mean over accumulation steps

        def forward(
            self, pixel_values: Tensor, pixel_mask: Tensor | None = None, labels: Any = None, **rest: Any
        ) -> Any:
            """As stock without ``labels``; with them, the losses of this package."""
            if labels is None:
                return super().forward(pixel_values, pixel_mask=pixel_mask, **rest)
            return _outputs(self, pixel_values, pixel_mask, labels)

        def load_state_dict(self, state_dict: Mapping[str, Any], *rest: Any, **named: Any) -> Any:
            """Also weights under the names of ``save_pretrained``: a ``Trainer`` resumes from such a file."""
            return super().load_state_dict(_with_own_names(self, state_dict), *rest, **named)

    WithLosses.__name__ = stock.__name__  # what `save_pretrained` writes as the architecture
    return WithLosses


def _with_own_names(model: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    # `save_pretrained` renames a backbone's weights, and `Trainer` loads them with strict=False as they are:
    # without this the backbone would not be resumed, nor be that of the best checkpoint.
    names = list(model.state_dict())
    numbers = {name: torch.tensor([at]) for at, name in enumerate(names)}
    saved = {key: names[int(at)] for key, at in revert_weight_conversion(model, numbers).items()}
    return {key if key in numbers else saved.get(key, key): value for key, value in weights.items()}


def _outputs(
    model: Any, pixel_values: Tensor, pixel_mask: Tensor | None, labels: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    family, criterion = family_of(model), model.set_criterion
    if pixel_mask is None:
        pixel_mask = torch.ones_like(pixel_values[:, 0], dtype=torch.int64)
    targets = [{"class_labels": one["class_labels"], BOXES: one["boxes"].float()} for one in labels]
    normalizers = criterion.normalizers(targets, family.num_queries(model.config))
    detected = family.run(model, pixel_values, pixel_mask, criterion.settings.auxiliary)
    terms = detection_losses(criterion, detected, targets, normalizers)
    last = {"logits": detected.logits[-1], "pred_boxes": detected.boxes_cxcywh_norm[-1]}
    return {"loss": terms.pop("loss"), "loss_dict": terms, **last}


def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Examples of any size to one padded batch; boxes stay relative to their image without the padding.

    Args:
        examples: each with "pixel_values" ``[3, h, w]`` or ``[1, 3, h, w]`` and "labels", a dict (or a list
            of one) with "class_labels" ``int64 [N]`` and "boxes" ``[N, 4]`` (cx, cy, w, h, from 0 to 1): what
            a stock image processor gives with ``do_pad=False``, and ``RecipeDataset``.

    Returns:
        "pixel_values" ``[B, 3, H, W]``, "pixel_mask" ``int64 [B, H, W]``, "labels", a list of B dicts.

    Raises:
        UserError: an example is padded already, so that its boxes are relative to the padded canvas, or it
            lacks a key.
    """
    images, labels = [], []
    for example in examples:
        for key in {"pixel_values", "labels"} - set(example):
            raise UserError(
                f"collate: an example has no '{key}'; of a data set with other columns set "
                "remove_unused_columns=False in TrainingArguments."
            )
        mask = example.get("pixel_mask")
        if mask is not None and not torch.as_tensor(mask).bool().all():
            raise UserError(
                "collate: an example is padded already, which moves its boxes; give the image processor "
                "do_pad=False."
            )
        pixels, target = torch.as_tensor(example["pixel_values"]), example["labels"]
        images.append(pixels[0] if pixels.ndim == 4 else pixels)
        labels.append(dict(target if isinstance(target, Mapping) else target[0]))
    batch = padded([(image, {}) for image in images])  # type: ignore[typeddict-item]
    return {"pixel_values": batch.pixel_values, "pixel_mask": batch.pixel_mask, "labels": labels}


class RecipeDataset(Dataset[dict[str, Any]]):
    """A split of a recipe's data as a ``Trainer`` wants it: checked, repaired, augmented as the recipe says.

    An item is {"pixel_values": ``float32 [3, h, w]``, "labels": {"image_id": ``int64 [1]``, "class_labels",
    "boxes"}}. A
    ``Trainer`` asks for an image by its number alone, so a training image is augmented anew whenever it is
    asked for, from torch's random generator.
    """

    def __init__(self, samples: DetectionDataset, augmented: bool) -> None:
        self.samples, self.augmented = samples, augmented

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Raises UserError: the image cannot be loaded; it is named."""
        epoch = int(torch.randint(2**31, ())) if self.augmented else 0
        pixels, target = self.samples[epoch, index]
        labels = {
            "image_id": torch.tensor([target["image_id"]]),  # a Trainer gathers tensors alone
            "class_labels": target["class_labels"],
            "boxes": target["boxes_cxcywh_norm"],
        }
        return {"pixel_values": pixels, "labels": labels}


def build(recipe: DetectionRecipe) -> tuple[Any, Any, RecipeDataset, RecipeDataset, LabelMap]:
    """The parts of a recipe of stage 1 for a ``Trainer`` of one's own.

    Batch, rates, schedule and length are the ``Trainer``'s; of `optim` nothing is used.

    Returns:
        The model, with new class heads and ``with_losses``; its image processor; the training and the
        validation split; the classes.

    Raises:
        UserError: the data or the pretrained model of the recipe cannot be used, or it mixes images.
    """
    from detr_hf.data.build import build_bundle
    from detr_hf.demo.resolve import resolve_demo
    from detr_hf.training.build import build_processor, build_task
    from detr_hf.training.fit import refuse_unfit
    from detr_hf.training.loaders import build_dataset

    if not isinstance(recipe, DetectionRecipe):
        kind = type(recipe).__name__
        raise UserError(f"hf.build: expected a recipe of stage 1, such as of load_recipe, got {kind}.")
    if recipe.transforms.mix is not None or recipe.data.streaming:
        raise UserError("hf.build: `transforms.mix` and `data.streaming` need the package's own loop.")
    resolved = resolve_demo(recipe)
    assert isinstance(resolved, DetectionRecipe)
    data = build_bundle(resolved.data, Path(resolved.output_dir))
    refuse_unfit(resolved, data)
    task, _ = build_task(resolved, data)
    processor = build_processor(resolved)
    train, validation = (build_dataset(resolved, data, name, processor) for name in ("train", "validation"))
    model = with_losses(task.model, task.criterion.settings)
    return model, processor, RecipeDataset(train, True), RecipeDataset(validation, False), data.labels
