"""Write small data sets by the tools of other formats, for the test that our doors read what these write.

    python tools/foreign_sets.py datumaro tests/data/foreign         # where datumaro is installed
    python tools/foreign_sets.py label_studio tests/data/foreign     # where label-studio-sdk is

The other way round, what these tools read of our own files, which `python -m tests.data.our_set` writes:

    python tools/foreign_sets.py datumaro tests/data/foreign --read  # the same for label_studio

The versions that these tools require exclude ours, so that each needs an environment of its own, and what it
wrote is kept: OUT/<tool>/<format>/, with the tool's version in OUT/<tool>/version.txt. OUT/truth.json says
what is in the three images of OUT/truth/images; OUT/truth/objects has, at the pixels whose centers are in an
object, its place in that list, from 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 48, 40
CLASSES = ["cat", "dog", "traffic light"]
TRUTH: dict[str, Any] = {  # of each object the class, x, y, width and height, or a polygon, in pixels
    "one.png": {
        "split": "train",
        "objects": [
            {"class": "cat", "box": [2.25, 3.5, 12.5, 9.75]},
            {"class": "dog", "polygon": [20, 4, 44, 4, 44, 14, 30, 14, 30, 20, 20, 20]},
            {"class": "traffic light", "polygon": [6.5, 22.25, 18.75, 24.5, 10, 36.75]},
        ],
    },
    "two 2.png": {  # a name with a space; its box ends where the image does
        "split": "val",
        "objects": [
            {"class": "dog", "box": [30, 10, 18, 30]},
            {"class": "dog", "polygon": [2.5, 2.5, 20.5, 5, 17.25, 30.75, 4, 20]},
        ],
    },
    "none.png": {"split": "train", "objects": []},
}


def polygon_of(found: dict[str, Any]) -> list[float]:
    """The outline of an object, also of one that is a box."""
    if "polygon" in found:
        return list(found["polygon"])
    x, y, w, h = found["box"]
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def box_of(found: dict[str, Any]) -> list[float]:
    """x, y, width and height, also of a polygon."""
    xs, ys = (polygon_of(found)[axis::2] for axis in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def mask_of(found: dict[str, Any]) -> NDArray[np.bool_]:
    """bool [HEIGHT, WIDTH]: the pixels whose centers are inside, by the even-odd rule."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    points = np.array(polygon_of(found), float).reshape(-1, 2)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside


def write_truth(out: Path) -> None:
    """truth.json, the images and their maps of objects."""
    draw_images(out / "truth" / "images")
    (out / "truth" / "objects").mkdir(exist_ok=True)
    (out / "truth.json").write_text(json.dumps(TRUTH, indent=1) + "\n")
    for name, found in TRUTH.items():
        objects = np.zeros((HEIGHT, WIDTH), np.uint8)
        for number, one in enumerate(found["objects"], start=1):
            objects[mask_of(one)] = number
        Image.fromarray(objects).save(out / "truth" / "objects" / name)


