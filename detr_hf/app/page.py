"""The Gradio page: a drop zone, a slider and the views; nothing in it asks another machine for anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from detr_hf.app import tables
from detr_hf.app.viewer import ATTENTION, BOXES, PANOPTIC, Film, Viewer, Viewing
from detr_hf.errors import UserError
from detr_hf.files import write_json
from detr_hf.inputs import VIDEO_SUFFIXES
from detr_hf.modeling.predictions import Prediction
from detr_hf.templating import render_part
from detr_hf.visualize.panoptic import draw_prediction

WELCOME = "Drop an image or a video in the box."
LEAST, MOST = 0.05, 0.99  # ends of the slider

VISIT_SECONDS = 3600
"""What a visitor uploaded is forgotten so long after they have gone."""

_FROM_TQDM = gr.Progress(track_tqdm=True)

Answer = dict[Any, Any]
"""What becomes of each component; those that are not named stay as they are."""


class Page:
    """The page around one model; ``blocks`` is what Gradio serves.

    Args:
        viewer: the model, and what is done with it.
        title: the model's name.
        examples: image files to try.
    """

    def __init__(self, viewer: Viewer, title: str, examples: Sequence[Path] = ()):
        self.viewer, self.examples = viewer, [str(path) for path in examples]
        cleaned = (VISIT_SECONDS // 6, VISIT_SECONDS)
        with gr.Blocks(
            title=f"{title} · detr-hf", analytics_enabled=False, delete_cache=cleaned
        ) as self.blocks:
            gr.HTML(render_part("app.html", "head", title, viewer.labels, viewer.is_panoptic, viewer.family))
            with gr.Row(elem_id="room"):
                with gr.Column(scale=3, min_width=280, elem_id="side"):
                    self._build_side()
                with gr.Column(scale=8, min_width=280, elem_id="main"):
                    self._build_main()
            self._connect()
        self.blocks.queue(max_size=32, default_concurrency_limit=4, api_open=False)

    # -- what stands where

    def _build_side(self) -> None:
        self.drop = gr.File(label="Image or video", file_types=["image", "video"], height=150, elem_id="drop")
        self.threshold = gr.Slider(
            LEAST,
            MOST,
            min(max(self.viewer.score_threshold, LEAST), MOST),
            step=0.01,
            label="Show what is surer than",
            info=None
            if (best := self.viewer.best_threshold) is None
            else f"{best:.2f} was best on validation",
            buttons=[],
            elem_id="threshold",
        )
        if self.examples:
            self.samples = gr.Dataset(
                label="Examples",
                components=[gr.Image(render=False)],
                samples=[[path] for path in self.examples],
                type="index",
                elem_id="examples",
            )
        gr.HTML(tables.legend(self.viewer.labels), elem_id="legend")

    def _build_main(self) -> None:
        views = [BOXES, *([PANOPTIC] if self.viewer.is_panoptic else [])]
        first = views[-1]
        views += [ATTENTION] if self.viewer.explains else []
        self.status = gr.HTML(tables.status(WELCOME, "welcome"), elem_id="status")
        with gr.Row(elem_id="bar", visible=False) as self.bar:
            self.view = gr.Radio(views, value=first, show_label=False, container=False, elem_id="views")
            self.download = gr.DownloadButton(
                "Download JSON", size="sm", scale=0, min_width=140, elem_id="download"
            )
        result: dict[str, Any] = {"show_label": False, "interactive": False, "visible": False}
        self.image = gr.Image(format="webp", buttons=["download", "fullscreen"], elem_id="image", **result)
        look: dict[str, Any] = {"columns": 2, "format": "webp", "object_fit": "contain"}
        self.gallery = gr.Gallery(buttons=["fullscreen"], elem_id="gallery", **look, **result)
        self.film = gr.Video(buttons=["download"], elem_id="film", **result)
        self.again = gr.Button("Draw the video again", size="sm", elem_id="again", visible=False)
        self.table = gr.HTML("", elem_id="table")
        self.visit = gr.State(None, time_to_live=VISIT_SECONDS)

    def _connect(self) -> None:
        shown = [self.status, self.bar, self.image, self.gallery, self.film, self.again, self.table]
        shown += [self.download, self.view]
        settings: list[Any] = [self.threshold, self.view]
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress_on": self.status}
        self.drop.change(self.open, [self.drop, *settings], [self.visit, *shown], **quiet)
        if self.examples:
            self.samples.click(self.open_example, [self.samples, *settings], [self.visit, *shown], **quiet)
        self.again.click(self.draw_film, [self.visit, self.threshold], shown, **quiet)
        for setting in (self.threshold, self.view):
            setting.change(
                self.show,
                [self.visit, *settings],
                shown,
                trigger_mode="always_last",
                show_progress="minimal",
                **quiet,
            )

    # -- what happens

    def open(
        self, path: str | None, threshold: float, view: str, progress: gr.Progress = _FROM_TQDM
    ) -> Answer:
        """A file was dropped, or taken away."""
        if path is None:
            return {self.visit: None, **self._blank(tables.status(WELCOME, "welcome"))}
        try:
            if Path(path).suffix.lower() in VIDEO_SUFFIXES:  # by its name; its content is tried later
                film = Film(Path(path), TemporaryDirectory(dir=self.viewer.folder))
                return {self.visit: film, **self.draw_film(film, threshold)}
            viewing = self.viewer.open(path, threshold)
            return {self.visit: viewing, **self.show(viewing, threshold, view)}
        except UserError as error:
            return {self.visit: None, **self._blank(tables.status(str(error), "bad"))}

    def open_example(self, index: int, threshold: float, view: str) -> Answer:
        """An example was chosen."""
        return self.open(self.examples[index], threshold, view)

    def show(self, visit: Viewing | Film | None, threshold: float, view: str) -> Answer:
        """The slider was moved, or another view chosen."""
        if visit is None:
            return {self.status: gr.skip()}
        if isinstance(visit, Film):
            return {self.again: gr.update(visible=True)}
        try:
            boxes = visit.all_queries.above(threshold)
            prediction = boxes if view == BOXES else self.viewer.prediction(visit, threshold)
            views = self._views(visit, prediction, threshold, view)
        except UserError as error:
            return self._blank(tables.status(str(error), "bad"))
        record = tables.record_of(visit, prediction, self.viewer.labels, threshold)
        file = write_json(visit.file(".json"), record)
        return {
            **self._blank(tables.summary(visit, prediction, threshold)),
            **views,
            self.table: tables.table(record, self.viewer.labels),
            self.download: gr.update(value=str(file)),
            self.view: gr.update(visible=True),
            self.bar: gr.update(visible=True),
        }

    def draw_film(self, film: Film, threshold: float, progress: gr.Progress = _FROM_TQDM) -> Answer:
        """A video was dropped, or is to be drawn with another threshold."""
        try:
            drawn, said, lines = self.viewer.draw_video(film, threshold)
        except UserError as error:
            return self._blank(tables.status(str(error), "bad"))
        return {
            **self._blank(tables.status(said)),
            self.film: gr.update(value=str(drawn), visible=True),
            self.download: gr.update(value=str(lines)),
            self.view: gr.update(visible=False),
            self.bar: gr.update(visible=True),
        }

    def _views(self, viewing: Viewing, prediction: Prediction, threshold: float, view: str) -> Answer:
        if view == ATTENTION:
            images = self.viewer.attention(viewing, threshold)
            return {self.gallery: gr.update(value=images, visible=True)}
        drawn = draw_prediction(viewing.image, prediction, self.viewer.labels, threshold)
        return {self.image: gr.update(value=drawn, visible=True)}

    def _blank(self, status: str) -> Answer:
        """Everything away that belongs to one image, and a line that tells why or what came instead."""
        emptied = dict.fromkeys((self.image, self.gallery, self.film), gr.update(value=None, visible=False))
        hidden = dict.fromkeys((self.bar, self.again), gr.update(visible=False))
        return {
            **emptied,
            **hidden,
            self.download: gr.update(value=None),
            self.table: "",
            self.status: status,
        }
