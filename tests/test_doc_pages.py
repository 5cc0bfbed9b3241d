"""Pages that messages name are there, from a wheel and in a checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf import doc_pages


def test_a_page_is_the_installed_file_or_that_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doc_pages, "IN_WHEEL", tmp_path)
    assert doc_pages.doc_page("check.md") == "docs/check.md"
    assert (Path(__file__).parents[1] / "docs/check.md").is_file()
    (tmp_path / "check.md").touch()
    assert doc_pages.doc_page("check.md") == str(tmp_path / "check.md")
    assert doc_pages.doc_page("check.md#exit-codes") == f"{tmp_path}/check.md#exit-codes"
