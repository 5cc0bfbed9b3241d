"""The course of a training as a figure of matplotlib: losses and scores by epoch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from detr_hf.visualize.display import show_image

Curve = tuple[Sequence[float], Sequence[float]]
"""Epochs, and a value for each."""


class Curves(Figure):
    """A figure that needs no pyplot: a notebook shows it, ``savefig("curves.png")`` saves it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()

    def show(self, warn: bool = True) -> None:
        """In the notebook, or in the system's image viewer."""
        show_image(Image.open(io.BytesIO(self._repr_png_())))


def draw_curves(losses: Mapping[str, Curve], scores: Mapping[str, Curve], title: str) -> Curves:
    """Losses at the left, scores (0 to 1) at the right; each has a point an epoch."""
    figure = Curves(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    panels: Any = figure.subplots(1, 2)
    for axes, name, curves in zip(panels, ("loss", "score"), (losses, scores), strict=True):
        for label, (epochs, values) in curves.items():
            axes.plot(epochs, values, marker=".", label=label, linewidth=2 if label == "loss" else 1.2)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        if curves:
            axes.legend(fontsize=8)
    panels[0].set_ylim(bottom=0)
    panels[1].set_ylim(0, 1)
    return figure
