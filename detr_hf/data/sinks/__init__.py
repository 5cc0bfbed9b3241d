"""The sinks: each file of this folder with a `FORMAT` writes one format, by a class named `Writer`.

A sink has the names of `base.SinkModule`. A new format is one new file.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import cast

from detr_hf.data.sinks.base import Sink, SinkModule


@cache
def sinks() -> dict[str, SinkModule]:
    """The sinks by format."""
    found = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {sink.FORMAT: sink for sink in (cast(SinkModule, m) for m in found if hasattr(m, "FORMAT"))}


def open_sink(format: str) -> type[Sink]:
    """The writer of a format: ``with open_sink("coco")(folder, categories) as sink: sink.add(...)``."""
    return sinks()[format].Writer
