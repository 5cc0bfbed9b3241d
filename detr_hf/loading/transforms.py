"""From the `transforms` of a recipe to a seeded augmentation of image, boxes and id map."""

from __future__ import annotations

import difflib
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import albumentations
import numpy as np
from albumentations.core.composition import BaseCompose
from albumentations.core.type_definitions import Targets
from pydantic import ValidationError

from detr_hf.errors import UserError
from detr_hf.loading.resize import RandomSizeCrop, ShortEdgeResize

OURS = {kind.__name__: kind for kind in (ShortEdgeResize, RandomSizeCrop)}

MIN_VISIBILITY = 0.1
"""A box of which less than this share of its area survives a transform is left out of the truth."""

MIN_SIDE_PX = 1.0
MIN_AREA_PX = 1.0

DONE_BY_LOADING = ("Normalize", "ToTensorV2", "ToTensor3D", "ToFloat", "FromFloat")
TOP_LEVEL_ONLY = ("Compose", "ReplayCompose", "Lambda")
IN_VALIDATION = ("ShortEdgeResize", "Resize", "LongestMaxSize", "SmallestMaxSize", "ToGray")


@dataclass
class Augmented:
    """One augmented sample.

    Attributes:
        image: ``uint8 [h, w, 3]``.
        boxes_xyxy_px: ``float32 [K, 4]``, clipped to the new image.
        kept: ``int64 [K]``, which of the given boxes these are.
        id_map: ``int32 [h, w]``, or None where none was given.
    """

    image: np.ndarray
    boxes_xyxy_px: np.ndarray
    kept: np.ndarray
    id_map: np.ndarray | None


class Augmentation:
    """The transforms of one split; the same seed gives the same sample, in any process.

    Args:
        steps: built transforms, in order.
    """

    def __init__(self, steps: Sequence[Any]) -> None:
        boxes = albumentations.BboxParams(
            "pascal_voc",
            min_area=MIN_AREA_PX,
            min_width=MIN_SIDE_PX,
            min_height=MIN_SIDE_PX,
            min_visibility=MIN_VISIBILITY,
            clip=True,
            filter_invalid_bboxes=True,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Got processor for bboxes")  # a policy of colors alone
            self._compose = albumentations.Compose(list(steps), bbox_params=boxes)

    def describe(self) -> list[str]:
        """The resolved transforms with all their arguments, one string each, for the log."""
        return [
            step.indented_repr() if isinstance(step, BaseCompose) else repr(step)
            for step in self._compose.transforms
        ]

    def __call__(
        self, image: np.ndarray, boxes_xyxy_px: np.ndarray, id_map: np.ndarray | None, seed: int
    ) -> Augmented:
        """Augment one sample.

        Args:
            image: ``uint8 [H, W, 3]``.
            boxes_xyxy_px: ``float32 [N, 4]`` in pixels of it.
            id_map: ``int32 [H, W]`` or None; resampled by the nearest pixel only, so no id is ever mixed.
            seed: of everything random in here.

        Raises:
            UserError: a transform failed, or made something else than an 8-bit RGB image.
        """
        # One stream for the whole policy: `set_random_seed` would give every transform the same stream, and
        # two flips of probability 0.5 would always happen together.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        # The index of a box rides in a fifth column; label fields would come back as floats or not at all.
        numbered = (
            np.column_stack([boxes_xyxy_px, np.arange(len(boxes_xyxy_px))]).astype(np.float32).reshape(-1, 5)
        )
        given = {"image": image, "bboxes": numbered} | ({} if id_map is None else {"mask": id_map})
        try:
            out = self._compose(**given)
        except Exception as failure:
            raise UserError(f"the transforms failed on this image: {failure}") from failure
        _require_rgb(out["image"])
        boxes = np.asarray(out["bboxes"], np.float32).reshape(-1, 5)
        kept = boxes[:, 4].round().astype(np.int64)
        return Augmented(out["image"], boxes[:, :4], kept, out.get("mask"))


def _require_rgb(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"the transforms made an image of type {image.dtype} and shape {image.shape}; "
            "they must keep 8-bit RGB (normalization follows by itself)"
        )


def build_transforms(entries: Sequence[dict[str, Any]], recipe_key: str) -> Augmentation:
    """Build the transforms of a recipe.

    Args:
        entries: ``{"name": ..., argument: value}``; containers hold further entries under ``transforms``.
        recipe_key: "transforms.train" or "transforms.validation", for messages. Validation takes resizing
            only.

    Raises:
        UserError: an unknown name or argument (with the nearest valid one) or value, at its place in the
            recipe; or a transform that does not belong there.
    """
    steps = [_build(entry, f"{recipe_key}.{at}") for at, entry in enumerate(entries)]
    if recipe_key.endswith("validation"):
        for at, entry in enumerate(entries):
            _require_deterministic(entry, steps[at], f"{recipe_key}.{at}")
    return Augmentation(steps)


def _build(entry: dict[str, Any], key: str) -> Any:
    arguments = dict(entry)
    kind = _kind(arguments.pop("name"), key)
    inner = arguments.pop("transforms", None)
    is_container = issubclass(kind, BaseCompose)
    if is_container != (inner is not None):
        raise UserError(
            f"{key}: {kind.__name__} {'needs a' if is_container else 'takes no'} list `transforms`"
        )
    _check_arguments(kind, arguments, key)
    if inner is not None:
        arguments["transforms"] = [_build(one, f"{key}.transforms.{at}") for at, one in enumerate(inner)]
    built = _construct(kind, arguments, key)
    if not is_container:
        _check_targets(built, key)
    return built


def _kind(name: str, key: str) -> Any:
    if name in DONE_BY_LOADING:
        raise UserError(
            f"{key}: leave {name} out; images are normalized and made tensors after the transforms"
        )
    known = _known_kinds()
    if name not in known:
        raise UserError(f"{key}: there is no transform '{name}'{_did_you_mean(name, known)}")
    return known[name]


def _known_kinds() -> dict[str, Any]:
    bases = (albumentations.ImageOnlyTransform, albumentations.DualTransform, BaseCompose)
    theirs = {name: kind for name, kind in vars(albumentations).items() if isinstance(kind, type)}
    usable = {name: kind for name, kind in theirs.items() if issubclass(kind, bases) and kind not in bases}
    usable = {name: kind for name, kind in usable.items() if not issubclass(kind, albumentations.Transform3D)}
    return {name: kind for name, kind in usable.items() if name not in TOP_LEVEL_ONLY} | OURS


def _did_you_mean(name: str, known: Sequence[str] | dict[str, Any]) -> str:
    by_folded = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), by_folded, n=1, cutoff=0.5)
    return f"; did you mean '{by_folded[near[0]]}'?" if near else ""