def draw_images(folder: Path) -> None:
    """The three images, each of its own, so that none doubles another."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, found) in enumerate(TRUTH.items(), start=1):
        pixels = np.full((HEIGHT, WIDTH, 3), 50 * number, np.uint8)
        for one in found["objects"]:
            pixels[mask_of(one)] = 40 * CLASSES.index(one["class"]) + 30
        Image.fromarray(pixels).save(folder / name)


# --- datumaro --------------------------------------------------------------------------------------------

DATUMARO: dict[str, tuple[str, str, dict[str, Any]]] = {  # the exporter, the shapes it is given, its options
    "coco": ("coco_instances", "drawn", {}),
    "coco_rle": ("coco_instances", "masks", {"segmentation_mode": "mask"}),
    "coco_panoptic": ("coco_panoptic", "masks", {}),
    "cvat": ("cvat", "drawn", {}),
    "yolo": ("yolo", "boxes", {}),
    "yolo_ultralytics": ("yolo_ultralytics", "boxes", {}),
    "voc": ("voc", "boxes and masks", {}),
    "voc_detection": ("voc_detection", "boxes", {}),
    "voc_segmentation": ("voc_segmentation", "masks", {}),
    "voc_instance_segmentation": ("voc_instance_segmentation", "masks", {}),
    "label_me": ("label_me", "drawn", {}),
    "camvid": ("camvid", "masks", {}),
    "cityscapes": ("cityscapes", "masks", {}),
}
COLORED = ("camvid", "cityscapes")  # which need the colors, and a background that has the first


def write_datumaro(images: Path, out: Path) -> None:
    """A set by each exporter of datumaro."""
    import datumaro as dm

    categories = {
        dm.AnnotationType.label: dm.LabelCategories.from_iterable(["background", *CLASSES]),
        dm.AnnotationType.mask: dm.MaskCategories.generate(1 + len(CLASSES)),
    }

    def shapes_of(found: dict[str, Any], kind: str, number: int, names: list[str]) -> list[Any]:
        label, group = names.index(found["class"]), number
        shared = {"label": label, "id": number, "group": group, "attributes": {"is_crowd": False}}
        if kind == "drawn" and "polygon" in found:
            return [dm.Polygon(found["polygon"], **shared)]
        box = dm.Bbox(*box_of(found), **shared)
        mask = dm.Mask(mask_of(found).astype(np.uint8), **shared)
        return {"drawn": [box], "boxes": [box], "masks": [mask], "boxes and masks": [box, mask]}[kind]

    for name, (exporter, kind, options) in DATUMARO.items():
        names = ["background", *CLASSES] if exporter in COLORED else CLASSES
        items = [
            dm.DatasetItem(
                id=Path(file).stem,
                subset=found["split"],
                media=dm.Image.from_file(path=str(images / "shared" / file)),
                annotations=[
                    shape
                    for number, one in enumerate(found["objects"], start=1)
                    for shape in shapes_of(one, kind, number, names)
                ],
            )
            for file, found in TRUTH.items()
        ]
        data = dm.Dataset.from_iterable(items, categories=categories if exporter in COLORED else CLASSES)
        data.export(str(out / name), exporter, save_media=True, **options)


# --- Label Studio ----------------------------------------------------------------------------------------


def write_label_studio(images: Path, out: Path) -> None:
    """Tasks as its importers and its brush encoder make them, and what its exporters make of these."""
    os.environ["LOCAL_FILES_DOCUMENT_ROOT"] = str(images)  # read on import
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.converter.imports.coco import convert_coco_to_ls

    with tempfile.TemporaryDirectory() as made:
        coco, tasks_file = Path(made, "coco.json"), Path(made, "tasks.json")
        coco.write_text(json.dumps(_coco()))
        convert_coco_to_ls(str(coco), str(tasks_file), image_root_url="/data/local-files/?d=shared")
        tasks = json.loads(tasks_file.read_text())
        for number, task in enumerate(tasks, start=1):  # which the server gives
            task["id"] = task["annotations"][0]["id"] = number
        tasks_file.write_text(json.dumps(tasks))
        config = Path(made, "tasks.label_config.xml").read_text()
        for kind in ("JSON", "COCO_WITH_IMAGES", "YOLO_WITH_IMAGES", "VOC"):
            folder = out / kind.removesuffix("_WITH_IMAGES").lower()
            converter = Converter(config, project_dir=made, download_resources=True)
            converter.convert(str(tasks_file), str(folder), kind, is_dir=False)
            if kind == "JSON":
                shutil.copytree(images / "shared", folder, dirs_exist_ok=True)
        _write_brush(images / "shared", out / "brush", Path(made))


def _coco() -> dict[str, Any]:
    """What the importer takes: a box or an outline, as with both it makes two regions."""
    annotations = [
        {"category_id": CLASSES.index(one["class"]), "image_id": number}
        | ({"segmentation": [one["polygon"]]} if "polygon" in one else {"bbox": one["box"]})
        for number, found in enumerate(TRUTH.values())
        for one in found["objects"]
    ]
    return {
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
        "images": [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(TRUTH)
        ],
        "annotations": [{"id": number, **one} for number, one in enumerate(annotations)],
    }


def _write_brush(images: Path, folder: Path, made: Path) -> None:
    """Brush masks, each encoded by Label Studio's own code."""
    from label_studio_sdk.converter.brush import image2annotation

    shutil.copytree(images, folder)
    tasks = []
    for number, (name, found) in enumerate(TRUTH.items(), start=1):
        results = []
        for one in found["objects"]:
            Image.fromarray(mask_of(one)).convert("L").save(made / "mask.png")
            results += image2annotation(str(made / "mask.png"), one["class"], "tag", "image")["result"]
        tasks.append(
            {"id": number, "data": {"image": f"/data/upload/1/{name}"}, "annotations": [{"result": results}]}
        )
    (folder / "project.json").write_text(json.dumps(tasks))


