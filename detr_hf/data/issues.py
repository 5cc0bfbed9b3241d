"""What can be wrong with data: one catalogue of kinds, and `Issue`, one thing found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
Effect = Literal["stops", "image dropped", "object dropped", "repaired", "noted"]

ERROR: Severity = "error"
WARNING: Severity = "warning"
INFO: Severity = "info"
SEVERITIES: tuple[Severity, ...] = (ERROR, WARNING, INFO)


@dataclass(frozen=True)
class Kind:
    """A kind of issue."""

    code: str  # its name in JSON and on pages
    # an error ends a training run before its first step; a warning does not, but is told; info is worth
    # knowing
    severity: Severity
    # what `repair` does: `check --fix`, `convert` and `prepare` with every kind, training with those that are
    # no errors. "stops": nothing can be done about it, so that they refuse, too.
    effect: Effect
    title: str  # in the plural
    remedy: str  # what to do

    def counted(self, count: int) -> str:
        """The title with a count, right for one as for many: "images have no objects (17)"."""
        return f"{self.title} ({count})"


_FIX = "`detr-hf check ... --fix OUT` does it"
_DROPS = "`detr-hf check ... --fix OUT` leaves them out"
_CLASSES = "rename them, give a label map that has them, or take the data's own (data.labels=null)"

_TABLE: dict[tuple[Severity, Effect], tuple[tuple[str, str, str], ...]] = {
    (ERROR, "stops"): (
        ("data", "the data cannot be read", "see the message"),
        ("nothing-to-learn", "no object is left to learn from", "see what was dropped"),
        (
            "box-format-unclear",
            "the format of the boxes cannot be determined",
            "find out which it is, and convert them",
        ),
    ),
    (ERROR, "image dropped"): (
        ("file-name", "file names are missing or lead out of the folder", _DROPS),
        ("image-missing", "listed images have no file", f"put them there, or {_DROPS}"),
        ("image-ambiguous", "file names fit several files", "name one of them"),
        ("image-link", "files are links that lead out of the folder", "put the files there"),
        ("image-unreadable", "images cannot be opened", f"replace them, or {_DROPS}"),
        ("image-damaged", "images are damaged or cut off", f"fetch them again, or {_DROPS}"),
        ("image-id", "image ids are duplicate or invalid", _DROPS),
        ("row", "rows of the saved data set cannot be read", _DROPS),
        ("leak", "the same image is in two splits", f"it makes the score too high; {_DROPS}"),
        ("size-boxes", "boxes were drawn on an image of another shape", f"export them anew, or {_DROPS}"),
        ("annotation-unreadable", "annotation files of images cannot be read", f"export again, or {_DROPS}"),
        ("png-annotation", "images have no panoptic annotation, or more than one", _DROPS),
        ("png-missing", "PNG files are missing", f"put them there, or {_DROPS}"),
        ("png-unreadable", "PNG files are not id maps", f"export again, or {_DROPS}"),
        ("png-size", "PNG and image differ in shape", "export both at one size"),
    ),
    (ERROR, "object dropped"): (
        ("entry-invalid", "entries of the annotation file are malformed", _DROPS),
        ("annotation-orphan", "annotations belong to no listed image", _DROPS),
        ("category-unknown", "objects have a category that is not listed", _DROPS),
        ("class-not-in-label-map", "classes are not in the label map", _CLASSES),
        ("box-malformed", "boxes are not four finite numbers", _DROPS),
        ("segment-id", "segment ids are duplicate or invalid", _DROPS),
    ),
    (ERROR, "repaired"): (
        ("size-scaled", "images were annotated at another scale", f"scale the boxes: {_FIX}"),
        ("exif-boxes", "boxes were drawn before the EXIF rotation", f"turn them: {_FIX}"),
        (
            "category-invalid",
            "categories are malformed or duplicate",
            f"one id and one name for each: {_FIX}",
        ),
        ("box-format", "boxes are in another format than x, y, width, height in pixels", _FIX),
        (
            "box-from-outline",
            "boxes are invalid, but the outline is valid",
            f"take them from the outlines: {_FIX}",
        ),
        ("png-not-rgb", "PNG files are not 8-bit RGB id maps", f"write them as RGB: {_FIX}"),
        ("png-resized", "PNG and image differ in size", f"resize the PNG: {_FIX}"),
        ("png-unknown-ids", "PNGs hold ids that the JSON does not list", f"make them void: {_FIX}"),
    ),
    (ERROR, "noted"): (
        ("split-train", "there is no training split", "name one in a recipe: data.train_split"),
    ),
    (WARNING, "image dropped"): (
        ("unlisted", "images are not in the annotations", "list them, or leave them"),
        ("no-annotations", "images have no annotation file", "annotate them"),
        ("empty-dropped", "images have no objects", "they are left out, as was asked for"),
    ),
    (WARNING, "object dropped"): (
        ("not-taken", "annotations are of an unsupported kind", "see each"),
        ("box-outside", "boxes lie wholly outside their image", "correct them"),
        ("box-empty", "boxes have no width or no height", "correct them"),
        ("object-twice", "objects are exact duplicates of another one", "one of each is kept"),
        ("no-shape", "objects have neither box nor outline", "draw them"),
        ("segment-not-in-png", "segments have no pixel in the PNG", "correct them"),
        ("no-pixel", "objects are so thin that they cover no pixel", "correct them"),
        ("hidden", "objects are almost completely hidden by others", "write.most_hidden"),
        ("crowd-dropped", "this format cannot store crowds", "write COCO to keep them"),
    ),
    (WARNING, "repaired"): (
        ("annotation-id", "annotation ids are duplicate or invalid", "they are renumbered"),
        ("odd-type", "values have the wrong type", "read as numbers"),
        ("file-renamed", "files are found under another name", "the file there is used"),
        ("image-twice", "images are listed twice", "their annotations are merged"),
        ("size-differs", "images declare another size than their file has", "the file's size is used"),
        ("box-corners", "boxes have swapped corners", "the corners are sorted"),
        ("box-clipped", "boxes reach over the edge of their image", "they are clipped"),
        ("box-rotated", "boxes are rotated", "the upright box around each is used"),
        ("outline-invalid", "outlines are malformed and are left out", "correct them"),
        ("rle-invalid", "run-length masks do not fit their image and are left out", "export them again"),
        ("area-wrong", "areas are impossible", "the box's area is used"),
        ("painted", "painted masks (iscrowd 1) are taken as objects", "or set read.painted_masks: crowd"),
        ("png-area", "areas in the JSON are not those in the PNG", "the PNG is used"),
        ("png-box", "boxes in the JSON are not those in the PNG", "the PNG is used"),
        ("outline-dropped", "this format cannot store outlines", "write COCO to keep them"),
        ("outline-joined", "outlines of several parts are written as one line", "COCO keeps them apart"),
        ("box-of-outline", "only outlines are written, and boxes differ from them", "COCO keeps both"),
        (
            "file-written-as",
            "images are written under another name",
            "their name is taken or leads out of the folder",
        ),
        ("category-renumbered", "category ids differ between splits", "one id for each name"),
    ),
    (WARNING, "noted"): (
        ("image-dark", "16-bit images use a small part of their range", "scale them: they look black"),
        ("image-duplicate", "the same image is in a split twice", "keep one of them"),
        ("too-many-objects", "images hold more objects than queries", "the rest cannot be learned"),
        ("class-small", "objects of a class are mostly too small for the network", "train at a larger size"),
        ("split-missing", "splits are listed but missing", "add their images, or ignore this"),
        ("class-only-in-validation", "classes have no object to learn from", "add training images"),
        ("class-similar", "class names differ only in case, spaces or a plural", "give one class one name"),
        ("things-split", "objects are the connected parts of one class", "those that touch count as one"),
        ("isthing-missing", "categories do not say if they are things", "they count as things"),
        ("box-tiny", "objects are less than two pixels wide or high", "probably drawn by mistake"),
        ("box-twin", "two boxes of one class are almost the same", "remove one: each costs a query"),
        ("box-two-classes", "one box has two classes", "decide on one"),
        (
            "rectangle",
            "objects have only a rectangle",
            "their mask is the whole box; draw outlines, or train on boxes alone",
        ),
        ("box-polygon", "box and outline disagree", "the box is used; export again"),
        ("segment-stuff", "a stuff class is in several segments of one image", "merge them into one"),
        ("predictions-taken", "files hold only predictions, which are read", "correct them before training"),
    ),
    (INFO, "object dropped"): (
        ("class-void", "objects of void classes are dropped", "as the label map says"),
    ),
    (INFO, "repaired"): (
        ("text-ids", "image ids are not 64-bit integers", "they are numbered"),
        ("size-missing", "images declare no size", "the file's size is used"),
        ("category-root", "root categories have no objects", "they are not classes"),
        ("class-spelling", "folders spell their class in another way", "the folder's spelling is used"),
        ("outline-clipped", "outlines reach over the edge of their image", "they are clipped"),
        ("outline-crossing", "outlines cross themselves", "all that they enclose is filled"),
    ),
    (INFO, "noted"): (
        ("file-unlisted", "images of the folder are not in the annotations", "nothing is learned from them"),
        ("not-read", "files do not belong to the format and are not read", "nothing, if that is intended"),
        ("two-layouts", "folders hold two kinds of annotations", "one of them is read"),
        ("layouts-mixed", "some class folders have id maps, others outlines", "both are read"),
        ("folder-note", "class folders hold a note of their annotators", "read it"),
        ("unlisted-kept", "images are not in the annotations", "they stay as negatives"),
        ("exif-turned", "images are turned by EXIF", "we turn them upright, other tools may not"),
        ("not-rgb", "images are gray, palette, transparent or CMYK", "they are read as RGB"),
        ("no-objects", "images have no objects", "they stay as negatives: make sure that they are"),
        ("label-missing", "images have no label file", "they stay as negatives: make sure that they are"),
        ("other-class", "class folders hold objects of another class", "they keep their class"),
        ("category-unused", "categories have no object", "they stay in the label map"),
        ("class-few", "classes have too few objects for a split", "annotate more of them"),
        ("class-imbalance", "classes have few objects, or far fewer than others", "add images of these"),
        ("color-missing", "categories have no color", "one is generated"),
        ("crowd", "objects are marked as crowd", "crowds are not trained on"),
        ("covered-stuff", "pseudo-labeled stuff lies wholly under objects", "it is left out"),
        ("alike", "images look the same as others", "one split gets all"),
        ("alike-across", "images are in several folders", "one split gets all"),
        ("torn", "duplicates are in several splits", "the split file says so"),
        ("not-everywhere", "classes have too few images to be in every split", "add some"),
        ("not-in-split-file", "images are not in the split file", "they were placed by the seed"),
        ("not-in-data", "images of the split file are not in the data", "nothing, if that is intended"),
    ),
}

KINDS: dict[str, Kind] = {
    code: Kind(code, severity, effect, title, remedy)
    for (severity, effect), rows in _TABLE.items()
    for code, title, remedy in rows
}
"""The catalogue, by code."""


@dataclass(frozen=True)
class Issue:
    """One thing found."""

    code: str  # of its kind in ``KINDS``
    text: str = ""  # what exactly, and where in the file: "annotation 12: box [...]"
    # the image's ``file_name``, or the annotation file; empty where it concerns the whole source
    file: str = ""

    @property
    def kind(self) -> Kind:
        return KINDS[self.code]

    @property
    def is_error(self) -> bool:
        return self.kind.severity == ERROR

    def __str__(self) -> str:
        """A sentence for people."""
        place = f"{self.file}: " if self.file and self.file not in self.text else ""
        said = f" ({self.text})" if self.text else ""
        return f"{place}{self.kind.title}{said}"
