"""Formats that are known and not read: how each is recognized, and what makes COCO of it.

The commands are those of panlabel 0.7 (https://docs.rs/crate/panlabel/, boxes alone) and datumaro 1.13
(https://github.com/open-edge-platform/datumaro). Neither is imported here: datumaro holds all annotations in
memory, does not name the file it fails at, and needs older libraries than ours, hence an
environment of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detr_hf.data.sources.base import head_of

DEEPEST = 3  # folders below the path whose names are looked at
MOST_NAMES = 5000
MOST_HEADS = 8  # files whose beginning is looked at
NEVER = "(?!)"  # a pattern that matches nothing
_TEXT = (".json", ".ndjson", ".jsonl", ".csv", ".manifest")


def _panlabel(name: str) -> str:
    command = f"panlabel convert --from {name} --to coco -i ... -o coco.json"
    return f"`pip install panlabel` and `{command}` make COCO of its boxes"


def _datum(name: str) -> str:
    command = f"datum convert -i ... -if {name} -f coco_instances -o OUT -- --save-media"
    return f"in an environment of its own, `pip install 'datumaro[cli]'` and `{command}` make COCO of it"


@dataclass(frozen=True)
class Format:
    """A format that no door opens.

    Attributes:
        title: for people.
        remedy: how it becomes one that is read.
        names: matches the path of one of its files, "/"-separated and in lower case.
        head: matches the beginning of one of its text files; with ``names``, one of both will do.
    """

    title: str
    remedy: str
    names: str = NEVER
    head: str = NEVER


FORMATS = (  # in the order in which they are tried
    Format("a KITTI folder", _datum("kitti_detection"), r"(^|/)label_2/[^/]+\.txt$"),
    Format("Open Images", _datum("open_images"), r"-annotations-bbox\.csv$", r"^ImageID,Source,LabelName"),
    Format("a MOT sequence", _datum("mot_seq"), r"(^|/)gt/gt\.txt$"),
    Format(
        "Mapillary Vistas",
        _datum("mapillary_vistas_instances"),
        r"(^|/)config_v[12]\.\d\.json$|(^|/)v[12]\.\d/(labels|instances|polygons|panoptic)(/|$)",
    ),
    Format(
        "a project of VGG Image Annotator (VIA)",
        f"its menu Annotation exports COCO; or {_panlabel('via')}",
        r"(^|/)via_(region_data|project)[^/]*\.(json|csv)$",
        r'"_via_img_metadata"|"shape_attributes"|region_shape_attributes',
    ),
    Format("a set of TFRecord files", _panlabel("tfrecord"), r"\.(tfrecords?|record)(-\d+-of-\d+)?$"),
    Format(
        "CreateML JSON",
        _panlabel("create-ml"),
        r"\.createml\.json$",
        r'(?s)"coordinates"\s*:\s*\{.*"(x|y|width|height)"',
    ),
    Format("an export of Labelbox", _panlabel("labelbox"), head=r'"data_row"\s*:'),
    Format(
        "Label Studio's JSON-MIN",
        "export JSON from the same menu",
        head=r'"(rectangle|polygon|brush)labels"\s*:',
    ),
    Format(
        "a Supervisely project",
        _panlabel("supervisely"),
        r"(^|/)ann/[^/]+\.(jpe?g|png|bmp|webp|tiff?)\.json$",
        r'"classTitle"\s*:',
    ),
    Format(
        "an export of VoTT",
        _panlabel("vott-json"),
        r"\.vott$|(^|/)vott-json-export(/|$)",
        r'(?s)"assets"\s*:.*"boundingBox"',
    ),
    Format("datumaro's own format", _datum("datumaro"), head='"dm_format_version"'),
    Format("BDD100K or Scalabel JSON", _panlabel("bdd100k"), head=r'"box2d"\s*:'),
    Format("V7's Darwin JSON", _panlabel("v7-darwin"), head=r'darwin_json|"item"\s*:\s*\{(?s:.*)"slots"'),
    Format("SuperAnnotate JSON", _panlabel("superannotate"), head=r'"className"\s*:'),
    Format("WIDER FACE", _datum("wider_face"), r"(^|/)wider_face_[^/]*bbx_gt\.txt$"),
    Format("a SageMaker manifest", _panlabel("sagemaker"), head=r'"source-ref"\s*:'),
    Format("TensorFlow's object detection CSV", _panlabel("tfod"), head="^filename,width,height,class,xmin"),
    Format(
        "a set of pickle files",
        "they are never opened, as reading one may run what it holds; export COCO where they were made",
        r"\.(pkl|pickle)$",
    ),
    Format("an archive", "unpack it, and give the folder", r"^[^/]+\.(zip|tar|tgz|tar\.\w+|7z|rar)$"),
)


def known_format(path: Path) -> Format | None:
    """The unsupported format that a file or folder has; never raises, reads names and a few beginnings."""
    names = list(_names_at(path))
    for one in FORMATS:
        if any(re.search(one.names, name.lower()) for name in names):
            return one
    heads = list(_heads(path, names))
    return next((one for one in FORMATS if any(re.search(one.head, head) for head in heads)), None)


def _names_at(path: Path) -> Iterator[str]:
    """Files below a folder by their relative path; the name of a file."""
    if not path.is_dir():
        yield path.name
        return
    count = 0
    for parent, folders, names in os.walk(path):
        below = Path(parent).relative_to(path)
        folders[:] = sorted(folders) if len(below.parts) < DEEPEST else []
        for name in sorted(names):
            yield (below / name).as_posix()
            count += 1
            if count >= MOST_NAMES:
                return


def _heads(path: Path, names: list[str]) -> Iterator[str]:
    """The beginnings of the text files nearest to the root."""
    texts = [name for name in names if name.lower().endswith(_TEXT)]
    for name in sorted(texts, key=lambda one: (one.count("/"), one))[:MOST_HEADS]:
        yield head_of(path / name if path.is_dir() else path).decode("utf-8-sig", "replace")
