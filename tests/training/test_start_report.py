"""What a run says of its data before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.data.build import build_bundle
from detr_hf.recipe import Recipe
from detr_hf.training.build import build_accelerator, build_run, build_task
from detr_hf.training.start_report import report_start
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.tiny_models import timm_backbone
from tests.tiny_runs import detection_recipe, save_detector

pytestmark = pytest.mark.usefixtures("own_cache")


def said(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> str:
    accelerator = build_accelerator(recipe)
    data = build_bundle(recipe.data, recipe.output_dir)
    task, loaded = build_task(recipe, data)
    report_start(build_run(recipe, accelerator, data, task), data, str(loaded))
    return capsys.readouterr().out


def test_images_with_more_objects_than_queries_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards: objects beyond the number of queries are silently never learned."""
    split = write_coco_detection(tmp_path / "data", sizes_hw=[(96, 128)])
    few, enough = (save_detector(tmp_path / f"start{n}", num_queries=n) for n in (2, 20))
    told = said(detection_recipe(tmp_path / "a", split, few), capsys)
    assert "of the training images hold more objects (up to 4) than the model has queries (2)" in told
    assert "more objects" not in said(detection_recipe(tmp_path / "b", split, enough), capsys)


@pytest.mark.parametrize("name", ["mosaic", "copy_paste"])
def test_mixed_images_with_more_objects_than_queries_are_told(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards: four images in one hold more than the queries that are enough for each."""
    split = write_coco_panoptic(tmp_path / "data")
    start = save_detector(tmp_path / "start", num_queries=6)
    mix = f"transforms.mix={{name: {name}, p: 1}}"
    plain, mixed = (
        said(detection_recipe(tmp_path / "a", split, start, *more), capsys) for more in ((), (mix,))
    )
    assert "more objects" not in plain
    assert "of the images that transforms.mix makes, up to " in mixed and "more objects (up to " in mixed
    enough = save_detector(tmp_path / "enough", num_queries=40)
    assert "more objects" not in said(detection_recipe(tmp_path / "b", split, enough, mix), capsys)


def test_sizes_that_a_backbone_of_patches_does_not_see_whole_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards: a backbone of patches loses the rim of most pictures, and stretches boxes, without a word."""
    split = write_coco_detection(tmp_path / "data", sizes_hw=[(96, 128)])
    patches = save_detector(tmp_path / "patches", backbone=timm_backbone("test_convnext3", output_stride=16))
    resnet = save_detector(tmp_path / "resnet")

    def short_edge(pixels: int) -> str:
        return f"transforms.validation.0.short_edges=[{pixels}]"

    whole = "whole patches"
    odd = said(detection_recipe(tmp_path / "a", split, patches, short_edge(66)), capsys)
    assert f"{whole} of 16 pixels only, and the first validation image is 66 x 88" in odd
    assert whole not in said(detection_recipe(tmp_path / "b", split, patches, short_edge(48)), capsys)
    assert whole not in said(detection_recipe(tmp_path / "c", split, resnet, short_edge(66)), capsys)


def test_classes_too_small_for_the_network_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards: pedestrians of six pixels under a stride of 32 cost hours before anybody knows."""
    split = write_coco_detection(tmp_path / "data", sizes_hw=[(96, 128)])
    start = save_detector(tmp_path / "start")

    def at(name: str, edge: int) -> str:
        places = ("train.1", "validation.0")
        sizes = [f"transforms.{place}.short_edges=[{edge}]" for place in places]
        sizes += [f"transforms.{place}.max_long_edge=900" for place in places]
        return said(detection_recipe(tmp_path / name, split, start, *sizes), capsys)

    assert "objects are narrower than one 32-px cell at short edge 32" in at("small", 32)
    assert "narrower" not in at("large", 640)
