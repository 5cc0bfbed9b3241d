"""The Label Studio door: shapes in percent, brush masks, several annotators, and images under other names."""

import base64
import json
import math
import os

import numpy as np
import pytest

from detr_hf.data.repair import Repair
from detr_hf.data.repair_objects import bounds_of
from detr_hf.data.sources import detect, label_studio
from detr_hf.data.sources.base import Place
from detr_hf.errors import UserError
from tests.data.sources.label_studio_files import (
    BOX,
    HEIGHT,
    WIDTH,
    codes,
    export,
    image,
    of_results,
    opened,
    result,
    samples,
    task,
)

BOX_PX = [20.0, 20.0, 60.0, 40.0]


def test_rectangles_in_pixels(tmp_path):
    sample = of_results(tmp_path, result())
    (found,) = sample.objects
    assert (sample.file_name, sample.image_id, sample.declared_hw) == ("images/a.jpg", 1, (HEIGHT, WIDTH))
    assert (found.category, found.bbox, found.segmentation) == ("cat", BOX_PX, None)
    assert codes(sample) == []
    assert opened(tmp_path).splits["train"].categories() == [{"id": 1, "name": "cat"}]
    assert detect(tmp_path) is label_studio


def test_polygons_and_labels_beside_their_shape(tmp_path):
    points = {"points": [[0, 0], [50, 0], [50, 100]], "closed": True}
    beside = [result("polygon", points, None, id="x"), result("labels", points, "dog", id="x")]
    sample = of_results(tmp_path, result("polygonlabels", points), *beside)
    outline = [[0.0, 0.0, 100.0, 0.0, 100.0, 100.0]]
    assert [(found.category, found.segmentation) for found in sample.objects] == [
        ("cat", outline),
        ("dog", outline),
    ]
    assert codes(sample) == []


def test_a_rotated_rectangle_turns_around_its_corner_in_pixels(tmp_path):
    sample = of_results(tmp_path, result(value={**BOX, "x": 50, "y": 20, "rotation": 90}))
    (found,) = sample.objects
    # 60 x 40 px at (100, 20), turned clockwise: to the left of its corner, and down.
    np.testing.assert_allclose(bounds_of(found.segmentation), [60, 20, 40, 60], atol=1e-3)
    np.testing.assert_allclose(found.segmentation, [[100, 20, 100, 80, 60, 80, 60, 20]], atol=1e-3)
    assert codes(sample) == ["box-rotated"]


def test_ellipses_touch_their_box(tmp_path):
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10}
    upright = of_results(tmp_path, result("ellipselabels", value))
    np.testing.assert_allclose(Repair()(upright).sample.objects[0].bbox, [60, 40, 80, 20], atol=0.01)
    turned = of_results(tmp_path, result("ellipselabels", {**value, "rotation": 90}))
    np.testing.assert_allclose(Repair()(turned).sample.objects[0].bbox, [90, 10, 20, 80], atol=0.01)


def test_what_is_not_read_is_counted(tmp_path):
    relation = {"from_id": "a", "to_id": "b", "type": "relation"}
    point = result("keypointlabels", {"x": 1, "y": 1, "width": 0.2}, "nose", id="k")
    video = result("videorectangle", {"sequence": [{"x": 1, "y": 1, "height": 2}]}, None, id="v")
    text = {"id": "aB3", "type": "textarea", "value": {**BOX, "text": ["blurred"]}}
    choice = {"type": "choices", "value": {"choices": ["day"]}}
    sample = of_results(
        tmp_path,
        result(),
        text,
        point,
        {**point, "id": "l"},
        video,
        choice,
        relation,
        {**choice, "type": {}},
        "broken",
    )
    assert [found.bbox for found in sample.objects] == [BOX_PX]
    assert codes(sample) == ["entry-invalid", "not-taken"]
    counts = "1 choices, 2 keypointlabels, 1 relation, 1 textarea, 1 videorectangle, 1 {}"
    assert sample.issues[1].text == counts
    assert opened(tmp_path).splits["train"].categories() == [{"id": 1, "name": "cat"}]


def test_a_region_with_several_labels_or_none(tmp_path):
    several = result(value={**BOX, "rectanglelabels": ["dog", "wet"]}, label=None)
    sample = of_results(tmp_path, several, result("rectangle", BOX, None, id="n"))
    assert [found.category for found in sample.objects] == ["dog", None]
    assert [issue.code for issue in Repair()(sample).issues] == ["not-taken", "category-unknown"]


