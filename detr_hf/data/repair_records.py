"""Step `repair`: every sample of a source opened, repaired and hashed, one line of JSON each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.data.boxes import BoxFormat
from detr_hf.data.issues import Issue
from detr_hf.data.records import Record, issues_to_lists, record_values, to_line
from detr_hf.data.repair import Repair, Repaired
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Source
from detr_hf.data.sources.splits import role_of
from detr_hf.errors import UserError
from detr_hf.files import write_bytes


def split_samples(splits: Mapping[str, Source]) -> Iterator[tuple[str, Sample]]:
    """Every sample with the name of its split; of several splits, under names that begin with it."""
    for split, source in splits.items():
        for sample in source.samples():
            yield split, sample if len(splits) == 1 else _below(split, sample)


def _below(split: str, sample: Sample) -> Sample:
    name = f"{split}/{sample.file_name}"
    issues = (replace(one, file=name) if one.file == sample.file_name else one for one in sample.issues)
    return replace(sample, file_name=name, issues=tuple(issues))


def about_source(splits: Mapping[str, Source], formats: Mapping[str, BoxFormat]) -> dict[str, Any]:
    """The issues and the categories of a source as a whole, as plain JSON.

    Raises:
        UserError: nothing can be done about one of the issues.
    """
    issues = [issue for source in splits.values() for issue in source.issues()]
    issues += [found.issue for found in formats.values() if found.issue is not None]
    for issue in issues:
        if issue.kind.effect == "stops":
            raise UserError(f"{', '.join(source.name for source in splits.values())}: {issue}")
    categories = [entry for source in splits.values() for entry in source.categories()]
    return {"issues": issues_to_lists(issues), "categories": categories}


@dataclass(frozen=True)
class RecordRepair:
    """From a sample to its line; picklable."""

    root: Path  # the source's folder
    kept: Path  # folder for images and id maps that are no files of the source
    repairs: Mapping[str, Repair]  # by the name of the split
    drops_empty: bool = False  # whether images without objects are left out

    def __call__(self, item: tuple[str, Sample]) -> str:
        """The line of a split's sample; never raises for what is wrong with it."""
        split, sample = item
        made = self.repairs[split](sample)
        issues = made.issues
        record = None
        if made.sample is not None:
            if made.sample.id_map is None:
                shapeless = (found for found in made.sample.objects if found.segmentation is None)
                issues += [Issue("rectangle", found.where, sample.file_name) for found in shapeless]
            if self.drops_empty and not made.sample.objects:
                issues = [
                    replace(one, code="empty-dropped") if one.code == "no-objects" else one for one in issues
                ]
            else:
                record = self._record((role_of(split) or split) if len(self.repairs) > 1 else "", made)
        values = None if record is None else record_values(record)
        return to_line({"file": sample.file_name, "record": values, "issues": issues_to_lists(issues)})

    def _record(self, split: str, made: Repaired) -> Record:
        sample, facts = made.sample, made.facts
        assert sample is not None and facts is not None and facts.pixels is not None
        id_map = sample.id_map
        assert not callable(id_map), "repair has made its bytes"
        return Record(
            image=self._path(sample.image, PurePosixPath(sample.file_name).suffix),
            file_name=sample.file_name,
            image_id=0,
            objects=sample.objects,
            id_map=None if id_map is None else self._path(id_map, ".png"),
            size_hw=facts.size_hw,
            sha256=facts.sha256,
            dhash=difference_hash(facts.pixels),
            split=split,
        )

    def _path(self, content: Path | bytes | None, suffix: str) -> Path:
        """Relative to the source's folder where it lies in it; bytes become a file that is kept."""
        assert content is not None, "without an image there is no record"
        if isinstance(content, bytes):
            file = self.kept.absolute() / f"{sha256(content).hexdigest()}{suffix[:10]}"
            if not file.is_file():
                write_bytes(file, content)
            return file
        path, root = os.path.abspath(content), os.path.abspath(self.root)
        below = path.startswith(root + os.sep)
        return Path(os.path.relpath(path, root) if below else path)


def difference_hash(image: NDArray[np.uint8]) -> str:
    """64-bit difference hash of an image uint8[H, W, 3], as 16 hex digits.

    Gray, shrunk to 9 x 8; a bit says whether a pixel is brighter than its left neighbor (after
    https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html).
    """
    gray = Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.BOX)
    levels = np.asarray(gray).astype(int)
    return np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes().hex()
