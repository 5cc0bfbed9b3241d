"""The YOLO door: data.yaml as its users have it, Darknet's lists, and bare folders."""

import os
from pathlib import Path

import pytest

from detr_hf.data.repair import Repair
from detr_hf.data.sources import detect, yolo
from detr_hf.data.sources.base import Place
from detr_hf.errors import UserError
from tests.data.sources.yolo_files import (
    BOX,
    BOX_PX,
    HEIGHT,
    WIDTH,
    YAML,
    codes,
    image,
    labeled,
    opened,
    samples,
    text,
    ultralytics,
)


def test_boxes_in_pixels_of_the_image_with_class_names(tmp_path):
    ultralytics(tmp_path)
    (one,) = samples(tmp_path)
    (other,) = samples(tmp_path, "val")
    assert (one.file_name, one.declared_hw) == ("images/train/a.jpg", (HEIGHT, WIDTH))
    assert [(found.category, found.bbox) for found in one.objects] == [("cat", BOX_PX)]
    assert [(found.category, found.bbox) for found in other.objects] == [("dog", [10.0, 5.0, 20.0, 10.0])]
    assert codes(tmp_path) == []
    assert opened(tmp_path).splits["train"].categories() == [
        {"id": 0, "name": "cat"},
        {"id": 1, "name": "dog"},
    ]


def test_shares_are_of_the_upright_image(tmp_path):
    ultralytics(tmp_path)
    image(tmp_path / "images/train/a.jpg", (WIDTH, HEIGHT), orientation=6)
    (sample,) = samples(tmp_path)
    assert sample.declared_hw == (WIDTH, HEIGHT)
    assert sample.objects[0].bbox == [37.5, 50.0, 25.0, 100.0]
    repaired = Repair()(sample)
    assert repaired.sample.objects[0].bbox == [37.5, 50.0, 25.0, 100.0]
    assert [issue.code for issue in repaired.issues] == ["exif-turned"]


@pytest.mark.parametrize(
    "config",
    [
        "train: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n",
        "train: [images/train]\nval:\n  - images/val\nnames:\n  0: cat\n  1: dog\n",
        "train: images/tr*\nval: images/val/*.jpg\nnames: [cat, dog]\n",
        "train: lists/train.txt\nval: images/val/b.jpg\nnames: [cat, dog]\n",
        "path: ROOT\ntrain: images/train\nval: ROOT/images/val\nnames: [cat, dog]\n",
        "path: ''\ntrain: ./images/train/\nval: images\\val\ntest:\nnames: ['cat', dog]\ndownload: |\n  a\n",
        "\ufeffpath: ./\r\ntrain: images/train\r\nval: images/val\r\nnc: 2\r\nnames: [cat, dog]\r\n",
    ],
)
def test_every_spelling_of_the_configuration(tmp_path, config):
    ultralytics(tmp_path, config.replace("ROOT", tmp_path.as_posix()))
    text(tmp_path / "lists/train.txt", "\ufeff../images/train/a.jpg\r\n\r\n")
    assert [sample.file_name for sample in samples(tmp_path)] == ["images/train/a.jpg"]
    assert [sample.file_name for sample in samples(tmp_path, "val")] == ["images/val/b.jpg"]
    assert codes(tmp_path) == []
    assert list(opened(tmp_path / "data.yaml").splits) == ["train", "val"]


def test_class_names_are_taken_as_they_are_written(tmp_path):
    ultralytics(tmp_path, "train: images/train\nnames: [no, 1.0]\n")
    assert [entry["name"] for entry in opened(tmp_path).splits["train"].categories()] == ["no", "1.0"]


def test_the_yaml_of_roboflow(tmp_path):
    for split in ("train", "valid", "test"):
        labeled(tmp_path, f"{split}/images/{split}.jpg")
    text(tmp_path / "README.roboflow.txt", "\n yard - v3\n")
    text(
        tmp_path / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['cat']\n"
        "roboflow:\n  workspace: yard\n",
    )
    assert list(opened(tmp_path).splits) == ["train", "val", "test"]
    assert samples(tmp_path, "val")[0].objects[0].bbox == BOX_PX
    assert codes(tmp_path) == []


def test_a_path_that_was_right_elsewhere_is_found_by_its_last_parts_and_told(tmp_path):
    ultralytics(tmp_path, YAML.replace("path: .", "path: /datasets/of/another/machine"))
    assert samples(tmp_path)[0].objects[0].bbox == BOX_PX
    issues = list(opened(tmp_path).splits["train"].issues())
    assert [issue.code for issue in issues] == ["file-renamed"] * 2
    assert "`path: /datasets/of/another/machine` is taken as 'images/train'" in issues[0].text


