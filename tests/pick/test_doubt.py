"""Measures of doubt, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detr_hf.inference.queries import ImageQueries, Queries
from detr_hf.pick.doubt import LEAST_SURE, Unsure, doubt_about

NAMES = ["brick", "cone"]
BOX, FAR = (0.0, 0.0, 0.5, 0.5), (0.6, 0.6, 1.0, 1.0)
SURE, TORN, HALF, EMPTY = (1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 0.5, 0.5), (0.01, 0.02, 0.97)


def queries(*rows: tuple[tuple[float, ...], tuple[float, ...]]) -> Queries:
    shares = np.array([row[0] for row in rows], np.float32)
    return Queries(shares[:, :-1], shares, np.array([row[1] for row in rows], np.float32))


def image(plain: Queries, mirrored: Queries | None = None) -> ImageQueries:
    return ImageQueries(0, plain, mirrored, np.zeros(2, np.float32))


def test_entropy_and_margin_are_means_over_the_least_sure() -> None:
    doubt = doubt_about(image(queries((SURE, BOX), (TORN, BOX), (HALF, FAR), (EMPTY, BOX))), NAMES)
    assert doubt.measures == {
        "entropy": pytest.approx(2 * math.log(2) / math.log(3) / LEAST_SURE),
        "margin": pytest.approx(2 / LEAST_SURE),
    }
    assert doubt.best == {"brick": 1.0, "cone": 0.5}
    assert doubt.expected == {"brick": 1.5, "cone": 0.5}
    assert doubt.unsure == Unsure("brick", 0.5, "cone", 0.5)


def test_clutter_does_not_weigh_without_end() -> None:
    doubts = [doubt_about(image(queries(*[(TORN, BOX)] * count)), NAMES) for count in (1, LEAST_SURE, 50)]
    assert [one.measures["margin"] for one in doubts] == pytest.approx([1 / LEAST_SURE, 1, 1])


def test_an_object_or_nothing_is_said_so() -> None:
    doubt = doubt_about(image(queries((SURE, BOX), (HALF, FAR))), NAMES)
    assert doubt.unsure == Unsure("cone", 0.5, None, 0.5)


def test_what_the_mirrored_image_does_not_confirm() -> None:
    moved = (0.0, 0.0, 0.5, 0.25)  # half of the box
    plain = queries((SURE, BOX), (HALF, FAR))
    same = doubt_about(image(plain, plain), NAMES)
    assert same.measures["flips"] == pytest.approx(0)
    half = doubt_about(image(plain, queries((SURE, moved), (HALF, FAR))), NAMES)
    assert half.measures["flips"] == pytest.approx(2 * 0.5 / LEAST_SURE), "of both sides"
    other = doubt_about(image(plain, queries((SURE, BOX), (TORN, FAR))), NAMES)
    assert other.measures["flips"] == pytest.approx((0.5 + 0.5) / LEAST_SURE), "under another name"
    gone = doubt_about(image(plain, queries((EMPTY, BOX))), NAMES)
    assert gone.measures["flips"] == pytest.approx(1.5 / LEAST_SURE)
    weaker = doubt_about(image(queries(((0.9, 0, 0.1), BOX)), queries(((0.3, 0, 0.7), BOX))), NAMES)
    assert weaker.measures["flips"] == pytest.approx(0.6 / LEAST_SURE)


def test_where_nothing_is_seen_there_is_no_doubt() -> None:
    doubt = doubt_about(image(queries((EMPTY, BOX)), queries((EMPTY, BOX))), NAMES)
    assert doubt.measures == {"entropy": 0, "margin": 0, "flips": 0}
    assert (doubt.best, doubt.expected, doubt.unsure) == ({}, {}, None)
