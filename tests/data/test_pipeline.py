"""The whole way from a source: strict runs, steps, settings, folders; `test_messes` is about faulty data."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detr_hf.data.pipeline import STEPS
from detr_hf.data.records import Outcomes
from detr_hf.data.repair import Repair
from detr_hf.data.repair_records import RecordRepair
from detr_hf.data.sample import Sample
from detr_hf.data.sinks.prepared import write_dataset
from detr_hf.data.split import Splits
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from tests.data.pipeline_runs import HalfAndHalf, content, pipeline, report, with_stuff
from tests.raw_factories import ClassFolder, photo, write_tidy_raw


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


def test_strict_also_stops_where_a_lenient_run_has_repaired_before(tmp_path: Path) -> None:
    made = ClassFolder(tmp_path / "raw", "chiller", "chiller")
    for seed, name in enumerate(("a.png", "b.png")):
        made.save(name, seed)
        made.outlined(made.listed(name), [[-9.0, 1.0, 30.0, 1.0, 30.0, 20.0]])
    made.close()
    pipeline(tmp_path / "raw", tmp_path / "out").run()
    with pytest.raises(UserError, match=r"chiller/images/a\.png: boxes reach over .*: repaired; stopped"):
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
    with pytest.raises(UserError, match="--only split: the step `repair` is not done"):
        pipeline(raw, tmp_path / "out").run(only="split")


def test_what_is_done_is_not_done_again_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    pipeline(raw, tmp_path / "out").run()
    opened: list[str] = []
    from detr_hf.data import pipeline as module

    real = module.split_samples

    def noted(splits: Any) -> Any:
        for split, sample in real(splits):
            opened.append(sample.file_name)
            yield split, sample

    monkeypatch.setattr(module, "split_samples", noted)
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


def test_the_teacher_is_looked_at_until_its_step_is_done(tmp_path: Path) -> None:
    made = with_stuff(write_tidy_raw(tmp_path / "raw"), tmp_path / "out")
    asked = []

    def stuff() -> tuple[str, ...]:
        asked.append(1)
        return HalfAndHalf.stuff_names

    made.teacher_stuff = stuff
    made.run(only="repair")
    assert not asked, "this step needs no network"
    made.run()
    made.run()
    assert len(asked) == 1


@pytest.mark.parametrize("boxes", [0, 1])
def test_boxes_without_outlines_are_told_before_they_become_masks(
    boxes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_tidy_raw(tmp_path / "raw", per_class=1)
    said = json.loads((raw / "marble" / "coco.json").read_text())
    for annotation in said["annotations"] if boxes else ():
        annotation["segmentation"] = []
    (raw / "marble" / "coco.json").write_text(json.dumps(said))
    pipeline(raw, tmp_path / "out").run()
    pipeline(raw, tmp_path / "out").run()
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == boxes
    if boxes:
        objects = sum(facts["objects"] for facts in report(tmp_path / "out")["classes"].values())
        found = f"{len(said['annotations'])} of {objects} objects (1 of 2 images) have no outline"
        assert found in warnings[0] and "Stage 2" in warnings[0]


def test_settings_of_empty_images(tmp_path: Path) -> None:
    made = ClassFolder(tmp_path / "raw", "chiller", "chiller")
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        made.save(name, seed)
        image_id = made.listed(name)
        if name != "c.png":
            made.outlined(image_id)
    made.close()
    pipeline(tmp_path / "raw", tmp_path / "out", "read.empty_images=drop").run()
    assert report(tmp_path / "out")["images"] == {"in": 3, "out": 2, "dropped": 1}
    assert [entry[1] for entry in report(tmp_path / "out")["files"] if entry[0] == "empty-dropped"] == [
        "chiller/images/c.png"
    ]


def test_nothing_left_is_told_after_the_report(tmp_path: Path) -> None:
    made = ClassFolder(tmp_path / "raw", "chiller", "chiller")
    made.listed("gone.jpg")
    made.close()
    with pytest.raises(UserError, match="no image is left"):
        pipeline(tmp_path / "raw", tmp_path / "out").run()
    assert report(tmp_path / "out")["images"] == {"in": 1, "out": 0, "dropped": 1}


def test_no_object_left_is_told_as_a_check_does(tmp_path: Path) -> None:
    made = ClassFolder(tmp_path / "raw", "chiller", "chiller")
    made.save("a.png", 1)
    made.listed("a.png")
    made.close()
    with pytest.raises(UserError, match="no object to learn from is left"):
        pipeline(tmp_path / "raw", tmp_path / "out").run()
    assert report(tmp_path / "out")["images"] == {"in": 1, "out": 1, "dropped": 0}


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


# ---- other sources


def test_any_format_with_its_own_splits(tmp_path: Path) -> None:
    """A YOLO folder, whose splits stay, and whose images have the same names in each."""
    for split, count in (("train", 3), ("val", 2)):
        for at in range(count):
            image = tmp_path / "data" / "images" / split / f"{at}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            photo(10 * count + at).save(image)
            label = tmp_path / "data" / "labels" / split / f"{at}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "data" / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [crate]\n")
    before = content(tmp_path / "data")
    pipeline(tmp_path / "data", tmp_path / "out").run()
    assert content(tmp_path / "data") == before
    assert report(tmp_path / "out")["images"] == {"in": 5, "out": 5, "dropped": 0}
    for split, count in (("train", 3), ("validation", 2)):
        made = json.loads((tmp_path / "out" / split / "panoptic.json").read_text())
        assert len(made["images"]) == count
        assert all((tmp_path / "data" / image["file_name"]).is_file() for image in made["images"])
        assert made["annotations"][0]["segments_info"][0]["bbox"] == [24, 12, 16, 24]
    assert "as the source has them" in (tmp_path / "out" / "prepare_report.md").read_text()


def test_bytes_of_a_source_become_files_of_the_data_set(tmp_path: Path) -> None:
    """An image that is no file, as in an archive, is copied whatever the settings."""
    (tmp_path / "kept").mkdir()
    photo(1).save(tmp_path / "a.png")
    sample = Sample((tmp_path / "a.png").read_bytes(), "a.png", 1, [])
    work = RecordRepair(tmp_path / "source", tmp_path / "kept", {"train": Repair()})
    (tmp_path / "lines").write_text(work(("train", sample)) + "\n")
    records = Outcomes(tmp_path / "lines", LabelMap.from_names(["a"]))
    assert [record.image.parent for record in records] == [tmp_path / "kept"]
    labels, splits = LabelMap.from_names(["a"]), Splits({"a.png": "train"}, ("train",), 0)
    write_dataset(records, tmp_path / "source", None, splits, labels, tmp_path / "out")
    assert (tmp_path / "out" / "images" / "a.png").read_bytes() == sample.image


# ---- folders


def test_out_may_not_lie_in_raw(tmp_path: Path) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    for out in (raw, raw / "out"):
        with pytest.raises(UserError, match="which is only read"):
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