# --- what they read of ours ------------------------------------------------------------------------------


def read_datumaro(ours: Path) -> dict[str, Any]:
    """By file, image and object: what datumaro makes of our CVAT XML and of our COCO file."""
    import datumaro as dm

    found = {}
    for name, file, folder in (("cvat", "annotations.xml", ""), ("coco_instances", "", "annotations")):
        with tempfile.TemporaryDirectory() as made:
            source = file or "instances_default.json"
            Path(made, folder).mkdir(exist_ok=True)
            shutil.copy(ours / source, Path(made, folder, source))
            for image in json.loads((ours / "instances_default.json").read_text())["images"]:
                path = Path(made, "images" if file else "images/default", image["file_name"])
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (image["width"], image["height"])).save(path)
            data = dm.Dataset.import_from(made, name)
            labels = data.categories()[dm.AnnotationType.label]
            found[name] = {
                item.id: [
                    {
                        "class": labels[one.label].name,
                        "type": one.type.name,
                        "box": [round(value, 3) for value in one.get_bbox()],
                        "points": [round(value, 3) for value in one.points],
                        "score": float(one.attributes["score"]),
                    }
                    for one in item.annotations
                ]
                for item in data
            }
    return found


def read_label_studio(ours: Path) -> dict[str, Any]:
    """What its labeling interface says against our predictions, and what its COCO export makes of them."""
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.label_interface import LabelInterface

    found = {}
    for kind in ("box", "polygon"):
        config = (ours / f"{kind}_label_config.xml").read_text()
        interface = LabelInterface(config)
        interface.validate()
        tasks = json.loads((ours / f"{kind}_tasks.json").read_text())
        errors = [interface.validate_prediction(task["predictions"][0], return_errors=True) for task in tasks]
        for number, task in enumerate(tasks, start=1):  # as where somebody submits them unchanged
            results = task.pop("predictions")[0]["result"]
            task["id"], task["annotations"] = number, [{"id": number, "result": results}]
        with tempfile.TemporaryDirectory() as made:
            Path(made, "tasks.json").write_text(json.dumps(tasks))
            converter = Converter(config, project_dir=made, download_resources=False)
            converter.convert(str(Path(made, "tasks.json")), str(Path(made, "out")), "COCO", is_dir=False)
            coco = json.loads(Path(made, "out/result.json").read_text())
        names = {one["id"]: one["name"] for one in coco["categories"]}
        found[kind] = {
            "errors": errors,
            "objects": [
                {
                    "class": names[one["category_id"]],
                    "image": one["image_id"],
                    "box": one["bbox"],
                    "points": [value for part in one["segmentation"] for value in part],
                }
                for one in coco["annotations"]
            ],
        }
    return found


READERS = {"datumaro": read_datumaro, "label_studio": read_label_studio}
TOOLS = {"datumaro": ("datumaro", write_datumaro), "label_studio": ("label-studio-sdk", write_label_studio)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("out", type=Path, help="the folder; what the tool wrote there before is replaced")
    parser.add_argument("--read", action="store_true", help="write OUT/ours/TOOL.json instead")
    arguments = parser.parse_args()
    distribution, write = TOOLS[arguments.tool]
    if arguments.read:
        ours = arguments.out / "ours"
        facts = {"version": f"{distribution} {version(distribution)}", **READERS[arguments.tool](ours)}
        (ours / f"{arguments.tool}.json").write_text(json.dumps(facts, indent=1) + "\n")
        return
    out = arguments.out.resolve() / arguments.tool
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_truth(out.parent)
    (out / "version.txt").write_text(f"{distribution} {version(distribution)}\n")
    with tempfile.TemporaryDirectory() as images:
        draw_images(Path(images, "shared"))
        write(Path(images), out)


if __name__ == "__main__":
    main()
