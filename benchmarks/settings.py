"""What can be set from the command line; every case reads the part that it needs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes of the work.

    Attributes:
        images: in a batch (steps, criterion, targets); inference and merge take one.
        size: height and width in pixels of every image, so that no batch has padding.
        queries: of the model.
        objects: in each image; repeated when there are more images.
        backbone: a timm name.
        threads: of torch, in each process.
        repeats: timed runs of each side, after the one that warms up and measures memory; an epoch is timed
            once.
        kept: queries kept at inference, and masks to merge.
        pictures: in an epoch of the batching case, of mixed shape; a multiple of ``images``.
        short_edge: of these, in pixels.
        mask_chunk: our bound on queries that pass the mask head at once.
        seed: of weights and data.
        device: where the work is done.
        precision: "fp32", "tf32", "bf16" or "fp16"; half precision under autocast.
        compiled: torch.compile of backbone and encoder.
        channels_last: weights and images of the backbone in that memory format.
    """

    images: int = 2
    size: tuple[int, int] = (480, 640)
    queries: int = 100
    objects: tuple[int, ...] = (5, 6)
    backbone: str = "resnet50"
    threads: int = 2
    repeats: int = 3
    kept: int = 10
    pictures: int = 20
    short_edge: int = 400
    mask_chunk: int = 16
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    compiled: bool = False
    channels_last: bool = False

    @property
    def objects_of_images(self) -> list[int]:
        """Number of objects of each image of the batch."""
        return [self.objects[image % len(self.objects)] for image in range(self.images)]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag for each setting, with its default."""
    default = Settings()
    for name, what in (
        ("images", "images in a batch"),
        ("queries", "queries of the model"),
        ("threads", "torch threads of each process"),
        ("repeats", "timed runs of each side"),
        ("kept", "queries kept at inference, masks to merge"),
        ("pictures", "images in an epoch of the batching case"),
        ("short-edge", "of these images, in pixels"),
        ("mask-chunk", "our bound on queries in the mask head at once"),
        ("seed", "of weights and data"),
    ):
        value = getattr(default, name.replace("-", "_"))
        kind = _count if name != "seed" else int
        parser.add_argument(f"--{name}", type=kind, default=value, help=f"{what} (default: {value})")
    parser.add_argument(
        "--size", type=_size, default=default.size, metavar="HxW", help="of the images (default: 480x640)"
    )
    parser.add_argument(
        "--objects", type=_counts, default=default.objects, metavar="N,N", help="an image (default: 5,6)"
    )
    parser.add_argument("--backbone", default=default.backbone, help="timm name (default: resnet50)")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings among parsed flags; those without a flag as they are by default."""
    chosen = vars(arguments)
    return Settings(**{name: chosen[name] for name in Settings.__dataclass_fields__ if name in chosen})


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    return _count(height), _count(width)
