"""The tiny networks of the offline default, of 1.5 to 1.8 million parameters, made for two CPU cores."""

from __future__ import annotations

from typing import Any

from transformers import DeformableDetrConfig, DetrConfig

from detr_hf.labels import LabelMap

_BACKBONE = {
    "model_type": "timm_backbone",
    "backbone": "test_convnext3",
    "num_channels": 3,
    "features_only": True,
    "use_pretrained_backbone": False,
    "out_indices": [0, 1, 2, 3],
    "output_stride": 16,
}
_TRANSFORMER: dict[str, Any] = {
    "d_model": 128,
    "encoder_layers": 2,
    "decoder_layers": 4,
    "encoder_ffn_dim": 256,
    "decoder_ffn_dim": 256,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "dropout": 0.0,
}


def tiny_config(labels: LabelMap) -> DetrConfig:
    """A DETR with a ConvNeXt of four stages at output stride 16, 2 + 4 layers of width 128 and 25 queries.

    A ConvNeXt keeps its activations inside DETR (backbones with fused norm and activation lose them), has no
    batch norm to freeze, and its four maps are what the mask head wants.
    """
    return DetrConfig(
        backbone_config=_BACKBONE,
        num_queries=25,
        **_TRANSFORMER,
        id2label=labels.id2label,
        label2id=labels.label2id,
    )


def tiny_deformable_config(labels: LabelMap) -> DeformableDetrConfig:
    """The same backbone and width, its maps of stride 8 and 16 as two levels, box refinement, 50 queries."""
    return DeformableDetrConfig(
        backbone_config={**_BACKBONE, "out_indices": [1, 3]},
        num_queries=50,
        num_feature_levels=2,
        with_box_refine=True,
        **_TRANSFORMER,
        id2label=labels.id2label,
        label2id=labels.label2id,
    )
