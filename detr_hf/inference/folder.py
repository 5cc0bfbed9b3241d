"""Predictions of many image files as files in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from detr_hf.data.given_ids import SHOWN, GivenIds
from detr_hf.data.sinks.label_studio_files import LOCAL_FILES
from detr_hf.errors import UserError, quantity
from detr_hf.files import unwritable, write_json
from detr_hf.foreign_files import own_file
from detr_hf.images import save_image
from detr_hf.inference.annotation_files import Add, cvat_files, label_studio_files
from detr_hf.inference.coco_files import CocoFiles, Ids
from detr_hf.inference.predictor import Predictor, with_predictions
from detr_hf.inference.preprocess import as_rgb
from detr_hf.inference.results import InputImage, as_record, result_names, save_id_map
from detr_hf.inference.tiling import TiledPredictor
from detr_hf.inputs import image_names
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Prediction
from detr_hf.progress import progress
from detr_hf.visualize.explanation import draw_explanation, fitted
from detr_hf.visualize.panoptic import draw_prediction

Format = Literal["json", "coco", "cvat", "labelstudio"]


@dataclass(frozen=True)
class Output:
    """How results are written.

    Attributes:
        format: "json" writes a JSON file for each image and, in stage 2, a PNG id map; "coco" what
            ``CocoFiles`` does, "cvat" what ``cvat_files`` does, "labelstudio" what ``label_studio_files``
            does, each for all images together.
        image_root: images are named relative to this folder there; None: to the one that holds them all.
        image_ids: of "coco": take ids of images and classes from here.
        image_url: of "labelstudio": what stands before the names of images.
        model: of "labelstudio": the model's name there.
        batch_size: see ``Predictor.stream``.
        pictures: draw what was found, too.
        explain: draw for each image a sheet of what every kept query saw, too; large images are scaled down
            for it.
    """

    format: Format = "json"
    image_root: Path | None = None
    image_ids: GivenIds | None = None
    image_url: str = LOCAL_FILES
    model: str = ""
    batch_size: int = 1
    pictures: bool = True
    explain: bool = False


NORMAL = Output()


def predict_to_folder(
    predictor: Predictor | TiledPredictor, sources: Sequence[Path], out: Path, output: Output = NORMAL
) -> list[dict[str, Any]]:
    """As ``records_to_folder``, all at once.

    Returns:
        What the JSON files hold, of the images that could be read.
    """
    return list(records_to_folder(predictor, sources, out, output))


def records_to_folder(
    predictor: Predictor | TiledPredictor, sources: Sequence[Path], out: Path, output: Output = NORMAL
) -> Iterator[dict[str, Any]]:
    """Predict image files and write what is found, image by image, however many there are.

    Args:
        predictor: of either stage.
        sources: image files; one that cannot be read does not keep the others from being done.
        out: folder, made when missing.
        output: what is written.

    Yields:
        What the JSON file of each image holds. Files for all images are whole after the last.

    Raises:
        UserError: images lie in ``out`` itself, the model cannot be explained or its classes cannot be
            written (nothing is done), or some images could not be done (all others are; the message names
            them).
    """
    if any(path.resolve().parent == out.resolve() for path in sources):
        raise UserError(f"{out} holds the images themselves; results of the same name would replace them.")
    if output.explain:
        assert isinstance(predictor, Predictor), "an explanation shows one look of the model, tiles are many"
        predictor.require_explainable()
    images = _listed(sources, output)
    ids = Ids.of_model(predictor.labels)
    if output.image_ids is not None:
        images, ids = _given(predictor.labels, images, output.image_ids)
    with unwritable(out):
        out.mkdir(parents=True, exist_ok=True)
    done = 0
    failures: list[str] = []
    with _files(out, predictor, output, ids) as add:
        results = _Results(out, predictor, add, output)
        for image, predicted in with_predictions(predictor, _readable(images, failures), output.batch_size):
            try:
                record = results.write(image, predicted)
            except UserError as error:
                failures.append(f"{image.path}: {error}")
                continue
            done += 1
            yield record
    _raise_failures(failures, done, out)


@dataclass(frozen=True)
class _Listed:
    """An image file, the name of its results, and its name in files for all images."""

    path: Path
    name: str
    file_name: str


def _listed(sources: Sequence[Path], output: Output) -> list[_Listed]:
    has_files_for_all = output.format != "json"
    file_names = image_names(sources, output.image_root) if has_files_for_all else map(str, sources)
    return [_Listed(*one) for one in zip(sources, result_names(sources), file_names, strict=True)]


def _given(labels: LabelMap, images: list[_Listed], given: GivenIds) -> tuple[list[_Listed], Ids]:
    """The images that are listed, and their ids. What is left out is told."""
    by_class = given.category_ids(labels)
    if others := [one.name for one in labels.categories if one.id not in by_class]:
        print(f"{given.file} has no class {_first(others)}: objects of it are left out")
    entries, absent = given.match([one.file_name for one in images])
    if others := [one.file_name for one in images if one.file_name not in entries]:
        print(f"{given.file} does not list {_first(others)}: left out")
    if absent:
        print(
            f"{given.file}: {quantity(absent, 'image')} not among the sources; a score over the whole file "
            "counts their objects as missed"
        )
    kept = [one for one in images if one.file_name in entries]
    return kept, Ids([*given.categories], by_class, entries, str(given.file))


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


@contextmanager
def _files(
    out: Path, predictor: Predictor | TiledPredictor, output: Output, ids: Ids
) -> Iterator[Add | None]:
    """What takes each image for the files of all; None where each has its own."""
    labels, threshold, is_panoptic = predictor.labels, predictor.score_threshold, predictor.is_panoptic
    if output.format == "coco":
        with CocoFiles(out, labels, threshold, is_panoptic, ids) as coco:
            yield coco.add
    elif output.format == "cvat":
        with cvat_files(out, labels, threshold) as add:
            yield add
    elif output.format == "labelstudio":
        with label_studio_files(out, labels, threshold, is_panoptic, output.image_url, output.model) as add:
            yield add
    else:
        yield None


@dataclass(frozen=True)
class _Results:
    """What is written of each image; see ``records_to_folder``."""

    out: Path
    predictor: Predictor | TiledPredictor
    add: Add | None
    output: Output

    def write(self, image: InputImage, predicted: Prediction) -> dict[str, Any]:
        """Write the results of one image; returns what its JSON file holds."""
        labels, threshold = self.predictor.labels, self.predictor.score_threshold
        height, width = image.size_hw
        found = as_record(predicted, labels, threshold)
        record = {"file": str(image.path), "width": width, "height": height, **found}
        if self.add is not None:
            self.add(image, predicted)
        else:
            self._write_json(image.name, record, predicted)
        if self.output.pictures:
            # Beside files that name images, no drawing is called like one: a reader would take it for it.
            suffix = ".jpg" if self.output.format == "json" else ".drawn.jpg"
            drawn = draw_prediction(image.pixels, predicted, labels, threshold)
            save_image(drawn, own_file(self.out, f"{image.name}{suffix}"))
        if self.output.explain and isinstance(self.predictor, Predictor):
            explanation = self.predictor.explain(fitted(image.pixels))
            sheet = draw_explanation(explanation, labels, threshold)
            save_image(sheet, own_file(self.out, f"{image.name}.explained.jpg"), quality=88)
        return record

    def _write_json(self, name: str, record: dict[str, Any], predicted: Prediction) -> None:
        if isinstance(predicted, PanopticPrediction):
            record["panoptic_png"] = f"{name}.panoptic.png"
            save_id_map(predicted, own_file(self.out, record["panoptic_png"]))
        write_json(own_file(self.out, f"{name}.json"), record)


def _readable(images: Sequence[_Listed], failures: list[str]) -> Iterator[InputImage]:
    """The images that can be read; what is wrong with the others goes to ``failures``."""
    for one in progress(images, len(images), "predict"):
        try:
            yield InputImage(one.path, one.name, one.file_name, as_rgb(one.path))
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
