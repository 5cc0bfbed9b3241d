"""Frames over an image in a page: where their names stand."""

from __future__ import annotations

import numpy as np
import pytest

from detr_hf.visualize.frames import LONGEST_NAME, Drawing, Frame

IMAGE = np.zeros((300, 400, 3), np.uint8)


def frame(*box: float, name: str = "brick", is_faint: bool = False) -> Frame:
    return Frame((box[0], box[1], box[2], box[3]), name, "", "#000000", is_faint)


def test_names_of_frames_at_one_place_stand_apart() -> None:
    """guards: the names of what is annotated and of what is seen, one written over the other."""
    (_, x, y, _), (_, other_x, other_y, _) = Drawing(IMAGE, [frame(50, 100, 200, 100)] * 2).names
    letter = 400 / 32
    assert abs(y - other_y) >= letter or abs(x - other_x) >= 2 * letter


@pytest.mark.parametrize("scale", [0.1, 1, 10])
def test_a_name_stands_above_its_frame_at_any_size(scale: float) -> None:
    image = np.zeros((round(300 * scale), round(400 * scale), 3), np.uint8)
    ((name, x, y, _),) = Drawing(image, [frame(*(scale * edge for edge in (50, 100, 200, 100)))]).names
    assert name == "brick" and x / scale == pytest.approx(50, abs=2) and 85 < y / scale < 100


def test_a_faint_frame_chooses_last_and_a_long_name_is_cut() -> None:
    long = frame(0, 0, 400, 300, name="sky " * 20, is_faint=True)
    names = Drawing(IMAGE, [frame(100, 100, 50, 50), long]).names
    assert [len(name) for name, *_ in names] == [len("brick"), LONGEST_NAME] and names[1][0].endswith("…")


def test_frames_without_a_name_and_without_room() -> None:
    crowd = [frame(10, 10, 20, 20, name="concrete mixer machine") for _ in range(60)]
    assert 0 < len(Drawing(IMAGE, [*crowd, frame(0, 0, 9, 9, name="")]).names) < 60
