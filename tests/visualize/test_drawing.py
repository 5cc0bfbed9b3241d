"""Drawn images, checked by their pixels."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from detr_hf.geometry import boxes_and_areas_of_segments
from detr_hf.images import decode_id_map, decode_image
from detr_hf.labels import LabelMap
from detr_hf.visualize.boxes import draw_detections
from detr_hf.visualize.panoptic import draw_panoptic
from detr_hf.visualize.sheets import contact_sheet

SAMPLE = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "coco_panoptic_sample"
LABELS = LabelMap.from_coco(
    [
        {"id": 1, "name": "brick", "isthing": 1, "color": [200, 0, 0]},
        {"id": 2, "name": "cone", "isthing": 1, "color": [0, 200, 0]},
        {"id": 3, "name": "sky", "isthing": 0, "color": [0, 0, 200]},
    ]
)
BRICK, CONE, SKY = 0, 1, 2


def gray(height: int = 480, width: int = 640, level: int = 128) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def boxes(*rows: list[float], labels: list[int], scores: list[float] | None = None) -> SimpleNamespace:
    return SimpleNamespace(boxes_xyxy_px=np.array(rows, np.float32), labels=labels, scores=scores)


def is_color(drawn: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(np.asarray(drawn).astype(int) - color).sum(-1) <= 3).astype(bool)


# -- boxes


def test_box_is_drawn_in_its_class_color_at_its_place() -> None:
    drawn = draw_detections(gray(), boxes([100, 200, 300, 400], labels=[BRICK], scores=[0.9]), LABELS)
    assert drawn.size == (640, 480)
    assert drawn.mode == "RGB"
    red = is_color(drawn, (200, 0, 0))
    rows, columns = np.nonzero(red[200:])
    assert (columns.min(), columns.max(), rows.max() + 200) == (100, 299, 399)
    assert red[300, 100]
    assert red[300, 299]
    assert red[399, 200]
    assert not red[210:390, 110:290].any()


def test_input_is_not_changed() -> None:
    image = gray()
    draw_detections(image, boxes([10, 10, 90, 90], labels=[BRICK], scores=[0.9]), LABELS)
    draw_panoptic(image, np.ones((480, 640), np.int32), [(1, SKY, None)], LABELS)
    assert (image == 128).all()


@pytest.mark.parametrize("level", [0, 128, 200, 255])
def test_box_stands_out_on_any_ground(level: int) -> None:
    """Along the box's edge some pixels differ strongly from the ground in lightness, whatever that is."""
    drawn = draw_detections(gray(level=level), boxes([100, 100, 300, 300], labels=[BRICK]), LABELS)
    edge = np.asarray(drawn.convert("L")).astype(int)[200, 90:110]
    assert np.abs(edge - level).max() > 50


def test_no_box_leaves_the_image_alone() -> None:
    empty = SimpleNamespace(boxes_xyxy_px=np.zeros((0, 4), np.float32), labels=[], scores=[])
    assert (np.asarray(draw_detections(gray(), empty, LABELS)) == 128).all()


def test_better_score_lies_on_top_whatever_the_order() -> None:
    place = [100.0, 200, 300, 400]
    for order in ([BRICK, CONE], [CONE, BRICK]):
        scores = [0.9 if label == CONE else 0.3 for label in order]
        drawn = draw_detections(gray(), boxes(place, place, labels=order, scores=scores), LABELS)
        assert is_color(drawn, (0, 200, 0))[300, 100]


def test_stuff_is_thin_and_lies_below_things_whatever_its_score() -> None:
    place = [100.0, 200, 300, 400]
    both = boxes(place, place, labels=[SKY, BRICK], scores=[0.9, 0.3])
    assert is_color(draw_detections(gray(), both, LABELS), (200, 0, 0))[300, 100]
    drawn_pixels = [
        (np.asarray(draw_detections(gray(), boxes(place, labels=[label]), LABELS))[300, :200] != 128)
        .any(-1)
        .sum()
        for label in (BRICK, SKY)
    ]
    assert 0 < drawn_pixels[1] <= drawn_pixels[0] / 2


def test_a_name_of_stuff_keeps_off_a_small_thing_in_its_corner() -> None:
    """guards: the name of the sky, on a crane's hook in the corner of the image."""
    thing = [0.0, 0, 60, 30]
    drawn = draw_detections(gray(), boxes([0, 0, 640, 480], thing, labels=[SKY, BRICK]), LABELS)
    assert not is_color(drawn, (0, 0, 200))[3:27, 3:57].any()
    tags = np.asarray(drawn.crop((0, 0, 640, 240)))
    assert (tags[..., 2].astype(int) - tags[..., 0] > 100).sum() > 300, (
        "the name of the sky is somewhere else"
    )


def test_truth_is_dashed() -> None:
    wall = boxes([100, 100, 500, 400], labels=[BRICK])
    solid = is_color(draw_detections(gray(), wall, LABELS), (200, 0, 0))[150:350, 100]
    dashed = is_color(draw_detections(gray(), wall, LABELS, truth=True), (200, 0, 0))[150:350, 100]
    assert solid.all()
    assert 0.3 < dashed.mean() < 0.7


