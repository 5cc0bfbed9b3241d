"""Which queries a model uses: counted by hand, said in one sentence, and drawn where they look."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.report.inputs import ReportInputs
from detr_hf.report.queries import query_chart, query_numbers
from detr_hf.report.write import write_report
from tests.html_reader import read_page
from tests.report.report_factories import LABELS, image_boxes, write_run

SIZES = {0: (20, 100), 1: (20, 100)}


def of_queries(image: ImageBoxes, queries: list[int]) -> ImageBoxes:
    return replace(image, queries=np.array(queries))


def results(num_queries: int = 6) -> PerImageResults:
    """Query 0 finds a brick twice, 1 a cone and a brick (two classes), 2 nothing, 3 is never sure."""
    first = image_boxes([(0, 0, 0.9), (1, 1, 0.8), (3, 2, 0.7), (2, 1, 0.1)], [(0, 0), (1, 1), (2, 1)])
    second = image_boxes([(1, 1, 0.7), (2, 0, 0.9), (1, 0, 0.6)], [(1, 0), (2, 0)])
    images = [of_queries(first, [0, 1, 2, 3]), of_queries(second, [1, 0, 1])]
    return PerImageResults([ImageEntry(at, 0, image) for at, image in enumerate(images)], None, num_queries)


def test_queries_are_counted_by_class_and_place() -> None:
    numbers = query_numbers(results(), LABELS, 0.5, SIZES)
    assert numbers is not None
    assert (numbers["num_queries"], numbers["sure"], numbers["right"]) == (6, 3, 2)
    assert (numbers["most_objects"], numbers["most_found"], numbers["enough"]) == (3, 2, 3)
    assert numbers["classes"] == {"brick": 2, "cone": 1, "sky": 0}
    # squares 0 and 2 for query 0; 1 twice for query 1, whose wrong class counts as sure alone
    assert numbers["each"][:2] == [
        {"query": 0, "sure": 2, "right": 2, "center": [0.25, 0.25]},
        {"query": 1, "sure": 3, "right": 2, "center": [0.25, 0.25]},
    ]
    assert numbers["each"][2] == {"query": 2, "sure": 1, "right": 0, "center": [0.65, 0.25]}
    marks = re.findall(r"query \d: \d right, \d above the threshold", query_chart(numbers).svg)
    assert sorted(marks)[0] == "query 0: 2 right, 2 above the threshold" and len(marks) == 4


@pytest.mark.parametrize(("training", "enough"), [(None, 3), (5, 5), (6, None), (40, None)])
def test_there_are_never_fewer_than_an_image_has_objects(training: int | None, enough: int | None) -> None:
    numbers = query_numbers(results(), LABELS, 0.5, SIZES, training)
    assert numbers is not None and numbers["enough"] == enough


def test_of_no_right_box_nothing_follows_and_of_no_size_no_place() -> None:
    numbers = query_numbers(results(), LABELS, 0.95, {})
    assert numbers is not None and (numbers["right"], numbers["enough"]) == (0, None)
    assert {one["center"] for one in numbers["each"]} == {None} and query_chart(numbers).svg == ""


def test_older_results_do_not_tell() -> None:
    assert query_numbers(replace(results(), num_queries=None), LABELS, 0.5, SIZES) is None
    unknown = [ImageEntry(0, 0, image_boxes([(0, 0, 0.9)], [(0, 0)]))]
    assert query_numbers(PerImageResults(unknown, None, 6), LABELS, 0.5, SIZES) is None


@pytest.mark.parametrize(
    ("num_queries", "said"),
    [
        (6, "Of the model's 6 queries 2 gave at least one right box with a score above 0.5"),
        (6, "model.num_queries could be 3, the most objects in one image. It keeps the first"),
        (4, "(in validation; training images are not counted)"),
        (3, "Fewer would not hold the objects of one image."),
        (2, "The most objects in one image are 3"),
        (2, "They do not fit into 2 queries: raise model.num_queries"),
    ],
)
def test_the_page_says_what_could_be(num_queries: int, said: str, tmp_path: Path) -> None:
    inputs = ReportInputs(write_run(tmp_path / "run"), LABELS, 0.5, 0.85, per_image=results(num_queries))
    page = write_report(inputs, images=0)
    assert said in read_page(page).words and said in page.with_suffix(".md").read_text().replace("\\", "")
    assert (
        "| brick" in page.with_suffix(".md").read_text()
        and "queries |" in page.with_suffix(".md").read_text()
    )
