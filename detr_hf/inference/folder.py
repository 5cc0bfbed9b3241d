"""Predictions of many image files as files in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate.utils import tqdm

from detr_hf.errors import UserError, quantity
from detr_hf.files import unwritable, write_json
from detr_hf.foreign_files import own_file
from detr_hf.images import save_image
from detr_hf.inference.predictor import Predictor, with_predictions
from detr_hf.inference.preprocess import as_rgb
from detr_hf.inference.results import CocoFiles, as_record, result_names, save_id_map
from detr_hf.inference.tiling import TiledPredictor
from detr_hf.modeling.predictions import PanopticPrediction, Prediction
from detr_hf.visualize.explanation import draw_explanation, fitted
from detr_hf.visualize.panoptic import draw_prediction

Format = Literal["json", "coco"]


@dataclass(frozen=True)
class _InputImage:
    """One image that could be read, ``uint8 [H, W, 3]``; ``name`` is that of its results."""

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
    explain: bool = False,
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
        explain: draw for each image a sheet of what every kept query saw, too; large images are scaled down
            for it.

    Returns:
        What the JSON files hold, of the images that could be read.

    Raises:
        UserError: images lie in ``out`` itself or the model cannot be explained (nothing is done), or some
            images could not be read (all others are done; the message names them).
    """
    if any(path.resolve().parent == out.resolve() for path in sources):
        raise UserError(f"{out} holds the images themselves; results of the same name would replace them.")
    if explain:
        assert isinstance(predictor, Predictor), "an explanation shows one look of the model, tiles are many"
        predictor.require_explainable()
    with unwritable(out):
        out.mkdir(parents=True, exist_ok=True)
    coco = CocoFiles(out, predictor.labels, predictor.score_threshold) if output == "coco" else None
    results = _Results(out, predictor, coco, pictures, explain)
    failures: list[str] = []
    records = []
    for image, predicted in with_predictions(predictor, _readable(sources, failures), batch_size):
        try:
            records.append(results.write(image, predicted))
        except UserError as error:
            failures.append(f"{image.path}: {error}")
    if coco is not None:
        coco.write()
    _raise_failures(failures, len(records), out)
    return records


@dataclass(frozen=True)
class _Results:
    """What is written of each image; see ``predict_to_folder``."""

    out: Path
    predictor: Predictor | TiledPredictor
    coco: CocoFiles | None
    pictures: bool
    explain: bool

    def write(self, image: _InputImage, predicted: Prediction) -> dict[str, Any]:
        """Write the results of one image; returns what its JSON file holds."""
        labels, threshold = self.predictor.labels, self.predictor.score_threshold
        height, width = image.pixels.shape[:2]
        found = as_record(predicted, labels, threshold)
        record = {"file": str(image.path), "width": width, "height": height, **found}
        if self.coco is not None:
            self.coco.add(image.name, image.path, (height, width), predicted)
        else:
            self._write_json(image.name, record, predicted)
        if self.pictures:
            drawn = draw_prediction(image.pixels, predicted, labels, threshold)
            save_image(drawn, own_file(self.out, f"{image.name}.jpg"))
        if self.explain and isinstance(self.predictor, Predictor):
            explanation = self.predictor.explain(fitted(image.pixels))
            sheet = draw_explanation(explanation, labels, threshold)
            save_image(sheet, own_file(self.out, f"{image.name}.explained.jpg"), quality=88)
        return record

    def _write_json(self, name: str, record: dict[str, Any], predicted: Prediction) -> None:
        if isinstance(predicted, PanopticPrediction):
            record["panoptic_png"] = f"{name}.panoptic.png"
            save_id_map(predicted, own_file(self.out, record["panoptic_png"]))
        write_json(own_file(self.out, f"{name}.json"), record)


def _readable(sources: Sequence[Path], failures: list[str]) -> Iterator[_InputImage]:
    """The images that can be read; what is wrong with the others goes to ``failures``."""
    for path, name in tqdm(list(zip(sources, result_names(sources), strict=True)), desc="predict"):
        try:
            yield _InputImage(path, name, as_rgb(path))
        except UserError as error:
            failures.append(str(error))


def _raise_failures(failures: list[str], done: int, out: Path) -> None:
    if len(failures) == 1 and not done:
        raise UserError(failures[0])
    if failures:
        listed = "\n  ".join(failures)
        raise UserError(
            f"{len(failures)} of {quantity(len(failures) + done, 'image')} could not be done; the others are "
            f"in {out}:\n  {listed}"
        )
