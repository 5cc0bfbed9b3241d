"""The tiny checkpoint's pretraining.

A different synthetic world from the one the demo fine-tunes on (streets instead of construction yards; other
thing classes, stuff with the names COCO-panoptic gives it), so that the demo's start is a pretrained model in
earnest. Three phases: dense warm-up of backbone and encoder, the detector, the mask head on the frozen
detector. The log of the shipped checkpoint lies beside it; docs/demo.md tells the three runs it came from.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DetrForSegmentation, DetrImageProcessor

from detr_hf.demo.dataset import ensure_dataset
from detr_hf.demo.worlds import categories_of
from detr_hf.labels import LabelMap
from detr_hf.modeling.criterion import (
    BOX_TERMS,
    LossSettings,
    Matched,
    SetCriterion,
    bbox_loss,
    giou_loss,
)
from detr_hf.modeling.families.base import DetectorOutput
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.panoptic import PanopticTask
from detr_hf.modeling.pretrained import load_segmenter
from tools.pretrain_tiny.aids import DenseHeads, QueryGroups
from tools.pretrain_tiny.architecture import tiny_config
from tools.pretrain_tiny.data import IMAGE_MEAN, IMAGE_STD, SceneMemory
from tools.pretrain_tiny.street import STREET

LOG_FILE = "pretrain_log.jsonl"


@dataclass(frozen=True)
class Plan:
    """Lengths and rates of the three phases."""

    scenes: int = 6000
    held_out: int = 200
    warm_up_steps: int = 1200
    detector_steps: int = 6500
    mask_steps: int = 800
    batch_size: int = 16
    groups: int = 2
    lr: float = 4e-4
    weight_decay: float = 1e-4
    clip_norm: float = 0.1
    eos_coefficient: float = 0.4  # 0.1 is for 100 queries; with 25 objects would be found twice
    seed: int = 0


class Pretraining:
    """The model, its aids, the scenes and the log of one pretraining run."""

    def __init__(self, plan: Plan, out: Path, data: Path, start: Path | None = None):
        self.plan, self.out = plan, out
        out.mkdir(parents=True, exist_ok=True)
        earlier = "" if start is None else (start / LOG_FILE).read_text()  # `out` may be `start` itself
        (out / LOG_FILE).write_text(earlier)
        torch.manual_seed(plan.seed)
        self.random = np.random.default_rng(plan.seed)
        self.labels = LabelMap.from_coco(categories_of(STREET))
        ensure_dataset(data, {"train": plan.scenes, "validation": plan.held_out}, plan.seed, world=STREET)
        self.train = SceneMemory(data / "train", self.labels)
        self.validation = SceneMemory(data / "validation", self.labels)
        self.model = (
            DetrForSegmentation(tiny_config(self.labels)) if start is None else load_segmenter(str(start))
        )
        self.model.train()
        settings = LossSettings(eos_coefficient=plan.eos_coefficient)
        self.criterion = SetCriterion(settings, BOX_TERMS, DETR.class_probabilities)
        self.model.detr.model.backbone.to(memory_format=torch.channels_last)
        config = self.model.config
        channels = self.model.detr.model.backbone.intermediate_channel_sizes[1]
        self.dense = DenseHeads(config.d_model, channels, self.labels.num_classes)
        self.groups = QueryGroups(self.model.detr, plan.groups)
        self.started = time.monotonic()

    def batch(self) -> tuple[Tensor, Tensor, list[dict]]:
        """A training batch of random views."""
        indices = self.random.choice(len(self.train), self.plan.batch_size, replace=False)
        return self.train.batch(indices, self.random)

    def log(self, **facts: object) -> None:
        """One line of the log, on screen and in ``pretrain_log.jsonl``."""
        line = json.dumps({"minutes": round((time.monotonic() - self.started) / 60, 2), **facts})
        print(line, flush=True)
        with (self.out / LOG_FILE).open("a") as file:
            file.write(line + "\n")

    def optimize(self, modules: list[nn.Module], steps: int, phase: str, loss_of_batch) -> None:  # type: ignore[no-untyped-def]
        """AdamW with a short warm-up, a constant rate and a cosine tail over the last third."""
        parameters = [p for module in modules for p in module.parameters()]
        optimizer = torch.optim.AdamW(parameters, self.plan.lr, weight_decay=self.plan.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        recent: list[float] = []
        for step in range(1, steps + 1):
            loss = loss_of_batch()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, self.plan.clip_norm)
            optimizer.step()
            schedule.step()
            recent.append(loss.item())
            if step % 250 == 0 or step == steps:
                self.log(phase=phase, step=step, loss=round(float(np.mean(recent)), 4))
                recent.clear()
            if step % 1000 == 0 or step == steps:
                self.evaluate(phase, step)
                self.save()

    def warm_up_loss(self) -> Tensor:
        """Dense heads alone."""
        pixel_values, pixel_mask, targets = self.batch()
        detected = DETR.run(self.model.detr, pixel_values, pixel_mask, all_layers=False)
        return self.dense(*_dense_inputs(detected), targets)

    def detector_loss(self) -> Tensor:
        """DETR's criterion over all layers and query groups, plus the dense heads."""
        pixel_values, pixel_mask, targets = self.batch()
        detected = DETR.run(self.model.detr, pixel_values, pixel_mask, all_layers=True)
        logits, boxes = self.groups.run(self.model.detr, detected)
        logits = torch.cat([detected.logits, logits])
        boxes = torch.cat([detected.boxes_cxcywh_norm, boxes])
        terms = self.criterion(self.matched(logits, boxes, targets))
        return terms["loss"] / self.plan.groups + self.dense(*_dense_inputs(detected), targets)

    def mask_loss(self) -> Tensor:
        """Focal and dice loss of the matched masks; the detector is frozen."""
        pixel_values, pixel_mask, targets = self.batch()
        task = PanopticTask(self.model, self.labels, self.criterion.settings, mask_chunk=256)
        return task(pixel_values, pixel_mask, targets, task.normalizers(targets))["loss"]

    def matched(self, logits: Tensor, boxes: Tensor, targets: list[dict]) -> Matched:
        """What the terms of a whole step are computed from."""
        normalizers = self.criterion.normalizers(targets, logits.shape[2])
        return self.criterion.matched(logits, boxes, targets, normalizers)

    @torch.no_grad()
    def evaluate(self, phase: str, step: int) -> None:
        """Loss terms of the held-out scenes, unaugmented, at 144 pixels."""
        self.model.eval()
        terms: list[list[float]] = []
        for start in range(0, min(96, len(self.validation)), 16):
            indices = np.arange(start, min(start + 16, len(self.validation)))
            pixel_values, pixel_mask, targets = self.validation.batch(indices, None, size_hw=(144, 192))
            detected = DETR.run(self.model.detr, pixel_values, pixel_mask, all_layers=False)
            matched = self.matched(detected.logits, detected.boxes_cxcywh_norm, targets)
            pairs = matched.matches
            found = detected.logits[0, pairs.image, pairs.query].argmax(-1)
            right = (found == matched.of_objects("class_labels")).float().mean()
            terms.append([bbox_loss(matched).item(), giou_loss(matched).item(), right.item()])
        l1_mean, giou_mean, right_mean = np.mean(terms, 0).round(4)
        self.log(
            phase=phase, step=step, held_out={"l1": l1_mean, "giou": giou_mean, "class_right": right_mean}
        )
        self.model.train()

    def save(self) -> None:
        """Model, processor and label map as ``from_pretrained`` reads them."""
        self.model.save_pretrained(self.out)
        DetrImageProcessor(
            size={"shortest_edge": 144, "longest_edge": 256}, image_mean=IMAGE_MEAN, image_std=IMAGE_STD
        ).save_pretrained(self.out)
        self.labels.save(self.out)


