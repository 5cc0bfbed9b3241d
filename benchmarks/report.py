"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.families import families_table

METHOD = """\
`python -m benchmarks` wrote this page. Every ratio is stock / ours. Each side runs in a fresh process: model
and data are built from a seed (random weights, float32); a first run gives the outcome and the peak memory,
which is how far the resident set rises above imports, model and data; then the processes take turns, one
working while the other waits. Times are medians.

The largest difference is over all compared tensors: for a loss, a mask or a gradient |ours - stock| / |stock|
in Euclidean norm (a gradient below a thousandth of all gradients together is measured against that
thousandth), for id maps, classes and matches the share of entries that differ. What a case does and compares
is said at the top of its module in `benchmarks/cases/`."""

OF_FAMILIES = """\
The families of detectors, each as its stock config has it by default, queries and all
(`benchmarks/cases/families.py`), in one run like the sides of a case; ratios are to DETR. A step is forward
and backward pass of a batch."""

NUMBERS = ["ours s", "stock s", "time ratio", "ours MB", "stock MB", "memory ratio", "largest difference"]


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """A page with one row a case, the variants, the families, and what it was measured on."""
    cases = [result for result in results if "networks" not in result]
    families = [result for result in results if "networks" in result]
    return "\n".join(
        [
            "# Ours beside stock transformers",
            "",
            METHOD,
            "",
            *(_of_cases(cases) if cases else []),
            *(line for result in families for line in _of_families(result)),
            *_sizes(results),
            f"Machine: {_listed(results[0]['machine'])}.",
            "",
        ]
    )


def _of_cases(cases: Sequence[dict[str, Any]]) -> list[str]:
    return [
        *_table(["case"], NUMBERS, [_row(result) for result in cases]),
        "",
        "Variants, seconds:",
        "",
        *_table(["case", "variant"], ["ours", "stock"], _variant_rows(cases)),
        "",
        *_facts(cases),
    ]


def _of_families(result: dict[str, Any]) -> list[str]:
    return [OF_FAMILIES, "", *families_table(result["networks"]), ""]


def _sizes(results: Sequence[dict[str, Any]]) -> list[str]:
    """A line for the first case, and one for each case that ran with others."""
    first = results[0]["settings"]
    lines = [f"Sizes: {_listed(first)}.", ""]
    for result in results:
        other = {name: size for name, size in result["settings"].items() if size != first[name]}
        if other:
            lines += [f"Of `{result['case']}`: {_listed(other)}.", ""]
    return lines


def _row(result: dict[str, Any]) -> list[str]:
    ours, stock = result["ours"], result["stock"]
    return [
        f"`{result['case']}`",
        _seconds(ours["seconds"]),
        _seconds(stock["seconds"]),
        f"**{result['time_ratio']:.1f}**",
        f"{ours['peak_mb']:.0f}",
        f"{stock['peak_mb']:.0f}",
        f"**{result['memory_ratio']:.1f}**",
        f"{result['max_relative_difference']:.1e}",
    ]


def _variant_rows(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [
        [f"`{result['case']}`", name, *(_seconds(sides.get(side)) for side in ("ours", "stock"))]
        for result in results
        for name, sides in result["variants"].items()
    ]


def _facts(results: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each work that has more to tell than its time."""
    lines = [
        f"- `{result['case']}`, {fact['side']}{', ' + fact['variant'] if fact['variant'] else ''}: "
        + ", ".join(f"{name} {value:.3g}" for name, value in fact.items() if name not in ("side", "variant"))
        for result in results
        for fact in result.get("facts", ())
    ]
    return ["Besides:", "", *lines, ""] if lines else []


def _table(words: list[str], numbers: list[str], rows: list[list[str]]) -> list[str]:
    rule = ["---"] * len(words) + ["--:"] * len(numbers)
    return ["| " + " | ".join(cells) + " |" for cells in (words + numbers, rule, *rows)]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _listed(facts: dict[str, Any]) -> str:
    def plain(name: str, value: Any) -> str:
        between = "x" if name == "size" else ","
        return between.join(map(str, value)) if isinstance(value, tuple | list) else str(value)

    return ", ".join(f"{name.replace('_', ' ')} {plain(name, value)}" for name, value in facts.items())
