"""Fixtures that several folders of tests share."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest


def pytest_collection_finish() -> None:
    """What the imports made is there to stay: no garbage collection need walk through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checked rows are cached by content; a test must see its own reading, not one of an earlier test."""
    import datasets

    folder = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder))
    return folder
