"""From the first epoch to the last: train, evaluate when it is due, keep the best, save, and stop in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from detr_hf.errors import StoppedEarly
from detr_hf.metrics.per_image_results import save_per_image
from detr_hf.metrics.tables import said, score_of
from detr_hf.run_folder import RunFolder
from detr_hf.training.build import pq_backend_of
from detr_hf.training.checkpoint import save_model, save_training
from detr_hf.training.clock import duration
from detr_hf.training.early_stopping import EarlyStopping
from detr_hf.training.engine import EvaluationInterrupted, evaluate, train_one_epoch
from detr_hf.training.signals import SignalHandler
from detr_hf.training.state import Run


def train(run: Run, started: float | None = None, best_is_new: Callable[[], None] = lambda: None) -> None:
    """Train to the end of the recipe; evaluate after an epoch if due, and write ``last/`` and ``best/``.

    Args:
        run: ready for its next step.
        started: what `time_limit` counts from, of ``time.monotonic``; None: now.
        best_is_new: called on the main process whenever ``best/`` was written.

    Raises:
        StoppedEarly: a signal or the time limit ended the run; ``last/`` holds where it was.
    """
    signals = SignalHandler(run.recipe, run.accelerator, time.monotonic() if started is None else started)
    with signals.watch():
        while not is_finished(run):
            trained = None if evaluation_is_due(run) else train_one_epoch(run, signals)
            scored = None
            # A signal leaves an evaluation that is due to the next start.
            if evaluation_is_due(run) and not signals.sync(run.state.step).reason:
                with suppress(EvaluationInterrupted):
                    scored = evaluate_and_keep_best(run, signals.requested, best_is_new)
            tell_epoch(run, trained, scored)
            save_training(run)
            signals.saved()
            if reason := signals.sync(run.state.step).reason:
                stop(run, reason)


def is_finished(run: Run) -> bool:
    """Whether all steps are taken and the last weights scored, or the score rises no more."""
    is_over = run.state.step >= run.total_steps and not evaluation_is_due(run)
    return is_over or EarlyStopping(run.recipe, run.state).is_due


def evaluation_is_due(run: Run) -> bool:
    """At the end of every so many epochs and of the run, unless it has been done at this step already."""
    step, settings = run.state.step, run.recipe.evaluation
    if step >= run.total_steps:
        return not run.state.is_evaluated or run.state.best_step is None
    epoch, inside = divmod(step, run.steps_per_epoch)
    due = step > 0 and inside == 0 and epoch % settings.every == 0
    return due and not run.state.is_evaluated


def evaluate_and_keep_best(
    run: Run, interrupted: Callable[[], bool], best_is_new: Callable[[], None] = lambda: None
) -> str:
    """Score the validation split, log it, and save the model as ``best/`` when it is the best so far.

    Returns:
        The scores as text.

    Raises:
        EvaluationInterrupted: it was interrupted, and counts as not done.
    """
    state, name = run.state, run.recipe.checkpoint.best
    epoch, started = -(-state.step // run.steps_per_epoch), time.monotonic()
    with run.evaluated_weights():
        result = evaluate(
            run.accelerator,
            run.task,
            run.validation_loader,
            run.truth,
            interrupted,
            pq_backend_of(run.recipe),
        )
        metrics = result.metrics
        state.evaluated_step = state.step
        run.log.write(state.step, "validation", {"epoch": epoch, **metrics})
        score, boxes = score_of(metrics, name), metrics["detection"]
        if score is None:
            run.accelerator.print(f"no object in the validation split: {name} is undefined, {LATEST}")
        if state.best is None or (score is not None and score > state.best):
            state.best, state.best_step = score, state.step
            if run.accelerator.is_main_process:
                facts = {"epoch": epoch, "step": state.step, **metrics}
                save_model(run.folder / "best", run.task, run.processor, facts)
                if result.per_image is not None:
                    save_per_image(RunFolder(run.folder), result.per_image)
                best_is_new()
    EarlyStopping(run.recipe, state).update(metrics)
    run.clock.add_evaluation(time.monotonic() - started)
    beside = ", ".join(f"{what} {said(boxes[key])}" for what, key in BESIDE.items() if key != name)
    best = ""
    if state.best is not None and state.best_step is not None:
        best_epoch = -(-state.best_step // run.steps_per_epoch)
        best = f", best {state.best:.3f} in epoch {best_epoch}" if best_epoch < epoch else ", the best so far"
    return f"{name} {said(score)} ({beside}){best}"


def tell_epoch(run: Run, trained: dict[str, Any] | None, scored: str | None) -> None:
    """Print one line: epoch, loss, scores, the best one, what the run took so far and what is left of it.

    Args:
        run: at the end of an epoch.
        trained: of ``train_one_epoch``; None where it was stopped, or is over since before this start.
        scored: of ``evaluate_and_keep_best``; None where nothing was due.
    """
    if trained is None and scored is None:
        return
    epoch = -(-run.state.step // run.steps_per_epoch)
    loss = (trained or {}).get("loss")  # None: every step was left out
    parts = [*([] if loss is None else [f"loss {loss:.3f}"]), *filter(None, [scored])]
    took = duration(time.monotonic() - run.clock.started)
    line = f"epoch {epoch}/{run.epochs}: {'; '.join([*parts, f'{took}, {run.time_left}'])}"
    run.accelerator.print(line, flush=True)
    if scored is not None and (stopping := EarlyStopping(run.recipe, run.state)).is_due:
        run.accelerator.print(f"early stopping: {stopping}", flush=True)


LATEST = "so that best/ cannot be chosen; it holds the latest model"
BESIDE = {"box AP": "AP", "AP50": "AP50", "AR": "AR"}
"""What is printed beside the score that decides."""


def stop(run: Run, reason: str) -> None:
    """End a run that is saved; one that was complete by then just continues to its end.

    Raises:
        StoppedEarly: there is something left to do.
    """
    if is_finished(run):
        return
    run.log.close()
    run.accelerator.print(
        f"{reason} after step {run.state.step} of {run.total_steps}; saved as {run.folder / 'last'}. "
        "The same command resumes from there.",
        flush=True,
    )
    raise StoppedEarly(reason)
