"""Fixtures that several folders of tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """No GPU for tests that are not marked `gpu`: they are of a CPU, whatever the machine has.

    What the imports made is there to stay: no garbage collection need walk through it again.
    """
    if not any(item.get_closest_marker("gpu") for item in session.items):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_sync() -> Iterator[None]:
    """No test loses power: thousands of files need not wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checked rows are cached by content; a test must see its own reading, not one of an earlier test."""
    import datasets

    folder = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder))
    return folder
