"""COCO panoptic: `<split>/panoptic.json` with a folder of PNG id maps, and `data.yaml` for a recipe.

Format: https://cocodataset.org/#format-data (panoptic segmentation).
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from detr_hf.data.id_maps import id_map_bytes
from detr_hf.data.issues import Issue
from detr_hf.data.paint import IdMap, counted, paint
from detr_hf.data.repair_id_map import png_bytes
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sinks import coco
from detr_hf.labels import LabelMap

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
        known = LabelMap.from_coco(self.categories)
        colors = {one.name: list(one.color) for one in known.categories}
        self.categories = [
            {"isthing": 1, "color": colors[category["name"]], **category} for category in self.categories
        ]
        self._stuff = {category["name"] for category in self.categories if not category["isthing"]}
        super().begin()

    def write(self, split: str, sample: Sample) -> int:
        """One entry for the image, one for its PNG with all segments."""
        self.put_image(split, sample)
        painted = paint(sample)
        self.note(split, painted.issues)
        objects, id_map = painted.objects, painted.id_map
        if sample.id_map is None:
            boxes = [one.where for one in sample.objects if not one.segmentation]
            self.note(split, (Issue("rectangle", where, sample.file_name) for where in boxes))
            objects, id_map = self._with_whole_stuff(split, sample.file_name, objects, id_map)
        coco_split = self.split_of(split).coco
        file = coco_split.folder / PNG_FOLDER / coco_split.add_segments(sample.image_id, objects)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(png_bytes(id_map) if painted.is_changed else id_map_bytes(sample))
        return len(objects)

    def _with_whole_stuff(
        self, split: str, file: str, objects: list[Annotation], id_map: IdMap
    ) -> tuple[list[Annotation], IdMap]:
        """One segment of each stuff class; a crowd stays apart."""
        parts: dict[str, list[int]] = defaultdict(list)
        for one in objects:
            if one.category in self._stuff and not one.iscrowd:
                parts[one.category or ""].append(one.id)
        for name, (first, *others) in parts.items():
            if others:
                id_map = np.where(np.isin(id_map, others), first, id_map).astype(np.int32)
                self.note(split, [Issue("segment-stuff", f"{1 + len(others)} of '{name}' are merged", file)])
        return counted(objects, id_map), id_map
