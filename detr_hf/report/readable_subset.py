"""Data with broken images: a training refuses them all at once, a report shows what is left."""

from __future__ import annotations

from datasets import Dataset, DatasetDict

from detr_hf.data.bundle import DataBundle, dataset_features
from detr_hf.data.open_data import open_data
from detr_hf.data.reading import row_maker
from detr_hf.data.report import Report
from detr_hf.data.sources.splits import TRAIN, VALIDATION
from detr_hf.data.workers import in_threads
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.recipe import Data


def readable_subset(data: Data, labels: LabelMap) -> tuple[DataBundle | None, dict[int, str]]:
    """The validation images that can be read, and what is wrong with each of the others by image id.

    None and nothing for a saved data set or a stream. Where validation images are held out of the training
    images, the "validation" split is all of them, to be looked up by id.
    """
    if data.streaming:
        return None, {}
    try:
        splits = open_data(data).splits
        source = splits.get(VALIDATION, splits[TRAIN])
        if source.images_apart:
            return None, {}
        samples = list(source.samples())
        make_row = row_maker(source, labels, Report(source.name))
        found = list(zip(samples, in_threads(make_row, samples), strict=True))
    except UserError:
        return None, {}
    faults = {
        sample.image_id: str(next(issue for issue in issues if issue.is_error))
        for sample, (row, issues) in found
        if row is None
    }
    rows = [row for _, (row, _) in found if row is not None]
    if not rows:
        return None, faults
    kept = Dataset.from_list(rows, features=dataset_features(labels.names, source.is_panoptic))
    return DataBundle(DatasetDict({"validation": kept}), labels, source.is_panoptic), faults
