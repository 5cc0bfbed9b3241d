"""Which image belongs to which Pascal VOC file, and to which split, by the folders in use.

The devkit has ``Annotations/ID.xml``, ``JPEGImages/ID.jpg`` and ``ImageSets/Main/train.txt``, an ID a line
(http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html). Others write ``images`` and
``annotations``, each XML beside its image (labelImg, Roboflow), or the splits as folders.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from detr_hf.data.image_files import IMAGE_SUFFIXES, ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.errors import UserError
from detr_hf.foreign_files import read_bytes

ANNOTATION_FOLDERS = frozenset({"annotations", "annotation", "xmls", "xml"})
IMAGE_FOLDERS = frozenset({"jpegimages", "images", "image", "imgs", "img", "pngimages"})
NO_IMAGES = ("segmentation", "annotation")  # folders that start so hold masks and drawings
SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
SETS = (*sorted(SPLIT_FOLDERS), "trainval", "default")
MAX_SET_BYTES = 64_000_000

MASK_FOLDERS = ("SegmentationClass", "SegmentationObject")

Key = tuple[str, str]
"""The folder of a data set and the name in it, without extension, in one spelling."""


@dataclass(frozen=True)
class Entry:
    """An image, its annotation file, or both; names are relative to the data set's folder."""

    image: str | None = None
    xml: str | None = None
    listed: str = ""  # as an image set spells it
    issues: tuple[Issue, ...] = ()

    @property
    def file_name(self) -> str:
        return self.image or self.xml or self.listed


