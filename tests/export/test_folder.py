"""The exported folder is whole and sound, or it is not there."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf import cli
from detr_hf.errors import UserError
from detr_hf.export import export_onnx, folder
from tests.layout_checks import ROOT


def test_the_folder_is_complete_by_itself(segmenter_onnx: Path) -> None:
    names = {file.name for file in segmenter_onnx.iterdir()}
    assert names == {
        "model.onnx",
        "export.json",
        "config.json",
        "label_map.json",
        "preprocessor_config.json",
    }
    facts = json.loads((segmenter_onnx / "export.json").read_text())
    shapes = {port["name"]: port["shape"] for port in [*facts["inputs"], *facts["outputs"]]}
    assert shapes == {
        "pixel_values": ["batch", 3, "height", "width"],
        "pixel_mask": ["batch", "height", "width"],
        "score_threshold": [1],
        "logits": ["batch", 7, 6],
        "pred_boxes": ["batch", 7, 4],
        "pred_masks": ["masks", "mask_height", "mask_width"],
        "mask_index": ["masks", 2],
    }
    types = {port["name"]: port["type"] for port in [*facts["inputs"], *facts["outputs"]]}
    assert {name for name, kind in types.items() if kind == "int64"} == {"pixel_mask", "mask_index"}
    assert set(types.values()) == {"float32", "int64"}
    assert (facts["task"], facts["patch_side"]) == ("panoptic", None)
    checked = facts["compared_with_pytorch"]
    assert checked["passes"] == 6 and checked["boxes"] < 1e-5 and checked["mask_iou"] > 0.999
    assert {"torch", "onnx", "onnxscript", "onnxruntime", "detr-hf"} <= set(facts["versions"])


def test_the_graph_is_valid_and_knows_nothing_of_the_machine(segmenter_onnx: Path) -> None:
    import onnx

    file = segmenter_onnx / "model.onnx"
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    [opset] = [entry.version for entry in model.opset_import if entry.domain == ""]
    assert opset == json.loads((segmenter_onnx / "export.json").read_text())["opset"] == 18
    data = file.read_bytes()
    assert str(ROOT).encode() not in data and b"site-packages" not in data


def test_the_command_says_the_differences_and_no_more(segmenter_onnx: Path) -> None:
    said = segmenter_onnx.with_name("console.txt").read_text().splitlines()
    assert len(said) == 2, said
    assert said[0].startswith("as PyTorch on 3 images in 6 passes; largest differences: boxes ")
    assert said[1].endswith(" MB, opset 18")


@pytest.fixture
def damaged(segmenter_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that gets one weight wrong."""
    import onnx
    from onnx import numpy_helper

    def write(graph: Any, file: Path, opset: int) -> dict[str, Any]:
        model = onnx.load(segmenter_onnx / "model.onnx")
        weight = next(each for each in model.graph.initializer if list(each.dims) == [4])
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + 0.01, weight.name))
        onnx.save(model, file)
        return {"inputs": [], "outputs": []}

    monkeypatch.setattr(folder, "write_onnx", write)


@pytest.mark.usefixtures("damaged")
def test_a_wrong_graph_is_refused_with_its_numbers(
    segmenter: Path, segmenter_onnx: Path, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    """Of two places to write to, the empty one stays empty and the earlier export stays as it was."""
    earlier = tmp_path / "earlier"
    shutil.copytree(segmenter_onnx, earlier)
    before = {file.name: file.read_bytes() for file in earlier.iterdir()}
    for out in (tmp_path / "new", earlier):
        with pytest.raises(UserError, match=r"does not give what PyTorch gives \(boxes \d\.\de-0[123], prob"):
            export_onnx(str(segmenter), out, pictures[:1])
    assert {file.name: file.read_bytes() for file in earlier.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["earlier"]


def test_a_folder_with_other_things_is_left_alone(segmenter: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UserError, match="holds something else"):
            export_onnx(str(segmenter), out, [])
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_cannot_be_exported(segmenter: Path, segmenter_onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="is an export already"):
        export_onnx(str(segmenter_onnx), out, [])
    with pytest.raises(UserError, match="opset 12: choose from 18 to 23"):
        export_onnx(str(segmenter), out, [], opset=12)
    with pytest.raises(UserError, match="no model found there"):
        export_onnx(str(tmp_path), out, [])
    assert not out.exists()


def test_a_missing_extra_is_named(segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else there(name)
    )
    with pytest.raises(UserError, match=r"needs onnxscript: pip install 'detr-hf\[export\]'"):
        export_onnx(str(segmenter), tmp_path / "out", [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/at/all", "--out", "x"], "there is no such folder"),
        (["demo", "--out", "x", "--format", "tflite"], "invalid choice: 'tflite'"),
        (["demo", "--out", "x", "--check-images", "missing.jpg"], "missing.jpg does not exist"),
        (["demo"], "the following arguments are required: --out"),
    ],
)
def test_the_command_refuses(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", *arguments])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and message in told and "Traceback" not in told
    assert not (tmp_path / "x").exists()
