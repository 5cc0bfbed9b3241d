"""A sample's id map: its file's content, and its segments as masks of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from detr_hf.data.repair_objects import encoded_mask
from detr_hf.data.sample import Sample
from detr_hf.foreign_files import read_bytes
from detr_hf.images import MAX_FILE_BYTES, decode_id_map


def id_map_bytes(sample: Sample) -> bytes:
    """The PNG of a sample that has an id map.

    Raises:
        UserError: it cannot be read.
    """
    content = sample.id_map
    assert content is not None
    if isinstance(content, Path):
        return read_bytes(content, MAX_FILE_BYTES, "PNG file")
    return content if isinstance(content, bytes) else content()


def with_masks(sample: Sample) -> Sample:
    """The sample without its id map, whose segments have their masks as run lengths; any other as it is."""
    if sample.id_map is None:
        return sample
    id_map = decode_id_map(id_map_bytes(sample), f"PNG of {sample.file_name}")
    objects = [replace(one, segmentation=encoded_mask(id_map == one.id)) for one in sample.objects]
    return replace(sample, objects=objects, id_map=None)
