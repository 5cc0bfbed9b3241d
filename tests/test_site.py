"""The site of docs/: links lead somewhere, and the search finds symptoms."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.doc_checks import headings
from tests.doc_page import ROOT

CONFIG = ROOT / "docs" / "site" / "mkdocs.yml"
SYMPTOMS = (
    "mAP stays 0",
    "CUDA out of memory",
    "My classes are shifted",
    "The loss is NaN",
    "Training is slow",
)


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", CONFIG.with_name("hooks.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_symptoms_are_headings_of_the_faq() -> None:
    """A heading is an entry of its own in the search."""
    found = headings((ROOT / "docs" / "faq.md").read_text(encoding="utf-8"))
    assert {symptom.lower().replace(" ", "-") for symptom in SYMPTOMS} <= found


@pytest.mark.parametrize(
    ("source", "written", "on_the_site"),
    [
        ("docs/a.md", "[x](b.md#c)", "[x](b.md#c)"),
        ("docs/a.md", "[x](../README.md#d)", "[x](project/README.md#d)"),
        ("docs/a.md", "[x](../recipes/detection.yaml)", "[x](project/recipes/detection.yaml.md)"),
        ("docs/a.md", "[x](#c), [y](https://x.org/a)", "[x](#c), [y](https://x.org/a)"),
        ("README.md", "![x](docs/images/demo.jpg)", "![x](../images/demo.jpg)"),
        ("README.md", "[x](LICENSE)", "[x](LICENSE.md)"),
        ("benchmarks/RESULTS.md", "[x](../docs/families.md)", "[x](../../families.md)"),
    ],
)
def test_links_lead_to_where_the_site_has_a_file(
    hooks: ModuleType, source: str, written: str, on_the_site: str
) -> None:
    assert hooks.with_site_links(source, written) == on_the_site


def test_files_outside_docs_that_are_linked_to_are_found(hooks: ModuleType) -> None:
    text = "[x](b.md), [y](../README.md#d), [z](../no.md), [w](https://x.org/y)"
    assert hooks.outside_targets("docs/a.md", text) == {"README.md"}


@pytest.mark.slow  # half a minute; `make docs` does the same
def test_the_search_of_the_built_site_knows_the_symptoms(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    build = ["-m", "mkdocs", "build", "--strict", "--config-file", str(CONFIG), "--site-dir", str(tmp_path)]
    done = subprocess.run([sys.executable, *build], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    places = {entry["title"]: entry["location"] for entry in entries}
    assert all(places[symptom].startswith("faq/#") for symptom in SYMPTOMS)
    assert any(entry["location"].startswith("api/#detr_hf.inference.Predictor") for entry in entries)
