"""What an evaluation saw, written and read back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detr_hf.metrics import per_image_results
from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from detr_hf.metrics.per_image_results import PerImageResults, load_per_image, save_per_image
from detr_hf.metrics.pq_counts import ClassCounts
from detr_hf.run_folder import RunFolder
from tests.report.report_factories import image_boxes, random_entries


def saved(folder: Path, results: PerImageResults) -> tuple[RunFolder, Path, Path]:
    """The run, the file of its results and that of its metrics."""
    run = RunFolder(folder)
    run.best.mkdir()
    (run.best / "metrics.json").write_text('{"AP": 0.5}')
    save_per_image(run, results)
    return run, folder / "best_predictions.safetensors", run.best / "metrics.json"


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    lost = np.array([[1, 2, 0], [1, 5, -1]])
    counts = [
        ClassCounts(np.array([1]), np.array([[1, 0, 2]]), np.array([0.75]), lost),
        ClassCounts(*_nothing(), lost[:0]),
    ]
    segments = [ImageEntry(at, 0, content) for at, content in enumerate(counts)]
    boxes = [*random_entries(1), ImageEntry(99, 0, image_boxes([], []))]
    boxes = [replace(one, content=with_queries(one.content)) for one in boxes]
    again = load_per_image(saved(tmp_path, PerImageResults(boxes[::-1], segments, 99, 16))[0], num_classes=3)
    assert again is not None and again.segments is not None
    assert (again.num_queries, again.stride) == (99, 16)
    assert [entry.content.lost.tolist() for entry in again.segments] == [lost.tolist(), []]
    assert [entry.image_id for entry in again.boxes] == [*range(12), 99]
    for one, other in zip(boxes, again.boxes, strict=True):
        for name in vars(one.content):
            np.testing.assert_array_equal(getattr(one.content, name), getattr(other.content, name))
    assert again.segments[0].content.counts.tolist() == [[1, 0, 2]]
    assert again.segments[1].content.classes.tolist() == []


def with_queries(image: ImageBoxes) -> ImageBoxes:
    return replace(image, queries=np.arange(len(image.scores)) % 7)


def test_results_without_queries_are_read_and_those_of_another_model_are_not(tmp_path: Path) -> None:
    """Guards: files of versions before queries were kept."""
    again = load_per_image(saved(tmp_path, PerImageResults(random_entries(1)))[0], num_classes=3)
    assert again is not None and again.num_queries is None
    assert all(one.content.queries is None for one in again.boxes)
    boxes = [replace(one, content=with_queries(one.content)) for one in random_entries(1)]
    save_per_image(RunFolder(tmp_path), PerImageResults(boxes, None, 6))
    assert load_per_image(RunFolder(tmp_path), num_classes=3) is None


def test_what_is_no_number_is_damage(tmp_path: Path) -> None:
    """Guards: a review that suspects nothing, and a report that compares with NaN."""
    [first, *others] = random_entries(1)
    broken = replace(first, content=replace(first.content, scores=first.content.scores * np.nan))
    assert load_per_image(saved(tmp_path, PerImageResults([broken, *others]))[0], num_classes=3) is None


def test_segments_of_older_versions_do_not_tell_what_became_of_the_lost(tmp_path: Path) -> None:
    segments = [ImageEntry(0, 0, ClassCounts(np.array([1]), np.array([[1, 0, 2]]), np.array([0.75])))]
    again = load_per_image(saved(tmp_path, PerImageResults(random_entries(1), segments))[0], num_classes=3)
    assert again is not None and again.segments is not None and again.segments[0].content.lost is None


@pytest.mark.parametrize("lost", [[3, 1, 0], [1, 7, 0], [1, 1, 3]])
def test_lost_segments_of_another_model_are_not_taken(lost: list[int], tmp_path: Path) -> None:
    content = ClassCounts(np.array([1]), np.array([[0, 0, 1]]), np.array([0.0]), np.array([lost]))
    results = PerImageResults(random_entries(1), [ImageEntry(0, 0, content)])
    assert load_per_image(saved(tmp_path, results)[0], num_classes=3) is None


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros((0, 3), np.int64), np.zeros(0)


def test_what_is_not_of_this_evaluation_is_not_taken(tmp_path: Path) -> None:
    run, path, metrics = saved(tmp_path, PerImageResults(random_entries(1)))
    assert load_per_image(run, 3) is not None
    assert load_per_image(run, 2) is None, "class ids that the model does not have"
    metrics.write_text('{"AP": 0.6}')
    assert load_per_image(run, 3) is None
    metrics.write_text('{"AP": 0.5}')
    path.write_bytes(path.read_bytes()[:200])
    assert load_per_image(run, 3) is None
    path.unlink()
    assert load_per_image(run, 3) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("which", [1, 2])
def test_a_named_pipe_is_not_waited_for(tmp_path: Path, which: int) -> None:
    one = saved(tmp_path, PerImageResults(random_entries(1)))
    one[which].unlink()  # type: ignore[union-attr]
    os.mkfifo(one[which])  # type: ignore[arg-type]
    assert load_per_image(one[0], 3) is None


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    run, path, _ = saved(tmp_path, PerImageResults(random_entries(1)))
    with path.open("wb") as file:
        np.savez(file, of=np.array([object()], dtype=object))
    assert load_per_image(run, 3) is None


def test_a_full_disk_is_told_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(per_image_results, "save_file", full)
    saved(tmp_path, PerImageResults(random_entries(1)))
    assert "best_predictions.safetensors could not be written: No space left" in capsys.readouterr().out
