"""Valid sets of every format, mutated: check, repaired copy and training understand each mutant alike."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detr_hf.data.build import build_bundle, require_something_to_learn
from detr_hf.data.check import check, fix, open_target
from detr_hf.data.issues import KINDS
from detr_hf.data.reading import checked_rows
from detr_hf.data.report import Report
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.recipe import Data
from tests.data.valid_sets import BOXES, IMAGES
from tests.data.valid_sets import FORMATS as FILES
from tests.data.valid_tables import TABLES, mutate_table, streamed

pytestmark = pytest.mark.usefixtures("own_cache")

FORMATS = FILES | TABLES
SETTINGS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

SEEN_IN_PIXELS = {"image-damaged", "leak"}
"""What a check finds in decoded pixels and by comparing splits, and training meets later or not at all."""


# ---- mutations

ODD: list[Any] = [
    *(None, True, 0, -1, 2.5, 10**30, float("nan"), 1e300, "", "3", "x", "../a", "p1.png", "p0.PNG"),
    *([], [1], [[]], {}, [1, 2, 3, 4], [50, 40, 60, 60], [0.1, 0.2, 0.3, 0.4], "\ud800", "a\x1b[2J"),
]
ODD_TEXT = ["", "0", "-1", "1e9", "nan", "x", "70", "2.5", "../a", "p1.png", "cat", "5" * 400]


def places(value: Any) -> list[tuple[Any, Any]]:
    """(holder, key) of everything in nested JSON."""
    found = []
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += places(value[key])
    return found


def mutate_json(file: Path, draw: st.DataObject) -> None:
    file.write_text(json.dumps(mutated(json.loads(file.read_text()), draw)))


def mutate_lines(file: Path, draw: st.DataObject) -> None:
    rows = mutated([json.loads(line) for line in file.read_text().splitlines()], draw)
    file.write_text("\n".join(map(json.dumps, rows)))


def mutated(content: Any, draw: st.DataObject) -> Any:
    holder, key = draw.draw(st.sampled_from([place for place in places(content) if place[0] is not content]))
    what = draw.draw(st.sampled_from(["change", "remove", "repeat"]))
    if what == "change":
        holder[key] = draw.draw(st.sampled_from(ODD))
    elif what == "remove":
        del holder[key]
    elif isinstance(holder, list):
        holder.append(holder[key])
    return content


def mutate_xml(file: Path, draw: st.DataObject) -> None:
    tree = ElementTree.parse(file)
    element = draw.draw(st.sampled_from(list(tree.iter())))
    if element.attrib:
        key = draw.draw(st.sampled_from(sorted(element.attrib)))
        element.attrib[key] = draw.draw(st.sampled_from(ODD_TEXT))
    elif len(element) and draw.draw(st.booleans()):
        element.remove(draw.draw(st.sampled_from(list(element))))
    else:
        element.text = draw.draw(st.sampled_from(ODD_TEXT))
    tree.write(file)


def mutate_text(file: Path, draw: st.DataObject) -> None:
    between = "," if file.suffix == ".csv" else " "
    lines = [line.split(between) for line in file.read_text().splitlines()]
    line = draw.draw(st.sampled_from(lines))
    line[draw.draw(st.integers(0, len(line) - 1))] = draw.draw(st.sampled_from(ODD_TEXT))
    file.write_text("\n".join(between.join(line) for line in lines))


MUTATE = {
    ".json": mutate_json,
    ".jsonl": mutate_lines,
    ".xml": mutate_xml,
    ".txt": mutate_text,
    ".csv": mutate_text,
}


def mutate(folder: Path, files: list[Path], draw: st.DataObject) -> None:
    if (file := draw.draw(st.sampled_from(files))).suffix not in MUTATE:
        mutate_table(file, draw)
    elif draw.draw(st.integers(0, 9)) == 0:  # now and then it is an image that is broken
        image = draw.draw(st.sampled_from(sorted(folder.rglob("*.png"))))
        how = draw.draw(st.sampled_from(["cut", "gone", "text"]))
        if how == "gone":
            image.unlink()
        else:
            image.write_bytes(image.read_bytes()[:300] if how == "cut" else b"no image")
    else:
        MUTATE[file.suffix](file, draw)


# ---- what must agree


def rows_of(path: Path) -> dict[str, list[list[float]]] | None:
    """Boxes by image as training reads them; None where it refuses."""
    rows: dict[str, list[list[float]]] = {}
    try:
        target = open_target(str(path))
        if target.fault is not None:
            return None
        for source in target.splits.values():
            labels = target.labels or LabelMap.from_coco(source.categories())
            report = Report(source.name)
            for row in checked_rows(source, labels, report):
                rows[Path(row["file_name"]).as_posix()] = sorted(row["objects"]["bbox"])
            require_something_to_learn(report)
    except UserError:
        return None
    return rows


def same_boxes(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        np.shape(one[name]) == np.shape(other[name]) and np.allclose(one[name], other[name], atol=0.01)
        for name in one
    )


@pytest.mark.parametrize("name", FILES)
@SETTINGS
@given(draw=st.data())
def test_check_repair_and_training_agree_on_every_mutant(name: str, draw: st.DataObject) -> None:
    agree_on_a_mutant(name, draw)


@pytest.mark.parametrize("name", TABLES)
@settings(SETTINGS, max_examples=20)  # a table takes longer, and holds less to mutate
@given(draw=st.data())
def test_they_agree_on_every_mutated_table(name: str, draw: st.DataObject) -> None:
    agree_on_a_mutant(name, draw)


def agree_on_a_mutant(name: str, draw: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        path, files = FORMATS[name](folder / "set")
        for _ in range(draw.draw(st.integers(1, 2))):
            mutate(folder / "set", files, draw)
        agree(path, folder / "repaired")
    finally:
        shutil.rmtree(folder)


def agree(path: Path, out: Path) -> None:
    try:
        target = open_target(str(path))
    except UserError:
        return  # the mutant is of no known format any more, and is refused by name
    result = check(target, threads=1)
    codes = {kind.code for kind in result.report.kinds()}
    errors = {code for code in codes if KINDS[code].severity == "error"}
    trained = rows_of(path)
    assert (trained is None) <= bool(errors), "training refuses what the check lets pass"
    assert bool(errors - SEEN_IN_PIXELS) <= (trained is None), f"training takes what is an error: {errors}"
    try:
        fix(target, out, threads=1)
    except UserError:
        assert errors, "a repair is refused where nothing is wrong"
        return
    again = check(open_target(str(out)), threads=1)
    assert again.exit_code() == 0, [issue.code for issue in again.report.kinds()]
    repaired = rows_of(out)
    assert repaired is not None, "training refuses the repaired copy"
    if trained is not None:
        dropped = errors & SEEN_IN_PIXELS
        kept = {file: boxes for file, boxes in trained.items() if not dropped or file in repaired}
        assert same_boxes(kept, repaired)
    read = sum(len(source) for source in target.splits.values())
    listed = sum(
        result.report.count(code) > 0 and len(result.report.places(code))
        for code in codes
        if KINDS[code].effect == "image dropped"
    )
    assert len(repaired) <= read <= len(repaired) + listed, "an image is lost in silence"


def test_nothing_to_learn_is_refused_by_all(tmp_path: Path) -> None:
    file, _ = FORMATS["coco"](tmp_path / "set")
    content = json.loads(file.read_text())
    for one in content["annotations"]:
        one |= {"bbox": [5, 5, 0, 0], "segmentation": []}
    file.write_text(json.dumps(content))
    agree(file, tmp_path / "repaired")
    result = check(open_target(str(file)), threads=1)
    assert result.report.count("nothing-to-learn") == 1 and rows_of(file) is None
    with pytest.raises(UserError, match="no object is left to learn from"):
        fix(open_target(str(file)), tmp_path / "repaired", threads=1)
    assert not (tmp_path / "repaired").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_the_valid_set_of_each_format_is_sound(name: str, tmp_path: Path) -> None:
    path, _ = FORMATS[name](tmp_path / "set")
    result = check(open_target(str(path)), threads=1)
    assert result.exit_code(strict=name != "class-folders") == 0, result.report.sentences()
    assert sum(held.objects for held in result.splits.values()) == len(BOXES) * IMAGES


# ---- streams


Rows = tuple[list[list[list[float]]], dict[str, int]]


def read_both_ways(path: Path, run: Path) -> tuple[Rows | None, Rows | None]:
    """Boxes of each row and what was found in training, streamed and as a table; None where refused."""
    made: list[Rows | None] = []
    for is_streamed in (True, False):
        try:
            bundle = build_bundle(Data(dataset=str(path), streaming=is_streamed), run)
        except UserError:
            made.append(None)
            continue
        if bundle.stream is not None:
            rows = [bundle.stream.check(raw, place) for place, raw in enumerate(bundle.stream.rows)]
        else:
            rows = list(bundle.dataset["train"].remove_columns("image"))
        sources = json.loads((run / "data_report.json").read_text())["sources"]
        made.append(([row["objects"]["bbox"] for row in rows], next(iter(sources.values()))["counts"]))
    return made[0], made[1]


@settings(SETTINGS, max_examples=12)
@given(draw=st.data())
def test_a_stream_is_understood_as_its_table_is(draw: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        path, (file,) = streamed(folder / "set")
        for _ in range(draw.draw(st.integers(1, 2))):
            mutate_table(file, draw)
        stream, table = read_both_ways(path, folder / "run")
        assert (stream is None) == (table is None), f"only the {'stream' if table else 'table'} is refused"
        if stream is not None and table is not None:
            assert stream == table
    finally:
        shutil.rmtree(folder)
