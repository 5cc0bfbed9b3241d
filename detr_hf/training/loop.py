"""The training loop: it knows steps, processes and checkpoints, and asks the task for everything else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from accelerate.utils import tqdm

from detr_hf.errors import StoppedEarly
from detr_hf.metrics.per_image_results import PerImageResults, save_per_image
from detr_hf.metrics.tables import score_of
from detr_hf.recipe import seconds_of
from detr_hf.run_folder import RunFolder
from detr_hf.training.checkpoints import save_model, save_training
from detr_hf.training.evaluation import EvaluationInterrupted, evaluate
from detr_hf.training.run import Run
from detr_hf.training.step import optimizer_step
from detr_hf.training.stopping import Stopping


def train(run: Run, best_is_new: Callable[[], None] = lambda: None) -> None:
    """Train to the end of the recipe; evaluate after an epoch if due, and write ``last/`` and ``best/``.

    Args:
        run: ready for its next step.
        best_is_new: called on the main process whenever ``best/`` was written.

    Raises:
        StoppedEarly: a signal or the time limit ended the run; ``last/`` holds where it was.
    """
    stopping = stopping_of(run)
    run.best_is_new = best_is_new
    with stopping.watch():
        while (run.progress.step < run.total_steps or evaluation_is_due(run)) and not run.patience.is_over:
            if not evaluation_is_due(run):
                train_epoch(run, stopping)
            if evaluation_is_due(run) and not stopping.agreed(run.progress.step).reason:
                with suppress(EvaluationInterrupted):
                    evaluate_and_keep_best(run, stopping.wanted)
            save_last(run, stopping)
            if reason := stopping.agreed(run.progress.step).reason:
                stop(run, reason)


def evaluation_is_due(run: Run) -> bool:
    """At the end of every so many epochs and of the run, unless it has been done at this step already."""
    step, settings = run.progress.step, run.recipe.evaluation
    if step >= run.total_steps:
        return not run.progress.is_evaluated or run.progress.best is None
    epoch, inside = divmod(step, run.steps_per_epoch)
    due = step > 0 and inside == 0 and epoch % settings.every == 0
    return due and not run.progress.is_evaluated


def train_epoch(run: Run, stopping: Stopping) -> None:
    """The rest of the current epoch, one optimizer step at a time; saves on the way, ends when told to."""
    epoch, done = divmod(run.progress.step, run.steps_per_epoch)
    last_step = min(run.steps_per_epoch, run.total_steps - epoch * run.steps_per_epoch)
    run.training.sampler.set_position(epoch, done)
    batches = iter(run.training)
    run.model.train()
    bar = tqdm(
        range(done + 1, last_step + 1),
        initial=done,
        total=run.steps_per_epoch,
        desc=f"epoch {epoch + 1}/{run.recipe.optim.epochs}",
        leave=False,
        disable=not run.accelerator.is_main_process,
    )
    run.meter.start_clock()
    for step in bar:
        with run.meter.loading():
            micro_batches = [next(batches) for _ in range(run.training.sampler.micro_batches_per_step)]
        loss = optimizer_step(run, micro_batches)
        bar.set_postfix(loss=f"{loss:.3f}")
        run.meter.add("bad_samples", run.bad_samples.record(run.progress.step, micro_batches))
        run.meter.finish_step()
        if run.progress.step % run.recipe.log_every == 0:
            run.log.write(run.progress.step, "step", {"epoch": epoch + 1, **run.meter.window_line()})
        if step < last_step:  # after the last one the caller saves
            verdict = stopping.agreed(run.progress.step)
            if verdict.reason:
                return
            if verdict.save:
                save_last(run, stopping)
                run.meter.start_clock()
    _log_epoch(run, epoch + 1)


def save_last(run: Run, stopping: Stopping) -> None:
    """Write ``last/``: everything that going on from this step takes."""
    save_training(
        run.folder / "last",
        run.accelerator,
        run.task,
        run.processor,
        run.optimizer,
        run.progress,
        run.identity,
        terms=run.meter.state(),
        tracker_run=run.log.run_id,
        extra=run.extra,
        stream=run.training.sampler.state(run.progress.step),
        keep=run.recipe.checkpoint.keep,
    )
    run.accelerator.wait_for_everyone()
    stopping.saved()


def stopping_of(run: Run) -> Stopping:
    """What may end the run early, as its recipe says."""
    limit, saving = run.recipe.time_limit, run.recipe.checkpoint
    seconds = None if limit is None else seconds_of(limit)
    return Stopping(run.accelerator, seconds, run.started, saving.every_steps, saving.every_minutes)


def stop(run: Run, reason: str) -> None:
    """End a run that is saved; one that was complete by then just goes on to its end.

    Raises:
        StoppedEarly: there is something left to do.
    """
    if run.patience.is_over or (run.progress.step >= run.total_steps and not evaluation_is_due(run)):
        return
    run.log.close()
    run.accelerator.print(
        f"{reason} after step {run.progress.step} of {run.total_steps}; saved as {run.folder / 'last'}. "
        "The same command goes on from there.",
        flush=True,
    )
    raise StoppedEarly(reason)


def evaluate_and_keep_best(run: Run, interrupted: Callable[[], bool]) -> None:
    """Score the validation split, log it, and save the model as ``best/`` when it is the best so far.

    Raises:
        EvaluationInterrupted: it was interrupted, and counts as not done.
    """
    epoch = -(-run.progress.step // run.steps_per_epoch)
    with run.as_evaluated():
        seen: list[PerImageResults] = []
        results = evaluate(run.accelerator, run.task, run.validation, run.truth, interrupted, seen.append)
        run.progress.evaluated_step = run.progress.step
        run.log.write(run.progress.step, "validation", {"epoch": epoch, **results})
        name = run.recipe.checkpoint.best
        score = score_of(results, name)
        run.accelerator.print(f"epoch {epoch}: {name} {score:.3f}" + _beside(results))
        if run.progress.best is None or score > run.progress.best:
            run.progress.best, run.progress.best_step = score, run.progress.step
            if run.accelerator.is_main_process:
                facts = {"epoch": epoch, "step": run.progress.step, **results}
                save_model(run.folder / "best", run.task, run.processor, facts)
                save_per_image(RunFolder(run.folder), seen[0])
                run.best_is_new()
    run.patience.look_at(results)
    if run.patience.is_over:
        run.accelerator.print(f"early stopping: {run.patience}")


def _beside(results: dict[str, Any]) -> str:
    boxes = results["detection"]
    return f" (box AP {boxes['AP'] or 0:.3f}, AP50 {boxes['AP50'] or 0:.3f}, AR {boxes['AR'] or 0:.3f})"


def _log_epoch(run: Run, epoch: int) -> None:
    """Mean of every term over the epoch's steps, learning rates, speed and memory."""
    facts = {"epoch": epoch, **run.meter.epoch_line()}
    if run.progress.skipped:
        facts["skipped_steps"] = run.progress.skipped
    run.log.write(run.progress.step, "train", facts)
    if bad := facts.get("bad_samples"):
        what = f"epoch {epoch}: {bad} images could not be loaded and were replaced by others"
        run.accelerator.print(f"{what}; they are listed in {run.bad_samples.path}")
