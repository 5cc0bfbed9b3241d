"""A saved `DatasetDict` of Hugging Face, with the images in it: what training reads, and the Hub takes.

Format: https://huggingface.co/docs/datasets/about_arrow; columns: `bundle.dataset_features`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from detr_hf.data.id_maps import id_map_bytes
from detr_hf.data.issues import Issue
from detr_hf.data.rows import to_row, with_classes
from detr_hf.data.sample import Sample
from detr_hf.data.sinks.base import Sink
from detr_hf.files import sha256_of, write_json
from detr_hf.foreign_files import read_bytes
from detr_hf.images import MAX_FILE_BYTES
from detr_hf.labels import LabelMap

if TYPE_CHECKING:
    import datasets
    import pyarrow

FORMAT = "hf"
TITLE = "Hugging Face data set (DatasetDict)"

ARROW_FILE = "data-00000-of-00001.arrow"
BATCH_BYTES = 32_000_000  # of images that are in memory before they are written
BATCH_ROWS = 100


@dataclass
class SplitTable:
    """The Arrow file of a split under way."""

    features: datasets.Features
    writer: pyarrow.RecordBatchStreamWriter
    rows: list[dict[str, Any]]
    held: int = 0

    def add(self, row: dict[str, Any], size: int) -> None:
        self.rows.append(self.features.encode_example(row))
        self.held += size
        if len(self.rows) >= BATCH_ROWS or self.held >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        import pyarrow

        if self.rows:
            batch = pyarrow.RecordBatch.from_pylist(self.rows, schema=self.features.arrow_schema)
            self.writer.write_batch(batch)
        self.rows, self.held = [], 0


class Writer(Sink):
    """Images and id maps are stored as the files are. Outlines have no column: boxes and id maps alone stay.

    Rows are written as they come; `save_to_disk` of `datasets` would need all of them twice on the disk.
    """

    def begin(self) -> None:
        """Classes are numbered by the label map."""
        self._labels = self.labels or LabelMap.from_coco(self.categories)
        self._tables: dict[str, SplitTable] = {}

    def write(self, split: str, sample: Sample) -> int:
        """One row."""
        sample, left_out = with_classes(sample, self._labels)
        self.note(split, left_out)
        if outlines := sum(one.segmentation is not None for one in sample.objects):
            self.note(split, [Issue("outline-dropped", f"{outlines} outlines", sample.file_name)])
        table = self._table(split, sample.id_map is not None)
        row = to_row(sample, self._labels, with_images=False)
        image = sample.image
        content = read_bytes(image, MAX_FILE_BYTES, "image file") if isinstance(image, Path) else image
        assert content is not None
        # Bytes of a file's name that are no text have no place in Arrow.
        name = sample.file_name.encode("utf-8", "backslashreplace").decode()
        row["file_name"] = name
        row["image"] = {"bytes": content, "path": PurePosixPath(name).name}
        if sample.id_map is not None:
            row["panoptic"] = {"bytes": id_map_bytes(sample), "path": f"{PurePosixPath(name).stem}.png"}
        table.add(row, len(content))
        return len(sample.objects)

    def _table(self, split: str, is_panoptic: bool) -> SplitTable:
        """Made when the split's first sample comes."""
        if split not in self._tables:
            import pyarrow

            from detr_hf.data.bundle import dataset_features

            features = dataset_features(self._labels.names, is_panoptic)
            folder = self.partial / _split_name(split)
            folder.mkdir()
            stream = self.open_files.enter_context(pyarrow.OSFile(str(folder / ARROW_FILE), "wb"))
            writer = pyarrow.ipc.new_stream(stream, features.arrow_schema)
            self._tables[split] = SplitTable(features, self.open_files.enter_context(writer), [])
        return self._tables[split]

    def finish(self) -> None:
        """What `datasets.load_from_disk` wants beside the tables, and the label map."""
        import datasets

        for split in self.written_splits:
            table = self._tables[split]
            table.flush()
            table.writer.close()
            folder = self.partial / _split_name(split)
            datasets.DatasetInfo(features=table.features).write_to_directory(str(folder))
            # `datasets` caches what it makes of these rows by their fingerprint: it depends on them alone.
            write_json(folder / "state.json", _state(sha256_of(folder / ARROW_FILE)[:16]))
        names = [_split_name(split) for split in self.written_splits]
        write_json(self.partial / "dataset_dict.json", {"splits": names})
        self._labels.save(self.partial)


def _state(fingerprint: str) -> Mapping[str, Any]:
    return {
        "_data_files": [{"filename": ARROW_FILE}],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }


def _split_name(split: str) -> str:
    """As `datasets` allows it."""
    return re.sub(r"\W", "_", split)
