"""The Label Studio door: brush masks, pixel by pixel."""

import numpy as np
import pytest

from detr_hf.data.repair import Repair
from detr_hf.data.repair_objects import decoded_mask
from detr_hf.data.sources.label_studio_regions import decoded_brush
from tests.data.sources.label_studio_files import HEIGHT, WIDTH, codes, of_results, result


def encoded(values: list[int], repeat: bool) -> list[int]:
    """Run lengths as `rle-pack` writes them; in blocks of repeated values, or in blocks that copy values."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    place = 0
    while place < len(values):
        end = place + 1
        while repeat and end < len(values) and values[end] == values[place] and end - place < 256:
            end += 1
        if repeat:
            which, size = (0, 3) if end - place <= 8 else (2, 8)
            bits += f"1{which:02b}{end - place - 1:0{size}b}{values[place]:08b}"
        else:
            end = min(place + 13, len(values))
            bits += f"001{end - place - 1:04b}" + "".join(f"{value:08b}" for value in values[place:end])
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def brushed(seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """A mask, and R, G, B, alpha of its pixels in a color."""
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.3
    mask[20:60, 30:90] = True
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[mask] = (200, 30, 0, 130)
    return mask, rgba.ravel().tolist()


@pytest.mark.parametrize("repeat", [True, False])
def test_brush_masks_are_read_pixel_by_pixel(tmp_path, repeat):
    mask, values = brushed()
    rle = encoded(values, repeat)
    np.testing.assert_array_equal(decoded_brush(rle, (HEIGHT, WIDTH)), mask)
    sample = of_results(tmp_path, result("brushlabels", {"format": "rle", "rle": rle}))
    np.testing.assert_array_equal(decoded_mask(sample.objects[0].segmentation, (HEIGHT, WIDTH)), mask)
    assert codes(sample) == []


def test_blocks_may_begin_inside_of_a_pixel():
    values = np.random.default_rng(1).integers(0, 3, 5 * 7 * 4).tolist()
    alpha = np.array(values).reshape(5, 7, 4)[..., 3] > 0
    for repeat in (True, False):
        np.testing.assert_array_equal(decoded_brush(encoded(values, repeat), (5, 7)), alpha)


@pytest.mark.parametrize(
    "rle",
    [
        [],
        [199501, 1, 996],
        [1, "2"],
        "text",
        None,
        encoded([0] * 16, True),
        encoded([0] * (WIDTH * HEIGHT * 4), True)[:-1],
        [255] * 400,
    ],
)
def test_a_damaged_brush_mask_is_an_issue(tmp_path, rle):
    sample = of_results(tmp_path, result(), result("brushlabels", {"rle": rle}, id="b"))
    assert codes(sample) == ["rle-invalid"]
    assert [found.category for found in Repair()(sample).sample.objects] == ["cat"]
