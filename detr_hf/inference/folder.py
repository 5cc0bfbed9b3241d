"""Predictions of many image files as files in a folder."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate.utils import tqdm
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.geometry import id_to_rgb
from detr_hf.inference.coco_files import CocoFiles
from detr_hf.inference.files import own_file, result_names
from detr_hf.inference.pictures import as_rgb
from detr_hf.inference.predictor import Predictor
from detr_hf.inference.results import as_record
from detr_hf.inference.tiling import TiledPredictor
from detr_hf.modeling.predictions import PanopticPrediction, Prediction
from detr_hf.visualize.explanation import draw_explanation, fitted
from detr_hf.visualize.panoptic import draw_prediction

Format = Literal["json", "coco"]


@dataclass(frozen=True)
class _Photograph:
    """One image that could be read; ``name`` is that of its results."""

    path: Path
    name: str
    pixels: np.ndarray


def predict_to_folder(
    predictor: Predictor | TiledPredictor,
    sources: Sequence[Path],
    out: Path,
    batch_size: int = 1,
    output: Format = "json",
    pictures: bool = True,
) -> list[dict[str, Any]]:
    """Predict image files and write what is found.

    Args:
        predictor: of either stage.
        sources: image files; one that cannot be read does not keep the others from being done.
        out: folder, made when missing.
        batch_size: see ``Predictor.stream``.
        output: "json" writes a JSON file for each image and, in stage 2, a PNG id map; "coco" writes COCO's
            files for all images together, see ``CocoFiles``.
        pictures: draw what was found, too.

    Returns:
        What the JSON files hold, of the images that could be read.

    Raises:
        UserError: images lie in ``out`` itself (nothing is done), or some could not be read (all others
            are done; the message names them).
    """
    if any(path.resolve().parent == out.resolve() for path in sources):
        raise UserError(f"{out} holds the images themselves; results of the same name would replace them.")
    out.mkdir(parents=True, exist_ok=True)
    coco = CocoFiles(out, predictor.labels, predictor.score_threshold) if output == "coco" else None
    failures: list[str] = []
    records = []
    for photograph, predicted in _predictions(predictor, sources, batch_size, failures):
        record = _record(photograph, predicted, predictor)
        if coco is None:
            _write_json(out, photograph.name, record, predicted)
        else:
            coco.add(photograph.name, photograph.path, photograph.pixels.shape[:2], predicted)
        if pictures:
            drawn = draw_prediction(photograph.pixels, predicted, predictor.labels, predictor.score_threshold)
            drawn.convert("RGB").save(own_file(out / f"{photograph.name}.jpg"))
        records.append(record)
    if coco is not None:
        coco.write()
    _tell(failures, len(records), out)
    return records


def explain_to_folder(predictor: Predictor, sources: Sequence[Path], out: Path) -> None:
    """Draw for each image a sheet of what every kept query saw, ``NAME.explained.jpg``; see ``sheet``.

    Large photographs are scaled down first. Images that cannot be read are passed over: predicting them has
    named them.

    Raises:
        UserError: an exported model, whose inside cannot be seen.
    """
    out.mkdir(parents=True, exist_ok=True)
    for path, name in tqdm(list(zip(sources, result_names(sources), strict=True)), desc="explain"):
        try:
            photograph = fitted(as_rgb(path))
        except UserError:
            continue
        sheet = draw_explanation(predictor.explain(photograph), predictor.labels, predictor.score_threshold)
        sheet.save(own_file(out / f"{name}.explained.jpg"), quality=88)


def _predictions(
    predictor: Predictor | TiledPredictor, sources: Sequence[Path], batch_size: int, failures: list[str]
) -> Iterator[tuple[_Photograph, Prediction]]:
    """Each photograph with its prediction; what could not be read goes to ``failures``."""
    ahead: deque[_Photograph] = deque()

    def read() -> Iterator[np.ndarray]:
        for path, name in tqdm(list(zip(sources, result_names(sources), strict=True)), desc="predict"):
            try:
                ahead.append(_Photograph(path, name, as_rgb(path)))
            except UserError as error:
                failures.append(str(error))
                continue
            yield ahead[-1].pixels

    for predicted in predictor.stream(read(), batch_size):
        yield ahead.popleft(), predicted


def _record(
    photograph: _Photograph, predicted: Prediction, predictor: Predictor | TiledPredictor
) -> dict[str, Any]:
    height, width = photograph.pixels.shape[:2]
    found = as_record(predicted, predictor.labels, predictor.score_threshold)
    return {"file": str(photograph.path), "width": width, "height": height, **found}


def _write_json(out: Path, name: str, record: dict[str, Any], predicted: Prediction) -> None:
    if isinstance(predicted, PanopticPrediction):
        record["panoptic_png"] = f"{name}.panoptic.png"
        Image.fromarray(id_to_rgb(predicted.id_map)).save(own_file(out / record["panoptic_png"]))
    own_file(out / f"{name}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def _tell(failures: list[str], done: int, out: Path) -> None:
    if len(failures) == 1 and not done:
        raise UserError(failures[0])
    if failures:
        listed = "\n  ".join(failures)
        raise UserError(
            f"{len(failures)} of {len(failures) + done} images could not be read; the others are in {out}:"
            f"\n  {listed}"
        )
