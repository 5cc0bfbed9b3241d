"""The images to pick from, and the labeled ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.pick.images import find_pool, labeled_images
from detr_hf.recipe import Data, Split
from tests.factories import THINGS, write_coco_detection


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)
    return path


def test_a_folder_with_what_is_below_it_each_file_once(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    for name in ("b/1.png", "a/1.png", "a/deep/2.png", ".hidden/3.png"):
        picture(pool / name)
    (pool / "notes.txt").write_text("no image")
    picture(tmp_path / "away" / "4.png")
    (pool / "out").symlink_to(tmp_path / "away")
    images, notes = find_pool([str(pool), str(pool / "a" / "*.png"), str(tmp_path / "away" / "4.png")])
    assert [image.name for image in images] == ["a/1.png", "a/deep/2.png", "b/1.png", "4.png"]
    assert notes == [f"{pool / 'out'}: a link out of the folder, not followed"]
    assert len({image.key for image in images}) == 4


def test_another_content_has_another_key(tmp_path: Path) -> None:
    path = picture(tmp_path / "1.png")
    [before] = find_pool([str(path)])[0]
    path.write_bytes(path.read_bytes() + b"more")
    [after] = find_pool([str(path)])[0]
    assert before.key != after.key and before.place == after.place == str(path)


@pytest.mark.parametrize(
    ("word", "said"), [("film.mp4", "out of a video"), ("empty", "no image"), ("absent", "does not exist")]
)
def test_what_is_no_image_is_refused(word: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=said):
        find_pool([str(tmp_path / word)])


def test_the_labeled_images_of_a_recipe(tmp_path: Path) -> None:
    train, validation = (
        write_coco_detection(tmp_path / name, count, seed=count)
        for name, count in (("train", 5), ("validation", 3))
    )
    found = labeled_images(Data(train=train, validation=validation))
    assert (len(found.training), len(found.others)) == (5, 3)
    assert set(found.counts) == set(THINGS) and sum(found.counts.values()) > 5
    paths = {str(image.source) for image in found.training}
    assert paths == {image.place for image in find_pool([str(tmp_path / "train" / "images")])[0]}
    keys = {image.key for image in find_pool([str(tmp_path / "train")])[0]}
    assert keys == {image.key for image in found.training}
    alone = labeled_images(Data(train=Split(path=str(tmp_path / "train"))))
    assert len(alone.training) == 5 and alone.counts == found.counts


def test_a_stream_is_not_read(tmp_path: Path) -> None:
    data = Data(train=write_coco_detection(tmp_path / "train", 3))
    with pytest.raises(UserError, match="stream"):
        labeled_images(replace(data, streaming=True))
