"""Known formats that are not read are named, with the command that converts them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from detr_hf.data.sources import doors, open_place
from detr_hf.data.sources.base import Place
from detr_hf.data.sources.unsupported import FORMATS, known_format
from detr_hf.errors import UserError

FILES = [
    ("a KITTI folder", "training/label_2/000000.txt", "Car 0 0 0.0 1 2 10 20 0 0 0 0 0 0 0\n"),
    ("Open Images", "annotations/train-annotations-bbox.csv", "ImageID,Source,LabelName\n"),
    ("Open Images", "boxes.csv", "ImageID,Source,LabelName,Confidence,XMin\n"),
    ("a MOT sequence", "MOT17-02/gt/gt.txt", "1,1,2,3,20,10,1,1,1\n"),
    ("Mapillary Vistas", "config_v2.0.json", "{}"),
    ("Mapillary Vistas", "training/v2.0/polygons/a.json", "{}"),
    ("a project of VGG Image Annotator (VIA)", "x.json", '{"_via_settings": {}, "_via_img_metadata": {}}'),
    ("a project of VGG Image Annotator (VIA)", "x.csv", "filename,file_size,region_shape_attributes\n"),
    ("a set of TFRecord files", "train.tfrecord-00000-of-00010", "x"),
    ("CreateML JSON", "_annotations.createml.json", "[]"),
    (
        "CreateML JSON",
        "x.json",
        '[{"image": "a.jpg", "annotations": [{"label": "a", "coordinates": {"y": 1, "x": 2}}]}]',
    ),
    ("an export of Labelbox", "export.ndjson", '{"data_row": {"id": "x"}, "projects": {}}\n'),
    ("Label Studio's JSON-MIN", "x.json", '[{"image": "a.jpg", "label": [{"rectanglelabels": ["cat"]}]}]'),
    ("a Supervisely project", "ds0/ann/a.jpg.json", "{}"),
    ("an export of VoTT", "vott-json-export/site-export.json", "{}"),
    ("datumaro's own format", "annotations/default.json", '{"dm_format_version": "1.0", "info": {}}'),
    ("BDD100K or Scalabel JSON", "x.json", '[{"name": "a.jpg", "labels": [{"box2d": {"x1": 1}}]}]'),
    ("V7's Darwin JSON", "a.json", '{"version": "2.0", "item": {"name": "a", "slots": []}}'),
    ("SuperAnnotate JSON", "a.json", '{"metadata": {}, "instances": [{"className": "car"}]}'),
    ("WIDER FACE", "wider_face_split/wider_face_train_bbx_gt.txt", "a.jpg\n"),
    ("a SageMaker manifest", "output.manifest", '{"source-ref": "s3://x/a.jpg"}\n'),
    ("TensorFlow's object detection CSV", "labels.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n"),
    ("a set of pickle files", "train.pkl", "x"),
    ("an archive", "data.tar.gz", "x"),
]


def test_every_format_of_the_table_is_tried() -> None:
    assert {title for title, _, _ in FILES} == {one.title for one in FORMATS}


@pytest.mark.parametrize(("title", "name", "text"), FILES)
def test_a_known_format_is_named_with_its_remedy(tmp_path: Path, title: str, name: str, text: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    found = known_format(tmp_path)
    assert found is not None and found.title == title
    with pytest.raises(UserError, match="which is not read directly") as refused:
        open_place(Place(tmp_path, "data.train: here"))
    assert str(refused.value).startswith(f"data.train: here: this is {title}")
    assert found.remedy in str(refused.value)
    if "/" not in name:  # a file is named as its folder is
        assert known_format(tmp_path / name) == found


def test_what_is_not_known_lists_what_each_door_looks_for(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"a": 1}')
    assert known_format(tmp_path) is None
    with pytest.raises(UserError, match=r"recognized; the folder holds notes\.json") as refused:
        open_place(Place(tmp_path, "here"))
    assert all(door.LOOKS_FOR in str(refused.value) for door in doors().values())


def test_what_is_near_a_data_set_is_named(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for split in ("test", "train", "valid"):
        for folder, name in (("images", "a.jpg"), ("labels", "a.txt")):
            (root / folder / split).mkdir(parents=True)
            (root / folder / split / name).write_bytes(b"")
    (root / "data.yaml").write_text("test: images/test\ntrain: images/train\nnames: [cat]\n")
    assert list(open_place(Place(root, "mine"))[1].splits)[-1] == "test"
    with pytest.raises(UserError, match=rf"is a part of {root}, which is YOLO"):
        open_place(Place(root / "images", "here"))
    with pytest.raises(UserError, match=r"format 'yollo' \(did you mean 'yolo'\?\)"):
        open_place(Place(root, "here"), "yollo")
    with pytest.raises(UserError, match="the folder holds images and no annotations"):
        open_place(Place(root / "images" / "train", "here"))


def test_training_is_the_first_split_whatever_the_alphabet_says(tmp_path: Path) -> None:
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    for split in ("extra", "test", "train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    assert list(open_place(Place(tmp_path, "mine"))[1].splits) == ["train", "valid", "extra", "test"]


def test_pipes_and_large_or_broken_files_are_no_trouble(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").write_bytes(b"\xff" * 200_000)
    (tmp_path / "c.csv").write_bytes(b"")
    assert known_format(tmp_path) is None
    assert known_format(tmp_path / "a.json") is None
    assert known_format(tmp_path / "gone") is None


def test_a_path_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "set.json")
    with pytest.raises(UserError, match="it is a named pipe or a device"):
        open_place(Place(tmp_path / "set.json", "here"))
