"""The exported folder, complete by itself: written beside, checked, then renamed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf import __version__
from detr_hf.errors import UserError
from detr_hf.export.compare import Differences, compare
from detr_hf.export.graph import graph_of
from detr_hf.export.onnx_file import write_onnx
from detr_hf.files import replacing
from detr_hf.inference import resize_as, sample_of
from detr_hf.inference.onnx import FACTS_FILE, MODEL_FILE, is_export, open_session
from detr_hf.modeling.backbones import patch_side
from detr_hf.modeling.families.registry import detector_of, family_of, is_segmenter
from detr_hf.modeling.model_files import load_label_map, load_processor
from detr_hf.modeling.pretrained import load_finished

OPSETS = range(18, 24)
"""Older ones lack operators that the exporter writes; newer ones are not tried."""

NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from PyTorch."""

    folder: Path
    megabytes: float
    differences: Differences


def export_onnx(
    source: str, out: Path, images: Sequence[NDArray[np.uint8]], opset: int = OPSETS[0]
) -> Exported:
    """Export a model of either stage and compare it with PyTorch; only a sound one gets to ``out``.

    Args:
        source: a folder or Hub id, see ``load_finished``.
        out: a new folder, an empty one, or an earlier export, which is replaced once the new one is sound.
        images: ``uint8 [H, W, 3]`` RGB, at least one, to compare on.
        opset: version of the ONNX operators, one of ``OPSETS``.

    Raises:
        UserError: something is not installed, ``out`` holds something else, there is no model, or the
            exported file does not give what PyTorch gives.
    """
    _refuse(source, out, opset)
    model = load_finished(source)
    labels, processor = load_label_map(source, model.config), load_processor(source)
    family = family_of(model)
    side = patch_side(family.backbone(detector_of(model)))
    resize = resize_as(processor, multiple_of=side)
    graph = graph_of(model)
    with replacing(out) as partial:
        ports = write_onnx(graph, partial / MODEL_FILE, opset)
        samples = [sample_of(at, image, resize, processor) for at, image in enumerate(images)]
        differences = compare(graph, open_session(partial / MODEL_FILE, "cpu"), samples)
        if not differences.within_tolerance():
            raise UserError(
                f"{source}: the exported model does not give what PyTorch gives ({differences}), so "
                f"{out} was not written. Another --opset or other versions of torch, onnxscript and "
                "onnxruntime may do."
            )
        model.config.save_pretrained(partial)
        processor.save_pretrained(partial)
        labels.save(partial)
        facts = {
            "task": "panoptic" if is_segmenter(model) else "detection",
            "source": source,
            "opset": opset,
            **ports,
            "patch_side": side,
            "compared_with_pytorch": differences.to_json(),
            "versions": _versions(),
        }
        (partial / FACTS_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        megabytes = sum(file.stat().st_size for file in partial.iterdir()) / 1e6
    return Exported(out, megabytes, differences)


def _refuse(source: str, out: Path, opset: int) -> None:
    """What can be told before anything is loaded."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"exporting needs {', '.join(missing)}: pip install 'detr-hf[export]'")
    if opset not in OPSETS:
        raise UserError(f"opset {opset}: choose from {OPSETS[0]} to {OPSETS[-1]}.")
    if is_export(source):
        raise UserError(f"{source} is an export already; give the folder that it was exported from.")
    if out.exists() and not (out.is_dir() and (is_export(out) or not any(out.iterdir()))):
        raise UserError(f"{out} holds something else than an earlier export; give another folder to --out.")


def _versions() -> dict[str, Any]:
    named = {name: importlib.metadata.version(name) for name in ("torch", "transformers", *NEEDED)}
    return {"detr-hf": __version__, **named}
