"""What coordinates refer to, and that points and masks are turned as Pillow turns images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ExifTags, Image

from detr_hf.data.frames import Frame, frame_of
from detr_hf.images import decode_image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_and_masks_turn_with_the_image(orientation: int, tmp_path) -> None:
    """One white pixel in a black image, saved with the EXIF tag and decoded upright."""
    stored = np.zeros((3, 5), np.uint8)
    stored[1, 3] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    upright = decode_image(tmp_path / "a.png")[..., 0] > 0
    frame = Frame((3, 5), upright.shape, orientation)
    assert np.array_equal(frame.mask(stored > 0), upright)
    (x, y), *_ = frame.points(np.array([[3.5, 1.5]]))
    assert upright[int(y), int(x)] and upright.sum() == 1


CASES = [
    # declared, upright, orientation -> drawn, turned by, issue
    ([48, 64], (48, 64), 1, (48, 64), 1, None),
    ([64, 48], (64, 48), 6, (64, 48), 1, None),  # the tool had turned the image
    ([48, 64], (64, 48), 6, (48, 64), 6, "exif-boxes"),  # it had not
    ([48, 64], (48, 64), 3, (48, 64), 1, None),  # upside down: sizes do not tell, tools do turn
    ([24, 32], (48, 64), 1, (24, 32), 1, "size-scaled"),
    ([96, 128], (48, 64), 1, (96, 128), 1, "size-scaled"),
    ([24, 32], (64, 48), 8, (24, 32), 8, "exif-boxes"),
    ([48, 48], (48, 64), 1, (48, 64), 1, "size-differs"),
    ([64, 48], (48, 64), 1, (48, 64), 1, "size-differs"),  # sides swapped, but no EXIF tag
    ([0, 0], (48, 64), 1, (48, 64), 1, "size-missing"),
    (["48", None], (48, 64), 1, (48, 64), 1, "size-missing"),
    ([48.0, 64.0], (48, 64), 1, (48, 64), 1, None),
    ([48 * 10**6, 64 * 10**6], (48, 64), 1, (48, 64), 1, "size-differs"),  # no mask is made of that size
    (None, (48, 64), 1, (48, 64), 1, None),
]


@pytest.mark.parametrize(("declared", "upright", "orientation", "drawn", "turned_by", "issue"), CASES)
def test_what_a_declared_size_says(declared, upright, orientation, drawn, turned_by, issue) -> None:
    frame = frame_of(declared, upright, orientation)
    assert (frame.drawn_hw, frame.upright_hw, frame.orientation) == (drawn, upright, turned_by)
    assert frame.issue == issue


def test_points_are_scaled_after_they_are_turned() -> None:
    """A image annotated at half size, lying on its side: x from the left becomes y from the top."""
    frame = frame_of([24, 32], (64, 48), 6)
    assert frame.points(np.array([[4.0, 3.0]])).tolist() == [[(24 - 3) * 2, 4 * 2]]


def test_masks_are_scaled_by_the_nearest_pixel() -> None:
    mask = np.array([[True, False], [False, False]])
    scaled = Frame((2, 2), (4, 4)).mask(mask)
    assert scaled.sum() == 4 and scaled[:2, :2].all()
