"""Valid sets in tables, Parquet and saved by `datasets`, and what can be wrong with the values of a row."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from datasets.table import InMemoryTable
from hypothesis import strategies as st
from PIL import Image

from tests.data.valid_sets import BOXES, SIZE_WH, images

OBJECTS = {
    "bbox": List(List(Value("float64"))),
    "category": List(ClassLabel(names=list(BOXES))),
    "area": List(Value("float64")),
    "iscrowd": List(Value("bool")),
}
FEATURES = {
    "image": datasets.Image(),
    "image_id": Value("int64"),
    "file_name": Value("string"),
    "width": Value("int64"),
    "height": Value("int64"),
    "objects": OBJECTS,
}
NAN = float("nan")
ODD_BOXES = [
    *(
        [NAN, 6, 20, 18],
        [5, 6, float("inf"), 18],
        [-4, -3, 20, 18],
        [5, 6, 25, 24],
        [5, 6, 0, 18],
        [5, 6, -2, 9],
    ),
    *([60, 40, 30, 30], [900, 900, 5, 5], [0.1, 0.1, 0.3, 0.4], [5, 6, 20], [], None, [None, 6, 20, 18]),
]
ODD: dict[str, list[Any]] = {
    "category": [99, -1, 1, None],
    "area": [NAN, -1.0, 0.0, 1e300, None],
    "iscrowd": [True, None],
    "image_id": [None, 0, 1, -5],
    "file_name": [None, "", "../a.png", "p1.png", "a/b.png", "x" * 400],
    "width": [None, 0, -1, 65, 128, 48],
    "height": [None, 0, 96, 64],
}
LISTS = ("bbox", "category", "area", "iscrowd")
Rows = list[dict[str, Any]]


def valid_rows(folder: Path) -> Rows:
    rows = []
    for at, path in enumerate(images(folder)):
        objects = {
            "bbox": [[float(value) for value in box] for box in BOXES.values()],
            "category": list(range(len(BOXES))),
            "area": [float(box[2] * box[3]) for box in BOXES.values()],
            "iscrowd": [False] * len(BOXES),
        }
        size = {"width": SIZE_WH[0], "height": SIZE_WH[1]}
        image = {"bytes": path.read_bytes(), "path": None}
        rows.append({"image": image, "image_id": 7 + at, "file_name": path.name, **size, "objects": objects})
    shutil.rmtree(folder)
    return rows


def write_table(path: Path, rows: Rows, features: Features) -> None:
    """As it is, whatever the values: `datasets` itself refuses classes out of range."""
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
    if path.suffix == ".parquet":
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        return
    shutil.rmtree(path, ignore_errors=True)
    datasets.disable_progress_bars()
    DatasetDict({"train": Dataset(InMemoryTable(table))}).save_to_disk(path)


def read_table(path: Path) -> tuple[Rows, Features]:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
    else:
        table = datasets.load_from_disk(str(path))["train"].data.table
    return table.to_pylist(), Features.from_arrow_schema(table.schema)


def parquet(folder: Path) -> tuple[Path, list[Path]]:
    file = folder / "data" / "train-00000-of-00001.parquet"
    write_table(file, valid_rows(folder / "raw"), Features(FEATURES))
    return folder, [file]


def streamed(folder: Path) -> tuple[Path, list[Path]]:
    """Parquet with the validation split that a stream must have; its images are others."""
    path, files = parquet(folder)
    rows = valid_rows(folder / "raw")
    for at, row in enumerate(rows):
        stream = BytesIO()
        Image.new("RGB", SIZE_WH, (10 * at, 200, 0)).save(stream, "PNG")
        row["image"]["bytes"], row["file_name"] = stream.getvalue(), f"v{at}.png"
    write_table(folder / "data" / "validation-00000-of-00001.parquet", rows, Features(FEATURES))
    return path, files


def saved(folder: Path) -> tuple[Path, list[Path]]:
    write_table(folder, valid_rows(folder.with_name("raw")), Features(FEATURES))
    return folder, [folder]


TABLES: dict[str, Callable[[Path], tuple[Path, list[Path]]]] = {"parquet": parquet, "hf": saved}


def mutate_table(path: Path, draw: st.DataObject) -> None:
    """One value, one column, or one mistake in all boxes."""
    rows, features = read_table(path)
    what = draw.draw(st.sampled_from(["box", "value", "value", "list", "image", "column", "all boxes"]))
    row = draw.draw(st.sampled_from(rows))
    objects = row.get("objects") or {}
    lists = [name for name in LISTS if objects.get(name)]
    if what == "column":
        _drop_column(rows, features, draw)
    elif what == "image":
        content = (row["image"] or {}).get("bytes") or b""
        odd = [None, {"bytes": content[:300], "path": None}, {"bytes": b"no image", "path": None}]
        elsewhere = (
            [{"bytes": None, "path": "../a.png"}] if path.suffix == ".parquet" else []
        )  # else embedded
        row["image"] = draw.draw(st.sampled_from(odd + elsewhere))
    elif what == "box" and "bbox" in lists:
        objects["bbox"][draw.draw(st.integers(0, len(objects["bbox"]) - 1))] = draw.draw(
            st.sampled_from(ODD_BOXES)
        )
    elif what == "all boxes":
        _change_all(rows, draw.draw(st.booleans()))
    elif what == "list" and lists:
        name = draw.draw(st.sampled_from(lists))
        odd = [None, [], objects[name][:1], [*objects[name], objects[name][0]]]
        objects[name] = draw.draw(st.sampled_from(odd))
    else:
        name = draw.draw(st.sampled_from(sorted({*ODD} & {*row, *lists})))
        value = draw.draw(st.sampled_from(ODD[name]))
        if name in row:
            row[name] = value
        else:
            objects[name][0] = value
    write_table(path, rows, features)


def _drop_column(rows: Rows, features: Features, draw: st.DataObject) -> None:
    inner = features.get("objects", {})
    name = draw.draw(st.sampled_from(sorted([*features, *inner])))
    features.pop(name, None) if name in features else inner.pop(name)
    for row in rows:
        for holder in (row, row.get("objects") or {}):
            holder.pop(name, None)


def _change_all(rows: Rows, to_shares: bool) -> None:
    """Corners, or shares of the image."""
    for row in rows:
        objects = row.get("objects") or {}
        objects["bbox"] = [_changed(box, to_shares) for box in objects.get("bbox") or []]


def _changed(box: Any, to_shares: bool) -> Any:
    if not box or len(box) != 4 or None in box:
        return box
    x, y, w, h = box
    width, height = SIZE_WH
    return [x / width, y / height, w / width, h / height] if to_shares else [x, y, x + w, y + h]
