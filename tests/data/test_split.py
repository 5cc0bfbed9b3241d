"""Which picture goes where: shares, rare classes, duplicates, folds, split files, and always the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from detr_hf.data.records import Record
from detr_hf.data.sample import Annotation
from detr_hf.data.split import Splits, load_splits
from detr_hf.data.split import split_records as split_by
from detr_hf.data.stratify import Item, stratify
from detr_hf.errors import UserError
from detr_hf.recipe.prepare import Splitting


def split_records(records: list[Record], stuff: tuple[str, ...] = (), **settings: Any) -> Splits:
    return split_by(records, Splitting(**settings), stuff)


def record(folder: str, name: str, classes: tuple[str, ...] = (), shows: str = "") -> Record:
    """A record; pictures that ``shows`` the same text are duplicates."""
    file_name = f"{folder}/{name}.jpg"
    digest = sha256((shows or file_name).encode()).hexdigest()
    return Record(
        image=Path(file_name),
        file_name=file_name,
        image_id=0,
        size_hw=(8, 8),
        sha256=digest,
        dhash=digest[:16],
        objects=[Annotation(1, kind, [0, 0, 1, 1]) for kind in classes or (folder,)],
    )


def folders(**sizes: int) -> list[Record]:
    return [record(name, f"{at:04d}") for name, size in sizes.items() for at in range(size)]


def in_split(splits: Splits, name: str) -> Counter[str]:
    """Pictures of a split by class folder."""
    return Counter(file.split("/")[0] for file, place in splits.of.items() if place == name)


def kinds(splits: Splits) -> Counter[str]:
    return Counter(issue.code for issue in splits.issues)


def test_a_class_of_fifteen_pictures_is_in_both_splits() -> None:
    splits = split_records(folders(crane=15, brick=600, pump=385), seed=7)
    assert in_split(splits, "validation").total() == 100
    assert in_split(splits, "validation")["crane"] in (1, 2)
    assert in_split(splits, "train")["crane"] in (13, 14)
    assert in_split(splits, "validation")["brick"] == 60
    assert splits.issues == []


def test_many_small_classes_still_give_a_tenth() -> None:
    splits = split_records(folders(**{f"class{at}": 14 for at in range(48)}))
    assert in_split(splits, "validation").total() in (67, 68)
    assert set(in_split(splits, "validation").values()) == {1, 2}


def test_pictures_with_several_classes_bring_each_into_both_splits() -> None:
    several = [record("crane", f"c{at}", ("crane", "hook")) for at in range(3)]
    several += [record("pump", f"p{at}", ("pump", "hook", "hose")) for at in range(2)]
    splits = split_records(several + folders(brick=95))
    for name in ("crane", "pump", "hook", "hose", "brick"):
        places = {splits.of[r.file_name] for r in several + folders(brick=95) if name in r.categories}
        assert places == {"train", "validation"}, name


def test_a_class_of_one_picture_is_reported() -> None:
    splits = split_records(folders(crane=1, brick=50))
    assert [(found.code, found.file) for found in splits.issues] == [("not-everywhere", "crane")]
    assert splits.issues[0].text == "not in validation"


def test_pictures_without_objects_follow_their_folder_and_things_of_given_id_maps_count() -> None:
    segments = [Annotation(1, "hook"), Annotation(2, "sky")]
    plain = [record("crane", f"n{at}") for at in range(2)]
    empty = [Record(**vars(found) | {"objects": []}) for found in plain]
    given = [replace(record("pump", f"g{at}"), objects=segments, id_map=Path("x.png")) for at in range(2)]
    splits = split_records(empty + given, ("sky",))
    assert in_split(splits, "validation") == {"crane": 1, "pump": 1}


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_stay_together(seed: int) -> None:
    copies = [record("brick", f"copy{at}", shows="one wall") for at in range(4)]
    across = [record("crane", "same", shows="one site"), record("pump", "same", shows="one site")]
    splits = split_records(folders(brick=30, crane=20, pump=20) + copies + across, seed=seed)
    assert len({splits.of[found.file_name] for found in copies}) == 1
    assert len({splits.of[found.file_name] for found in across}) == 1
    assert kinds(splits)["alike-across"] == 1
    assert kinds(splits)["alike"] == 0, "equal files are the same image"


def test_near_duplicates_stay_together_and_are_named() -> None:
    first = record("brick", "a")
    second = Record(**vars(record("brick", "b")) | {"dhash": f"{int(first.dhash, 16) ^ 0b101:016x}"})
    splits = split_records([first, second, *folders(brick=9)])
    assert splits.of["brick/a.jpg"] == splits.of["brick/b.jpg"]
    assert [(f.code, f.file, f.text) for f in splits.issues] == [("alike", "brick/a.jpg", "with brick/b.jpg")]


def test_a_seed_gives_one_split_and_the_order_of_the_records_does_not_matter() -> None:
    records = folders(crane=15, brick=40)
    splits = split_records(records, seed=3)
    assert dict(split_records(records[::-1], seed=3).of) == dict(splits.of)
    assert dict(split_records(records, seed=4).of) != dict(splits.of)


def test_the_split_is_the_same_on_every_machine() -> None:
    """Guards: sets of text iterate in another order in every process."""
    script = "from tests.data.test_split import digest_of_a_split as f\nprint(f())"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest_of_a_split() == KNOWN_DIGEST


KNOWN_DIGEST = "d50eba03a241158168a46498e6c06d148f6fcf3dbd72ae8c1b7b304427c40836"
"""Of the split below, as first drawn. It changes only with the method, and then all old splits change too."""


def digest_of_a_split() -> str:
    records = [
        record(
            f"class{at % 9}",
            f"{at}",
            (f"class{at % 9}", f"class{at % 5}"),
            f"{at // 2 * 2 if at % 7 else at}",
        )
        for at in range(200)
    ]
    chosen = sorted(split_records(records, seed=11).of.items())
    return sha256(json.dumps(chosen).encode()).hexdigest()


def test_folds_have_equal_sizes_and_every_class() -> None:
    splits = split_records(folders(crane=15, brick=45), folds=5)
    assert splits.names == ("fold_1", "fold_2", "fold_3", "fold_4", "fold_5")
    assert all(in_split(splits, name) == {"crane": 3, "brick": 9} for name in splits.names)


def test_a_saved_split_is_a_split_file(tmp_path: Path) -> None:
    records = folders(crane=15, brick=40)
    for folds in (None, 3):
        splits = split_records(records, seed=5, folds=folds)
        splits.save(tmp_path / "splits.json")
        assert load_splits(tmp_path / "splits.json").of == splits.of
        again = split_records(records, fixed=str(tmp_path / "splits.json"))
        assert again.of == splits.of
        assert again.names == splits.names


def test_what_a_split_file_names_stays_and_the_rest_is_placed(tmp_path: Path) -> None:
    file = tmp_path / "fixed.json"
    known = [f"brick/{at:04d}.jpg" for at in range(10)]
    file.write_text(json.dumps({"validation": known, "train": ["gone/1.jpg"]}))
    splits = split_records(folders(brick=100), fixed=str(file))
    assert {identity for identity, name in splits.of.items() if name == "validation"} == set(known)
    assert kinds(splits) == {"not-in-data": 1, "not-in-split-file": 90}


def test_a_split_file_may_tear_duplicates_apart_and_that_is_told(tmp_path: Path) -> None:
    file = tmp_path / "fixed.json"
    file.write_text(json.dumps({"train": ["brick/a.jpg"], "validation": ["brick/b.jpg"]}))
    torn = [record("brick", "a", shows="x"), record("brick", "b", shows="x"), record("brick", "c", shows="x")]
    splits = split_records(torn + folders(brick=10), fixed=str(file))
    assert splits.of["brick/a.jpg"] == splits.of["brick/c.jpg"] == "train"
    assert splits.of["brick/b.jpg"] == "validation"
    assert kinds(splits)["torn"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds a list at the top"),
        ('{"train": "all"}', "must hold"),
        ("{", "not valid JSON"),
        ('{"train": ["a"], "validation": ["a"]}', "twice: 'a'"),
        ('{"train": ["a"], "test": ["b"]}', "'test'"),
    ],
)
def test_split_files_of_another_form_are_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "fixed.json"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        split_records(folders(brick=10), fixed=str(file))


@pytest.mark.parametrize(
    ("records", "settings", "message"),
    [
        (folders(brick=1), {}, "cannot be split"),
        ([record("brick", name, shows="x") for name in "ab"], {}, "duplicates stay together"),
        (folders(brick=4), {"folds": 5}, "into 5 parts"),
        (folders(brick=4), {"folds": 1}, "2 or more"),
        (folders(brick=4), {"validation_fraction": 1.0}, "between 0 and 1"),
    ],
)
def test_impossible_splits_are_refused(records: list[Record], settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_records(records, **settings)


def test_gaps_are_filled_where_nothing_else_is_lost() -> None:
    """Serving d first, then c, puts both bearers of e into one part; moving the first of them mends it."""
    bearers = ({"e": 1, "c": 1}, {"c": 1, "d": 1, "e": 1}, {"c": 1, "d": 1})
    items = [Item(1, labels, str(lot)) for lot, labels in enumerate(bearers)]
    parts = stratify(items, [0.9, 0.1], {})
    for label in "cde":
        assert {part for part, item in zip(parts, items, strict=True) if label in item.labels} == {0, 1}


def test_settled_items_stay_even_if_a_label_is_then_in_one_part_only() -> None:
    items = [Item(1, {"a": 1}, str(at)) for at in range(3)]
    assert stratify(items, [0.9, 0.1], {0: 0, 1: 0, 2: 0}) == [0, 0, 0]


def test_splits_of_the_source_stay_unless_others_are_asked_for() -> None:
    places = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    records = [
        Record(**vars(found) | {"split": place})
        for found, place in zip(folders(brick=10), places, strict=True)
    ]
    kept = split_records(records)
    assert list(kept.of.values()) == places and kept.names == ("train", "validation", "test") and kept.is_own
    assert split_records(records, keep_own=False).names == ("train", "validation")
    assert split_records(records, folds=2).names == ("fold_1", "fold_2")
    without = split_records([found for found in records if found.split != "validation"])
    assert without.names == ("train", "validation") and not without.is_own
