"""A saved DatasetDict of repaired samples: what `datasets` and training read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from detr_hf.data.bundle import dataset_features
from detr_hf.data.sample import Sample
from detr_hf.data.sinks import open_sink
from detr_hf.data.sinks.base import Sink
from detr_hf.labels import LabelMap
from tests.data.sinks.sink_factories import (
    CATEGORIES,
    SIZE_HW,
    boxes_sample,
    outlines_sample,
    panoptic_sample,
)


def written(out: Path, samples: dict[str, list[Sample]], **options: Any) -> Sink:
    with open_sink("hf")(out, samples, CATEGORIES, **options) as sink:
        for split, found in samples.items():
            for sample in found:
                sink.add(split, sample)
    return sink


def test_rows_hold_images_and_boxes(tmp_path: Path) -> None:
    sample = boxes_sample(tmp_path / "in")
    written(tmp_path / "out", {"train": [sample], "my-test": [sample]})
    (tmp_path / "in" / "a" / "0.png").unlink()
    saved = datasets.load_from_disk(tmp_path / "out")
    assert isinstance(saved, datasets.DatasetDict) and list(saved) == ["train", "my_test"]
    assert saved["train"].features == dataset_features(("brick", "cone", "sky"), False)
    row = saved["train"][0]
    assert row["image"].size == (64, 48)
    assert row["objects"] == {
        "id": [5, 6],
        "bbox": [[5.25, 6.0, 20.5, 18.0], [40.0, 10.0, 24.0, 38.0]],
        "category": [0, 1],
        "area": [369.0, 912.0],
        "iscrowd": [False, False],
    }
    assert (row["image_id"], row["file_name"], row["height"], row["width"]) == (10, "a/0.png", *SIZE_HW)
    assert LabelMap.load(tmp_path / "out").names == ("brick", "cone", "sky")


def test_id_maps_are_kept(tmp_path: Path) -> None:
    sample = panoptic_sample(tmp_path / "in")
    written(tmp_path / "out", {"train": [sample]})
    saved = datasets.load_from_disk(tmp_path / "out")["train"]
    stored = saved.cast_column("panoptic", datasets.Image(decode=False))[0]["panoptic"]
    assert stored == {"bytes": sample.id_map, "path": "c.png"}


def test_images_that_are_bytes_and_many_rows(tmp_path: Path) -> None:
    sample = boxes_sample(tmp_path / "in")
    assert isinstance(sample.image, Path)
    given = replace(sample, image=sample.image.read_bytes())
    written(tmp_path / "out", {"train": [replace(given, image_id=at) for at in range(250)]})
    saved = datasets.load_from_disk(tmp_path / "out")["train"]
    assert saved["image_id"][:] == list(range(250))
    assert np.array(saved[249]["image"]).shape == (*SIZE_HW, 3)


def test_a_name_that_is_no_text_is_written_with_escapes(tmp_path: Path) -> None:
    written(tmp_path / "out", {"train": [replace(boxes_sample(tmp_path / "in"), file_name="a\udc80.png")]})
    assert datasets.load_from_disk(tmp_path / "out")["train"]["file_name"][:] == ["a\\udc80.png"]


def test_outlines_have_no_column_and_that_is_told(tmp_path: Path) -> None:
    sink = written(tmp_path / "out", {"train": [outlines_sample(tmp_path / "in")]})
    assert sink.report.count("outline-dropped") == 1
    changes = json.loads((tmp_path / "out" / "changes.json").read_bytes())
    assert changes["counts"] == {"outline-dropped": 1}
    assert sink.counts["train"] == {"images": 1, "objects": 4}


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    """The fingerprint, too, by which `datasets` finds what it derived."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for out in folders:
        written(out, {"train": [boxes_sample(tmp_path / "in"), outlines_sample(tmp_path / "in")]})
    contents = [
        {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in folders
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 6
    written(tmp_path / "three", {"train": [outlines_sample(tmp_path / "in")]})
    assert (tmp_path / "three/train/state.json").read_bytes() != contents[0]["train/state.json"]
