"""Each kind of proposal, carried out on a sample: nothing else of it changes."""

from __future__ import annotations

from typing import Any

from detr_hf.data.sample import Annotation, Sample
from detr_hf.review.corrections import corrected
from detr_hf.review.suspicions import CLASS, DUPLICATE, MISPLACED, MISSING, UNSUPPORTED
from tests.review.row_factories import row

OUTLINE = [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0]]
BRICK = Annotation(5, "brick", [10.0, 10.0, 20.0, 20.0], OUTLINE, 200.0, extra={"attributes": {"wet": True}})
CONE = Annotation(9, "cone", [50.0, 10.0, 20.0, 20.0], None, 400.0)


def sample(**values: Any) -> Sample:
    return Sample(b"", "000.jpg", 10, [BRICK, CONE], size_hw=(60, 100), **values)


def test_without_a_proposal_nothing_changes() -> None:
    one = sample()
    assert corrected(one, []) is one


def test_a_missing_object_is_added_inside_the_image() -> None:
    seen = {"label": "cone", "seen_label": "cone", "seen_box": [80.0, 40.0, 40.0, 40.0]}
    made = corrected(sample(), [row(MISSING, **seen)])
    assert made.objects[:2] == [BRICK, CONE]
    new = made.objects[2]
    assert (new.id, new.category, new.bbox, new.area) == (10, "cone", [80.0, 40.0, 20.0, 20.0], 400.0)
    assert new.extra["attributes"] == {"review": "missing: why.", "review_score": 0.9}


def test_what_nothing_supports_and_what_is_doubled_goes_and_the_image_says_so() -> None:
    made = corrected(sample(), [row(UNSUPPORTED, 5), row(DUPLICATE, 9), row(DUPLICATE, 9)])
    assert made.objects == [] and made.extra["review"] == ["unsupported: why.", "duplicate: why."]


def test_a_class_is_swapped_and_the_outline_stays() -> None:
    changed, other = corrected(sample(), [row(CLASS, 5, seen_label="cone", seen_box=[9.0] * 4)]).objects
    assert (changed.category, changed.bbox, changed.segmentation) == ("cone", BRICK.bbox, OUTLINE)
    assert changed.extra["attributes"] == {"wet": True, "review": "class: brick", "review_score": 0.9}
    assert other == CONE


def test_a_box_is_moved_and_an_outline_that_no_longer_fits_goes() -> None:
    changed, _ = corrected(sample(), [row(MISPLACED, 5, seen_box=[0.0, 0.0, 8.0, 5.0])]).objects
    assert (changed.bbox, changed.segmentation, changed.area) == ([0.0, 0.0, 8.0, 5.0], None, 40.0)
