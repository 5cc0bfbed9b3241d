"""What visitors see: their own image at their own threshold, the network asked no more than needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.app import viewer as module
from detr_hf.app.viewer import KEPT_THRESHOLDS, Viewer, name_of
from detr_hf.errors import UserError
from detr_hf.inference import Predictor, TiledPredictor
from detr_hf.modeling.predictions import PanopticPrediction
from detr_hf.modeling.tile_record import TileGrid
from tests.app.conftest import MakeViewer
from tests.factories import draw_scene
from tests.family_models import QUERIES, save_family

SWEEP = [0.05 + 0.01 * step for step in range(95)]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The threshold of every pass through the network."""
    seen: list[float] = []
    real = Predictor.stream

    def counted(self: Predictor, *arguments: Any) -> Any:
        seen.append(self.score_threshold)
        return real(self, *arguments)

    monkeypatch.setattr(Predictor, "stream", counted)
    return seen


def test_boxes_are_filtered_without_another_pass(
    make_viewer: MakeViewer, image_file: Path, passes: list[float]
) -> None:
    viewer = make_viewer("detection")
    viewing = viewer.open(image_file, 0.5)
    counts = [len(viewer.prediction(viewing, threshold).scores) for threshold in SWEEP]
    assert len(passes) == 1
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]


def test_segments_are_cut_out_once_for_each_set_of_queries(
    make_viewer: MakeViewer, image_file: Path, passes: list[float]
) -> None:
    viewer = make_viewer("panoptic")
    viewing = viewer.open(image_file, SWEEP[0])
    for threshold in SWEEP:
        viewer.prediction(viewing, threshold)
    sets = {viewing.count(threshold) for threshold in SWEEP}
    assert len(passes) == len(sets) and 2 < len(sets) < len(SWEEP)
    assert len(viewing.predictions) <= KEPT_THRESHOLDS


@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.4])
def test_an_answer_from_before_is_what_the_model_says_now(
    make_viewer: MakeViewer, image_file: Path, models: dict[str, Path], threshold: float
) -> None:
    viewer = make_viewer("panoptic")
    viewing = viewer.open(image_file, 0.9)
    for other in SWEEP[::5]:
        viewer.prediction(viewing, other)
    ours = viewer.prediction(viewing, threshold)
    [fresh] = Predictor.from_pretrained(models["panoptic"], threshold, "cpu").stream([image_file])
    assert isinstance(ours, PanopticPrediction) and isinstance(fresh, PanopticPrediction)
    assert ours.segments == fresh.segments
    np.testing.assert_array_equal(ours.id_map, fresh.id_map)


def test_visitors_at_once_get_what_they_would_get_alone(
    make_viewer: MakeViewer, street: Path, models: dict[str, Path]
) -> None:
    """Each with a threshold of their own, which must not become anybody else's."""
    viewer = make_viewer("demo")
    thresholds = [0.1, 0.6, 0.995] * 2

    def visit(threshold: float) -> Any:
        return viewer.prediction(viewer.open(street, threshold), threshold)

    with ThreadPoolExecutor(3) as visitors:
        together = list(visitors.map(visit, thresholds))
    assert viewer.predictor.score_threshold == 0.3
    alone = Predictor.from_pretrained(models["demo"], device="cpu")
    for threshold, prediction in zip(thresholds, together, strict=True):
        alone.score_threshold = threshold
        [expected] = alone.stream([street])
        assert isinstance(expected, PanopticPrediction) and prediction.segments == expected.segments
    assert len({len(prediction.segments) for prediction in together}) > 1


