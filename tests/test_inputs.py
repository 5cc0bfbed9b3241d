"""Which files a user means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detr_hf.errors import UserError
from detr_hf.inputs import Sources, find_images, find_sources, image_names


def plant(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_find_images(tmp_path: Path) -> None:
    images = plant(tmp_path / "images", "2.png", "0.png", "1.png")
    assert [path.name for path in find_images(images)] == ["0.png", "1.png", "2.png"]
    assert find_images(images / "1.png") == [images / "1.png"]
    with pytest.raises(UserError, match=r"holds no image; .* a folder of images, such as .*/images"):
        find_images(tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises(UserError, match="is a model, which comes before the images"):
        find_images(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        find_images(tmp_path / "absent")


def test_a_folder_without_what_a_mac_hides_in_it(tmp_path: Path) -> None:
    plant(tmp_path, "b.jpg", "a.PNG", "._b.jpg", "notes.txt", "deep/c.jpg")
    assert [path.name for path in find_images(tmp_path)] == ["a.PNG", "b.jpg"]


PATTERNS = [
    ("*.jpg", ["a.jpg", "b c.jpg"]),
    ("?.jpg", ["a.jpg"]),
    ("[ab]*.jpg", ["a.jpg", "b c.jpg"]),
    ("b c.jpg", ["b c.jpg"]),
    ("site [1]/*.jpg", ["site [1]/x.jpg", "site [1]/y [2] z.jpg"]),  # a folder of that very name
    ("site [1]/y [2] z.jpg", ["site [1]/y [2] z.jpg"]),
    ("site [1]/y [2]*.jpg", ["site [1]/y [2] z.jpg"]),  # no choice of signs, as nothing fits one
    ("site ?1?/x.jpg", ["site [1]/x.jpg"]),
    ("**/x.jpg", ["deep/er/x.jpg", "site [1]/x.jpg"]),
    ("deep/**/*", ["deep/er/x.jpg"]),
]


@pytest.mark.parametrize(("pattern", "expected"), PATTERNS)
def test_patterns(pattern: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.jpg", "b c.jpg", "site [1]/x.jpg", "site [1]/y [2] z.jpg", "deep/er/x.jpg", "deep/er/x.txt"]
    plant(tmp_path, *names)
    assert find_sources([str(tmp_path / pattern)]).images == [tmp_path / name for name in expected]
    monkeypatch.chdir(tmp_path)
    assert find_sources([pattern]).images == [Path(name) for name in expected]


def test_images_videos_and_cameras_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(plant(tmp_path, "a.jpg", "film.MP4", "1", "pic"))
    found = find_sources(["a.jpg", "*", "0", "1", "film.MP4", "pic"])
    assert found == Sources([Path("a.jpg"), Path("1"), Path("pic")], [Path("film.MP4"), 0])


@pytest.mark.parametrize("word", ["absent.jpg", "*.tiff", "absent/*.jpg", "-3", "", "L" * 300 + ".jpg"])
def test_words_that_mean_nothing(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"does not exist|fits no image or video|holds no image"):
        find_sources([word])


def test_a_pattern_goes_into_no_file_that_cannot_be_read(tmp_path: Path) -> None:
    plant(tmp_path, "shut/a.jpg", "b.jpg")
    os.symlink(tmp_path / "nowhere.jpg", tmp_path / "broken.jpg")
    assert find_sources([str(tmp_path / "*.jpg")]).images == [tmp_path / "b.jpg"]


def test_images_are_named_from_the_folder_that_holds_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = tmp_path / "left/a.jpg", tmp_path / "right/deep/a.jpg"
    assert image_names([a, b]) == ["left/a.jpg", "right/deep/a.jpg"]
    assert image_names([a]) == ["a.jpg"]
    assert image_names([a, b], tmp_path.parent) == [
        f"{tmp_path.name}/left/a.jpg",
        f"{tmp_path.name}/right/deep/a.jpg",
    ]
    monkeypatch.chdir(tmp_path)
    assert image_names([Path("left/a.jpg"), Path("right/../left/b.jpg")]) == ["a.jpg", "b.jpg"]
    assert image_names([]) == []
    with pytest.raises(UserError, match="outside of --image-root"):
        image_names([a, b], tmp_path / "left")
