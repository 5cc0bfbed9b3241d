"""The loss settings that a model was trained with, written into its config.json and read back.

A stock config has fields for most of them, but several take whole numbers only. All of them stand under a
key of their own, which stock transformers keeps and ignores; the stock fields follow where they can.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, cast

from detr_hf.foreign_files import is_finite_number
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.matcher import MatchingCosts

RECORD = "detr_hf_losses"
"""The key of a config.json that holds every setting."""


def write_losses(config: Any, settings: LossSettings) -> None:
    """Put what a run uses into a model's config, in place.

    A fraction is not written into a stock field that holds a whole number: ``from_pretrained`` would refuse
    the config. The field then keeps what it had, and ``RECORD`` alone tells the truth.
    """
    values = asdict(settings)
    values |= values.pop("costs")
    if settings.class_weights is not None:
        values["class_weights"] = list(settings.class_weights)
    for name, value in values.items():
        stock = getattr(config, name, None)
        if not _is_weight(value) or isinstance(stock, bool):  # no stock config has a field for it
            continue
        if isinstance(stock, float):
            setattr(config, name, float(value))
        elif isinstance(stock, int) and float(value).is_integer():
            setattr(config, name, int(value))
    setattr(config, RECORD, values)


def read_losses(config: Any) -> LossSettings:
    """What a model was trained with: as recorded, else in the stock fields, else DETR's own.

    A config may hold anything; what is no setting counts as not there.
    """
    record = getattr(config, RECORD, None)
    record = record if isinstance(record, dict) else {}

    def number(setting: Any) -> float:
        candidates = (record.get(setting.name), getattr(config, setting.name, None))
        return next(
            (float(cast(float, value)) for value in candidates if _is_weight(value)), float(setting.default)
        )

    costs = MatchingCosts(**{cost.name: number(cost) for cost in fields(MatchingCosts)})
    numbers = {one.name: number(one) for one in fields(LossSettings) if isinstance(one.default, float)}
    weights = record.get("class_weights")
    fit = isinstance(weights, list) and len(weights) == config.num_labels and all(map(_is_weight, weights))
    return LossSettings(
        **numbers,
        class_weights=weights if fit else None,
        auxiliary=record.get("auxiliary") is not False,
        costs=costs,
    )


def _is_weight(value: Any) -> bool:
    return is_finite_number(value) and value >= 0