def test_results_are_gone_with_the_viewing(make_viewer: MakeViewer, image_file: Path) -> None:
    viewer = make_viewer("detection")
    viewing = viewer.open(image_file, 0.5)
    viewing.file(".json").write_text("{}")
    assert viewing.file(".json").name == "my yard.json"
    assert len(list(viewer.folder.iterdir())) == 1
    del viewing
    assert not list(viewer.folder.iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [("letter.jpg", "not an image"), ("vast.png", "too large|refused"), ("cut.png", "damaged")],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bad_file_is_told_by_name_without_its_folder(
    make_viewer: MakeViewer, bad_files: dict[str, Path], name: str, reason: str
) -> None:
    with pytest.raises(UserError, match=reason) as told:
        make_viewer("detection").open(bad_files[name], 0.5)
    assert str(told.value).startswith(name) and str(bad_files[name].parent) not in str(told.value)


def test_the_page_takes_smaller_images_than_the_package(
    make_viewer: MakeViewer, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MEGAPIXELS", 0.01)
    with pytest.raises(UserError, match="128 x 96"):
        make_viewer("detection").open(image_file, 0.5)


@pytest.mark.parametrize("stage", ["detection", "panoptic"])
def test_attention_of_the_kept_queries(make_viewer: MakeViewer, image_file: Path, stage: str) -> None:
    viewer = make_viewer(stage)
    viewing = viewer.open(image_file, 0.3)
    images = viewer.attention(viewing, 0.3)
    kept = viewing.count(0.3)
    assert kept and viewer.attention(viewing, 0.3) is images
    if stage == "detection":
        assert len(images) == kept
    else:  # a query that says "no object" may be surer than its best class
        assert 0 < len(images) <= 2 * kept
    assert all(name in viewer.labels.names for name in (title.split()[0] for _, title in images))
    assert all(image.width >= 128 for image, _ in images)


def test_a_large_image_is_looked_at_smaller(
    make_viewer: MakeViewer, image_file: Path, tmp_path: Path
) -> None:
    Image.open(image_file).resize((2560, 1920)).save(tmp_path / "large.png")
    viewing = make_viewer("detection").open(tmp_path / "large.png", 0.1)
    assert viewing.size_hw == (1920, 2560) and viewing.image.shape == (1200, 1600, 3)
    assert viewing.all_queries.boxes_xyxy_px.max() <= 1600


def test_models_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    (tmp_path / "panoptic" / "best").mkdir(parents=True)
    assert name_of(str(tmp_path / "panoptic" / "best")) == "panoptic/best"
    assert name_of("your-name/yard") == "your-name/yard" and name_of("demo") == "demo"


@pytest.mark.parametrize(
    ("variant", "title"), [("dab_detr", "attention"), ("deformable_detr", "points sampled")]
)
def test_a_family_of_sigmoids(variant: str, title: str, image_file: Path, tmp_path: Path) -> None:
    """Its own threshold; a query may be listed under several classes, and is explained once."""
    predictor = Predictor.from_pretrained(save_family(variant, tmp_path / "model"), device="cpu")
    viewer = Viewer(predictor, tmp_path)
    assert viewer.score_threshold == 0.4
    viewing = viewer.open(image_file, 0.05)
    assert len(viewer.prediction(viewing, 0.05).scores) == viewing.count(0.05) > QUERIES
    looks = viewer.attention(viewing, 0.05)
    assert 0 < len(looks) <= QUERIES
    assert all(named.endswith(f": {title}") for _, named in looks)


@pytest.mark.parametrize("stage", ["detection", "panoptic"])
def test_a_model_of_tiles_sees_the_whole_image_in_tiles(
    make_viewer: MakeViewer,
    models: dict[str, Path],
    tmp_path: Path,
    stage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guards: a photograph scaled down before tiles of its own size are looked at."""
    monkeypatch.setattr(module, "LONGEST_EDGE", 128)
    file = tmp_path / "large.png"
    Image.fromarray(draw_scene(np.random.default_rng(0), (192, 256), objects=6).image).save(file)
    viewer = make_viewer("panoptic")
    viewer.predictor.tiles = TileGrid(128, 0.25)
    viewing = viewer.open(file, 0.3)
    assert viewing.image.shape == (96, 128, 3) and viewing.size_hw == (192, 256)
    for threshold in (0.3, 0.15):
        ours = viewer.prediction(viewing, threshold)
        alone = Predictor.from_pretrained(models["panoptic"], threshold, "cpu")
        [fresh] = TiledPredictor(alone, 128, 0.25, least_score=0.0).stream([file])
        sure = fresh.detections.above(threshold)
        assert len(sure.scores) and viewing.count(threshold) == len(sure.scores)
        np.testing.assert_allclose(
            ours.detections.above(threshold).boxes_xyxy_px, sure.boxes_xyxy_px / 2, atol=1e-3
        )
        assert isinstance(ours, PanopticPrediction) and isinstance(fresh, PanopticPrediction)
        assert ours.segments == fresh.segments and ours.id_map.shape == (96, 128)


def test_attention_is_not_offered_for_tiles(make_viewer: MakeViewer) -> None:
    predictor = make_viewer("detection").predictor
    assert Viewer(predictor, Path()).explains
    predictor.tiles = TileGrid(64, 0.2)
    assert not Viewer(predictor, Path()).explains
