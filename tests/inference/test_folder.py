"""Predictions of files, as files."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.geometry import rgb_to_id
from detr_hf.inference import Predictor, find_images, find_sources, predict_to_folder
from detr_hf.inference.folder import Output
from tests.inference.conftest import SIZES_HW
from tests.tiny_runs import ALL_LABELS, THING_LABELS


def test_a_panoptic_folder_of_results(segmenter: Path, images_dir: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(segmenter, score_threshold=0.3)
    records = predict_to_folder(predictor, find_images(images_dir), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(f"{at}{end}" for at in range(3) for end in (".jpg", ".json", ".panoptic.png"))
    for at, (height, width) in enumerate(SIZES_HW):
        record = json.loads((tmp_path / "out" / f"{at}.json").read_text())
        assert record == records[at]
        assert (record["width"], record["height"]) == (width, height)
        id_map = rgb_to_id(np.asarray(Image.open(tmp_path / "out" / record["panoptic_png"])))
        assert id_map.shape == (height, width)
        areas = {segment["id"]: segment["area_px"] for segment in record["segments"]}
        assert areas and all((id_map == number).sum() == area for number, area in areas.items())
        for segment in record["segments"]:
            assert segment["is_thing"] == ALL_LABELS.is_thing(ALL_LABELS.names.index(segment["label"]))
        drawn = Image.open(tmp_path / "out" / f"{at}.jpg")  # small images are drawn larger
        assert drawn.width * height == pytest.approx(drawn.height * width, rel=0.02)


def test_detections_as_json(detector: Path, images_dir: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(detector, score_threshold=0.3)
    record = predict_to_folder(predictor, [images_dir / "0.png"], tmp_path)[0]
    found = next(predictor.stream([images_dir / "0.png"]))
    assert len(record["objects"]) == int((found.scores > 0.3).sum()) > 0
    first = record["objects"][0]
    assert first["label"] == THING_LABELS.names[found.labels[0]]
    assert first["box_xyxy_px"] == pytest.approx(found.boxes_xyxy_px[0], abs=0.006)
    assert all(len(str(value).split(".")[1]) <= 2 for value in first["box_xyxy_px"]), "no float32 tails"


@pytest.mark.parametrize(
    ("names", "results"),
    [
        (["a.png", "a.jpg", "b.png"], ["a.jpg", "a.png", "b.png"]),
        (["a.png", "a.jpg", "a_jpg.png"], ["a.jpg", "a.png", "a_jpg.png"]),
        (["a.png", "b.png"], ["a", "b"]),
    ],
)
def test_equal_stems_do_not_overwrite_each_other(
    names: list[str], results: list[str], detector: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in names:
        Image.new("RGB", (40, 30)).save(tmp_path / "in" / name)
    predict_to_folder(Predictor.from_pretrained(detector), find_images(tmp_path / "in"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == [
        f"{one}.json" for one in results
    ]


def test_equal_names_from_different_folders(detector: Path, images_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (40, 30)).save(other / "0.png")
    sources = [images_dir / "0.png", other / "0.png"]
    predict_to_folder(Predictor.from_pretrained(detector), sources, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == [
        "00000_0.png.json",
        "00001_0.png.json",
    ]


def test_results_never_replace_the_images(detector: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    with pytest.raises(UserError, match="holds the images themselves"):
        predict_to_folder(Predictor.from_pretrained(detector), [tmp_path / "a.jpg"], tmp_path)
    assert (tmp_path / "a.jpg").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def broken(images_dir: Path, tmp_path: Path) -> Path:
    """A folder of what should not stop a run, and one good image."""
    folder = tmp_path / "in"
    folder.mkdir()
    whole = (images_dir / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "words.jpg").write_text("no image at all")
    (folder / "huge.png").write_bytes(png_header(25_000, 20_000))
    (folder / "good.png").write_bytes(whole)
    return folder


def png_header(width: int, height: int) -> bytes:
    """The head of a gray PNG that promises so many pixels, and none of them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        length, checksum = (
            struct.pack(">I", number) for number in (len(content), zlib.crc32(kind + content))
        )
        return length + kind + content + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("batch_size", [1, 8])
def test_broken_images_are_named_and_the_others_done(
    batch_size: int, detector: Path, broken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError) as told:
        predict_to_folder(
            Predictor.from_pretrained(detector), find_images(broken), out, Output(batch_size=batch_size)
        )
    message = str(told.value)
    assert "3 of 4 images could not be done" in message
    assert "cut.png: the image is damaged or cut off" in message
    assert "words.jpg: this is not an image" in message
    assert "huge.png: refused" in message and "500000000 pixels" in message
    assert sorted(path.name for path in out.iterdir()) == ["good.jpg", "good.json"]


