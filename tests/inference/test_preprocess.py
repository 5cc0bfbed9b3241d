"""Images of any origin are the same to the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from detr_hf.inference import as_rgb
from tests.factories import draw_scene


def test_a_turned_pil_image_is_set_upright_as_its_file_is(tmp_path: Path) -> None:
    """Guards: PIL images that the stock processor leaves lying on their side."""
    sideways = Image.fromarray(draw_scene(np.random.default_rng(1), (96, 128), 3).image)
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "turned.png", exif=exif)
    opened = as_rgb(Image.open(tmp_path / "turned.png"))
    assert opened.shape == (128, 96, 3)
    np.testing.assert_array_equal(opened, as_rgb(tmp_path / "turned.png"))


def test_an_opened_image_has_the_pixels_of_its_file(tmp_path: Path) -> None:
    """guards: Pillow's own conversion, which turns 16-bit gray white and transparency black."""
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    clear = np.zeros((48, 64, 4), np.uint8)
    clear[:, 32:] = (200, 0, 0, 255)
    for name, pixels in (("gray16.png", ramp), ("clear.png", clear)):
        Image.fromarray(pixels).save(tmp_path / name)
        seen = as_rgb(tmp_path / name)
        np.testing.assert_array_equal(as_rgb(Image.open(tmp_path / name)), seen)
        assert 60 < seen.mean() < 200
