"""The loopback Hub in place of the real one, for code in this process."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

from detr_hf.hub_access import offline_unless_reached
from tests.hub.server import LoopbackHub, loopback_hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub whose client is logged in, keeps its files with the test and does not wait between tries."""
    with loopback_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", served.url)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets_cache"))
        monkeypatch.setenv("HF_TOKEN", served.token)
        impatient = types.SimpleNamespace(sleep=lambda _: None, time=_http.time.time)
        monkeypatch.setattr(_http, "time", impatient)
        offline_unless_reached.cache_clear()
        yield served
        offline_unless_reached.cache_clear()
