"""What YAML makes of a recipe's text: numbers, words, anchors, and text that is no recipe."""

from __future__ import annotations

import pytest

from detr_hf.errors import UserError
from detr_hf.recipe import (
    recipe_from_text,
)
from tests.recipe.texts import DETECTION, replace


@pytest.mark.parametrize("written", ["1e-4", "1.0e-4", "0.0001", "+1E-4", ".0001"])
def test_a_number_is_a_number(written: str) -> None:
    """Guards: stock PyYAML reads `1e-4` as text."""
    assert recipe_from_text(DETECTION, [f"optim.lr={written}"]).optim.lr == 1e-4
    assert recipe_from_text(replace(DETECTION, "optim", f"{{epochs: 3, lr: {written}}}")).optim.lr == 1e-4


def test_no_is_a_word() -> None:
    """Guards: stock PyYAML reads `no` as False."""
    assert recipe_from_text(DETECTION + "mixed_precision: no\n").mixed_precision == "no"


def test_anchors_repeat_a_value() -> None:
    text = DETECTION + "transforms:\n  train: &same [{name: HorizontalFlip, p: 0.5}]\n  validation: *same\n"
    recipe = recipe_from_text(text)
    assert recipe.transforms.train == recipe.transforms.validation


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a recipe is a list of"),
        ("- a\n- b\n", "a recipe is a list of"),
        ("task: [", "not valid YAML: line"),
        ("task: detection\n\tseed: 3\n", "not valid YAML: line 2"),
        ("a: 1\n---\nb: 2\n", "not valid YAML: line"),
        ("a: *nowhere\n", "not valid YAML: line 1"),
        ("a: &a [*a]\n", "nested too deeply"),
        ("[" * 500, "nested too deeply"),
        ('task: detection\noutput_dir: "a\\0b"\n', "output_dir: holds a NUL"),
    ],
)
def test_text_that_is_no_recipe(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        recipe_from_text(text)


def test_aliases_cannot_multiply_without_end() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(UserError, match="more than"):
        recipe_from_text("\n".join(rows))
