"""Ultralytics' YOLO: `data.yaml`, `images/<split>` and `labels/<split>`, boxes or outlines in shares.

Formats: https://docs.ultralytics.com/datasets/detect and https://docs.ultralytics.com/datasets/segment
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from detr_hf.data.contours import contours, joined
from detr_hf.data.id_maps import with_masks
from detr_hf.data.issues import Issue
from detr_hf.data.outlines import Points
from detr_hf.data.repair_objects import bounds_of, decoded_mask
from detr_hf.data.rows import with_classes
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sinks.base import IMAGES_FOLDER, Sink, copy_image, folder_of, image_name
from detr_hf.data.sources.splits import TRAIN, VALIDATION, role_of
from detr_hf.errors import quantity
from detr_hf.files import write_text
from detr_hf.labels import LabelMap
from detr_hf.recipe.data import DATA_FILE
from detr_hf.recipe.yaml_text import write_yaml

FORMAT = "yolo"
TITLE = "YOLO (Ultralytics)"

LABELS_FOLDER = "labels"
KEYS = {TRAIN: "train", VALIDATION: "val"}
DIGITS = 8  # of a share: a ten-thousandth of a pixel in the largest images
MOVED_PX = 1.0  # by which the box of an outline may differ from the object's without a remark


class Writer(Sink):
    """Images are copied: their labels are found beside them by name.

    If any object has an outline, all are written with one, as Ultralytics refuses a mixture: those without
    as the four corners of their box. Crowds are left out.
    """

    def begin(self) -> None:
        """Class numbers are places in the label map."""
        self._labels = self.labels or LabelMap.from_coco(self.categories)
        self._stems: set[str] = set()
        self._has_outlines = False
        self._of_boxes: list[tuple[str, str, Path]] = []  # split, image, label file

    def write(self, split: str, sample: Sample) -> int:
        """The image and its label file, which is empty where there are no objects."""
        sample, left_out = with_classes(sample, self._labels)
        self.note(split, left_out)
        crowds = [one for one in sample.objects if one.iscrowd]
        self.note(split, (Issue("crowd-dropped", one.where, sample.file_name) for one in crowds))
        name = self._name(split, sample)
        copy_image(sample, self.partial / IMAGES_FOLDER / folder_of(split) / name)
        rows = list(self._rows(split, with_masks(sample)))
        label_file = self.partial / LABELS_FOLDER / folder_of(split) / PurePosixPath(name).with_suffix(".txt")
        if any(len(values) == 4 for _, values in rows):
            self._of_boxes.append((split, sample.file_name, label_file))
        self._has_outlines |= any(len(values) > 4 for _, values in rows)
        label_file.parent.mkdir(parents=True, exist_ok=True)
        label_file.write_text("".join(map(_line, rows)), encoding="ascii", newline="\n")
        return len(rows)

    def _name(self, split: str, sample: Sample) -> str:
        """The image's name; another where two would share one label file."""
        path = _below_images(PurePosixPath(image_name(sample)), split)
        stem = first = path.with_suffix("").as_posix()
        number = 0
        while _key(split, stem) in self._stems:
            number += 1
            stem = f"{first}_{number}"
        self._stems.add(_key(split, stem))
        name = stem + path.suffix
        if path.name != PurePosixPath(sample.file_name).name or number:
            self.note(split, [Issue("file-written-as", f"written as '{name}'", sample.file_name)])
        return name

    def _rows(self, split: str, sample: Sample) -> Iterator[tuple[int, list[float]]]:
        """(class, box as center and size, or outline) in shares of each object that is no crowd."""
        assert sample.size_hw is not None
        height, width = sample.size_hw
        for found in sample.objects:
            if found.iscrowd:
                continue
            outline = self._outline(split, sample, found)
            if outline is None:
                x, y, w, h = found.bbox
                values = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
            else:
                values = (outline / (width, height)).ravel().tolist()
            yield self._labels.label2id[found.category or ""], values

    def _outline(self, split: str, sample: Sample, found: Annotation) -> Points | None:
        """One closed line in pixels; None of an object that has a box alone."""
        shape = found.segmentation
        if not shape:
            return None
        assert sample.size_hw is not None
        if isinstance(shape, dict):
            mask = decoded_mask(shape, sample.size_hw)
            assert mask is not None, "repaired run lengths fit their image"
            parts = contours(mask)
        else:
            parts = [np.array(part, np.float64).reshape(-1, 2) for part in shape]
        if len(parts) > 1:
            text = f"{found.where}: {len(parts)} outlines"
            self.note(split, [Issue("outline-joined", text, sample.file_name)])
        moved = np.abs(_corners(bounds_of(shape)) - _corners(found.bbox)).max()
        if moved > MOVED_PX:
            text = f"{found.where}: by {moved:.1f} px"
            self.note(split, [Issue("box-of-outline", text, sample.file_name)])
        return joined(parts)

    def finish(self) -> None:
        """Boxes among outlines become outlines; then ``data.yaml``."""
        if self._has_outlines:
            for split, file_name, label_file in self._of_boxes:
                lines = label_file.read_text(encoding="ascii").splitlines(keepends=True)
                boxes = sum(len(line.split()) == 5 for line in lines)
                self.note(split, [Issue("rectangle", f"{quantity(boxes, 'box')} among outlines", file_name)])
                label_file.write_text("".join(map(_as_outline, lines)), encoding="ascii", newline="\n")
        values: dict[str, Any] = {}
        for split in self.written_splits:
            values[self._key_of(split)] = f"{IMAGES_FOLDER}/{folder_of(split)}"
        values["names"] = dict(enumerate(self._labels.names))
        write_text(self.partial / DATA_FILE, write_yaml(values))

    def _key_of(self, split: str) -> str:
        """The split as Ultralytics calls it, unless another is called so already."""
        key = KEYS.get(role_of(split) or "", split)
        return split if key in self.counts else key


def _corners(box: list[float]) -> Points:
    x, y, w, h = box
    return np.array([[x, y], [x + w, y + h]])


def _below_images(path: PurePosixPath, split: str) -> PurePosixPath:
    """The path without folders up to "images": labels are looked for where the last of these is in a path."""
    folders = list(path.parts[:-1])
    places = [place for place, part in enumerate(folders) if part.lower() == IMAGES_FOLDER]
    if places:
        folders = folders[places[-1] + 1 :]
        folders = folders[1:] if folders[:1] == [split] else folders
    return PurePosixPath(*folders, path.name)


def _key(split: str, stem: str) -> str:
    """Equal for names that some file systems take for one."""
    return f"{split}/{stem}".casefold()


def _line(row: tuple[int, list[float]]) -> str:
    number, values = row
    shares = (f"{value:.{DIGITS}f}".rstrip("0").rstrip(".") for value in values)
    return " ".join([str(number), *shares]) + "\n"


def _as_outline(line: str) -> str:
    """A box's line as the outline of its four corners; another as it is."""
    number, *values = line.split()
    if len(values) != 4:
        return line
    x, y, w, h = map(float, values)
    left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return _line((int(number), [left, top, right, top, right, bottom, left, bottom]))
