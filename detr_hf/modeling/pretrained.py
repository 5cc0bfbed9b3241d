"""Loading weights: every tensor is accounted for, and nothing but what must be new is new.

``from_pretrained`` fills what does not fit with random numbers and says so in a log line at most. Here a
checkpoint is loaded as it is, with no mismatch allowed, and only then is the class head replaced or the mask
head put on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    DetrConfig,
    DetrForObjectDetection,
    DetrForSegmentation,
    DetrImageProcessor,
)
from transformers.utils import logging as transformers_logging

from detr_hf.errors import UserError
from detr_hf.hub_access import looks_like_a_folder, offline_unless_reached
from detr_hf.labels import LABEL_MAP_FILE, LabelMap
from detr_hf.modeling.backbones import refuse_vanishing_activations

LISTED = 12
"""So many tensors at most are named in the log of a run; the rest is counted."""


@dataclass
class LoadReport:
    """Where a model's weights came from, for the log: ``new`` lists the tensors that start random."""

    sources: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        named = ", ".join(self.new[:LISTED]) or "nothing"
        rest = f" and {len(self.new) - LISTED} more" if len(self.new) > LISTED else ""
        return "\n".join([*self.sources, f"starting from random: {named}{rest}"])


def load_stage1(
    pretrained: str, labels: LabelMap, revision: str | None = None, scratch: bool = False
) -> tuple[DetrForObjectDetection, LoadReport]:
    """A detector for ``labels``: all weights of a pretrained one but the class head, which is new.

    Args:
        pretrained: folder or Hub id of a ``DetrForObjectDetection`` or a ``DetrForSegmentation`` (its
            detector).
        labels: the classes to learn.
        revision: git revision on the Hub.
        scratch: take the architecture only.

    Raises:
        UserError: not a DETR, not there, or tensors are missing, left over or of another shape.
    """
    config = _config(pretrained, revision)
    if scratch:
        config.id2label, config.label2id = labels.id2label, labels.label2id
        detector = DetrForObjectDetection(config)
        names = [name for name, _ in detector.named_parameters()]
        return detector, LoadReport([f"architecture: {pretrained}"], names)
    detector = _load_detector(pretrained, revision, config)
    detector.class_labels_classifier = _new_class_head(config, labels)
    detector.config.id2label, detector.config.label2id = labels.id2label, labels.label2id
    new = [f"class_labels_classifier.{name}" for name in ("weight", "bias")]
    return detector, LoadReport([f"backbone, transformer and box head: {pretrained}"], new)


def load_stage2(
    detector: str,
    mask_head: str,
    labels: LabelMap,
    revision: str | None = None,
    detector_revision: str | None = None,
) -> tuple[DetrForSegmentation, LoadReport]:
    """Stage 1's detector with a mask head on it, which may come from any label map: masks know no classes.

    Args:
        detector: folder or Hub id of stage 1's model.
        mask_head: folder or Hub id of a ``DetrForSegmentation`` of the same sizes, or "fresh" for random
            weights.
        labels: the classes of the data, which must be the detector's.
        revision: git revision of ``mask_head`` on the Hub.
        detector_revision: git revision of ``detector`` on the Hub.

    Raises:
        UserError: another label map, other sizes, or tensors are missing, left over or of another shape.
    """
    config = _config(detector, detector_revision)
    refuse_other_labels(config, f"model.detector: {detector}", labels)
    stage1 = _load_detector(detector, detector_revision, config)
    if len(stage1.model.backbone.intermediate_channel_sizes) < 4:
        raise UserError(f"{detector}: the mask head needs four feature maps, its backbone gives fewer.")
    model = DetrForSegmentation(config)
    model.detr.load_state_dict(stage1.state_dict(), strict=True)
    report = LoadReport([f"detector: {detector}"])
    parts = {"mask_head": model.mask_head, "bbox_attention": model.bbox_attention}
    if mask_head == "fresh":
        report.new = [
            f"{part}.{name}" for part, module in parts.items() for name, _ in module.named_parameters()
        ]
        return model, report
    donor = load_segmenter(mask_head, revision)
    for part, module in parts.items():
        _copy(getattr(donor, part), module, f"{mask_head}: its {part} does not fit the detector {detector}")
    report.sources.append(f"mask head and its attention: {mask_head}")
    return model, report


def load_segmenter(source: str, revision: str | None = None) -> DetrForSegmentation:
    """A whole ``DetrForSegmentation`` from a folder or the Hub, every tensor accounted for."""
    config = _config(source, revision)
    if "DetrForSegmentation" not in (config.architectures or []):
        raise UserError(f"{source}: holds {_architecture(config)}, where a DetrForSegmentation is needed.")
    return _from_pretrained(DetrForSegmentation, source, revision, config)


def load_finished(source: str) -> DetrForObjectDetection | DetrForSegmentation:
    """The model of a finished run (or of the Hub), of whichever stage it is."""
    config = _config(source, None)
    if "DetrForSegmentation" in (config.architectures or []):
        return load_segmenter(source)
    return _load_detector(source, None, config)


