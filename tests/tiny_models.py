"""Small seeded DETRs and batches for tests: random weights, milliseconds a pass, nothing at its initial
value.

Norms start as the identity, and class heads so small that every query says the same. A fault that applies a
norm twice, or mixes up queries, would not show; so both are randomized here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DetrConfig, DetrForObjectDetection, DetrForSegmentation
from transformers.models.detr.modeling_detr import DetrDecoder, DetrEncoder, DetrFrozenBatchNorm2d

from detr_hf.geometry import (
    boxes_and_areas_of_segments,
    boxes_xyxy_to_cxcywh,
    masks_of_segments,
    normalize_boxes,
)
from detr_hf.labels import LabelMap

LABELS = LabelMap.from_names(["brick", "crane", "plank"], stuff=["sky", "ground"])


def timm_backbone(name: str = "test_resnet", **settings: Any) -> dict[str, Any]:
    """A timm backbone with four maps; `test_resnet` and `test_convnext3` have 0.4 million parameters."""
    four_maps = [0, 1, 2, 3] if "convnext" in name else [1, 2, 3, 4]
    return {
        "model_type": "timm_backbone",
        "backbone": name,
        "num_channels": 3,
        "features_only": True,
        "use_pretrained_backbone": False,
        "out_indices": four_maps,
        **settings,
    }


def tiny_config(
    backbone: str | Any = "test_resnet", labels: LabelMap = LABELS, **settings: Any
) -> DetrConfig:
    """Two encoder and three decoder layers of width 64, eight heads, seven queries, dropout as in DETR."""
    small = {
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "num_queries": 7,
        "id2label": dict(labels.id2label),
        "label2id": dict(labels.label2id),
    }
    backbone_config = timm_backbone(backbone) if isinstance(backbone, str) else backbone
    return DetrConfig(backbone_config=backbone_config, **{**small, **settings})


def tiny_detector(
    backbone: str | Any = "test_resnet", seed: int = 0, **settings: Any
) -> DetrForObjectDetection:
    """A stock detector in eval mode."""
    return _built(DetrForObjectDetection, backbone, seed, settings)


def tiny_segmenter(
    backbone: str | Any = "test_resnet", seed: int = 0, **settings: Any
) -> DetrForSegmentation:
    """A stock segmenter in eval mode."""
    return _built(DetrForSegmentation, backbone, seed, settings)


_MODELS: dict[str, nn.Module] = {}


def _built(cls: type, backbone: str | Any, seed: int, settings: dict[str, Any]) -> Any:
    """A copy of the model, which is made once: most tests want the same few."""
    key = repr((cls, backbone, seed, settings, torch.get_default_dtype()))
    if key not in _MODELS:
        torch.manual_seed(seed)
        _MODELS[key] = randomized(cls(tiny_config(backbone, **settings)), seed)
    return copy.deepcopy(_MODELS[key])


@torch.no_grad()
def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """Norms and biases random, and every query of another opinion; in place, in eval mode."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: Tensor, spread: float, around: float = 0.0) -> None:
        tensor.copy_(around + spread * torch.randn(tensor.shape, generator=generator))

    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | DetrFrozenBatchNorm2d):
            noise(module.weight, 0.2, around=1)
            noise(module.bias, 0.2)
        if isinstance(module, DetrFrozenBatchNorm2d):
            noise(module.running_mean, 0.1)
            module.running_var.uniform_(0.9, 1.3, generator=generator)
        if isinstance(module, DetrEncoder | DetrDecoder):
            for name, layer in module.named_modules():
                if isinstance(layer, nn.Linear):
                    gain = 4 if name.endswith(("q_proj", "k_proj")) else 1.5
                    noise(layer.weight, gain / layer.in_features**0.5)
                    noise(layer.bias, 0.05)
        if isinstance(module, DetrForObjectDetection):
            _randomize_detection_heads(module, noise)
        if isinstance(module, DetrForSegmentation):
            _randomize_mask_head(module, noise)
    return model.eval()


def _randomize_detection_heads(model: DetrForObjectDetection, noise: Callable[..., None]) -> None:
    noise(model.class_labels_classifier.weight, 0.5)
    noise(model.class_labels_classifier.bias, 0.5)
    for layer in model.bbox_predictor.layers:
        noise(layer.weight, 0.15)
        noise(layer.bias, 0.3)
    noise(model.model.query_position_embeddings.weight, 2.0)


