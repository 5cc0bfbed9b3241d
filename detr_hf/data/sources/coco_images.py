"""The images that a COCO file lists: each file once, with an id of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import count

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sources.coco_values import Entry, Values, id_key, short


@dataclass
class Listed:
    """One image of the file.

    Attributes:
        entry: of the JSON.
        file_name: of its file, relative to the images' folder; where there is none, what the entry says.
        is_there: whether there is such a file.
        keys: texts of the ids that its annotations name it by; none where these cannot be told apart.
        issues: what was found about it.
        image_id: its own, or a number that no other has.
    """

    entry: Entry
    file_name: str
    is_there: bool
    keys: list[str]
    issues: list[Issue] = field(default_factory=list)
    image_id: int = 0

    def note(self, code: str, text: str) -> None:
        self.issues.append(Issue(code, text, self.file_name))

    @property
    def said_id(self) -> str:
        return short(self.entry.get("id"))


def list_images(entries: list[Entry], files: ImageFiles) -> list[Listed]:
    """The images in the order of the file, with what is wrong with their names and ids."""
    found = [files.find(entry.get("file_name")) for entry in entries]
    own = {name for name, issue in found if name is not None and issue is None}
    listed = [_found(entry, *one, own, files) for entry, one in zip(entries, found, strict=True)]
    return _numbered(_put_together(listed))


def _found(
    entry: Entry, name: str | None, issue: Issue | None, own: Collection[str], files: ImageFiles
) -> Listed:
    said = entry.get("file_name")
    if issue is not None and (name in own or issue.code == "image-ambiguous"):
        # A file that an entry has by its very name serves no other entry.
        free = [one for one in files.like(said) if one not in own]
        if len(free) == 1:
            name, issue = free[0], Issue("file-renamed", f"the annotations say '{said}'", free[0])
        elif name is not None:
            name = None
            issue = Issue("image-missing", f"'{said}': the one file like it is listed itself", str(said))
    key = id_key(entry.get("id"))
    shown = name if name is not None else (said[:200] if isinstance(said, str) else f"image {key}"[:60])
    one = Listed(entry, shown, name is not None, [] if key is None else [key])
    if issue is not None:
        one.issues.append(replace(issue, file=shown))
    if key is None:
        one.note("image-id", f"id {one.said_id} is none")
    return one


def _put_together(found: list[Listed]) -> list[Listed]:
    """Each file once, and no id for two files."""
    by_key: dict[str, list[Listed]] = defaultdict(list)
    for one in found:
        for key in one.keys:
            by_key[key].append(one)
    for key, same in by_key.items():
        names = list(dict.fromkeys(one.file_name for one in same))
        for one in same if len(names) > 1 else ():
            shown = f"id {key[:60]} is that of {' and '.join(names[:5])}"
            one.keys = []
            one.note("image-id", f"{shown}; their annotations cannot be told apart")
    first: dict[str, Listed] = {}
    kept = []
    for one in found:
        known = first.setdefault(one.file_name, one) if one.keys and one.is_there else one
        if known is one:
            kept.append(one)
            continue
        known.note("image-twice", f"ids {known.said_id} and {one.said_id}")
        known.keys = list(dict.fromkeys(known.keys + one.keys))
    return kept


def _numbered(listed: list[Listed]) -> list[Listed]:
    """Each with a whole number of its own; numbered from 1 where one has none, so that all are alike."""
    numbers = [_whole_id(one) for one in listed]
    are_others = any(number is None and one.keys for one, number in zip(listed, numbers, strict=True))
    used = set() if are_others else set(numbers)
    free = (number for number in count(1) if number not in used)
    for one, number in zip(listed, numbers, strict=True):
        one.image_id = next(free) if are_others or number is None else number
        if are_others and one.keys:
            one.note("text-ids", f"{one.said_id} is {one.image_id} now")
    return listed


def _whole_id(one: Listed) -> int | None:
    """The id, where it is a whole number of 64 bits and its own; text is none."""
    if not one.keys or isinstance(one.entry["id"], str):
        return None
    values = Values(one.entry, "image", one.file_name)
    number = values.id()
    one.issues += values.issues
    return number
