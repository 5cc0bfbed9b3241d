"""docs/differences.md names tests that are there, each of which says what it guards against.

Of DETR's relatives it names the tests that show the faults of stock, too.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = "## Faults and their tests"
ROW = re.compile(r"\| [^|]* \|(?: (?:`(test_\w+)`)? \|)? `(tests/[\w/]+\.py)` \| `(test_\w+)` \|")
HEADS = ("| fault | file | test |", "| --- | --- | --- |")
HEADS_OF_FAMILIES = ("| fault | shown by | file | test |", "| --- | --- | --- | --- |")
SHOWN_IN = ("tests/test_stock_faults.py", "tests/test_stock_faults_families.py")


@cache
def guards_in(file: str) -> dict[str, bool]:
    """The tests of a file, and whether the docstring of each says what it guards against."""
    path = ROOT / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {test.name: "guards:" in (ast.get_docstring(test) or "").lower() for test in tests}


def faults_of(listed: str) -> list[str]:
    """Rows that are no rows, tests that are not there, and tests that do not say what they are for."""
    lines = [line for line in listed.splitlines() if line.startswith("|")]
    rows = [line for line in lines if line not in HEADS + HEADS_OF_FAMILIES]
    faults = [f"no row: {row}" for row in rows if not ROW.fullmatch(row)]
    shown = {test for file in SHOWN_IN for test in guards_in(file)}
    for showing, file, test in ROW.findall(listed):
        if showing and showing not in shown:
            faults.append(f"no {showing} in {' or '.join(SHOWN_IN)}")
        if test not in guards_in(file):
            faults.append(f"{file} has no {test}")
        elif not guards_in(file)[test]:
            faults.append(f"{file}: {test} does not say what it guards against")
    return faults


def test_every_difference_names_a_test_that_guards_it() -> None:
    listed = (ROOT / "docs" / "differences.md").read_text(encoding="utf-8").split(LIST)[1]
    assert len(ROW.findall(listed)) > 50
    assert faults_of(listed) == []


def test_a_list_that_drifted_is_found() -> None:
    here = "tests/test_differences.py"
    assert faults_of(f"| a fault | `{here}` | `test_gone` |") == [f"{here} has no test_gone"]
    assert faults_of("| a fault | `tests/gone.py` | `test_gone` |") == ["tests/gone.py has no test_gone"]
    this = "test_a_list_that_drifted_is_found"
    assert faults_of(f"| a fault | `{here}` | `{this}` |")[0].endswith("does not say what it guards against")
    showing = faults_of(f"| a fault | `{this}` | `tests/modeling/families/test_start.py` | `test_gone` |")
    assert showing[0].startswith(f"no {this} in tests/test_stock_faults.py")
    assert faults_of("| a fault | no file |") == ["no row: | a fault | no file |"]
