"""What can be found: every kind of finding with its severity, its meaning and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from detr_hf.prepare.coco import NUMBERED_IDS
from detr_hf.prepare.reading import UNUSED_CLASSES
from detr_hf.prepare.rows import (
    CLIPPED,
    EMPTY,
    MEASURED_SIZE,
    MENDED_SIZE,
    NO_SIZE,
    NOT_IN_PNG,
    OUTSIDE,
    VOID,
)

ERROR, WARNING, INFO = "error", "warning", "info"
SEVERITIES = (ERROR, WARNING, INFO)


@dataclass(frozen=True)
class Rule:
    """One kind of finding.

    An error stops a training run or teaches it something false. A warning is mended or dropped by the reader,
    with a note, or is probably wrong. Info is worth knowing.
    """

    code: str
    severity: str
    title: str
    advice: str


_TABLE = (
    # files
    ("data", ERROR, "the data cannot be read", "see the message"),
    ("file-name", ERROR, "file names leave their folder or are none", "give names relative to the folder"),
    ("image-missing", ERROR, "listed images have no file", "put them there or take them out of the list"),
    ("image-unreadable", ERROR, "images cannot be opened", "replace them: no image, empty, or too large"),
    ("image-damaged", ERROR, "images are damaged or cut off in their pixels", "fetch them again"),
    ("image-id", ERROR, "image ids are doubled or no ids", "give every image its own whole number"),
    ("row", ERROR, "rows of the saved data set cannot be read", "save the data set again"),
    ("leak", ERROR, "the same picture is in two splits", "keep it in one: its score is too good"),
    ("duplicate-picture", WARNING, "the same picture is listed twice in a split", "keep one of them"),
    ("file-unlisted", INFO, "files in the folder are not in the annotations", "nothing is learned from them"),
    ("exif-turned", INFO, "images are turned by EXIF", "we turn them upright, other tools may not"),
    ("text-ids", INFO, "image ids are text", "they are numbered"),
    ("size-missing", INFO, "images declare no size", "the file's size is used"),
    ("size-differs", WARNING, "the declared size is not the file's", "the file's size is used"),
    ("size-boxes", ERROR, "boxes were drawn on a picture of another size", "export for these pictures"),
    ("exif-boxes", ERROR, "boxes were drawn before the EXIF rotation", "rotate the pixels, or the boxes"),
    # the JSON
    ("odd-type", ERROR, "values have the wrong JSON type", "write plain numbers, not text or 3.0 for ids"),
    ("annotation-id", WARNING, "annotation ids are doubled", "COCO tools drop one of the two in silence"),
    ("annotation-orphan", ERROR, "annotations belong to no listed image", "list the image, or drop them"),
    ("category-invalid", ERROR, "categories are malformed or doubled", "one id and one name for each"),
    ("category-unknown", ERROR, "objects have a category that is not listed", "list it, or correct them"),
    ("class-not-in-label-map", ERROR, "classes are not in the label map", "rename them, or extend the map"),
    ("class-only-in-validation", WARNING, "classes have no object to learn from", "add training images"),
    ("class-void", INFO, "objects of void classes are dropped", "as the label map says"),
    ("category-unused", INFO, "categories have no object", "they stay in the label map"),
    ("class-imbalance", INFO, "classes are very unequal in number", "add images of the rare ones"),
    ("isthing-missing", WARNING, "categories do not say if they are things", "they count as things"),
    ("color-missing", INFO, "categories have no color", "one is generated"),
    # objects
    ("no-objects", INFO, "images have no objects", "they stay as negatives: make sure that they are"),
    ("too-many-objects", WARNING, "images hold more objects than queries", "the rest cannot be learned"),
    ("box-malformed", ERROR, "boxes are not four finite numbers", "correct or remove them"),
    ("box-format", ERROR, "boxes look like another format", "write x, y, width, height in pixels"),
    ("box-outside", WARNING, "boxes lie wholly outside their image", "the objects are dropped"),
    ("box-empty", WARNING, "boxes have no width or no height", "the objects are dropped"),
    ("box-clipped", WARNING, "boxes reach over the edge of their image", "they are clipped"),
    ("box-tiny", WARNING, "objects are less than two pixels wide or high", "probably slips of the mouse"),
    ("box-twin", WARNING, "an object is annotated twice", "remove one: each costs the other a query"),
    ("box-two-classes", WARNING, "one box has two classes", "decide on one"),
    ("box-polygon", WARNING, "box and outline disagree", "the box is used; export again"),
    ("polygon-invalid", WARNING, "polygons are malformed or leave the image", "not used by stage 1"),
    ("rle-invalid", WARNING, "run-length masks do not fit their image", "not used by stage 1"),
    ("area-wrong", WARNING, "areas cannot be true", "they sort objects into small, medium, large"),
    ("crowd-rle", WARNING, "single objects may be marked as crowd", "CVAT does so with painted masks"),
    ("crowd", INFO, "objects are marked as crowd", "crowds are not trained on"),
    # panoptic
    ("png-annotation", ERROR, "images have no panoptic annotation, or several", "each needs one"),
    ("png-missing", ERROR, "PNG files are missing", "put them there"),
    ("png-unreadable", ERROR, "PNG files are no 8-bit RGB id maps", "write palette or gray PNGs as RGB"),
    ("png-size", ERROR, "PNG and image differ in size", "export both at one size"),
    ("png-unknown-ids", ERROR, "PNGs hold ids that the JSON does not list", "export both together"),
    ("segment-id", ERROR, "segment ids are doubled or no ids", "1 to 2^24 - 1, each once an image"),
    ("segment-not-in-png", WARNING, "listed segments have no pixel in the PNG", "they are dropped"),
    ("png-area", WARNING, "areas in the JSON are not those in the PNG", "the PNG is used"),
    ("png-box", WARNING, "boxes in the JSON are not those in the PNG", "the PNG is used"),
)

RULES = {row[0]: Rule(*row) for row in _TABLE}

CODE_OF_NOTE = {
    CLIPPED: "box-clipped",
    OUTSIDE: "box-outside",
    NO_SIZE: "box-empty",
    VOID: "class-void",
    NOT_IN_PNG: "segment-not-in-png",
    MENDED_SIZE: "size-differs",
    MEASURED_SIZE: "size-missing",
    EMPTY: "no-objects",
    NUMBERED_IDS: "text-ids",
    UNUSED_CLASSES: "category-unused",
}
"""The reader's notes under the names that the check gives them."""