@pytest.mark.parametrize("said", ["../outside/images", "/", "..", "OUTSIDE", "images/linked"])
def test_nothing_outside_of_the_folder_is_read(tmp_path, said):
    outside = image(tmp_path / "outside/images/c.jpg").parent
    root = ultralytics(tmp_path / "data", YAML.replace("images/train", said.replace("OUTSIDE", str(outside))))
    (root / "images/linked").symlink_to(outside)
    (root / "images").rename(root / "pictures")
    with pytest.raises(UserError, match=r"no such place in .*data, and no other folder is read"):
        opened(root)


def test_links_out_of_the_folder_are_told_and_not_followed(tmp_path):
    outside = image(tmp_path / "outside/c.jpg")
    root = ultralytics(tmp_path / "data")
    (root / "images/train/c.jpg").symlink_to(outside)
    labeled(root, "images/train/d.jpg", None)
    (root / "labels/train/d.txt").symlink_to(text(tmp_path / "outside/d.txt", BOX))
    found = {sample.file_name: sample.image is None for sample in samples(root)}
    assert found == {"images/train/a.jpg": False, "images/train/c.jpg": True, "images/train/d.jpg": False}
    assert codes(root) == ["image-link", "image-link"]


def test_a_named_folder_of_images_is_read(tmp_path):
    config = text(tmp_path / "project/yard.yaml", YAML)
    data = ultralytics(tmp_path / "data")
    (data / "data.yaml").unlink()
    assert samples(config, images=data)[0].objects[0].bbox == BOX_PX
    assert codes(config, images=data) == []


def test_labels_apart_from_a_named_folder_of_images(tmp_path):
    """CVAT exports without images."""
    images = image(tmp_path / "yard/a.jpg").parent
    root = tmp_path / "export"
    text(root / "labels/train/a.txt", BOX)
    text(root / "train.txt", "images/train/a.jpg\n")
    text(root / "data.yaml", "path: ./\ntrain: train.txt\nnames: {0: cat}\n")
    (sample,) = samples(root, images=images)
    assert sample.image == images / "a.jpg"
    assert sample.objects[0].bbox == BOX_PX
    assert codes(root, images=images) == ["file-renamed"]


def test_missing_validation_images_are_an_issue(tmp_path):
    ultralytics(tmp_path, "train: images/train\nval: images/none\nnames: [cat]\n")
    assert codes(tmp_path) == ["split-missing", "file-unlisted"]
    ultralytics(tmp_path / "two", "train: images/train\nval: [images/none, images/train]\nnames: [cat]\n")
    assert codes(tmp_path / "two")[0] == "image-missing", "a part of a split is no split less"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("names: [cat, dog]\nnc: 3\ntrain: images/train", "`nc` is 3, and `names` has 2"),
        ("names: [cat, cat]\ntrain: images/train", "classes 0 and 1 are both 'cat'"),
        ("names: {0: cat, dog: 1}\ntrain: images/train", "class dog: '1'"),
        ("names: [cat, [dog]]\ntrain: images/train", "class 1"),
    ],
)
def test_classes_that_disagree_are_told(tmp_path, config, said):
    ultralytics(tmp_path, config)
    issue = next(iter(opened(tmp_path).splits["train"].issues()))
    assert issue.code == "category-invalid"
    assert said in issue.text


@pytest.mark.parametrize(
    "config",
    ["names: [cat\ntrain: x", "- names\n- train", "names: cat\ntrain: x", "nc: 2\ntrain: x", "[" * 9000],
)
def test_a_yaml_that_is_none_is_refused_by_name(tmp_path, config):
    ultralytics(tmp_path, config)
    with pytest.raises(UserError, match=r"data\.yaml"):
        yolo.open_splits(Place(tmp_path / "data.yaml", "data"))


def test_yaml_makes_no_objects(tmp_path):
    ultralytics(tmp_path, YAML + "evil: !!python/object/apply:os.mkdir ['made']\n")
    assert len(samples(tmp_path)) == 1
    assert not Path("made").exists()


def test_lists_name_images_that_are_missing_or_twice(tmp_path):
    ultralytics(tmp_path, YAML.replace("images/train", "train.txt"))
    text(tmp_path / "train.txt", "./images/train/a.jpg\nimages/train/a.jpg\n/old/images/train/gone.jpg\n")
    one, gone = samples(tmp_path)
    assert (one.file_name, gone.image) == ("images/train/a.jpg", None)
    assert codes(tmp_path) == ["image-twice", "image-missing"]


