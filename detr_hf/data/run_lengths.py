"""COCO's run lengths, as text and as numbers."""

from __future__ import annotations


def runs_of_text(text: str) -> list[int] | None:
    """COCO's compressed counts as runs, five bits a character; None where the text is cut off or no counts.

    From the third run on, the text holds the difference to the run two before (pycocotools, `rleFrString`).
    Decoded here because the library reads past the end of a damaged text.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs
