"""The result of a check for a terminal."""

from __future__ import annotations

from detr_hf.data.check import CheckResult
from detr_hf.data.issues import ERROR, INFO, WARNING, Kind
from detr_hf.errors import quantity
from detr_hf.sanitize import printable

FILES_SHOWN = 5


def as_text(result: CheckResult) -> str:
    """What each split holds, every kind of issue with its first files, and the sum."""
    lines = [*(result.target.remarks or (result.target.name,))]
    for name, held in result.splits.items():
        crowd = f", {quantity(held.crowd, 'crowd')}" if held.crowd else ""
        lines.append(f"  {name}: {quantity(held.images, 'image')}, {quantity(held.objects, 'object')}{crowd}")
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


def _kind_lines(result: CheckResult, kind: Kind, files_shown: int) -> list[str]:
    count = result.report.count(kind.code)
    shown = result.report.texts(kind.code)[:files_shown]
    rest = count - len(shown)
    remedy = kind.remedy.replace("check ...", f"check {result.target.name}")
    head = f"{kind.severity:7} {kind.code}: {kind.counted(count)}; {remedy}"
    return [head, *(f"        {text}" for text in shown), *([f"        and {rest} more"] if rest else [])]
