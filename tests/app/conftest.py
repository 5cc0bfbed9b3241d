"""Pages around tiny models, and files that visitors bring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from detr_hf.app.viewer import Viewer
from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.scene import draw_scene as draw_world
from detr_hf.inference import Predictor
from tests.factories import draw_scene
from tests.raw_factories import png_header
from tests.tiny_runs import save_detector, save_segmenter
from tools.pretrain_tiny.street import STREET

MakeViewer = Callable[[str], Viewer]


@pytest.fixture
def gradio() -> ModuleType:
    return pytest.importorskip("gradio", reason="pip install 'detr-hf[app]'")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "detection": save_detector(folder / "detection"),
        "panoptic": save_segmenter(folder / "panoptic"),
        "demo": CHECKPOINT,
    }


@pytest.fixture
def make_viewer(models: dict[str, Path], tmp_path: Path) -> MakeViewer:
    """A viewer of a tiny model of either stage, with a threshold that keeps a few of its queries."""
    (tmp_path / "visits").mkdir()

    def make(stage: str) -> Viewer:
        return Viewer(Predictor.from_pretrained(models[stage], 0.3, "cpu"), tmp_path / "visits")

    return make


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    file = tmp_path / "my yard.jpg"
    Image.fromarray(draw_scene(np.random.default_rng(0), (96, 128), objects=3).image).save(file)
    return file


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """What the demo's model was pretrained on."""
    file = tmp_path / "street.png"
    Image.fromarray(draw_world(77, 1, (240, 320), world=STREET).image).save(file)
    return file


BAD = {
    "letter.jpg": b"Dear Sir or Madam, this is no image.\n",
    "vast.png": png_header(25_000, 20_000),
    "cut.png": b"",  # filled below
}


@pytest.fixture
def bad_files(tmp_path: Path) -> dict[str, Path]:
    """A letter, a PNG of 500 megapixels, and half an image."""
    folder = tmp_path / "bad"
    folder.mkdir()
    Image.effect_noise((64, 64), 90).save(folder / "cut.png")
    whole = (folder / "cut.png").read_bytes()
    for name, content in {**BAD, "cut.png": whole[: len(whole) // 2]}.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in BAD}
