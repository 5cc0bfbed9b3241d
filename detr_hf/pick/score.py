"""Scoring: each image once through the model, unless its file of scores has it already."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.duplicates import Fingerprint
from detr_hf.data.repair_records import difference_hash
from detr_hf.errors import UserError
from detr_hf.files import sha256_of
from detr_hf.images import look_at_image
from detr_hf.pick.doubt import doubt_about
from detr_hf.pick.images import PoolImage
from detr_hf.pick.scores import Scored, ScoreFile
from detr_hf.progress import progress

if TYPE_CHECKING:
    from detr_hf.inference import Predictor
    from detr_hf.inference.device import Precision

MODEL_FILES = ("*.json", "*.safetensors", "*.bin")


@dataclass(frozen=True)
class Model:
    """The model that looks, loaded when there is an image to look at.

    Attributes:
        source: a folder or Hub id.
        batch_size: images in one pass.
        device, precision: see ``Predictor``.
    """

    source: str
    batch_size: int = 1
    device: str | None = None
    precision: Precision = "fp32"

    def predictor(self) -> Predictor:
        """Loaded once.

        Raises:
            UserError: see ``Predictor.from_pretrained``.
        """
        return _loaded(self.source, self.device, self.precision)

    @cached_property
    def key(self) -> str:
        """What tells the model, whatever it is called: of a folder by its files, else by the weights."""
        digest = hashlib.sha256(self.precision.encode())
        folder = Path(self.source)
        if folder.is_dir():
            for file in sorted(file for pattern in MODEL_FILES for file in folder.glob(pattern)):
                digest.update(f"{file.name} {sha256_of(file)}\n".encode())
            return digest.hexdigest()
        for name, tensor in self.predictor().task.model.state_dict().items():
            digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
        return digest.hexdigest()


@cache
def _loaded(source: str, device: str | None, precision: Precision) -> Predictor:
    from detr_hf.inference import Predictor

    return Predictor.from_pretrained(source, None, device, precision)


def score_images(
    images: Sequence[PoolImage], model: Model, file: Path, mirrored: bool, what: str
) -> tuple[list[Scored | None], dict[int, str]]:
    """The scores of images, in order.

    Args:
        images: to be scored; those that ``file`` has are not read again.
        model: that looks at them.
        file: of scores, for this model; see ``ScoreFile``.
        mirrored: look at each a second time, flipped, for the measure "flips".
        what: word before the progress bar.

    Returns:
        a score, or None where the image cannot be read; and why, by the place in ``images``.

    Raises:
        UserError: the model cannot be loaded, or the file cannot be written.
    """
    failures: dict[int, str] = {}
    with ScoreFile(file, model.key) as scores:
        missing = [at for at, image in enumerate(images) if image.key not in scores.known]
        if missing:
            ahead: deque[_Read] = deque()
            pixels = _readable(images, progress(missing, len(missing), what), failures, ahead)
            for image, scored in _looked_at(model, pixels, ahead, mirrored):
                scores.add(image.key, scored)
        return [scores.known.get(image.key) for image in images], failures


_Read = tuple[PoolImage, Fingerprint]


def _readable(
    images: Sequence[PoolImage], places: Iterable[int], failures: dict[int, str], ahead: deque[_Read]
) -> Iterator[NDArray[np.uint8]]:
    """The pixels of the images that can be read, and in ``ahead`` what else is known of them."""
    for at in places:
        try:
            facts = look_at_image(images[at].source, images[at].place)
        except UserError as error:
            failures[at] = str(error)
            continue
        assert facts.pixels is not None, "they were asked for"
        ahead.append((images[at], Fingerprint(facts.sha256, difference_hash(facts.pixels))))
        yield facts.pixels


def _looked_at(
    model: Model, pixels: Iterator[NDArray[np.uint8]], ahead: deque[_Read], mirrored: bool
) -> Iterator[tuple[PoolImage, Scored]]:
    from detr_hf.inference.queries import image_queries

    predictor = model.predictor()
    names = list(predictor.labels.names)
    for found in image_queries(predictor, pixels, model.batch_size, mirrored):
        image, fingerprint = ahead.popleft()
        yield image, Scored(fingerprint, doubt_about(found, names), found.embedding.astype(np.float16))
