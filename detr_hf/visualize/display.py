"""Where an image is shown: in a notebook below its cell, in a program by the system's viewer."""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile

from PIL import Image

LONGEST_SHOWN = 1600
"""Pixels of the longer edge in a notebook; more make its file large, and a screen shows no more."""


def show_image(image: Image.Image) -> None:
    """Below the cell of a notebook; elsewhere in the system's image viewer; without a screen as a file."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None:
        ipython.display.display(image)
    elif sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        with tempfile.NamedTemporaryFile(prefix="detr-hf-", suffix=".png", delete=False) as file:
            image.save(file)
        print(f"no screen to show it on: saved as {file.name}", flush=True)
    else:
        image.show()


def as_html(image: Image.Image, alt: str) -> str:
    """An `<img>` with the image inside, never wider than the page; ``alt`` is plain text without markup."""
    small = image.copy()
    small.thumbnail((LONGEST_SHOWN, LONGEST_SHOWN))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{alt}" style="max-width:100%;height:auto" src="data:image/jpeg;base64,{data}">'
