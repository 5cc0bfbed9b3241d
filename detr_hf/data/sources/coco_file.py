"""What both kinds of COCO source share: the JSON, its categories, and its images with their ids and files.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from detr_hf.data.archive import FolderFiles, ZipFiles
from detr_hf.data.image_files import is_image
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import MAX_JSON_BYTES, Place, Source, hash_of_folder, hash_of_words
from detr_hf.data.sources.coco_categories import Categories, read_categories
from detr_hf.data.sources.coco_images import Listed, list_images
from detr_hf.data.sources.coco_layout import IMAGE_FOLDERS, ROBOFLOW, AnnotationFile, Folder, find_folder
from detr_hf.data.sources.coco_values import Entry, Values, id_key, short
from detr_hf.errors import UserError
from detr_hf.files import sha256_of
from detr_hf.foreign_files import no_such, parse_json

LISTS = ("images", "annotations", "categories")
_IMAGE_KEYS = frozenset({"id", "file_name", "width", "height"})


class CocoSource(Source):
    """One COCO JSON with its images; what its annotations are is for the two kinds to say.

    Args:
        place: what was opened.
        file: the JSON.
        remarks: issues about the data set as a whole.
    """

    xywh_px = False

    def __init__(self, place: Place, file: AnnotationFile, remarks: Sequence[Issue] = ()) -> None:
        self.place, self.file, self._remarks = place, file, remarks
        self.name = place.name if file.is_only else f"{place.name}, split '{file.split}'"
        self.where = place.name if file.shown in place.name else f"{place.name}: {file.shown}"

    def __len__(self) -> int:
        return len(self._listed) + len(self._kept_unlisted)

    @cached_property
    def key(self) -> str:
        """The JSON isn't read for it, but hashed."""
        place, files = self.place, self.file.files
        folders = [folder for folder in (place.images, place.panoptic) if folder is not None]
        if isinstance(files, ZipFiles):
            status = place.path.stat()
            annotations = f"{status.st_size} {status.st_mtime_ns}"
        else:
            annotations = sha256_of(files.path / self.file.name)
        if place.path.is_dir():
            folders.append(place.path)
        elif not isinstance(files, ZipFiles):
            folders += [files.path / folder for folder in _outermost(self.file.folders(self.shapes))]
        listings = [word for one in folders for word in (str(one), hash_of_folder(one))]
        return hash_of_words([self.file.name, annotations, repr(place.reading), *listings])

    @property
    def image_shapes(self) -> tuple[str, ...]:
        """Of the folders with images; the one above a file that was named itself may be anything."""
        return IMAGE_FOLDERS if self.file.split else IMAGE_FOLDERS[:-1]

    @property
    def shapes(self) -> tuple[str, ...]:
        """Of all folders that are looked into, where they were not named."""
        return () if self.place.images is not None else self.image_shapes

    @cached_property
    def content(self) -> dict[str, list[Entry]]:
        """The JSON's lists of objects; entries that are no objects are left out, and told in ``issues``.

        Raises:
            UserError: it cannot be read, is no COCO file, or lists no image.
        """
        with self.file.files.open(self.file.name) as file:
            text = file.read(MAX_JSON_BYTES + 1)
        if len(text) > MAX_JSON_BYTES:
            raise UserError(f"{self.where}: refused, it has more than {MAX_JSON_BYTES / 1e6:,.0f} MB")
        content = parse_json(text, self.where, any_number=True)
        lists: dict[str, list[Any]] = {}
        for key in LISTS:
            entries = content.get(key) if isinstance(content, dict) else None
            if not isinstance(entries, list):
                raise UserError(f"{self.where} has no list '{key}', as COCO has")
            lists[key] = entries
        if not lists["images"] and not self.file.layout:
            raise UserError(f"{self.where} lists no image; the data set is empty")
        if not lists["categories"] and not self.file.layout:
            raise UserError(f"{self.where} lists no categories")
        self._malformed = [
            Issue("entry-invalid", f"{key}, entry {position}: {short(entry)} is no object", self.file.title)
            for key, entries in lists.items()
            for position, entry in enumerate(entries, start=1)
            if not isinstance(entry, dict)
        ]
        objects = {key: [entry for entry in lists[key] if isinstance(entry, dict)] for key in LISTS}
        self.require_kind(objects["annotations"])
        return objects

    @abstractmethod
    def require_kind(self, annotations: list[Entry]) -> None:
        """Refuse annotations of the other kind.

        Raises:
            UserError: they are.
        """

    @cached_property
    def _categories(self) -> Categories:
        used = {key for value in self.used_categories() if (key := id_key(value)) is not None}
        return read_categories(self.content["categories"], used, self.file.title, self.is_panoptic)

    def categories(self) -> list[dict[str, Any]]:
        return self._categories.entries

    @property
    def class_names(self) -> dict[str, str]:
        """Of the categories, by the text of the ids that objects give."""
        return self._categories.names

    @property
    def used_classes(self) -> set[str]:
        """Names of the classes that objects have."""
        keys = {id_key(value) for value in self.used_categories()}
        return {name for key, name in self.class_names.items() if key in keys}

    @abstractmethod
    def used_categories(self) -> Iterable[Any]:
        """The category ids of all objects, as they are written."""

    # -- images

    def folder_of(
        self,
        given: Path | None,
        shapes: tuple[str, ...],
        entries: list[Entry],
        key: str,
        without: Collection[str] = (),
    ) -> Folder:
        """The folder that was named, or the one that holds the files which entries list.

        Raises:
            UserError: it is not there, or none is found.
        """
        if (fixed := self.file.layout.get(key)) is not None:
            return Folder(self.file.files, fixed, self.file.files.images_below(fixed))
        if given is not None:
            if not given.is_dir():
                raise UserError(f"{self.place.name}: {given}: {no_such(given, 'folder')}")
            files = FolderFiles(given)
            return Folder(files, "", files.images_below(""))
        listed = [entry["file_name"] for entry in entries if isinstance(entry.get("file_name"), str)]
        if (found := find_folder(self.file, shapes, listed, without)) is not None:
            return found
        tried = ", ".join(folder or "." for folder in self.file.folders(shapes))
        raise UserError(
            f"{self.where}: the files that it lists ({', '.join(map(short, listed[:2]))}, ...) are not "
            f"beside it; looked in {tried} of {self.file.files.path}, where links that lead out are not "
            f"followed. Name their folder with `{key}`"
        )

    @property
    def not_images(self) -> Collection[str]:
        """Files that may have the names of images and are none, by their names within ``file.files``."""
        return ()

    @cached_property
    def image_folder(self) -> Folder:
        given, listed = self.place.images, self.content["images"]
        return self.folder_of(given, self.image_shapes, listed, "images", self.not_images)

    @cached_property
    def _listed(self) -> list[Listed]:
        return list_images(self.content["images"], self.image_folder.images)

    @cached_property
    def _unlisted(self) -> list[str]:
        """Images of the folder, and links out of it, that the file does not list; none where several files
        share the folder.
        """
        folder, file = self.image_folder, self.file
        is_own = folder.name.rpartition("/")[2] in file.words or file.name == f"{folder.name}/{ROBOFLOW}"
        if not file.is_only and not is_own:
            return []
        listed = {one.file_name for one in self._listed}
        every = folder.images.names + list(filter(is_image, folder.images.links_out))
        return [name for name in every if name not in listed]

    @property
    def _kept_unlisted(self) -> list[str]:
        keeps, links = self.place.reading.unlisted_images == "keep", self.image_folder.images.links_out
        return [name for name in self._unlisted if name not in links] if keeps else []

    def _image(self, name: str, issues: list[Issue]) -> Path | bytes | None:
        """The image of a name; None where it is a member of a zip that cannot be read, with an issue."""
        try:
            return self.image_folder.content(name)
        except UserError as error:
            issues.append(Issue("image-damaged", str(error), name))
            return None

    # -- annotations

    @cached_property
    def _by_image(self) -> dict[str, list[tuple[int, Entry]]]:
        """Annotations with their positions in the file, by the text of their image's id."""
        groups: dict[str, list[tuple[int, Entry]]] = defaultdict(list)
        for position, entry in enumerate(self.content["annotations"]):
            groups[id_key(entry.get("image_id")) or ""].append((position, entry))
        return groups

    def annotations_of(self, one: Listed) -> list[tuple[int, Entry]]:
        """The annotations of an image, with their positions in the file."""
        return [found for key in one.keys for found in self._by_image.get(key, ())]

    def issues(self) -> Iterator[Issue]:
        known = {id_key(entry.get("id")) for entry in self.content["images"]} - {None}
        yield from self._remarks if self.has_set_issues else ()
        yield from self._malformed
        yield from self._categories.issues
        for key, entries in self._by_image.items():
            if key not in known:
                for _, entry in entries:
                    said = f"annotation {short(entry.get('id'))} is for image {short(entry.get('image_id'))}"
                    yield Issue("annotation-orphan", said, self.file.title)
        kept = set(self._kept_unlisted)
        yield from (Issue("file-unlisted", "", name) for name in self._unlisted if name not in kept)

    def samples(self) -> Iterator[Sample]:
        for one in self._listed:
            values = Values(one.entry, f"image {short(one.entry.get('id'))}", one.file_name)
            declared_hw = values.size_hw()
            issues = [*one.issues, *values.issues]
            image = None
            if one.is_there and not any(issue.code == "image-id" for issue in issues):
                image = self._image(one.file_name, issues)
            yield self.with_objects(
                Sample(image, one.file_name, one.image_id, [], declared_hw, extra=values.extra(_IMAGE_KEYS)),
                self.annotations_of(one),
                issues,
            )
        used = {one.image_id for one in self._listed}
        free = (number for number in count(1) if number not in used)
        for name, number in zip(self._kept_unlisted, free, strict=False):
            issues = [Issue("unlisted-kept", "", name)]
            image = self._image(name, issues)
            yield Sample(image, name, number, [], issues=tuple(issues))

    @abstractmethod
    def with_objects(self, sample: Sample, found: list[tuple[int, Entry]], issues: list[Issue]) -> Sample:
        """The sample with its annotations and issues."""


def _outermost(folders: list[str]) -> list[str]:
    """Folders that lie in none of the others."""
    return [one for one in folders if not any(one.startswith(f"{other}/") for other in folders)]
