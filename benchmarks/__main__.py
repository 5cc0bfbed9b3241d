"""``python -m benchmarks``: all cases, or one with ``--case``; see ``--help``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.child import ChildError
from benchmarks.compare import compare
from benchmarks.families import FAMILIES, compare_families
from benchmarks.report import markdown
from benchmarks.settings import add_flags, settings_of

HERE = Path(__file__).parent
ALL = (*CASES, FAMILIES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, print the Markdown page, write the files after each; 1 if a side failed."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    settings = settings_of(chosen)
    results = []
    for case in [chosen.case] if chosen.case else ALL:
        print(f"{case} ...", file=sys.stderr, flush=True)
        try:
            results.append(compare_families(settings) if case == FAMILIES else compare(case, settings))
        except ChildError as failure:
            print(failure, file=sys.stderr)
            return 1
        if chosen.case:
            _write(chosen.json, _as_json(results[0]))
            _write(chosen.markdown, markdown(results))
        else:
            _write(chosen.json or HERE / "results.json", _as_json(results))
            _write(chosen.markdown or HERE / "RESULTS.md", markdown(results))
    print(markdown(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours beside stock.")
    parser.add_argument("--case", choices=ALL, help="run this one only")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="for the numbers (all cases: benchmarks/results.json)",
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="for the page (all cases: benchmarks/RESULTS.md)"
    )
    add_flags(parser)
    return parser


def _as_json(content: object) -> str:
    return json.dumps(content, indent=1) + "\n"


def _write(file: Path | None, text: str) -> None:
    if file is not None:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
