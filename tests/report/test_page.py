"""The page and the Markdown file: whole with little at hand, and no name that becomes markup."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.labels import LabelMap
from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.report.inputs import ReportInputs
from detr_hf.report.tables import class_table, confusion_table
from detr_hf.report.write import write_report
from tests.html_reader import read_page
from tests.report.report_factories import LABELS, foreign_addresses, random_entries, write_run

EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&' [l](http://e.org) `c` | ]]>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def subject_of(folder: Path, labels: LabelMap = LABELS, **parts: Any) -> ReportInputs:
    return ReportInputs(folder, labels, parts.pop("score_threshold", None), 0.85, **parts)


def whole(folder: Path, labels: LabelMap = LABELS) -> ReportInputs:
    results = PerImageResults(random_entries(3, classes=labels.num_classes))
    return subject_of(
        write_run(folder, labels), labels, per_image=results, training_objects=list(range(labels.num_classes))
    )


def test_everything_is_on_the_page(tmp_path: Path) -> None:
    page = read_page(write_report(whole(tmp_path / "run"), images=2))
    for title in (
        "Course of the training",
        "Classes",
        "Boxes",
        "Confusion of things",
        "Worst images",
        "The run",
    ):
        assert title in page.words
    assert len(page.all("figure")) == 6 + 3 + 4, "charts, then pictures"
    assert "the data cannot be read" in page.words and "F1 is highest" in page.words
    assert "0.700" in page.words and "learning rate" in page.words


def test_the_numbers_and_the_text_say_the_same(tmp_path: Path) -> None:
    folder = write_report(whole(tmp_path / "run"), images=2).parent
    numbers = json.loads((folder / "report.json").read_text())
    assert numbers["results"]["detection"]["AP"] == 0.5 and numbers["facts"]["commit"] == "not known"
    cone = numbers["classes"][1]
    known = {"fates", "segment_fates", "taken_for", "false", "gains", "why", "narrower_than_cell"}
    cone = {key: value for key, value in cone.items() if key not in known and "seen" not in key}
    assert cone | {"best_f1": 0, "best_threshold": 0} == {
        "class": "cone",
        "kind": "thing",
        "training_objects": 1,
        "training_images": None,
        "validation_objects": 3,
        **{"AP": 0.5, "AP50": 0.7, "AR": 0.6, "best_f1": 0, "best_threshold": 0, "queries": None},
    }
    assert np.array(numbers["confusion"]["counts"]).shape == (3, 3) and len(numbers["images"]) == 12
    said = (folder / "report.md").read_text()
    assert "| AP 0.50:0.95 | all" in said and "| cone " in said and "## Worst images" in said


def test_predictions_made_again_that_differ_are_told(tmp_path: Path) -> None:
    assert "best/metrics.json says 0.500" in read_page(write_report(whole(tmp_path / "run"), 1)).words


def test_little_is_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for name in ("recipe.yaml", "metrics.jsonl", "best/metrics.json"):
        (run / name).unlink()
    page = read_page(write_report(subject_of(run, notes=("nobody <knows>",)), images=3))
    assert "No result is recorded" in page.words and "nobody <knows>" in page.words
    assert page.words.count("nothing was recorded") == 6 and "not known" in page.words
    assert "Confusion" not in page.words and "Worst images" not in page.words


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    labels = LabelMap.from_names([EVIL, "cone"], stuff=["sky"])
    subject = whole(tmp_path / "run", labels)
    (subject.folder / "recipe.yaml").write_text(f"# </pre></style>{EVIL}\n")
    (subject.folder / "environment.json").write_text(json.dumps({"device": EVIL, "command": [EVIL, "x"]}))
    page = read_page(write_report(subject, images=1))
    assert EVIL in page.words, "shown as text"
    assert len(page.all("script")) == 1 and page.all("img") == [] and page.all("a") == []
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    said = (subject.folder / "report.md").read_text()
    assert "<script" not in said and "[l](" not in said and "`c`" not in said.replace("\\`", "")


def test_the_page_asks_nobody_for_anything(tmp_path: Path) -> None:
    path = write_report(whole(tmp_path / "run"), images=2)
    page = read_page(path)
    assert foreign_addresses(page) == [] and page.all("link") == [] and page.all("iframe") == []
    assert "url(" not in path.read_text() and "@import" not in path.read_text()
    (policy,) = [meta["content"] or "" for meta in page.all("meta") if meta.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:") and "script-src 'sha256-" in policy
    assert "unsafe-eval" not in policy and "script-src 'unsafe" not in policy


def test_many_classes_show_the_most_confused() -> None:
    names = [f"class {at}" for at in range(40)]
    counts = np.zeros((41, 41), int)
    counts[np.arange(40), np.arange(40)] = 5
    counts[35, 36], counts[40, 3], counts[7, 40] = 3, 2, 1
    shown = confusion_table({"classes": names, "counts": counts.tolist()})
    assert len(shown.names) == 31 and shown.left_out == 10 and shown.names[-1] == "background"
    assert {"class 35", "class 36", "class 3", "class 7"} <= set(shown.names)
    assert dict(shown.rows)["class 35"][shown.names.index("class 36")] == 3


def test_classes_that_do_not_occur_are_counted_and_left_out() -> None:
    """guards: 38 empty rows of 48, of a preset whose classes are not all in the data."""
    counts = np.zeros((4, 4), int)
    counts[1, 1], counts[3, 2] = 5, 1
    shown = confusion_table({"classes": ["ahu", "crane", "lime"], "counts": counts.tolist()})
    assert shown.names == ["crane", "lime", "background"] and shown.left_out == 1
    assert [row for _, row in shown.rows] == [[5, 0, 0], [0, 0, 0], [0, 1, 0]]
    rows = [
        {"class": "ahu", "training_objects": 0, "validation_objects": 0},
        {"class": "crane", "training_objects": 3, "validation_objects": 0},
        {"class": "lime", "training_objects": None, "validation_objects": 0},
    ]
    classes = class_table(rows)
    assert [name for name, _, _ in classes.rows] == ["crane", "lime"] and classes.left_out == 1


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_has_no_complaint(tmp_path: Path) -> None:
    entries = [ImageEntry(entry.image_id, 0, entry.content) for entry in random_entries(2)]
    path = write_report(subject_of(write_run(tmp_path / "run"), per_image=PerImageResults(entries)), images=1)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    flags += ["--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [str(CHROMIUM), *flags, "--enable-logging=stderr", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    assert 'tabindex="0"' in done.stdout, "the script of the page ran"
