"""Which image goes where: training and validation, or K folds, the same on every machine.

Duplicates stay together, and every class that can be is in every part. The method is iterative stratification
(Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data"): the rarest class first,
each image to the part that still lacks most of it. Chance is sha256 of seed and file_name, so that neither
the platform nor the order of the folder matters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from detr_hf.data.duplicates import Fingerprint, find_duplicates
from detr_hf.data.issues import Issue
from detr_hf.data.records import Record, issues_from_lists, issues_to_lists
from detr_hf.data.sources.base import MAX_JSON_BYTES
from detr_hf.data.sources.splits import TRAIN, VALIDATION
from detr_hf.data.stratify import Item, stratify
from detr_hf.errors import UserError, listed, quantity
from detr_hf.files import write_json
from detr_hf.foreign_files import read_json
from detr_hf.recipe.prepare import Splitting


@dataclass(frozen=True)
class Splits:
    """Where every image goes."""

    of: Mapping[str, str]  # file_name of an image -> name of its split
    names: tuple[str, ...]  # "train" and "validation", or "fold_1" to "fold_K"
    seed: int  # what it was drawn with
    # duplicates, classes that are not in every split, and what a split file did not settle
    issues: list[Issue] = field(default_factory=list)
    is_own: bool = False  # whether the source came so divided

    @property
    def left_out(self) -> set[str]:
        """Images in no split, as another split of the source has the same file."""
        return {issue.file for issue in self.issues if issue.code == "leak"}

    @property
    def is_folds(self) -> bool:
        return TRAIN not in self.names

    def save(self, file: str | Path) -> None:
        """Write it as JSON, in the form that ``load_splits`` and the fixed split of the recipe read."""
        members: dict[str, list[str]] = {name: [] for name in self.names}
        for file_name, name in self.of.items():
            members[name].append(file_name)
        content = {
            "seed": self.seed,
            "own": self.is_own,
            "splits": {name: sorted(found) for name, found in members.items()},
            "issues": issues_to_lists(self.issues),
        }
        write_json(file, content, sync=True)


def load_splits(file: str | Path) -> Splits:
    """Read what ``Splits.save`` wrote, or a file ``{"train": [file names], "validation": [...]}`` by hand.

    Raises:
        UserError: there is no such file, it has another form, or it names an image twice.
    """
    path = Path(file)
    content = read_json(path, "split file", any_number=True, max_bytes=MAX_JSON_BYTES)
    splits = content.get("splits", content)
    if not isinstance(splits, dict) or not splits or not all(map(_is_list_of_text, splits.values())):
        raise UserError(
            f'the split file {path} must hold {{"train": [...], "validation": [...]}} or "fold_1" to "fold_K"'
            " with file names of images, <class folder>/<file>"
        )
    of = {file_name: name for name, members in splits.items() for file_name in members}
    if len(of) < sum(map(len, splits.values())):
        counts = Counter(file_name for members in splits.values() for file_name in members)
        doubled = [file_name for file_name, count in counts.items() if count > 1]
        raise UserError(f"the split file {path} names images twice: {listed(doubled, limit=5)}")
    if splits is content:
        return Splits(of, tuple(splits), 0)
    issues = issues_from_lists(content.get("issues", ()))
    return Splits(of, tuple(splits), int(content.get("seed", 0)), issues, content.get("own") is True)


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def split_records(
    records: Iterable[Record], settings: Splitting | None = None, stuff: Collection[str] = ()
) -> Splits:
    """Divide the images, duplicates together, stratified by folder and by the things annotated.

    Splits that the source has of its own, training and validation among them, stay as they are, but for files
    that are in several, unless folds, a split file or ``keep_own: false`` ask for others.

    Args:
        records: may be streamed; a few words of each are kept.
        settings: the recipe's ``split``. What its split file names stays where that says; the rest is placed
            as without it.
        stuff: classes that are nearly everywhere, and do not count.

    Raises:
        UserError: an impossible fraction or number of folds, too few images, or a split file of other
            splits.
    """
    settings = settings or Splitting()
    images = [_Image.of(record, stuff) for record in records]
    given = load_splits(settings.fixed) if settings.fixed is not None else _own_splits(images, settings)
    folds = settings.folds
    if given is not None and folds is None and given.is_folds:
        folds = len(given.names)
    is_own = given is not None and settings.fixed is None
    if given is not None and is_own:
        shares = dict.fromkeys(given.names, 0.0)
    else:
        shares = _shares(settings.validation_fraction, folds)
    names = tuple(shares)
    issues: list[Issue] = []
    known = _fixed_places(given, names, {image.name for image in images}, issues)
    groups = _groups(images, settings.duplicate_distance, issues)
    if len(groups) < len(names) and not is_own:
        raise UserError(
            f"{quantity(len(images), 'image')}, of which {len(groups)} differ, cannot be split into "
            f"{len(names)} parts; duplicates stay together"
        )
    items, places, spanning = _items(groups, known, names, settings.seed)
    of = dict(known)
    for place, group in zip(stratify(items, list(shares.values()), places), groups, strict=True):
        for image in group:
            of.setdefault(image.name, names[place])
    leaks = list(_leaks(spanning, of, names)) if is_own else []
    left_out = {issue.file for issue in leaks}
    for group in ([image for image in group if image.name not in left_out] for group in spanning):
        if len({of[image.name] for image in group}) > 1:
            issues.append(Issue("torn", _others(group), group[0].name))
    images = [image for image in images if image.name not in left_out]
    in_order = {image.name: of[image.name] for image in images}
    if empty := [name for name in names if name not in in_order.values()]:
        raise UserError(f"{listed(empty)} would hold no image; give more images or another fraction")
    issues += [*leaks, *_incomplete_classes(images, in_order, names)]
    return Splits(in_order, names, settings.seed, issues, is_own)


@dataclass(frozen=True)
class _Image(Fingerprint):
    """The few words of a record that splitting needs."""

    name: str
    folder: str
    labels: frozenset[str]
    split: str

    @staticmethod
    def of(record: Record, stuff: Collection[str]) -> _Image:
        things = set(record.categories).difference(stuff)
        # An image without an object has its folder; the folder of a split says nothing.
        labels = frozenset(things | {"" if record.split else record.folder})
        return _Image(record.sha256, record.dhash, record.file_name, record.folder, labels, record.split)


def _own_splits(images: list[_Image], settings: Splitting) -> Splits | None:
    """The splits of the source where it has training and validation, and no others are asked for."""
    found = {image.split for image in images}
    if settings.folds is not None or not settings.keep_own or not found >= {TRAIN, VALIDATION}:
        return None
    names = (TRAIN, VALIDATION, *sorted(found - {TRAIN, VALIDATION}))
    return Splits({image.name: image.split for image in images}, names, settings.seed)


def _shares(fraction: float, folds: int | None) -> dict[str, float]:
    if folds is not None:
        if folds < 2:
            raise UserError(f"{folds} folds are asked for; there must be 2 or more")
        return {f"fold_{number}": 1 / folds for number in range(1, folds + 1)}
    if not 0 < fraction < 1:
        raise UserError(f"the validation fraction is {fraction:g}; it must lie between 0 and 1")
    return {TRAIN: 1 - fraction, VALIDATION: fraction}


def _fixed_places(
    given: Splits | None, names: tuple[str, ...], present: set[str], issues: list[Issue]
) -> dict[str, str]:
    """The split of each image that the split file names and the data has."""
    if given is None:
        return {}
    if unknown := [name for name in given.names if name not in names]:
        raise UserError(f"the split file has {listed(unknown)}, but this is a split into {listed(names)}")
    issues += [Issue("not-in-data", "", file_name) for file_name in sorted(set(given.of) - present)]
    issues += [Issue("not-in-split-file", "", file_name) for file_name in sorted(present - set(given.of))]
    return {file_name: name for file_name, name in given.of.items() if file_name in present}


def _groups(images: list[_Image], distance: int, issues: list[Issue]) -> list[list[_Image]]:
    """Duplicates together, all others alone."""
    duplicates = find_duplicates(images, distance)
    together = {at for group in duplicates for at in group}
    groups = [[images[at] for at in group] for group in duplicates]
    for group in groups:
        if len({image.sha256 for image in group}) > 1:  # equal files are the same image
            issues.append(Issue("alike", _others(group), group[0].name))
        if len({image.folder for image in group}) > 1:
            issues.append(Issue("alike-across", _others(group), group[0].name))
    return groups + [[image] for at, image in enumerate(images) if at not in together]


def _others(group: list[_Image]) -> str:
    return "with " + ", ".join(image.name for image in group[1:])


def _items(
    groups: list[list[_Image]], known: dict[str, str], names: tuple[str, ...], seed: int
) -> tuple[list[Item], dict[int, int], list[list[_Image]]]:
    """What is to be placed; the groups whose place the split file settles; those that it tears apart."""
    items, places, spanning = [], {}, []
    for at, group in enumerate(groups):
        counts = Counter(label for image in group for label in image.labels)
        first = min(image.name for image in group)
        lot = sha256(f"{seed}\0{first}".encode("utf-8", "surrogateescape")).hexdigest()
        items.append(Item(len(group), dict(counts), lot))
        settled = {known[image.name] for image in group if image.name in known}
        if settled:
            places[at] = min(names.index(name) for name in settled)
        if len(settled) > 1:
            spanning.append(group)
    return items, places, spanning


def _leaks(groups: list[list[_Image]], of: Mapping[str, str], names: tuple[str, ...]) -> Iterator[Issue]:
    """Equal files in several splits stay in the last of these: training is what loses them."""
    for group in groups:
        in_order = sorted(group, key=lambda image: names.index(of[image.name]))
        last = {image.sha256: image for image in in_order}
        for image in group:
            kept = last[image.sha256]
            if of[image.name] != of[kept.name]:
                yield Issue("leak", f"it is in {of[kept.name]}, too, as {kept.name}", image.name)


def _incomplete_classes(images: list[_Image], of: dict[str, str], names: tuple[str, ...]) -> Iterator[Issue]:
    seen: dict[str, set[str]] = defaultdict(set)
    for image in images:
        for label in image.labels:
            seen[label].add(of[image.name])
    for label in sorted(seen):
        if lacking := [name for name in names if name not in seen[label]]:
            yield Issue("not-everywhere", f"not in {', '.join(lacking)}", label)
