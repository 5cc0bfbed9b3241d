"""The road of `transformers.Trainer`: this package's losses in a stock model, equal to its own loop's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import DetrForObjectDetection, DetrImageProcessor, Trainer, TrainingArguments

from detr_hf import Predictor, hf
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.loading.collate import collate as ours
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.task import DetectionTask
from detr_hf.recipe import DetectionRecipe
from tests.factories import write_coco_detection
from tests.family_models import family_detector
from tests.tiny_models import LABELS, tiny_detector, tiny_segmenter
from tests.tiny_runs import detection_recipe, save_detector


def samples(count: int = 3) -> list[tuple[torch.Tensor, dict[str, Any]]]:
    """Images of unlike size with one to three objects."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for at in range(count):
        boxes = 0.2 + 0.3 * torch.rand(at + 1, 4, generator=generator)
        labels = torch.arange(at + 1) % 3
        image = torch.randn(3, 64 + 16 * at, 80, generator=generator)
        made.append((image, {"class_labels": labels, "boxes_cxcywh_norm": boxes}))
    return made


def as_examples(made: list[tuple[torch.Tensor, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {"pixel_values": i, "labels": {"class_labels": t["class_labels"], "boxes": t["boxes_cxcywh_norm"]}}
        for i, t in made
    ]


@pytest.mark.parametrize("variant", ["detr", "deformable_detr_two_stage"])
def test_loss_and_gradient_are_those_of_our_own_loop(variant: str) -> None:
    model = tiny_detector() if variant == "detr" else family_detector(variant)
    settings = LossSettings(eos_coefficient=0.2, class_weights=[1.0, 2.0, 1.0, 1.0, 1.0])
    task = DetectionTask(copy.deepcopy(model), LABELS, settings)
    batch = ours(samples())  # type: ignore[arg-type]
    expected = task(batch.pixel_values, batch.pixel_mask, batch.targets, task.normalizers(batch.targets))
    expected["loss"].backward()
    model = hf.with_losses(model, settings)
    given = model(**hf.collate(as_examples(samples())))
    given["loss"].backward()
    assert torch.equal(given["loss"], expected["loss"])
    wanted = {name: parameter.grad for name, parameter in task.model.named_parameters()}
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in wanted.values())
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (wanted[name] is None), name
        assert parameter.grad is None or torch.equal(parameter.grad, wanted[name]), name


def test_the_model_stays_the_stock_one(tmp_path: Path) -> None:
    stock, model = tiny_detector(), hf.with_losses(tiny_detector())
    pixels = torch.randn(1, 3, 64, 80)
    with torch.no_grad():
        assert torch.equal(model(pixels).logits, stock(pixels).logits)
    assert (
        isinstance(model, DetrForObjectDetection) and model.state_dict().keys() == stock.state_dict().keys()
    )
    model.save_pretrained(tmp_path)
    again = DetrForObjectDetection.from_pretrained(tmp_path)
    assert again.config.architectures == ["DetrForObjectDetection"]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in stock.state_dict().items())
    with pytest.raises(UserError, match="masks"):
        hf.with_losses(tiny_segmenter())


def test_what_beginners_give_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="expected a model of transformers, got str; load it"):
        hf.with_losses("facebook/detr-resnet-50")
    with pytest.raises(UserError, match=r"expected a recipe of stage 1, .* got str"):
        hf.build("detection")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"an example has no 'labels'; .* remove_unused_columns=False"):
        hf.collate([{"pixel_values": torch.zeros(3, 8, 8)}])


def test_examples_of_a_stock_processor_are_padded_with_boxes_where_they_were() -> None:
    processor = DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    annotation = {"bbox": [10, 20, 30, 40], "category_id": 1, "area": 1200, "iscrowd": 0}
    images = [Image.fromarray(np.full((100, width, 3), 90, np.uint8)) for width in (100, 200)]
    truth = [{"image_id": at, "annotations": [annotation]} for at in range(2)]
    examples = [
        processor(image, one, do_pad=False, return_tensors="pt")
        for image, one in zip(images, truth, strict=True)
    ]
    batch = hf.collate(examples)
    assert batch["pixel_values"].shape == (2, 3, 64, 128)
    assert batch["pixel_mask"].sum((1, 2)).tolist() == [64 * 64, 64 * 128]
    centers = [one["boxes"][0, :2].tolist() for one in batch["labels"]]
    assert centers[0] == pytest.approx([0.25, 0.4]) and centers[1] == pytest.approx([0.125, 0.4])
    padded = processor(images, truth, return_tensors="pt")
    example = {"pixel_values": padded["pixel_values"][0], "pixel_mask": padded["pixel_mask"][0]}
    with pytest.raises(UserError, match="padded already"):
        hf.collate([{**example, "labels": padded["labels"][0]}])


def test_a_stock_trainer_trains_a_recipes_parts(tmp_path: Path, own_cache: Path) -> None:
    """As docs/python.md shows it, for two steps; what it saves is a model that predicts."""
    split = write_coco_detection(tmp_path / "data")
    recipe = detection_recipe(tmp_path / "run", split, save_detector(tmp_path / "start"))
    assert isinstance(recipe, DetectionRecipe)
    model, processor, training, validation, labels = hf.build(recipe)
    before = copy.deepcopy(model.state_dict())
    arguments = TrainingArguments(
        str(tmp_path / "trainer"),
        max_steps=2,
        per_device_train_batch_size=2,
        max_grad_norm=0.1,
        remove_unused_columns=False,
        report_to="none",
        use_cpu=True,
    )
    trainer = Trainer(model, arguments, hf.collate, training, validation, processing_class=processor)
    assert trainer.train().global_step == 2
    assert trainer.evaluate(ignore_keys=["loss_dict", "logits", "pred_boxes"])["eval_loss"] > 0
    after = model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    trainer.save_model(str(tmp_path / "model"))
    resumed = hf.with_losses(copy.deepcopy(model)).apply(
        lambda part: [p.data.zero_() for p in part.parameters()]
    )
    resumed.load_state_dict(load_file(tmp_path / "model" / "model.safetensors"), strict=False)  # as a Trainer
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in after.items())
    trainer.args.eval_do_concat_batches = False
    assert len(trainer.predict(validation).label_ids) == len(trainer.get_eval_dataloader())
    labels.save(tmp_path / "model")
    found = Predictor.from_pretrained(tmp_path / "model").predict(Path(split.images) / "001.jpg")
    assert found.label_map == labels == LabelMap.from_names(["brick", "cone", "plank"])
    assert len(training) == 6
