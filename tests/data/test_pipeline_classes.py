"""The classes and the name of a prepared data set: of the data, of its stuff, or of a preset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from detr_hf.data.card import title_of
from detr_hf.data.merge import merged_labels
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap, construction_labels
from tests.data.pipeline_runs import HalfAndHalf, content, no_teacher, pipeline, report, with_stuff
from tests.raw_factories import ClassFolder, write_tidy_raw


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
    with pytest.raises(UserError, match=r"label map construction lacks 1 class of the data.*labels=null"):
        pipeline(tmp_path / "raw", tmp_path / "out", "labels=construction").run()


def test_a_preset_in_which_every_class_is_void_is_not_taken() -> None:
    assert "thing" in construction_labels().void
    labels, is_given = merged_labels([{"id": 1, "name": "thing"}], None, preset="construction")
    assert (labels.names, labels.void, is_given) == (("thing",), (), False)
    fitting = merged_labels([{"id": 1, "name": "chiller"}], None, preset="construction")
    assert fitting == (construction_labels(), True)


def test_the_classes_are_those_with_a_segment_and_the_rest_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The annotations name a class that nobody drew; the teacher's stuff keeps its names."""
    raw = write_tidy_raw(tmp_path / "yard_photos")
    _with_category(raw, "never_drawn")
    with_stuff(raw, tmp_path / "out").run()
    labels = LabelMap.load(tmp_path / "out")
    assert labels.names == ("chiller", "marble", "pavement-merged", "sky-other-merged")
    assert [labels.names[at] for at in labels.stuff_ids] == ["pavement-merged", "sky-other-merged"]
    told = "left out of the label map: 1 class without a segment: 'never_drawn'"
    assert told in capsys.readouterr().out.splitlines()
    assert report(tmp_path / "out")["label map"] == [told]
    assert list(report(tmp_path / "out")["classes"]) == list(labels.names)
    for file in ("train/panoptic.json", "validation/detection.json"):
        categories = json.loads((tmp_path / "out" / file).read_text())["categories"]
        assert [entry["name"] for entry in categories] == list(labels.names)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "# yard photos: images with panoptic masks" in card and "2 kinds of things and 2 of stuff" in card


def test_a_thing_of_the_data_is_no_stuff_of_the_teacher(tmp_path: Path) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    _with_category(raw, "sky-other-merged")
    with_stuff(raw, tmp_path / "out").run()
    assert LabelMap.load(tmp_path / "out").names == ("chiller", "marble", "pavement-merged")


def test_images_with_id_maps_need_no_teacher(tmp_path: Path) -> None:
    pipeline(write_tidy_raw(tmp_path / "raw"), tmp_path / "panoptic").run()
    made = pipeline(tmp_path / "panoptic", tmp_path / "again", "pseudo_stuff.enabled=true")
    made.teacher_stuff = no_teacher
    made.run()
    assert report(tmp_path / "again")["images"] == {"in": 6, "out": 6, "dropped": 0}


def test_a_teacher_without_a_class_of_the_label_map_is_refused_before_the_repairs(tmp_path: Path) -> None:
    labels = LabelMap.from_names(["chiller", "marble"]).save(tmp_path / "labels")
    made = with_stuff(write_tidy_raw(tmp_path / "raw"), tmp_path / "out", f"labels={labels}")
    made.teacher_stuff = lambda: HalfAndHalf.stuff_names
    with pytest.raises(UserError, match=r"no stuff class of the teacher .*pseudo_stuff\.mapping"):
        made.run()
    assert not (tmp_path / "out" / "steps" / "repair").exists()


def test_the_preset_is_its_label_map_and_its_mapping(tmp_path: Path) -> None:
    raw, out = write_tidy_raw(tmp_path / "raw"), tmp_path / "out"
    with_stuff(raw, out, "labels=construction", "pseudo_stuff.mapping=construction").run()
    named = content(out, "steps")
    shutil.rmtree(out)
    with_stuff(raw, out, "preset=construction").run()
    assert content(out, "steps") == named
    assert LabelMap.load(out) == construction_labels()
    assert "labels: construction" in (out / "data.yaml").read_text()


def test_the_preset_leaves_other_data_its_classes(tmp_path: Path) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    _with_category(raw, "zebra_crossing")
    with_stuff(raw, tmp_path / "out", "preset=construction").run()
    assert LabelMap.load(tmp_path / "out").names == ("chiller", "marble", "ground", "sky")
    missing = report(tmp_path / "out")["label map"][0]
    assert "14 classes without a segment: 'zebra_crossing', 'building', 'ceiling'" in missing


@pytest.mark.parametrize(
    ("name", "is_file", "title"),
    [
        ("hard  hats_v2", False, "hard hats v2: images with panoptic masks"),
        ("bins.v3.zip", True, "bins: images with panoptic masks"),
        ("___", False, "Images with panoptic masks"),
        ("a\x1b[2Jb", False, "a\N{REPLACEMENT CHARACTER}[2Jb: images with panoptic masks"),
    ],
)
def test_a_title_from_the_name_of_the_source(name: str, is_file: bool, title: str, tmp_path: Path) -> None:
    (tmp_path / name).touch() if is_file else (tmp_path / name).mkdir()
    assert title_of(tmp_path / name) == title


def _with_category(raw: Path, name: str) -> None:
    """A category of the annotations that no object has."""
    said = json.loads((raw / "marble" / "coco.json").read_text())
    said["categories"].append({"id": 99, "name": name, "isthing": 1})
    (raw / "marble" / "coco.json").write_text(json.dumps(said))
