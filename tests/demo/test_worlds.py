"""The two synthetic worlds: exact labels, reproducible scenes, data sets that are complete or absent."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from detr_hf.demo import dataset as dataset_module
from detr_hf.demo.canvas import Sketch
from detr_hf.demo.dataset import ensure_dataset, write_dataset
from detr_hf.demo.scene import MIN_STUFF_SHARE, MIN_THING_SHARE, Scene, draw_scene
from detr_hf.demo.worlds import YARD, World, categories_of, seen_wide
from detr_hf.errors import UserError
from detr_hf.files import UnwritableError
from tools.pretrain_tiny.street import STREET

CONSTRUCTION = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "construction.json"
SIZES_HW = ((240, 320), (240, 240), (320, 240), (270, 360))
COUNTS = {"train": 6, "validation": 3}


@pytest.fixture(scope="module", params=[YARD, STREET], ids=lambda world: world.name)
def world(request: pytest.FixtureRequest) -> World:
    return request.param


@pytest.fixture(scope="module")
def scenes(world: World) -> list[Scene]:
    return [draw_scene(5, index, SIZES_HW[index % 4], world=world) for index in range(100)]


@pytest.fixture(scope="module")
def written(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / world.name
    write_dataset(folder, COUNTS, seed=3, world=world)
    return folder


def _digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


DRAWN = {
    (0, 0, (240, 320)): "824872504c9626f7",
    (0, 1, (240, 240)): "7e735b4ea7311229",
    (7, 1_000_005, (320, 240)): "d6687216f6fc11ad",
    (3, 11, (270, 360)): "ae87d38816574b1e",
    (77, 2, (480, 640)): "1e6bd0125df99bbd",
}
"""Seed, number and size of a yard -> the beginning of its SHA-256."""


@pytest.mark.parametrize("arguments", DRAWN)
def test_a_yard_is_drawn_as_ever(arguments: tuple[int, int, tuple[int, int]]) -> None:
    """The demo's numbers in the documentation hold for these pixels; see also `GENERATOR_VERSION`."""
    scene = draw_scene(*arguments)
    segments = [(segment["id"], segment["category"], segment["is_thing"]) for segment in scene.segments]
    content = scene.image.tobytes() + scene.id_map.tobytes() + repr(segments).encode()
    assert hashlib.sha256(content).hexdigest()[:16] == DRAWN[arguments]


def test_same_arguments_same_scene(world: World) -> None:
    first, again = draw_scene(1, 2, world=world), draw_scene(1, 2, world=world)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.id_map, again.id_map)
    assert first.segments == again.segments


def test_scene_does_not_depend_on_scenes_drawn_before(world: World) -> None:
    """Guards: a generator or a cache shared between scenes."""
    alone = draw_scene(1, 9, world=world)
    for index in range(3):
        draw_scene(1, index, (96, 128), world=world)
    assert np.array_equal(draw_scene(1, 9, world=world).image, alone.image)


@pytest.mark.parametrize("change", [{"seed": 2}, {"index": 3}])
def test_seed_and_index_change_the_scene(world: World, change: dict[str, int]) -> None:
    arguments = {"seed": 1, "index": 2, "world": world}
    first, other = draw_scene(**arguments), draw_scene(**(arguments | change))
    assert not np.array_equal(first.image, other.image)


def test_shapes_and_types(scenes: list[Scene]) -> None:
    for index, scene in enumerate(scenes):
        size_hw = SIZES_HW[index % 4]
        assert scene.image.shape == (*size_hw, 3)
        assert scene.image.dtype == np.uint8
        assert scene.id_map.shape == size_hw
        assert scene.id_map.dtype == np.int32


def test_ids_of_map_and_list_are_the_same(scenes: list[Scene]) -> None:
    for scene in scenes:
        listed = [segment["id"] for segment in scene.segments]
        assert listed == list(range(1, len(listed) + 1))
        assert set(np.unique(scene.id_map).tolist()) - {0} == set(listed)


def test_nothing_listed_is_a_sliver(scenes: list[Scene]) -> None:
    for scene in scenes:
        for segment in scene.segments:
            share = float((scene.id_map == segment["id"]).mean())
            assert share >= (MIN_THING_SHARE if segment["is_thing"] else MIN_STUFF_SHARE)


def test_void_is_rare(scenes: list[Scene]) -> None:
    assert max(float((scene.id_map == 0).mean()) for scene in scenes) < 0.02


