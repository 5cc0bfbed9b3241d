"""The page of `detr-hf check --html`: one file without scripts that needs no network.

Names come from data and may be anything: every text goes through ``text`` of ``html_page``, whose head
forbids scripts and foreign addresses besides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.files import write_text
from detr_hf.html_page import head, picture_address, text
from detr_hf.images import decode_id_map, decode_image
from detr_hf.prepare.check.ledger import CheckResult, Kind, Sample
from detr_hf.prepare.check.pictures import Inspection
from detr_hf.prepare.check.rules import ERROR, INFO, RULES
from detr_hf.prepare.check.text import verdict
from detr_hf.prepare.rows import is_box
from detr_hf.visualize.panoptic import painted

FILES_SHOWN = 100
EXAMPLES_SHOWN = 20  # of one file
FAULTS_SHOWN = 12  # of one picture
LONGEST_NAME = 24  # letters of a class beside its box
MARGIN = 0.06  # of a picture, on all sides, where boxes show that reach out of it
BAD_INK, GOOD_INK = (0xE1, 0x1D, 0x1D), (0x2F, 0x6F, 0xDE)

_STYLE = """
.verdict { padding: .5rem .8rem; border-radius: 6px; background: var(--good); margin: .8rem 0; }
.verdict.bad { background: var(--bad); } code { white-space: nowrap; }
.tag { color: #fff; border-radius: 4px; padding: .05rem .4rem; font-size: .8rem; white-space: nowrap; }
.error { background: #c62828; } .warning { background: #b26a00; } .info { background: #5a6375; }
.bar { display: inline-block; height: .7rem; background: #4878cf; border-radius: 2px; margin-right: .4rem; }
.sheet { display: grid; gap: 1.2rem;
         grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
figure svg { width: 100%; height: auto; background: var(--soft); display: block; }
figcaption { font-size: .85rem; margin-top: .3rem; }
figcaption ul { padding-left: 1.1rem; margin: .2rem 0; }
"""


def write_page(result: CheckResult, path: str | Path) -> None:
    """Write the page: summary, findings, classes, and the worst pictures with their boxes.

    Raises:
        UserError: the file cannot be written.
    """
    write_text(path, "".join(_page(result)))


def _page(result: CheckResult) -> Iterator[str]:
    bad = " bad" if result.ledger.count_of(ERROR) else ""
    yield head(f"Check of {result.target}", _STYLE)
    yield f'<h1>Check of {text(result.target)}</h1><p class="verdict{bad}">{text(verdict(result))}</p>\n'
    rows = [[name, held.images, held.objects, held.crowd] for name, held in result.splits.items()]
    yield _table(["split", "images", "objects", "crowds"], rows)
    yield "<h2>Findings</h2>\n"
    kinds = result.ledger.kinds()
    yield "".join(_findings(kinds)) if kinds else "<p>Nothing was found.</p>\n"
    if result.samples:
        worst = len(result.samples)
        yield f"<h2>The worst {'picture' if worst == 1 else f'{worst} pictures'}</h2>\n"
        yield '<p class="dim">Red: objects with a fault. Blue: the others. '
        yield 'The gray rim lies outside of the picture.</p>\n<div class="sheet">\n'
        yield from (_figure(sample, result) for sample in result.samples)
        yield "</div>\n"
    yield "<h2>Classes</h2>\n" + "".join(_classes(result))
    yield "</html>\n"


def _table(heads: list[str], rows: Iterable[list[Any]]) -> str:
    def line(cells: list[Any], tag: str) -> str:
        first, *numbers = cells
        return f"<tr><{tag}>{text(first)}</{tag}>" + "".join(
            f'<{tag} class="n">{text(cell)}</{tag}>' for cell in numbers
        )

    return "<table>" + line(heads, "th") + "".join(line(row, "td") for row in rows) + "</table>\n"


def _findings(kinds: list[Kind]) -> Iterator[str]:
    yield '<table><tr><th></th><th>kind</th><th class="n">count</th><th>what</th></tr>\n'
    for kind in kinds:
        rule = kind.rule
        yield f'<tr><td><span class="tag {rule.severity}">{rule.severity}</span></td>'
        yield f'<td><code>{text(rule.code)}</code></td><td class="n">{kind.count}</td>'
        yield f'<td>{text(rule.title)} <span class="dim">({text(rule.advice)})</span>'
        yield f"{_places(kind)}</td></tr>\n"
    yield "</table>\n"


def _places(kind: Kind) -> str:
    lines = []
    for place in kind.places[:FILES_SHOWN]:
        hidden = place.count - min(len(place.examples), EXAMPLES_SHOWN)
        more = f" and {hidden} more" if hidden else ""
        where = " ".join(filter(None, (place.split, place.file)))
        said = "; ".join(place.examples[:EXAMPLES_SHOWN])
        lines.append(f"<li><b>{text(where)}</b> {text(said)}{more}</li>")
    if len(kind.places) > FILES_SHOWN:
        lines.append(f"<li>and {len(kind.places) - FILES_SHOWN} more files: see --json</li>")
    places = "1 place" if len(kind.places) == 1 else f"{len(kind.places)} places"
    return f"<details><summary>{places}</summary><ul>{''.join(lines)}</ul></details>"


def _classes(result: CheckResult) -> Iterator[str]:
    empty = [name for name, held in result.class_counts() if not any(held.values())]
    counts = [(name, held) for name, held in result.class_counts() if any(held.values())]
    most = max((number for _, held in counts for number in held.values()), default=0) or 1
    yield "<table><tr><th>class</th>" + "".join(f"<th>{text(split)}</th>" for split in result.splits)
    for name, held in counts:
        yield f"<tr><td>{text(name)}</td>"
        for number in held.values():
            yield f'<td><span class="bar" style="width:{16 * number / most:.2f}rem"></span>{number}</td>'
        yield "</tr>\n"
    yield "</table>\n"
    if empty:
        yield f'<p class="dim">Without an object: {text(", ".join(empty))}.</p>\n'


def _figure(sample: Sample, result: CheckResult) -> str:
    seen = sample.inspection
    name = re.escape(seen.source.name)
    said = [
        f"<li><code>{fault.code}</code> {text(re.sub(f'^{name}[:,] ', '', fault.text))}</li>"
        for fault in seen.found
        if RULES[fault.code].severity != INFO
    ]
    if len(said) > FAULTS_SHOWN:
        said[FAULTS_SHOWN:] = [f"<li>and {len(said) - FAULTS_SHOWN} more</li>"]
    caption = f"<b>{text(sample.split)} {text(seen.source.file_name)}</b><ul>{''.join(said)}</ul>"
    names = result.labels.names if result.labels else ()
    return f"<figure>{_drawing(seen, names)}<figcaption>{caption}</figcaption></figure>\n"


def _drawing(seen: Inspection, names: tuple[str, ...]) -> str:
    """The picture as an SVG in the picture's own pixels, with boxes over it and room for those outside."""
    try:
        pixels = decode_image(seen.source.image, seen.source.file_name)
    except UserError:
        return '<div class="none">this picture cannot be shown</div>'
    height, width = pixels.shape[:2]
    rim_x, rim_y = MARGIN * width, MARGIN * height
    view = f"{-rim_x:.1f} {-rim_y:.1f} {width + 2 * rim_x:.1f} {height + 2 * rim_y:.1f}"
    bad = _with_a_fault(seen)
    frames = _rectangles(seen, names, width, height, bad)
    address = picture_address(_overlaid(seen, pixels, bad))
    image = f'<image href="{address}" width="{width}" height="{height}"/>'
    return f'<svg viewBox="{view}" role="img">{image}{"".join(frames)}</svg>'


def _rectangles(
    seen: Inspection, names: tuple[str, ...], width: int, height: int, faulty: list[bool]
) -> Iterator[str]:
    counted = (
        dict(zip(seen.row["objects"]["id"], seen.row["objects"]["bbox"], strict=True)) if seen.row else {}
    )
    is_panoptic = seen.source.panoptic is not None
    stroke = max(width, height) / 250
    known_ones = zip(seen.source.objects, seen.classes, faulty, strict=True)
    for known, index, bad in sorted(known_ones, key=lambda one: one[2]):  # red ones on top
        recounted = is_panoptic and type(known.id) is int
        box = counted.get(known.id, known.bbox) if recounted else known.bbox
        if not is_box(box) or not all(map(math.isfinite, box)):
            continue
        x0, y0 = _within(box[0], width), _within(box[1], height)
        x1, y1 = _within(box[0] + box[2], width), _within(box[1] + box[3], height)
        ink = "#{:02x}{:02x}{:02x}".format(*(BAD_INK if bad else GOOD_INK))
        name = names[index] if index is not None else f"category {known.category}"
        size = max(width, height) / 32
        yield (
            f'<rect x="{min(x0, x1):.1f}" y="{min(y0, y1):.1f}" width="{abs(x1 - x0):.1f}" '
            f'height="{abs(y1 - y0):.1f}" fill="none" stroke="{ink}" stroke-width="{stroke:.2f}">'
            f"<title>{text(name)}, {text(known.where)}</title></rect>"
            f'<text x="{min(x0, x1):.1f}" y="{max(min(y0, y1) - stroke, size * 0.3):.1f}" fill="{ink}" '
            f'font-size="{size:.1f}" stroke="#fff" stroke-width="{size / 6:.2f}" paint-order="stroke">'
            f"{text(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + '…')}</text>"
        )


def _with_a_fault(seen: Inspection) -> list[bool]:
    """Of each object, whether a finding that counts names it."""
    grave = " \n".join(fault.text for fault in seen.found if RULES[fault.code].severity != INFO)
    return [re.search(rf"{re.escape(known.where)}(?!\w)", grave) is not None for known in seen.source.objects]


def _within(value: float, edge: int) -> float:
    """A coordinate, held back at the rim around the picture."""
    return min(max(float(value), -MARGIN * edge), (1 + MARGIN) * edge)


def _overlaid(seen: Inspection, pixels: NDArray[np.uint8], bad: list[bool]) -> NDArray[np.uint8]:
    """The picture, in panoptic sets with its segments in the ink of their boxes where the PNG fits it."""
    if seen.source.panoptic is None:
        return pixels
    try:
        id_map = decode_id_map(seen.source.panoptic)
    except UserError:
        return pixels
    if id_map.shape != pixels.shape[:2]:
        return pixels
    known_ones = zip(seen.source.objects, bad, strict=True)
    faulty = {known.id: is_bad for known, is_bad in known_ones if type(known.id) is int}
    inks = {one: BAD_INK if faulty.get(one, True) else GOOD_INK for one in np.unique(id_map).tolist() if one}
    return np.asarray(painted(Image.fromarray(pixels), id_map.astype(np.int64), inks))
