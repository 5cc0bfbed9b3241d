"""The recipe of `detr-hf prepare`: every fault at once, nothing taken for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.errors import UserError
from detr_hf.recipe.prepare import (
    PrepareRecipe,
    load_prepare_recipe,
    prepare_recipe_from_text,
    prepare_recipe_to_yaml,
)


def refusal(text: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        prepare_recipe_from_text(text, overrides)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_without_a_file_the_defaults_hold() -> None:
    assert load_prepare_recipe(None) == PrepareRecipe()


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "dataset.yaml"
    file.write_text("task: prepare\nsplit: {seed: 3}\nread: {layout: panoptic}\n")
    recipe = load_prepare_recipe(file, ["split.seed=4", "pseudo_stuff.score_threshold=1e-1"])
    assert (recipe.split.seed, recipe.read.layout, recipe.pseudo_stuff.score_threshold) == (
        4,
        "panoptic",
        0.1,
    )


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["split.folds=5", "num_proc=1"],
        ["pseudo_stuff.enabled=false", "pseudo_stuff.teacher=demo", "labels=construction"],
        ["split.fixed=splits.json", "write.copy_images=true"],
    ],
)
def test_what_is_saved_reads_back(overrides: list[str]) -> None:
    recipe = load_prepare_recipe(None, overrides)
    assert prepare_recipe_from_text(prepare_recipe_to_yaml(recipe)) == recipe


def test_all_faults_at_once() -> None:
    text = "task: prepare\nnum_proc: ten\nread: {layuot: auto, painted_masks: crwod}\nsplit: {folds: 1}\n"
    assert sorted(refusal(text, "write.copy_images=1")) == [
        "num_proc: expected a whole number, got 'ten'",
        "read.layuot: unknown key; did you mean `layout`?",
        "read.painted_masks: expected one of `auto`, `objects`, `crowd`, got 'crwod'; did you mean `crowd`?",
        "split.folds: must be at least 2, got 1",
        "write.copy_images: expected true or false, got 1",
    ]


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("task: detection", [], "task: expected `prepare`, got 'detection'"),
        ("num_proc: 2", [], "task: missing; write `task: prepare`"),
        (
            "task: prepare\nsplit: {folds: 3, validation_fraction: 0.2}",
            [],
            "split.validation_fraction: does nothing",
        ),
        (
            "task: prepare",
            ["pseudo_stuff.teacher=demo", "pseudo_stuff.revision=main"],
            "pseudo_stuff.revision: ",
        ),
        ("task: prepare\nread: !!python/object:os.system {}", [], "read: the tag"),
        ("task: prepare\nnum_proc: 1\nnum_proc: 2", [], "num_proc: given twice"),
        ("task: prepare", ["split.validation_fraction=1"], "split.validation_fraction: must be less than 1"),
    ],
)
def test_a_fault_is_reported_by_its_path(text: str, overrides: list[str], expected: str) -> None:
    assert any(line.startswith(expected) for line in refusal(text, *overrides)), refusal(text, *overrides)


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such recipe file"):
        load_prepare_recipe(tmp_path / "no.yaml")
    with pytest.raises(UserError, match="starting with `task: prepare`"):
        prepare_recipe_from_text("- a\n- b")
