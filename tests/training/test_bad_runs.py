"""Forty runs that cannot be: each is refused with one clear message, none with a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from detr_hf.recipe import recipe_to_yaml
from detr_hf.train import main
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.tiny_runs import (
    ALL_LABELS,
    assembled,
    detection_recipe,
    panoptic_recipe,
    save_detector,
    save_segmenter,
)


@dataclass
class Home:
    """A finished step of stage 1 to spoil, and recipe files of both stages."""

    folder: Path

    @property
    def last(self) -> Path:
        return self.folder / "run" / "last"

    @property
    def start(self) -> Path:
        return self.folder / "start"

    @property
    def annotations(self) -> Path:
        return self.folder / "boxes" / "annotations.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "home"  # a run knows its start by its last two names
    boxes = write_coco_detection(folder / "boxes", count=4)
    masks = write_coco_panoptic(folder / "masks", count=2)
    start = save_detector(folder / "start")
    detector, head = save_detector(folder / "stage1", ALL_LABELS), save_segmenter(folder / "head")
    steps = ["optim.max_steps=1", "optim.epochs=1"]
    recipe = detection_recipe(folder / "run", boxes, start, *steps)
    train_loop(recipe)
    (folder / "detection.yaml").write_text(recipe_to_yaml(recipe))
    recipe = panoptic_recipe(folder / "run2", masks, detector, head, *steps)
    (folder / "panoptic.yaml").write_text(recipe_to_yaml(recipe))
    return folder


def train_loop(recipe: Any) -> None:
    from detr_hf.training.loop import train as loop

    loop(assembled(recipe))
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Home:
    """A copy whose recipes name its own files."""
    shutil.copytree(finished, tmp_path / "home")
    for name in ("detection.yaml", "panoptic.yaml"):
        file = tmp_path / "home" / name
        file.write_text(file.read_text().replace(str(finished), str(tmp_path / "home")))
    return Home(tmp_path / "home")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-50] ^= 255
    file.write_bytes(bytes(content))


def rewrite(file: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def shrink_config(home: Home) -> None:
    rewrite(home.start / "config.json", lambda config: config.update(num_queries=3))


def other_model(home: Home) -> None:
    (home.start / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')


def write_recipe(text: str) -> Callable[[Home], object]:
    return lambda home: (home.folder / "detection.yaml").write_text(text)


def in_state(home: Home) -> None:
    """Another run's state, with a manifest that fits: only its contents tell."""
    from detr_hf.files import MANIFEST_FILE, write_manifest

    rewrite(home.last / "training_state.json", lambda facts: facts["state"]["identity"].update(batch_size=64))
    (home.last / MANIFEST_FILE).unlink()
    write_manifest(home.last)


def of_another_version(home: Home) -> None:
    from detr_hf.files import MANIFEST_FILE, write_manifest

    rewrite(home.last / "training_state.json", lambda facts: facts["state"].update(moon_phase=1))
    (home.last / MANIFEST_FILE).unlink()
    write_manifest(home.last)


def nothing(_: Home) -> None:
    pass


RECIPES: list[tuple[list[str], Callable[[Home], object], list[str]]] = [
    ([], write_recipe(""), ["a recipe is a list of"]),
    ([], write_recipe("[1, 2]"), ["a recipe is a list of"]),
    ([], write_recipe("task: detection\n\toutput_dir: x"), ["detection.yaml"]),
    ([], write_recipe("task: detection\ntask: detection\n"), ["task", "twice"]),
    ([], write_recipe("task: segmentation\n"), ["task", "detection"]),
    ([], lambda home: (home.folder / "detection.yaml").write_bytes(b"\xff\xfe\x00"), ["detection.yaml"]),
    ([], lambda home: (home.folder / "detection.yaml").unlink(), ["there is no such recipe file"]),
    (["optim.lr=fast"], nothing, ["optim.lr: expected a number"]),
    (["optim.lr=.nan"], nothing, ["optim.lr"]),
    (["optim.epochs=0"], nothing, ["optim.epochs"]),
    (["optim.epochs=1.5"], nothing, ["optim.epochs: expected a whole number"]),
    (
        ["optim.batch_size=6", "optim.micro_batch_size=4"],
        nothing,
        ["optim.batch_size: 6 is no multiple of optim.micro_batch_size"],
    ),
    (["optim.skip_non_finite=-1"], nothing, ["optim.skip_non_finite"]),
    (["optim.schedule.warmup_steps=1"], nothing, ["optim.schedule.warmup_steps"]),
    (["checkpoint.keep=-1"], nothing, ["checkpoint.keep"]),
    (["checkpoint.every_minutes=0"], nothing, ["checkpoint.every_minutes"]),
    (["checkpoint.evry_steps=5"], nothing, ["did you mean `every_steps`"]),
    (["checkpoint.best=PQ"], nothing, ["checkpoint.best"]),
    (["time_limit=11:30"], nothing, ["time_limit: expected a duration such as 11h30m"]),
    (["time_limit=90"], nothing, ["time_limit"]),
    (["trackers=[mlflow]"], nothing, ["trackers"]),
    (["data.workers=-1"], nothing, ["data.workers"]),
    (["data.labels=nowhere.json"], nothing, ["nowhere.json"]),
    (["data.overfit=99", "data.validation=null"], nothing, ["data.overfit: 99 images"]),
    (["transforms.train.0.name=HorizontalFlop"], nothing, ["HorizontalFlop"]),
    (["transforms.validation=[]"], nothing, ["transforms.validation: must be one ShortEdgeResize"]),
    (["model.pretrained=/nowhere/model"], nothing, ["/nowhere/model: there is no such folder"]),
    (["model.pretrained=./nowhere"], nothing, ["./nowhere: there is no such folder"]),
]

