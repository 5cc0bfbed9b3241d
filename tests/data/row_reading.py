"""Rows as training reads them, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detr_hf.data.open_data import open_data
from detr_hf.data.reading import read_source
from detr_hf.data.report import Report
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.recipe import Data, Split

Content = dict[str, Any]


def read(split: Split) -> tuple[list[dict[str, Any]], Report]:
    source = open_data(Data(train=split)).splits["train"]
    rows, report = read_source(source, LabelMap.from_coco(source.categories()))
    columns = [name for name in rows.column_names if name not in ("image", "panoptic")]
    return rows.select_columns(columns).to_list(), report


def message_of(split: Split) -> str:
    with pytest.raises(UserError) as caught:
        read(split)
    return str(caught.value)


def turn_by_exif(path: Path) -> None:
    """Store the image lying on its side, with the tag (6: turn right) that sets it upright."""
    with Image.open(path) as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.rotate(90, expand=True).save(path, exif=exif, quality=95)
