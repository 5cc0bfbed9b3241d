"""Which image belongs to which Pascal VOC file, and to which split, by the folders in use.

The devkit has ``Annotations/ID.xml``, ``JPEGImages/ID.jpg`` and ``ImageSets/Main/train.txt``, an ID a line
(http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html). Others write ``images`` and
``annotations``, each XML beside its image (labelImg, Roboflow), or the splits as folders.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from detr_hf.data.image_files import ImageFiles, plain_key, without_suffix
from detr_hf.data.issues import Issue
from detr_hf.data.sources.base import Place
from detr_hf.data.sources.pairing import Entry
from detr_hf.data.sources.splits import SPLITS, TRAIN, split_folder
from detr_hf.errors import quantity
from detr_hf.foreign_files import read_bytes

MASK_FOLDERS = ("SegmentationClass", "SegmentationObject")
KIND_FOLDERS = frozenset(
    {"annotations", "annotation", "xmls", "xml", *(folder.lower() for folder in MASK_FOLDERS)}
    | {"jpegimages", "images", "image", "imgs", "img", "pngimages"}
)
NO_IMAGES = ("segmentation", "annotation")  # folders that start so hold masks and drawings
SETS = (*SPLITS, "trainval", "default")
MAX_SET_BYTES = 64_000_000

_SET = re.compile(r"(?:(.*)/)?ImageSets/(?:([^/]*)/)?([^/]+)\.txt", re.IGNORECASE)


def key_of(name: str) -> str:
    """What an image, its annotation file and its masks have in common: their path without extension, and
    without the folders that say which of these they are.
    """
    *folders, last = name.split("/")
    last = last[:-4] if last.lower().endswith(".xml") else without_suffix(last)
    return plain_key("/".join([*(part for part in folders if part.lower() not in KIND_FOLDERS), last]))


def _may_be_annotated(name: str) -> bool:
    return not any(part.lower().startswith(NO_IMAGES) for part in name.split("/")[:-1])


class VocFiles:
    """The files of a data set, and its splits; its images are those that may be annotated."""

    def __init__(self, place: Place) -> None:
        self.files, keep = ImageFiles(place.path), _may_be_annotated
        self.images = ImageFiles(place.images) if place.images else ImageFiles(place.path, keep=keep)
        self.has_sets = False  # whether there are image sets
        self.issues: list[Issue] = []

    def masks(self, folder: str) -> dict[str, str]:
        """The images in folders of this name, by their keys."""
        parts = ((name, PurePosixPath(name.lower()).parts[:-1]) for name in self.files.names)
        return {key_of(name): name for name, folders in parts if folder.lower() in folders}

    def tell_skipped(self, apart_from: tuple[str, ...] = ()) -> None:
        """One issue for each folder of masks, which are no images to annotate."""
        skipped = Counter(
            str(PurePosixPath(name).parent) for name in self.files.names if not _may_be_annotated(name)
        )
        for folder, count in sorted(skipped.items()):
            if PurePosixPath(folder).name not in apart_from:
                text = f"{quantity(count, 'file')} with no images to annotate"
                self.issues.append(Issue("not-read", text, folder))

    def in_splits(self, pairs: dict[str, list[Entry]], kind: str) -> dict[str, list[Entry]]:
        """Entries by image set, or else by folder; those of no split are told.

        Args:
            pairs: entries by their ``key_of``.
            kind: of the image sets: "main" or "segmentation".
        """
        splits: dict[str, list[Entry]] = defaultdict(list)
        listed: set[str] = set()
        starts = []
        for root, sets in self._image_sets(kind):
            starts.append(key_of(f"{root}/") if root else "")
            for split, (file, names) in sets.items():
                own: set[str] = set()
                for name in names:
                    # As the devkit has it; then as people write it, with a folder before it.
                    keys = (starts[-1] + key_of(said) for said in (name, PurePosixPath(name).name))
                    key = next((key for key in keys if key in pairs), "")
                    if key in own:  # "a" and "a.png"
                        continue
                    missing = Issue("image-missing", f"{file} lists '{name}'", name)
                    splits[split] += pairs[key] if key else [Entry(said=name, issues=(missing,))]
                    own |= {key} - {""}
                listed |= own
        self.has_sets = bool(starts)
        for key, entries in sorted(pairs.items()):
            for entry in entries if key not in listed else ():
                if key.startswith(tuple(starts)):
                    self.issues.append(Issue("unlisted", "in no image set that is read", entry.file_name))
                else:
                    splits[split_folder(entry.file or entry.image or "")].append(entry)
        return {split: sorted(splits[split], key=lambda entry: entry.file_name) for split in sorted(splits)}

    def _image_sets(self, kind: str) -> Iterator[tuple[str, dict[str, tuple[str, list[str]]]]]:
        """For each folder with ``ImageSets``: by split, the file and the names that it lists, each once.

        Where there are none of the kind, those of the other, or of ``ImageSets`` itself. ``trainval`` is read
        where there is no ``train``, and CVAT's ``default`` likewise.
        """
        found: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
        for name in self.files.with_suffix(".txt"):
            if match := _SET.fullmatch(name):
                folder, stem = (match[2] or "").lower(), match[3].lower()
                found[match[1] or ""][folder][stem] = name
                # "cat_train.txt" says which images of "train.txt" show a cat.
                if folder == kind and stem.rpartition("_")[2] not in SETS:
                    self.issues.append(Issue("not-read", "an image set of an unknown name", name))
        for root, folders in sorted(found.items()):
            choices = (folders.get(folder, {}) for folder in (kind, "main", "segmentation", ""))
            named = ({stem: name for stem, name in texts.items() if stem in SETS} for texts in choices)
            files = next((texts for texts in named if texts), {})
            sets = {stem: (name, _listed(self.files.folder / name)) for stem, name in sorted(files.items())}
            for whole in ("trainval", "default"):
                if whole in sets:
                    name, names = sets.pop(whole)
                    elsewhere = {one for _, others in sets.values() for one in others}
                    sets.setdefault(TRAIN, (name, [one for one in names if one not in elsewhere]))
            if sets:
                yield root, sets


def _listed(path: Path) -> list[str]:
    """The names in an image set; sets of one class have 1, -1 or 0 behind each."""
    text = read_bytes(path, MAX_SET_BYTES, "image set").decode("utf-8-sig", "replace")
    names = (re.sub(r"\s+-?[01]$", "", line.strip()).strip('"') for line in text.splitlines())
    plain = (name.replace("\\", "/") for name in names if name and not name.startswith("#"))
    return list(dict.fromkeys(plain))