def test_one_annotation_of_several_is_taken(tmp_path):
    first, truth, skipped = (
        {"completed_by": 1, "was_cancelled": False, "result": [result(label="first")]},
        {"completed_by": 2, "was_cancelled": False, "ground_truth": True, "result": [result(label="truth")]},
        {"completed_by": 3, "was_cancelled": True, "result": [result(label="skipped")]},
    )
    guess = [{"result": [result(label="guess")], "score": 0.9}]
    sample = samples(export(tmp_path, task(annotations=[skipped, first], predictions=guess)))[0]
    assert [found.category for found in sample.objects] == ["first"]
    assert sample.issues[0].text == "task 7: 1 cancelled, 1 predictions"
    sample = samples(export(tmp_path, task(annotations=[first, truth])))[0]
    assert [found.category for found in sample.objects] == ["truth"]
    assert sample.issues[0].text == "task 7: 1 annotations of others"
    assert opened(tmp_path).splits["train"].categories() == [{"id": 1, "name": "truth"}]


@pytest.mark.parametrize("annotations", [[], [{"was_cancelled": True, "result": []}], [12], None])
def test_a_task_without_annotation_is_no_negative(tmp_path, annotations):
    entry = task(annotations=annotations, file_upload="a.jpg", predictions=[{"result": [result()]}])
    (sample,) = samples(export(tmp_path, entry))
    assert codes(sample)[-1] == "no-annotations"
    assert Repair()(sample).sample is None


def test_an_empty_annotation_is_a_negative(tmp_path):
    sample = of_results(tmp_path)
    assert (sample.objects, sample.issues) == ([], ())
    assert Repair()(sample).sample is not None


@pytest.mark.parametrize(
    ("said", "file", "code"),
    [
        ("/data/upload/3/0a1b2c3d-yard.jpg", "media/0a1b2c3d-yard.jpg", None),
        ("/sub/path/data/upload/3/0a1b2c3d-yard.jpg", "photos/yard.jpg", "file-renamed"),
        ("/data/upload/3/0a1b2c3d-my_yard_1.jpg", "photos/my yard (1).jpg", "file-renamed"),
        ("/data/upload/3/0a1b2c3d-yard.jpg", "photos/yard.JPG", "file-renamed"),
        ("/data/local-files/?d=set%20one/yard+1.jpg", "set one/yard+1.jpg", None),
        ("/data/local-files/?d=a\\b\\yard.jpg", "yard.jpg", None),
        ("https://host/bucket/yard%201.jpg?Signature=a/b.jpg", "yard 1.jpg", None),
        ("s3://bucket/2024/yard.jpg", "2024/yard.jpg", None),
        ("gs://bucket/yard.jpg", "images/yard.jpg", None),
        ("/tasks/4/resolve/?fileuri=" + base64.b64encode(b"s3://bucket/yard.jpg").decode(), "yard.jpg", None),
        ("images/yard.jpg", "images/yard.jpg", None),
        ("C:\\Users\\me\\yard.jpg", "yard.jpg", None),
        ("/data/upload/3/yard.jpg", "other.jpg", "image-missing"),
        ("../../yard.jpg", "other.jpg", "file-name"),
        ("data:image/png;base64,aGk=", "other.jpg", "image-missing"),
        ("https://[broken", "other.jpg", "file-name"),
        ("", "other.jpg", "file-name"),
        (None, "other.jpg", "file-name"),
        (["a.jpg", "b.jpg"], "other.jpg", "file-name"),
    ],
)
def test_the_image_of_a_task(tmp_path, said, file, code):
    image(tmp_path / file)
    (sample,) = samples(export(tmp_path, task(result(), image=said), with_image=False))
    assert codes(sample) == ([code] if code else [])
    found = tmp_path / file if code in (None, "file-renamed") else None
    assert sample.image == found


def test_the_key_of_the_image_is_the_project_s(tmp_path):
    entry = task(result(), data={"ref": "http://x/1", "photo": "/data/upload/3/a.jpg", "n": 4})
    assert samples(export(tmp_path, entry))[0].objects[0].bbox == BOX_PX


def test_images_in_two_tasks_and_images_that_differ_in_folder_alone(tmp_path):
    image(tmp_path / "x/b.jpg")
    image(tmp_path / "y/b.jpg")
    entries = [task(result(), number=1), task(result(label="dog"), number=2), task(image="b.jpg", number=3)]
    both, unclear = samples(export(tmp_path, *entries))
    assert [found.category for found in both.objects] == ["cat", "dog"]
    assert codes(both) == ["image-twice"]
    assert codes(unclear) == ["image-ambiguous"]
    issues = [(issue.code, issue.file) for issue in opened(tmp_path).splits["train"].issues()]
    assert issues == [("unlisted", "x/b.jpg"), ("unlisted", "y/b.jpg")]


