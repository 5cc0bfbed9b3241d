"""Files for CVAT and Label Studio: our own doors read them as they were written."""

from __future__ import annotations

import json
import shutil
import zipfile
from io import StringIO
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.repair import Repair
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sinks.cvat_files import FIRST_ID, ZIP_MEMBER, CvatXml, CvatZip, cvat_labels
from detr_hf.data.sinks.label_studio_files import LabelStudioTasks, label_config
from detr_hf.data.sources import detect
from detr_hf.data.sources.base import Place
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from tests.data import our_set

LABELS = our_set.LABELS.to_coco_categories()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for at, (name, (height, width)) in enumerate(our_set.SIZES_HW.items()):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), (60 * at, 90, 60)).save(file)
    return tmp_path / "images"


def written(file: Path, only: str) -> Path:
    """The files of `our_set`, in the place that a door opens."""
    our_set.write(file.parent / "ours")
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(file.parent / "ours" / our_set.COCO, ZIP_MEMBER)
    else:
        shutil.copy(file.parent / "ours" / (f"{only}_{our_set.TASKS}" if only else our_set.XML), file)
    return file


@pytest.mark.parametrize(
    ("name", "only", "format_name"),
    [
        ("annotations.xml", "", "cvat-xml"),
        ("coco.zip", "", "coco"),
        ("tasks.json", "box", "label-studio"),
        ("tasks.json", "polygon", "label-studio"),
    ],
)
def test_a_door_reads_what_was_written(
    images: Path, tmp_path: Path, name: str, only: str, format_name: str
) -> None:
    file = written(tmp_path / name, only)
    door = detect(file)
    assert isinstance(door, ModuleType) and format_name == door.FORMAT
    opened = door.open_splits(Place(file, str(file), images))
    [source] = opened.splits.values()
    read = {sample.file_name: Repair()(sample) for sample in source.samples()}
    truth = {sample.file_name: sample for sample in our_set.samples(only)}
    assert set(read) == set(truth)
    for file_name, repaired in read.items():
        sample = repaired.sample
        assert sample is not None and sample.size_hw == truth[file_name].size_hw
        assert [issue for issue in repaired.issues if issue.kind.code != "no-objects"] == []
        require_same(sample.objects, truth[file_name].objects, has_scores=format_name != "cvat-xml")
    said = [issue.kind.code for issue in source.issues()]
    assert said == (["predictions-taken"] if only else [])
    if not only:
        assert [one["name"] for one in source.categories()] == list(our_set.LABELS.names)


def require_same(read: list[Annotation], truth: list[Annotation], has_scores: bool) -> None:
    assert [one.category for one in read] == [one.category for one in truth]
    for here, there in zip(read, truth, strict=True):
        np.testing.assert_allclose(here.bbox, there.bbox, atol=0.01)
        assert (here.segmentation is None) == (there.segmentation is None)
        if there.segmentation is not None:
            np.testing.assert_allclose(here.segmentation, there.segmentation, atol=0.01)
        if has_scores:
            assert here.score == there.score
        else:
            assert here.extra["attributes"] == {"score": str(there.score)}


def sample(name: str = "a.jpg", *objects: Annotation) -> Sample:
    return Sample(None, name, 1, list(objects), size_hw=(40, 48))


@pytest.mark.parametrize("name", ["bell\x07.jpg", "half\udcff.jpg"])
def test_names_that_xml_cannot_hold_are_refused_and_nothing_of_them_is_written(name: str) -> None:
    out = StringIO()
    xml = CvatXml(out, LABELS)
    before = out.getvalue()
    with pytest.raises(UserError, match="rename it"):
        xml.add(sample(name))
    assert out.getvalue() == before
    labels = LabelMap.from_names([name]).to_coco_categories()
    with pytest.raises(UserError, match="class"):
        CvatXml(StringIO(), labels)
    with pytest.raises(UserError, match="class"):
        label_config(labels, polygons=False)


def test_no_image_number_is_a_frame_of_a_task() -> None:
    """guards: CVAT puts an image whose name is not in the task on the frame of its number."""
    out = StringIO()
    xml = CvatXml(out, LABELS)
    xml.add(sample("a.jpg"))
    xml.add(sample("b.jpg"))
    assert f'id="{FIRST_ID}"' in out.getvalue() and f'id="{FIRST_ID + 1}"' in out.getvalue()


def test_labels_of_a_task_have_room_for_the_score() -> None:
    made = cvat_labels(LABELS)
    assert [one["name"] for one in made] == list(our_set.LABELS.names)
    assert all(one["attributes"][0]["name"] == "score" for one in made)
    assert all(one["color"].startswith("#") and len(one["color"]) == 7 for one in made)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/data/local-files/?d=", f"/data/local-files/?d={quote('a b&c/ü.jpg')}"),
        ("https://host/x/", f"https://host/x/{quote('a b&c/ü.jpg')}"),
        ("s3://bucket/", "s3://bucket/a b&c/ü.jpg"),
    ],
)
def test_names_are_percent_encoded_in_addresses_and_not_in_buckets(url: str, expected: str) -> None:
    out = StringIO()
    tasks = LabelStudioTasks(out, url)
    tasks.add(sample("a b&c/ü.jpg"))
    tasks.finish()
    assert json.loads(out.getvalue())[0]["data"] == {"image": expected}


def test_a_list_without_an_image_is_json() -> None:
    out = StringIO()
    LabelStudioTasks(out).finish()
    assert json.loads(out.getvalue()) == []


def test_a_zip_leaves_nothing_beside_it(tmp_path: Path) -> None:
    archive = CvatZip(tmp_path / "coco.zip", LABELS)
    archive.add(sample("a.jpg"))
    archive.finish()
    archive.close()
    assert [path.name for path in tmp_path.iterdir()] == ["coco.zip"]
    CvatZip(tmp_path / "other.zip", LABELS).close()
    assert [path.name for path in tmp_path.iterdir()] == ["coco.zip"]
