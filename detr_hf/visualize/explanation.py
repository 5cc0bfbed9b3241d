"""One sheet of all that led to a prediction."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.errors import quantity
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import Detections, Explanation, PanopticPrediction, QueryView
from detr_hf.visualize.boxes import draw_detections
from detr_hf.visualize.canvas import WHITE
from detr_hf.visualize.panoptic import draw_prediction
from detr_hf.visualize.sheets import contact_sheet

SHEET_EDGE = 1024
"""Longest edge in pixels of an image that is explained in a sheet; the cells are smaller."""

MOST_QUERIES = 24
"""So many queries are shown, those with the best scores; the title of the first image has their number."""

_WIDTH = 1984  # of a sheet in pixels
_COLUMNS = 4  # of heat maps: an even number, as mask and attention stand side by side
_HEAT = 0.72  # share of the color where a map is at its highest
_FAINTEST = (
    90  # place in the colors, 0 to 255, of a point without weight: the lower ones are as dark as the image
)
_DIMMED = 0.55  # brightness of the image under a map


def fitted(image: NDArray[np.uint8], longest: int = SHEET_EDGE) -> NDArray[np.uint8]:
    """The image ``uint8 [H, W, 3]``, with no longer edge than ``longest`` pixels."""
    if max(image.shape[:2]) <= longest:
        return image
    smaller = Image.fromarray(image)
    smaller.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(smaller)


def draw_explanation(explanation: Explanation, labels: LabelMap, score_threshold: float) -> Image.Image:
    """The image, its boxes and its segments; below, the mask of every kept query, and where it looked.

    Args:
        explanation: of an image of up to about ``SHEET_EDGE`` pixels.
        labels: give names and colors.
        score_threshold: that of the explanation.

    Returns:
        an RGB image about 2000 pixels wide.
    """
    predicted, image = explanation.prediction, explanation.image
    boxes = predicted.detections.above(score_threshold)
    top: list[tuple[str, Image.Image]] = [
        (f"image, {quantity(len(explanation.queries), 'query')} kept", Image.fromarray(image)),
        ("boxes", draw_detections(image, boxes, labels)),
    ]
    if isinstance(predicted, PanopticPrediction):
        top.append(("segments", draw_prediction(image, predicted, labels, score_threshold)))
    sheets = [_sheet(top, len(top))]
    cells = [cell for view in explanation.queries[:MOST_QUERIES] for cell in query_cells(image, view, labels)]
    if cells:
        sheets.append(_sheet(cells, _COLUMNS))
    return _stacked(sheets)


def heat_over(image: NDArray[np.uint8], heat: NDArray[np.float32], colors: int) -> Image.Image:
    """A map ``float32 [H, W]`` of values from 0 to 1 over the dimmed image ``uint8 [H, W, 3]``.

    ``colors`` is one of cv2's color maps.
    """
    levels = np.rint(heat.clip(0, 1) * 255).astype(np.uint8)
    paint = cv2.applyColorMap(levels, colors)[..., ::-1].astype(np.float32)
    share = _HEAT * heat[..., None].clip(0, 1)
    return Image.fromarray(np.rint((1 - share) * _dimmed(image) + share * paint).astype(np.uint8))


def points_over(image: NDArray[np.uint8], points_xyw: NDArray[np.float32]) -> Image.Image:
    """Points over the dimmed image ``uint8 [H, W, 3]``, the heavier the larger and the brighter.

    Args:
        image: that the points were sampled from.
        points_xyw: ``float32 [P, 3]``, x and y in pixels and a weight from 0 to 1; some lie outside.
    """
    canvas = np.rint(_dimmed(image)).astype(np.uint8)
    largest = max(image.shape[:2]) / 80
    for x, y, weight in points_xyw[points_xyw[:, 2].argsort()]:  # the heavy ones on top
        strength = float(weight) ** 0.5
        level = np.array([[round(_FAINTEST + (255 - _FAINTEST) * strength)]], np.uint8)
        shade = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[0, 0, ::-1].tolist()
        center, radius = (round(float(x)), round(float(y))), max(1, round(largest * (0.2 + 0.8 * strength)))
        cv2.circle(canvas, center, radius + 1, (0, 0, 0), -1, cv2.LINE_AA)  # apart from its neighbors
        cv2.circle(canvas, center, radius, shade, -1, cv2.LINE_AA)
    return Image.fromarray(canvas)


def _dimmed(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Darker, and half its color gone."""
    return _DIMMED * (0.5 * image + 0.5 * image.mean(-1, keepdims=True, dtype=np.float32))


def query_cells(image: NDArray[np.uint8], view: QueryView, labels: LabelMap) -> list[tuple[str, Image.Image]]:
    """Mask (in stage 2) of one query, and where it looked, with their titles."""
    title = f"{labels.names[view.label]} {view.score:.2f}"
    if view.attention is not None:
        what, looked = "attention", heat_over(image, np.sqrt(view.attention), cv2.COLORMAP_INFERNO)
    else:
        assert view.points_xyw is not None, "a query that looked nowhere"
        what, looked = "points sampled", points_over(image, view.points_xyw)
    box = Detections(
        0, view.box_xyxy_px[None], np.array([view.score], np.float32), np.array([view.label], np.int64)
    )
    look = (f"{title}: {what}", draw_detections(np.asarray(looked), box, labels))
    if view.mask is None:
        return [look]
    return [(f"{title}: mask", heat_over(image, view.mask, cv2.COLORMAP_VIRIDIS)), look]


def _sheet(cells: list[tuple[str, Image.Image]], columns: int) -> Image.Image:
    width = round(_WIDTH / columns / (1 + 1 / 40)) - 4
    titles, images = [title for title, _ in cells], [image for _, image in cells]
    return contact_sheet(images, columns, titles, width)


def _stacked(sheets: list[Image.Image]) -> Image.Image:
    """One below the other, each in the middle."""
    width = max(sheet.width for sheet in sheets)
    page = Image.new("RGB", (width, sum(sheet.height for sheet in sheets)), WHITE)
    top = 0
    for sheet in sheets:
        page.paste(sheet, ((width - sheet.width) // 2, top))
        top += sheet.height
    return page