def test_scores_are_written_only_when_there_are_some() -> None:
    def tag_pixels(scores: list[float] | None) -> int:
        drawn = draw_detections(gray(), boxes([100, 200, 400, 400], labels=[BRICK], scores=scores), LABELS)
        return int((np.asarray(drawn)[:195] != 128).any(-1).sum())

    assert tag_pixels([0.5]) > 1.3 * tag_pixels(None)


def test_boxes_over_the_edge_and_without_area_are_drawn() -> None:
    wild = boxes([-50, -50, 900, 900], [639.9, 479.9, 640, 480], [700, 500, 710, 510], labels=[0, 1, 1])
    assert is_color(draw_detections(gray(), wild, LABELS), (200, 0, 0))[240, 0]


def test_a_hundred_boxes_leave_most_of_the_image_visible() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.8, (100, 2)) * [640, 480]
    many = np.concatenate([corners, corners + rng.uniform(20, 100, (100, 2))], 1)
    crowd = boxes(*many.tolist(), labels=rng.integers(0, 2, 100).tolist(), scores=rng.random(100).tolist())
    untouched = (np.asarray(draw_detections(gray(), crowd, LABELS)) == 128).all(-1).mean()
    assert untouched > 0.3


def test_small_image_is_enlarged_by_a_whole_factor() -> None:
    drawn = draw_detections(gray(128, 160), boxes([40, 50, 80, 100], labels=[BRICK]), LABELS)
    assert drawn.size == (640, 512)
    red = is_color(drawn, (200, 0, 0))
    rows, columns = np.nonzero(red[200:])
    assert (columns.min(), columns.max(), rows.max() + 200) == (160, 319, 399)


# -- panoptic


def test_segments_are_tinted_and_void_is_left() -> None:
    id_map = np.zeros((480, 640), np.int32)
    id_map[100:200, 100:300] = 7
    id_map[300:400, 100:300] = 70000
    segments = [(7, BRICK, 0.9), (70000, SKY, None)]
    drawn = np.asarray(draw_panoptic(gray(), id_map, segments, LABELS)).astype(int)
    assert drawn.shape == (480, 640, 3)
    red, blue = drawn[110, 110], drawn[310, 110]
    assert red[0] - red[2] > 60
    assert 60 < blue[2] - blue[0] < red[0] - red[2], "the color of stuff is weaker"
    assert (drawn[20:80, 20:600] == 128).all()


def test_segment_objects_serve_as_well_as_tuples() -> None:
    id_map = np.ones((480, 640), np.int32)
    as_tuple = draw_panoptic(gray(), id_map, [(1, SKY, 0.5)], LABELS)
    segment = SimpleNamespace(id=1, category_id=SKY, score=0.5)
    assert as_tuple.tobytes() == draw_panoptic(gray(), id_map, [segment], LABELS).tobytes()


def test_things_of_one_class_differ_and_stuff_does_not() -> None:
    id_map = np.zeros((480, 640), np.int32)
    for i in range(4):
        id_map[:, 160 * i : 160 * (i + 1)] = i + 1
    segments = [(1, BRICK, None), (2, BRICK, None), (3, SKY, None), (4, SKY, None)]
    drawn = np.asarray(draw_panoptic(gray(), id_map, segments, LABELS)).astype(int)
    colors = drawn[20, 80::160]
    assert np.abs(colors[0] - colors[1]).sum() > 30
    assert (colors[2] == colors[3]).all()


def test_a_thing_has_the_shade_that_is_asked_for_whatever_the_order() -> None:
    id_map = np.ones((480, 640), np.int32)
    id_map[:, 320:] = 2
    segments = [(1, BRICK, None), (2, BRICK, None)]
    shades = {1: 1, 2: 0}
    usual = np.asarray(draw_panoptic(gray(), id_map, segments, LABELS))
    for order in (segments, segments[::-1]):
        swapped = np.asarray(draw_panoptic(gray(), id_map, order, LABELS, shades))
        assert (swapped[20, 80] == usual[20, 560]).all() and (swapped[20, 560] == usual[20, 80]).all()


def test_a_line_runs_between_segments() -> None:
    id_map = np.ones((480, 640), np.int32)
    id_map[:, 320:] = 2
    drawn = np.asarray(draw_panoptic(gray(), id_map, [(1, SKY, None), (2, BRICK, None)], LABELS))
    assert drawn[20, 315:325].min(-1).max() > 200
    assert drawn[20, 100:300].min(-1).max() < 200


def test_name_lies_inside_a_bent_segment() -> None:
    """The center of a frame is not in it: the tag must be on its thick left side."""
    id_map = np.zeros((480, 640), np.int32)
    id_map[40:440, 40:600] = 1
    id_map[60:420, 240:580] = 0
    with_name = np.asarray(draw_panoptic(gray(), id_map, [(1, BRICK, None)], LABELS)).astype(int)
    tag = (np.abs(with_name - (182, 6, 6)).sum(-1) < 40) & (id_map == 1)
    assert tag[:, 60:220].sum() > 200
    assert tag[:, 240:].sum() == 0


