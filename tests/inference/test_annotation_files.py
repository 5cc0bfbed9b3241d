"""Predictions for CVAT and Label Studio: read back by our own doors they are what the model found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.outlines import enclosed_pixels
from detr_hf.data.repair import Repair
from detr_hf.data.sample import Sample
from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Place
from detr_hf.errors import UserError
from detr_hf.inference import Predictor, TiledPredictor, find_images, find_sources, predict_to_folder
from detr_hf.inference.annotation_files import as_annotations
from detr_hf.inference.folder import Output, records_to_folder
from detr_hf.labels import LabelMap
from tests.inference.found import FakePredictor
from tests.tiny_runs import ALL_LABELS, THING_LABELS

FILES = {"cvat": "annotations.xml", "labelstudio": "tasks.json"}
ODD_NAMES = ['<a & "b">', "Straßenlaterne 路灯", "it's"]


def read_back(file: Path, images: Path) -> dict[str, Sample]:
    """The samples by the names of their images; nothing was repaired but what is odd about a random model."""
    _, opened = open_place(Place(file, str(file), images))
    [source] = opened.splits.values()
    made = {}
    for sample in source.samples():
        repaired = Repair()(sample)
        assert repaired.sample is not None
        assert not [issue for issue in repaired.issues if issue.is_error or issue.kind.effect == "repaired"]
        made[sample.file_name] = repaired.sample
    return made


@pytest.fixture
def nested(tmp_path: Path, images_dir: Path) -> Path:
    """One file name in two folders, one image in a folder below, one turned by EXIF."""
    for source, name in (("0.png", "left/a.png"), ("1.png", "right/a.png"), ("2.png", "right/deep/ü b.png")):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((images_dir / source).read_bytes())
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(images_dir / "0.png").save(tmp_path / "in/left/turned.jpg", exif=exif, quality=95)
    return tmp_path / "in"


@pytest.mark.parametrize(("output", "tiled"), [("cvat", False), ("labelstudio", True)])
def test_boxes_come_back(detector: Path, nested: Path, tmp_path: Path, output: str, tiled: bool) -> None:
    plain = Predictor.from_pretrained(detector, 0.3)
    predictor = TiledPredictor(plain, 64, 0.2) if tiled else plain
    images = find_sources([f"{nested}/**/*.*"]).images
    predict_to_folder(predictor, images, tmp_path / "out", Output(output, pictures=False))
    read = read_back(tmp_path / "out" / FILES[output], nested)
    assert set(read) == {"left/a.png", "right/a.png", "right/deep/ü b.png", "left/turned.jpg"}
    assert read["left/turned.jpg"].size_hw == (128, 96), "upright"
    for name, sample in read.items():
        [found] = predictor.stream([nested / name])
        sure = found.detections.above(0.3)
        assert [one.category for one in sample.objects] == [THING_LABELS.names[i] for i in sure.labels]
        assert len(sample.objects) > 0
        corners = [[x, y, x + w, y + h] for x, y, w, h in (one.bbox for one in sample.objects)]
        np.testing.assert_allclose(corners, sure.boxes_xyxy_px, atol=0.01)


@pytest.mark.parametrize("output", ["cvat", "labelstudio"])
def test_segments_come_back_as_polygons(images_dir: Path, tmp_path: Path, output: str) -> None:
    predictor: Any = FakePredictor(ALL_LABELS, is_panoptic=True)
    predict_to_folder(predictor, find_images(images_dir), tmp_path, Output(output, pictures=False))
    read = read_back(tmp_path / FILES[output], images_dir)
    for number, name in enumerate(sorted(read)):
        sample = read[name]
        found = predictor.found(number, sample.size_hw)
        truth = as_annotations(found, ALL_LABELS, 0.3)
        names = [ALL_LABELS.names[one.category_id] for one in found.segments]
        assert [one.category for one in sample.objects] == names
        for here, there, segment in zip(sample.objects, truth, found.segments, strict=True):
            np.testing.assert_allclose(here.segmentation, there.segmentation, atol=0.01)
            np.testing.assert_allclose(here.bbox, there.bbox, atol=0.01)
            mask = found.id_map == segment.id
            filled = enclosed_pixels(np.reshape(here.segmentation, (-1, 2)), mask.shape)
            assert (filled & mask).sum() >= 0.95 * (filled | mask).sum()


@pytest.mark.parametrize("output", ["cvat", "labelstudio", "coco"])
def test_images_without_a_find_and_odd_class_names(images_dir: Path, tmp_path: Path, output: str) -> None:
    predictor: Any = FakePredictor(LabelMap.from_names(ODD_NAMES))
    predict_to_folder(predictor, find_images(images_dir), tmp_path, Output(output, pictures=False))
    file = tmp_path if output == "coco" else tmp_path / FILES[output]
    for sample in read_back(file, images_dir).values():
        assert [one.category for one in sample.objects] == ODD_NAMES
    predictor.score_threshold = 1.0
    predict_to_folder(predictor, find_images(images_dir), tmp_path, Output(output, pictures=False))
    _, opened = open_place(Place(file, str(file), images_dir))
    read = list(opened.splits["train"].samples())
    assert len(read) == 3 and not any(sample.objects for sample in read)


def test_an_unreadable_image_does_not_keep_the_others_from_the_files(
    images_dir: Path, tmp_path: Path
) -> None:
    for name in ("0.png", "1.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes((images_dir / name).read_bytes())
    (tmp_path / "in/bad.png").write_text("no image")
    predictor: Any = FakePredictor(THING_LABELS)
    with pytest.raises(UserError, match=r"1 of 3 images .*\n.*bad.png"):
        predict_to_folder(
            predictor, find_images(tmp_path / "in"), tmp_path / "out", Output("cvat", pictures=False)
        )
    (tmp_path / "in/bad.png").unlink()
    assert len(read_back(tmp_path / "out/annotations.xml", tmp_path / "in")) == 2
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["annotations.xml", "coco.zip", "labels.json"]


@pytest.mark.parametrize("output", ["cvat", "labelstudio", "coco"])
def test_an_end_half_way_leaves_what_was_there(images_dir: Path, tmp_path: Path, output: str) -> None:
    predictor: Any = FakePredictor(THING_LABELS)

    def records() -> Iterator[Any]:
        return records_to_folder(predictor, find_images(images_dir), tmp_path, Output(output, pictures=False))

    def files() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    list(records())
    before = files()
    predictor.score_threshold = 0.0
    begun = records()
    next(begun)
    begun.close()  # as Ctrl-C does
    assert files() == before


def test_drawings_are_not_called_like_images(images_dir: Path, tmp_path: Path) -> None:
    """guards: a data set whose images are beside it would take a drawing for the image of its name."""
    predictor: Any = FakePredictor(THING_LABELS)
    predict_to_folder(predictor, [images_dir / "0.png"], tmp_path, Output("labelstudio"))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "0.drawn.jpg",
        "label_config.xml",
        "tasks.json",
    ]


def test_names_are_relative_to_a_folder_that_was_named(detector: Path, nested: Path, tmp_path: Path) -> None:
    predictor: Any = FakePredictor(THING_LABELS)
    output = Output("labelstudio", nested.parent, image_url="s3://bucket/", model="best", pictures=False)
    predict_to_folder(predictor, [nested / "left/a.png"], tmp_path / "out", output)
    [task] = json.loads((tmp_path / "out/tasks.json").read_text())
    assert task["data"] == {"image": "s3://bucket/in/left/a.png"}
    assert task["predictions"][0]["model_version"] == "best"
