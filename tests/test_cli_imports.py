"""What a command may import: for `--help` and wrong arguments nothing heavy, without a model no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from detr_hf.cli import find_commands
from detr_hf.data.pipeline import STEPS
from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.per_image_results import PerImageResults, save_per_image
from detr_hf.recipe import recipe_to_yaml
from detr_hf.run_folder import RunFolder
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.html_reader import read_page
from tests.raw_factories import write_tidy_raw
from tests.report.report_factories import random_entries, write_run
from tests.tiny_runs import THING_LABELS, detection_recipe

NETWORKS = {"torch", "transformers", "accelerate", "timm", "evaluate", "albumentations"}
HEAVY = NETWORKS | {"datasets", "pandas", "pyarrow", "scipy", "cv2", "matplotlib"}
SHOW = """
import sys
from detr_hf.cli import main
codes = []
for line in sys.argv[1:]:
    try:
        codes.append(main(line.split("|")) or 0)
    except SystemExit as end:
        codes.append(end.code)
print("ended:", codes, {name.split(".")[0] for name in sys.modules}, sep="|")
"""


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def imported(*commands: list[str], code: int = 0) -> set[str]:
    """The top-level modules of a process that ran these commands, each of which must end with ``code``."""
    words = [sys.executable, "-c", SHOW, *("|".join(command) for command in commands)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, codes, modules = done.stdout.splitlines()[-1].split("|")
    assert ast.literal_eval(codes) == [code] * len(commands), done.stderr
    found: set[str] = ast.literal_eval(modules)
    assert "detr_hf" in found
    return found


def test_help_imports_nothing_heavy() -> None:
    assert not imported(*([command, "--help"] for command in find_commands())) & (
        HEAVY | {"numpy", "pydantic"}
    )


def test_wrong_arguments_are_refused_before_anything_heavy() -> None:
    wrong = (
        "nonsense",
        "predict demo --out x --threshold 2",
        "check missing.json",
        "check missing.yaml",
        "prepare missing out",
        "convert missing out --to coco",
        "train missing.yaml",
        "evaluate missing",
        "predict demo missing.jpg --out out",
        "pick demo missing --count 3",
        "pick missing/model/folder tests --count 3",
        "pick demo tests --count 0",
        "report missing",
        "compare missing missing",
        "push missing user/name",
        "export demo --out out --check-images missing",
        "app demo --port x",
        "demo --mess",
    )
    assert not imported(*(words.split() for words in wrong), code=2) & HEAVY


def test_a_check_imports_no_torch(tmp_path: Path) -> None:
    target = write_coco_panoptic(tmp_path / "data", count=3).annotations
    fixed = tmp_path / "fixed"
    outputs = ["--html", str(tmp_path / "page.html"), "--json", str(tmp_path / "found.json")]
    assert not imported(["check", target, *outputs, "--fix", str(fixed)], ["check", str(fixed)]) & NETWORKS


def test_a_check_without_a_page_imports_nothing_heavy(tmp_path: Path) -> None:
    """Guards: a look at a few images that takes seconds to start."""
    assert not imported(["check", write_coco_panoptic(tmp_path / "data", count=3).annotations]) & HEAVY


def test_preparing_imports_no_torch_before_the_teacher(tmp_path: Path) -> None:
    raw = str(write_tidy_raw(tmp_path / "raw"))
    steps = [["prepare", raw, str(tmp_path / "a"), "num_proc=1", "--only", step] for step in STEPS[:1]]
    whole = ["prepare", raw, str(tmp_path / "b"), "num_proc=1", "pseudo_stuff.enabled=false"]
    assert STEPS[1] == "pseudo" and not imported(*steps, whole) & NETWORKS


def test_what_reads_finished_runs_of_stage_one_imports_no_torch(tmp_path: Path) -> None:
    """Report, review and comparison, from what the evaluation kept, with drawn images and a corrected set."""
    run, split = write_run(tmp_path / "run", THING_LABELS), write_coco_detection(tmp_path / "data", count=3)
    recorded = ("evaluation.pictures=2", "evaluation.score_threshold=0.85")  # a record leaves nothing open
    recipe = detection_recipe(run, split, Path("nowhere"), *recorded)
    (run / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    found = [ImageEntry(10 + at, 0, entry.content) for at, entry in enumerate(random_entries(0, images=3))]
    save_per_image(RunFolder(run), PerImageResults(found))
    other, page = write_run(tmp_path / "other"), tmp_path / "page.html"
    commands = (
        ["report", str(run)],
        ["review", str(run), "--threshold", "0"],
        ["compare", str(run), str(other), "--out", str(page)],
    )
    assert not imported(*commands) & NETWORKS
    assert len(read_page(run / "report.html").all("img")) == 4, "the worst and the best, drawn twice"
    assert (run / "review" / "corrected" / "data.yaml").is_file() and page.is_file()


def test_a_conversion_imports_no_torch_nor_does_the_check_of_a_saved_data_set(tmp_path: Path) -> None:
    labels = tmp_path / "in" / "labels"
    for folder in (labels, tmp_path / "in" / "images"):
        folder.mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "in" / "images" / "a.png")
    (labels / "a.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (tmp_path / "in" / "classes.txt").write_text("brick\n")
    words, saved = ["convert", str(tmp_path / "in")], str(tmp_path / "hf")
    assert not imported([*words, str(tmp_path / "coco"), "--to", "coco"]) & (
        NETWORKS | {"datasets", "pandas"}
    )
    assert not imported([*words, saved, "--to", "hf"], ["check", saved]) & NETWORKS