def test_a_name_does_not_hide_a_small_thing() -> None:
    id_map = np.full((480, 640), 1, np.int32)
    id_map[200:230, 300:340] = 2
    segments = [(1, SKY, None), (2, BRICK, None)]
    bare, named = (
        np.asarray(draw_panoptic(gray(), id_map, segments, LABELS, names=names)) for names in (False, True)
    )
    thing = id_map == 2
    assert (bare != named).any(-1)[100:330, 200:440].any() and not (bare != named).any(-1)[thing].any()


@pytest.mark.parametrize("segments", [[], [(9, BRICK, 0.5)]])
def test_all_void_and_a_segment_without_pixels(segments: list) -> None:
    assert (np.asarray(draw_panoptic(gray(), np.zeros((480, 640), np.int32), segments, LABELS)) == 128).all()


def test_single_pixel_and_thin_segments_are_drawn() -> None:
    id_map = np.zeros((480, 640), np.int32)
    id_map[10, 10] = 1
    id_map[200, :] = 2
    drawn = draw_panoptic(gray(), id_map, [(1, BRICK, 0.1), (2, SKY, 0.2)], LABELS)
    assert (np.asarray(drawn)[0:40, 0:100] != 128).any()


def test_panoptic_of_a_small_image_is_enlarged_with_its_map() -> None:
    id_map = np.zeros((128, 128), np.int32)
    id_map[64:] = 1
    drawn = np.asarray(draw_panoptic(gray(128, 128), id_map, [(1, SKY, None)], LABELS))
    assert drawn.shape == (512, 512, 3)
    assert (drawn[:250, 300:] == 128).all()
    assert (drawn[270:, 300:] != 128).any(-1).all()


# -- sheets


def test_contact_sheet_keeps_order_and_aspect() -> None:
    red, blue = np.zeros((100, 200, 3), np.uint8), np.zeros((300, 100, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    sheet = np.asarray(contact_sheet([red, Image.fromarray(blue), red], columns=2, cell_width=240)).astype(
        int
    )
    red_mask = (sheet[..., 0] > 200) & (sheet[..., 1] < 50)
    blue_mask = (sheet[..., 2] > 200) & (sheet[..., 1] < 50)
    assert red_mask.sum() == 2 * 240 * 120
    assert blue_mask.sum() == 240 * 720
    rows, columns = np.nonzero(red_mask)
    assert columns.max() < np.nonzero(blue_mask)[1].min()
    assert rows.max() > np.nonzero(blue_mask)[0].max()


def test_a_pole_on_a_contact_sheet_stays_small_enough_for_a_file() -> None:
    """guards: a sheet of more pixels than a JPEG can hold ends a training before its first step."""
    pole = np.zeros((900, 1, 3), np.uint8)
    assert contact_sheet([pole, pole], 2, ["one", "two"], 480).height < 2000
    assert contact_sheet([pole], 1, cell_width=480).height < 2000


def test_contact_sheet_with_titles_has_room_for_them() -> None:
    cell = gray(100, 100)
    bare, titled = (contact_sheet([cell], 1, titles, 300) for titles in (None, ["truth " * 30]))
    assert titled.height > bare.height
    assert titled.width == bare.width == 300 + 2 * 7
    head = np.asarray(titled.convert("L"))[7 : titled.height - bare.height + 7]
    assert (head < 100).any()
    assert (head[:, -7:] == 255).all()


def test_one_image_in_many_columns_makes_no_empty_ones() -> None:
    assert contact_sheet([gray(10, 10)], 4, None, 240).width == 240 + 2 * 6


# -- a real image


@pytest.mark.skipif(
    not SAMPLE.exists(), reason="the sample of COCO panoptic photographs is not beside the checkout"
)
def test_real_photograph_with_crowded_truth() -> None:
    data = json.loads((SAMPLE / "panoptic.json").read_text())
    labels = LabelMap.from_coco(data["categories"])
    annotation = data["annotations"][0]
    image = decode_image(SAMPLE / "images" / annotation["file_name"].replace(".png", ".jpg"))
    id_map = decode_id_map(SAMPLE / "panoptic" / annotation["file_name"])
    segments = [
        (s["id"], labels.source_to_class[s["category_id"]], None) for s in annotation["segments_info"]
    ]
    truth_boxes, _ = boxes_and_areas_of_segments(id_map, np.array([s[0] for s in segments]))
    truth = SimpleNamespace(boxes_xyxy_px=truth_boxes, labels=[s[1] for s in segments], scores=None)
    for drawn in (
        draw_detections(image, truth, labels, truth=True),
        draw_panoptic(image, id_map, segments, labels),
    ):
        assert drawn.size[0] % image.shape[1] == 0
        assert (np.asarray(drawn.resize(image.shape[1::-1])) != image).any(-1).mean() > 0.05
