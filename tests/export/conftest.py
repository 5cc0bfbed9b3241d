"""A tiny segmenter, exported once by the command itself, and pictures of twenty sizes."""

from __future__ import annotations

import fcntl
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detr_hf import cli
from tests.factories import draw_scene
from tests.tiny_runs import save_segmenter


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(60, 200, (20, 2)).tolist()
    assert len({tuple(size_hw) for size_hw in sizes}) == 20
    return [draw_scene(rng, tuple(size_hw), objects=3, stuff=True).image for size_hw in sizes]


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few layers: tracing takes time for each."""
    return save_segmenter(tmp_path_factory.mktemp("segmenter"), encoder_layers=1, decoder_layers=1)


@pytest.fixture(scope="session")
def segmenter_onnx(
    tmp_path_factory: pytest.TempPathFactory, segmenter: Path, pictures: list[np.ndarray]
) -> Path:
    """The exported folder, and beside it what the command said; processes of one test run share them."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="pip install 'detr-hf[export]'")
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "exported" / "onnx"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            photographs = tmp_path_factory.mktemp("photographs")
            for at, picture in enumerate(pictures[:3]):
                Image.fromarray(picture).save(photographs / f"{at}.png")
            command = ["export", str(segmenter), "--out", str(folder), "--check-images", str(photographs)]
            with console_of(folder).open("w") as said, redirect_stdout(said), redirect_stderr(said):
                cli.main(command)
    return folder


def console_of(folder: Path) -> Path:
    """Where the command's words are kept."""
    return folder.with_name("console.txt")
