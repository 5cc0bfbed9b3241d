"""COCO files for tests, with their images, and what is read of them."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sources import coco
from detr_hf.data.sources.base import Place, Source
from detr_hf.recipe.prepare import Reading

Content = dict[str, Any]


def content(images: int = 2) -> Content:
    """Images `1.jpg`, `2.jpg`, ... of 64 x 48, each with a cat and a dog; the dog's id is 3."""
    listed = [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in range(1, images + 1)]
    boxes = ({"category_id": 1, "bbox": [2, 3, 20, 10]}, {"category_id": 3, "bbox": [30, 20, 10, 12]})
    found = [
        {"id": 10 * image["id"] + at, "image_id": image["id"], "area": 9, "iscrowd": 0, **box}
        for image in listed
        for at, box in enumerate(boxes)
    ]
    return {
        "images": listed,
        "annotations": found,
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
    }


def write_images(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(folder / name)


def write(path: Path, what: Content | str, images: str | None = "images") -> Path:
    """The JSON, and its images in a folder beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    if images is not None and not isinstance(what, str):
        names = [one["file_name"] for one in what["images"] if isinstance(one, dict)]
        write_images(path.parent / images, [name for name in names if isinstance(name, str)])
    return path


def opened(path: Path, split: str = "train", **reading: Any) -> Source:
    return coco.open_splits(Place(path, "data", reading=Reading(**reading))).splits[split]


def samples(path: Path, **reading: Any) -> list[Sample]:
    return list(opened(path, **reading).samples())


def changed(tmp_path: Path, change: Callable[[Content], Any], images: int = 2) -> Source:
    """The data with one thing changed; its images are those of the unchanged data."""
    data = content(images)
    path = write(tmp_path / "data.json", data)
    change(data)
    path.write_text(json.dumps(data).replace('"DIGITS"', "9" * 5000))
    return opened(path)


def codes(issues: Iterable[Issue]) -> dict[str, int]:
    return dict(Counter(issue.code for issue in issues))


def all_issues(source: Source) -> list[Issue]:
    return [*source.issues(), *(issue for sample in source.samples() for issue in sample.issues)]
