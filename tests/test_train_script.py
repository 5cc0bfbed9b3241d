"""The entry script: quick answers, and one plain message for every bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.recipe import recipe_to_yaml
from detr_hf.train import main
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.tiny_runs import THING_LABELS, detection_recipe, panoptic_recipe, save_detector

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "detr_hf" / "train.py"
HEAVY = ("torch", "transformers", "datasets", "accelerate", "timm", "numpy", "PIL", "albumentations")
TYPO = "task: detection\noutput_dir: x\ndata: {demo: {}}\noptim: {epoch: 1}\n"

RUNNER = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    code = end.code
heavy = sorted(set(sys.modules) & set({heavy!r}))
print("code", code, "heavy", heavy)
"""


@pytest.mark.parametrize("what", ["--help", "typo"])
def test_help_and_typos_are_answered_before_torch_is_imported(what: str, tmp_path: Path) -> None:
    if what == "typo":
        (tmp_path / "typo.yaml").write_text(TYPO)
    command = [sys.executable, "-c", RUNNER.format(heavy=HEAVY), str(SCRIPT)]
    command.append("--help" if what == "--help" else str(tmp_path / "typo.yaml"))
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    if what == "--help":
        assert "key=value" in done.stdout
        assert done.stdout.splitlines()[-1] == "code 0 heavy []"
    else:
        assert done.stdout.splitlines()[-1] == "code 2 heavy []"
        assert "optim.epoch: unknown key; did you mean `epochs`?" in done.stderr


def test_an_uninstalled_checkout_says_what_to_do_in_one_sentence(tmp_path: Path) -> None:
    """The script's own folder comes first on the path, so the package around it is not importable."""
    shutil.copytree(ROOT / "detr_hf", tmp_path / "detr_hf", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-S", str(tmp_path / "detr_hf" / "train.py"), "--help"]
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "detr_hf", env=alone)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "No module named 'detr_hf'" in done.stderr and "pip install -e ." in done.stderr


# ---- bad inputs, through `main`


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a run that must end with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert "Traceback" not in told
    message = told[told.index("error: ") :]
    assert message.count("error: ") == 1
    return message


def change_first(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def mend(content: dict[str, Any]) -> None:
        content["annotations"][0][key] = value

    return mend


def without_images(content: dict[str, Any]) -> None:
    content["images"], content["annotations"] = [], []


def without_a_file(content: dict[str, Any]) -> None:
    content["images"][2]["file_name"] = "absent.jpg"


@pytest.mark.parametrize(
    ("mend", "named"),
    [
        (without_a_file, ["absent.jpg", "there is no file"]),
        (change_first("category_id", 99), ["99", "categor"]),
        (change_first("bbox", [1, 2, float("nan"), 4]), ["nan", "001.jpg"]),
        (without_images, ["no image"]),
    ],
    ids=["missing image", "wrong category", "NaN box", "empty"],
)
def test_bad_detection_data_is_told_in_one_message(
    mend: Callable[[dict[str, Any]], None],
    named: list[str],
    tmp_path: Path,
    own_cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    split = write_coco_detection(tmp_path / "data", mend=mend)
    recipe = detection_recipe(tmp_path / "run", split, tmp_path / "absent")
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    message = refusal([str(tmp_path / "recipe.yaml")], capsys)
    for words in named:
        assert words.lower() in message.lower(), message


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_jpeg_is_told_in_one_message(
    workers: int, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its header is whole, so it shows when the picture is loaded, be it in another process."""
    split = write_coco_detection(tmp_path / "data")
    file = Path(split.images) / "002.jpg"
    file.write_bytes(file.read_bytes()[:1500])
    recipe = detection_recipe(tmp_path / "run", split, save_detector(tmp_path / "start"))
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    message = refusal([str(tmp_path / "recipe.yaml"), f"data.workers={workers}"], capsys)
    assert "image 12" in message and "002.jpg" in message and "damaged or cut off" in message


def test_png_ids_that_the_json_lacks_are_told_in_one_message(
    tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = write_coco_panoptic(tmp_path / "data")
    file = Path(str(split.panoptic)) / "11_map.png"
    pixels = np.array(Image.open(file))
    pixels[40:60, 40:60] = (9, 9, 9)
    Image.fromarray(pixels).save(file)
    recipe = panoptic_recipe(tmp_path / "run", split, tmp_path / "absent", "fresh")
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    message = refusal([str(tmp_path / "recipe.yaml")], capsys)
    assert "001.jpg" in message and str(9 + 256 * 9 + 65536 * 9) in message


def test_a_detector_of_other_classes_is_told_in_one_message(
    tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = save_detector(tmp_path / "stage1", THING_LABELS)
    recipe = panoptic_recipe(tmp_path / "run", write_coco_panoptic(tmp_path / "data"), detector, "fresh")
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    message = refusal([str(tmp_path / "recipe.yaml")], capsys)
    assert "model.detector" in message and "sky" in message and "Train stage 1 on this data first" in message


def test_a_typo_in_an_override(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(TYPO.replace("epoch:", "epochs:"))
    message = refusal([str(tmp_path / "recipe.yaml"), "optim.lrr=1"], capsys)
    assert "optim.lrr: unknown key; did you mean `lr`?" in message
    assert "absent.yaml: there is no such recipe file" in refusal([str(tmp_path / "absent.yaml")], capsys)


def test_a_loss_that_is_not_finite_is_told_in_one_message(
    tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = detection_recipe(
        tmp_path / "run",
        write_coco_detection(tmp_path / "data"),
        save_detector(tmp_path / "start"),
        "optim.lr=1e30",
    )
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    message = refusal([str(tmp_path / "recipe.yaml"), "optim.epochs=9", "evaluation.every=9"], capsys)
    assert "the loss is not finite" in message and "image ids: " in message
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 1