def _check_arguments(kind: Any, arguments: dict[str, Any], key: str) -> None:
    known = [
        name for name in signature(kind.__init__).parameters if name not in ("self", "strict", "transforms")
    ]
    for name, value in arguments.items():
        if name not in known:
            raise UserError(f"{key}: {kind.__name__} has no argument '{name}'{_did_you_mean(name, known)}")
        if name == "mask_interpolation" and value != 0:
            raise UserError(
                f"{key}.{name}: an id map can only be resampled by the nearest pixel; leave it out"
            )
        if name == "fill_mask" and value != 0:
            raise UserError(f"{key}.{name}: new pixels of an id map are void; leave it out")


def _construct(kind: Any, arguments: dict[str, Any], key: str) -> Any:
    try:
        # without `strict`, a schema that fails in an unforeseen way is a warning and every argument its
        # default
        strict = {"strict": True} if "InitSchema" in vars(kind) else {}
        return kind(**arguments, **strict)
    except Exception as failure:
        raise UserError(f"{key}: {kind.__name__} cannot be made: {_reason(failure)}") from failure


def _reason(failure: Exception) -> str:
    if isinstance(failure.__cause__, ValidationError):
        faults = failure.__cause__.errors()
        return "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}" for fault in faults
        )
    return str(failure).replace(".__init__()", "").replace(" positional", "")


def _check_targets(built: Any, key: str) -> None:
    name = type(built).__name__
    needs = set(built.targets_as_params) - {"image", "bboxes"}
    if needs:
        raise UserError(f"{key}: {name} needs {', '.join(sorted(needs))}, which a recipe cannot give")
    if isinstance(built, albumentations.DualTransform):
        moved = built._targets if isinstance(built._targets, tuple) else (built._targets,)
        if not {Targets.MASK, Targets.BBOXES} <= set(moved):
            raise UserError(f"{key}: {name} moves pixels without moving boxes and id maps along")


def _require_deterministic(entry: dict[str, Any], built: Any, key: str) -> None:
    name = entry["name"]
    sizes = getattr(built, "short_edges", None) or getattr(built, "max_size", None)
    is_random = built.p < 1 or (isinstance(sizes, (list, tuple)) and len(sizes) > 1)
    if name not in IN_VALIDATION or is_random:
        raise UserError(
            f"{key}: {name} is random or cuts the image; validation must be the same each time and keep "
            f"the whole image. It takes {', '.join(IN_VALIDATION)}, each with p: 1 and one size"
        )
