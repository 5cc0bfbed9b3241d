"""Tags on an image: where they go, what is cut, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from detr_hf.visualize.canvas import BLACK, WHITE, Captions, contrast_to, font_for, letter_size, shortened

RED = (255, 0, 0)


def red_part(canvas: Image.Image) -> tuple[int, int, int, int] | None:
    """The bounding box of what is red, as tags here are."""
    pixels = np.asarray(canvas).astype(int)
    return Image.fromarray(pixels[..., 0] - pixels[..., 1] > 150).getbbox()


def gray(width: int = 400, height: int = 300) -> Image.Image:
    return Image.new("RGB", (width, height), (128, 128, 128))


@pytest.mark.parametrize("point", [(0, 0), (399, 0), (0, 299), (399, 299), (200, -50), (900, 900)])
def test_a_tag_lies_inside_the_image(point: tuple[int, int]) -> None:
    canvas = gray()
    captions = Captions(canvas, 1)
    captions.add("wheel loader", 0.5, RED, [(*point, 0.5, 0.5)])
    captions.draw()
    left, top, right, bottom = red_part(canvas)
    alone = gray()
    captions = Captions(alone, 1)
    captions.add("wheel loader", 0.5, RED, [(200, 150, 0.5, 0.5)])
    captions.draw()
    whole = red_part(alone)
    assert (right - left, bottom - top) == (whole[2] - whole[0], whole[3] - whole[1])


def test_a_taken_place_is_left_to_the_first() -> None:
    canvas = gray()
    captions = Captions(canvas, 2)
    captions.add("brick", None, (0, 0, 255), [(0, 0, 0.0, 0.0)])
    captions.add("brick", None, RED, [(0, 0, 0.0, 0.0), (0, 200, 0.0, 0.0)])
    captions.draw()
    assert red_part(canvas)[1] == 200


def test_names_without_room_are_counted_in_the_corner() -> None:
    plain, noted = gray(), gray()
    for canvas, count in ((plain, 1), (noted, 3)):
        captions = Captions(canvas, 1)
        for _ in range(count):
            captions.add("brick", None, RED, [(0, 0, 0.0, 0.0)])
        captions.draw()
    rows, columns = np.nonzero((np.asarray(plain) != np.asarray(noted)).any(-1))
    assert (rows.max(), columns.max()) == (299, 399)
    assert rows.min() > 250
    assert columns.min() > 200


def test_a_long_name_is_cut_and_its_score_kept() -> None:
    def width_of(name: str, score: float | None) -> int:
        canvas = gray()
        captions = Captions(canvas, 1)
        captions.add(name, score, RED, [(0, 0, 0.0, 0.0)])
        captions.draw()
        left, _, right, _ = red_part(canvas)
        return right - left

    assert width_of("long " * 40, None) < 230
    assert width_of("long " * 40, 0.5) > width_of("long " * 40, None) + 10


def test_shortened_text_fits_and_ends_in_dots() -> None:
    assert shortened("crane", 16, 400) == "crane"
    cut = shortened("concrete mixer machine", 16, 80)
    assert cut.endswith("...")
    assert cut.startswith("conc")
    assert font_for(cut, 16).getlength(cut) <= 80


def test_letters_grow_with_the_image_and_shrink_in_a_crowd() -> None:
    assert letter_size((1920, 1080), 5) > letter_size((640, 480), 5) > letter_size((640, 480), 60) >= 11


def test_text_stands_out_from_its_tag() -> None:
    assert contrast_to((255, 255, 0)) == BLACK
    assert contrast_to((0, 0, 160)) == WHITE


def test_names_beyond_ascii_are_drawn() -> None:
    """Guards: Pillow's own font has ASCII letters only."""
    canvas = gray()
    captions = Captions(canvas, 1)
    captions.add("Żuraw wieżowy", 0.9, RED, [(0, 0, 0.0, 0.0)])
    captions.draw()
    assert red_part(canvas) is not None
