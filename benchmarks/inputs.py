"""Seeded models and data: random weights, nothing downloaded, no initial value that would hide a fault."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DetrConfig, DetrForObjectDetection, DetrForSegmentation
from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

from benchmarks.settings import Settings
from detr_hf.geometry import boxes_and_areas_of_segments, boxes_xyxy_to_cxcywh, normalize_boxes
from detr_hf.labels import LabelMap, construction_labels
from detr_hf.modeling.compute import compile_layers

LABELS: LabelMap = construction_labels()

AWAY_FROM_KINK = 4.0
"""Mean bias of the mask head's norms, in standard deviations of what they pass on to a ReLU.

Where a value is zero but for rounding, a ReLU passes the gradient on one side and not on the other, and
both are right. One such value in a small feature map makes gradients differ by 1e-3; in float64 they then
agree to 1e-14.
"""


def config_of(settings: Settings) -> DetrConfig:
    """DETR's own sizes, without dropout: both sides must compute the same numbers."""
    return DetrConfig(
        backbone=settings.backbone,  # type: ignore[call-arg]  # taken by its __post_init__
        num_queries=settings.queries,
        dropout=0.0,
        id2label=LABELS.id2label,
        label2id=LABELS.label2id,
    )


def detector_of(settings: Settings) -> DetrForObjectDetection:
    """A stock detector on the settings' device, the same weights for the same settings."""
    torch.manual_seed(settings.seed)
    detector = DetrForObjectDetection(config_of(settings))
    _randomize(detector)
    _place(detector, detector, settings)
    return detector


def segmenter_of(settings: Settings) -> DetrForSegmentation:
    """A stock segmenter in eval mode whose detector is frozen, as stage 2 trains it."""
    torch.manual_seed(settings.seed)
    model = DetrForSegmentation(config_of(settings))
    _randomize(model)
    _place(model, model.detr, settings)
    attention = model.mask_head.conv1.conv.weight[:, -model.config.encoder_attention_heads :]
    with torch.no_grad():  # one softmax over all heads and pixels makes small numbers: let them be heard
        attention.mul_(attention.shape[1] * settings.size[0] * settings.size[1] / 32**2)
    model.detr.requires_grad_(False)
    return model.eval()


@torch.no_grad()
def _randomize(model: nn.Module) -> None:
    """Norms off the identity, queries that disagree, and classes that win over "no object"."""
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | DetrFrozenBatchNorm2d):
            module.weight.mul_(torch.empty_like(module.weight).uniform_(0.8, 1.2))
            module.bias.normal_(mean=AWAY_FROM_KINK if isinstance(module, nn.GroupNorm) else 0.0, std=0.1)
        if isinstance(module, nn.Linear):
            module.weight.normal_(std=_gain(name) / module.in_features**0.5)
        if isinstance(module, nn.Embedding):
            module.weight.normal_(std=1.0)
        if name.endswith("class_labels_classifier"):
            module.bias[-1] = -5.0


def _gain(linear: str) -> float:
    """Spread of a layer's weights: tokens stay apart, attention looks somewhere, queries have opinions."""
    if ".encoder." in linear and linear.endswith(("o_proj", "fc2")):
        return 0.2
    if linear.endswith(("q_proj", "k_proj")):
        return 1.5
    return 4.0 if linear.endswith("class_labels_classifier") else 1.0


def _place(model: nn.Module, detector: DetrForObjectDetection, settings: Settings) -> None:
    """Onto the device, calibrated there, in the memory format and compiled as the settings say."""
    model.to(settings.device)
    _calibrate(detector, settings)
    if settings.channels_last:
        detector.model.backbone.to(memory_format=torch.channels_last)
    if settings.compiled:
        compile_layers(detector)


@torch.no_grad()
def _calibrate(detector: DetrForObjectDetection, settings: Settings) -> None:
    """Statistics of the frozen batch norms as training leaves them: those of what passes through.

    With the initial ones a deep random network maps all pixels to nearly the same features, and every query
    to the same mask; rounding is then a large part of what is left.
    """

    def measure(norm: Any, inputs: tuple[Tensor]) -> None:
        norm.running_mean.copy_(inputs[0].mean((0, 2, 3)))
        norm.running_var.copy_(inputs[0].var((0, 2, 3)))

    norms = [module for module in detector.modules() if isinstance(module, DetrFrozenBatchNorm2d)]
    handles = [norm.register_forward_pre_hook(measure) for norm in norms]
    detector.model.backbone(*images_of(settings, 1))
    for handle in handles:
        handle.remove()


def images_of(settings: Settings, images: int) -> tuple[Tensor, Tensor]:
    """Grainy patches ``float32 [B, 3, H, W]`` and a mask ``int64 [B, H, W]`` that says all of it is real."""
    generator = torch.Generator().manual_seed(settings.seed)
    patches = torch.randn(images, 3, 6, 8, generator=generator)
    grain = torch.randn(images, 3, *settings.size, generator=generator)
    pixel_values = functional.interpolate(patches, settings.size, mode="bilinear") + 0.3 * grain
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    pixel_mask = torch.ones(images, *settings.size, dtype=torch.int64, device=settings.device)
    return pixel_values.to(settings.device, memory_format=layout), pixel_mask


def targets_of(settings: Settings) -> list[dict[str, Any]]:
    """Panoptic targets as the package's loaders make them."""
    targets = []
    for image, objects in enumerate(settings.objects_of_images):
        id_map, ids, classes = scene_of(settings, image, objects)
        boxes, _ = boxes_and_areas_of_segments(id_map, ids)
        targets.append(
            {
                "image_id": image,
                "size_hw": settings.size,
                "original_size_hw": settings.size,
                **{
                    name: torch.from_numpy(array).to(settings.device)
                    for name, array in {
                        "class_labels": classes,
                        "boxes_cxcywh_norm": normalize_boxes(boxes_xyxy_to_cxcywh(boxes), settings.size),
                        "segment_ids": ids,
                        "id_map": id_map,
                    }.items()
                },
            }
        )
    return targets


def scene_of(settings: Settings, image: int, objects: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Id map ``int32 [H, W]``, ids ``int32 [N]`` and classes of cells around random points; one is void."""
    random = np.random.default_rng((settings.seed, image))
    points = random.uniform(0, 1, (objects + 1, 2)) * settings.size
    rows, columns = np.mgrid[: settings.size[0], : settings.size[1]]
    distance = np.stack([(rows - y) ** 2 + (columns - x) ** 2 for y, x in points])
    ids = np.concatenate([1 + random.permutation(70_000)[:objects], [0]]).astype(np.int32)
    classes = random.integers(0, LABELS.num_classes, objects)
    return ids[distance.argmin(0)], ids[:-1], classes


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """Every gradient that is there, by parameter."""
    return {
        f"gradient of {name}": parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