FILES: list[tuple[list[str], Callable[[Home], object], list[str]]] = [
    ([], lambda home: home.annotations.unlink(), ["annotations.json"]),
    ([], lambda home: cut(home.annotations), ["annotations.json"]),
    ([], lambda home: rewrite(home.annotations, lambda c: c.pop("images")), ["annotations.json", "images"]),
    ([], lambda home: shutil.rmtree(home.folder / "boxes" / "images"), ["images"]),
    (["resume=never"], lambda home: cut(home.start / "model.safetensors"), ["weights could not be loaded"]),
    (["resume=never"], lambda home: (home.start / "config.json").write_text("{"), ["config.json"]),
    (["resume=never"], shrink_config, ["query_position_embeddings", "of another shape"]),
    (["resume=never"], other_model, ["'bert' model"]),
    (["output_dir=detection.yaml"], nothing, ["output_dir: detection.yaml cannot be made"]),
]

CHECKPOINTS: list[tuple[list[str], Callable[[Home], object], list[str]]] = [
    ([], lambda home: flip(home.last / "model.safetensors"), ["model.safetensors was altered"]),
    ([], lambda home: cut(home.last / "training_state.safetensors"), ["training_state.safetensors has"]),
    ([], lambda home: (home.last / "config.json").unlink(), ["config.json is missing"]),
    ([], lambda home: (home.last / "manifest.json").unlink(), ["manifest.json is missing"]),
    ([], in_state, ["is of another run: its optim.batch_size is 64"]),
    ([], of_another_version, ["cannot be read", "moon_phase"]),
    (["resume=nowhere"], nothing, ["resume: nowhere is not a training checkpoint"]),
    (["resume=start"], nothing, ["resume: start is not a training checkpoint"]),
    (["optim.batch_size=2"], nothing, ["is of another run: its optim.batch_size is 4"]),
]


def refusal(home: Home, stage: str, overrides: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([f"{stage}.yaml", *overrides])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert "Traceback" not in told and told.count("error: ") == 1
    return told[told.index("error: ") :]


@pytest.mark.parametrize(("overrides", "spoil", "named"), [*RECIPES, *FILES, *CHECKPOINTS])
def test_a_bad_run_is_refused_in_one_message(
    overrides: list[str],
    spoil: Callable[[Home], object],
    named: list[str],
    home: Home,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(home.folder)
    spoil(home)
    message = refusal(home, "detection", overrides, capsys)
    for words in named:
        assert words in message, message


PANOPTIC: list[tuple[list[str], list[str]]] = [
    (["model.detector=runs/none/best"], ["runs/none/best: there is no such folder"]),
    (["model.detector=start"], ["start was trained for other classes"]),
    (["model.mask_head=start"], ["where a DetrForSegmentation is needed"]),
    (["optim.backbone_lr=1e-5"], ["optim.backbone_lr: does nothing here"]),
    (["checkpoint.best=AP"], ["checkpoint.best: a frozen detector's AP never changes"]),
    (["data.train.panoptic=null"], ["data.train.panoptic: missing"]),
]


@pytest.mark.parametrize(("overrides", "named"), PANOPTIC)
def test_a_bad_run_of_stage_2_is_refused_in_one_message(
    overrides: list[str],
    named: list[str],
    home: Home,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(home.folder)
    message = refusal(home, "panoptic", overrides, capsys)
    for words in named:
        assert words in message, message


def test_there_are_forty_at_least() -> None:
    assert len(RECIPES) + len(FILES) + len(CHECKPOINTS) + len(PANOPTIC) >= 40
