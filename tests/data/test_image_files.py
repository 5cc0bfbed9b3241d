"""The image that a name in an annotation file means."""

import os
import unicodedata
from pathlib import Path

import pytest

from detr_hf.data.image_files import ImageFiles, first_files
from detr_hf.data.sources.base import hash_of_folder

NAMES = [
    "1.jpg",
    "a/2.jpg",
    "b/c/3.PNG",
    "x/same.jpg",
    "y/same.jpg",
    "my photo.jpg",
    "50%25.jpg",
    "notes.txt",
]


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    fill(tmp_path / "in", *NAMES)
    return ImageFiles(tmp_path / "in")


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(files: ImageFiles, said: object) -> tuple[str | None, str | None]:
    name, issue = files.find(said)
    return name, issue.code if issue else None


@pytest.mark.parametrize("root", ["runs", "work"])
def test_what_a_training_in_the_data_folder_wrote_is_no_data(tmp_path: Path, root: str) -> None:
    fill(tmp_path, "1.jpg", f"{root}/cam/2.jpg")
    assert ImageFiles(tmp_path).names == ["1.jpg", f"{root}/cam/2.jpg"]
    (tmp_path / root / "cam" / "2.jpg").unlink()
    key = hash_of_folder(tmp_path)
    fill(tmp_path / root / "cam", "source.json", "detection.yaml", "data/train/panoptic/1.png")
    fill(tmp_path / root / "cam/detection", ".lock", "recipe.yaml", "environment.json", "pictures/1.jpg")
    if root == "runs":
        fill(tmp_path / "runs", "found/1.jpg")
    assert ImageFiles(tmp_path).names == ["1.jpg"]
    assert hash_of_folder(tmp_path) == key
    assert [file.name for file in first_files(tmp_path, ".jpg")] == ["1.jpg"]
    assert ImageFiles(tmp_path / root / "cam" / "data").names == ["train/panoptic/1.png"]


def test_it_lists_images_and_other_files(files: ImageFiles) -> None:
    assert files.names == sorted(name for name in NAMES if name != "notes.txt")
    assert files.others == ["notes.txt"] and files.links_out == []


@pytest.mark.parametrize("said", ["1.jpg", "a/2.jpg", "./1.jpg", "a\\2.jpg", "my photo.jpg", "50%25.jpg"])
def test_a_right_name_is_taken_as_it_is(files: ImageFiles, said: str) -> None:
    assert found(files, said) == (said.replace("\\", "/").removeprefix("./"), None)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("C:\\data\\b\\c\\3.PNG", "b/c/3.PNG"),
        ("https://host/bucket/a/2.jpg?sign=1#x", "a/2.jpg"),
        ("s3://bucket/1.jpg", "1.jpg"),
        ("my%20photo.jpg", "my photo.jpg"),
        ("/elsewhere/a/2.jpg", "a/2.jpg"),
        ("../other/2.jpg", "a/2.jpg"),
        ("1.jpeg", "1.jpg"),
        ("3.png", "b/c/3.PNG"),
        ("A/2.JPG", "a/2.jpg"),
        ("train/x/same.jpg", "x/same.jpg"),
        ("a/b/c/../3.PNG", "b/c/3.PNG"),
    ],
)
def test_another_name_is_found_by_its_last_parts(files: ImageFiles, said: str, name: str) -> None:
    assert found(files, said) == (name, "file-renamed")


def test_an_absolute_name_in_the_folder(files: ImageFiles) -> None:
    assert found(files, str(files.folder / "a/2.jpg")) == ("a/2.jpg", "file-renamed")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("same.jpg", "image-ambiguous"),
        ("z/same.jpg", "image-ambiguous"),
        ("gone.jpg", "image-missing"),
        ("../gone.jpg", "file-name"),
        ("", "file-name"),
        ("..", "file-name"),
        ("a\0.jpg", "file-name"),
        ("\ud800.jpg", "file-name"),
        ("n" * 300 + ".jpg", "file-name"),
        (None, "file-name"),
        (3, "file-name"),
        (["1.jpg"], "file-name"),
    ],
)
def test_what_is_not_found(files: ImageFiles, said: object, code: str) -> None:
    assert found(files, said) == (None, code)


def test_of_several_files_the_one_with_the_extension(tmp_path: Path) -> None:
    fill(tmp_path, "d/1.jpg", "d/1.png")
    assert found(ImageFiles(tmp_path), "far/1.png") == ("d/1.png", "file-renamed")
    assert found(ImageFiles(tmp_path), "far/1.bmp") == (None, "image-ambiguous")


@pytest.mark.parametrize(("on_disk", "said"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_composed_and_decomposed_accents(tmp_path: Path, on_disk: str, said: str) -> None:
    name = unicodedata.normalize(on_disk, "\u00e9t\u00e9.jpg")  # type: ignore[arg-type]
    fill(tmp_path, name)
    if (tmp_path / unicodedata.normalize(said, name)).exists():  # type: ignore[arg-type]
        pytest.skip("this file system takes both for one name")
    assert found(ImageFiles(tmp_path), unicodedata.normalize(said, name)) == (name, "file-renamed")  # type: ignore[arg-type]


def test_links_that_lead_out_are_not_opened(tmp_path: Path) -> None:
    fill(tmp_path, "out/secret.jpg", "in/1.jpg", "in/deep/2.jpg")
    (tmp_path / "in/link.jpg").symlink_to(tmp_path / "out/secret.jpg")
    (tmp_path / "in/folder").symlink_to(tmp_path / "out")
    (tmp_path / "in/inner.jpg").symlink_to("deep/2.jpg")
    files = ImageFiles(tmp_path / "in")
    assert files.names == ["1.jpg", "deep/2.jpg", "inner.jpg"] and files.links_out == ["folder", "link.jpg"]
    assert found(files, "link.jpg") == (None, "image-link")
    assert found(files, "folder/secret.jpg") == (None, "image-link")
    assert found(files, "secret.jpg") == (None, "image-missing")
    assert found(files, "inner.jpg") == ("inner.jpg", None)
    of_root = ImageFiles(tmp_path / "in", root=tmp_path)
    assert found(of_root, "link.jpg") == ("link.jpg", None)


def test_links_to_themselves_are_files_that_cannot_be_read(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "here").symlink_to(".")
    assert ImageFiles(tmp_path).names == ["1.jpg", "loop.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="there it parts folders")
def test_a_backslash_may_be_part_of_a_name(tmp_path: Path) -> None:
    fill(tmp_path, "in/a\\b.png", "in/c/d.png", "secret.png")
    files = ImageFiles(tmp_path / "in")
    assert found(files, "a\\b.png") == ("a\\b.png", None)
    assert found(files, "c\\d.png") == ("c/d.png", None)
    assert found(files, "..\\secret.png") == (None, "file-name")


def test_members_of_an_archive(tmp_path: Path) -> None:
    files = ImageFiles(tmp_path / "set.zip/images", members=["a/1.jpg", "b/2.jpg", "b/notes.txt"])
    assert files.names == ["a/1.jpg", "b/2.jpg"]
    assert found(files, "a/1.jpg") == ("a/1.jpg", None)
    assert found(files, "2.png") == ("b/2.jpg", "file-renamed")
    assert found(files, "3.jpg") == (None, "image-missing")
