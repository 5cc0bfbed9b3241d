"""Panoptic quality: equality with the official code, and that code as a backend."""

from __future__ import annotations

import builtins
import tempfile
from pathlib import Path
from typing import Any

import pytest

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.metrics.panoptic_quality import PanopticQuality
from tests.metrics.panoptic_rows import BRICK, LABELS, SKY, picture, random_rows, score


def assert_close(left: Any, right: Any) -> None:
    """Two results with the same shape and Nones, numbers equal to rounding."""
    assert type(left) is type(right) or {type(left), type(right)} <= {int, float}, (left, right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_close(left[key], right[key])
    elif left is not None:
        assert left == pytest.approx(right, abs=1e-12)


CASES = {
    "plain": {"void": 0.0, "crowd": 0.0},
    "void": {"void": 0.3, "crowd": 0.0},
    "crowd": {"void": 0.0, "crowd": 0.3},
    "void and crowd": {"void": 0.2, "crowd": 0.3},
    "several crowds of a class": {"void": 0.1, "crowd": 0.7, "classes": 2},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stuff", [0, 1])
def test_equals_the_official_code_on_random_rows(case: str, stuff: int) -> None:
    pytest.importorskip("panopticapi")
    classes = CASES[case].get("classes", 6)
    labels = LabelMap.from_names(
        [f"t{i}" for i in range(classes - stuff)], stuff=[f"s{i}" for i in range(stuff)]
    )
    for seed in range(3):
        predictions, references = random_rows(seed, **CASES[case])
        ours, official = (
            PanopticQuality(labels, backend=backend).compute(predictions=predictions, references=references)
            for backend in ("ours", "panopticapi")
        )
        assert_close(ours, official)
        assert 0 < ours["All"]["pq"] < 1
        assert (ours["Stuff"]["pq"] is None) == (stuff == 0)


def test_equals_the_official_code_over_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The official entry point over whole PNG folders and JSON files, apart from our backend."""
    evaluation = pytest.importorskip("panopticapi.evaluation")
    from PIL import Image

    from detr_hf.geometry import id_to_rgb

    labels = LabelMap.from_names(["a", "b", "c", "d"], stuff=["e", "f"])
    predictions, references = random_rows(11)
    pairs = []
    for rows in zip(references, predictions, strict=True):
        pair = []
        for row, folder in zip(rows, ("truth", "found"), strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            name = f"{row['image_id']}.png"
            Image.fromarray(id_to_rgb(row["id_map"])).save(tmp_path / folder / name)
            segments = [
                {**s, "iscrowd": int(s.get("iscrowd", 0)), "area": int((row["id_map"] == s["id"]).sum())}
                for s in row["segments"]
            ]
            pair.append({"image_id": row["image_id"], "file_name": name, "segments_info": segments})
        pairs.append(tuple(pair))
    categories = {c["id"]: c for c in labels.to_coco_categories(contiguous=True)}
    folders = (str(tmp_path / "truth"), str(tmp_path / "found"))
    stat = evaluation.pq_compute_single_core(0, pairs, *folders, categories)
    ours = PanopticQuality(labels).compute(predictions=predictions, references=references)
    for name, things in (("All", None), ("Things", True), ("Stuff", False)):
        official = stat.pq_average(categories, isthing=things)[0]
        assert ours[name] == pytest.approx(official, abs=1e-12)
    assert ours["per_class"]["f"]["fn"] == stat[5].fn
    capsys.readouterr()


def test_official_backend_is_quiet_and_leaves_no_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch
) -> None:
    pytest.importorskip("panopticapi")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    truth = picture(1, [1, 2], s1=BRICK, s2=SKY)
    score(truth, truth, backend="panopticapi")
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_missing_panopticapi_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: packages of panopticapi that pin an old NumPy, which breaks `datasets`. None is required."""
    real = builtins.__import__

    def without_panopticapi(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("panopticapi"):
            raise ImportError("No module named 'panopticapi'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_panopticapi)
    with pytest.raises(
        UserError, match=r"pip install --no-deps git\+https://github.com/cocodataset/panopticapi"
    ):
        PanopticQuality(LABELS, backend="panopticapi")
    truth = picture(1, [1, 2], s1=BRICK, s2=SKY)
    assert score(truth, truth)["All"]["pq"] == 1.0, "our own code asks for none of it"


def test_unknown_backend() -> None:
    with pytest.raises(UserError, match="unknown backend 'official'"):
        PanopticQuality(LABELS, backend="official")  # type: ignore[arg-type]
