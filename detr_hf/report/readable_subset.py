"""Data with broken images: a training refuses them all at once, a report shows what is left."""

from __future__ import annotations

from datasets import Dataset, DatasetDict

from detr_hf.data.bundle import DataBundle, dataset_features
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.prepare.build import coco_source
from detr_hf.prepare.findings import Report
from detr_hf.prepare.reading import class_of_categories, in_threads
from detr_hf.prepare.rows import RowMaker
from detr_hf.recipe import Data


def readable_subset(data: Data, labels: LabelMap) -> tuple[DataBundle | None, dict[int, str]]:
    """The validation images that can be read, and what is wrong with each of the others by image id.

    Only for data in files: None and nothing for a saved data set. Where validation images are held out of the
    training images, the "validation" split is all of them, to be looked up by id.
    """
    split = data.train if data.validation is None or data.overfit is not None else data.validation
    if split is None:
        return None, {}
    try:
        source = coco_source(split, "data.validation")
        report = Report(source.name)
        make_row = RowMaker(class_of_categories(source, labels, report), with_pictures=True)
        images = list(source.images(report))
        found = list(zip(images, in_threads(make_row, images), strict=True))
    except UserError:
        return None, {}
    faults = {
        image.image_id: findings.faults[0].text.replace(f"{split.images}/", "")
        for image, (row, findings) in found
        if row is None
    }
    rows = [row for _, (row, _) in found if row is not None]
    if not rows:
        return None, faults
    kept = Dataset.from_list(rows, features=dataset_features(labels.names, source.is_panoptic))
    return DataBundle(DatasetDict({"validation": kept}), labels, source.is_panoptic), faults