def test_what_is_no_regular_file_is_named_and_not_waited_for(detector: Path, broken: Path) -> None:
    """Guards: a named pipe, which nobody writes to, and a folder with the name of an image."""
    os.mkfifo(broken / "pipe.jpg")
    (broken / "folder.jpg").mkdir()
    sources = find_sources([str(broken), str(broken / "pipe.jpg")])
    with pytest.raises(UserError) as told:
        predict_to_folder(
            Predictor.from_pretrained(detector), sources.images, broken / "out", Output(pictures=False)
        )
    assert "5 of 6 images could not be done" in str(told.value)
    assert "pipe.jpg: the image file cannot be read (it is a named pipe" in str(told.value)
    assert "folder.jpg: the image file cannot be read (it is a folder)" in str(told.value)
    assert (broken / "out" / "good.json").exists()


def test_long_names_are_cut_and_stay_apart(segmenter: Path, images_dir: Path, tmp_path: Path) -> None:
    sources = [tmp_path / f"{'L' * 248}{at}.png" for at in range(2)]
    for path in sources:
        shutil.copy(images_dir / "0.png", path)
    predictor, out = Predictor.from_pretrained(segmenter, 0.3), tmp_path / "out"
    records = predict_to_folder(predictor, sources, out, Output(explain=True))
    assert len({record["panoptic_png"] for record in records}) == 2
    assert len(list(out.iterdir())) == 8 and all(path.name.startswith("L" * 150) for path in out.iterdir())


def test_a_result_that_cannot_be_written_costs_no_other(
    detector: Path, images_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"1 of 3 images could not be done[^$]*1\.png: [^$]*is a link"):
        predict_to_folder(Predictor.from_pretrained(detector), find_images(images_dir), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*.jpg")} == {"0.jpg", "2.jpg"}
    assert not (tmp_path / "elsewhere").exists()


def test_a_single_broken_image(detector: Path, broken: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^[^:]*words\.jpg: this is not an image"):
        predict_to_folder(Predictor.from_pretrained(detector), [broken / "words.jpg"], tmp_path / "out")


def test_nothing_is_written_outside_the_folder(detector: Path, images_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    names = ["..\\..\\up.png", "..png", "a:b.png", "-rf.png", "line\nbreak.png", "C:\\x.png"]
    for name in names:
        shutil.copy(images_dir / "0.png", tmp_path / "in" / name)
    before = set(tmp_path.rglob("*"))
    sources = [tmp_path / "in" / name for name in names]
    predict_to_folder(Predictor.from_pretrained(detector), sources, tmp_path / "out", Output(pictures=False))
    new = {path.relative_to(tmp_path) for path in set(tmp_path.rglob("*")) - before}
    assert {path.parent for path in new} == {Path(), Path("out")} and len(new) == 1 + len(names)
    assert not any(sign in path.name for path in new for sign in "\\:\n")
    assert not any(path.name.startswith(".") for path in new)


def test_a_link_in_the_place_of_a_result_is_not_followed(
    detector: Path, images_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    (tmp_path / "out" / "0.json").symlink_to(precious)
    with pytest.raises(UserError, match="link to another place"):
        predict_to_folder(Predictor.from_pretrained(detector), [images_dir / "0.png"], tmp_path / "out")
    assert precious.read_text() == "mine"


def test_batches_give_the_same_files(segmenter: Path, images_dir: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(segmenter, 0.3)
    paths = find_images(images_dir)
    one = predict_to_folder(predictor, paths, tmp_path / "one", Output(pictures=False))
    two = predict_to_folder(predictor, paths[::-1], tmp_path / "two", Output(batch_size=2, pictures=False))
    assert [record["file"] for record in two] == [str(path) for path in paths[::-1]]
    for record, other in zip(one, reversed(two), strict=True):
        assert [part["label"] for part in record["segments"]] == [part["label"] for part in other["segments"]]
    assert not list((tmp_path / "one").glob("*.jpg"))


def test_what_queries_saw(segmenter: Path, broken: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(segmenter, 0.3)
    with pytest.raises(UserError, match="3 of 4 images could not be done"):
        predict_to_folder(
            predictor, find_images(broken), tmp_path / "out", Output(pictures=False, explain=True)
        )
    assert [path.name for path in (tmp_path / "out").glob("*.jpg")] == ["good.explained.jpg"]
    assert Image.open(tmp_path / "out" / "good.explained.jpg").width > 1900
