"""The page of the check: everything on it, nothing from outside, no name that becomes markup."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.check import check, open_target
from detr_hf.errors import UserError
from detr_hf.report.check_page import write_page
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.html_reader import Page, read_page

EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&'"


def page_of(annotations: str, folder: Path, **settings: Any) -> Page:
    write_page(check(open_target(annotations), threads=1, **settings), folder / "page.html")
    return read_page(folder / "page.html")


def spoil(content: dict[str, Any]) -> None:
    content["annotations"][0]["bbox"] = [60, 70, 200, 300]
    content["annotations"][1]["bbox"] = [10, 20, 30, 1]


def test_the_page_shows_findings_classes_and_the_worst_pictures(tmp_path: Path) -> None:
    seen = page_of(write_coco_detection(tmp_path, mend=spoil).annotations, tmp_path)
    for word in ("box-clipped", "box-tiny", "no errors", "brick", "cone", "plank", "001.jpg"):
        assert word in seen.words
    assert len(seen.all("svg")) == 1, "only the image with a warning is among the worst"
    (image,) = seen.all("image")
    kind, _, data = (image["href"] or "").partition(";base64,")
    assert kind == "data:image/jpeg"
    with Image.open(BytesIO(base64.b64decode(data))) as image:
        assert image.size == (90, 120)
    inks = {frame["stroke"] for frame in seen.all("rect")}
    assert inks == {"#e11d1d", "#2f6fde"}


@pytest.mark.parametrize("write", [write_coco_detection, write_coco_panoptic])
def test_typical_images_are_shown_when_all_is_well(tmp_path: Path, write: Any) -> None:
    """As training reads them: with their names, boxes or segments, and the same ones every time."""

    def mend(content: dict[str, Any]) -> None:
        for entry in content["annotations"]:
            for segment in entry.get("segments_info", ()):
                del segment["bbox"], segment["area"]  # those of the factory are wrong

    split = write(tmp_path, count=9, mend=mend)
    target = open_target(split.annotations if write is write_coco_detection else split.place)
    found = check(target, threads=1)
    write_page(found, tmp_path / "page.html")
    seen = read_page(tmp_path / "page.html")
    drawn = [image for image in seen.all("img") if (image["src"] or "").startswith("data:image/jpeg")]
    assert found.samples == [] and len(drawn) == len(found.typical) == 6
    assert "6 images without a fault" in seen.words and seen.all("svg") == []
    again = check(target, threads=2)
    assert [one.sample.file_name for one in again.typical] == [one.sample.file_name for one in found.typical]


def test_commands_in_remedies_are_code(tmp_path: Path) -> None:
    def lose(content: dict[str, Any]) -> None:
        content["images"][0]["file_name"] = "gone.jpg"

    seen = page_of(write_coco_detection(tmp_path, mend=lose).annotations, tmp_path)
    assert "detr-hf check" in seen.words and "`" not in seen.words
    assert "<code>detr-hf check ... --fix OUT</code>" in (tmp_path / "page.html").read_text()


def test_boxes_outside_stay_on_the_rim(tmp_path: Path) -> None:
    seen = page_of(write_coco_detection(tmp_path, mend=spoil).annotations, tmp_path)
    frame = next(one for one in seen.all("rect") if one["stroke"] == "#e11d1d")
    assert float(frame["x"] or 0) == 60
    assert float(frame["x"] or 0) + float(frame["width"] or 0) == pytest.approx(1.06 * 90)


def test_names_from_the_data_cannot_become_markup(tmp_path: Path) -> None:
    def name(content: dict[str, Any]) -> None:
        spoil(content)
        for entry in content["categories"]:
            entry["name"] += EVIL
        content["images"][0]["file_name"] = f"{EVIL}.jpg"
        content["annotations"][0]["id"] = EVIL
        content["annotations"][2]["category_id"] = EVIL

    seen = page_of(write_coco_detection(tmp_path, mend=name).annotations, tmp_path)
    assert EVIL in seen.words, "shown as text"
    tags = {tag for tag, _ in seen.tags}
    assert not tags & {"script", "iframe", "a", "link", "object"}
    assert all((image["src"] or "").startswith("data:image/jpeg") for image in seen.all("img"))
    assert not [key for _, attributes in seen.tags for key in attributes if key.startswith("on")]


def test_the_page_needs_no_network(tmp_path: Path) -> None:
    seen = page_of(write_coco_panoptic(tmp_path, count=2).annotations, tmp_path)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.findall(
        r"""(?:https?:)?//\w""", re.sub(r"base64,[\w+/=]+", "", text).replace(str(tmp_path), "")
    )
    policy = next(meta["content"] for meta in seen.all("meta") if meta.get("http-equiv"))
    assert policy is not None and "default-src 'none'" in policy and "script" not in policy
    assert len(seen.all("svg")) == 2


def test_few_samples_and_a_damaged_image(tmp_path: Path) -> None:
    def several(content: dict[str, Any]) -> None:
        for entry in content["annotations"]:
            entry["area"] = -1

    split = write_coco_detection(tmp_path, empty=0, mend=several)
    path = tmp_path / "images" / "003.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    seen = page_of(split.place, tmp_path, samples=2)
    assert len(seen.all("figure")) == 2 and "this image cannot be shown" in seen.words, "errors come first"


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    result = check(open_target(write_coco_detection(tmp_path).annotations), threads=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        write_page(result, tmp_path / "file" / "page.html")


def test_segments_have_the_ink_of_their_boxes(tmp_path: Path) -> None:
    """A segment of an unknown category, and one that is painted but not listed, are red; the others blue."""

    def fault(content: dict[str, Any]) -> None:
        segments = content["annotations"][0]["segments_info"]
        for segment in segments:  # the factory writes wrong ones, which would make every segment red
            del segment["bbox"], segment["area"]
        segments[0]["category_id"] = 999
        left_out.append(segments.pop()["id"])
        others.extend(segment["id"] for segment in segments[1:])
        wrong.append(segments[0]["id"])

    left_out: list[int] = []
    wrong: list[int] = []
    others: list[int] = []
    split = write_coco_panoptic(tmp_path, count=1, mend=fault)
    [image] = page_of(split.place, tmp_path).all("image")
    data = base64.b64decode((image["href"] or "").partition(";base64,")[2])
    with Image.open(BytesIO(data)) as image:
        drawn = np.asarray(image.convert("RGB"), np.int32)
    [png] = (tmp_path / "panoptic").glob("*.png")
    with Image.open(png) as file:
        parts = np.asarray(file, np.int32)
    id_map = parts[..., 0] + 256 * parts[..., 1] + 65536 * parts[..., 2]
    [original] = (tmp_path / "images").iterdir()
    with Image.open(original) as file:
        tint = drawn - 0.5 * np.asarray(file.convert("RGB"), np.int32)
    redder = tint[..., 0] - tint[..., 2]
    means = {one: float(redder[id_map == one].mean()) for one in (*wrong, *left_out, *others)}
    assert others and min(means[one] for one in (*wrong, *left_out)) > max(means[one] for one in others) + 30
