"""The result of a check for a terminal."""

from __future__ import annotations

import numpy as np

from detr_hf.data.check import CheckResult
from detr_hf.data.issues import ERROR, INFO, WARNING, Kind
from detr_hf.errors import quantity
from detr_hf.sanitize import printable

FILES_SHOWN = 5
CLASSES_SHOWN = 8


def as_text(result: CheckResult) -> str:
    """What each split holds, every kind of issue with its first files, and the sum."""
    lines = [*(result.target.remarks or (result.target.name,))]
    for name, held in result.splits.items():
        crowd = f", {quantity(held.crowd, 'crowd')}" if held.crowd else ""
        lines.append(f"  {name}: {quantity(held.images, 'image')}, {quantity(held.objects, 'object')}{crowd}")
    lines += _widths(result)
    for kind in result.report.kinds():
        shown = FILES_SHOWN if kind.severity != INFO else 3
        lines += ["", *_kind_lines(result, kind, shown)]
    return "\n".join(printable(line) for line in [*lines, "", verdict(result)])


def verdict(result: CheckResult) -> str:
    """The sum in one line."""
    errors, warnings = (result.report.count_of(severity) for severity in (ERROR, WARNING))
    said = quantity(warnings, "warning")
    if errors:
        return f"{quantity(errors, 'error')}, {said}: a training run would stop, or learn something false"
    return f"no errors, {said}"


def _widths(result: CheckResult) -> list[str]:
    """The median width of each class in the network, in the first split, the narrowest first."""
    seen = result.target.seen
    sides = next((held.sides for held in result.splits.values()), {})
    if seen is None or not sides:
        return []
    widths = sorted((float(np.median(of)), name) for name, of in sides.items())
    words = [f"{name} {width:.0f}" for width, name in widths[:CLASSES_SHOWN]]
    more = [f"and {quantity(rest, 'wider class')}"] if (rest := len(widths) - len(words)) else []
    size = f"short edge {seen.short_edge}, a cell of the map is {seen.stride}"
    return [f"  median width in the network, px ({size}): {', '.join([*words, *more])}"]


def _kind_lines(result: CheckResult, kind: Kind, files_shown: int) -> list[str]:
    count = result.report.count(kind.code)
    shown = result.report.texts(kind.code)[:files_shown]
    rest = count - len(shown)
    remedy = kind.remedy.replace("check ...", f"check {result.target.name}")
    head = f"{kind.severity:7} {kind.code}: {kind.counted(count)}; {remedy}"
    return [head, *(f"        {text}" for text in shown), *([f"        and {rest} more"] if rest else [])]
