"""Large images in windows: what each shows, which an epoch has, and that nothing else decides it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from detr_hf.data.build import build_bundle
from detr_hf.geometry import (
    boxes_and_areas_of_segments,
    boxes_cxcywh_to_xyxy,
    denormalize_boxes,
    tile_windows,
)
from detr_hf.images import decode_id_map, decode_image
from detr_hf.loading import dataset as dataset_module
from detr_hf.loading.balance import images_with_more_objects, repeat_factors
from detr_hf.loading.dataset import MIN_SEGMENT_PX, DetectionDataset
from detr_hf.loading.loaders import TrainingLoader, evaluation_loader
from detr_hf.loading.mixing import Mixing
from detr_hf.loading.pieces import Piece
from detr_hf.loading.rows import StreamKey, StreamRows, TableRows
from detr_hf.loading.samplers import BatchPlan, EvaluationSampler, StepSampler
from detr_hf.loading.tiles import TileTable, Tiling, tile_table
from detr_hf.loading.transforms import build_transforms
from detr_hf.recipe import Data
from detr_hf.recipe.data import Mix, Tiles
from tests.factories import write_coco_detection, write_coco_panoptic

pytestmark = [
    pytest.mark.usefixtures("own_cache"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]

STUFF_IDS = [3, 4]
TILES = Tiles(size=48, overlap=0.3, min_share=0.4)
POLICY: list[dict[str, Any]] = [{"name": "HorizontalFlip"}, {"name": "GaussNoise", "p": 1.0}]


def rows_of(tmp_path: Path, tiles: Tiles = TILES, panoptic: bool = True, **more: Any) -> TableRows:
    write = write_coco_panoptic if panoptic else write_coco_detection
    split = write(tmp_path / "data", count=5, **more)
    data = Data(train=split, overfit=5)
    return TableRows(build_bundle(data, tmp_path / "run").dataset["train"], Tiling(tiles, STUFF_IDS))


def dataset_of(rows: TableRows, policy: list[dict[str, Any]] | None = None, **more: Any) -> DetectionDataset:
    return DetectionDataset(rows, build_transforms(policy or [], "transforms.train"), seed=5, **more)


def pixels_of(target: Any) -> np.ndarray:
    return denormalize_boxes(boxes_cxcywh_to_xyxy(target["boxes_cxcywh_norm"]), target["size_hw"]).numpy()


# ---- what a window shows


def test_every_window_has_the_objects_that_its_part_of_the_map_shows(tmp_path: Path) -> None:
    """Guards: boxes cut as boxes while masks end elsewhere, crowds without their pixels, ids that change."""
    rows = rows_of(tmp_path, crowd=True)
    images = dataset_of(rows, with_masks=True, mean=(0, 0, 0), std=(1, 1, 1))
    shown: Counter[bool] = Counter()
    for number in range(rows.num_images):
        row = rows.table[number]
        image, id_map = decode_image(row["image"]), decode_id_map(row["panoptic"])
        objects = {name: np.asarray(values) for name, values in row["objects"].items()}
        single = np.flatnonzero(~objects["iscrowd"])
        own = boxes_and_areas_of_segments(id_map, objects["id"])[1]
        windows = tile_windows(id_map.shape, 48, 0.3)  # type: ignore[arg-type]
        keys = rows.keys_of(number)
        assert len(keys) == len(windows) > 4
        for key, (left, top, right, bottom) in zip(keys, windows, strict=True):
            pixels, target = images[key]
            part = id_map[top:bottom, left:right]
            boxes, areas = boxes_and_areas_of_segments(part, objects["id"])
            needed = np.where(np.isin(objects["category"], STUFF_IDS), 0, 0.4 * np.minimum(own, part.size))
            expected = [at for at in single if areas[at] > needed[at] and areas[at] >= MIN_SEGMENT_PX]
            shown.update((areas[single] > 0) & ~np.isin(single, expected))
            assert target["segment_ids"].tolist() == objects["id"][expected].tolist()
            assert target["class_labels"].tolist() == objects["category"][expected].tolist()
            np.testing.assert_allclose(pixels_of(target), boxes[expected], atol=1e-3)
            np.testing.assert_array_equal(target["id_map"].numpy(), part)
            colors = (pixels * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
            np.testing.assert_array_equal(colors, image[top:bottom, left:right])
            assert target["window"] == (left, top, right, bottom)
            assert target["original_size_hw"] == part.shape and target["whole_size_hw"] == id_map.shape
    assert shown[True] > 5, "some objects are seen, and too little of them"


def test_boxes_alone_are_cut_and_judged_by_their_own_area(tmp_path: Path) -> None:
    """Guards: the table of windows, which decides what is empty, and what is loaded disagree."""
    rows = rows_of(tmp_path, panoptic=False, crowd=True)
    images, tiles = dataset_of(rows), rows.tiles
    assert tiles is not None
    for tile in range(len(rows)):
        _, target = images[(0, tile)]
        counted = tiles.object_classes[tiles.object_tiles == tile]
        assert target["class_labels"].tolist() == counted.tolist()
        assert bool(tiles.is_empty[tile]) == (len(counted) == 0)
        boxes = pixels_of(target)
        assert (boxes >= 0).all() and (boxes <= 48 + 1e-3).all()
    assert 0 < tiles.is_empty.sum() < len(tiles)


def piece_with(box: list[float], size_hw: tuple[int, int]) -> Piece:
    boxes = np.array([box], np.float32)
    return Piece(np.zeros((*size_hw, 3), np.uint8), boxes, np.ones(1, np.int64), np.zeros(1, np.int64), None)


def test_what_is_larger_than_a_window_is_known_by_the_part_of_the_window_that_it_fills() -> None:
    """Guards: of a building over thirty windows each shows less than its share, so nobody would learn it."""
    tiling = Tiling(Tiles(size=100, min_share=0.3), [])
    huge = piece_with([50, 0, 1000, 1000], (1000, 1000))
    assert tiling.cut(huge, (0, 0, 100, 100)).boxes_xyxy_px.tolist() == [[50, 0, 100, 100]]
    assert len(tiling.cut(huge, (0, 0, 79, 100)).ids) == 1 and len(tiling.cut(huge, (0, 0, 71, 100)).ids) == 0
    small = piece_with([90, 0, 110, 20], (1000, 1000))
    assert (
        len(tiling.cut(small, (0, 0, 97, 100)).ids) == 1 and len(tiling.cut(small, (0, 0, 96, 100)).ids) == 0
    )


def test_what_a_transform_does_in_place_stays_in_its_window() -> None:
    whole = piece_with([0, 0, 9, 9], (20, 40))
    part = Tiling(Tiles(size=20), []).cut(whole, (0, 0, 40, 20))
    part.image[:] = 7
    assert (whole.image == 0).all()


def test_small_images_stay_whole(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, Tiles(size=500))
    assert len(rows) == rows.num_images == 5
    whole = dataset_of(TableRows(rows.table), with_masks=True)
    for at in range(5):
        (pixels, target), (same, expected) = dataset_of(rows, with_masks=True)[(0, at)], whole[(0, at)]
        assert torch.equal(pixels, same) and torch.equal(target["id_map"], expected["id_map"])
        assert torch.equal(target["boxes_cxcywh_norm"], expected["boxes_cxcywh_norm"])


def test_windows_that_follow_each_other_decode_their_image_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, decoded = rows_of(tmp_path, panoptic=False), []

    def counting(source: Any) -> np.ndarray:
        decoded.append(source)
        return decode_image(source)

    monkeypatch.setattr(dataset_module, "decode_image", counting)
    batches = list(evaluation_loader(dataset_of(rows), batch_size=2))
    assert sum(len(batch) for batch in batches) == len(rows) > 20 and len(decoded) == rows.num_images


# ---- which windows an epoch has


def table(empty: list[bool], keep_empty: float) -> TileTable:
    """A window a row; those that are not empty hold an object of class 0, the first one of class 1, too."""
    tiles = np.flatnonzero(~np.array(empty))
    count = len(empty)
    return TileTable(
        np.arange(count),
        np.tile(np.array([0, 0, 10, 20]), (count, 1)),
        np.array(empty),
        np.array([*tiles, tiles[0]]),
        np.array([*[0] * len(tiles), 1]),
        keep_empty,
    )


EMPTY = [False] * 8 + [True] * 20


def epochs_of(keep_empty: float, rank: int = 0, world_size: int = 1, epochs: int = 12) -> list[list[int]]:
    plan = BatchPlan(2, 1, seed=3, rank=rank, world_size=world_size)
    sampler = StepSampler(28, plan, table(EMPTY, keep_empty).shown)
    return [[key[1] for keys in sampler for key in keys] for _ in range(epochs)]


def test_an_epoch_shows_all_windows_with_things_and_a_share_of_the_others() -> None:
    epochs = epochs_of(0.2)
    for epoch in epochs:
        assert len(epoch) == 12 and len(set(epoch)) == 12, "8 and a fifth of 20, in whole steps of 2"
        assert set(range(8)) <= set(epoch)
    assert len({tile for epoch in epochs for tile in epoch}) > 25, "others each time"
    assert epochs == epochs_of(0.2), "from the seed alone"
    halves = [epochs_of(0.2, rank, 2) for rank in range(2)]
    for epoch, *parts in zip(epochs, *halves, strict=True):
        assert sorted(epoch) == sorted(tile for part in parts for tile in part)


def test_windows_without_a_thing_are_left_out_with_their_stuff(tmp_path: Path) -> None:
    """Guards: where every pixel is stuff, no window would be without an object."""
    tiles = rows_of(tmp_path).tiles
    assert tiles is not None and 0 < tiles.is_empty.sum() < len(tiles)
    assert len(set(tiles.object_tiles[np.isin(tiles.object_classes, STUFF_IDS)])) == len(tiles)
    kept = tiles.without_empty()
    things = ~np.isin(tiles.object_classes, STUFF_IDS)
    assert len(kept) == len(set(tiles.object_tiles[things])) == (~tiles.is_empty).sum()
    pairs = [
        sorted(
            zip(
                *(t.windows[t.object_tiles].T.tolist()), t.rows[t.object_tiles], t.object_classes, strict=True
            )
        )
        for t in (tiles, kept)
    ]
    assert set(pairs[1]) <= set(pairs[0]) and not kept.is_empty.any()


def test_classes_are_counted_by_window() -> None:
    tiles = table(EMPTY, keep_empty=0.1)  # 8 + 2 windows an epoch, 1 of them with class 1
    factors = repeat_factors(datasets.Dataset.from_dict({}), 2, 0.4, tiles)
    np.testing.assert_allclose(factors, [2.0] + [1.0] * 7 + [0.1] * 20)
    assert images_with_more_objects(datasets.Dataset.from_dict({}), 1, tiles) == (1, 2)
    assert tiles.aspects.tolist() == [2.0] * 28


def test_neither_workers_nor_processes_nor_a_resume_change_a_window(tmp_path: Path) -> None:
    mixing = Mixing(Mix(name="mosaic", p=0.5), epochs=9, stuff_ids=STUFF_IDS)
    rows = rows_of(tmp_path, Tiles(size=80, keep_empty=0.5))
    images = dataset_of(rows, POLICY, with_masks=True, mixing=mixing)
    assert rows.tiles is not None

    def loaded(workers: int = 0, step: int = 0, rank: int = 0, world_size: int = 1) -> list[Any]:
        plan = BatchPlan(2, 1, 5, rank, world_size)
        loader = TrainingLoader(images, StepSampler(len(rows), plan, rows.tiles.shown), workers)  # type: ignore[union-attr]
        loader.sampler.set_position(1, step)
        return [
            (b.targets[0]["image_id"], b.targets[0]["window"], b.pixel_values, b.targets[0]["id_map"])
            for b in loader
        ]

    def same(a: list[Any], b: list[Any]) -> bool:
        pairs = list(zip(a, b, strict=True))
        return all(x[:2] == y[:2] and torch.equal(x[2], y[2]) and torch.equal(x[3], y[3]) for x, y in pairs)

    whole = loaded()
    assert same(whole, loaded(workers=2)) and same(whole[4:], loaded(step=2))
    halves = [loaded(rank=rank, world_size=2) for rank in range(2)]
    assert same(whole, [one for pair in zip(*halves, strict=True) for one in pair])


def test_windows_of_one_image_are_evaluated_by_one_process_in_batches_of_their_own() -> None:
    sizes = [(48, 48)] * 5 + [(30, 40)] * 3 + [(48, 48)] * 3
    images = [0, 0, 0, 0, 0, 1, 2, 3, 4, 4, 4]
    for world_size in (1, 2, 3):
        ranks = [list(EvaluationSampler(sizes, 2, rank, world_size, images)) for rank in range(world_size)]
        found = sorted(row for batches in ranks for keys in batches for _, row in keys)
        assert found == list(range(len(sizes)))
        owners = {(images[row], rank) for rank, batches in enumerate(ranks) for b in batches for _, row in b}
        assert all(count == 1 for image, count in Counter(i for i, _ in owners).items() if image in (0, 4))
    batches = [[row for _, row in keys] for keys in EvaluationSampler(sizes, 2, 0, 1, images)]
    assert batches == [[0, 1], [2, 3], [4], [5, 6], [7], [8, 9], [10]]


# ---- streams


def streamed(rows: TableRows, tiles: Tiles, seed: int = 0) -> StreamRows:
    def check(row: Any, place: int) -> Any:
        return row

    stream = datasets.Dataset.from_list([{"at": 0}]).to_iterable_dataset()
    return StreamRows(stream, check, 5, rows.is_panoptic, Tiling(tiles, STUFF_IDS, seed))


def test_an_image_of_a_stream_shows_one_window_that_follows_from_seed_and_place(tmp_path: Path) -> None:
    rows, tiles = rows_of(tmp_path), Tiles(size=48, overlap=0.3, keep_empty=0.0)
    row = rows.table[2]
    grid = tile_windows((row["height"], row["width"]), 48, 0.3)
    windows = [streamed(rows, tiles).row(StreamKey(0, place, row))["window"] for place in range(25)]
    assert windows == [streamed(rows, tiles).row(StreamKey(1, place, row))["window"] for place in range(25)]
    assert windows != [
        streamed(rows, tiles, seed=1).row(StreamKey(0, place, row))["window"] for place in range(25)
    ]
    all_tiles = tile_table(rows.table, Tiling(tiles, STUFF_IDS))
    with_things = {
        tuple(window)
        for window, number, empty in zip(
            all_tiles.windows.tolist(), all_tiles.rows, all_tiles.is_empty, strict=True
        )
        if number == 2 and not empty
    }
    assert set(windows) == with_things < set(grid)
    images = DetectionDataset(streamed(rows, tiles), build_transforms([], "x"), 5, with_masks=True)
    assert images[StreamKey(0, 3, row)][1]["window"] == windows[3]


def test_an_image_of_a_stream_without_a_thing_keeps_its_place(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, empty=5)
    shown = streamed(rows, Tiles(size=48, keep_empty=0.0)).row(StreamKey(0, 0, rows.table[0]))["window"]
    assert shown in tile_windows((96, 128), 48, 0.2)
