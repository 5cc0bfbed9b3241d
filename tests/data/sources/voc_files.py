"""Pascal VOC data sets for tests, and what is read of them."""

from pathlib import Path
from typing import Any

from PIL import Image

from detr_hf.data.sample import Sample
from detr_hf.data.sources import open_place, voc
from detr_hf.data.sources.base import Opened, Place
from detr_hf.recipe.prepare import Reading

BOX = (10, 12, 30, 40)


def box_xml(name: str = "cat", box: tuple[Any, ...] = BOX, more: str = "") -> str:
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox>{more}</object>"


def xml(*objects: str, filename: str = "", size: str = "64,48", database: str = "Unknown") -> str:
    width, height = size.split(",")
    return (
        f"<annotation><filename>{filename}</filename><source><database>{database}</database></source>"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{''.join(objects)}</annotation>"
    )


def write(folder: Path, files: dict[str, str | None]) -> Path:
    """Images where the content is None, else text."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            Image.new("RGB", (64, 48)).save(path)
        else:
            path.write_text(content)
    return folder


def opened(folder: Path, **reading: Any) -> Opened:
    return open_place(Place(folder, "data", reading=Reading(**reading)), voc.FORMAT)[1]


def only(folder: Path, split: str = "train", **reading: Any) -> Sample:
    (sample,) = opened(folder, **reading).splits[split].samples()
    return sample


def one_image(folder: Path, content: str) -> Sample:
    return only(write(folder, {"Annotations/a.xml": content, "JPEGImages/a.jpg": None}))


def codes(sample: Sample) -> list[str]:
    return [issue.code for issue in sample.issues]