@pytest.mark.parametrize("folder", ["train/images", "images/train"])
def test_folders_without_a_configuration(tmp_path, folder):
    labeled(tmp_path, f"{folder}/a.jpg")
    labeled(tmp_path, f"{folder}/b.jpg".replace("train", "val"))
    text(tmp_path / "classes.txt", "cat\n\ndog\n\n")
    source = opened(tmp_path).splits["train"]
    assert list(opened(tmp_path).splits) == ["train", "val"]
    assert source.categories() == [{"id": 0, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert codes(tmp_path) == []


def test_images_and_labels_side_by_side(tmp_path):
    image(tmp_path / "a.png")
    text(tmp_path / "a.txt", "1 0.5 0.5 0.25 0.5")
    assert not yolo.detect(tmp_path)
    with pytest.raises(UserError, match=r"no data\.yaml, obj\.data or classes\.txt"):
        yolo.open_splits(Place(tmp_path, "data"))
    text(tmp_path / "classes.txt", "cat\ndog\n")
    assert samples(tmp_path)[0].objects[0].category == "dog"


@pytest.mark.parametrize("prefix", ["data/", ""])
def test_darknet_as_cvat_exports_it(tmp_path, prefix):
    text(
        tmp_path / "obj.data",
        f"classes = 2\ntrain = {prefix}train.txt\nnames = {prefix}obj.names\nbackup = b/\n",
    )
    text(tmp_path / "obj.names", "cat\ndog\n")
    text(tmp_path / "train.txt", f"{prefix}obj_train_data/a b.jpg\n")
    image(tmp_path / "obj_train_data/a b.jpg")
    text(tmp_path / "obj_train_data/a b.txt", BOX)
    for path in (tmp_path, tmp_path / "obj.data"):
        (sample,) = samples(path)
        assert [(found.category, found.bbox) for found in sample.objects] == [("cat", BOX_PX)]
        assert codes(path) == []


def test_darknet_without_its_images(tmp_path):
    images = image(tmp_path / "yard/a.jpg").parent
    root = tmp_path / "export"
    text(root / "obj.data", "classes=3\ntrain=data/train.txt\nvalid=valid.txt\nnames=data/obj.names\n")
    text(root / "obj.names", "cat\ndog\n")
    text(root / "train.txt", "data/obj_train_data/a.jpg\n")
    text(root / "obj_train_data/a.txt", BOX)
    assert codes(root) == ["category-invalid", "split-missing", "image-missing"]
    assert samples(root, images=images)[0].objects[0].bbox == BOX_PX


@pytest.mark.parametrize("missing", ["obj.names", "train.txt"])
def test_darknet_without_its_lists_is_refused(tmp_path, missing):
    text(tmp_path / "obj.data", "train = train.txt\nnames = obj.names\n")
    for name in {"obj.names", "train.txt"} - {missing}:
        text(tmp_path / name, "cat\n")
    with pytest.raises(UserError, match=f"{missing}`: there is no such"):
        opened(tmp_path)


def test_other_folders_are_not_taken_for_yolo(tmp_path):
    assert not yolo.detect(tmp_path)
    image(tmp_path / "images/a.jpg")
    text(
        tmp_path / "labels/a.txt",
        "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70",
    )
    text(tmp_path / "yolov8.yaml", "nc: 80\nscales:\nbackbone:\n")
    text(tmp_path / "notes.txt", "1 2 3 4 5\n")
    assert not yolo.detect(tmp_path)
    assert not yolo.detect(tmp_path / "yolov8.yaml")
    labeled(tmp_path / "project/set", "train/images/a.jpg")
    assert not yolo.detect(tmp_path / "project")  # which may have a configuration there
    os.mkfifo(tmp_path / "data.yaml")
    os.mkfifo(tmp_path / "obj.data")
    assert not yolo.detect(tmp_path)
    assert detect(ultralytics(tmp_path / "data")) is yolo


def test_the_key_follows_labels_and_split(tmp_path):
    ultralytics(tmp_path)
    before = {split: source.key for split, source in opened(tmp_path).splits.items()}
    assert len(set(before.values())) == 2
    assert before == {split: source.key for split, source in opened(tmp_path).splits.items()}
    text(tmp_path / "labels/train/a.txt", BOX + "0")
    assert opened(tmp_path).splits["train"].key != before["train"]


@pytest.mark.parametrize("content", ["names: [", "", "\0", "{" * 5000])
def test_a_configuration_that_cannot_be_read_is_not_left_out(tmp_path, content):
    labeled(tmp_path, "images/a.png")
    text(tmp_path / "data.yaml", content)
    with pytest.raises(UserError, match=r"data\.yaml (is not valid YAML|holds no mapping)"):
        opened(tmp_path)
