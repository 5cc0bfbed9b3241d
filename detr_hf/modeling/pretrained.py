"""Loading weights: every tensor is accounted for, and nothing but what must be new is new.

``from_pretrained`` fills what does not fit with random numbers and says so in a log line at most. Here a
checkpoint is loaded as it is, with no mismatch allowed, and only then is the class head replaced or the mask
head put on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.utils import logging as transformers_logging

from detr_hf.errors import UserError, quantity
from detr_hf.labels import LabelMap
from detr_hf.modeling.class_rows import ClassRows, chosen_rows, copy_rows
from detr_hf.modeling.families.registry import FAMILIES, detector_of, family_of, mask_head_of
from detr_hf.modeling.model_files import (
    TRUSTED,
    class_names,
    load_config,
    refuse_foreign_shards,
    refuse_other_labels,
    refused,
)

LISTED = 12
"""So many tensors at most are named in the log of a run; the rest is counted."""


@dataclass
class LoadReport:
    """Where a model's weights came from, for the log.

    Attributes:
        sources: sentences, one a part.
        new: the tensors that start random.
        class_head: those of them that are a new class head, and nothing else is; one of the sources says so.
    """

    sources: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    class_head: frozenset[str] = frozenset()

    def __str__(self) -> str:
        others = [name for name in self.new if name not in self.class_head]
        if self.new and not others:
            return "\n".join(self.sources)
        named = ", ".join(others[:LISTED]) or "nothing"
        rest = f" and {len(others) - LISTED} more" if len(others) > LISTED else ""
        return "\n".join([*self.sources, f"starting from random: {named}{rest}"])


def load_stage1(
    pretrained: str,
    labels: LabelMap,
    revision: str | None = None,
    scratch: bool = False,
    num_queries: int | None = None,
    class_rows: ClassRows | None = None,
) -> tuple[Any, LoadReport]:
    """A detector for ``labels``: all weights of a pretrained one but the class head, which is new.

    Args:
        pretrained: folder or Hub id of a detector, or of a segmenter (its detector).
        labels: the classes to learn.
        revision: git revision on the Hub.
        scratch: take the architecture only.
        num_queries: another number of queries than the pretrained model has.
        class_rows: which rows of the new class head start from which of the pretrained one.

    Raises:
        UserError: of no known family, not there, or tensors are missing, left over or of another shape.
    """
    config = load_config(pretrained, revision)
    family = family_of(config)
    if scratch:
        detector, source = family.detector_class(config), f"architecture: {pretrained}"
        family.initialize(detector)
    else:
        detector = _load_detector(pretrained, revision, config)
        source = f"backbone, transformer and box head: {pretrained}"
    report, known_heads = LoadReport([source]), family.class_heads(detector)
    report.new = family.replace_classes(detector, labels)
    if not scratch:
        report.class_head = frozenset(report.new)
        report.sources.append(f"new class head for {quantity(labels.num_classes, 'class')}")
    if class_rows is not None:
        known = class_names(config)
        rows = chosen_rows(class_rows, labels.names, known)
        copy_rows(family.class_heads(detector), known_heads, rows, family.scores.has_no_object)
        pairs = ", ".join(f"{labels.names[new]} from {known[old]}" for new, old in rows.items())
        report.sources.append(f"rows of the class head: {pairs or _no_rows(class_rows)}")
    detector.config.id2label, detector.config.label2id = labels.id2label, labels.label2id
    before = family.num_queries(config)
    if num_queries is not None and num_queries != before:
        report.new += family.resize_queries(detector, num_queries)
        kept = f"all {before} kept" if num_queries > before else "the first ones"
        report.sources.append(f"queries: {num_queries}, {kept}")
    if scratch:
        report.new = [name for name, _ in detector.named_parameters()]
    return detector, report


def _no_rows(rows: ClassRows) -> str:
    return "none, no class has the same name" if rows == "auto" else "none named"


def load_stage2(
    detector: str,
    mask_head: str,
    labels: LabelMap,
    revision: str | None = None,
    detector_revision: str | None = None,
) -> tuple[Any, LoadReport]:
    """Stage 1's detector with a mask head on it, which may come from any label map: masks know no classes.

    Args:
        detector: folder or Hub id of stage 1's model.
        mask_head: folder or Hub id of a segmenter of the same sizes, or "fresh" for random weights.
        labels: the classes of the data, which must be the detector's.
        revision: git revision of ``mask_head`` on the Hub.
        detector_revision: git revision of ``detector`` on the Hub.

    Raises:
        UserError: another label map, a family without mask head, other sizes, or tensors are missing, left
            over or of another shape.
    """
    config = load_config(detector, detector_revision)
    family = family_of(config)
    head = family.mask_head
    if head is None:
        able = ", ".join(f"`{name}`" for name, one in FAMILIES.items() if one.mask_head is not None)
        raise UserError(
            f"model.detector: {detector} is a {family.model_type!r} model, and transformers has no "
            f"sound class of these with a mask head; for masks, train stage 1 from a {able} model."
        )
    refuse_other_labels(config, f"model.detector: {detector}", labels)
    model = head.segmenter_of(_load_detector(detector, detector_revision, config), detector)
    report, parts = LoadReport([f"detector: {detector}"]), head.parts(model)
    if mask_head == "fresh":
        report.new = [
            f"{part}.{name}" for part, module in parts.items() for name, _ in module.named_parameters()
        ]
        return model, report
    donor = load_segmenter(mask_head, revision)
    for part, module in mask_head_of(donor).parts(donor).items():
        _copy(module, parts.get(part), f"{mask_head}: its {part} does not fit the detector {detector}")
    report.sources.append(f"mask head and its attention: {mask_head}")
    return model, report


def load_segmenter(source: str, revision: str | None = None) -> Any:
    """A whole model of stage 2 from a folder or the Hub, every tensor accounted for."""
    config = segmenter_config(source, revision)
    return _from_pretrained(mask_head_of(config).segmenter_class, source, revision, config)


def segmenter_config(source: str, revision: str | None = None) -> Any:
    """The config of a model of stage 2.

    Raises:
        UserError: see ``load_config``; or the model has no masks.
    """
    config = load_config(source, revision)
    if not _holds_segmenter(config):
        holds = ", ".join(config.architectures or ["an unnamed architecture"])
        head = family_of(config).mask_head
        needed = "model with masks" if head is None else head.segmenter_class.__name__
        raise UserError(f"{source}: holds {holds}, where a {needed} is needed.")
    return config


def load_finished(source: str) -> Any:
    """The model of a finished run (or of the Hub), of whichever stage it is."""
    config = load_config(source)
    return load_segmenter(source) if _holds_segmenter(config) else _load_detector(source, None, config)


def _holds_segmenter(config: Any) -> bool:
    head = family_of(config).mask_head
    return head is not None and head.segmenter_class.__name__ in (config.architectures or [])


def _load_detector(source: str, revision: str | None, config: Any) -> Any:
    if _holds_segmenter(config):
        return detector_of(load_segmenter(source, revision))
    return _from_pretrained(family_of(config).detector_class, source, revision, config)


def _from_pretrained(cls: Any, source: str, revision: str | None, config: Any) -> Any:
    """Load in float32 from safetensors; any tensor that is not filled from the file stops the run."""
    with refused(source, "the weights could not be loaded"), _quietly():
        refuse_foreign_shards(source)
        model, info = cls.from_pretrained(
            source,
            revision=revision,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are listed below, all at once
            output_loading_info=True,
            **TRUSTED,
        )
    if faults := _loading_faults(info):
        shown = faults[:20] + ([f"and {len(faults) - 20} more"] if len(faults) > 20 else [])
        raise UserError(
            "\n  ".join(
                [f"{source}: no place in a {cls.__name__} for {quantity(len(faults), 'tensor')}:", *shown]
            )
        )
    if broken := [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]:
        raise UserError(
            f"{source}: {len(broken)} of its tensors hold numbers that are not finite ({broken[0]}, ...): "
            "the training that wrote them went astray. Take an earlier checkpoint."
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
def _quietly() -> Iterator[None]:
    """Silence transformers' own table of the same faults, and its bar of the tensors loaded."""
    verbosity, has_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if has_bars:
            transformers_logging.enable_progress_bar()


def _copy(donor: nn.Module, module: nn.Module | None, complaint: str) -> None:
    if module is None:
        raise UserError(f"{complaint}: it is of another family.")
    try:
        module.load_state_dict(donor.state_dict(), strict=True)
    except RuntimeError as error:
        raise UserError(f"{complaint}:\n{error}") from error