def _dense_inputs(detected: DetectorOutput) -> tuple[Tensor, Tensor]:
    """The backbone's map of stride 8 and the encoder's output."""
    assert detected.panoptic is not None
    return detected.panoptic.feature_maps[1], detected.panoptic.memory


def _rate(step: int, steps: int) -> float:
    if step < 100:
        return (step + 1) / 100
    tail = max(0.0, (step / steps - 2 / 3) * 3)
    return 0.5 * (1 + math.cos(math.pi * tail)) * 0.99 + 0.01


def pretrain(plan: Plan, out: Path, data: Path, start: Path | None = None) -> None:
    """Run the three phases; ``out`` gets the checkpoint and its log, ``data`` the scenes.

    ``start`` goes on from the weights and the log of an earlier pretraining, with fresh aids and optimizers.
    """
    run = Pretraining(plan, out, data, start)
    detector = run.model.detr
    run.optimize([detector, run.dense], plan.warm_up_steps, "warm-up", run.warm_up_loss)
    run.optimize([detector, run.dense, run.groups], plan.detector_steps, "detector", run.detector_loss)
    detector.requires_grad_(False)
    heads: list[nn.Module] = [run.model.mask_head, run.model.bbox_attention]
    run.optimize(heads, plan.mask_steps, "masks", run.mask_loss)
