"""``python -m benchmarks``: all cases, or one with ``--case``; see ``--help``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.child import ChildFailed
from benchmarks.compare import compare
from benchmarks.report import markdown
from benchmarks.settings import add_flags, settings_of

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, print the Markdown page, write the files; 1 if a side failed."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    settings = settings_of(chosen)
    results = []
    for case in [chosen.case] if chosen.case else CASES:
        print(f"{case} ...", file=sys.stderr, flush=True)
        try:
            results.append(compare(case, settings))
        except ChildFailed as failure:
            print(failure, file=sys.stderr)
            return 1
    page = markdown(results)
    print(page)
    if chosen.case:
        _write(chosen.json, results[0])
    else:
        _write(chosen.json or HERE / "results.json", results)
        (HERE / "RESULTS.md" if chosen.markdown is None else chosen.markdown).write_text(page)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours beside stock transformers.")
    parser.add_argument("--case", choices=CASES, help="run this one only")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the numbers here (all cases: benchmarks/results.json)"
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the page here (default: benchmarks/RESULTS.md)"
    )
    add_flags(parser)
    return parser


def _write(file: Path | None, content: object) -> None:
    if file is not None:
        file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
