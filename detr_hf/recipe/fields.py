"""The types that settings are made of, and what makes a class a section of a recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, dataclass_transform

from pydantic import AfterValidator, ConfigDict, Field

from detr_hf.recipe.repo_ids import fault_of_repo_id, fault_of_tag
from detr_hf.recipe.tree import has_mappings, settings_of

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+){unit})?" for unit in UNITS))

T = TypeVar("T")


def seconds_of(text: str) -> int | None:
    """Seconds in ``1d``, ``11h30m``, ``45m`` or ``90s``; None where the text is no duration above 0."""
    found = DURATION.fullmatch(text.strip())
    if found is None:
        return None
    return sum(int(found[unit] or 0) * seconds for unit, seconds in UNITS.items()) or None


def _fault_of_duration(text: str) -> str | None:
    return None if seconds_of(text) else f"expected a duration such as 11h30m or 45m, got '{text}'"


def _fault_of_repeats(names: list[str]) -> str | None:
    return f"names a tracker twice: {', '.join(names)}" if len(set(names)) < len(names) else None


def _refused_by(fault_of: Callable[[Any], str | None]) -> AfterValidator:
    """Refuse a value of the right type for the reason that ``fault_of`` gives, if it gives one."""

    def check(value: Any) -> Any:
        if fault := fault_of(value):
            raise ValueError(fault)
        return value

    return AfterValidator(check)


Text = Annotated[str, Field(min_length=1)]
Duration = Annotated[Text, _refused_by(_fault_of_duration)]
RepoId = Annotated[Text, _refused_by(fault_of_repo_id)]
Tag = Annotated[Text, _refused_by(fault_of_tag)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Overlap = Annotated[float, Field(ge=0, le=0.9)]
Count = Annotated[int, Field(ge=1)]
AtLeastTwo = Annotated[int, Field(ge=2)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Trackers = Annotated[list[Literal["tensorboard", "trackio", "wandb"]], _refused_by(_fault_of_repeats)]
TransformList = list[dict[str, Any]]
FreezeBackbone = Literal["stem_and_first_stage", "all", "none"]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def section(cls: type[T]) -> type[T]:
    """A frozen, keyword-only dataclass that pydantic reads strictly: no unknown key, no silent conversion."""
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    cls.__pydantic_config__ = config  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


class WholeRecipe:
    """What a recipe can do that a section of it cannot.

    ``DetectionRecipe(output_dir="runs/x", data={"train": "photos"}, optim={"epochs": 3})``: with a dict in
    place of a section the recipe is read as a file with these settings would be.

    Raises:
        UserError: lists every fault, each under its dotted path.
    """

    task: Any
    from_values: ClassVar[Callable[..., Any]]  # given by the ``RecipeFormat`` of its kind

    def __post_init__(self) -> None:
        if has_mappings(self):
            self.__dict__.update(vars(self.with_overrides({})))

    def with_overrides(self, overrides: Sequence[str] | Mapping[str, Any]) -> Self:
        """The recipe with some settings changed: ``{"optim.lr": 1e-5}`` or ``["optim.lr=1e-5"]``.

        Raises:
            UserError: lists every fault, each under its dotted path.
        """
        recipe: Self = type(self).from_values({"task": self.task, **settings_of(self)}, overrides)
        return recipe
