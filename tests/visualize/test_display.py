"""Where an image is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from detr_hf.visualize.display import show_image


def test_without_a_screen_the_image_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[tuple[int, int]] = []
    monkeypatch.setattr(Image.Image, "show", lambda image: shown.append(image.size))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    show_image(Image.new("RGB", (4, 3)))
    assert len(shown) == 1 and not list(tmp_path.iterdir())
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    show_image(Image.new("RGB", (4, 3)))
    [file] = tmp_path.iterdir()
    assert len(shown) == 1 and Image.open(file).size == (4, 3)
    assert capsys.readouterr().out == f"no screen to show it on: saved as {file}\n"
