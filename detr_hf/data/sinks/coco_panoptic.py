"""COCO panoptic: `<split>/panoptic.json` with a folder of PNG id maps, and `data.yaml` for a recipe.

Format: https://cocodataset.org/#format-data (panoptic segmentation).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.id_maps import id_map_bytes
from detr_hf.data.issues import Issue
from detr_hf.data.paint import paint
from detr_hf.data.records import Record
from detr_hf.data.repair_id_map import png_bytes
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sinks import coco
from detr_hf.geometry import boxes_and_areas_of_segments, boxes_xyxy_to_xywh

FORMAT = "coco-panoptic"
TITLE = "COCO panoptic"

PANOPTIC_FILE, PNG_FOLDER = "panoptic.json", "panoptic"


class Writer(coco.Writer):
    """Id maps are written as they are; samples without one are painted, the larger object below the smaller.

    Objects without an outline are painted as their box. Several objects of one stuff class become one segment
    of their image, as the format has it.
    """

    annotations_file = PANOPTIC_FILE
    panoptic_folder = PNG_FOLDER

    def begin(self) -> None:
        """Every category says whether it is a thing."""
        self.categories = [
            {**category, "isthing": category.get("isthing", 1)} for category in self.categories
        ]
        self._stuff = {category["name"] for category in self.categories if not category["isthing"]}
        super().begin()

    def write(self, split: str, sample: Sample) -> int:
        """One entry for the image, one for its PNG with all segments."""
        files = self.files_of(split)
        self.put_image(split, sample)
        if sample.id_map is not None:
            objects, content = sample.objects, id_map_bytes(sample)
        else:
            objects, content = self._painted(split, sample)
        name = f"{sample.image_id:012d}.png"
        folder = self.split_folder(split) / PNG_FOLDER
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        segments = [coco.with_extra({"id": one.id, **self._segment(one)}, one.extra) for one in objects]
        files.annotations.add({"image_id": sample.image_id, "file_name": name, "segments_info": segments})
        return len(objects)

    def _segment(self, found: Annotation) -> dict[str, Any]:
        """Boxes and areas count pixels, so they are whole numbers."""
        entry = self.entry(found)
        return entry | {"bbox": [int(value) for value in found.bbox], "area": int(found.area)}

    def _painted(self, split: str, sample: Sample) -> tuple[list[Annotation], bytes]:
        """The objects that can be seen, numbered from 1 in a new id map, and its PNG."""
        file = sample.file_name
        boxes = [one.where for one in sample.objects if not one.segmentation]
        self.note(split, (Issue("rectangle", where, file) for where in boxes))
        painted = paint(_record(sample), None)
        for issue in painted.issues:  # its text begins with the place that stands for the class
            self.note(split, [replace(issue, text=issue.text.partition(", ")[2])])
        objects = [replace(sample.objects[int(one.category)], id=one.id) for one in painted.segments]
        id_map = painted.id_map
        for name, parts in self._stuff_in_parts(objects).items():
            first, *others = [one.id for one in parts]
            id_map = np.where(np.isin(id_map, others), first, id_map).astype(np.int32)
            objects = [one for one in objects if one.id not in others]
            self.note(split, [Issue("segment-stuff", f"{len(parts)} of '{name}' are merged", file)])
        return _counted(objects, id_map), png_bytes(id_map)

    def _stuff_in_parts(self, objects: list[Annotation]) -> dict[str, list[Annotation]]:
        """Stuff classes with several objects; a crowd stays apart."""
        by_name: dict[str, list[Annotation]] = defaultdict(list)
        for one in objects:
            if one.category in self._stuff and not one.iscrowd:
                by_name[one.category or ""].append(one)
        return {name: parts for name, parts in by_name.items() if len(parts) > 1}


def _record(sample: Sample) -> Record:
    """The sample as painting takes it; an object's place stands for its class, to find it again."""
    assert sample.size_hw is not None
    objects = [replace(found, category=str(place)) for place, found in enumerate(sample.objects)]
    return Record(sample.image_id, sample.file_name, "", sample.size_hw, "", "", objects)


def _counted(objects: list[Annotation], id_map: NDArray[np.int32]) -> list[Annotation]:
    """Boxes and areas of what can be seen."""
    boxes, areas = boxes_and_areas_of_segments(id_map, np.array([one.id for one in objects], np.int64))
    found = zip(objects, boxes_xyxy_to_xywh(boxes).tolist(), areas.tolist(), strict=True)
    return [replace(one, bbox=box, area=area) for one, box, area in found]
