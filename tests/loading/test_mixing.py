"""RICAP, mosaic and copy-paste: image, boxes and id map stay together, whatever is cut."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from detr_hf.geometry import boxes_and_areas_of_segments
from detr_hf.loading.mixing import PARTNERS, Mixing, mixed
from detr_hf.loading.pieces import Piece
from detr_hf.recipe.data import Mix

STUFF = 9
SKY_ID = 700
CROWD_ID = 800
HUES = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200), "gray": (90, 90, 90)}


def piece(color: str, size_hw: tuple[int, int] = (40, 60), with_map: bool = True, category: int = 0) -> Piece:
    """Sky above, a thing of one color, a crowd in the lower right corner; every piece has the same ids."""
    height, width = size_hw
    image = np.full((height, width, 3), 30, np.uint8)
    id_map = np.zeros(size_hw, np.int32)
    id_map[: height // 2], image[: height // 2] = SKY_ID, 250
    thing = np.s_[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    id_map[thing], image[thing] = 5, HUES[color]
    id_map[-4:, -4:], image[-4:, -4:] = CROWD_ID, 120
    ids = np.array([5, SKY_ID])
    boxes = boxes_and_areas_of_segments(id_map, ids)[0]
    return Piece(image, boxes, ids, np.array([category, STUFF]), id_map if with_map else None)


def four(
    with_map: bool = True, sizes: tuple[tuple[int, int], ...] = ((40, 60), (50, 50), (20, 30), (90, 45))
) -> list:
    colors = zip(HUES, sizes, strict=True)
    return [piece(color, size, with_map, category) for category, (color, size) in enumerate(colors)]


def mix(name: str, seed: int, pieces: list[Piece], **settings: Any) -> Piece:
    mixing = Mixing(Mix(name=name, **settings), epochs=1, stuff_ids=[STUFF])
    return mixed(pieces[: 1 + PARTNERS[name]], mixing, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", PARTNERS)
def test_every_object_is_where_its_pixels_are(name: str, seed: int) -> None:
    found = mix(name, seed, four())
    assert found.image.shape == (40, 60, 3) and found.id_map is not None and found.id_map.shape == (40, 60)
    assert len(set(found.ids.tolist())) == len(found.ids) and 0 not in found.ids
    boxes, areas = boxes_and_areas_of_segments(found.id_map, found.ids)
    assert (areas > 0).all() and np.array_equal(boxes, found.boxes_xyxy_px)
    for number, category in zip(found.ids, found.categories, strict=True):
        pixels = found.image[found.id_map == number].astype(int)
        wanted = (250, 250, 250) if category == STUFF else list(HUES.values())[category]
        near = (np.abs(pixels - wanted).max(-1) <= 60).mean()  # resizing softens the rims
        assert near > 0.6, (name, category)
    assert found.categories.tolist().count(STUFF) <= 1, "one segment a stuff class"


@pytest.mark.parametrize("name", ["ricap", "mosaic"])
def test_boxes_alone_are_cut_as_the_map_is(name: str) -> None:
    for seed in range(20):
        with_map, boxes_only = mix(name, seed, four()), mix(name, seed, four(with_map=False))
        assert boxes_only.id_map is None and np.array_equal(with_map.image, boxes_only.image)
        inside = boxes_only.boxes_xyxy_px
        assert (inside >= 0).all() and (inside <= [60, 40, 60, 40]).all()
        for category in set(with_map.categories.tolist()) - {STUFF}:
            [drawn] = with_map.boxes_xyxy_px[with_map.categories == category]
            given = boxes_only.boxes_xyxy_px[boxes_only.categories == category]
            assert len(given) == 1 and np.abs(given[0] - drawn).max() <= 2


def test_what_is_left_of_an_object_must_be_more_than_its_share() -> None:
    """Guards: a share of the part, or of the whole image, in place of the object's own area."""
    seen = {"kept": 0, "dropped": 0}
    for seed in range(40):
        one = [piece("red", (40, 60), category=at) for at in range(4)]
        few, all_of_them = (
            mix("ricap", seed, one, min_share=0.6, beta=2.0),
            mix("ricap", seed, one, min_share=1e-6, beta=2.0),
        )
        for number, category in zip(all_of_them.ids, all_of_them.categories, strict=True):
            if category == STUFF:
                continue
            share = (all_of_them.id_map == number).sum() / (20 * 30)
            is_kept = number in few.ids
            assert is_kept == (share > 0.6), share
            seen["kept" if is_kept else "dropped"] += 1
    assert min(seen.values()) > 10


