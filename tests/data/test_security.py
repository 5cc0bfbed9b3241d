"""Data is a stranger's: names that leave their folder, bombs, huge or deep files, tags and archives."""

from __future__ import annotations

import ast
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detr_hf import data
from detr_hf.data.check import fix, open_target
from detr_hf.data.open_data import open_data
from detr_hf.data.reading import checked_rows
from detr_hf.data.report import Report
from detr_hf.data.sources.base import MAX_JSON_BYTES
from detr_hf.errors import UserError
from detr_hf.foreign_files import inside, read_json
from detr_hf.labels import LabelMap
from detr_hf.recipe import Data, Split, load_recipe
from tests.factories import write_coco_detection, write_coco_panoptic


def refusal(split: Split) -> str:
    source = open_data(Data(train=split)).splits["train"]
    labels = LabelMap.from_coco(source.categories())
    with pytest.raises(UserError) as caught:
        list(checked_rows(source, labels, Report("data.train")))
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg",
        "b/../../a.jpg",
        "/a.jpg",
        "\\a.jpg",
        "..\\a.jpg",
        "C:\\a.jpg",
        "",
        "a\0b",
        7,
        None,
    ],
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: Any) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"leaves the folder|is not the name of a file"):
        inside(tmp_path / "images", name)


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    folder, secret = tmp_path / "images", tmp_path / "secret"
    for made in (folder / "sub", secret):
        made.mkdir(parents=True)
    (secret / "a.jpg").write_bytes(b"x")
    (folder / "file.jpg").symlink_to(secret / "a.jpg")
    (folder / "linked").symlink_to(secret)
    (folder / "sub" / "chain.jpg").symlink_to("../file.jpg")
    (folder / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    (folder / "within").symlink_to("sub")
    (tmp_path / "images2").mkdir()
    (folder / "near.jpg").symlink_to(tmp_path / "images2" / "a.jpg")
    for name in ("file.jpg", "linked/a.jpg", "sub/chain.jpg", "dangling.jpg", "near.jpg", "within/chain.jpg"):
        with pytest.raises(UserError, match="a link that leads out"):
            inside(folder, name)


def test_links_within_and_a_linked_folder_are_fine(tmp_path: Path) -> None:
    real, folder = tmp_path / "disk", tmp_path / "images"
    (real / "sub").mkdir(parents=True)
    (real / "a.jpg").write_bytes(b"x")
    (real / "b.jpg").symlink_to("a.jpg")
    (real / "other").symlink_to("sub")
    (real / "sub" / "c.jpg").symlink_to("../a.jpg")
    (real / "circle").symlink_to("circle")
    folder.symlink_to(real)
    for name in ("a.jpg", "b.jpg", "sub/c.jpg", "other/c.jpg", "other/new.jpg", "circle"):
        assert inside(folder, name) == folder / name


def test_the_reader_follows_no_link_out(tmp_path: Path) -> None:
    """Of images and of PNGs alike."""
    split = write_coco_panoptic(tmp_path / "set", count=2)
    image, png = tmp_path / "set" / "images" / "000.jpg", tmp_path / "set" / "panoptic" / "11_map.png"
    for at, path in enumerate((image, png)):
        path.rename(tmp_path / f"moved{at}")
        path.symlink_to(tmp_path / f"moved{at}")
    assert refusal(split).count("is a link that leads out") == 2


def bomb(path: Path) -> None:
    """A PNG of a few bytes that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_decompression_bombs_are_refused_as_images_and_as_maps(tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path, count=2)
    bomb(tmp_path / "images" / "000.jpg")
    bomb(tmp_path / "panoptic" / "11_map.png")
    assert refusal(split).count("too large to decode") == 2


def test_a_huge_json_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "huge.json"
    with file.open("wb") as stream:  # a hole: it takes no room on the disk
        stream.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(UserError, match=r"has 1,500\.0 MB and the limit is 1,500\.0 MB"):
        read_json(file, max_bytes=MAX_JSON_BYTES)


def test_a_deep_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "deep.json"
    file.write_text('{"a":' * 100_000)
    with pytest.raises(UserError, match="nested too deeply"):
        read_json(file, max_bytes=MAX_JSON_BYTES)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:pathlib.Path.touch", "!!python/name:os.system", "!mine"]
)
def test_yaml_tags_build_nothing(tmp_path: Path, tag: str) -> None:
    lines = f"task: detection\ndata:\n  train: {tag} [made]\n"
    for name in ("data.yaml", "recipe.yaml"):
        (tmp_path / name).write_text(lines)
    with pytest.raises(UserError, match="no format is recognized"):
        open_target(str(tmp_path))
    with pytest.raises(UserError, match="is not allowed"):
        load_recipe(tmp_path / "recipe.yaml")
    assert not Path("made").exists()


def test_a_repaired_copy_writes_nothing_outside(tmp_path: Path) -> None:
    """PNG names of the source name files of the copy."""

    def climb(content: dict[str, Any]) -> None:
        content["annotations"][0]["file_name"] = "../../escaped.png"

    split = write_coco_panoptic(tmp_path / "set", count=2, mend=climb)
    png = tmp_path / "set" / "panoptic" / "10_map.png"
    png.rename(tmp_path / "escaped.png")
    before = {path for path in tmp_path.rglob("*") if "repaired" not in path.parts}
    target = open_target(split.annotations)
    fix(target, tmp_path / "repaired")
    assert {path for path in tmp_path.rglob("*") if "repaired" not in path.parts} == before
    (file,) = (tmp_path / "repaired").glob("*/panoptic.json")
    assert [entry["id"] for entry in json.loads(file.read_text())["images"]] == [11]


def test_no_archive_is_unpacked_and_nothing_pickled() -> None:
    """Members of a zip are read by one file, into memory, and written by another; nothing else knows archives
    or pickles."""
    folder = Path(data.__file__).parent
    files = sorted(folder.rglob("*.py"))
    assert len(files) > 10
    unsafe = {"zipfile", "tarfile", "pickle", "shelve", "marshal", "dill", "joblib"}
    for file in files:
        allowed = {"zipfile"} if file.name in ("archive.py", "cvat_files.py") else set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            called = node.attr if isinstance(node, ast.Attribute) else ""
            assert not (unsafe - allowed) & {name.split(".")[0] for name in names}, file
            assert called not in ("unpack_archive", "extractall", "extract", "unsafe_load", "full_load"), file


def test_a_image_of_another_kind_starts_no_program(tmp_path: Path) -> None:
    """Pillow would hand PostScript to Ghostscript."""
    split = write_coco_detection(tmp_path, count=1, empty=0)
    Image.new("RGB", (128, 96)).save(tmp_path / "x.eps")
    (tmp_path / "images" / "000.jpg").write_bytes((tmp_path / "x.eps").read_bytes())
    assert "this is not an image that can be read" in refusal(split)