def test_one_segment_per_kind_of_stuff(scenes: list[Scene]) -> None:
    for scene in scenes:
        stuff = Counter(segment["category"] for segment in scene.segments if not segment["is_thing"])
        assert max(stuff.values()) == 1


def test_every_class_appears_and_only_known_ones(world: World, scenes: list[Scene]) -> None:
    seen = {(segment["category"], segment["is_thing"]) for scene in scenes for segment in scene.segments}
    assert seen == {(entry["name"], bool(entry["isthing"])) for entry in categories_of(world)}


def test_some_stuff_is_missing_in_some_scenes(scenes: list[Scene]) -> None:
    per_scene = [sum(not segment["is_thing"] for segment in scene.segments) for scene in scenes]
    assert min(per_scene) < 5 <= max(per_scene)


def test_worlds_share_no_class() -> None:
    names = [{entry["name"] for entry in categories_of(world)} for world in (YARD, STREET)]
    assert not names[0] & names[1]


def test_class_lists_are_the_agreed_ones() -> None:
    """The packaged checkpoint's head was trained on exactly these lists."""
    assert [entry["id"] for entry in categories_of(YARD)] == [
        *(1, 6, 11, 16, 22, 29, 31, 42, 46, 47),
        *(100, 105, 106, 108, 110),
    ]
    assert [entry["id"] for entry in categories_of(STREET)] == [
        *(3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 21, 28, 33, 44, 64),
        *(184, 185, 187, 194, 197),
    ]


def test_yard_facts_equal_the_construction_list() -> None:
    if not CONSTRUCTION.exists():
        pytest.skip("the construction data set's category list is not beside this checkout")
    facts = {entry["id"]: entry for entry in json.loads(CONSTRUCTION.read_text())["categories"]}
    for entry in categories_of(YARD):
        assert entry == facts[entry["id"]]


def test_placed_sketch_paints_color_and_label_on_the_same_pixels() -> None:
    sketch = Sketch()
    sketch.rect(-1.0, 0.0, 3.0, 2.0, (200.0, 100.0, 50.0))
    placed = sketch.moved(np.array([[5.0, 0.0], [0.0, -5.0]]))
    assert (placed.width, placed.height) == (20.0, 10.0)
    canvas = np.zeros((40, 60, 4), dtype=np.uint8)
    placed.paint(canvas, 30.0, 35.0, 7)
    rows, columns = np.nonzero(canvas[..., 3] == 7)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (20, 40, 25, 35)
    assert np.array_equal(canvas[..., 0] == 200, canvas[..., 3] == 7)


def test_written_files_agree_with_their_json(written: Path, world: World) -> None:
    """Areas and boxes are recounted pixel by pixel from the PNG files."""
    for split, count in COUNTS.items():
        content = json.loads((written / split / "panoptic.json").read_text())
        assert content["categories"] == categories_of(world)
        assert len(content["images"]) == len(content["annotations"]) == count
        for image, annotation in zip(content["images"], content["annotations"], strict=True):
            assert image["id"] == annotation["image_id"]
            photo = cv2.imread(str(written / split / "images" / image["file_name"]))
            assert photo.shape == (image["height"], image["width"], 3)
            blue, green, red = cv2.split(
                cv2.imread(str(written / split / "panoptic" / annotation["file_name"]))
            )
            ids = red.astype(int) + 256 * green.astype(int) + 65536 * blue.astype(int)
            assert ids.shape == photo.shape[:2]
            _recount(ids, annotation["segments_info"])


def _recount(ids: np.ndarray, segments: list[dict]) -> None:
    assert set(np.unique(ids).tolist()) - {0} == {segment["id"] for segment in segments}
    for segment in segments:
        rows, columns = np.nonzero(ids == segment["id"])
        x, y = int(columns.min()), int(rows.min())
        assert segment["area"] == len(rows)
        assert segment["bbox"] == [x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1]
        assert segment["iscrowd"] == 0


def test_photographs_are_rgb_on_disk(written: Path, world: World) -> None:
    """Guards: red and blue swapped on the way to the file."""
    content = json.loads((written / "train" / "panoptic.json").read_text())
    entry = content["images"][0]
    stored = cv2.imread(str(written / "train" / "images" / entry["file_name"]))[..., ::-1].astype(int)
    size_hw = entry["height"], entry["width"]
    drawn = draw_scene(3, entry["id"] - 1, size_hw, world=world).image.astype(int)
    assert np.abs(stored - drawn).mean() < 6.0


