"""YOLO data sets for tests, and what is read of them."""

from pathlib import Path

from PIL import Image

from detr_hf.data.sample import Sample
from detr_hf.data.sources import open_place, yolo
from detr_hf.data.sources.base import Opened, Place

WIDTH, HEIGHT = 200, 100


BOX = "0 0.5 0.5 0.25 0.5"


BOX_PX = [75.0, 25.0, 50.0, 50.0]


YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"


def image(path: Path, size=(WIDTH, HEIGHT), orientation: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", size, (30, 90, 60)).save(path, exif=exif)
    return path


def text(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def labeled(root: Path, name: str, lines: str | None = BOX) -> None:
    """An image with its labels in Ultralytics' layout."""
    image(root / name)
    if lines is not None:
        label = name.replace("images/", "labels/", 1) if name.startswith("images/") else name
        text((root / label.replace("/images/", "/labels/")).with_suffix(".txt"), lines)


def ultralytics(root: Path, config: str = YAML) -> Path:
    labeled(root, "images/train/a.jpg")
    labeled(root, "images/val/b.jpg", "1 0.1 0.1 0.1 0.1")
    text(root / "data.yaml", config)
    return root


def opened(path: Path, images: Path | None = None) -> Opened:
    assert yolo.detect(path)
    return open_place(Place(path, str(path), images=images), yolo.FORMAT)[1]


def samples(path: Path, split: str = "train", images: Path | None = None) -> list[Sample]:
    source = opened(path, images).splits[split]
    found = list(source.samples())
    assert len(found) == len(source)
    return found


def codes(path: Path, images: Path | None = None) -> list[str]:
    """Of the data set and of all its samples."""
    found = []
    for source in opened(path, images).splits.values():
        found += [issue.code for issue in source.issues()]
        found += [issue.code for sample in source.samples() for issue in sample.issues]
    return found
