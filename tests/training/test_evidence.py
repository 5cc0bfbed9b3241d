"""What an evaluation saw, written and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.pq_counts import ClassCounts
from detr_hf.training import evidence
from detr_hf.training.evidence import EVIDENCE_FILE, Evidence, keep_evidence, load_evidence, save_evidence
from tests.report.report_factories import image_boxes, random_entries


def saved(folder: Path, evidence: Evidence) -> tuple[Path, Path]:
    metrics, path = folder / "metrics.json", folder / EVIDENCE_FILE
    metrics.write_text('{"AP": 0.5}')
    save_evidence(path, evidence, metrics)
    return path, metrics


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    counts = [ClassCounts(np.array([1]), np.array([[1, 0, 2]]), np.array([0.75])), ClassCounts(*_nothing())]
    segments = [ImageEntry(at, 0, content) for at, content in enumerate(counts)]
    boxes = [*random_entries(1), ImageEntry(99, 0, image_boxes([], []))]
    again = load_evidence(*saved(tmp_path, Evidence(boxes[::-1], segments)), num_classes=3)
    assert again is not None and again.segments is not None
    assert [entry.image_id for entry in again.boxes] == [*range(12), 99]
    for one, other in zip(boxes, again.boxes, strict=True):
        for name in vars(one.content):
            np.testing.assert_array_equal(getattr(one.content, name), getattr(other.content, name))
    assert again.segments[0].content.counts.tolist() == [[1, 0, 2]]
    assert again.segments[1].content.classes.tolist() == []


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros((0, 3), np.int64), np.zeros(0)


def test_what_is_not_of_this_evaluation_is_not_taken(tmp_path: Path) -> None:
    path, metrics = saved(tmp_path, Evidence(random_entries(1)))
    assert load_evidence(path, metrics, 3) is not None
    assert load_evidence(path, metrics, 2) is None, "class ids that the model does not have"
    metrics.write_text('{"AP": 0.6}')
    assert load_evidence(path, metrics, 3) is None
    metrics.write_text('{"AP": 0.5}')
    path.write_bytes(path.read_bytes()[:200])
    assert load_evidence(path, metrics, 3) is None
    path.unlink()
    assert load_evidence(path, metrics, 3) is None


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path, metrics = saved(tmp_path, Evidence(random_entries(1)))
    with path.open("wb") as file:
        np.savez(file, of=np.array([object()], dtype=object))
    assert load_evidence(path, metrics, 3) is None


def test_a_full_disk_is_told_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "metrics.json").write_text("{}")
    monkeypatch.setattr(evidence, "save_file", full)
    keep_evidence(tmp_path, [Evidence(random_entries(1))])
    assert "warning" in capsys.readouterr().out
