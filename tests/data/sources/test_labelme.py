"""labelme: shapes, groups, masks, and which image a file is of."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.repair import Repair
from detr_hf.data.repair_objects import area_of, bounds_of, decoded_mask
from detr_hf.data.sample import Sample
from detr_hf.data.sources import detect, labelme
from detr_hf.data.sources.base import Place, Source
from detr_hf.errors import UserError
from detr_hf.recipe.prepare import Reading
from tests.data.rings import ell, ring

SIZE_HW = (48, 64)


def shape(
    kind: str | None = "rectangle", points: Any = ((5, 6), (25, 24)), label: Any = "cat", **more: Any
) -> dict:
    named = {} if kind is None else {"shape_type": kind}
    return {"label": label, "points": points, "group_id": None, **named, "flags": {}, **more}


def save_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE_HW[::-1], "red").save(path)
    return path


def save_json(path: Path, *shapes: Any, **more: Any) -> Path:
    content = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": f"{path.stem}.png"}
    content |= {"imageData": None, "imageHeight": SIZE_HW[0], "imageWidth": SIZE_HW[1]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | more))
    return path


def source_of(path: Path, **reading: Any) -> Source:
    opened = labelme.open_splits(Place(path, "data", reading=Reading(**reading)))
    assert list(opened.splits) == ["train"]
    return opened.splits["train"]


def read(folder: Path, *shapes: Any, **more: Any) -> Sample:
    save_image(folder / "a.png")
    save_json(folder / "a.json", *shapes, **more)
    (sample,) = source_of(folder).samples()
    return sample


def codes(sample: Sample) -> list[str]:
    return [issue.code for issue in sample.issues]


def png(mask: np.ndarray) -> str:
    stream = BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


# -- shapes


@pytest.mark.parametrize(
    "points", [[[25, 24], [5, 6]], [[5, 24], [25, 6]], [[5, 6], [25, 6], [25, 24], [5, 24]]]
)
def test_rectangles_name_their_corners_in_any_order(tmp_path: Path, points: Any) -> None:
    sample = read(tmp_path, shape(points=points))
    assert sample.objects[0].bbox == [5, 6, 20, 18]
    assert (sample.objects[0].segmentation, sample.issues, sample.declared_hw) == (None, (), SIZE_HW)


def test_a_polygon_is_its_outline_also_where_no_type_is_said(tmp_path: Path) -> None:
    points = [[1, 2], [30.5, 2], [5, 40]]
    first, second = read(tmp_path, shape("polygon", points), shape(None, points, description="x")).objects
    assert first.segmentation == second.segmentation == [[1, 2, 30.5, 2, 5, 40]]
    assert (first.bbox, second.extra) == (None, {"description": "x"})


@pytest.mark.parametrize("kind", ["rectangle", "oriented_rectangle", "rotation"])
def test_turned_rectangles_are_their_outline(tmp_path: Path, kind: str) -> None:
    sample = read(tmp_path, shape(kind, [[20, 10], [30, 20], [20, 30], [10, 20]]))
    assert sample.objects[0].segmentation == [[20, 10, 30, 20, 20, 30, 10, 20]]
    assert codes(sample) == ["box-rotated"]


def test_a_circle_is_its_center_and_a_point_on_it(tmp_path: Path) -> None:
    (found,) = read(tmp_path, shape("circle", [[30, 20], [36, 28]])).objects
    assert bounds_of(found.segmentation) == pytest.approx([20, 10, 20, 20], abs=1e-3)
    assert area_of(found.segmentation) == pytest.approx(np.pi * 100, rel=2e-3)


def test_a_mask_stands_at_its_offset_and_is_cut_at_the_edge(tmp_path: Path) -> None:
    inner = np.zeros((10, 8), np.uint8)
    inner[2:9, 1:7] = 1
    shapes = [
        shape("mask", [[left, top], [left + 7, top + 9]], mask=png(inner))
        for left, top in ((3, 5), (60, 44), (-4, -5))
    ]
    found = [decoded_mask(one.segmentation, SIZE_HW) for one in read(tmp_path, *shapes).objects]
    wide = np.zeros((100, 100), bool)
    for mask, (left, top) in zip(found, ((3, 5), (60, 44), (-4, -5)), strict=True):
        truth = wide.copy()
        truth[20 + top : 30 + top, 20 + left : 28 + left] = inner > 0
        assert np.array_equal(mask, truth[20 : 20 + SIZE_HW[0], 20 : 20 + SIZE_HW[1]])


@pytest.mark.parametrize("mask", [None, "%%%", "aGVsbG8=", 5])
def test_a_damaged_mask_leaves_its_box(tmp_path: Path, mask: Any) -> None:
    sample = read(tmp_path, shape("mask", [[3, 5], [10, 14]], mask=mask))
    assert (sample.objects[0].bbox, sample.objects[0].segmentation) == ([3, 5, 8, 10], None)
    assert codes(sample) == ["outline-invalid"]


def test_a_mask_without_declared_size_takes_the_file_s(tmp_path: Path) -> None:
    mask = shape("mask", [[3, 5], [4, 6]], mask=png(np.full((2, 2), 255, np.uint8)))
    sample = read(tmp_path, mask, imageHeight=None, imageWidth=None)
    assert bounds_of(sample.objects[0].segmentation) == [3, 5, 2, 2]


def test_a_group_of_one_label_is_one_object(tmp_path: Path) -> None:
    left, right = [[1, 1], [9, 1], [9, 9]], [[30, 30], [40, 30], [40, 40]]
    objects = read(
        tmp_path,
        shape("polygon", left, group_id=0),
        shape("polygon", left, "dog", group_id=0),
        shape("polygon", left),
        shape("rectangle", [[30, 30], [40, 40]], group_id=0),
        shape("polygon", right, group_id=1),
    ).objects
    assert [(one.where, one.category, len(one.segmentation)) for one in objects] == [
        ("shape 1", "cat", 2),
        ("shape 2", "dog", 1),
        ("shape 3", "cat", 1),
        ("shape 5", "cat", 1),
    ]
    assert bounds_of(objects[0].segmentation) == [1, 1, 39, 39]


def test_a_group_of_masks_and_outlines_is_their_union(tmp_path: Path) -> None:
    mask = shape("mask", [[1, 1], [2, 2]], mask=png(np.full((2, 2), 255, np.uint8)), group_id="a")
    (found,) = read(tmp_path, mask, shape(points=[[10, 10], [20, 20]], group_id="a")).objects
    assert bounds_of(found.segmentation) == [1, 1, 19, 19]
    assert area_of(found.segmentation) == 104


def test_what_is_no_object_is_told(tmp_path: Path) -> None:
    kinds = [shape(kind, [[1, 2], [3, 4]]) for kind in ("point", "line", "linestrip", "points")]
    sample = read(
        tmp_path, *kinds, shape(label="__ignore__"), shape(label="_background_"), "x", shape(label=7)
    )
    assert codes(sample) == [*["not-taken"] * 4, "class-void", "class-void", "entry-invalid", "odd-type"]
    assert [found.category for found in sample.objects] == ["7"]


@pytest.mark.parametrize("label", [None, "", "  ", ["x"], True])
def test_an_empty_label_is_passed_on(tmp_path: Path, label: Any) -> None:
    sample = read(tmp_path, shape(label=label))
    assert [found.category for found in sample.objects] == [None]
    assert source_of(tmp_path).categories() == []


@pytest.mark.parametrize("kind", ["rectangle", "polygon", "circle", "mask"])
@pytest.mark.parametrize(
    "points", [None, [], [[1, 2]], [["a", 2], [3, 4], [5, 6]], [[1e400, 2], [3, 4]], "x", [1, 2]]
)
def test_no_points_end_the_reading(tmp_path: Path, kind: str, points: Any) -> None:
    repaired = Repair()(read(tmp_path, shape(kind, points), shape()))
    assert repaired.sample is not None
    assert [one.bbox for one in repaired.sample.objects] == [[5, 6, 20, 18]]
    assert any(issue.kind.effect == "object dropped" for issue in repaired.issues)


def test_values_of_x_anylabeling(tmp_path: Path) -> None:
    (found,) = read(tmp_path, shape(score=0.75, difficult=True, attributes={"color": "red"})).objects
    assert (found.score, found.iscrowd, found.extra) == (0.75, True, {"attributes": {"color": "red"}})


# -- files


@pytest.mark.parametrize("said", ["a.png", "..\\photos\\a.png", "C:\\photos\\a.png"])
def test_the_image_of_the_same_name(tmp_path: Path, said: str) -> None:
    sample = read(tmp_path, imagePath=said)
    assert (sample.image, sample.issues) == (tmp_path / "a.png", ())


@pytest.mark.parametrize("said", ["a.jpg", "b.png"])
def test_another_name_for_it_is_told(tmp_path: Path, said: str) -> None:
    save_image(tmp_path / "b.png")
    save_json(tmp_path / "b.json")
    sample = read_first(tmp_path, said)
    assert (sample.file_name, codes(sample)) == ("a.png", ["file-renamed"])


def read_first(folder: Path, said: str) -> Sample:
    save_image(folder / "a.png")
    save_json(folder / "a.json", imagePath=said)
    return next(iter(source_of(folder).samples()))


def test_the_named_image_in_another_folder(tmp_path: Path) -> None:
    save_image(tmp_path / "images/street.png")
    save_json(tmp_path / "labels/1.json", shape(), imagePath="..\\images\\street.png")
    (sample,) = source_of(tmp_path).samples()
    assert (sample.file_name, sample.issues) == ("images/street.png", ())


def test_a_name_that_leaves_the_folder_is_not_followed(tmp_path: Path) -> None:
    save_image(tmp_path / "secret.png")
    save_json(tmp_path / "data/a.json", shape(), imagePath="../secret.png")
    (sample,) = source_of(tmp_path / "data").samples()
    assert (sample.image, codes(sample)) == (None, ["file-name"])


def test_image_data_where_there_is_no_file(tmp_path: Path) -> None:
    content = save_image(tmp_path / "elsewhere.png").read_bytes()
    save_json(
        tmp_path / "data/a.json", shape(), imageData=base64.b64encode(content).decode(), imagePath="b.PNG"
    )
    (sample,) = source_of(tmp_path / "data").samples()
    assert (sample.image, sample.file_name, sample.issues) == (content, "a.png", ())


def test_two_files_for_one_image(tmp_path: Path) -> None:
    save_image(tmp_path / "b.png")
    save_json(tmp_path / "a.json", imagePath="b.png")
    save_json(tmp_path / "b.json")
    first, second = source_of(tmp_path).samples()
    assert (first.file_name, first.image, codes(first)) == ("a.json", None, ["image-ambiguous"])
    assert (second.file_name, second.issues) == ("b.png", ())


@pytest.mark.parametrize("content", ["{", '{"shapes": [', "[" * 5000])
def test_one_bad_file_does_not_end_the_rest(tmp_path: Path, content: str) -> None:
    save_image(tmp_path / "b.png")
    (tmp_path / "b.json").write_text(content)
    save_image(tmp_path / "a.png")
    save_json(tmp_path / "a.json", shape())
    good, bad = source_of(tmp_path).samples()
    assert (good.issues, codes(bad)) == ((), ["annotation-unreadable"])


def test_other_json_files_are_told_and_images_without_one_too(tmp_path: Path) -> None:
    save_image(tmp_path / "z.png")
    (tmp_path / "notes.json").write_text("{}")
    read_first(tmp_path, "a.png")
    for reading, code in (("drop", "unlisted"), ("keep", "unlisted-kept")):
        source = source_of(tmp_path, unlisted_images=reading)
        assert [codes(sample) for sample in source.samples()] == [[], [code]]
        assert [(issue.code, issue.file) for issue in source.issues()] == [("not-read", "notes.json")]
        assert len(source) == 2


def test_classes_are_sorted_names_of_objects(tmp_path: Path) -> None:
    save_json(tmp_path / "a.json", shape(label="dog "), shape(label="cat"), shape("point", [[1, 2]], "tip"))
    save_json(tmp_path / "s/b.json", shape(label="ant"), shape(label="_background_"))
    names = [category["name"] for category in source_of(tmp_path).categories()]
    assert names == ["ant", "cat", "dog"]


def test_one_file_alone(tmp_path: Path) -> None:
    read(tmp_path, shape())
    save_json(save_image(tmp_path / "b.png").with_suffix(".json"))
    door = detect(tmp_path / "a.json")
    assert door is not None
    assert door.FORMAT == "labelme"
    source = source_of(tmp_path / "a.json")
    assert [(sample.image, sample.issues) for sample in source.samples()] == [(tmp_path / "a.png", ())]
    key = source.key
    assert source_of(tmp_path / "a.json").key == key
    save_json(tmp_path / "a.json")
    assert source_of(tmp_path / "a.json").key != key


def test_the_door_knows_its_format(tmp_path: Path) -> None:
    save_json(tmp_path / "late/a.json", imageData="A" * 100_000)
    content = json.loads((tmp_path / "late/a.json").read_text())
    (tmp_path / "late/a.json").write_text(json.dumps(dict(reversed(content.items()))))
    assert labelme.detect(tmp_path)
    other = tmp_path / "late/a.json"
    for text in ('{"images": [], "shapes": [], "version": 1}', "[]", "{", '{"shapes": 5, "imageData": ""}'):
        other.write_text(text)
        assert not labelme.detect(tmp_path)
    with pytest.raises(UserError, match="no labelme file"):
        source_of(tmp_path)


# -- round trip


def test_what_supervision_writes_is_read_as_it_was(tmp_path: Path) -> None:
    sv = pytest.importorskip("supervision")
    paths = [str(save_image(tmp_path / f"images/{index}.png")) for index in range(2)]
    boxes = np.array([[3, 4, 20.5, 30.25], [10, 11, 40, 47]])
    masks, rings = zip(ell(3, 4, 20, 30, SIZE_HW), ell(10, 11, 40, 47, SIZE_HW), strict=True)
    truth = [sv.Detections(boxes, class_id=np.array([0, 1]))]
    truth += [sv.Detections(boxes, mask=np.array(masks), class_id=np.array([0, 1]))]
    data = sv.DetectionDataset(["cat", "dog"], paths, dict(zip(paths, truth, strict=True)))
    data.as_labelme(annotations_directory_path=str(tmp_path / "labels"))
    plain, outlined = source_of(tmp_path).samples()
    assert [
        issue.kind.severity for sample in (plain, outlined) for issue in sample.issues if issue.is_error
    ] == []
    for sample in (plain, outlined):
        assert [found.category for found in sample.objects] == ["cat", "dog"]
    for found, (x0, y0, x1, y1) in zip(plain.objects, boxes, strict=True):
        assert found.bbox == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=1e-4)
    for found, drawn in zip(outlined.objects, rings, strict=True):
        (polygon,) = found.segmentation
        np.testing.assert_allclose(ring(polygon), drawn, atol=1e-4, rtol=0)