def test_splits_share_no_scene(written: Path) -> None:
    ids = [
        image["id"]
        for split in COUNTS
        for image in json.loads((written / split / "panoptic.json").read_text())["images"]
    ]
    assert len(set(ids)) == sum(COUNTS.values())
    digests = [digest for name, digest in _digest(written).items() if name.endswith(".jpg")]
    assert len(set(digests)) == sum(COUNTS.values())


def test_files_do_not_depend_on_the_order_of_splits(written: Path, world: World, tmp_path: Path) -> None:
    turned = dict(reversed(COUNTS.items()))
    write_dataset(tmp_path / "again", turned, seed=3, world=world)
    again = _digest(tmp_path / "again")
    assert {name: d for name, d in again.items() if name != "spec.json"} == {
        name: d for name, d in _digest(written).items() if name != "spec.json"
    }


def test_ensure_returns_at_once_when_the_same_set_is_there(written: Path, world: World) -> None:
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert ensure_dataset(written, COUNTS, seed=3, world=world) is False
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before


@pytest.mark.parametrize("change", ["seed", "counts", "world", "generator"])
def test_ensure_rebuilds_on_another_spec(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"counts": {"train": 2}, "seed": 0}
    assert ensure_dataset(tmp_path / "set", **arguments) is True
    if change == "generator":
        monkeypatch.setattr(dataset_module, "GENERATOR_VERSION", dataset_module.GENERATOR_VERSION + 1)
    else:
        arguments |= {"seed": {"seed": 1}, "counts": {"counts": {"train": 3}}, "world": {"world": STREET}}[
            change
        ]
    assert ensure_dataset(tmp_path / "set", **arguments) is True
    assert ensure_dataset(tmp_path / "set", **arguments) is False
    assert len(list((tmp_path / "set" / "train" / "images").iterdir())) == arguments["counts"]["train"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_failed_writing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_later(seed: int, index: int, size_hw: tuple[int, int], world: World) -> Scene:
        if index == 2:
            raise OSError("no space left")
        return draw_scene(seed, index, size_hw, world=world)

    monkeypatch.setattr(dataset_module, "draw_scene", fails_later)
    with pytest.raises(UnwritableError, match="no space left"):
        write_dataset(tmp_path / "set", {"train": 4}, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_failed_rebuilding_keeps_the_older_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "set", {"train": 1}, seed=0)
    before = _digest(tmp_path / "set")

    def fails(*_: object, **__: object) -> Scene:
        raise OSError("no space left")

    monkeypatch.setattr(dataset_module, "draw_scene", fails)
    with pytest.raises(UnwritableError, match="no space left"):
        ensure_dataset(tmp_path / "set", {"train": 1}, seed=1)
    assert _digest(tmp_path / "set") == before


def test_a_folder_with_other_things_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "photos.txt").write_text("mine")
    with pytest.raises(UserError, match="something else"):
        ensure_dataset(tmp_path, {"train": 1}, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["photos.txt"]


@pytest.mark.parametrize("counts", [{}, {"train": 0}, {"train": 2_000_000}, {"../up": 1}, {".hidden": 1}])
def test_impossible_splits_are_refused(counts: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(UserError):
        write_dataset(tmp_path / "set", counts, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="seed is -1"):
        ensure_dataset(tmp_path / "set", {"train": 1}, seed=-1)


def test_a_wide_yard_shows_more_things_of_fewer_pixels(tmp_path: Path) -> None:
    wide = seen_wide(YARD, 3)
    plain, far = (
        [
            (scene.id_map == segment["id"]).sum()
            for index in range(6)
            for scene in [draw_scene(5, index, size_hw, world=world)]
            for segment in scene.segments
            if segment["is_thing"]
        ]
        for world, size_hw in ((YARD, (240, 320)), (wide, (720, 960)))
    )
    assert len(far) > 2 * len(plain) and 0.15 < np.median(far) / np.median(plain) < 0.4
    assert seen_wide(YARD, 1) == YARD
    assert ensure_dataset(tmp_path / "yard", {"train": 1}, 0)
    assert ensure_dataset(tmp_path / "yard", {"train": 1}, 0, wide), "another set"
    found = json.loads((tmp_path / "yard" / "train" / "panoptic.json").read_text())
    assert min(found["images"][0]["height"], found["images"][0]["width"]) >= 720