@dataclass
class Layout:
    """Args:
    folder: of the data set.
    images: where images were named apart from it.
    names_in: gives the names by which an XML file may mean its image, the best first; None where it is no
        file of Pascal VOC.
    """

    folder: Path
    images: Path | None
    names_in: Callable[[Path], list[str] | None]
    issues: list[Issue] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = ImageFiles(self.folder)
        self.image_files = self.files if self.images is None else ImageFiles(self.images)
        self._xmls = [
            name for name in self.files.others if name.lower().endswith(".xml") and not _is_hidden(name)
        ]
        roots = {_rooted_xml(name)[0] for name in self._xmls} | {""}
        roots |= {root for root, _, _ in below(self.files.others, "ImageSets")}
        roots |= {root for folder in MASK_FOLDERS for root, _, _ in below(self.files.names, folder)}
        self._roots = sorted(roots, key=len, reverse=True)
        self._links = {_key(_without_suffix(PurePosixPath(name).name)) for name in self.image_files.links_out}

    @property
    def image_root(self) -> Path:
        return self.image_files.folder

    def splits(self, sets: str = "Main") -> dict[str, list[Entry]]:
        """The entries of each split, sorted; entries of no split are told in ``issues``."""
        self.issues = [
            Issue("image-link", "", name) for name in self.files.links_out if name.endswith(".xml")
        ]
        pairs = self._pairs()
        splits: dict[str, list[Entry]] = defaultdict(list)
        listed: set[Key] = set()
        with_sets = {root: found for root in self._roots if (found := image_sets(self.files, root, sets))}
        self.has_sets = bool(with_sets)
        for _, inner, name in below(self.files.others, "ImageSets"):
            stem = PurePosixPath(inner.lower()).stem
            # "cat_train.txt" says which images of "train.txt" show a cat.
            if inner.lower().startswith(f"{sets.lower()}/") and stem.rpartition("_")[2] not in SETS:
                self.issues.append(Issue("not-read", "an image set of an unknown name", name))
        for root, found in with_sets.items():
            for split, (file, names) in found.items():
                for name in names:
                    key = next((key for key in _spellings(root, name) if key in pairs), None)
                    splits[split].append(pairs[key] if key else _nowhere(name, file))
                    listed |= {key} if key else set()
        for key, entry in sorted(pairs.items()):
            if key[0] not in with_sets:
                splits[_split_folder(entry.xml or entry.image or "")].append(entry)
            elif key not in listed:
                self.issues.append(Issue("unlisted", "in no image set that is read", entry.file_name))
        return {split: sorted(splits[split], key=lambda entry: entry.file_name) for split in sorted(splits)}

    # -- images and their annotation files

    def _pairs(self) -> dict[Key, Entry]:
        """Images with the annotation file of the same name; where there is none, as the file says."""
        candidates = self._images_by_key()
        pairs: dict[Key, Entry] = {}
        claimed: dict[str, str] = {}
        rest: list[tuple[Key, str]] = []
        for xml in self._xmls:
            root, stem = _rooted_xml(xml)
            key = (root, _key(stem))
            found = candidates.get(key) or candidates.get(("", key[1])) or []
            if len(found) == 1 and found[0] not in claimed:
                claimed[found[0]] = xml
                pairs[key] = Entry(found[0], xml)
            else:
                rest.append((key, xml))
        for key, xml in rest:
            said = self._names_in(xml)
            if said is None:
                self.issues.append(Issue("not-read", "no <annotation> of Pascal VOC", xml))
                continue
            entry = self._named_entry(xml, [*said, _rooted_xml(xml)[1]], candidates.get(key, []), claimed)
            pairs[key if key not in pairs else (key[0], xml)] = entry
        for key, images in candidates.items():
            for image in images:
                if image not in claimed:
                    pairs[key if key not in pairs else (key[0], image)] = Entry(image)
        return pairs

    def _names_in(self, xml: str) -> list[str] | None:
        try:
            return self.names_in(self.folder / xml)
        except UserError:  # its sample says so
            return []

    def _named_entry(
        self, xml: str, said: list[str], candidates: list[str], claimed: dict[str, str]
    ) -> Entry:
        """The image that an XML file names; ``candidates`` are those that share its name."""
        exact = [name for name in candidates if PurePosixPath(name).name == _last(said[0])]
        finds = [self._found(name) for name in said if name] if len(exact) != 1 else [(exact[0], None)]
        image, issue = next((found for found in finds if found[0] is not None), finds[0])
        if image is not None and image in claimed:
            issue = Issue("image-ambiguous", f"{image} is annotated by {claimed[image]}", xml)
            image = None
        elif image is None and any(_key(_without_suffix(_last(name))) in self._links for name in said):
            issue = Issue("image-link", f"the image of {xml}", xml)
        if image is not None:
            claimed[image] = xml
        return Entry(image, xml, issues=(issue,) if issue is not None else ())

    def _found(self, said: str) -> tuple[str | None, Issue | None]:
        name, issue = self.image_files.find(said)
        if name is not None and not self._is_image(name):  # a mask has the name of its image
            return None, Issue("image-missing", f"there is no file '{said}' in {self.image_root}", said)
        return name, issue

    def _images_by_key(self) -> dict[Key, list[str]]:
        by_key: dict[Key, list[str]] = defaultdict(list)
        skipped: dict[str, int] = defaultdict(int)
        for name in self.image_files.names:
            if self._is_image(name):
                by_key[self.key_of_image(name)].append(name)
            elif not _is_hidden(name):
                skipped[str(PurePosixPath(name).parent)] += 1
        for folder, count in sorted(skipped.items()):
            self.issues.append(Issue("not-read", f"{count} files; they are no images to annotate", folder))
        return by_key

    def _is_image(self, name: str) -> bool:
        parents = name.split("/")[:-1]
        is_masks = self.images is None and any(part.casefold().startswith(NO_IMAGES) for part in parents)
        return not is_masks and not _is_hidden(name)

    def key_of_image(self, name: str) -> Key:
        """What it has in common with its annotation file."""
        stem = _without_suffix(name)
        if self.images is not None:
            return "", _key(stem)
        root = next(root for root in self._roots if not root or stem.startswith(f"{root}/"))
        return root, _key(_below_images(stem.removeprefix(f"{root}/") if root else stem))

    def key_of_mask(self, root: str, name: str) -> Key:
        """What a PNG of a data set has in common with its image; ``name`` is relative to the PNGs' folder."""
        return root if self.images is None else "", _key(_without_suffix(name))


