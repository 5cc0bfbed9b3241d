"""Data with every fault in three formats: each is listed by its file, nothing is lost, the source stays."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from detr_hf.data.check import check, fix, open_target
from detr_hf.data.convert import convert
from detr_hf.data.image_files import is_image
from detr_hf.data.issues import KINDS
from detr_hf.data.records import Outcomes, Record
from detr_hf.data.sinks import sinks
from detr_hf.data.sources.base import Opened
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap, construction_labels
from tests.data.messes import Expected
from tests.data.messy_sets import WRITE
from tests.data.pipeline_runs import content, messy_run, pipeline, report
from tests.raw_factories import SQUARE


@dataclass
class Prepared:
    """A messy source, prepared with stuff."""

    raw: Path
    out: Path
    expected: Expected
    was: dict[str, str]  # the source before


def prepared_from(format: str, folder: Path) -> Prepared:
    expected = WRITE[format](folder / "raw")
    was = names_and_times(folder / "raw")
    messy_run(folder / "raw", folder / "out").run()
    return Prepared(folder / "raw", folder / "out", expected, was)


def names_and_times(folder: Path) -> dict[str, str]:
    """Of all that lies in a folder, also pipes and links; and the hashes of its files."""
    found = {str(path): str(path.lstat().st_mtime_ns) for path in folder.rglob("*")}
    return found | content(folder)


@pytest.fixture(scope="module", params=WRITE)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_from(request.param, tmp_path_factory.mktemp("messy"))


def test_every_fault_is_listed_with_its_file_and_no_other(prepared: Prepared) -> None:
    listed = {(kind, file) for kind, file, _ in report(prepared.out)["files"]}
    assert listed == prepared.expected


def test_nothing_is_written_into_the_source(prepared: Prepared) -> None:
    assert names_and_times(prepared.raw) == prepared.was


def test_images_in_are_images_out_and_listed_drops(prepared: Prepared) -> None:
    told = report(prepared.out)
    drops = {file for code, file, _ in told["files"] if KINDS[code].effect == "image dropped"}
    assert told["images"]["dropped"] == len(drops) > 10
    assert told["images"]["in"] == told["images"]["out"] + told["images"]["dropped"]
    for key in ("in", "out", "dropped"):
        assert sum(folder[key] for folder in told["folders"].values()) == told["images"][key]
    written = [
        json.loads((prepared.out / split / "panoptic.json").read_text()) for split in ("train", "validation")
    ]
    assert sum(len(found["images"]) for found in written) == told["images"]["out"]


def test_every_image_of_the_tree_is_in_the_output_or_listed(prepared: Prepared) -> None:
    """Counted anew from the folder, with links, pipes, and what only is called an image."""
    paths = [path.relative_to(prepared.raw) for path in prepared.raw.rglob("*") if not path.is_dir()]
    # Id maps are no images, though they are PNG files.
    files = {path.as_posix() for path in paths if is_image(path.name) and "annotations" not in path.parts}
    kept = {record.image.as_posix() for record in records_of(prepared.out).values()}
    listed = {
        file
        for code, file, _ in report(prepared.out)["files"]
        if KINDS[code].effect == "image dropped" or code == "file-unlisted"
    }
    below = "images/" if (prepared.raw / "annotations").is_dir() else ""  # COCO's names are relative to it
    assert files <= kept | {f"{below}{file}" for file in listed}
    assert not kept & {f"{below}{file}" for file in listed}


def test_two_runs_give_the_same_bytes(prepared: Prepared, tmp_path: Path) -> None:
    messy_run(prepared.raw, tmp_path / "out").run()
    again, first = (content(out, "steps", "data.yaml") for out in (tmp_path / "out", prepared.out))
    assert again == first


@pytest.mark.slow
def test_the_number_of_processes_does_not_change_the_result(prepared: Prepared, tmp_path: Path) -> None:
    made = messy_run(prepared.raw, tmp_path / "out")
    dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, num_proc=2)).run()
    again, first = (content(out, "steps", "data.yaml") for out in (tmp_path / "out", prepared.out))
    assert again == first


@pytest.mark.parametrize("to", ["fix", *sinks()])
def test_a_copy_in_any_format_is_sound_and_whole(prepared: Prepared, to: str, tmp_path: Path) -> None:
    target = open_target(str(prepared.raw))
    if to == "fix":
        fix(target, tmp_path / "copy", threads=1)
    else:
        convert(Opened(target.splits), tmp_path / "copy", to, threads=1)
    result = check(open_target(str(tmp_path / "copy")), threads=1)
    assert result.exit_code() == 0, result.report.sentences()
    images = sum(split.images for split in result.splits.values())
    assert images == report(prepared.out)["images"]["out"]
    assert names_and_times(prepared.raw) == prepared.was


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\0", b"[" * 100_000])
@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("class-folders", "marble/coco.json"),
        ("coco", "annotations/instances_default.json"),
        ("yolo", "data.yaml"),
    ],
)
def test_a_broken_annotation_file_is_refused_by_name(
    format: str, file: str, content: bytes, tmp_path: Path
) -> None:
    WRITE[format](tmp_path / "raw")
    (tmp_path / "raw" / file).write_bytes(content)
    with pytest.raises(UserError, match=f"{file}.* (is not|is nested|has no|holds no) "):
        messy_run(tmp_path / "raw", tmp_path / "out").run()


# ---- class folders: what their messes become


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_from("class-folders", tmp_path_factory.mktemp("folders"))


def records_of(out: Path) -> dict[str, Record]:
    found = list(Outcomes(out / "steps" / "repair" / "outcomes.jsonl", LabelMap.load(out)))
    assert [record.image_id for record in found] == list(range(1, len(found) + 1))
    return {record.file_name.replace("/images/", "/"): record for record in found}


def test_shapes_end_up_in_upright_pixels(folders: Prepared) -> None:
    found = records_of(folders.out)
    half = found["concrete_pump_(50%)/half.jpg"]
    assert half.objects[0].segmentation == [SQUARE] and half.size_hw == (48, 64)
    stored = found["concrete_pump_(50%)/stored.jpg"]
    assert stored.size_hw == (64, 48)  # (x, y) is now at (48 - y, x)
    assert stored.objects[0].segmentation == [[38.0, 10.0, 38.0, 40.0, 18.0, 40.0, 18.0, 10.0]]
    upright = found["concrete_pump_(50%)/upright.jpg"]
    assert upright.objects[0].segmentation == [[10.0, 20.0, 30.0, 20.0, 30.0, 60.0]]
    clipped = found["marble/clipped.jpg"].objects[1]
    assert clipped.segmentation is not None and min(clipped.segmentation[0]) == 0
    assert len(found["marble/twice.jpg"].objects) == 2


def test_names_with_spaces_brackets_and_per_cent_come_through(folders: Prepared) -> None:
    assert {"chiller/chiller (27).jpg", "chiller/50% [done].jpg"} <= records_of(folders.out).keys()


def test_the_same_name_in_two_folders_is_two_images(folders: Prepared) -> None:
    found = records_of(folders.out)
    assert found["chiller/001.jpg"].sha256 != found["concrete_pump_(50%)/001.jpg"].sha256


def test_a_picture_that_came_with_an_id_map_keeps_it(folders: Prepared) -> None:
    fine = records_of(folders.out)["lime/fine.jpg"]
    assert fine.id_map == Path("lime/annotations/fine.png")
    assert {(found.id, found.category, bool(found.extra)) for found in fine.objects} == {
        (300, "sky", True),
        (70_000, "lime", False),
    }


def test_classes_of_the_preset_give_the_preset(folders: Prepared) -> None:
    assert LabelMap.load(folders.out) == construction_labels()


def test_the_readable_report_names_classes_faults_and_samples(folders: Prepared) -> None:
    text = (folders.out / "prepare_report.md").read_text(encoding="utf-8")
    images, found = (report(folders.out)[key] for key in ("images", "classes"))
    assert "{in} images read, {out} kept, {dropped} dropped.".format(**images) in text
    row = r"\| chiller +\| thing +\| +{images} \| +{objects} \|".format(**found["chiller"])
    assert re.search(row, text) and found["chiller"]["objects"] > 20
    assert re.search(r"Imbalance: \w+ has \d+ objects", text)
    assert r"- chiller/images/a.png: the annotations say 'a.jpg'" in text
    pictures = re.findall(r"\((report/[^)]+)\)", text)
    assert len(pictures) == 5
    for name in pictures:
        with Image.open(folders.out / name) as sheet:
            assert sheet.height > 200
    assert "labeled by machine" in text
    assert re.search(r"\| in all +\| +{in} \| +{out} \| +{dropped} \|".format(**images), text)
    assert "- chiller: 80 % done" in text


def test_strict_stops_at_a_fault_and_says_where(folders: Prepared, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"stopped at the first issue \(--strict\)") as caught:
        pipeline(folders.raw, tmp_path / "out", strict=True).run()
    assert "lime_(todo): folders spell their class in another way" in str(caught.value)