def _randomize_mask_head(model: DetrForSegmentation, noise: Callable[..., None]) -> None:
    """Attention that differs from query to query, and is heard."""
    for projection in (model.bbox_attention.q_proj, model.bbox_attention.k_proj):
        projection.weight.mul_(3)
        noise(projection.bias, 0.3)
    for convolution in (layer for layer in model.mask_head.modules() if isinstance(layer, nn.Conv2d)):
        noise(convolution.bias, 0.2)
    model.mask_head.conv1.conv.weight[:, -model.config.encoder_attention_heads :].mul_(30)


def random_target(
    image_id: int, size_hw: tuple[int, int], objects: int, num_classes: int = LABELS.num_classes
) -> dict[str, Any]:
    """A panoptic target whose segments are the cells around random points; one cell is void."""
    random = np.random.default_rng(image_id)
    height, width = size_hw
    points = random.uniform(0, 1, (objects + 1, 2)) * size_hw
    grid = np.stack(np.mgrid[:height, :width], -1)[:, :, None] + 0.5
    nearest = ((grid - points) ** 2).sum(-1).argmin(-1)
    ids = np.concatenate([1 + random.permutation(70_000)[:objects], [0]]).astype(np.int32)
    id_map, segment_ids = ids[nearest], ids[:-1]
    boxes, areas = boxes_and_areas_of_segments(id_map, segment_ids)
    assert (areas > 0).all()
    normed = normalize_boxes(boxes_xyxy_to_cxcywh(boxes), size_hw)
    return {
        "image_id": image_id,
        "size_hw": size_hw,
        "original_size_hw": size_hw,
        "class_labels": torch.from_numpy(random.integers(0, num_classes, objects)),
        "boxes_cxcywh_norm": torch.from_numpy(normed).reshape(-1, 4).to(torch.get_default_dtype()),
        "segment_ids": torch.from_numpy(segment_ids),
        "id_map": torch.from_numpy(id_map),
    }


def random_batch(
    objects: Sequence[int], sizes_hw: Sequence[tuple[int, int]] | tuple[int, int] = (64, 96), seed: int = 0
) -> tuple[Tensor, Tensor, list[dict]]:
    """Noise images with so many objects each, padded right and below: pixels, mask and targets."""
    sizes = [sizes_hw] * len(objects) if isinstance(sizes_hw[0], int) else list(sizes_hw)
    generator = torch.Generator().manual_seed(seed)
    canvas_hw = [max(size[axis] for size in sizes) for axis in (0, 1)]
    pixel_values = torch.zeros(len(sizes), 3, *canvas_hw)
    pixel_mask = torch.zeros(len(sizes), *canvas_hw, dtype=torch.int64)
    for index, (height, width) in enumerate(sizes):
        pixel_values[index, :, :height, :width] = torch.randn(3, height, width, generator=generator)
        pixel_mask[index, :height, :width] = 1
    targets = [
        random_target(100 * seed + index, size, count)
        for index, (size, count) in enumerate(zip(sizes, objects, strict=True))
    ]
    return pixel_values, pixel_mask, targets


def stock_labels(targets: Sequence[dict], with_masks: bool = False) -> list[dict[str, Tensor]]:
    """The same targets as stock transformers wants them."""
    labels = [
        {"class_labels": target["class_labels"], "boxes": target["boxes_cxcywh_norm"]} for target in targets
    ]
    if with_masks:
        for label, target in zip(labels, targets, strict=True):
            label["masks"] = masks_of_segments(target["id_map"], target["segment_ids"]).to(
                torch.get_default_dtype()
            )
    return labels


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm of `theirs`; 0 where both are all zero."""
    difference, size = (ours - theirs).norm().item(), theirs.norm().item()
    return difference / size if size else difference


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every gradient that is there, by parameter."""
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def gradient_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest relative difference of any parameter's gradient; made for float64.

    Where the whole gradient of a parameter is rounding noise (keys of an attention over equal values), it is
    compared with a ten-thousandth of the gradient of all parameters instead.
    """
    assert set(ours) == set(theirs)
    floor = 1e-4 * torch.stack([gradient.norm() for gradient in theirs.values()]).norm().item()
    differences = {name: (ours[name] - theirs[name]).norm().item() for name in theirs}
    return max(differences[name] / max(theirs[name].norm().item(), floor) for name in theirs)
