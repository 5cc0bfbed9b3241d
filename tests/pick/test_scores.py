"""The file of scores: what is written is read again, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detr_hf.errors import UserError
from detr_hf.pick.scores import Scored, ScoreFile
from tests.pick.pick_factories import scored


def assert_equal(one: Scored, other: Scored) -> None:
    assert (one.print, one.doubt) == (other.print, other.doubt)
    assert np.array_equal(one.embedding, other.embedding) and one.embedding.dtype == np.float16


def test_scores_are_read_again(tmp_path: Path) -> None:
    first = scored(0.25, (1.5, -3.0))
    blind = replace(first, doubt=replace(first.doubt, unsure=None, best={}, expected={}))
    with ScoreFile(tmp_path / "x" / "pool.jsonl", "model") as file:
        file.add("a", first)
        file.add("odd \udce9 name", blind)
    known = ScoreFile(tmp_path / "x" / "pool.jsonl", "model").known
    assert list(known) == ["a", "odd \udce9 name"]
    assert_equal(known["a"], first)
    assert_equal(known["odd \udce9 name"], blind)


def test_a_line_that_was_cut_is_scored_anew_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    with ScoreFile(path, "model") as file:
        file.add("a", scored(0.1))
        file.add("b", scored(0.2))
    whole = path.read_bytes()
    for cut in range(len(whole) - 2, whole.rindex(b"\n", 0, -1), -37):
        path.write_bytes(whole[:cut])
        with ScoreFile(path, "model") as file:
            assert list(file.known) == ["a"]
            file.add("b", scored(0.3))
        assert {key: one.doubt.measures["margin"] for key, one in ScoreFile(path, "model").known.items()} == {
            "a": 0.1,
            "b": 0.3,
        }


def test_scores_of_another_model_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    with ScoreFile(path, "one") as file:
        file.add("a", scored(0.1))
    with ScoreFile(path, "other") as file:
        assert not file.known
        file.add("b", scored(0.2))
    assert list(ScoreFile(path, "other").known) == ["b"] and not ScoreFile(path, "one").known


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[]\n", b"{}\n{}\n", b"null\n"])
def test_a_file_that_is_none_of_ours_is_no_score(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pool.jsonl").write_bytes(content)
    assert not ScoreFile(tmp_path / "pool.jsonl", "model").known


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores").write_text("a file")
    with (
        pytest.raises(UserError, match="could not be written"),
        ScoreFile(tmp_path / "scores" / "pool.jsonl", "model") as file,
    ):
        file.add("a", scored(0.1))
