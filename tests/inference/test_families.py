"""Every family behind the predictor: thresholds, records, tiles, videos, and what queries saw."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from detr_hf import cli
from detr_hf.inference import Predictor, TiledPredictor
from detr_hf.modeling.attention import AttentionMaps, SampledPoints
from detr_hf.modeling.class_scores import LIKELIEST
from detr_hf.modeling.families.registry import family_of
from detr_hf.modeling.predictions import Detections
from detr_hf.visualize.explanation import draw_explanation
from tests.factories import draw_scene
from tests.family_models import QUERIES, VARIANTS, family_detector, save_family
from tests.tiny_models import LABELS, random_batch

DEFORMABLE = [variant for variant in VARIANTS if variant.startswith("deformable")]
EACH_FAMILY = ["conditional_detr", "dab_detr", "deformable_detr_single_scale", "deformable_detr_two_stage"]
PADDED = [(64, 96), (96, 70)]  # both images of a batch are padded


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("families")
    return {variant: save_family(variant, folder / variant) for variant in VARIANTS}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for at, size_hw in enumerate([(96, 128), (64, 200)]):
        image = draw_scene(np.random.default_rng(at), size_hw, objects=3).image
        Image.fromarray(image).save(folder / f"{at}.png")
    return folder


def test_a_threshold_that_nobody_sets_is_the_familys(detector: Path, models: dict[str, Path]) -> None:
    assert Predictor.from_pretrained(detector, device="cpu").score_threshold == 0.85
    for model in models.values():
        assert Predictor.from_pretrained(model, device="cpu").score_threshold == 0.4
        assert Predictor.from_pretrained(model, 0.0, device="cpu").score_threshold == 0.0, "0 is a threshold"


@pytest.mark.parametrize("variant", EACH_FAMILY)
def test_the_command_lists_what_is_above_the_familys_threshold(
    variant: str, models: dict[str, Path], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    cli.main(["predict", str(models[variant]), str(images), "--out", str(out)])
    found = list(Predictor.from_pretrained(models[variant], device="cpu").stream(sorted(images.iterdir())))
    assert all(isinstance(one, Detections) for one in found)
    counts = [len(one.detections.above(0.4).scores) for one in found]
    records = [json.loads((out / f"{at}.json").read_text()) for at in range(2)]
    assert [len(record["objects"]) for record in records] == counts and sum(counts) > 0
    assert min(thing["score"] for record in records for thing in record["objects"]) > 0.4
    told = capsys.readouterr().out
    assert f"2 images, {sum(counts)} objects above 0.4: " in told
    first = Counter(thing["label"] for record in records for thing in record["objects"]).most_common(1)[0]
    assert f"{first[1]} {first[0]}" in told, "by class"
    pairs = min(LIKELIEST, QUERIES * LABELS.num_classes)
    assert [len(one.detections.scores) for one in found] == [pairs, pairs], "pairs of query and class"


def test_cocos_files_hold_a_query_under_several_classes(
    models: dict[str, Path], images: Path, tmp_path: Path
) -> None:
    predictor = Predictor.from_pretrained(models["deformable_detr"], device="cpu")
    [found] = predictor.stream([images / "0.png"])
    sure = found.detections.above(0.05)
    arguments = ["--format", "coco", "--threshold", "0.05"]
    command = ["predict", str(models["deformable_detr"]), str(images / "0.png"), "--out", str(tmp_path)]
    cli.main([*command, *arguments])
    results = json.loads((tmp_path / "results.json").read_text())
    assert [one["category_id"] for one in results] == [
        LABELS.categories[label].source_id for label in sure.labels
    ]
    boxes = [tuple(one["bbox"]) for one in results]
    assert len(set(boxes)) < len(boxes) and len(results) > QUERIES


@pytest.mark.parametrize("variant", ["dab_detr", "deformable_detr_two_stage"])
def test_tiles_of_a_large_image(variant: str, models: dict[str, Path]) -> None:
    """No box leaves the image, none is below the threshold, and a small image is seen whole."""
    predictor = Predictor.from_pretrained(models[variant], device="cpu")
    small = draw_scene(np.random.default_rng(1), (80, 120), objects=3).image
    [whole], [tiled] = predictor.stream([small]), TiledPredictor(predictor, 200).stream([small])
    sure = whole.detections.above(0.4)
    np.testing.assert_allclose(tiled.detections.boxes_xyxy_px, sure.boxes_xyxy_px)
    np.testing.assert_array_equal(tiled.detections.labels, sure.labels)
    large = draw_scene(np.random.default_rng(2), (150, 260), objects=6).image
    [found] = TiledPredictor(predictor, 100, 0.2).stream([large], batch_size=4)
    boxes = found.detections.boxes_xyxy_px
    assert len(boxes) and found.detections.scores.min() > 0.4
    assert boxes.min() >= 0 and (boxes.max(0) <= [260, 150, 260, 150]).all()


def test_a_video_at_the_familys_threshold(models: dict[str, Path], images: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra [video] is not installed")
    film = tmp_path / "film.gif"
    frames = [Image.open(images / "0.png").convert("RGB")] * 2
    frames[0].save(film, save_all=True, append_images=[frames[1].rotate(180)], duration=40)
    cli.main(["predict", str(models["conditional_detr"]), str(film), "--out", str(tmp_path / "seen.mp4")])
    lines = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    scores = [thing["score"] for line in lines for thing in line["objects"]]
    assert scores and min(scores) > 0.4


@pytest.mark.parametrize(
    ("variant", "ours", "apart"),
    [("conditional_detr", "eager", 1e-6), ("conditional_detr", "sdpa", 1e-4), ("dab_detr", None, 1e-6)],
)
def test_attention_is_what_stock_puts_out(variant: str, ours: str | None, apart: float) -> None:
    stock, detector = family_detector(variant), family_detector(variant)
    if ours is not None:  # DAB-DETR has one kind
        stock.set_attn_implementation("eager")
        detector.set_attn_implementation(ours)
    family = family_of(detector)
    pixels, mask, _ = random_batch([1, 1], PADDED)
    with torch.no_grad():
        expected = stock(pixels, mask, output_attentions=True).cross_attentions[-1]
        with family.record_looks(detector) as recorded:
            family.run(detector, pixels, mask, all_layers=False)
    [look] = recorded
    assert isinstance(look, AttentionMaps)
    torch.testing.assert_close(look.weights.flatten(3), expected, atol=apart, rtol=apart)
    assert not family.backbone(detector)._forward_hooks, "left as it was"


@pytest.mark.parametrize("variant", DEFORMABLE)
def test_points_are_those_that_stock_samples(variant: str) -> None:
    """Stock hands locations and weights to the function that samples; two numbers or four of a reference."""
    detector = family_detector(variant)
    family, seen = family_of(detector), []
    attention = detector.model.decoder.layers[-1].encoder_attn

    def see(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append((inputs[4], inputs[5]))

    handle = attention.attn.register_forward_pre_hook(see)
    pixels, mask, _ = random_batch([1, 1], PADDED)
    with torch.no_grad(), family.record_looks(detector) as recorded:
        family.run(detector, pixels, mask, all_layers=False)
    handle.remove()
    [look], [(places, weights)] = recorded, seen
    assert isinstance(look, SampledPoints) and not attention._forward_pre_hooks
    assert places.shape[1:] == (QUERIES, 8, attention.n_levels, 4, 2)
    torch.testing.assert_close(look.xy_norm, places.flatten(2, 4))
    torch.testing.assert_close(look.weights, weights.flatten(2))


def test_points_by_hand() -> None:
    """One offset of (3, -2) on a map of 6 x 4 around a point, and of half a box around a box."""
    for variant in ("deformable_detr_single_scale", "deformable_detr_box_refine"):
        detector = family_detector(variant)
        attention = detector.model.decoder.layers[-1].encoder_attn
        nn.init.zeros_(attention.sampling_offsets.weight)
        attention.sampling_offsets.bias.data.view(-1, 2)[:] = torch.tensor([3.0, -2.0])
        references: list[Tensor] = []

        def see(
            module: nn.Module, inputs: object, given: dict[str, Any], references: list[Tensor] = references
        ) -> None:
            references.append(given["reference_points"])

        handle = attention.register_forward_pre_hook(see, with_kwargs=True)
        family, (pixels, mask, _) = family_of(detector), random_batch([1], (128, 192))
        with torch.no_grad(), family.record_looks(detector) as recorded:
            family.run(detector, pixels, mask, all_layers=False)
        handle.remove()
        first = references[0][0, :, 0]  # [Q, 2 or 4] on the finest level
        shift = torch.tensor([0.5, -0.5])
        if first.shape[-1] == 4:
            shift = first[:, 2:] * torch.tensor([3.0, -2.0]) / 4 / 2  # of four points, of a half
        assert isinstance(recorded[0], SampledPoints)
        torch.testing.assert_close(recorded[0].xy_norm[0, :, 0], first[:, :2] + shift)


@pytest.mark.parametrize("variant", EACH_FAMILY)
def test_an_explanation(variant: str, models: dict[str, Path], images: Path) -> None:
    predictor = Predictor.from_pretrained(models[variant], 0.3, "cpu")
    explained = predictor.explain(images / "1.png")
    assert isinstance(explained.prediction, Detections)
    [predicted] = predictor.stream([images / "1.png"])
    assert explained.queries
    for view in explained.queries:
        assert view.mask is None
        if variant in DEFORMABLE:
            levels = 1 if variant.endswith("single_scale") else 4
            assert view.attention is None and view.points_xyw is not None
            assert view.points_xyw.shape == (8 * levels * 4, 3) and view.points_xyw[:, 2].max() == 1
        else:
            assert view.points_xyw is None and view.attention is not None
            assert view.attention.shape == (64, 200) and view.attention.max() == pytest.approx(1)
    best, surest = explained.queries[0], predicted.detections
    assert (best.label, best.score) == (surest.labels[0], pytest.approx(surest.scores[0], abs=1e-5))
    np.testing.assert_allclose(best.box_xyxy_px, surest.boxes_xyxy_px[0], atol=1e-3)
    assert draw_explanation(explained, predictor.labels, 0.3).width > 1900
