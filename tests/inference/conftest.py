"""Tiny models of both stages as runs leave them, and images of three sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.factories import draw_scene
from tests.tiny_runs import save_detector, save_segmenter

SIZES_HW = [(96, 128), (120, 90), (64, 200)]


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_segmenter(tmp_path_factory.mktemp("segmenter"))


@pytest.fixture(scope="session")
def images_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for at, size_hw in enumerate(SIZES_HW):
        Image.fromarray(draw_scene(rng, size_hw, objects=3).image).save(folder / f"{at}.png")
    return folder
