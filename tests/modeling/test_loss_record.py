"""What a run's losses were, in the config that is saved with its model."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import DetrConfig, DetrForObjectDetection

from detr_hf.modeling.loss_record import RECORD, read_losses, write_losses
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.matcher import MatchingCosts
from tests.tiny_models import tiny_config, tiny_detector


def test_whole_numbers_stand_in_the_stock_fields_of_a_saved_model(tmp_path: Path) -> None:
    model = tiny_detector()
    settings = LossSettings(
        bbox_loss_coefficient=7, giou_loss_coefficient=3.0, eos_coefficient=1, costs=MatchingCosts(2, 4, 3)
    )
    write_losses(model.config, settings)
    model.save_pretrained(tmp_path)
    stock = DetrForObjectDetection.from_pretrained(tmp_path).config
    assert (stock.bbox_loss_coefficient, stock.giou_loss_coefficient) == (7, 3)
    assert (stock.eos_coefficient, stock.mask_loss_coefficient, stock.dice_loss_coefficient) == (1.0, 1, 1)
    assert (stock.class_cost, stock.bbox_cost, stock.giou_cost) == (2, 4, 3)
    assert read_losses(stock) == settings


def test_fractions_are_kept_beside_the_stock_fields(tmp_path: Path) -> None:
    """Guards: a fraction in a stock field of a config: `from_pretrained` then refuses the whole model."""
    model = tiny_detector()
    settings = LossSettings(
        bbox_loss_coefficient=2.5,
        eos_coefficient=0.4,
        class_weights=[0.5, 1, 2, 1, 1],
        auxiliary=False,
        costs=MatchingCosts(1.5, 5, 2),
    )
    write_losses(model.config, settings)
    model.save_pretrained(tmp_path)
    stock = DetrForObjectDetection.from_pretrained(tmp_path).config
    assert (stock.bbox_loss_coefficient, stock.class_cost) == (5, 1)  # as they were
    assert stock.eos_coefficient == 0.4
    assert read_losses(stock) == settings


def test_stock_refuses_a_fraction() -> None:
    """If this fails, stock fields take fractions, and the record is not needed."""
    with pytest.raises(Exception, match="bbox_loss_coefficient"):
        DetrConfig(bbox_loss_coefficient=2.5)


def test_a_model_without_a_record_has_its_stock_fields() -> None:
    assert read_losses(tiny_config()) == LossSettings()
    assert read_losses(tiny_config(bbox_cost=9)).costs == MatchingCosts(1, 9, 2)
    assert read_losses(object.__new__(type("Bare", (), {"num_labels": 5}))) == LossSettings()


@pytest.mark.parametrize(
    "nonsense", [3, "x", {"bbox_cost": "x"}, {"bbox_cost": -1}, {"bbox_cost": True}], ids=str
)
def test_a_record_of_nonsense_counts_as_none(nonsense: object) -> None:
    config = tiny_config()
    setattr(config, RECORD, nonsense)
    assert read_losses(config) == LossSettings()


@pytest.mark.parametrize("theirs", [3, 2.5, True, "x"])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0]])
def test_a_field_of_another_meaning_is_left_alone(theirs: object, weights: list[float] | None) -> None:
    config = tiny_config(class_weights=theirs, auxiliary=theirs)
    write_losses(config, LossSettings(class_weights=weights))
    assert config.class_weights == theirs and config.auxiliary == theirs


def test_class_weights_of_another_number_of_classes_are_left_out() -> None:
    config = tiny_config()
    write_losses(config, LossSettings(class_weights=[1.0, 2.0]))
    assert read_losses(config).class_weights is None
