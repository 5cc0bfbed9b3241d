"""Stuff that a teacher paints: mapped, merged, resized, resumed, and shared out over processes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.data import pseudo_label as stuff_step
from detr_hf.data.pseudo_label import (
    FoundStuff,
    paint_mapped,
    pseudo_label,
    read_pseudo_stuff,
    summarize_stuff,
)
from detr_hf.data.records import Record
from detr_hf.data.stuff_mapping import StuffMapping, load_mapping
from detr_hf.errors import UserError
from detr_hf.geometry import id_to_rgb
from detr_hf.images import decode_id_map
from detr_hf.labels import construction_labels
from detr_hf.recipe.prepare import PseudoStuff

MAPPING = StuffMapping("test", {"dirt": "ground", "road": "ground", "cloud": "sky", "soup": None})


class TwoHalves:
    """Finds clouds in the upper half and dirt in the lower, at half the picture's size."""

    name = "two halves"
    stuff_names: tuple[str, ...] = ("dirt", "cloud")

    def __init__(self, fingerprint: str = "1") -> None:
        self.fingerprint = fingerprint
        self.asked: list[tuple[Any, ...]] = []

    def find(self, image: np.ndarray, score_threshold: float, mask_threshold: float) -> FoundStuff:
        self.asked.append((image.shape, score_threshold, mask_threshold))
        height, width = image.shape[0] // 2, image.shape[1] // 2
        id_map = np.full((height, width), 5, np.int32)
        id_map[: height // 2] = 9
        return FoundStuff(id_map, [(5, "dirt", 0.9), (9, "cloud", 0.95)])


def record(number: int, **changes: Any) -> Record:
    file = f"crane/images/{number}.png"
    values = {"file_name": file, "image": Path(file), "objects": [], "size_hw": (4, 8)}
    return Record(**{"image_id": number, "sha256": f"{number:064x}", "dhash": "0" * 16, **values, **changes})


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three pictures of 8 x 4 pixels."""
    folder = tmp_path / "raw"
    (folder / "crane" / "images").mkdir(parents=True)
    for number in (1, 2, 3):
        Image.new("RGB", (8, 4), (number, 0, 0)).save(folder / "crane" / "images" / f"{number}.png")
    return folder


@pytest.fixture
def records() -> list[Record]:
    return [record(1), record(2), record(3)]


def files_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


# ---- one picture


def test_the_same_class_is_merged_and_keeps_the_best_score() -> None:
    found = FoundStuff(
        np.array([[3, 3, 7, 0], [3, 3, 7, 4]], np.int32),
        [(3, "dirt", 0.9), (7, "road", 0.96), (4, "cloud", 0.88)],
    )
    id_map, segments = paint_mapped(found, MAPPING, (2, 4))
    assert id_map.tolist() == [[1, 1, 1, 0], [1, 1, 1, 2]]
    assert segments == [
        {"id": 1, "category": "ground", "score": 0.96, "area": 6},
        {"id": 2, "category": "sky", "score": 0.88, "area": 1},
    ]


def test_resizing_takes_the_nearest_pixel_and_never_mixes_ids() -> None:
    found = FoundStuff(np.array([[1, 4], [0, 4]], np.int32), [(1, "dirt", 0.9), (4, "cloud", 0.9)])
    id_map, segments = paint_mapped(found, MAPPING, (4, 6))
    assert id_map.tolist() == [[1, 1, 1, 2, 2, 2]] * 2 + [[0, 0, 0, 2, 2, 2]] * 2
    assert [segment["area"] for segment in segments] == [6, 12]


def test_a_segment_that_vanishes_in_a_smaller_picture_is_not_listed_and_ids_stay_dense() -> None:
    found = FoundStuff(np.full((9, 9), 2, np.int32), [(1, "cloud", 0.9), (2, "dirt", 0.9)])
    found.id_map[0, 0] = 1
    id_map, segments = paint_mapped(found, MAPPING, (3, 3))
    assert [(segment["id"], segment["category"]) for segment in segments] == [(1, "ground")]
    assert set(np.unique(id_map)) == {1}


def test_classes_under_void_and_no_stuff_at_all_leave_void() -> None:
    soup = FoundStuff(np.array([[1, 2]], np.int32), [(1, "soup", 0.9), (2, "dirt", 0.9)])
    id_map, segments = paint_mapped(soup, MAPPING, (1, 2))
    assert id_map.tolist() == [[0, 1]] and [segment["category"] for segment in segments] == ["ground"]
    id_map, segments = paint_mapped(FoundStuff(np.zeros((2, 2), np.int32), []), MAPPING, (3, 5))
    assert id_map.shape == (3, 5) and not id_map.any() and segments == []


# ---- the step


def test_every_picture_gets_a_map_of_its_own_size_and_its_segments(
    raw: Path, records: list[Record], tmp_path: Path
) -> None:
    teacher, out = TwoHalves(), tmp_path / "out"
    pseudo_label(records, raw, teacher, MAPPING, out, PseudoStuff(score_threshold=0.6, mask_threshold=0.4))
    assert teacher.asked == [((4, 8, 3), 0.6, 0.4)] * 3
    assert set(files_of(out)) == {f"{number}.{kind}" for number in (1, 2, 3) for kind in ("png", "json")}
    id_map, segments = read_pseudo_stuff(record(2), out)
    assert id_map.tolist() == [[2] * 8] * 2 + [[1] * 8] * 2
    assert (decode_id_map(out / "2.png") == id_map).all()
    assert [(s["category"], s["score"], s["area"]) for s in segments] == [
        ("ground", 0.9, 16),
        ("sky", 0.95, 16),
    ]
    assert summarize_stuff(records, out) == [
        "3 images labeled by machine; 0.0% of the pixels are covered by no stuff",
        "ground: 3 segments, mean score 0.90",
        "sky: 3 segments, mean score 0.95",
    ]


def test_a_killed_run_goes_on_and_gives_the_same_bytes(
    raw: Path, records: list[Record], tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pseudo_label(records, raw, TwoHalves(), MAPPING, whole)

    class Dying(TwoHalves):
        def find(self, *arguments: Any) -> FoundStuff:
            if len(self.asked) == 1:
                raise KeyboardInterrupt
            return super().find(*arguments)

    with pytest.raises(KeyboardInterrupt):
        pseudo_label(records, raw, Dying(), MAPPING, broken)
    (broken / "3.png").write_bytes(
        (whole / "3.png").read_bytes()
    )  # killed between the two files of a picture
    teacher = TwoHalves()
    pseudo_label(records, raw, teacher, MAPPING, broken)
    assert len(teacher.asked) == 2
    assert files_of(broken) == files_of(whole)


@pytest.mark.parametrize("changed", ["nothing", "teacher", "threshold", "mapping", "picture", "map lost"])
def test_what_is_done_is_done_anew_only_when_something_changed(
    changed: str, raw: Path, records: list[Record], tmp_path: Path
) -> None:
    out, mapping, settings, teacher = tmp_path / "out", MAPPING, PseudoStuff(), TwoHalves()
    pseudo_label(records, raw, TwoHalves(), mapping, out, settings)
    if changed == "teacher":
        teacher = TwoHalves(fingerprint="2")
    elif changed == "threshold":
        settings = PseudoStuff(mask_threshold=0.25)
    elif changed == "mapping":
        mapping = StuffMapping("other", {**MAPPING.to_class, "dirt": "floor"})
    elif changed == "picture":
        records[0] = record(1, sha256="f" * 64)
    elif changed == "map lost":
        (out / "3.png").unlink()
    pseudo_label(records, raw, teacher, mapping, out, settings)
    again = {"nothing": 0, "picture": 1, "map lost": 1}.get(changed, 3)
    assert len(teacher.asked) == again


def test_processes_share_the_pictures_without_overlap(
    raw: Path, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    pseudo_label(records, raw, TwoHalves(), MAPPING, alone)
    asked, waits = [], []
    for rank in (0, 1):
        teacher = TwoHalves()
        state = SimpleNamespace(
            process_index=rank, num_processes=2, wait_for_everyone=lambda: waits.append(None)
        )
        monkeypatch.setattr("accelerate.PartialState", lambda state=state: state)
        pseudo_label(records, raw, teacher, MAPPING, shared)
        asked.append(len(teacher.asked))
    assert asked == [2, 1] and len(waits) == 2
    assert files_of(shared) == files_of(alone)


def test_pictures_that_came_with_an_id_map_need_no_teacher(
    raw: Path, records: list[Record], tmp_path: Path
) -> None:
    records[1] = record(2, id_map=Path("crane/annotations/2.png"))
    teacher, out = TwoHalves(), tmp_path / "out"
    pseudo_label(records, raw, teacher, MAPPING, out)
    assert len(teacher.asked) == 2 and "2.png" not in files_of(out)
    assert summarize_stuff(records, out)[0].startswith("2 images")


# ---- refusals


def test_all_unmapped_names_are_listed_before_a_picture_is_opened(
    raw: Path, records: list[Record], tmp_path: Path
) -> None:
    teacher = TwoHalves()
    teacher.stuff_names = ("dirt", "lava", "cloud", "tar")
    with pytest.raises(UserError, match=r"2 stuff classes of the teacher two halves: lava, tar"):
        pseudo_label(records, raw, teacher, MAPPING, tmp_path / "out")
    assert teacher.asked == [] and not (tmp_path / "out").exists()


def test_a_picture_that_changed_its_size_or_leaves_the_folder_is_refused(
    raw: Path, records: list[Record], tmp_path: Path
) -> None:
    records[0] = record(1, size_hw=(4, 9))
    with pytest.raises(UserError, match=r"crane/images/1.png: is 8 x 4 pixels now and was 9 x 4"):
        pseudo_label(records, raw, TwoHalves(), MAPPING, tmp_path / "out")


def test_missing_and_foreign_results_are_not_taken(raw: Path, records: list[Record], tmp_path: Path) -> None:
    out = tmp_path / "out"
    pseudo_label(records, raw, TwoHalves(), MAPPING, out)
    with pytest.raises(UserError, match="run the step `pseudo` first"):
        read_pseudo_stuff(record(1, sha256="e" * 64), out)
    Image.fromarray(id_to_rgb(np.zeros((3, 3), np.int32))).save(out / "2.png")
    with pytest.raises(UserError, match="not of the size"):
        read_pseudo_stuff(record(2), out)
    (out / "3.json").unlink()
    with pytest.raises(UserError, match=r"crane/images/3.png: has no pseudo-labels"):
        summarize_stuff(records, out)


# ---- mappings


def test_the_preset_gives_every_stuff_class_of_coco_panoptic_a_place() -> None:
    mapping = load_mapping("construction")
    presets = Path(stuff_step.__file__).parents[1] / "presets"
    names = json.loads((presets / "coco_panoptic_stuff.json").read_text(encoding="utf-8"))
    assert len(names) == 53
    mapping.require(names.values(), "any")
    labels = construction_labels()
    assert set(mapping.classes) == {labels.names[index] for index in labels.stuff_ids}
    wanted = {"dirt-merged": "ground", "fence-merged": "structural", "tree-merged": "plant"}
    assert {name: mapping.to_class[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.yaml", "ground: [dirt, road]\nsky: [cloud]\nvoid: [soup]\n"),
        ("map.json", '{"ground": ["dirt", "road"], "sky": ["cloud"], "void": ["soup"]}'),
    ],
)
def test_a_mapping_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    mapping = load_mapping(str(tmp_path / name))
    assert mapping.to_class == MAPPING.to_class and mapping.classes == ("ground", "sky")
    assert mapping.fingerprint == MAPPING.fingerprint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ground: [dirt]\nsky: [dirt]\n", "dirt stands under ground and under sky"),
        ("ground: dirt\n", "'ground': expected a class name with a list"),
        ("ground: [1]\n", "ground: 1 is not text"),
        ("- ground\n", "expected classes"),
        ("ground: [dirt\n", "cannot be read"),
        ("ground: !!python/object/apply:os.getcwd []\n", "cannot be read"),
    ],
)
def test_a_faulty_mapping_file_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=complaint):
        load_mapping(str(tmp_path / "map.yaml"))


def test_a_mapping_file_that_is_not_there() -> None:
    with pytest.raises(UserError, match="there is no such file"):
        load_mapping("nowhere.yaml")
