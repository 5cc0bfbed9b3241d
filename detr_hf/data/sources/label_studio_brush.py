"""Label Studio's brush masks: run lengths of an RGBA image, in a bit stream of their own.

Format: https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack. Bits, highest first: 32 for the
number of values, 5 for the bits of a value less one, four times 4 for the bits of a length less one; then
blocks: one bit that says whether a value repeats, 2 that choose how many bits the length has, the length less
one, and one value or as many as the length says. A value is a byte of R, G, B or alpha, row by row; what has
alpha is painted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.images import MAX_PIXELS

CHANNELS = 4
VALUE_BITS = 8


def decoded_brush(rle: Any, size_hw: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The mask bool [H, W] of an ``rle``; None where it is damaged or of another size.

    Only the alpha channel is kept, so that a mask takes one byte a pixel.
    """
    height, width = size_hw
    if not isinstance(rle, list) or not 0 < height * width <= MAX_PIXELS:
        return None
    try:
        bits = _Bits(bytes(rle))
        return _decoded(bits, height * width).reshape(height, width)
    except (TypeError, ValueError, EOFError):  # values that are no bytes, or an end too early
        return None


def _decoded(bits: _Bits, pixels: int) -> NDArray[np.bool_]:
    total = bits.read(32)
    if total != pixels * CHANNELS or bits.read(5) + 1 != VALUE_BITS:
        raise ValueError
    length_bits = [bits.read(4) + 1 for _ in range(4)]
    painted = np.zeros(pixels, bool)
    done = 0
    while done < total:
        repeats = bits.read(1)
        length = bits.read(length_bits[bits.read(2)]) + 1
        # Alpha is value 4 p + 3 of pixel p, so that these are the pixels whose alpha is in the block.
        end = min(done + length, total)
        first, last = done // CHANNELS, end // CHANNELS
        if repeats:
            painted[first:last] = bits.read(VALUE_BITS) > 0
        else:
            values = bits.read_bytes(length)
            painted[first:last] = values[CHANNELS * first + 3 - done : end - done : CHANNELS] > 0
        done = end
    return painted


class _Bits:
    """Numbers from a stream of bits."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._array = np.frombuffer(content, np.uint8)
        self._place = 0

    def _advance(self, count: int) -> tuple[int, int]:
        """The byte and the bit in it where ``count`` bits begin."""
        start = self._place
        self._place += count
        if self._place > 8 * len(self._content):
            raise EOFError
        return start // 8, start % 8

    def read(self, count: int) -> int:
        """A number of at most 32 bits."""
        byte, bit = self._advance(count)
        chunk = int.from_bytes(self._content[byte : byte + 5].ljust(5, b"\0"), "big")
        return chunk >> (40 - bit - count) & ((1 << count) - 1)

    def read_bytes(self, count: int) -> NDArray[np.uint8]:
        """The next ``count`` bytes, which need not begin where a byte does."""
        byte, bit = self._advance(8 * count)
        if bit == 0:
            return self._array[byte : byte + count]
        chunk = self._array[byte : byte + count + 1].astype(np.uint16)
        return ((chunk[:-1] << bit | chunk[1:] >> (8 - bit)) & 255).astype(np.uint8)