def test_percent_are_of_the_file_where_the_export_has_no_size(tmp_path):
    shape = result()
    del shape["original_width"]
    sample = of_results(tmp_path, shape)
    assert (sample.declared_hw, sample.objects[0].bbox) == ((HEIGHT, WIDTH), BOX_PX)
    (tmp_path / "images/a.jpg").write_bytes(b"no image")
    assert [issue.code for issue in Repair()(samples(tmp_path)[0]).issues] == ["image-unreadable"]


def test_another_size_than_the_file_s_is_scaled_by_repair(tmp_path):
    shape = result(original_width=2 * WIDTH, original_height=2 * HEIGHT)
    repaired = Repair()(of_results(tmp_path, shape))
    assert repaired.sample.objects[0].bbox == BOX_PX
    assert [issue.code for issue in repaired.issues] == ["size-scaled"]


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("rectanglelabels", {**BOX, "x": "10"}, "box-malformed"),
        ("rectanglelabels", {**BOX, "x": None}, "box-malformed"),
        ("rectanglelabels", {**BOX, "x": math.nan}, "box-malformed"),
        ("rectanglelabels", {**BOX, "x": 10**400}, "box-malformed"),
        ("rectanglelabels", {**BOX, "width": 0}, "box-empty"),
        ("rectanglelabels", {**BOX, "rotation": "90"}, None),
        ("rectanglelabels", {"height": 3}, "box-malformed"),
        ("rectanglelabels", {}, "not-taken"),
        ("ellipselabels", {"x": 5, "y": 5, "radiusX": None, "radiusY": 3}, "box-malformed"),
        ("polygonlabels", {"points": [[1, 2], [3, "4"], [5, 6]]}, "outline-invalid"),
        ("polygonlabels", {"points": [[1, 2], [3], [5, 6]]}, "outline-invalid"),
        ("polygonlabels", {"points": {}}, "outline-invalid"),
        ("polygonlabels", {"points": []}, "no-shape"),
    ],
)
def test_broken_values_go_through_to_repair(tmp_path, kind, value, code):
    found = Repair()(of_results(tmp_path, result(kind, value)))
    assert [issue.code for issue in found.issues][:1] == ([code] if code else [])


def test_entries_that_are_no_tasks_are_told(tmp_path):
    (sample,) = samples(export(tmp_path, task(result()), 4, None))
    assert sample.objects[0].bbox == BOX_PX
    assert [issue.code for issue in opened(tmp_path).splits["train"].issues()] == ["entry-invalid"] * 2


@pytest.mark.parametrize(
    "content", ['[{"id": 1, "annotations": [{"completed_by": 1', '[{"brushlabels": ' + "[" * 99_999]
)
def test_json_that_is_none_is_refused_by_name(tmp_path, content):
    (tmp_path / "export.json").write_text(content)
    assert not label_studio.detect(tmp_path / "images")
    with pytest.raises(UserError, match=r"export\.json"):
        list(label_studio.open_splits(Place(tmp_path / "export.json", "x")).splits["train"].samples())


def test_files_named_like_splits_are_splits_and_images_may_be_elsewhere(tmp_path):
    images = image(tmp_path / "photos/a.jpg").parent
    (tmp_path / "set").mkdir()
    export(tmp_path / "set", task(result()), name="train.json", with_image=False)
    export(tmp_path / "set", task(), name="val.json", with_image=False)
    splits = opened(tmp_path / "set", images).splits
    assert list(splits) == ["train", "val"]
    assert [sample.image for sample in splits["train"].samples()] == [images / "a.jpg"]
    assert splits["train"].key != splits["val"].key
    assert samples(tmp_path / "set/val.json", images)[0].objects == []


def test_other_json_is_not_taken(tmp_path):
    others = {
        "coco": {"images": [], "annotations": [{"bbox": [1, 2, 3, 4]}], "categories": []},
        "createml": [{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 1}}]}],
        "labelme": {"shapes": [], "imagePath": "a.jpg"},
        "list": [1, 2],
    }
    for name, content in others.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        assert not label_studio.detect(tmp_path / f"{name}.json")
    os.mkfifo(tmp_path / "pipe.json")
    assert not label_studio.detect(tmp_path)
    assert not label_studio.detect(tmp_path / "none")
    with pytest.raises(UserError, match="no JSON file of Label Studio"):
        label_studio.open_splits(Place(tmp_path, "data.train"))
