"""docs/quickstart.ipynb: what it says is true, and it runs from top to bottom."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from detr_hf.demo.run import recipe_file
from tests.doc_checks import CHECKS
from tests.doc_page import ROOT, Page

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found


def text_of(kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells() if cell["cell_type"] == kind]


def test_it_is_a_valid_notebook() -> None:
    nbformat = pytest.importorskip("nbformat", reason="pip install 'detr-hf[dev]'")
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))


def test_it_is_kept_without_outputs() -> None:
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert len(code) > 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_its_sentences_and_names_are_true() -> None:
    """The checks of the other pages; the code of all cells is one program."""
    program = "\n".join(text_of("code"))
    page = Page("docs/quickstart.md", "\n\n".join([*text_of("markdown"), f"```python\n{program}\n```"]))
    assert [fault for check in CHECKS for fault in check(page)] == []


def test_its_recipes_are_there() -> None:
    named = re.findall(r'recipe_file\("(\w+)"\)', "\n".join(text_of("code")))
    assert set(named) == {"detection", "panoptic"} and all(recipe_file(name).is_file() for name in named)


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    """Offline, in a folder of its own."""
    pytest.importorskip("nbmake", reason="pip install 'detr-hf[dev]'")
    shutil.copy(NOTEBOOK, tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "--nbmake", "--nbmake-timeout=1800", NOTEBOOK.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    assert (tmp_path / "runs" / "quickstart" / "panoptic" / "best" / "model.safetensors").is_file()