def load_processor(source: str, revision: str | None = None) -> DetrImageProcessor:
    """The image processor saved with a model, with the mean and deviation that its weights expect."""
    if not Path(source).is_dir():
        offline_unless_reached()
    try:
        return DetrImageProcessor.from_pretrained(source, revision=revision or "main")
    except (OSError, ValueError) as error:
        raise UserError(f"{source}: no image processor could be loaded ({_first_line(error)}).") from error


def load_label_map(source: str, config: DetrConfig) -> LabelMap:
    """A model's label map: ``label_map.json`` beside it, or else the names in its config, all as things."""
    file = Path(source) / LABEL_MAP_FILE
    if not Path(source).is_dir():
        try:
            file = Path(hf_hub_download(source, LABEL_MAP_FILE))
        except (EntryNotFoundError, OSError, ValueError):  # stock models have none; or offline
            return LabelMap.from_names(_class_names(config))
    return LabelMap.load(file) if file.is_file() else LabelMap.from_names(_class_names(config))


def refuse_other_labels(config: DetrConfig, source: str, labels: LabelMap) -> None:
    """Raise a UserError that starts with ``source``, unless the model predicts ``labels`` in their order."""
    theirs, ours = LabelMap.from_names(_class_names(config)), LabelMap.from_names(labels.names)
    if theirs != ours:  # a config does not know things from stuff: names and their order are compared
        raise UserError(
            f"{source} was trained for other classes than the data has: "
            f"compared with the model, the data {theirs.difference(ours)}. "
            "Train stage 1 on this data first, or give the model's label map in data.labels."
        )


def _class_names(config: DetrConfig) -> list[str]:
    """The class names of a model in order; a repeated one ("N/A" in the COCO models) gets its id added."""
    names = [name for _, name in sorted((config.id2label or {}).items())]
    return [f"{name} ({index})" if names.index(name) < index else name for index, name in enumerate(names)]


def _config(source: str, revision: str | None) -> DetrConfig:
    if not Path(source).is_dir():
        if looks_like_a_folder(source):
            raise UserError(f"{source}: there is no such folder; give the folder of a model, or a Hub id.")
        offline_unless_reached()
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{source}: no model found there ({_first_line(error)}). Give a folder with a config.json, "
            "or the id of a model on the Hub; a private one needs `hf auth login`, or a valid HF_TOKEN."
        ) from error
    except StrictDataclassError as error:
        raise UserError(f"{source}: its config.json is not valid: {' '.join(str(error).split())}") from error
    if not isinstance(config, DetrConfig):
        raise UserError(f"{source}: is a {config.model_type!r} model; this package fine-tunes `detr`.")
    if config.auxiliary_loss:
        transformers_logging.get_logger("detr_hf").warning(
            f"{source}: config.auxiliary_loss is on, which changes the forward pass; it is switched off. "
            "Auxiliary losses are taken all the same (loss.auxiliary)."
        )
        config.auxiliary_loss = False
    refuse_vanishing_activations(config, source)
    return config


def _load_detector(source: str, revision: str | None, config: DetrConfig) -> DetrForObjectDetection:
    if "DetrForSegmentation" in (config.architectures or []):
        return _from_pretrained(DetrForSegmentation, source, revision, config).detr
    return _from_pretrained(DetrForObjectDetection, source, revision, config)


def _from_pretrained(cls: Any, source: str, revision: str | None, config: DetrConfig) -> Any:
    """Load in float32 from safetensors; any tensor that is not filled from the file stops the run."""
    try:
        with _without_load_report():
            model, info = cls.from_pretrained(
                source,
                revision=revision,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are listed below, all at once
                output_loading_info=True,
            )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{source}: the weights could not be loaded ({_first_line(error)}).") from error
    if faults := _loading_faults(info):
        shown = faults[:20] + ([f"and {len(faults) - 20} more"] if len(faults) > 20 else [])
        raise UserError(
            "\n  ".join([f"{source}: {len(faults)} tensors do not fit a {cls.__name__}:", *shown])
        )
    return model


def _loading_faults(info: dict) -> list[str]:
    """One line for every tensor that the file lacks, has besides, or has in another shape."""
    # the released models still carry the batch counters of norms that are frozen and count no longer
    left_over = (key for key in info["unexpected_keys"] if not key.endswith(".num_batches_tracked"))
    return [
        *(f"missing in the file: {key}" for key in sorted(info["missing_keys"])),
        *(f"in the file only: {key}" for key in sorted(left_over)),
        *(
            f"of another shape: {key} is {list(given)}, needed is {list(needed)}"
            for key, given, needed in sorted(info["mismatched_keys"])
        ),
    ]


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Silence transformers' own table of the same faults."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _new_class_head(config: DetrConfig, labels: LabelMap) -> nn.Linear:
    head = nn.Linear(config.d_model, labels.num_classes + 1)  # the last one is "no object"
    nn.init.normal_(head.weight, std=config.init_std)
    nn.init.zeros_(head.bias)
    return head


def _copy(donor: nn.Module, module: nn.Module, complaint: str) -> None:
    try:
        module.load_state_dict(donor.state_dict(), strict=True)
    except RuntimeError as error:
        raise UserError(f"{complaint}:\n{error}") from error


def _architecture(config: DetrConfig) -> str:
    return ", ".join(config.architectures or ["an unnamed architecture"])


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
