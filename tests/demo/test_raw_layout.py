"""The yard as raw exports, tidy and untidy, with the truth aside; and the whole way from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from detr_hf.data.build import build_bundle
from detr_hf.data.image_files import ImageFiles
from detr_hf.demo import raw_layout
from detr_hf.demo.from_raw import run_from_raw, score_pseudo_stuff
from detr_hf.demo.raw_layout import RawFolders, RawSpec, ensure_raw, outlines_of
from detr_hf.demo.worlds import YARD
from detr_hf.errors import UserError
from detr_hf.geometry import id_to_rgb
from detr_hf.images import decode_id_map, image_size
from detr_hf.recipe import PanopticRecipe, Recipe, Split

CLASSES = [thing.name for thing in YARD.things]
UNTIDY = ("aac_blocks", "hydra_crane", "water_tank")


@pytest.fixture(scope="module")
def tidy(tmp_path_factory: pytest.TempPathFactory) -> RawFolders:
    return ensure_raw(tmp_path_factory.mktemp("tidy") / "yard", RawSpec(per_class=3, seed=1))


@pytest.fixture(scope="module")
def untidy(tmp_path_factory: pytest.TempPathFactory) -> RawFolders:
    """Three class folders with a picture of every kind."""
    few = tuple(thing for thing in YARD.things if thing.name in UNTIDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_layout, "YARD", type(YARD)("yard", few, YARD.stuff))
        return ensure_raw(tmp_path_factory.mktemp("untidy") / "yard", RawSpec(per_class=8, seed=2, mess=True))


def export_of(folders: RawFolders, name: str) -> dict[str, Any]:
    return json.loads((folders.raw / name / "coco.json").read_text())


def truth_of(folders: RawFolders) -> dict[str, tuple[np.ndarray, list[dict[str, Any]]]]:
    """File name -> id map and segments."""
    content = json.loads((folders.truth / "panoptic.json").read_text())
    entries = {entry["image_id"]: entry for entry in content["annotations"]}
    return {
        image["file_name"]: (
            decode_id_map(folders.truth / "panoptic" / entries[image["id"]]["file_name"]),
            entries[image["id"]]["segments_info"],
        )
        for image in content["images"]
    }


# ---- tidy folders


def test_there_is_a_folder_a_class_with_polygons_of_that_class_alone(tidy: RawFolders) -> None:
    assert sorted(path.name for path in tidy.raw.iterdir()) == sorted(CLASSES)
    truth, others = truth_of(tidy), 0
    assert len(truth) == 3 * len(CLASSES)
    for thing in YARD.things:
        export = export_of(tidy, thing.name)
        assert [category["name"] for category in export["categories"]] == [thing.name]
        assert [image["id"] for image in export["images"]] == [1, 2, 3], "ids start at 1 in every folder"
        for image in export["images"]:
            id_map, segments = truth[f"{thing.name}/images/{image['file_name']}"]
            assert id_map.shape == (image["height"], image["width"])
            mine = [s["id"] for s in segments if s["category_id"] == thing.source_id]
            things = [s for s in segments if s["category_id"] < 100]
            outlines = [a for a in export["annotations"] if a["image_id"] == image["id"]]
            assert len(outlines) == len(mine) >= 1
            others += len(things) - len(mine)
            for segment, outline in zip(mine, outlines, strict=True):
                assert outline["category_id"] == thing.source_id
                assert overlap(outline["segmentation"], id_map == segment) > 0.8
    assert others > 0, "some images show things that are not annotated"


def overlap(outlines: list[list[float]], mask: np.ndarray) -> float:
    """IoU of polygons, as pycocotools fills them, and a mask."""
    runs = coco_mask.merge(coco_mask.frPyObjects(outlines, *mask.shape))
    filled = coco_mask.decode(runs).astype(bool)
    return float((filled & mask).sum() / (filled | mask).sum())


def test_outlines_run_along_pixel_edges_fill_holes_and_skip_specks() -> None:
    mask = np.zeros((20, 30), bool)
    mask[4:12, 5:15] = True
    mask[6:8, 7:9] = False
    mask[15:19, 20:28] = True
    mask[0, 29] = True
    outlines = sorted(outlines_of(mask), key=lambda outline: outline[0])
    assert len(outlines) == 2
    filled = mask.copy()
    filled[6:8, 7:9], filled[0, 29] = True, False
    assert overlap(outlines, filled) == 1.0
    assert outlines_of(np.zeros((5, 5), bool)) == []


def test_the_same_yard_is_the_same_files_and_is_not_drawn_twice(
    tidy: RawFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_layout, "YARD", type(YARD)("yard", YARD.things[:2], YARD.stuff))
    one, two = (ensure_raw(tmp_path / name, RawSpec(1, 3)) for name in ("one", "two"))
    files = [path for path in sorted(one.raw.parent.rglob("*")) if path.is_file()]
    assert len(files) == 2 * 2 + 2 + 1 + 1
    for path in files:
        assert path.read_bytes() == (two.raw.parent / path.relative_to(one.raw.parent)).read_bytes()
    monkeypatch.setattr(raw_layout, "_write", lambda *_: pytest.fail("drawn again"))
    ensure_raw(tmp_path / "one", RawSpec(1, 3))


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="something else than a demo data set"):
        ensure_raw(tmp_path, RawSpec(1))
    with pytest.raises(UserError, match="1 to 10000 images"):
        ensure_raw(tmp_path / "new", RawSpec(0))


# ---- untidy ones


def test_the_mess_is_there_and_every_picture_has_its_truth(untidy: RawFolders) -> None:
    truth = truth_of(untidy)
    for name in UNTIDY:
        files = ImageFiles(untidy.raw / name / "images", untidy.raw)
        known = {file for file in truth if file.startswith(f"{name}/")}
        assert {f"{name}/images/{file}" for file in files.names} == known
        for file in files.names:
            assert image_size(untidy.raw / name / "images" / file) == truth[f"{name}/images/{file}"][0].shape
        said = [image["file_name"] for image in export_of(untidy, name)["images"]]
        wrong = [entry for entry in said if entry not in files.names]
        assert len(wrong) == 4 and "never uploaded.jpg" in wrong
        assert any(" (" in entry for entry in said) and any("%" in entry for entry in said)
        assert any(entry.endswith(".JPG") for entry in files.names)
    turned = Image.open(next(untidy.raw.glob("water_tank/images/*_0006.jpg")))
    assert turned.getexif()[0x0112] == 6
    assert Image.open(next(untidy.raw.glob("water_tank/images/*_0007.png"))).mode == "L"
    shapes = [a["segmentation"] for name in UNTIDY for a in export_of(untidy, name)["annotations"]]
    assert [] in shapes and any(len(outlines[0]) == 4 for outlines in shapes if outlines)


# ---- the score


def halves(folders: RawFolders, out: Path) -> Path:
    """The truth itself as a prepared set, in two splits."""
    content = json.loads((folders.truth / "panoptic.json").read_text())
    for at, split in enumerate(("train", "validation")):
        shutil.copytree(folders.truth / "panoptic", out / split / "panoptic")
        images = content["images"][at::2]
        (out / split / "panoptic.json").write_text(json.dumps({**content, "images": images}))
    return out


def test_the_truth_scores_one_and_stuff_left_void_costs(tidy: RawFolders, tmp_path: Path) -> None:
    prepared = halves(tidy, tmp_path)
    perfect = score_pseudo_stuff(prepared, tidy.truth)
    assert perfect["Stuff"]["pq"] == 1.0 and perfect["Things"]["n"] == 0 and perfect["images"] == 30
    content = json.loads((prepared / "train" / "panoptic.json").read_text())
    for entry in content["annotations"]:
        path = prepared / "train" / "panoptic" / entry["file_name"]
        sky = [s["id"] for s in entry["segments_info"] if s["category_id"] == 108]
        id_map = decode_id_map(path)
        id_map[np.isin(id_map, sky)] = 0
        entry["segments_info"] = [s for s in entry["segments_info"] if s["category_id"] != 108]
        Image.fromarray(id_to_rgb(id_map)).save(path)
    (prepared / "train" / "panoptic.json").write_text(json.dumps(content))
    spoilt = score_pseudo_stuff(prepared, tidy.truth)
    sky = spoilt["per_class"]["sky"]
    assert (sky["tp"], sky["fp"], sky["fn"]) == (15, 0, 15)
    assert spoilt["per_class"]["ground"]["pq"] == 1.0


def test_stuff_on_true_things_costs_nothing(tidy: RawFolders, tmp_path: Path) -> None:
    """Nobody annotated them, so nobody can ask a teacher of stuff to leave them out."""
    prepared = halves(tidy, tmp_path)
    content = json.loads((prepared / "train" / "panoptic.json").read_text())
    for entry in content["annotations"]:
        path = prepared / "train" / "panoptic" / entry["file_name"]
        ground = next(s["id"] for s in entry["segments_info"] if s["category_id"] == 105)
        things = [s["id"] for s in entry["segments_info"] if s["category_id"] < 100]
        id_map = decode_id_map(path)
        id_map[np.isin(id_map, things)] = ground
        entry["segments_info"] = [s for s in entry["segments_info"] if s["category_id"] >= 100]
        Image.fromarray(id_to_rgb(id_map)).save(path)
    (prepared / "train" / "panoptic.json").write_text(json.dumps(content))
    assert score_pseudo_stuff(prepared, tidy.truth)["Stuff"]["pq"] == 1.0


# ---- the whole way


@pytest.mark.usefixtures("own_cache")
def test_from_raw_folders_to_what_both_stages_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Recipe] = []
    numbers = dict.fromkeys(("AP", "AP50", "AR"), 0.5)
    qualities = {name: {"pq": 0.4, "sq": 0.8, "rq": 0.5, "n": 3} for name in ("All", "Things", "Stuff")}

    def train(recipe: Recipe) -> dict[str, Any]:
        given.append(recipe)
        return {"detection": numbers, "panoptic": qualities}

    out = tmp_path / "from-raw"
    summary = run_from_raw(train, out, RawSpec(per_class=2, seed=4, mess=True))
    detection, panoptic = given
    assert isinstance(panoptic, PanopticRecipe)
    assert panoptic.model.detector == str(out / "detection" / "best")
    assert detection.data == panoptic.data and isinstance(detection.data.train, Split)
    bundle = build_bundle(detection.data, tmp_path)
    assert bundle.is_panoptic and {"sky", "ground", *CLASSES} <= set(bundle.labels.names)
    sizes = {name: len(split) for name, split in bundle.dataset.items()}
    assert sum(sizes.values()) == summary["images"] == 3 * len(CLASSES) and sizes["validation"] > 0
    assert summary["pseudo_stuff_pq"] > 0.4
    assert json.loads((out / "summary.json").read_text()) == summary
    assert "Pseudo-labeled stuff against the true stuff, 30 images" in capsys.readouterr().out
