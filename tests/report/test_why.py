"""Runs spoilt on purpose get the right sentence first; a sound run gets none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.labels import LabelMap
from detr_hf.loading.balance import SplitObjects
from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.metrics.pq_counts import SEGMENT_FATES, ClassCounts
from detr_hf.report.inputs import ReportInputs, report_numbers
from detr_hf.report.write import write_report
from tests.html_reader import read_page
from tests.report.report_factories import write_run

LABELS = LabelMap.from_names(["brick", "cone", "person"], stuff=["pavement", "fence"])
BRICK, CONE, PERSON, PAVEMENT, FENCE = range(5)
IMAGES, SIZE_HW = 20, (480, 640)
BOXES = {  # two things of a kind and one of each stuff in every image, 480 x 640
    BRICK: [(20, 20, 90, 80), (150, 20, 90, 80)],
    CONE: [(280, 20, 80, 90), (400, 20, 80, 90)],
    PERSON: [(20, 150, 60, 120), (120, 150, 60, 120)],
    PAVEMENT: [(0, 300, 640, 180)],
    FENCE: [(300, 130, 340, 100)],
}
Found = list[list[Any]]  # box, class, score


@dataclass
class Spoilt:
    """A sound run, and what is changed of it: boxes, what is found of an image, objects in training."""

    boxes: dict[int, list[tuple[int, ...]]] = field(default_factory=lambda: dict(BOXES))
    found: Callable[[int, Found], None] = lambda image, found: None
    training: dict[int, int] = field(default_factory=dict)
    threshold: float | None = None
    usual: float = 0.5


class Truth:
    """Stands for the validation split where only sizes are asked for."""

    def sizes_hw(self) -> dict[int, tuple[int, int]]:
        return dict.fromkeys(range(IMAGES), SIZE_HW)


def entry_of(image: int, run: Spoilt) -> ImageEntry:
    truth = [(box, label) for label, boxes in run.boxes.items() for box in boxes]
    found: Found = [[list(box), label, 0.9 - 0.001 * at] for at, (box, label) in enumerate(truth)]
    run.found(image, found)
    boxes = np.array([box for box, _ in truth], np.float64).reshape(-1, 4)
    content = ImageBoxes(
        np.array([box for box, _, _ in found], np.float64).reshape(-1, 4),
        np.array([score for _, _, score in found], np.float64),
        np.array([label for _, label, _ in found], np.int64),
        boxes,
        np.array([label for _, label in truth], np.int64),
        boxes[:, 2] * boxes[:, 3],
        np.zeros(len(truth), bool),
    )
    return ImageEntry(image, 0, content)


def inputs_of(run: Spoilt, folder: Path, **changes: Any) -> ReportInputs:
    counts = [run.training.get(label, 400) for label in range(5)]
    classes = np.repeat(np.arange(5), counts)
    rows = np.concatenate([np.arange(count) % 300 for count in counts])
    sizes = np.tile(np.array([SIZE_HW], np.float64), (len(rows), 1))
    training = SplitObjects(rows, classes, np.full((len(rows), 2), 80.0), sizes, 300)
    entries = [entry_of(image, run) for image in range(IMAGES)]
    folder = write_run(folder, LABELS)
    recipe = json.loads((folder / "recipe.yaml").read_text())
    resize = [{"name": "ShortEdgeResize", "short_edges": [240], "max_long_edge": 400}]
    (folder / "recipe.yaml").write_text(
        json.dumps({**recipe, "transforms": {"train": resize, "validation": resize}})
    )
    made = ReportInputs(
        folder,
        LABELS,
        run.threshold,
        run.usual,
        per_image=PerImageResults(entries, None, 100, 16),
        truth=Truth(),  # type: ignore[arg-type]
        training=training,
    )
    return replace(made, **changes)


def lose(found: Found, labels: Sequence[int], score: float | None = None) -> None:
    """Take away what is found of some classes, or lower its score."""
    if score is None:
        found[:] = [one for one in found if one[1] not in labels]
    for one in found:
        if score is not None and one[1] in labels:
            one[2] = score


def too_small(image: int, found: Found) -> None:
    if image % 4:
        lose(found, [PERSON])


def two_names(image: int, found: Found) -> None:
    for one in found:
        if one[1] in (BRICK, CONE) and image % 2:
            one[1] = BRICK + CONE - one[1]


def one_name_wins(image: int, found: Found) -> None:
    """As a DETR does it, whose queries have one class each: half a certainty for either name."""
    for one in found:
        if one[1] in (BRICK, CONE):
            one[1:] = [CONE, 0.4 - 0.001 * image]


def nested(image: int, found: Found) -> None:
    if image % 5 < 3:
        lose(found, [FENCE])


def rare(image: int, found: Found) -> None:
    if image % 5:
        lose(found, [PERSON])


def unsure(image: int, found: Found) -> None:
    lose(found, range(5), 0.4 + 0.01 * image)


SPOILT = {
    "too small a resize": (
        Spoilt({**BOXES, PERSON: [(20, 150, 12, 40), (120, 150, 12, 40)]}, too_small),
        "small",
        "100% of person objects are narrower than one 16-px cell at short edge 240 (half of them fill one at "
        "640): raise transforms.*.short_edges and max_long_edge, or train in tiles (data.tiles)",
    ),
    "a class with ten objects": (
        Spoilt(found=rare, training={PERSON: 10}),
        "few",
        "person has 10 objects in 10 of 300 training images: annotate more; data.repeat_threshold=0.13 shows "
        "them twice as often",
    ),
    "a class without objects": (
        Spoilt(found=rare, training={PERSON: 0}),
        "few",
        "person has no object in the training images: annotate some",
    ),
    "two names for one class": (
        Spoilt(found=two_names),
        "two names",
        "20 of 40 brick objects are taken for cone, and 20 of 40 cone objects for brick: if both name one "
        "thing, merge them in data.labels (the same of cone)",
    ),
    "two names for one class, of which one wins": (
        Spoilt(found=one_name_wins, threshold=0.45),
        "two names",
        "40 of 40 brick objects look like cone, and 40 of 40 cone objects are unsure: if both name one "
        "thing, merge them in data.labels (the same of cone)",
    ),
    "stuff boxes inside each other": (
        Spoilt({**BOXES, FENCE: [(300, 320, 330, 100)]}, nested),
        "inside",
        "fence lies inside the box of pavement in 20 of 20: only masks part them (stage 2); boxes can do "
        "without stuff (data.stuff=false)",
    ),
    "a threshold too high": (
        Spoilt(found=unsure, usual=0.85),
        "threshold of the run",
        "A score threshold of 0.85 hides 160 of 160 objects that are right: set "
        "evaluation.score_threshold=0.20 (F1 1.00, now 0.00), or --threshold",
    ),
    "a threshold too high, as asked for": (
        Spoilt(found=unsure, threshold=0.85),
        "threshold of the run",
        "A score threshold of 0.85 hides 160 of 160 objects that are right: set "
        "evaluation.score_threshold=0.20 (F1 1.00, now 0.00), or --threshold",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_run_gets_the_right_sentence_first(name: str, tmp_path: Path) -> None:
    run, rule, sentence = SPOILT[name]
    why = report_numbers(inputs_of(run, tmp_path / "run"))[0]["why"]
    assert (why["things"][0]["rule"], why["things"][0]["sentence"]) == (rule, sentence)
    assert len(why["verdict"]) == 3 and len(why["things"]) <= 3


def some_noise(image: int, found: Found) -> None:
    """A tenth of all objects is lost, in turn."""
    found[:] = [one for at, one in enumerate(found) if (at + image) % 10]


@pytest.mark.parametrize("noise", [Spoilt(), Spoilt(found=some_noise)], ids=["perfect", "noisy"])
def test_a_sound_run_gets_no_sentence(noise: Spoilt, tmp_path: Path) -> None:
    inputs = inputs_of(noise, tmp_path / "run")
    numbers = report_numbers(inputs)[0]
    assert numbers["why"]["things"] == [] and {row["why"] for row in numbers["classes"]} == {None}
    page = read_page(write_report(inputs, 0))
    assert "No suggestion" in page.words and "No class loses 30% of its objects or more." in page.words
    assert "No suggestion" in (inputs.folder / "report.md").read_text()


def test_a_split_without_objects_is_told(tmp_path: Path) -> None:
    why = report_numbers(inputs_of(Spoilt(boxes={}), tmp_path / "run"))[0]["why"]
    assert "The split has no objects" in why["verdict"][1] and why["things"] == []


def test_what_no_rule_explains_is_still_told(tmp_path: Path) -> None:
    def moved(image: int, found: Found) -> None:
        for one in found:
            if one[1] == CONE:
                one[0][0] += 40

    why = report_numbers(inputs_of(Spoilt(found=moved), tmp_path / "run"))[0]["why"]
    assert why["things"][0]["sentence"].startswith("40 of 40 cone objects are found, but badly placed")


def test_boxes_inside_each_other_are_no_reason_where_all_is_lost(tmp_path: Path) -> None:
    """Guards: in a run that has learned next to nothing, to blame what lies where."""
    spoilt = Spoilt({**BOXES, FENCE: [(300, 320, 330, 100)]}, lambda image, found: lose(found, range(5)))
    numbers = report_numbers(inputs_of(spoilt, tmp_path / "run"))[0]
    assert all("are missed: train longer" in row["why"] for row in numbers["classes"])


def test_page_and_text_say_it_first(tmp_path: Path) -> None:
    run, _, sentence = SPOILT["too small a resize"]
    path = write_report(inputs_of(run, tmp_path / "run"), 0)
    page, text = read_page(path).words, path.with_suffix(".md").read_text().replace("\\", "")
    for said in (page, text):
        assert said.index("objects are found with a score above") < said.index(sentence)
        assert said.index(sentence) < said.index("Results") < said.index("Why, by class")
    row = next(row for row in json.loads(path.with_suffix(".json").read_text())["classes"] if row["why"])
    assert row["class"] == "person" and row["seen_px"] == 6 and row["narrower_than_cell"] == 1
    assert row["fates"]["missed"] == 30 and row["seen_px_training"] == [40, 40]


def test_older_runs_report_without_sizes_and_training(tmp_path: Path) -> None:
    run, _, _ = SPOILT["too small a resize"]
    inputs = inputs_of(run, tmp_path / "run", truth=None, training=None)
    assert inputs.per_image is not None
    inputs = replace(inputs, per_image=replace(inputs.per_image, stride=None))
    numbers = report_numbers(inputs)[0]
    assert numbers["why"]["network_input"] is None
    assert "30 of 40 person objects are missed" in numbers["why"]["things"][0]["sentence"]
    assert "px seen" not in read_page(write_report(inputs, 0)).words


@pytest.mark.parametrize(("steps", "score"), [(4, 0.04), (4, 0.06), (600, 0.04)])
def test_a_run_too_short_to_judge_is_told_to_train_on_and_no_more(
    steps: int, score: float, tmp_path: Path
) -> None:
    """Guards: "annotate more" after eight steps."""
    inputs = inputs_of(Spoilt(found=rare, training={PERSON: 10}), tmp_path / "run")
    metrics, log = inputs.folder / "best" / "metrics.json", inputs.folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"AP": 0.5', f'"AP": {score}'))
    log.write_text(json.dumps({"step": steps, "kind": "train", "epoch": 1}) + "\n")
    numbers = report_numbers(inputs)[0]
    sentences = [thing["sentence"] for thing in numbers["why"]["things"]]
    if steps < 500 and score < 0.05:
        assert sentences == ["4 steps are too few to judge data or settings by: train on (optim.epochs)"]
        assert not any(row["why"] for row in numbers["classes"])
    else:
        assert "annotate more" in sentences[0]


# ---- segments


def counts(lost: Sequence[tuple[int, str, int]], found: dict[int, tuple[int, float]]) -> ClassCounts:
    """Of one image: lost segments as (class, fate, other class), found ones as class: (number, IoU)."""
    rows = np.array([(label, SEGMENT_FATES.index(fate), other) for label, fate, other in lost], np.int64)
    table = np.zeros((5, 3), np.int64)
    for label, (number, _) in found.items():
        table[label, 0] = number
    for label, _, _ in lost:
        table[label, 2] += 1
    iou = np.array([found.get(label, (0, 0.0))[0] * found.get(label, (0, 0.0))[1] for label in range(5)])
    return ClassCounts(np.arange(5), table, iou, rows.reshape(-1, 3))


ALL_FOUND = dict.fromkeys(range(5), (2, 0.9))


@pytest.mark.parametrize(
    ("lost", "found", "sentence"),
    [
        (
            [(FENCE, "merged", PAVEMENT)] * 2,
            {},
            "40 of 40 fence objects are swallowed by a larger segment",
        ),
        (
            [(FENCE, "void", -1)] * 2,
            {},
            "40 of 40 fence objects are left void: lower evaluation.",
        ),
        ([(FENCE, "split", FENCE)] * 2, {}, "40 of 40 fence objects are split into several segments"),
        ([(FENCE, "wrong class", CONE)] * 2, {}, "40 of 40 fence objects are taken for cone"),
        ([], {FENCE: (2, 0.6)}, "segments of fence are found, but their outlines are off (SQ 60.0)"),
        ([], {FENCE: (2, 0.9)}, None),
    ],
)
def test_segments_say_why(
    lost: list[tuple[int, str, int]], found: dict[int, Any], sentence: str | None, tmp_path: Path
) -> None:
    of_image = counts(lost, {**{k: v for k, v in ALL_FOUND.items() if k != FENCE}, **found})
    segments = [ImageEntry(image, 0, of_image) for image in range(IMAGES)]
    inputs = inputs_of(Spoilt(), tmp_path / "run")
    assert inputs.per_image is not None
    inputs = replace(inputs, per_image=replace(inputs.per_image, segments=segments))
    things = report_numbers(inputs)[0]["why"]["things"]
    assert [thing["sentence"][: len(sentence or "")] for thing in things] == ([sentence] if sentence else [])
    assert "Merged:" in read_page(write_report(inputs, 0)).words
