"""Pascal VOC's segmentation: two PNGs of an image as one id map."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.repair import Repair
from detr_hf.data.sources import detect, voc_panoptic
from detr_hf.data.sources.base import Place, Source
from detr_hf.data.sources.class_maps import voc_color
from detr_hf.data.sources.voc_panoptic import VOC_CLASSES, VOID
from detr_hf.errors import UserError
from detr_hf.images import decode_id_map

HW = (48, 64)
CAT, DOG = VOC_CLASSES.index("cat"), VOC_CLASSES.index("dog")
PALETTE = [value for number in range(256) for value in voc_color(number)]


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Two cats and a dog, with the void border around one of them."""
    classes, objects = np.zeros(HW, np.uint8), np.zeros(HW, np.uint8)
    for number, (rows, columns, class_) in enumerate(
        (((2, 12), (3, 23), CAT), ((20, 30), (3, 23), CAT), ((30, 45), (40, 60), DOG)), start=1
    ):
        classes[slice(*rows), slice(*columns)], objects[slice(*rows), slice(*columns)] = class_, number
    for values in (classes, objects):
        values[2, 3:23] = VOID
    return classes, objects


def save(root: Path, name: str, classes: np.ndarray, objects: np.ndarray, kind: str = "palette") -> None:
    (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", HW[::-1]).save(root / f"JPEGImages/{name}.jpg")
    for folder, values in (("SegmentationClass", classes), ("SegmentationObject", objects)):
        (root / folder).mkdir(exist_ok=True)
        image = Image.fromarray(values)
        if kind != "gray":
            image.putpalette(PALETTE)
        (image.convert("RGB") if kind == "color" else image).save(root / folder / f"{name}.png")


def write(root: Path, kind: str = "palette", sets: str = "train", names: str = "a") -> Path:
    for name in names:
        save(root, name, *drawn(), kind)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / f"ImageSets/Segmentation/{sets}.txt").write_text("\n".join(names))
    return root


def source_of(path: Path) -> Source:
    (source,) = voc_panoptic.open_splits(Place(path, "data")).splits.values()
    return source


def codes_of(source: Source) -> list[list[str]]:
    return [[issue.code for issue in sample.issues] for sample in source.samples()]


@pytest.mark.parametrize("kind", ["palette", "color", "gray"])
def test_each_object_is_a_segment_and_the_border_void(tmp_path: Path, kind: str) -> None:
    source = source_of(write(tmp_path, kind))
    (sample,) = source.samples()
    assert (source.is_panoptic, sample.file_name, sample.issues) == (True, "JPEGImages/a.jpg", ())
    repaired = Repair()(pickle.loads(pickle.dumps(sample)))
    assert [issue.code for issue in repaired.issues if issue.code != "size-missing"] == []
    assert repaired.sample is not None
    assert [(one.category, one.bbox, one.area) for one in repaired.sample.objects] == [
        ("cat", [3, 3, 20, 9], 180),
        ("cat", [3, 20, 20, 10], 200),
        ("dog", [40, 30, 20, 15], 300),
    ]
    assert callable(sample.id_map)
    ids = decode_id_map(sample.id_map())
    assert np.array_equal(ids > 0, (drawn()[1] > 0) & (drawn()[1] != VOID))


def test_the_classes_are_those_of_the_challenge(tmp_path: Path) -> None:
    categories = source_of(write(tmp_path)).categories()
    assert [category["name"] for category in categories] == sorted(VOC_CLASSES[1:])
    assert categories[0] == {"id": 1, "name": "aeroplane", "isthing": 1, "color": [128, 0, 0]}
    assert voc_color(VOID) == (224, 224, 192)


def test_cvat_names_colors_in_its_label_map(tmp_path: Path) -> None:
    write(tmp_path, "color", sets="default")
    cat, dog = (",".join(map(str, voc_color(number))) for number in (CAT, DOG))
    lines = ["# label:color_rgb:parts:actions", f"pug:{dog}::", "background:0,0,0::", f"tabby:{cat}:head:"]
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    source = source_of(tmp_path)
    assert [category["name"] for category in source.categories()] == ["pug", "tabby"]
    (sample,) = source.samples()
    assert [found.category for found in sample.objects] == ["pug", "tabby", "tabby"]
    for wrong in ("cat;1,2,3", "cat:::\ndog:::", "background:0,0,0::\ncat:::"):
        (tmp_path / "labelmap.txt").write_text(wrong)
        with pytest.raises(UserError, match=r"labelmap\.txt"):
            source_of(tmp_path)


