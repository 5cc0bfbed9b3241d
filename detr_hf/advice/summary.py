"""What is told of recipes that were written."""

from __future__ import annotations

from detr_hf.advice.settings import Setting
from detr_hf.advice.write import Written
from detr_hf.recipe.yaml_text import write_flow

LONG = ("transforms.train", "transforms.validation")


IN_SHORT = ("data.tiles", "data.overfit", "model.pretrained", "optim.epochs")


def summary(written: Written, in_short: bool = False) -> str:
    """What was found, and the settings with their reasons; in short the few that matter most."""
    places = written.places
    files = f"{places.detection} and {places.panoptic}" if written.has_masks else f"{places.detection}"
    lines = [written.looked.remark, *(f"  {line}" for line in written.words)]
    told = [one for one in written.settings if one.reason and (not in_short or one.key in IN_SHORT)]
    lines += ["", "settings of stage 1, and why:", *map(_line, told)]
    rest = ", with the reasons for all settings" if in_short else ""
    return "\n".join([*lines, "", f"written: {files}{rest}"])


def next_steps(written: Written) -> str:
    """The next commands."""
    return "\n".join(["", "next:", *(f"  {command}" for command in written.commands())])


def _line(setting: Setting) -> str:
    value = "" if setting.key in LONG else f"={write_flow(setting.value)}"
    return f"  {setting.key}{value}: {setting.reason}"
