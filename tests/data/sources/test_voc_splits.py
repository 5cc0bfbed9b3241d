"""Pascal VOC: image sets, and the folders as the tools write them."""

from pathlib import Path

import pytest

from detr_hf.data.sources import detect, voc
from detr_hf.data.sources.base import Place
from detr_hf.errors import UserError
from tests.data.sources.voc_files import box_xml, codes, only, opened, write, xml

# -- splits


def test_image_sets_are_the_splits(tmp_path: Path) -> None:
    names = "abcdef"
    files = {f"VOCdevkit/VOC2007/Annotations/{name}.xml": xml(box_xml(name)) for name in names}
    files |= {f"VOCdevkit/VOC2007/JPEGImages/{name}.jpg": None for name in names}
    sets = {
        "train": "a\nb\n",
        "val": "c\r\n",
        "trainval": "a\nb\nc\nd\n",
        "test": "e  1\nz -1\n",
        "cat_train": "a 1\nb -1\n",
    }
    files |= {f"VOCdevkit/VOC2007/ImageSets/Main/{split}.txt": text for split, text in sets.items()}
    splits = opened(write(tmp_path, files)).splits
    stems = {
        split: [Path(sample.file_name).stem for sample in source.samples()]
        for split, source in splits.items()
    }
    assert stems == {"train": ["a", "b"], "val": ["c"], "test": ["e", "z"]}
    assert [len(source) for source in splits.values()] == [2, 1, 2]
    listed = [{"id": id_, "name": name} for id_, name in enumerate("abce", start=1)]
    assert splits["val"].categories() == listed
    assert codes(list(splits["test"].samples())[1]) == ["image-missing"]
    told = [(issue.code, Path(issue.file).stem) for source in splits.values() for issue in source.issues()]
    assert told == [("unlisted", "d"), ("unlisted", "f")]


def test_an_image_that_a_set_lists_under_two_names_is_one(tmp_path: Path) -> None:
    files: dict[str, str | None] = {f"Annotations/{name}.xml": xml() for name in "ab"}
    files |= {f"JPEGImages/{name}.jpg": None for name in "ab"}
    files["ImageSets/Main/train.txt"] = "a\nb\na.jpg\n"
    assert len(opened(write(tmp_path, files)).splits["train"]) == 2


def test_trainval_where_there_is_no_train(tmp_path: Path) -> None:
    files: dict[str, str | None] = {f"Annotations/{name}.xml": xml() for name in "abc"}
    files |= {f"JPEGImages/{name}.jpg": None for name in "abc"}
    files |= {
        "ImageSets/Main/trainval.txt": "a\nb\n",
        "ImageSets/Main/val.txt": "b\n",
        "ImageSets/Main/test.txt": "c\n",
    }
    splits = opened(write(tmp_path, files)).splits
    assert {split: [sample.file_name for sample in source.samples()] for split, source in splits.items()} == {
        "test": ["JPEGImages/c.jpg"],
        "train": ["JPEGImages/a.jpg"],
        "val": ["JPEGImages/b.jpg"],
    }


def test_an_image_set_of_an_unknown_name_is_told(tmp_path: Path) -> None:
    files = {"Annotations/a.xml": xml(), "JPEGImages/a.jpg": None}
    files |= {"ImageSets/Main/train.txt": "a\n", "ImageSets/Main/cat_train.txt": "a 1\n"}
    source = opened(write(tmp_path, files | {"ImageSets/Main/night.txt": "a\n"})).splits["train"]
    assert [(issue.code, issue.file) for issue in source.issues()] == [
        ("not-read", "ImageSets/Main/night.txt")
    ]


def test_cvat_with_folders_in_its_default_set(tmp_path: Path) -> None:
    files = {"Annotations/day 1/a.xml": xml(filename="day 1/a.jpg"), "JPEGImages/day 1/a.jpg": None}
    files |= {"ImageSets/Main/default.txt": "day 1/a\n", "labelmap.txt": "# label:color_rgb:parts:actions\n"}
    sample = only(write(tmp_path, files))
    assert (sample.file_name, sample.issues) == ("JPEGImages/day 1/a.jpg", ())


def test_two_years_are_one_data_set(tmp_path: Path) -> None:
    files: dict[str, str | None] = {}
    for year in ("VOC2007", "VOC2012"):
        files |= {f"{year}/Annotations/1.xml": xml(), f"{year}/JPEGImages/1.jpg": None}
        files |= {f"{year}/ImageSets/Main/train.txt": "1\n"}
    samples = list(opened(write(tmp_path, files)).splits["train"].samples())
    assert [sample.file_name for sample in samples] == [
        "VOC2007/JPEGImages/1.jpg",
        "VOC2012/JPEGImages/1.jpg",
    ]
    assert len({sample.image_id for sample in samples}) == 2


@pytest.mark.parametrize("layout", ["{}/{}", "{}/images/{}", "images/{}/{}"])
def test_folders_named_like_splits(tmp_path: Path, layout: str) -> None:
    files: dict[str, str | None] = {}
    for split in ("train", "valid", "test"):
        image = layout.format(split, f"{split}_jpg.rf.1.jpg")
        files |= {image: None, image.replace("images/", "annotations/").replace(".jpg", ".xml"): xml()}
    splits = opened(write(tmp_path, files)).splits
    assert list(splits) == ["train", "valid", "test"]
    assert all([sample.issues for sample in source.samples()] == [()] for source in splits.values())


def test_lower_case_folders(tmp_path: Path) -> None:
    files = {"data/annotations/xmls/a.xml": xml(box_xml(), filename="a.png"), "data/images/a.png": None}
    sample = only(write(tmp_path, files))
    assert (sample.file_name, sample.issues) == ("data/images/a.png", ())


def test_the_door_knows_its_format(tmp_path: Path) -> None:
    door = detect(write(tmp_path / "voc", {"VOCdevkit/VOC2007/Annotations/a.xml": xml()}))
    assert door is not None
    assert door.FORMAT == "voc"
    other = write(
        tmp_path / "other", {"annotations.xml": "<annotations><image/></annotations>", "a.jpg": None}
    )
    assert not voc.detect(other)
    assert not voc.detect(other / "a.jpg")
    with pytest.raises(UserError, match="no XML file of Pascal VOC"):
        opened(other)


def test_the_key_changes_with_the_data_and_how_it_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": xml(), "a.jpg": None})
    key = opened(tmp_path).splits["train"].key
    assert key == opened(tmp_path).splits["train"].key
    assert key != opened(tmp_path, unlisted_images="keep").splits["train"].key
    write(tmp_path, {"a.xml": xml(box_xml())})
    assert key != opened(tmp_path).splits["train"].key


@pytest.mark.parametrize("folder", ["Annotations", "xmls"])
def test_the_folder_of_the_xml_files_alone_names_the_one_above(tmp_path: Path, folder: str) -> None:
    write(tmp_path, {f"{folder}/a.xml": xml(box_xml()), "JPEGImages/a.jpg": None})
    with pytest.raises(UserError, match="holds the XML files of Pascal VOC and no images") as caught:
        opened(tmp_path / folder)
    assert f"name the folder above, {tmp_path}," in str(caught.value)
    apart = voc.open_splits(Place(tmp_path / folder, "data", images=tmp_path / "JPEGImages"))
    assert [sample.issues for sample in apart.splits["train"].samples()] == [()]
    write(tmp_path, {f"{folder}/a.jpg": None})
    assert only(tmp_path / folder).issues == (), "each beside its image"
