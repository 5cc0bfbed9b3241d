"""The report at the end of a training, and made again later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from detr_hf.cli import main
from detr_hf.recipe import Split
from detr_hf.run_folder import PER_IMAGE_FILE
from detr_hf.train import run as run_recipe
from detr_hf.training import report_run
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.html_reader import read_page
from tests.raw_factories import png_header
from tests.report.report_factories import foreign_addresses
from tests.test_cli_imports import NETWORKS, imported
from tests.tiny_runs import (
    ALL_LABELS,
    detection_recipe,
    panoptic_recipe,
    save_detector,
    save_segmenter,
)

QUICK = ("optim.epochs=1", "evaluation.pictures=2", "evaluation.score_threshold=0.01")


def detection_run(folder: Path) -> tuple[Path, Split]:
    split = write_coco_detection(folder / "data", count=5)
    run_recipe(detection_recipe(folder / "run", split, save_detector(folder / "start"), *QUICK))
    return folder / "run", split


def numbers_in(run: Path) -> dict:
    return json.loads((run / "report.json").read_text())


def report(run: Path, *arguments: str) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    main(["report", str(run), *arguments])


def test_a_panoptic_training_writes_it_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = write_coco_panoptic(tmp_path / "data", count=5)
    detector, head = save_detector(tmp_path / "stage1", ALL_LABELS), save_segmenter(tmp_path / "head")
    results = run_recipe(panoptic_recipe(tmp_path / "run", split, detector, head, *QUICK))
    run = tmp_path / "run"
    printed = capsys.readouterr().out
    assert f"{run / 'report.html'}" in printed and (run / "report.md").is_file()
    page, numbers = read_page(run / "report.html"), numbers_in(run)
    assert numbers["results"] == results and numbers["notes"] == []
    assert len(page.all("img")) == 8 and foreign_addresses(page) == [], "two of either end, drawn twice"
    assert {row["training_objects"] for row in numbers["classes"] if row["kind"] == "stuff"} == {5}
    assert [row["training_objects"] for row in numbers["classes"]] == [
        row["validation_objects"] for row in numbers["classes"]
    ]
    matched = sum(one["matched"] for one in numbers["images"])
    assert matched == sum(row["TP"] for row in numbers["classes"])
    assert numbers["why"]["by_segments"] and numbers["why"]["network_input"]["short_edge"] == 64
    lost = sum(
        sum(row["segment_fates"].values()) - row["segment_fates"]["found"] for row in numbers["classes"]
    )
    assert lost == sum(row["FN"] for row in numbers["classes"]) and len(numbers["why"]["verdict"]) == 3
    assert numbers["why"]["verdict"][0] in printed and numbers["why"]["things"][0]["sentence"] in printed
    queries = numbers["queries"]
    most = max(one["matched"] + one["missed"] for one in numbers["images"])
    assert queries["most_objects"] == most and queries["training_is_counted"]
    assert [one["query"] for one in queries["each"]] == list(range(queries["num_queries"]))
    assert all(one["center"] for one in queries["each"])
    drawn = [image["src"] for image in page.all("img")]
    assert not imported(["report", str(run)]) & NETWORKS, "made again from files alone"
    assert [image["src"] for image in read_page(run / "report.html").all("img")] == drawn
    (run / PER_IMAGE_FILE).unlink()
    report(run, "--images", "1")
    again = numbers_in(run)
    assert {**again, "recipe": 0} == {**numbers, "recipe": 0}, "predicted again, with the same numbers"
    assert (run / PER_IMAGE_FILE).is_file() and len(read_page(run / "report.html").all("img")) == 4


def test_broken_pictures_are_told_in_their_place(tmp_path: Path) -> None:
    run, split = detection_run(tmp_path)
    pictures = sorted(Path(split.images).iterdir())
    pictures[0].write_bytes(png_header(25_000, 20_000))
    pictures[1].write_text("no picture at all")
    pictures[2].unlink()
    report(run, "--images", "5")
    page = read_page(run / "report.html")
    for fault in ("too large to decode", "this is not an image", "there is no file"):
        assert fault in page.words
    assert page.words.count("cannot be shown") == 3 and len(page.all("img")) == 4


def test_made_again_with_less_and_less_at_hand(tmp_path: Path) -> None:
    run, split = detection_run(tmp_path)
    (run / "best" / "model.safetensors").unlink()
    report(run, "--threshold", "0.99")
    numbers = numbers_in(run)
    assert numbers["confusion"]["score_threshold"] == 0.99 and numbers["notes"] == []
    assert sum(row[-1] for row in numbers["confusion"]["counts"]) > 0, "all is missed"
    assert len(read_page(run / "report.html").all("img")) == 8, "stage 1 is drawn without the model"
    Path(split.annotations).unlink()
    report(run)
    page, numbers = read_page(run / "report.html"), numbers_in(run)
    assert "the data cannot be used" in page.words and page.all("img") == []
    assert numbers["threshold_sweep"] and numbers["classes"][0]["training_objects"] is None
    (run / PER_IMAGE_FILE).unlink()
    report(run)
    assert "nothing is known of single images" in read_page(run / "report.html").words
    assert numbers_in(run)["threshold_sweep"] is None and numbers_in(run)["results"] == numbers["results"]


def test_a_report_that_fails_loses_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Path:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(report_run, "write_report", fail)
    run, _ = detection_run(tmp_path)
    told = capsys.readouterr().out
    assert f"detr-hf report {run}" in told and "a fault of ours" in told and (run / "results.md").is_file()


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for expected in ("no folder of a run", "no best/ yet"):
        with pytest.raises(SystemExit) as ended:
            main(["report", str(tmp_path)])
        assert ended.value.code == 2 and expected in capsys.readouterr().err
        (tmp_path / "recipe.yaml").write_text("")
