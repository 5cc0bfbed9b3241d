"""A synthetic film: things move, the place stands still."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from detr_hf.demo.scene import Scene
from detr_hf.demo.video import draw_film, main
from detr_hf.inference.video_reader import open_footage


def test_things_move_over_a_place_that_stands_still() -> None:
    frames = list(draw_film(3, seconds=1.0, rate=5))
    assert len(frames) == 5
    for before, after in pairwise(frames):
        stuff = _stuff(before) & _stuff(after)
        same = np.abs(before.image.astype(int) - after.image).max(-1) < 60
        assert same[stuff].mean() > 0.97, "but for shadows"
    things = [{one["category"] for one in frame.segments if one["is_thing"]} for frame in frames]
    assert things[0] and all(one == things[0] for one in things)
    assert (frames[0].id_map != frames[-1].id_map).mean() > 0.005


def _stuff(frame: Scene) -> np.ndarray:
    return np.isin(frame.id_map, [one["id"] for one in frame.segments if not one["is_thing"]])


def test_the_same_film_again() -> None:
    first, again = (next(draw_film(1, seconds=0.1, size_hw=(60, 80))) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    other = next(draw_film(2, seconds=0.1, size_hw=(60, 80)))
    assert (first.image != other.image).any()


def test_a_film_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av", reason="the extra [video] is not installed")
    out = tmp_path / "yard.mp4"
    monkeypatch.setattr("sys.argv", ["video", str(out), "--seconds", "0.2"])
    main()
    footage = open_footage(out)
    assert (footage.rate, len(list(footage.frames))) == (25, 5)
