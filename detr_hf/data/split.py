"""Which picture goes where: training and validation, or K folds, the same on every machine.

Duplicates stay together, and every class that can be is in every part. The method is iterative stratification
(Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data"): the rarest class first,
each picture to the part that still lacks most of it. Chance is sha256 of seed and identity, so that neither
the platform nor the order of the folder matters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from detr_hf.data.duplicates import NEAR_BITS, Fingerprint, find_duplicates
from detr_hf.data.raw.findings import Finding, finding_to_list
from detr_hf.data.records import Record
from detr_hf.data.sources.base import MAX_JSON_BYTES
from detr_hf.data.stratify import Item, stratify
from detr_hf.errors import UserError, listed
from detr_hf.files import write_json
from detr_hf.foreign_files import read_json

TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class Splits:
    """Where every picture goes.

    Attributes:
        of: identity of a picture -> name of its split.
        names: "train" and "validation", or "fold_1" to "fold_K".
        seed: what it was drawn with.
        findings: duplicates, classes that are not in every split, and what a split file did not settle.
    """

    of: Mapping[str, str]
    names: tuple[str, ...]
    seed: int
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_folds(self) -> bool:
        return TRAIN not in self.names

    def save(self, file: str | Path) -> None:
        """Write it as JSON, in the form that ``load_splits`` and the fixed split of the recipe read."""
        members: dict[str, list[str]] = {name: [] for name in self.names}
        for identity, name in self.of.items():
            members[name].append(identity)
        content = {
            "seed": self.seed,
            "splits": {name: sorted(found) for name, found in members.items()},
            "findings": [finding_to_list(found) for found in self.findings],
        }
        write_json(file, content, sync=True)


def load_splits(file: str | Path) -> Splits:
    """Read what ``Splits.save`` wrote, or a file ``{"train": [identities], "validation": [...]}`` by hand.

    Raises:
        UserError: there is no such file, it has another form, or it names a picture twice.
    """
    path = Path(file)
    content = read_json(path, "split file", any_number=True, max_bytes=MAX_JSON_BYTES)
    splits = content.get("splits", content)
    if not isinstance(splits, dict) or not splits or not all(map(_is_list_of_text, splits.values())):
        raise UserError(
            f'the split file {path} must hold {{"train": [...], "validation": [...]}} or "fold_1" to "fold_K"'
            " with identities of pictures, <class folder>/<file>"
        )
    of = {identity: name for name, members in splits.items() for identity in members}
    if len(of) < sum(map(len, splits.values())):
        counts = Counter(identity for members in splits.values() for identity in members)
        doubled = [identity for identity, count in counts.items() if count > 1]
        raise UserError(f"the split file {path} names pictures twice: {listed(doubled, limit=5)}")
    if splits is content:
        return Splits(of, tuple(splits), 0)
    findings = [Finding(*entry) for entry in content.get("findings", ())]
    return Splits(of, tuple(splits), int(content.get("seed", 0)), findings)


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def split_records(
    records: Iterable[Record],
    validation_fraction: float = 0.1,
    seed: int = 0,
    folds: int | None = None,
    fixed: str | Path | None = None,
    distance: int = NEAR_BITS,
) -> Splits:
    """Divide the pictures, duplicates together, stratified by class folder and by the classes annotated.

    Of each picture a few words are kept, so the records may be streamed.

    Args:
        validation_fraction: share of the pictures for validation; not used with folds.
        folds: give K parts of equal size, "fold_1" to "fold_K", instead of training and validation.
        fixed: a split file. What it names stays where it says, in its splits or folds; the rest is placed as
            without it.
        distance: bits of 64 in which the difference hashes of duplicates may differ.

    Raises:
        UserError: an impossible fraction or number of folds, too few pictures, or a split file of other
            splits.
    """
    given = load_splits(fixed) if fixed is not None else None
    if given is not None and folds is None and given.is_folds:
        folds = len(given.names)
    shares = _shares(validation_fraction, folds)
    pictures = [_Picture.of(record) for record in records]
    findings: list[Finding] = []
    known = _fixed_places(given, tuple(shares), {picture.identity for picture in pictures}, findings)
    groups = _groups(pictures, distance, findings)
    if len(groups) < len(shares):
        raise UserError(
            f"{len(pictures)} picture(s), of which {len(groups)} differ, cannot be split into {len(shares)} "
            "parts; duplicates stay together"
        )
    items, places, spanning = _items(groups, known, tuple(shares), seed)
    of = dict(known)
    for place, group in zip(stratify(items, list(shares.values()), places), groups, strict=True):
        for picture in group:
            of.setdefault(picture.identity, list(shares)[place])
    findings += [Finding("torn", group[0].file, _others(group)) for group in spanning]
    in_order = {picture.identity: of[picture.identity] for picture in pictures}
    _require_no_empty(in_order, tuple(shares))
    findings += _incomplete_classes(pictures, in_order, tuple(shares))
    return Splits(in_order, tuple(shares), seed, findings)


@dataclass(frozen=True)
class _Picture:
    """The few words of a record that splitting needs."""

    identity: str
    file: str
    fingerprint: Fingerprint
    folder: str
    labels: frozenset[str]

    @staticmethod
    def of(record: Record) -> _Picture:
        segments = record.panoptic.segments if record.panoptic is not None else []
        things = {segment.category for segment in segments if segment.isthing}
        classes = things | {found.category for found in record.objects}
        labels = frozenset(classes | {record.class_folder})  # a picture without an object has its folder
        fingerprint = Fingerprint(record.sha256, record.dhash)
        return _Picture(record.identity, record.file, fingerprint, record.class_folder, labels)


def _shares(fraction: float, folds: int | None) -> dict[str, float]:
    if folds is not None:
        if folds < 2:
            raise UserError(f"{folds} folds are asked for; there must be 2 or more")
        return {f"fold_{number}": 1 / folds for number in range(1, folds + 1)}
    if not 0 < fraction < 1:
        raise UserError(f"the validation fraction is {fraction:g}; it must lie between 0 and 1")
    return {TRAIN: 1 - fraction, VALIDATION: fraction}


def _fixed_places(
    given: Splits | None, names: tuple[str, ...], present: set[str], findings: list[Finding]
) -> dict[str, str]:
    """The split of each picture that the split file names and the data has."""
    if given is None:
        return {}
    if unknown := [name for name in given.names if name not in names]:
        raise UserError(f"the split file has {listed(unknown)}, but this is a split into {listed(names)}")
    findings += [Finding("not_in_data", identity) for identity in sorted(set(given.of) - present)]
    findings += [Finding("not_in_split_file", identity) for identity in sorted(present - set(given.of))]
    return {identity: name for identity, name in given.of.items() if identity in present}


def _groups(pictures: list[_Picture], distance: int, findings: list[Finding]) -> list[list[_Picture]]:
    """Duplicates together, all others alone."""
    duplicates = find_duplicates([picture.fingerprint for picture in pictures], distance)
    together = {at for group in duplicates for at in group}
    groups = [[pictures[at] for at in group] for group in duplicates]
    for group in groups:
        if len({picture.fingerprint.sha256 for picture in group}) > 1:  # equal files are known since mending
            findings.append(Finding("alike", group[0].file, _others(group)))
        if len({picture.folder for picture in group}) > 1:
            findings.append(Finding("alike_across", group[0].file, _others(group)))
    return groups + [[picture] for at, picture in enumerate(pictures) if at not in together]


def _others(group: list[_Picture]) -> str:
    return "with " + ", ".join(picture.file for picture in group[1:])


def _items(
    groups: list[list[_Picture]], known: dict[str, str], names: tuple[str, ...], seed: int
) -> tuple[list[Item], dict[int, int], list[list[_Picture]]]:
    """What is to be placed; the groups whose place the split file settles; those that it tears apart."""
    items, places, spanning = [], {}, []
    for at, group in enumerate(groups):
        counts = Counter(label for picture in group for label in picture.labels)
        first = min(picture.identity for picture in group)
        lot = sha256(f"{seed}\0{first}".encode("utf-8", "surrogateescape")).hexdigest()
        items.append(Item(len(group), dict(counts), lot))
        settled = {known[picture.identity] for picture in group if picture.identity in known}
        if settled:
            places[at] = min(names.index(name) for name in settled)
        if len(settled) > 1:
            spanning.append(group)
    return items, places, spanning


def _require_no_empty(of: dict[str, str], names: tuple[str, ...]) -> None:
    filled = set(of.values())
    if empty := [name for name in names if name not in filled]:
        raise UserError(f"{listed(empty)} would hold no picture; give more pictures or another fraction")


def _incomplete_classes(
    pictures: list[_Picture], of: dict[str, str], names: tuple[str, ...]
) -> list[Finding]:
    seen: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        for label in picture.labels:
            seen[label].add(of[picture.identity])
    absent = {label: [name for name in names if name not in seen[label]] for label in sorted(seen)}
    return [
        Finding("not_everywhere", label, f"not in {', '.join(lacking)}")
        for label, lacking in absent.items()
        if lacking
    ]
