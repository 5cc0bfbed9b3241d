"""The whole way from a raw folder: each fault listed, nothing lost, RAW left as it is, kills survived."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detr_hf.data.pipeline import STEPS
from detr_hf.data.raw.findings import KINDS
from detr_hf.data.records import Record, read_records
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap, construction_labels
from tests.data.pipeline_runs import content, pipeline, with_stuff
from tests.raw_factories import SQUARE, ClassFolder, write_messy_raw, write_tidy_raw


def report(out: Path) -> dict[str, Any]:
    return json.loads((out / "prepare_report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[tuple[str, str]]]:
    root = tmp_path_factory.mktemp("messy")
    return root, write_messy_raw(root / "raw")


@pytest.fixture(scope="module")
def prepared(messy: tuple[Path, set[tuple[str, str]]]) -> Path:
    """The messy folder, prepared with stuff, beside a note of what RAW held before."""
    root, _ = messy
    before = content(root / "raw")
    with_stuff(root / "raw", root / "out").run()
    assert content(root / "raw") == before, "RAW was written to"
    return root / "out"


def test_every_fault_is_listed_with_its_file_and_no_other(
    prepared: Path, messy: tuple[Path, set[tuple[str, str]]]
) -> None:
    listed = {(kind, file) for kind, file, _ in report(prepared)["files"]}
    assert listed == messy[1]


def test_the_mess_holds_nearly_every_kind_of_finding(messy: tuple[Path, set[tuple[str, str]]]) -> None:
    of_other_settings = {"empty_dropped", "unlisted_kept", "two_layouts", "other_class"}
    of_the_split = {"alike", "torn", "not_everywhere", "not_in_split_file", "not_in_data"}
    of_painting = {"no_pixel", "hidden", "covered_stuff"}
    missing = KINDS.keys() - {kind for kind, _ in messy[1]}
    assert missing <= of_other_settings | of_the_split | of_painting


def test_images_in_are_images_out_and_listed_drops(prepared: Path) -> None:
    told = report(prepared)
    drops = [kind for kind, _, _ in told["files"] if KINDS[kind].action == "picture dropped"]
    assert told["images"] == {"in": 53, "out": 35, "dropped": 18} and len(drops) == 18
    written = [
        json.loads((prepared / split / "panoptic.json").read_text()) for split in ("train", "validation")
    ]
    assert sum(len(found["images"]) for found in written) == 35


def test_files_and_entries_that_came_in_are_accounted_for(
    prepared: Path, messy: tuple[Path, set[tuple[str, str]]]
) -> None:
    """Counted anew from the folder: every picture file is a record or a drop."""
    raw = messy[0] / "raw"
    files = {
        file.relative_to(raw).as_posix()
        for file in raw.glob("*/images/*")
        if file.suffix.lower() in (".jpg", ".png", ".jpeg", ".bmp")
    }
    kept = {record.file for record in read_records(prepared / "steps" / "merge" / "records.jsonl")}
    dropped = {file for kind, file, _ in report(prepared)["files"] if "picture" in KINDS[kind].action}
    assert files <= kept | dropped and kept <= files and not kept & dropped


def records_of(out: Path) -> dict[str, Record]:
    found = list(read_records(out / "steps" / "merge" / "records.jsonl"))
    assert [record.id for record in found] == list(range(1, len(found) + 1))
    return {record.identity: record for record in found}


def test_shapes_end_up_in_upright_pixels(prepared: Path) -> None:
    found = records_of(prepared)
    half = found["concrete_pump_(50%)/half.jpg"]
    assert half.objects[0].polygons == [SQUARE] and half.size_hw == (48, 64)
    stored = found["concrete_pump_(50%)/stored.jpg"]
    assert stored.size_hw == (64, 48)  # (x, y) is now at (48 - y, x)
    assert stored.objects[0].polygons == [[38.0, 10.0, 38.0, 40.0, 18.0, 40.0, 18.0, 10.0]]
    upright = found["concrete_pump_(50%)/upright.jpg"]
    assert upright.objects[0].polygons == [[10.0, 20.0, 30.0, 20.0, 30.0, 60.0]]
    clipped = found["marble/clipped.jpg"].objects[1]
    assert clipped.polygons is not None and min(clipped.polygons[0]) == 0
    assert len(found["marble/twice.jpg"].objects) == 2


def test_names_with_spaces_brackets_and_per_cent_come_through(prepared: Path) -> None:
    assert {"chiller/chiller (27).jpg", "chiller/50% [done].jpg"} <= records_of(prepared).keys()


def test_the_same_name_in_two_folders_is_two_pictures(prepared: Path) -> None:
    found = records_of(prepared)
    assert found["chiller/001.jpg"].sha256 != found["concrete_pump_(50%)/001.jpg"].sha256


def test_a_picture_that_came_with_an_id_map_keeps_it(prepared: Path) -> None:
    fine = records_of(prepared)["lime/fine.jpg"]
    assert fine.panoptic is not None and fine.panoptic.png == "lime/annotations/fine.png"
    assert {(found.id, found.category, found.isthing) for found in fine.panoptic.segments} == {
        (300, "sky", False),
        (70_000, "lime", True),
    }


def test_classes_of_the_preset_give_the_preset(prepared: Path) -> None:
    assert LabelMap.load(prepared) == construction_labels()


def test_the_readable_report_names_classes_faults_and_samples(prepared: Path) -> None:
    text = (prepared / "prepare_report.md").read_text(encoding="utf-8")
    assert "53 pictures came in, 35 came out, 18 were dropped." in text
    assert "| chiller | thing | 11 | 11 |" in text
    assert re.search(r"Imbalance: \w+ has \d+ objects", text)
    assert r"- chiller/images/a.png: the annotations say 'a.jpg'" in text
    pictures = re.findall(r"\((report/[^)]+)\)", text)
    assert len(pictures) == 5
    for name in pictures:
        with Image.open(prepared / name) as sheet:
            assert sheet.height > 200
    assert "labeled by machine" in text
    assert report(prepared)["class_folders"]["chiller"]["details"] == "80 % done"


def test_the_report_cannot_be_made_to_speak_markdown(tmp_path: Path) -> None:
    made = ClassFolder(tmp_path / "raw", "chiller", "chiller")
    for seed, name in enumerate(("a.png", "b.png")):
        made.save(name, seed)
        made.outlined(made.listed(name))
    made.listed("<img src=x> [a](b).jpg")
    made.close()
    pipeline(tmp_path / "raw", tmp_path / "out").run()
    text = (tmp_path / "out" / "prepare_report.md").read_text()
    assert r"&lt;img src=x> \[a\](b).jpg" in text and "<img" not in text


# ---- strict


def test_strict_stops_at_a_fault_and_says_where(
    messy: tuple[Path, set[tuple[str, str]]], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"stopped at the first fault \(--strict\)") as caught:
        pipeline(messy[0] / "raw", tmp_path / "out", strict=True).run()
    assert "chiller" in str(caught.value)


def test_strict_also_stops_where_a_lenient_run_has_mended_before(tmp_path: Path) -> None:
    made = ClassFolder(tmp_path / "raw", "chiller", "chiller")
    for seed, name in enumerate(("a.png", "b.png")):
        made.save(name, seed)
        made.outlined(made.listed(name), [[-9.0, 1.0, 30.0, 1.0, 30.0, 20.0]])
    made.close()
    pipeline(tmp_path / "raw", tmp_path / "out").run()
    with pytest.raises(UserError, match=r"chiller/images/a\.png: mended: .*clipped"):
        pipeline(tmp_path / "raw", tmp_path / "out", strict=True).run()


def test_strict_passes_a_tidy_folder(tmp_path: Path) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    pipeline(raw, tmp_path / "out", strict=True).run()
    assert report(tmp_path / "out")["images"] == {"in": 6, "out": 6, "dropped": 0}


# ---- steps


def test_steps_one_by_one_give_what_all_at_once_give(tmp_path: Path) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    pipeline(raw, tmp_path / "out").run()
    at_once = content(tmp_path / "out", "steps")
    (tmp_path / "out").rename(tmp_path / "before")
    for step in STEPS:
        pipeline(raw, tmp_path / "out").run(only=step)
    assert content(tmp_path / "out", "steps") == at_once


def test_a_step_before_its_forerunners_is_refused(tmp_path: Path) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    with pytest.raises(UserError, match="--only merge: the step `read` is not done"):
        pipeline(raw, tmp_path / "out").run(only="merge")


def test_what_is_done_is_not_done_again_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    pipeline(raw, tmp_path / "out").run()
    opened: list[str] = []
    from detr_hf.data import pipeline as module

    real = module.mend_picture

    def noted(raw: Path, picture: Any, settings: Any) -> Any:
        opened.append(picture.file)
        return real(raw, picture, settings)

    monkeypatch.setattr(module, "mend_picture", noted)
    pipeline(raw, tmp_path / "out", "split.seed=1").run()
    assert opened == []
    Image.new("RGB", (64, 48)).save(raw / "marble" / "images" / "001.png")
    pipeline(raw, tmp_path / "out").run()
    assert len(opened) == 6
    pipeline(raw, tmp_path / "out", "read.painted_masks=crowd").run()
    assert len(opened) == 12


def test_another_teacher_of_the_same_name_paints_anew(tmp_path: Path) -> None:
    """guards: stuff of an older checkpoint, kept because the recipe calls both `demo`."""
    raw, weights = write_tidy_raw(tmp_path / "raw"), tmp_path / "teacher" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")

    def keys() -> dict[str, str]:
        made = with_stuff(raw, tmp_path / "out")
        return dataclasses.replace(made, teacher_files=weights.parent)._keys

    before = keys()
    assert keys() == before
    weights.write_bytes(b"another")
    assert [step for step, key in keys().items() if key != before[step]] == ["pseudo", "write", "report"]


def test_settings_of_empty_pictures(tmp_path: Path) -> None:
    made = ClassFolder(tmp_path / "raw", "chiller", "chiller")
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        made.save(name, seed)
        image_id = made.listed(name)
        if name != "c.png":
            made.outlined(image_id)
    made.close()
    pipeline(tmp_path / "raw", tmp_path / "out", "read.empty_images=drop").run()
    assert report(tmp_path / "out")["images"] == {"in": 3, "out": 2, "dropped": 1}


def test_labels_of_the_data_where_the_preset_does_not_fit(tmp_path: Path) -> None:
    made = ClassFolder(tmp_path / "raw", "zebra_crossing", "chiller")
    made.categories[0] |= {"name": "zebra_crossing", "color": [1, 2, 3]}
    for seed, name in enumerate(("a.png", "b.png")):
        made.save(name, seed)
        made.outlined(made.listed(name))
    made.close()
    pipeline(tmp_path / "raw", tmp_path / "out").run()
    labels = LabelMap.load(tmp_path / "out")
    assert labels.names == ("zebra_crossing",) and labels.color(0) == (1, 2, 3)
    with pytest.raises(UserError, match="1 classes of the raw folder are not in the label map construction"):
        pipeline(tmp_path / "raw", tmp_path / "out", "labels=construction").run()


def test_nothing_left_is_told_after_the_report(tmp_path: Path) -> None:
    made = ClassFolder(tmp_path / "raw", "chiller", "chiller")
    made.listed("gone.jpg")
    made.close()
    with pytest.raises(UserError, match="no picture is left"):
        pipeline(tmp_path / "raw", tmp_path / "out").run()
    assert report(tmp_path / "out")["images"] == {"in": 1, "out": 0, "dropped": 1}


def test_several_processes_share_the_teacher_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detr_hf.data.pipeline.PROCESSES", 2)
    with pytest.raises(UserError, match="launch them with --only pseudo"):
        pipeline(write_tidy_raw(tmp_path / "raw"), tmp_path / "out").run()


def test_a_data_set_that_was_deleted_is_written_again(tmp_path: Path) -> None:
    raw, out = write_tidy_raw(tmp_path / "raw"), tmp_path / "out"
    pipeline(raw, out).run()
    before = content(out, "steps")
    for entry in out.iterdir():
        if entry.name != "steps":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    pipeline(raw, out).run()
    assert content(out, "steps") == before


# ---- folders


def test_out_may_not_lie_in_raw(tmp_path: Path) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    for out in (raw, raw / "out"):
        with pytest.raises(UserError, match="lies in the raw folder"):
            pipeline(raw, out).run()
    assert not (raw / "out").exists()


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.md").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        pipeline(raw, tmp_path / "out").run()


def test_two_runs_on_one_folder_are_refused(tmp_path: Path) -> None:
    from detr_hf.files import exclusive

    raw = write_tidy_raw(tmp_path / "raw")
    with (
        exclusive(tmp_path / "out" / "steps" / "lock", ""),
        pytest.raises(UserError, match="another run prepares into"),
    ):
        pipeline(raw, tmp_path / "out").run()


@pytest.mark.slow
def test_the_number_of_processes_does_not_change_the_result(prepared: Path, tmp_path: Path) -> None:
    raw = prepared.parent / "raw"
    made = with_stuff(raw, tmp_path / "out")
    dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, num_proc=2)).run()
    wanted = content(prepared, "steps", "data.yaml")
    assert content(tmp_path / "out", "steps", "data.yaml") == wanted
