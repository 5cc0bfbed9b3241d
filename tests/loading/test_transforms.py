"""Transforms of a recipe: what is built, what is refused at which place, and what a seed decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detr_hf.errors import UserError
from detr_hf.loading.transforms import build_transforms
from detr_hf.recipe import detr_training_transforms, detr_validation_transforms

IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
NO_BOXES = np.zeros((0, 4), np.float32)


def build(*entries: dict[str, Any], split: str = "train", **more: Any):  # type: ignore[no-untyped-def]
    return build_transforms(list(entries), f"transforms.{split}", **more)


REFUSED = [
    (
        [{"name": "HorizontalFlp"}],
        "transforms.train.0: there is no transform 'HorizontalFlp'; did you mean 'HorizontalFlip'?",
    ),
    ([{"name": "shortedgeresize"}], "did you mean 'ShortEdgeResize'?"),
    ([{"name": "BasicTransform"}], "transforms.train.0: there is no transform"),
    (
        [{"name": "ToGray"}, {"name": "Resize", "heigth": 3, "width": 4}],
        "transforms.train.1: Resize has no argument 'heigth'; did you mean 'height'?",
    ),
    (
        [
            {
                "name": "OneOf",
                "transforms": [{"name": "ToGray"}, {"name": "Resize", "height": "x", "width": 4}],
            }
        ],
        "transforms.train.0.transforms.1: Resize cannot be made: height:",
    ),
    (
        [{"name": "HorizontalFlip", "p": 2}],
        "HorizontalFlip cannot be made: p: Input should be less than or equal to 1, got 2",
    ),
    ([{"name": "RandomSizeCrop", "min_size": 5}], "RandomSizeCrop missing 1 required argument: 'max_size'"),
    ([{"name": "OneOf"}], "OneOf needs a list `transforms`"),
    ([{"name": "ToGray", "transforms": []}], "ToGray takes no list `transforms`"),
    ([{"name": "Normalize"}], "leave Normalize out"),
    ([{"name": "Mosaic"}], "Mosaic needs mosaic_metadata"),
    ([{"name": "Compose", "transforms": []}], "there is no transform 'Compose'"),
    (
        [{"name": "Affine", "mask_interpolation": 1}],
        "transforms.train.0.mask_interpolation: an id map can only be resampled by the nearest",
    ),
    ([{"name": "Affine", "fill_mask": 3}], "transforms.train.0.fill_mask: new pixels of an id map are void"),
]


@pytest.mark.parametrize(("entries", "said"), REFUSED)
def test_mistakes_are_told_at_their_place_in_the_recipe(entries: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(UserError) as caught:
        build(*entries)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "HorizontalFlip"},
        {"name": "ShortEdgeResize", "short_edges": [20, 30]},
        {"name": "CenterCrop", "height": 4, "width": 4},
        {"name": "ToGray"},
        {"name": "LongestMaxSize", "max_size": [40, 50]},
        {"name": "Sequential", "p": 1, "transforms": []},
    ],
)
def test_validation_takes_no_chance_and_no_crop(entry: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"transforms.validation.0: .* is random or cuts the image"):
        build(entry, split="validation")


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "ShortEdgeResize", "short_edges": [20]},
        {"name": "LongestMaxSize", "max_size": 40},
        {"name": "ToGray", "p": 1},
        {"name": "Resize", "height": 9, "width": 9},
    ],
)
def test_validation_takes_what_always_does_the_same(entry: dict[str, Any]) -> None:
    validation = build(entry, split="validation")
    first, second = (validation(IMAGE, NO_BOXES, None, seed).image for seed in (0, 1))
    assert np.array_equal(first, second)


def test_the_defaults_of_a_recipe_are_detr_s_policy_and_are_described() -> None:
    train = build_transforms(detr_training_transforms(), "transforms.train")
    text = "\n".join(train.describe())
    assert text.count("ShortEdgeResize") == 3 and "max_long_edge=1333" in text and "RandomSizeCrop" in text
    validation = build_transforms(detr_validation_transforms(), "transforms.validation")
    assert validation.describe() == [
        "ShortEdgeResize(p=1.0, max_long_edge=1333, multiple_of=None, short_edges=[800])"
    ]
    assert validation(IMAGE, NO_BOXES, None, 0).image.shape == (800, 1066, 3)


@pytest.mark.filterwarnings("error")
def test_a_policy_of_colors_alone_gives_no_warning() -> None:
    assert build({"name": "ToGray", "p": 1.0})(IMAGE, NO_BOXES, None, 0).image.shape == IMAGE.shape


def test_a_seed_decides_everything_whatever_ran_before() -> None:
    policy = build(
        {"name": "HorizontalFlip"},
        {
            "name": "OneOf",
            "p": 1.0,
            "transforms": [
                {"name": "RandomSizeCrop", "min_size": 20, "max_size": 50},
                {"name": "ColorJitter"},
            ],
        },
        {"name": "GaussNoise"},
    )
    first = [policy(IMAGE, NO_BOXES, None, seed).image for seed in range(12)]
    again = [policy(IMAGE, NO_BOXES, None, seed).image for seed in reversed(range(12))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({(image.shape, image.tobytes()) for image in first}) == 12


def test_transforms_of_equal_probability_are_independent() -> None:
    """guards: seeding a policy gives each transform the same stream, and two flips always come together."""
    policy = build({"name": "HorizontalFlip"}, {"name": "VerticalFlip"})
    corner = np.zeros((4, 4, 3), np.uint8)
    corner[0, 0] = 255
    seen = [tuple(np.argwhere(policy(corner, NO_BOXES, None, seed).image[..., 0])[0]) for seed in range(80)]
    counts = {place: seen.count(place) for place in set(seen)}
    assert set(counts) == {(0, 0), (0, 3), (3, 0), (3, 3)} and min(counts.values()) > 5


def test_boxes_keep_their_index_when_others_are_lost() -> None:
    """guards: labels that come back as floats, and masks that are not filtered with their boxes."""
    policy = build({"name": "Crop", "x_min": 0, "y_min": 0, "x_max": 40, "y_max": 60})
    boxes = np.array([[50, 5, 70, 20], [10, 10, 30, 30], [38, 0, 78, 10], [20, 40, 60, 60]], np.float32)
    out = policy(IMAGE, boxes, None, 0)
    assert (
        out.kept.tolist() == [1, 3] and out.kept.dtype == np.int64
    )  # of box 2 only 2 of 40 columns are left
    assert np.allclose(out.boxes_xyxy_px, [[10, 10, 30, 30], [20, 40, 40, 60]], atol=1e-3)


def test_many_boxes_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 40, (700, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 20, (700, 2))], 1).astype(np.float32)
    out = build({"name": "HorizontalFlip", "p": 1.0})(IMAGE, boxes, None, 0)
    mirrored = boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [80, 0, 80, 0]
    assert out.kept.tolist() == list(range(700)) and np.allclose(out.boxes_xyxy_px, mirrored, atol=1e-3)


def test_boxes_over_the_edge_are_clipped_not_refused() -> None:
    """guards: albumentations refuses a picture for one box that reaches over the edge."""
    boxes = np.array([[-0.4, 10, 20, 20], [70, 50, 80.6, 60.3]], np.float32)
    out = build({"name": "HorizontalFlip", "p": 1.0})(IMAGE, boxes, None, 0)
    assert np.allclose(out.boxes_xyxy_px, [[60, 10, 80, 20], [0, 50, 10, 60]], atol=1e-3)


GEOMETRY = [
    {"name": "Affine", "rotate": [20, 20], "scale": [0.7, 0.7], "p": 1.0},
    {"name": "Perspective", "p": 1.0},
    {"name": "ElasticTransform", "p": 1.0},
    {"name": "RandomResizedCrop", "size": [50, 50], "p": 1.0},
    {"name": "PadIfNeeded", "min_height": 100, "min_width": 100, "p": 1.0},
    {"name": "LongestMaxSize", "max_size": 33},
    {"name": "RandomBrightnessContrast", "p": 1.0},
]


@pytest.mark.parametrize("entry", GEOMETRY, ids=lambda entry: entry["name"])
def test_an_id_map_stays_with_its_picture_and_keeps_its_ids(entry: dict[str, Any]) -> None:
    image, ids = np.full((60, 80, 3), 60, np.uint8), np.full((60, 80), 4, np.int32)
    image[20:50, 30:60], ids[20:50, 30:60] = 255, 16_000_000
    policy = build(entry)
    for seed in range(3):
        out = policy(image, np.array([[30, 20, 60, 50]], np.float32), ids, seed)
        assert out.id_map is not None and out.id_map.dtype == np.int32
        assert set(np.unique(out.id_map)) <= {0, 4, 16_000_000}
        bright = out.image[..., 0] > 150
        assert np.logical_xor(bright, out.id_map == 16_000_000).mean() < 0.05


def test_pictures_must_stay_8_bit_rgb() -> None:
    with pytest.raises(UserError, match="the transforms failed on this image"):
        build({"name": "Crop", "x_max": 1000, "y_max": 1000, "p": 1.0})(IMAGE, NO_BOXES, None, 0)
