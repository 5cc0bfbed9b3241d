"""A run in Python: its numbers, its best model, its curves and its page."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from detr_hf.foreign_files import as_path
from detr_hf.run_folder import REPORT_PAGE, RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from detr_hf.inference import ImageInput, Predictor, Result, TiledPredictor
    from detr_hf.recipe import Recipe

BOX_NUMBERS, PANOPTIC_NUMBERS = ("AP", "AP50", "AR"), ("PQ", "SQ", "RQ")


class Run:
    """A run that was trained, by ``train`` or by the command line.

    Args:
        folder: such as ``runs/detection``.

    Attributes:
        folder: where everything of the run lies.
        best: the model folder with the best score, which stock ``from_pretrained`` loads.

    Raises:
        UserError: it is no folder of a run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = as_path(folder, "Run: folder")
        self._run = RunFolder.open(self.folder)
        self.best = self._run.best
        self._predictor: Predictor | TiledPredictor | None = None

    @property
    def recipe(self) -> Recipe:
        """What was run, with all defaults.

        Raises:
            UserError: its file is damaged.
        """
        from detr_hf.recipe import load_recipe

        return load_recipe(self._run.recipe_file)

    @property
    def metrics(self) -> dict[str, Any]:
        """The numbers of ``best`` on the validation split, as ``best/metrics.json`` has them.

        "epoch" and "step"; "detection" with AP, AP50, AR and "per_class"; of a segmenter "panoptic" with
        "All", "Things", "Stuff" (pq, sq, rq) and "per_class". All from 0 to 1, None where there is no object.

        Raises:
            UserError: the run has not been evaluated yet.
        """
        self.require_best()
        return self._run.best_metrics()

    @property
    def scores(self) -> dict[str, float | None]:
        """The few numbers that sum ``metrics`` up: PQ, SQ and RQ of a segmenter, box AP, AP50 and AR."""
        metrics = self.metrics
        panoptic = metrics.get("panoptic", {}).get("All", {})
        found = {name: panoptic.get(name.lower()) for name in PANOPTIC_NUMBERS} if panoptic else {}
        return found | {name: metrics["detection"].get(name) for name in BOX_NUMBERS}

    def report(self) -> Path:
        """The page of the run, ``report.html``; made when it is not there.

        Raises:
            UserError: the run has not been evaluated yet, or the page cannot be written.
        """
        page = self.folder / REPORT_PAGE
        if not page.is_file():
            self.require_best()
            from detr_hf.demo.resolve import with_data
            from detr_hf.training.process_state import kept_process_state
            from detr_hf.training.report_run import report_again

            with kept_process_state():
                report_again(self.folder, *with_data(self.recipe, self.folder))
        return page

    def plot(self) -> Figure:
        """Losses and scores by epoch, as a figure of matplotlib.

        A notebook shows it; in a program ``run.plot().savefig("curves.png")`` or ``run.plot().show()``.
        """
        from detr_hf.report.history import epoch_curves
        from detr_hf.visualize.curves import draw_curves

        losses, scores = epoch_curves(self._run.log())
        return draw_curves(losses, scores, str(self.folder))

    def predictor(
        self, score_threshold: float | None = None, device: str | None = None
    ) -> Predictor | TiledPredictor:
        """``best``, loaded; in tiles where it was trained in tiles.

        Args:
            score_threshold: 0 to 1; None: the model's own.
            device: such as "cpu" or "cuda:1"; None: the GPU when there is one.

        Raises:
            UserError: there is no model yet, or the device cannot be used.
        """
        self.require_best()
        from detr_hf.inference import load_predictor

        return load_predictor(self.best, score_threshold, device)

    @overload
    def predict(self, images: ImageInput, batch_size: int = 1) -> Result: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, images: Iterable[ImageInput], batch_size: int = 1) -> list[Result]: ...

    def predict(
        self, images: ImageInput | Iterable[ImageInput], batch_size: int = 1
    ) -> Result | list[Result]:
        """What ``best`` finds: one result of one image, a list of several; see ``Predictor.predict``.

        The model is loaded once, with its own threshold.
        """
        if self._predictor is None:
            self._predictor = self.predictor()
        return self._predictor.predict(images, batch_size)

    def require_best(self) -> None:
        """Raises UserError: the run has not been evaluated yet."""
        self._run.require_best()

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        folder = html.escape(str(self.folder))
        if not self.best.is_dir():
            return f"<p>{folder}: not evaluated yet</p>"
        numbers = self.scores
        heads = "".join(f"<th>{name}" for name in numbers)
        cells = "".join(f"<td>{'-' if value is None else f'{value:.3f}'}" for value in numbers.values())
        table = f"<table><tr>{heads}<tr>{cells}</table>"
        return f"<p>{folder}, best of epoch {self.metrics.get('epoch', '?')}</p>{table}"
