"""A panoptic DETR as the teacher of stuff: what `detr_hf.data.pseudo_label` asks for."""

from __future__ import annotations

import json
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import nn

from detr_hf.data.pseudo_label import FoundStuff
from detr_hf.errors import UserError
from detr_hf.inference import MASK_CHUNK, resize_as, sample_of, usable_device
from detr_hf.labels import PRESETS
from detr_hf.loading.collate import collate
from detr_hf.modeling.compute import norm_in_one_pass
from detr_hf.modeling.families.base import ImageProcessor
from detr_hf.modeling.families.registry import family_of, mask_head_of
from detr_hf.modeling.model_files import load_label_map, load_processor
from detr_hf.modeling.panoptic_merge import merge_masks
from detr_hf.modeling.postprocess import QueryScores, resize_masks
from detr_hf.modeling.pretrained import load_segmenter, segmenter_config

COCO_CLASSES = 250
"""Classes of the panoptic DETRs of facebookresearch/detr (models/detr.py), numbered as COCO does."""


class DetrTeacher:
    """A panoptic model that is asked for stuff alone; see ``Teacher``.

    Args:
        name: folder or Hub id, for messages.
        model: a segmenter of any family.
        processor: gives the size and the color statistics that it expects.
        stuff: class id -> name of every stuff class.
        short_edge: pixels of the image's short edge in the model; the processor's own when left out.
        device: where to run; the GPU when there is one.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        processor: ImageProcessor,
        stuff: dict[int, str],
        short_edge: int | None = None,
        device: str | torch.device | None = None,
    ):
        self.name = name
        self.device = usable_device(device)
        self.model, self.family = model.eval(), family_of(model)
        self.detector = mask_head_of(model).detector_of(model)
        norm_in_one_pass(self.family.backbone(self.detector))
        nn.Module.to(model, self.device)  # the stock model's own `to` has lost its types
        self.processor = processor
        self.stuff = stuff
        self.resize = resize_as(processor, short_edge)

    @property
    def stuff_names(self) -> tuple[str, ...]:
        """Every stuff class that it can find."""
        return tuple(self.stuff.values())

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights, the size and the colors; the same from a folder and from the Hub."""
        digest = sha256(repr([self.resize.describe(), self.processor.image_mean]).encode())
        digest.update(repr([self.processor.image_std, sorted(self.stuff.items())]).encode())
        for key, tensor in self.model.state_dict().items():
            digest.update(key.encode())
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
        return digest.hexdigest()

    @torch.no_grad()
    def find(self, image: NDArray[np.uint8], score_threshold: float, mask_threshold: float) -> FoundStuff:
        """The stuff of one upright RGB image ``uint8 [H, W, 3]``.

        Only queries whose best class is stuff, and surer than ``score_threshold``, reach the mask head.
        Each pixel goes to the largest mask logit among them, at the size of the image in the model; one
        whose best mask probability is below ``mask_threshold`` is void, as things are.
        """
        sample = sample_of(0, image, self.resize, self.processor)
        batch = collate([sample]).to(self.device)
        detected = self.family.run(self.detector, batch.pixel_values, batch.pixel_mask, all_layers=False)
        queries = QueryScores.of(self.family, detected.logits[-1])
        scores, labels = queries.scores[0], queries.labels[0]
        stuff_ids = torch.tensor(list(self.stuff), device=self.device)
        sure = queries.kept(score_threshold, with_masks=True)[0]
        kept = torch.nonzero(sure & torch.isin(labels, stuff_ids))[:, 0]
        size_hw = sample[1]["size_hw"]
        canvas_hw = (batch.pixel_values.shape[-2], batch.pixel_values.shape[-1])
        images = torch.zeros_like(kept)  # of the one there is
        masks = mask_head_of(self.model).logits(self.model, detected, images, kept, MASK_CHUNK)
        logits = resize_masks(masks, canvas_hw, size_hw, size_hw)
        id_map, found = merge_masks(logits, labels[kept], scores[kept], list(self.stuff), mask_threshold)
        segments = [(number, self.stuff[label], score) for number, label, score in found]
        return FoundStuff(id_map.cpu().numpy(), segments)


def load_teacher(source: str, revision: str | None = None, short_edge: int | None = None) -> DetrTeacher:
    """A teacher from a folder or the Hub, every tensor accounted for.

    Each process under `accelerate launch` takes the GPU that is its own.

    Raises:
        UserError: there is no panoptic DETR, or it does not say which of its classes are stuff.
    """
    model = load_segmenter(source, revision)
    device = PartialState().device if torch.cuda.is_available() else None
    stuff = _stuff_of(source, model.config)
    return DetrTeacher(source, model, load_processor(source, revision), stuff, short_edge, device)


def stuff_names_of(source: str, revision: str | None = None) -> tuple[str, ...]:
    """``stuff_names`` of a teacher, from its config and label map alone: its weights are not fetched.

    Raises:
        UserError: as ``load_teacher``, but for the weights.
    """
    config = segmenter_config(source, revision)
    load_processor(source, revision)
    return tuple(_stuff_of(source, config).values())


def _stuff_of(source: str, config: Any) -> dict[int, str]:
    """Its label map tells; a model without one is COCO's if it has the number of classes that those have."""
    labels = load_label_map(source, config)
    if labels.stuff_ids:
        return {index: labels.names[index] for index in labels.stuff_ids}
    if config.num_labels == COCO_CLASSES:
        names = json.loads((PRESETS / "coco_panoptic_stuff.json").read_text(encoding="utf-8"))
        return {int(index): name for index, name in names.items()}
    raise UserError(
        f"teacher {source}: its {config.num_labels} classes are not COCO panoptic's, and no "
        "label_map.json beside it says which of them are stuff; put one there, or choose another teacher."
    )