def test_labelme_lists_its_classes_and_has_no_sets(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path, name, *(np.minimum(values, 250) % 8 for values in drawn()))
    names = ["__ignore__", "_background_", *("abcdefg")]
    (tmp_path / "class_names.txt").write_text("\n".join(names))
    door = detect(tmp_path)
    assert door is not None
    assert door.FORMAT == "voc-panoptic"
    source = source_of(tmp_path)
    assert [category["name"] for category in source.categories()] == list("abcdefg")
    assert {found.category for sample in source.samples() for found in sample.objects} == {"b", "d"}


def test_a_class_that_is_not_listed_is_told(tmp_path: Path) -> None:
    classes, objects = drawn()
    classes[classes == DOG] = 77
    write(tmp_path)
    save(tmp_path, "a", classes, objects)
    (sample,) = source_of(tmp_path).samples()
    repaired = Repair()(sample)
    assert [issue.code for issue in repaired.issues if issue.is_error] == ["png-unknown-ids"]
    assert repaired.sample is not None
    assert len(repaired.sample.objects) == 2


def test_a_class_without_object_numbers_is_one_object_and_an_object_without_class_is_told(
    tmp_path: Path,
) -> None:
    classes, objects = drawn()
    objects[objects == 1], classes[classes == DOG] = 0, 0
    write(tmp_path)
    save(tmp_path, "a", classes, objects)
    (sample,) = source_of(tmp_path).samples()
    assert [found.category for found in sample.objects] == ["cat", "cat"]
    assert [(issue.code, issue.text) for issue in sample.issues] == [
        ("category-unknown", "1 object on background")
    ]


def test_what_is_wrong_with_one_image_does_not_end_the_rest(tmp_path: Path) -> None:
    write(tmp_path, names="abcdefg")
    (tmp_path / "SegmentationObject/a.png").unlink()
    (tmp_path / "SegmentationObject/b.png").write_bytes(b"no image")
    Image.new("P", (10, 10)).save(tmp_path / "SegmentationObject/c.png")
    Image.new("RGB", HW[::-1]).save(tmp_path / "SegmentationClass/d.png", "JPEG")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(
        tmp_path / "SegmentationClass/e.png"
    )
    Image.new("L", (200, 200)).save(tmp_path / "SegmentationObject/e.png")
    (tmp_path / "JPEGImages/f.jpg").unlink()
    codes = [
        ["image-missing"],
        ["png-missing"],
        ["png-unreadable"],
        ["png-unreadable"],
        *[["png-unreadable"]] * 2,
        [],
    ]
    assert sorted(codes_of(source_of(tmp_path))) == sorted(codes)


def test_images_in_no_set_are_told(tmp_path: Path) -> None:
    write(tmp_path, names="ab")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a")
    source = source_of(tmp_path)
    assert [(issue.code, issue.file) for issue in source.issues()] == [("unlisted", "JPEGImages/b.jpg")]
    (tmp_path / "ImageSets/Segmentation/train.txt").unlink()
    (tmp_path / "SegmentationClass/b.png").unlink()
    (tmp_path / "SegmentationObject/b.png").unlink()
    assert codes_of(source_of(tmp_path)) == [[], ["unlisted"]]


def test_the_boxes_of_the_same_folder_come_first_where_it_has_sets_of_both(tmp_path: Path) -> None:
    root = write(tmp_path / "VOCdevkit/VOC2012")
    door = detect(tmp_path)
    assert door is not None
    assert door.FORMAT == "voc-panoptic"
    (root / "ImageSets/Main").mkdir()
    (root / "Annotations").mkdir()
    (root / "Annotations/a.xml").write_text("<annotation/>")
    door = detect(tmp_path)
    assert door is not None
    assert door.FORMAT == "voc"
    assert [sample.file_name for sample in source_of(tmp_path).samples()] == [
        "VOCdevkit/VOC2012/JPEGImages/a.jpg"
    ]


def test_a_folder_without_them_is_refused(tmp_path: Path) -> None:
    assert not voc_panoptic.detect(tmp_path)
    with pytest.raises(UserError, match="no PNGs in SegmentationClass"):
        voc_panoptic.open_splits(Place(tmp_path, "data"))
