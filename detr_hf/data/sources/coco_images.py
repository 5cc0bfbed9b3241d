"""The images that a COCO file lists: each file once, with an id of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import count

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_int64
from detr_hf.data.sources.coco_values import Entry, id_key, short


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


def list_images(entries: list[Entry], files: ImageFiles) -> list[Listed]:
    """The images in the order of the file, with what is wrong with their names and ids."""
    found = [files.find(entry.get("file_name")) for entry in entries]
    own = {name for name, issue in found if name is not None and issue is None}
    return _numbered(
        _put_together([_found(entry, *one, own, files) for entry, one in zip(entries, found, strict=True)])
    )


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
        one.issues.append(Issue("image-id", f"id {short(entry.get('id'))} is none", shown))
    return one


def _put_together(found: list[Listed]) -> list[Listed]:
    """Each file once, and no id for two files."""
    by_key: dict[str, list[Listed]] = defaultdict(list)
    for one in found:
        for key in one.keys:
            by_key[key].append(one)
    for key, same in by_key.items():
        names = list(dict.fromkeys(one.file_name for one in same))
        if len(names) > 1:
            said = (
                f"id {key[:60]} is that of {' and '.join(names[:5])}; their annotations cannot be told apart"
            )
            for one in same:
                one.keys = []
                one.issues.append(Issue("image-id", said, one.file_name))
    first: dict[str, Listed] = {}
    kept = []
    for one in found:
        known = first.setdefault(one.file_name, one) if one.keys and one.is_there else one
        if known is one:
            kept.append(one)
            continue
        said = f"ids {short(known.entry.get('id'))} and {short(one.entry.get('id'))}"
        known.issues.append(Issue("image-twice", said, one.file_name))
        known.keys = list(dict.fromkeys(known.keys + one.keys))
    return kept


def _numbered(listed: list[Listed]) -> list[Listed]:
    """Each with a whole number of its own; numbered from 1 where one has none, so that all are alike."""
    whole = [_whole_id(one.entry) for one in listed if one.keys]
    if any(number is None for number in whole):
        for position, one in enumerate(listed, start=1):
            one.image_id = position
            if one.keys:
                said = f"{short(one.entry.get('id'))} is {position} now"
                one.issues.append(Issue("text-ids", said, one.file_name))
        return listed
    used = set(whole)
    free = (number for number in count(1) if number not in used)
    for one in listed:
        number = _whole_id(one.entry) if one.keys else None
        one.image_id = number if number is not None else next(free)
        if one.keys and type(one.entry["id"]) is not int:
            one.issues.append(Issue("odd-type", f"image id is {short(one.entry['id'])}", one.file_name))
    return listed


def _whole_id(entry: Entry) -> int | None:
    """The id, where it is a whole number of 64 bits; text is none."""
    value = entry.get("id")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_int64(value) else None
