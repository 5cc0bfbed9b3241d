"""Pascal VOC: objects, and which image a file is of."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.data.issues import ERROR
from detr_hf.data.sources import voc
from detr_hf.data.sources.base import Place
from tests.data.rings import ell, ring
from tests.data.sources.voc_files import BOX, box_xml, codes, one_image, only, opened, write, xml

# -- objects


def test_corners_are_plain_where_nothing_says_otherwise(tmp_path: Path) -> None:
    sample = one_image(tmp_path, xml(box_xml(box=("10.5", 12, "30", 40.25)), filename="a.jpg"))
    assert sample.objects[0].bbox == [10.5, 12, 19.5, 28.25]
    assert (sample.file_name, sample.declared_hw, sample.issues) == ("JPEGImages/a.jpg", (48, 64), ())
    assert sample.image == tmp_path / "JPEGImages/a.jpg"


@pytest.mark.parametrize("database", ["The VOC2007 Database", "roboflow.com", "roboflow.ai"])
def test_corners_of_the_challenge_and_of_roboflow_count_from_1(tmp_path: Path, database: str) -> None:
    whole = one_image(tmp_path, xml(box_xml(box=(1, 1, 64, 48)), database=database))
    assert whole.objects[0].bbox == [0, 0, 64, 48]


def test_a_corner_below_1_shows_that_a_copied_header_is_wrong(tmp_path: Path) -> None:
    objects = box_xml(box=(0, 1, 64, 48)), box_xml(box=BOX)
    sample = one_image(tmp_path, xml(*objects, database="The VOC2007 Database"))
    assert [found.bbox for found in sample.objects] == [[0, 1, 64, 47], [10, 12, 20, 28]]


def test_swapped_corners_are_sorted_and_told(tmp_path: Path) -> None:
    sample = one_image(tmp_path, xml(box_xml(box=(30, 40, 10, 12))))
    assert sample.objects[0].bbox == [10, 12, 20, 28]
    assert codes(sample) == ["box-corners"]


@pytest.mark.parametrize("box", [("", 12, 30, 40), ("x", 12, 30, 40), ("nan", 1, 2, 3)])
def test_corners_that_are_no_numbers_are_left_to_repair(tmp_path: Path, box: tuple[Any, ...]) -> None:
    bbox = one_image(tmp_path, xml(box_xml(box=box))).objects[0].bbox
    assert len(bbox) == 4
    assert not isinstance(bbox[0], float) or np.isnan(bbox[0])


def test_an_object_without_box_or_name_is_passed_on(tmp_path: Path) -> None:
    sample = one_image(tmp_path, xml("<object><name>cat</name></object>", box_xml(name=" ")))
    assert [(found.category, found.bbox) for found in sample.objects] == [
        ("cat", None),
        (None, [10, 12, 20, 28]),
    ]


def test_difficult_objects_are_crowds_and_the_rest_is_kept(tmp_path: Path) -> None:
    more = "<difficult>1</difficult><truncated>1</truncated><pose>Left</pose>"
    more += "<attributes><attribute><name>color</name><value>red</value></attribute></attributes>"
    hard, plain = one_image(
        tmp_path, xml(box_xml(more=more), box_xml(name="dog", more="<difficult>0</difficult>"))
    ).objects
    assert (hard.iscrowd, plain.iscrowd) == (True, False)
    assert hard.extra == {"difficult": "1", "truncated": "1", "pose": "Left", "attributes": {"color": "red"}}
    assert (plain.where, plain.category_id) == ("object 2", "dog")


def test_parts_and_deleted_objects_are_told(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    sample = one_image(tmp_path, xml(box_xml(more=part * 2), box_xml(more="<deleted>1</deleted>")))
    assert len(sample.objects) == 1
    assert [(issue.code, issue.text) for issue in sample.issues] == [
        ("not-taken", "object 1: 2 <part>"),
        ("not-taken", "object 2: marked as deleted"),
    ]


def test_outlines_of_roboflow_and_of_labelme(tmp_path: Path) -> None:
    numbered = "<polygon><x1>1</x1><y1>2</y1><x2>30</x2><y2>2.5</y2><x3>5</x3><y3>40</y3></polygon>"
    points = (
        "<polygon><pt><x>1</x><y>2</y></pt><pt><x>30</x><y>2.5</y></pt><pt><x>5</x><y>40</y></pt></polygon>"
    )
    objects = [f"<object><name>cat</name>{outline}</object>" for outline in (numbered, points)]
    for database, shape in (("Unknown", [1, 2, 30, 2.5, 5, 40]), ("roboflow.com", [0, 1, 29, 1.5, 4, 39])):
        sample = one_image(tmp_path, xml(*objects, database=database))
        assert [found.segmentation for found in sample.objects] == [[shape], [shape]]


def test_an_outline_with_a_lost_coordinate_is_told(tmp_path: Path) -> None:
    sample = one_image(tmp_path, xml(box_xml(more="<polygon><x1>1</x1><y1>2</y1><x2>30</x2></polygon>")))
    assert codes(sample) == ["outline-invalid"]
    assert sample.objects[0].segmentation is None


def test_a_rotated_box_is_told(tmp_path: Path) -> None:
    rotated = "<robndbox><cx>30</cx><cy>20</cy><w>20</w><h>10</h><angle>1.57</angle></robndbox>"
    sample = one_image(tmp_path, xml(f"<object><type>robndbox</type><name>cat</name>{rotated}</object>"))
    assert (sample.objects[0].bbox, sample.objects[0].segmentation) == (None, None)
    assert codes(sample) == ["not-taken"]


@pytest.mark.parametrize(
    ("size", "declared"), [("0,0", None), (",", None), ("64.0,48", (48, 64)), ("x,48", (48, "x"))]
)
def test_declared_sizes(tmp_path: Path, size: str, declared: Any) -> None:
    assert one_image(tmp_path, xml(size=size)).declared_hw == declared


@pytest.mark.parametrize(
    "content",
    [
        "<annotation><object>",
        "<!DOCTYPE a [<!ENTITY e 'x'>]><annotation/>",
        "",
        "<annotation>" + "<a>" * 200,
    ],
)
def test_one_bad_file_does_not_end_the_rest(tmp_path: Path, content: str) -> None:
    write(tmp_path, {"a.jpg": None, "a.xml": content, "b.jpg": None, "b.xml": xml(box_xml())})
    source = opened(tmp_path).splits["train"]
    bad, good = source.samples()
    assert codes(bad) == ["annotation-unreadable"]
    assert bad.issues[0].kind.effect == "image dropped"
    assert bad.issues[0].kind.severity == ERROR
    assert (good.issues, len(good.objects)) == ((), 1)
    assert source.categories() == [{"id": 1, "name": "cat"}]


def test_other_xml_beside_an_image_is_not_read_and_told(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": None, "a.xml": "<svg/>", "b.jpg": None, "b.xml": xml(box_xml())})
    source = opened(tmp_path).splits["train"]
    assert [(issue.code, issue.file) for issue in source.issues()] == [("not-read", "a.xml")]
    assert [codes(sample) for sample in source.samples()] == [["unlisted"], []]


# -- images


@pytest.mark.parametrize("filename", ["a", "a.png", "b.jpg", r"C:\photos\a.JPG"])
def test_the_image_of_the_same_name_is_used_and_told(tmp_path: Path, filename: str) -> None:
    sample = one_image(tmp_path, xml(filename=filename))
    assert (sample.file_name, codes(sample)) == ("JPEGImages/a.jpg", ["file-renamed"])


def test_the_path_of_the_tool_is_not_told(tmp_path: Path) -> None:
    assert one_image(tmp_path, xml(filename=r"C:\photos\a.jpg")).issues == ()


def test_the_named_image_where_none_has_the_same_name(tmp_path: Path) -> None:
    files = {"Annotations/1.xml": xml(box_xml(), filename="street.jpg"), "JPEGImages/street.jpg": None}
    sample = only(write(tmp_path, files | {"SegmentationClass/1.png": None}))
    assert (sample.file_name, len(sample.objects)) == ("JPEGImages/street.jpg", 1)


def test_a_mask_is_never_taken_for_the_image(tmp_path: Path) -> None:
    files = {"Annotations/a.xml": xml(filename="a.jpg"), "SegmentationClass/a.png": None}
    sample = only(write(tmp_path, files))
    assert (sample.image, sample.file_name, codes(sample)) == (None, "Annotations/a.xml", ["image-missing"])


def test_two_files_for_one_image(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": xml(filename="a.jpg"), "a.jpg": None, "b.xml": xml(filename="a.jpg")})
    first, second = opened(tmp_path).splits["train"].samples()
    assert (first.file_name, first.issues) == ("a.jpg", ())
    assert (second.image, codes(second)) == (None, ["image-ambiguous"])


def test_one_name_with_two_extensions_goes_by_what_the_file_says(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": xml(filename="a.png"), "a.jpg": None, "a.png": None})
    samples = list(opened(tmp_path).splits["train"].samples())
    assert [(sample.file_name, codes(sample)) for sample in samples] == [
        ("a.jpg", ["unlisted"]),
        ("a.png", []),
    ]


def test_images_without_xml_are_dropped_or_kept_as_told(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": xml(box_xml()), "a.jpg": None, "b.jpg": None})
    for reading, code in (("drop", "unlisted"), ("keep", "unlisted-kept")):
        source = opened(tmp_path, unlisted_images=reading).splits["train"]
        assert len(source) == 2
        assert [codes(sample) for sample in source.samples()] == [[], [code]]


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"a.jpg": None, "b.xml": xml(box_xml("secret"))})
    data = write(tmp_path / "data", {"a.xml": xml(box_xml(), filename="a.jpg")})
    (data / "a.jpg").symlink_to(outside / "a.jpg")
    (data / "b.xml").symlink_to(outside / "b.xml")
    source = opened(data).splits["train"]
    (sample,) = source.samples()
    assert (sample.image, codes(sample)) == (None, ["image-link"])
    assert [(issue.code, issue.file) for issue in source.issues()] == [("image-link", "b.xml")]
    assert source.categories() == [{"id": 1, "name": "cat"}]


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, {"b.xml": xml(), "b.jpg": None, "a.jpg": None})
    os.mkfifo(tmp_path / "a.xml")
    assert voc.detect(tmp_path)
    assert codes(next(opened(tmp_path).splits["train"].samples())) == ["annotation-unreadable"]


def test_images_in_a_folder_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, {"xml/Annotations/s/a.xml": xml(box_xml()), "images/s/a.jpg": None})
    place = Place(tmp_path / "xml", "data", images=tmp_path / "images")
    (sample,) = voc.open_splits(place).splits["train"].samples()
    assert (sample.image, sample.issues) == (tmp_path / "images/s/a.jpg", ())


# -- round trip


def test_what_supervision_writes_is_read_as_it_was(tmp_path: Path) -> None:
    sv = pytest.importorskip("supervision")
    rng = np.random.default_rng(0)
    write(tmp_path, {f"images/{index}.png": None for index in range(4)})
    paths = [str(tmp_path / f"images/{index}.png") for index in range(4)]
    far = np.array([[0, 0], [3, 3]])
    corners = {path: np.sort(rng.integers(0, 24, (3, 2, 2)) * 2, axis=1) + far for path in paths}
    boxes = {path: corners[path].reshape(3, 4).astype(float) for path in paths}
    drawn = {path: [ell(*box, (48, 64)) for box in boxes[path].astype(int)] for path in paths[2:]}
    truth = {
        path: sv.Detections(
            boxes[path],
            mask=np.array([mask for mask, _ in drawn[path]]) if path in drawn else None,
            class_id=np.array([0, 1, 1]),
        )
        for path in paths
    }
    data = sv.DetectionDataset(classes=["cat", "dog"], images=paths, annotations=truth)
    data.as_pascal_voc(annotations_directory_path=str(tmp_path / "annotations"), approximation_percentage=0.0)

    samples = list(opened(tmp_path).splits["train"].samples())
    assert [sample.issues for sample in samples] == [()] * 4
    for sample, path in zip(samples, paths, strict=True):
        read = np.array([found.bbox for found in sample.objects])
        read[:, 2:] += read[:, :2]
        assert read == pytest.approx(boxes[path], abs=1e-6)
        assert [found.category for found in sample.objects] == ["cat", "dog", "dog"]
        if path in drawn:
            for found, (_, outline) in zip(sample.objects, drawn[path], strict=True):
                (polygon,) = found.segmentation
                np.testing.assert_allclose(ring(polygon), outline, atol=1e-6, rtol=0)