def below(names: Iterable[str], folder: str) -> Iterator[tuple[str, str, str]]:
    """The names in folders of this name, in any case: (what is before it, what is behind it, the name)."""
    for name in names:
        parts = name.split("/")
        for place, part in enumerate(parts[:-1]):
            if part.casefold() == folder.casefold():
                yield "/".join(parts[:place]), "/".join(parts[place + 1 :]), name
                break


def image_sets(files: ImageFiles, root: str, kind: str) -> dict[str, tuple[str, list[str]]]:
    """The image sets of a data set: by split, the file and the names that it lists, each once.

    ``trainval`` is read where there is no ``train``, and CVAT's ``default`` likewise.

    Args:
        files: the listing of the data set's folder.
        root: the folder in it that holds ``ImageSets``.
        kind: "Main" or "Segmentation"; where there is none, those of the other, or of ``ImageSets`` itself.
    """
    found: dict[str, str] = {}
    for folder in (f"imagesets/{kind.lower()}", "imagesets/main", "imagesets/segmentation", "imagesets"):
        found = found or {split: name for split, name in _texts_in(files, root, folder) if split in SETS}
    sets = {split: (name, _listed(files.folder / name)) for split, name in sorted(found.items())}
    for whole in ("trainval", "default"):
        if whole in sets:
            name, names = sets.pop(whole)
            elsewhere = {one for _, others in sets.values() for one in others}
            if "train" not in sets:
                sets["train"] = name, [one for one in names if one not in elsewhere]
    return sets


def _texts_in(files: ImageFiles, root: str, folder: str) -> Iterable[tuple[str, str]]:
    """(name without extension in lower case, name) of the text files of a folder."""
    for name in files.others:
        if name.lower().endswith(".txt") and name.startswith(f"{root}/" if root else ""):
            parent, _, last = name.removeprefix(f"{root}/" if root else "").rpartition("/")
            if parent.lower() == folder:
                yield last[: -len(".txt")].lower(), name


def _listed(path: Path) -> list[str]:
    """The names in an image set; sets of one class have 1, -1 or 0 behind each."""
    text = read_bytes(path, MAX_SET_BYTES, "image set").decode("utf-8-sig", "replace")
    names = (re.sub(r"\s+-?[01]$", "", line.strip()).strip('"') for line in text.splitlines())
    return list(dict.fromkeys(name for name in names if name and not name.startswith("#")))


def _spellings(root: str, name: str) -> Iterable[Key]:
    """As the devkit has it; then as people write it, with an extension or a folder before it."""
    for said in (name, _without_suffix(name), _without_suffix(_last(name))):
        yield root, _key(said.replace("\\", "/"))


def _nowhere(name: str, file: str) -> Entry:
    return Entry(listed=name, issues=(Issue("image-missing", f"{file} lists '{name}'", name),))


def _split_folder(name: str) -> str:
    return next((part for part in name.split("/")[:-1] if part.lower() in SPLIT_FOLDERS), "train")


def _rooted_xml(name: str) -> Key:
    """The folder of the data set that an XML file is of, and its name there without extension."""
    parts = name[: -len(".xml")].split("/")
    for start, part in enumerate(parts[:-1]):
        if part.casefold() in ANNOTATION_FOLDERS:
            inner = start + 1
            while inner < len(parts) - 1 and parts[inner].casefold() in ANNOTATION_FOLDERS:
                inner += 1
            return "/".join(parts[:start]), "/".join(parts[inner:])
    return "", _below_images("/".join(parts))


def _below_images(name: str) -> str:
    first, _, inner = name.partition("/")
    return inner if inner and first.casefold() in IMAGE_FOLDERS else name


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _last(said: str) -> str:
    return said.replace("\\", "/").rpartition("/")[2]


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in IMAGE_SUFFIXES else name


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
