"""The result of a check for a terminal."""

from __future__ import annotations

from detr_hf.prepare.check.ledger import CheckResult, Kind, Place
from detr_hf.prepare.check.rules import ERROR, INFO, SEVERITIES, WARNING
from detr_hf.sanitize import printable

FILES_SHOWN = 5


def as_text(result: CheckResult, files_shown: int = FILES_SHOWN) -> str:
    """What each split holds, every kind of finding with its first files, and the sum."""
    lines = [f"{result.target}"]
    for name, held in result.splits.items():
        crowd = f", {held.crowd} crowds" if held.crowd else ""
        lines.append(f"  {name}: {held.images} images, {held.objects} objects{crowd}")
    for severity in SEVERITIES:
        for kind in result.ledger.kinds():
            if kind.rule.severity == severity:
                lines += ["", *_kind_lines(kind, files_shown if severity != INFO else min(files_shown, 3))]
    return "\n".join(printable(line) for line in [*lines, "", verdict(result)])


def verdict(result: CheckResult) -> str:
    """The sum in one line."""
    errors, warnings = (result.ledger.count_of(severity) for severity in (ERROR, WARNING))
    if errors:
        return f"{errors} errors, {warnings} warnings: a training run would stop, or learn something false"
    return f"no errors, {warnings} warnings"


def _kind_lines(kind: Kind, files_shown: int) -> list[str]:
    head = f"{kind.rule.severity:7} {kind.rule.code}: {kind.count} x {kind.rule.title}; {kind.rule.advice}"
    shown = [example for place in kind.places for example in _first(place)][:files_shown]
    rest = kind.count - len(shown)
    return [head, *(f"        {text}" for text in shown), *([f"        and {rest} more"] if rest else [])]


def _first(place: Place) -> list[str]:
    name = f"{place.split} {place.file}".strip()
    return [text if not name or place.file in text else f"{name}: {text}" for text in place.examples]
