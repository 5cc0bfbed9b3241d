"""What both metrics share: rows come in image by image, and only a small entry per image is kept."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import evaluate
import numpy as np

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.metrics.entries import ImageEntry

Row = Mapping[str, Any]
"""One image's prediction or ground truth: ``image_id`` and the columns that the metric documents."""


class PerImageMetric(evaluate.Metric):
    """An ``evaluate.Metric`` that reduces every image as it comes, instead of storing rows in an Arrow table.

    Rows are whole images. Use it the plain way, ``compute(predictions=rows, references=rows)``, or streamed:
    ``add_batch`` as often as needed, then ``compute()``. With several processes each adds its own images,
    all call ``state()``, and one (or all) gives the gathered list to ``load_states`` before ``compute()``.
    An image that comes twice, as padded last batches bring, counts once. Nothing is downloaded, and nothing
    is written to disk.

    The sum over images runs in the order of their ids: the result does not depend on the order or on the
    number of processes.
    """

    def __init__(self, labels: LabelMap) -> None:
        self.labels = labels
        self._entries: dict[int, ImageEntry] = {}
        super().__init__(keep_in_memory=True)

    def _build_data_dir(self) -> str:
        """No folder: ``evaluate`` would make one under the home cache even when rows stay in memory."""
        return ""

    def __len__(self) -> int:
        """How many different images are held."""
        return len(self._entries)

    def add(self, *, prediction: Row, reference: Row) -> None:
        """Add one image. Raises ``UserError`` as ``add_batch``."""
        self.add_batch(predictions=[prediction], references=[reference])

    def add_batch(self, *, predictions: Sequence[Row], references: Sequence[Row]) -> None:
        """Add images: a prediction row (with or without objects) for every reference row, by ``image_id``.

        Raises:
            UserError: rows that do not pair up, bad values in a row, or one image id with two ground truths.
        """
        by_id = {int(row["image_id"]): row for row in predictions}
        ids = [int(row["image_id"]) for row in references]
        if len(predictions) != len(references) or set(by_id) != set(ids):
            raise UserError(
                f"every image needs one prediction row and one reference row; these image ids have only one "
                f"or are repeated: {_unpaired([int(row['image_id']) for row in predictions], ids)}"
            )
        for image_id, reference in zip(ids, references, strict=True):
            content = self._reduce(image_id, by_id[image_id], reference)
            self._keep(ImageEntry(image_id, self._truth_digest(reference), content))

    def state(self) -> list[ImageEntry]:
        """What this process holds, to be sent to another (picklable; a few hundred bytes an image)."""
        return list(self._entries.values())

    def load_states(self, states: Iterable[Iterable[ImageEntry]]) -> None:
        """Hold the union of these ``state()`` lists, one per process, instead of what was held.

        Raises:
            UserError: one image id with two different ground truths.
        """
        self._entries = {}
        for state in states:
            for entry in state:
                self._keep(entry)

    def compute(
        self, *, predictions: Sequence[Row] | None = None, references: Sequence[Row] | None = None
    ) -> dict[str, Any]:
        """Score the images held, after adding these rows if given; the metric is empty again afterwards.

        Raises:
            UserError: no image was added, or as ``add_batch``.
        """
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions or [], references=references or [])
        if not self._entries:
            raise UserError(
                "nothing to score: not one image was given to the metric; is the evaluation split empty?"
            )
        entries = [self._entries[image_id] for image_id in sorted(self._entries)]
        self._entries = {}
        return self._score(entries)

    def _keep(self, entry: ImageEntry) -> None:
        held = self._entries.setdefault(entry.image_id, entry)
        if held.truth_digest != entry.truth_digest:
            raise UserError(
                f"image id {entry.image_id} came twice with different ground truth; image ids must be unique"
            )

    @abstractmethod
    def _reduce(self, image_id: int, prediction: Row, reference: Row) -> Any:
        """The small content to keep of one image; checks both rows."""

    @abstractmethod
    def _truth_digest(self, reference: Row) -> int:
        """A checksum of the ground truth of one image."""

    @abstractmethod
    def _score(self, entries: list[ImageEntry]) -> dict[str, Any]:
        """The result over these images, sorted by id, at least one."""


def digest(*arrays: Any) -> int:
    """CRC-32 over the contents of array-likes."""
    crc = 0
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array).tobytes(), crc)
    return crc


def check_classes(classes: np.ndarray, labels: LabelMap, what: str) -> None:
    """Refuse class ids outside 0..C-1; ``what`` begins the message."""
    wrong = classes[(classes < 0) | (classes >= labels.num_classes)]
    if len(wrong):
        raise UserError(
            f"{what}: class id {int(wrong[0])} is outside 0..{labels.num_classes - 1}, the label map's range"
        )


def _unpaired(left: list[int], right: list[int]) -> str:
    odd = sorted({i for i in [*left, *right] if left.count(i) != 1 or right.count(i) != 1})
    return ", ".join(map(str, odd[:10])) + (", ..." if len(odd) > 10 else "")
