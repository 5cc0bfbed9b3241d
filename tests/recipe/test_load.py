"""A recipe whole: its faults all at once, its file, and the way back to YAML."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from detr_hf.errors import UserError
from detr_hf.recipe import (
    load_recipe,
    recipe_from_text,
    recipe_to_dict,
    recipe_to_yaml,
)
from tests.recipe.texts import DETECTION, PANOPTIC, STREAM, faults_of, replace


def test_a_streamed_recipe_is_read_back() -> None:
    recipe = recipe_from_text(replace(DETECTION, "data", STREAM + ", shuffle_buffer: 9, epoch_images: 5}"))
    assert (recipe.data.streaming, recipe.data.shuffle_buffer, recipe.data.epoch_images) == (True, 9, 5)
    assert recipe_from_text(recipe_to_yaml(recipe)) == recipe
    assert "shuffle_buffer" not in recipe_to_yaml(recipe_from_text(DETECTION))


def test_all_faults_come_at_once_whatever_their_kind() -> None:
    text = textwrap.dedent("""
        output_dir: runs/x
        mixed_precision: bf61
        data:
          train: {annotations: a.json, images: img}
          train: {annotations: b.json, images: img}
          demo: {}
        model: {pretrained: 3}
        optim: {epoch: 3, batch_size: 5, schedule: {name: cosine, drop_at: 0.3}}
        transforms: {train: [{p: 1}]}
    """)
    faults = faults_of(text, "optim.lr", "seed=1.5", "transforms.train.7.p=1")
    places = {fault.split(":")[0] for fault in faults}
    assert places == {
        "task",
        "mixed_precision",
        "data.train",
        "data",
        "model.pretrained",
        "optim.epoch",
        "optim.epochs",
        "optim.batch_size",
        "optim.schedule.drop_at",
        "transforms.train.0.name",
        "`optim.lr` is no override; write `section.setting=value`",
        "seed",
        "transforms.train.7.p",
    }
    assert "data.train: given twice, on lines 5 and 6; keep one" in faults


def test_nesting_without_end_is_a_fault() -> None:
    """Guards: pydantic's JSON reader gives up on it, and nothing is known of any setting then."""
    (fault,) = faults_of(DETECTION, f"data.labels={'[' * 210 + ']' * 210}", "data.validation={}")
    assert fault.startswith("Invalid JSON")


@pytest.mark.parametrize(("value", "what"), [("\\ud800", "half a character"), ("a\\0", "a NUL")])
def test_text_that_names_no_file_is_a_fault_beside_the_others(value: str, what: str) -> None:
    faults = faults_of(DETECTION, f'data.labels="{value}"', "seed=-1")
    assert f"data.labels: holds {what}; remove it" in faults and len(faults) == 2


def test_a_misspelt_task_still_has_the_rest_checked_as_it_was_meant() -> None:
    faults = faults_of(
        PANOPTIC.replace("task: panoptic", "task: panoptik") + "loss: {mask_loss_coefficient: x}\n"
    )
    assert [fault.split(":")[0] for fault in faults] == ["task", "loss.mask_loss_coefficient"]


def test_the_file_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(DETECTION + "sed: 3\n")
    with pytest.raises(UserError) as caught:
        load_recipe(bad)
    assert str(caught.value) == f"{bad}: 1 fault\n  sed: unknown key; did you mean `seed`?"
    with pytest.raises(UserError, match="no such recipe file"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="is a folder; a recipe is a YAML file"):
        load_recipe(tmp_path)
    bad.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(bad)


ROUND_TRIPS = [
    (DETECTION, []),
    (PANOPTIC, []),
    (PANOPTIC, ["model.freeze_detector=false", "optim.backbone_lr=2e-5", "checkpoint.best=AP50"]),
    (PANOPTIC, ["model.mask_head=fresh", "optim.schedule={name: constant, warmup_steps: 10}"]),
    (DETECTION, ["data.train=null", "data.dataset=user/set", "data.revision='1e5'"]),
    (
        DETECTION,
        ["data.train=null", "data.demo.train=3", "model.pretrained=demo", "model.freeze_backbone=all"],
    ),
    (DETECTION, ["data.train.images='no'", "data.labels='12'", "output_dir='1_0'", "resume='null'"]),
    (
        DETECTION,
        ["data.validation={annotations: v.json, images: 'a # b'}", "optim.lr=3.0000000000000004e-05"],
    ),
    (DETECTION, ["transforms.validation=[{name: A, b: null, c: '1e-4', d: [[1, 2], {e: 'yes'}]}]"]),
]


@pytest.mark.parametrize(("text", "overrides"), ROUND_TRIPS)
def test_a_recipe_survives_yaml(text: str, overrides: list[str]) -> None:
    recipe = recipe_from_text(text, overrides)
    assert recipe_from_text(recipe_to_yaml(recipe)) == recipe


def test_saved_recipes_leave_out_what_does_nothing() -> None:
    saved = recipe_to_dict(recipe_from_text(PANOPTIC, ["optim.schedule={name: cosine}"]))
    assert "freeze_backbone" not in saved["model"] and "drop_at" not in saved["optim"]["schedule"]
    assert "train_split" not in saved["data"] and "demo" not in saved["data"]
    assert saved["data"]["validation_fraction"] == 0.1


def test_reading_a_recipe_imports_nothing_heavy() -> None:
    code = "import sys, detr_hf.recipe, detr_hf.labels; print(sorted({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "numpy", "transformers", "datasets", "albumentations", "PIL"):
        assert f"'{heavy}'" not in loaded
