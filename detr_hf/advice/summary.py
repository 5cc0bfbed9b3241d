"""What is told of recipes that were written."""

from __future__ import annotations

from detr_hf.advice.settings import Setting
from detr_hf.advice.write import Written
from detr_hf.recipe.yaml_text import write_flow

LONG = ("transforms.train", "transforms.validation")


def summary(written: Written) -> str:
    """What was found, and the settings with their reasons."""
    places = written.places
    files = f"{places.detection} and {places.panoptic}" if written.has_masks else f"{places.detection}"
    lines = [written.looked.remark, *(f"  {line}" for line in written.words)]
    lines += ["", "settings of stage 1, and why:", *map(_line, filter(_is_told, written.settings))]
    return "\n".join([*lines, "", f"written: {files}"])


def next_steps(written: Written) -> str:
    """The next commands."""
    return "\n".join(["", "next:", *(f"  {command}" for command in written.commands())])


def _is_told(setting: Setting) -> bool:
    return bool(setting.reason)


def _line(setting: Setting) -> str:
    value = "" if setting.key in LONG else f"={write_flow(setting.value)}"
    return f"  {setting.key}{value}: {setting.reason}"
