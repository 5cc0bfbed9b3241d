"""A mask as one closed line along the edges of its pixels, and several lines joined into one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.outlines import Points, area, crosses_itself

CHUNK = 256  # points that are compared with all others at a time
STEPS_PX = 1.0  # how far an outline for people may leave the edges of the pixels
AREA_SHARE = 0.1  # of a part, by which its area may change then


def drawn_outline(mask: NDArray[np.bool_]) -> Points:
    """A mask bool [H, W] that is not empty as one closed line with few points, for people to edit.

    Steps along pixel edges become straight lines that stay within ``STEPS_PX`` (Douglas and Peucker 1973);
    parts that would lose much of their area, or whose line would cross itself, keep their edges.
    """
    return joined([_without_steps(part) for part in contours(mask)])


def _without_steps(part: Points) -> Points:
    import cv2  # takes longer to load than most of what imports this module

    line = cv2.approxPolyDP(part.astype(np.float32)[:, None], STEPS_PX, True)[:, 0].astype(np.float64)
    whole = area(part)
    is_like = len(line) > 2 and abs(area(line) - whole) <= AREA_SHARE * whole
    return line if is_like and not crosses_itself(line) else part


def contours(mask: NDArray[np.bool_]) -> list[Points]:
    """The closed lines around a mask bool [H, W]: outer ones clockwise on the screen, holes the other way.

    They run along pixel edges, so that a reader who fills them gets the same pixels. Pixels that touch at a
    corner are one part.
    """
    following = _edges(mask)
    lines = []
    for start in sorted(following):
        while following.get(start):
            lines.append(_closed_line(following, start))
    return lines


Corner = tuple[int, int]


def _edges(mask: NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Corner (x, y) -> the next ones, along pixel edges that have the mask at their right hand."""
    padded = np.pad(mask, 1)
    following: dict[Corner, list[Corner]] = {}
    # Step to the neighbor outside of the mask; start and end of the edge, from the pixel's left top corner.
    for (dy, dx), (x0, y0), (x1, y1) in (
        ((-1, 0), (0, 0), (1, 0)),
        ((0, 1), (1, 0), (1, 1)),
        ((1, 0), (1, 1), (0, 1)),
        ((0, -1), (0, 1), (0, 0)),
    ):
        outside = ~np.roll(padded, (-dy, -dx), (0, 1))[1:-1, 1:-1]
        rows, columns = np.nonzero(mask & outside)
        for x, y in zip(columns.tolist(), rows.tolist(), strict=True):
            following.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    return following


def _closed_line(following: dict[Corner, list[Corner]], start: Corner) -> Points:
    """Follow edges back to the start, and take them away; corners alone are kept."""
    line, here, step = [start], start, (0, 0)
    while True:
        ways = following[here]
        # Where two pixels touch at a corner, turning left keeps them in one line.
        left = (here[0] + step[1], here[1] - step[0])
        there = left if left in ways and step != (0, 0) else ways[0]
        ways.remove(there)
        new_step = (there[0] - here[0], there[1] - here[1])
        if new_step == step:
            line[-1] = there
        else:
            line.append(there)
        here, step = there, new_step
        if here == start:
            break
    line.pop()  # the start again
    if len(line) > 1 and _is_between(line[-1], line[0], line[1]):
        line.pop(0)
    return np.array(line, np.float64)


def _is_between(a: Corner, b: Corner, c: Corner) -> bool:
    return a[0] == b[0] == c[0] or a[1] == b[1] == c[1]


def joined(parts: list[Points]) -> Points:
    """Several closed lines as one, which goes to each of the others and back at the nearest points.

    The way there and back encloses nothing, so that area and holes (which turn the other way) stay.
    """
    line, *rest = sorted(parts, key=len, reverse=True)
    for part in rest:
        here, there = _nearest(line, part)
        turned = np.roll(part, -there, axis=0)
        line = np.concatenate([line[: here + 1], turned, turned[:1], line[here:]])
    return line


def _nearest(one: Points, other: Points) -> tuple[int, int]:
    """Positions of the two points that are nearest to each other; of several pairs the first."""
    best = (np.inf, 0, 0)
    for start in range(0, len(one), CHUNK):
        distances = ((one[start : start + CHUNK, None] - other[None]) ** 2).sum(-1)
        at = int(distances.argmin())
        row, column = divmod(at, len(other))
        if distances[row, column] < best[0]:
            best = (float(distances[row, column]), start + row, column)
    return best[1], best[2]
