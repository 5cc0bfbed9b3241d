"""The YOLO door: label files and their lines, of every kind."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from detr_hf.data.repair import Repair
from detr_hf.data.sample import Sample
from tests.data.rings import ell, ring
from tests.data.sources.yolo_files import (
    BOX,
    BOX_PX,
    YAML,
    codes,
    image,
    labeled,
    opened,
    samples,
    text,
    ultralytics,
)


def of_lines(root: Path, lines: str | bytes, config: str = YAML) -> Sample:
    ultralytics(root, config)
    text(root / "labels/train/a.txt", lines)
    return samples(root)[0]


def test_polygons_scores_and_oriented_boxes(tmp_path):
    triangle, square = "0 0 0 0.5 0 0.5 1", "0 0 0 1 0 1 1 0 1"
    box = "1 0.1 0.1 0.2 0.2"
    lines = [triangle, f"{box} 0.75", f"{box} 17", square, "0 0 0 1 0 1 1 0.5"]
    found = of_lines(tmp_path, "\n".join(lines)).objects
    assert found[0].segmentation == [[0.0, 0.0, 100.0, 0.0, 100.0, 100.0]]
    assert [one.score for one in found] == [None, 0.75, None, None, 0.5]
    assert found[3].segmentation == [[0.0, 0.0, 200.0, 0.0, 200.0, 100.0, 0.0, 100.0]]
    assert [one.bbox is None for one in found] == [True, False, False, True, True]
    assert [one.where for one in found] == [f"line {number}" for number in range(1, 6)]


def test_poses_keep_their_box(tmp_path):
    pose = BOX + " 0.1 0.1 2 0.2 0.2 1"
    sample = of_lines(tmp_path, f"{pose}\n{BOX}", YAML + "kpt_shape: [2, 3]\n")
    assert [found.bbox for found in sample.objects] == [BOX_PX, BOX_PX]
    assert codes(tmp_path) == ["not-taken"]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("0 0.5 0.5 0.25", "entry-invalid", "4 values"),
        ("cat 0.5 0.5 0.25 0.5", "entry-invalid", "no row of numbers"),
        ("0.5 0.5 0.5 0.25 0.5", "entry-invalid", "class 0.5"),
        ("nan 0.5 0.5 0.25 0.5", "entry-invalid", "class nan"),
        ("0 100 50 50 50", "box-malformed", "100 is no share"),
        ("0 10 10 90 10 90 90", "box-malformed", "were pixels written"),
        ("0 0.5 0.5 0.25 0.5\x00", "entry-invalid", "no row of numbers"),
        ("0 0,5 0,5 0,25 0,5", "entry-invalid", "no row of numbers"),
    ],
)
def test_lines_that_are_no_object_are_told_by_number(tmp_path, line, code, said):
    sample = of_lines(tmp_path, f"{BOX}\n{line}\n{BOX}")
    assert [found.id for found in sample.objects] == [1, 3]
    (issue,) = sample.issues
    assert issue.code == code
    assert "labels/train/a.txt, line 2: " in issue.text
    assert said in issue.text


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("7 0.5 0.5 0.25 0.5", "category-unknown"),
        ("-1 0.5 0.5 0.25 0.5", "category-unknown"),
        ("0 nan 0.5 0.25 0.5", "box-malformed"),
        ("0 inf 0.5 0.25 0.5", "box-malformed"),
        ("0 0.5 0.5 0 0.5", "box-empty"),
        ("0 0.5 0.5 1.2 0.5", "box-clipped"),
        ("0 0.1 0.1 0.1 0.1", "object-twice"),
        ("0 0 0 0.5 0 nan 1", "outline-invalid"),
    ],
)
def test_what_repair_judges_goes_through(tmp_path, line, code):
    sample = of_lines(tmp_path, f"0 0.1 0.1 0.1 0.1\n{line}")
    assert [issue.code for issue in Repair()(sample).issues if issue.code != "no-shape"] == [code]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\xef\xbb\xbf" + BOX.encode() + b"\r\n\r\n", None),
        (b"0.0\t5e-1  .5 0.25 0.5 ", None),
    ],
)
def test_spellings_of_a_line(tmp_path, content, code):
    sample = of_lines(tmp_path, content)
    assert [found.bbox for found in sample.objects] == [BOX_PX]
    assert [issue.code for issue in sample.issues] == ([code] if code else [])


def test_empty_and_missing_label_files_are_told_apart(tmp_path):
    ultralytics(tmp_path)
    labeled(tmp_path, "images/train/empty.jpg", "\n")
    labeled(tmp_path, "images/train/none.jpg", None)
    found = {sample.file_name: sample for sample in samples(tmp_path)}
    assert [len(sample.objects) for sample in found.values()] == [1, 0, 0]
    assert found["images/train/empty.jpg"].issues == ()
    assert [issue.code for issue in found["images/train/none.jpg"].issues] == ["label-missing"]
    assert "'labels/train/none.txt'" in found["images/train/none.jpg"].issues[0].text


def test_a_label_file_that_cannot_be_read_drops_its_image(tmp_path):
    ultralytics(tmp_path)
    (tmp_path / "labels/train/a.txt").unlink()
    os.mkfifo(tmp_path / "labels/train/a.txt")
    (sample,) = samples(tmp_path)
    assert [issue.code for issue in sample.issues] == ["annotation-unreadable"]
    assert Repair()(sample).sample is None


def test_a_broken_image_is_left_to_repair(tmp_path):
    ultralytics(tmp_path)
    text(tmp_path / "images/train/a.jpg", "no image")
    (sample,) = samples(tmp_path)
    assert [issue.code for issue in Repair()(sample).issues] == ["image-unreadable"]


def test_labels_without_an_image_are_counted(tmp_path):
    ultralytics(tmp_path)
    text(tmp_path / "labels/train/gone.txt", f"{BOX}\n{BOX}\n")
    text(tmp_path / "classes.txt", "cat\ndog\n")
    (issue,) = opened(tmp_path).splits["train"].issues()
    assert (issue.code, issue.file) == ("annotation-orphan", "labels/train/gone.txt")
    assert "2 objects" in issue.text
    assert list(opened(tmp_path).splits["val"].issues()) == []


def test_upper_case_endings_and_labels_beside_images(tmp_path):
    image(tmp_path / "images/train/a.JPG")
    text(tmp_path / "labels/train/A.TXT", BOX)
    labeled(tmp_path, "images/train/b.jpg", None)
    text(tmp_path / "images/train/b.txt", BOX)
    text(tmp_path / "data.yaml", "train: images/train\nnames: [cat]\n")
    assert [len(sample.objects) for sample in samples(tmp_path)] == [1, 1]
    assert codes(tmp_path) == ["file-renamed"]


def test_what_supervision_writes_is_read_as_it_was(tmp_path):
    """Boxes and polygons to 0.01 px: five digits of a share of 640 pixels."""
    sv = pytest.importorskip("supervision")
    boxes = np.array([[10.25, 20.5, 300.75, 200.0], [0, 0, 640, 480]], np.float32)
    mask, rings = zip(ell(50, 100, 400, 300, (480, 640)), ell(600, 10, 640, 20, (480, 640)), strict=True)
    outlined = np.array([[50, 100, 399, 299], [600, 10, 639, 19]], np.float32)
    cases = {
        "boxes": sv.Detections(boxes, class_id=np.array([1, 0])),
        "masks": sv.Detections(outlined, np.array(mask), class_id=np.array([0, 1])),
        "none": sv.Detections.empty(),
    }
    images = [str(tmp_path / "drawn" / f"{name}.png") for name in cases]
    for path in images:
        image(Path(path), (640, 480))
    annotations = dict(zip(images, cases.values(), strict=True))
    root = tmp_path / "set"
    sv.DetectionDataset(["cat", "dog"], images, annotations).as_yolo(
        str(root / "images"), str(root / "labels"), str(root / "data.yaml")
    )
    found = {sample.file_name: sample for sample in samples(root)}
    assert list(found) == ["images/boxes.png", "images/masks.png", "images/none.png"]
    read = found["images/boxes.png"].objects
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (one.bbox for one in read)])
    np.testing.assert_allclose(corners, boxes, atol=0.01)
    assert [one.category for one in read] == ["dog", "cat"]
    for one, drawn in zip(found["images/masks.png"].objects, rings, strict=True):
        (polygon,) = one.segmentation
        np.testing.assert_allclose(ring(polygon), drawn, atol=0.01, rtol=0)
    assert codes(root) == []


def test_memory_does_not_grow_with_label_files(tmp_path):
    """Only the list of names does."""
    text(tmp_path / "data.yaml", "train: images\nnames: [cat]\n")
    labeled(tmp_path, "images/0.png", BOX + "\n" + "0 0.1 0.1 0.2 0.2" + "\n" * 50_000)
    for number in range(1, 60):
        os.link(tmp_path / "images/0.png", tmp_path / f"images/{number}.png")
        os.link(tmp_path / "labels/0.txt", tmp_path / f"labels/{number}.txt")
    source = opened(tmp_path).splits["train"]
    stream = source.samples()
    next(stream)
    tracemalloc.start()
    for sample in stream:
        assert len(sample.objects) == 2
    assert tracemalloc.get_traced_memory()[0] < 500_000
    tracemalloc.stop()
