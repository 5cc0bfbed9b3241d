"""Contact sheets: many images on one, each with its title."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from detr_hf.visualize.canvas import WHITE, font_for, shortened

TALLEST = 3
"""So many times as high as wide is a cell at most."""


def contact_sheet(
    images: Sequence[Image.Image | NDArray[np.uint8]],
    columns: int = 2,
    titles: Sequence[str] | None = None,
    cell_width: int = 480,
) -> Image.Image:
    """Images on a white sheet, row by row, each ``cell_width`` pixels wide with its title above.

    One of more than ``TALLEST`` times its width is shown narrower.
    """
    assert images, "a sheet shows at least one image"
    assert titles is None or len(titles) == len(images), "one title per image"
    gap, columns = max(6, cell_width // 40), min(columns, len(images))
    cells = [
        _cell(image, None if titles is None else titles[i], cell_width) for i, image in enumerate(images)
    ]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    size = (columns * (cell_width + gap) + gap, sum(heights) + gap * (len(rows) + 1))
    sheet, top = Image.new("RGB", size, WHITE), gap
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (gap + column * (cell_width + gap), top))
        top += height + gap
    return sheet


def _cell(image: Image.Image | NDArray[np.uint8], title: str | None, width: int) -> Image.Image:
    """One image of a sheet, scaled to the width, with its title above."""
    scaled = image if isinstance(image, Image.Image) else Image.fromarray(image)
    # a pole of 1 x 300 pixels would be 144,000 pixels high, more than a JPEG can hold
    scale = min(width / scaled.width, TALLEST * width / scaled.height)
    size_wh = (max(1, round(scaled.width * scale)), max(1, round(scaled.height * scale)))
    scaled = scaled.convert("RGB").resize(size_wh, Image.Resampling.LANCZOS)
    height = scaled.height
    if title is None:
        return scaled
    size = max(11, width // 28)
    head = 3 * size // 2
    cell = Image.new("RGB", (width, height + head), WHITE)
    title = shortened(title, size, width)
    ImageDraw.Draw(cell).text(
        (0, head // 2), title, fill=(30, 30, 30), font=font_for(title, size), anchor="lm"
    )
    cell.paste(scaled, (0, head))
    return cell
