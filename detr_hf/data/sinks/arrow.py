"""A saved `DatasetDict` of Hugging Face, with the images in it: what training reads, and the Hub takes.

Format: https://huggingface.co/docs/datasets/about_arrow; columns: `bundle.dataset_features`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    from datasets.arrow_writer import ArrowWriter

FORMAT = "hf"
TITLE = "Hugging Face data set (DatasetDict)"

ARROW_FILE = "data-00000-of-00001.arrow"
BATCH_ROWS = 16  # images that are in memory before they are written


class Writer(Sink):
    """Images and id maps are stored as the files are. Outlines have no column: boxes and id maps alone stay.

    Rows are written as they come; `save_to_disk` of `datasets` would need all of them twice on the disk.
    """

    def begin(self) -> None:
        """Classes are numbered by the label map."""
        self._labels = self.labels or LabelMap.from_coco(self.categories)
        self._tables: dict[str, tuple[datasets.Features, ArrowWriter]] = {}

    def write(self, split: str, sample: Sample) -> int:
        """One row."""
        sample, left_out = with_classes(sample, self._labels)
        self.note(split, left_out)
        if outlines := sum(one.segmentation is not None for one in sample.objects):
            self.note(split, [Issue("outline-dropped", f"{outlines} outlines", sample.file_name)])
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
        features, table = self._table(split, sample.id_map is not None)
        table.write(features.encode_example(row))
        return len(sample.objects)

    def _table(self, split: str, is_panoptic: bool) -> tuple[datasets.Features, ArrowWriter]:
        """Made when the split's first sample comes."""
        if split not in self._tables:
            from datasets.arrow_writer import ArrowWriter

            from detr_hf.data.bundle import dataset_features

            features = dataset_features(self._labels.names, is_panoptic)
            folder = self.partial / _split_name(split)
            folder.mkdir()
            file = str(folder / ARROW_FILE)
            writer = ArrowWriter(path=file, features=features, writer_batch_size=BATCH_ROWS)
            self.open_files.callback(writer.close)
            self._tables[split] = features, writer
        return self._tables[split]

    def finish(self) -> None:
        """What `datasets.load_from_disk` wants beside the tables, and the label map."""
        import datasets

        for split in self.written_splits:
            features, writer = self._tables[split]
            writer.finalize()
            folder = self.partial / _split_name(split)
            datasets.DatasetInfo(features=features).write_to_directory(str(folder))
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