def test_crowds_keep_their_pixels_and_are_no_object() -> None:
    found = mix("mosaic", 3, four())
    crowd = np.abs(found.image.astype(int) - 120).max(-1) <= 5
    assert crowd.any()
    assert not np.isin(found.id_map[crowd], found.ids).any()
    assert (found.id_map[crowd] != 0).mean() > 0.9


def test_only_things_are_pasted_and_what_they_hide_is_gone() -> None:
    hidden = pasted = 0
    for seed in range(40):
        found = mix("copy_paste", seed, four(), min_share=0.5)
        assert found.categories.tolist().count(STUFF) == 1
        pasted += 1 in found.categories
        hidden += 0 not in found.categories
    assert 10 < pasted < 35 and hidden > 0


def test_of_stuff_any_part_is_left_where_things_are_pasted() -> None:
    """Guards: sky that shows above a pasted crane as void."""
    assert all(STUFF in mix("copy_paste", seed, four(), min_share=0.95).categories for seed in range(40))


def test_of_a_pasted_thing_more_than_its_share_must_be_seen() -> None:
    """Guards: a thing that is too large for the image, of which a corner is shown."""
    tiny = Piece(np.zeros((10, 10, 3), np.uint8), *piece_without_objects((10, 10)))
    parts = [mix("copy_paste", seed, [tiny, four()[1]], min_share=1e-6) for seed in range(20)]
    whole = [mix("copy_paste", seed, [tiny, four()[1]], min_share=0.9) for seed in range(20)]
    assert sum(len(part.ids) for part in parts) > 5 and not any(len(one.ids) for one in whole)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(parts, whole, strict=True))


@pytest.mark.parametrize("name", PARTNERS)
def test_the_same_numbers_make_the_same_image(name: str) -> None:
    first, second, other = mix(name, 1, four()), mix(name, 1, four()), mix(name, 2, four())
    assert np.array_equal(first.image, second.image) and np.array_equal(first.ids, second.ids)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("name", ["ricap", "mosaic"])
def test_of_a_strip_no_more_is_enlarged_than_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """guards: a strip of 10 x 1333 pixels, as high as an image of 800, is a quarter of a gigabyte."""
    largest, resize = [0], cv2.resize

    def watched(image: np.ndarray, size_wh: tuple[int, int], **settings: int) -> np.ndarray:
        largest[0] = max(largest[0], size_wh[0] * size_wh[1])
        return resize(image, size_wh, **settings)

    monkeypatch.setattr(cv2, "resize", watched)
    found = mix(name, 0, four(sizes=((200, 300), (8, 400), (400, 8), (9, 500))))
    assert found.image.shape == (200, 300, 3) and 0 < largest[0] < 4 * 200 * 300


@pytest.mark.parametrize("size_hw", [(1, 60), (40, 1), (1, 1)])
@pytest.mark.parametrize("name", PARTNERS)
def test_an_image_of_one_row_or_column_is_mixed_too(name: str, size_hw: tuple[int, int]) -> None:
    pieces = four()
    tiny = Piece(np.zeros((*size_hw, 3), np.uint8), *piece_without_objects(size_hw))
    found = mix(name, 0, [tiny, *pieces[1:]])
    assert found.image.shape == (*size_hw, 3) and found.id_map is not None
    assert np.isin(found.ids, found.id_map).all()


def piece_without_objects(size_hw: tuple[int, int]) -> tuple:
    none = np.zeros(0, np.int64)
    return np.zeros((0, 4), np.float32), none, none, np.zeros(size_hw, np.int32)
