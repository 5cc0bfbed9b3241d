"""From a door to a sink: what is repaired, left out and listed, and `detr-hf convert` around it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detr_hf.cli import convert as command
from detr_hf.cli import main
from detr_hf.data.convert import convert, lines_of, merged_categories
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sinks import sinks
from detr_hf.data.sources.base import Opened
from detr_hf.errors import UserError
from tests.data.made_source import MadeSource
from tests.data.sinks.sink_factories import CATEGORIES, boxes_sample, outlines_sample, thing


def opened(**splits: list[Sample]) -> Opened:
    return Opened({split: MadeSource(samples, CATEGORIES) for split, samples in splits.items()})


def content_of(out: Path, split: str = "train") -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / split / "annotations.json").read_bytes())
    return values


def test_objects_are_repaired_and_everything_is_listed(tmp_path: Path) -> None:
    sample = boxes_sample(tmp_path / "in")
    clipped = thing(1, [50.0, 10.0, 30.0, 10.0])
    empty = thing(2, [5.0, 5.0, 0.0, 5.0])
    missing = replace(sample, image=tmp_path / "in" / "missing.png", file_name="missing.png", image_id=11)
    given = opened(train=[replace(sample, objects=[clipped, empty]), missing])
    made = convert(given, tmp_path / "out", "coco", threads=1)
    assert made.read == {"train": 2}
    assert made.written == {"train": {"images": 1, "objects": 1}}
    assert content_of(tmp_path / "out")["annotations"][0]["bbox"] == [50.0, 10.0, 14.0, 10.0]
    changes = json.loads((tmp_path / "out" / "changes.json").read_bytes())
    assert changes["counts"] == {"box-clipped": 1, "box-empty": 1, "image-missing": 1}
    assert {one["file"] for one in changes["changes"]} == {"a/0.png", "missing.png"}
    assert next(lines_of(made.report)) == "  listed images have no file (1): image dropped"
    assert not made.is_unchanged


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    samples = [boxes_sample(tmp_path / "in", f"{at}.png", at) for at in range(30)]
    for threads in (1, 3):
        convert(opened(train=samples), tmp_path / str(threads), "coco", threads=threads)
    one, three = ((tmp_path / name / "train" / "annotations.json").read_bytes() for name in "13")
    assert one == three


def test_an_image_in_two_splits_is_lost_by_training(tmp_path: Path) -> None:
    shared, alone = boxes_sample(tmp_path / "in"), outlines_sample(tmp_path / "in")
    made = convert(opened(train=[shared, alone], val=[shared]), tmp_path / "out", "coco")
    assert [one["file_name"] for one in content_of(tmp_path / "out")["images"]] == ["b.png"]
    assert [one["file_name"] for one in content_of(tmp_path / "out", "val")["images"]] == ["a/0.png"]
    (place,) = made.report.places("leak")
    assert (place.split, place.file) == ("train", "a/0.png")
    assert list(made.written) == ["train", "val"]


def test_classes_of_all_splits_are_put_together() -> None:
    train = MadeSource([], [{"id": 1, "name": "a", "color": [1, 2, 3]}, {"id": 2, "name": "b"}])
    val = MadeSource([], [{"id": 1, "name": "b"}, {"id": 2, "name": "c"}])
    categories, issues = merged_categories({"train": train, "val": val})
    assert categories == [
        {"id": 1, "name": "a", "color": [1, 2, 3]},
        {"id": 2, "name": "b"},
        {"id": 3, "name": "c"},
    ]
    assert {issue.code for _, issue in issues} == {"category-renumbered"}
    assert [(split, issue.text) for split, issue in issues] == [
        ("val", "'b' is 1 here and becomes 2"),
        ("val", "'c' is 2 here and becomes 3"),
    ]


def test_corner_boxes_are_noticed_and_converted(tmp_path: Path) -> None:
    corners = [thing(at, [30.0 + at, 20.0 + at, 60.0 - at, 45.0 - at]) for at in range(4)]
    objects = [replace(one, area=(30 - 2 * at) * (25 - 2 * at)) for at, one in enumerate(corners)]
    sample = replace(boxes_sample(tmp_path / "in"), objects=objects)
    source = MadeSource([sample], CATEGORIES, xywh_px=False)
    made = convert(Opened({"train": source}), tmp_path / "out", "coco")
    assert content_of(tmp_path / "out")["annotations"][0]["bbox"] == [30.0, 20.0, 30.0, 25.0]
    assert made.report.count("box-format") == 1


def refusals(folder: Path) -> list[tuple[Opened, str]]:
    sample = boxes_sample(folder / "in")
    lost = replace(sample, image=None, issues=(Issue("image-missing", "gone", "x.png"),))
    stopped = MadeSource([sample], CATEGORIES, found=[Issue("data", "it is no use")])
    shares = [thing(at, [0.1 * at, 0.1, 0.9, 0.95]) for at in (1, 2, 9.5)]
    unclear = MadeSource([replace(sample, objects=shares)], CATEGORIES, xywh_px=False)
    return [
        (opened(train=[lost], val=[sample]), "no image of 'train' can be used\n  - .*have no file"),
        (Opened({"train": MadeSource([sample], [])}), "no class"),
        (Opened({"train": stopped}), "it is no use"),
        (Opened({"train": unclear}), "the format of the boxes cannot be determined"),
    ]


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("to", ["coco", "yolo", "hf"])
def test_what_cannot_be_used_is_refused_and_nothing_is_left(tmp_path: Path, case: int, to: str) -> None:
    source, message = refusals(tmp_path)[case]
    with pytest.raises(UserError, match=message):
        convert(source, tmp_path / "out", to)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_what_a_killed_run_left_changes_nothing(tmp_path: Path) -> None:
    given = opened(train=[boxes_sample(tmp_path / "in")])
    convert(given, tmp_path / "one", "yolo")
    (tmp_path / "two.partial" / "labels" / "train").mkdir(parents=True)
    (tmp_path / "two.partial" / "labels" / "train" / "old.txt").write_text("0 0 0 0 0\n")
    (tmp_path / "two").mkdir()
    convert(given, tmp_path / "two", "yolo")
    contents = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (tmp_path / "one", tmp_path / "two")
    ]
    assert contents[0] == contents[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "one", "two"]


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="not an empty folder"):
        convert(opened(train=[boxes_sample(tmp_path / "in")]), tmp_path / "out", "coco")
    assert (tmp_path / "out" / "mine.txt").read_text() == "x"


# ---- the command


def yolo_folder(folder: Path) -> Path:
    made = opened(train=[boxes_sample(folder / "in")], val=[outlines_sample(folder / "in")])
    convert(made, folder / "yolo", "yolo")
    return folder / "yolo"


def test_the_command_says_what_it_read_wrote_and_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = yolo_folder(tmp_path), tmp_path / "out"
    with (path / "labels" / "train" / "a" / "0.txt").open("a") as labels:
        labels.write("0 0.9 0.5 0.4 0.2\n")
    main(["convert", str(path), str(out), "--to", "coco"])
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        f"{path}: YOLO (Ultralytics or Darknet) (format: yolo); images: train 1, val 1",
        f"{out}: COCO detection",
        "  train: 1 of 1 image, 3 objects",
        "  val: 1 of 1 image, 3 objects",
    ]
    assert "  boxes reach over the edge of their image (1): repaired" in said
    assert content_of(out)["annotations"][2]["bbox"] == pytest.approx([44.8, 19.2, 19.2, 9.6])


def test_strict_ends_with_1_where_something_was_changed(tmp_path: Path) -> None:
    path = yolo_folder(tmp_path)
    words = ["convert", str(path), "", "--to", "coco", "--strict"]
    main([*words[:2], str(tmp_path / "one"), *words[3:]])
    with (path / "labels" / "train" / "a" / "0.txt").open("a") as labels:
        labels.write("0 0.9 0.5 0.4 0.2\n")
    with pytest.raises(SystemExit) as end:
        main([*words[:2], str(tmp_path / "two"), *words[3:]])
    assert end.value.code == 1
    assert (tmp_path / "two" / "train" / "annotations.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("missing OUT --to coco", "missing: there is no such file or folder"),
        ("PATH PATH/new --to coco", "which is only read"),
        ("PATH OUT --to coco --images nowhere", "nowhere: there is no such"),
        ("PATH OUT --to coco --format kitty", "format 'kitty' is none of"),
    ],
)
def test_wrong_arguments_are_refused(
    tmp_path: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"PATH": str(yolo_folder(tmp_path)), "OUT": str(tmp_path / "out")}
    for word, path in known.items():
        words = words.replace(word, path)
    with pytest.raises(SystemExit) as end:
        main(["convert", *words.split()])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_offers_every_sink() -> None:
    assert set(command.FORMATS) == set(sinks())
