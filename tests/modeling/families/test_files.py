"""What is saved of every family is stock's, and what stock's files hold is loaded, tied heads or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import ConditionalDetrForSegmentation, pipeline

from detr_hf.errors import UserError
from detr_hf.inference import Predictor
from detr_hf.labels import LabelMap
from detr_hf.modeling.families.base import DetectorOutput
from detr_hf.modeling.families.registry import family_of
from detr_hf.modeling.pretrained import load_finished, load_stage1, load_stage2
from tests.family_models import LAYERS, VARIANTS, family_config, family_detector, save_family
from tests.tiny_models import LABELS, random_batch
from tests.tiny_runs import save_detector

CLOSE = 1e-5
OTHERS = LabelMap.from_names(["crack", "spall"])


@torch.no_grad()
def outputs(detector: Any) -> DetectorOutput:
    pixels, mask, _ = random_batch([0, 0], [(64, 64), (32, 64)])
    return family_of(detector).run(detector.eval(), pixels, mask, all_layers=True)


def same_outputs(one: Any, other: Any) -> None:
    ours, theirs = outputs(one), outputs(other)
    torch.testing.assert_close(ours.logits, theirs.logits, atol=CLOSE, rtol=CLOSE)
    torch.testing.assert_close(ours.boxes_cxcywh_norm, theirs.boxes_cxcywh_norm, atol=CLOSE, rtol=0)


def with_distinct_heads(variant: str) -> Any:
    """Class heads of layers that were trained apart, which stock declares to be one."""
    detector = family_detector(variant)
    family_of(detector).replace_classes(detector, LABELS)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in detector.named_parameters():
        if "class_embed" in name or "class_labels" in name:
            with torch.no_grad():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return detector


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_saved_gives_the_same_through_stock_and_through_the_package(
    variant: str, tmp_path: Path
) -> None:
    """Guards: heads of layers that stock ties again when it reads them."""
    detector, _ = load_stage1(str(save_family(variant, tmp_path / "start")), OTHERS)
    detector.save_pretrained(tmp_path / "saved")
    stock, info = VARIANTS[variant][0].from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert stock.config.id2label == dict(OTHERS.id2label)
    pixels, mask, _ = random_batch([0, 0], [(64, 64), (32, 64)])
    with torch.no_grad():
        theirs, ours = stock.eval()(pixels, pixel_mask=mask), outputs(detector)
    torch.testing.assert_close(ours.logits[-1], theirs.logits, atol=CLOSE, rtol=CLOSE)
    torch.testing.assert_close(ours.boxes_cxcywh_norm[-1], theirs.pred_boxes, atol=CLOSE, rtol=0)
    same_outputs(detector, load_finished(str(tmp_path / "saved")))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_stock_pipeline_finds_the_same_boxes(variant: str, tmp_path: Path) -> None:
    """The image has the size that both would bring it to: their filters differ."""
    folder = save_family(variant, tmp_path / "saved")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    [ours] = Predictor.from_pretrained(folder, device="cpu").stream([pixels])
    stock = pipeline("object-detection", model=str(folder), device="cpu")
    found = stock(Image.fromarray(pixels), threshold=0.0)
    found.sort(key=lambda one: -one["score"])
    np.testing.assert_allclose([one["score"] for one in found], ours.scores, atol=1e-4)
    assert [one["label"] for one in found] == [LABELS.names[label] for label in ours.labels]
    theirs = [[one["box"][key] for key in ("xmin", "ymin", "xmax", "ymax")] for one in found]
    clipped = np.clip(theirs, 0, [96, 64, 96, 64])  # stock neither clips nor keeps fractions of a pixel
    np.testing.assert_allclose(clipped, ours.boxes_xyxy_px, atol=1.01)


@pytest.mark.parametrize("heads", ["tied", "distinct"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_with_every_head_by_every_name_loads(variant: str, heads: str, tmp_path: Path) -> None:
    """Guards: a loader that ties heads which differ, or takes the second name of a tied one for a tensor too
    many. The released files hold both."""
    folder = save_family(variant, tmp_path / "released")
    detector = family_detector(variant) if heads == "tied" else with_distinct_heads(variant)
    everything = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    save_file(everything, folder / "model.safetensors", metadata={"format": "pt"})
    finished = load_finished(str(folder))
    same_outputs(detector, finished)
    for name, tensor in finished.state_dict().items():
        assert torch.equal(tensor, everything[name]), name
    if heads == "distinct" and variant.startswith("deformable"):
        assert len({float(head.weight.detach()[0, 0]) for head in finished.class_embed}) >= LAYERS
    started, report = load_stage1(str(folder), OTHERS)
    for name, tensor in started.state_dict().items():
        is_class_head = "class_embed" in name or "class_labels" in name
        assert is_class_head == (name.removeprefix("model.decoder.") in report.new)
        assert is_class_head or torch.equal(tensor, everything[name]), name


def test_a_segmenter_of_conditional_detr_is_refused(tmp_path: Path) -> None:
    """Guards: the boxes of this class, which leave out the points that they are around."""
    config = family_config("conditional_detr")
    ConditionalDetrForSegmentation(config).save_pretrained(tmp_path / "segmenter")
    save_detector(tmp_path / "detr", LABELS)
    folder = str(tmp_path / "segmenter")
    for load in (
        lambda: load_finished(folder),
        lambda: load_stage1(folder, OTHERS),
        lambda: load_stage2(folder, "fresh", LABELS),
        lambda: load_stage2(str(tmp_path / "detr"), folder, LABELS),
    ):
        with pytest.raises(UserError, match=r"segmenter: a ConditionalDetrForSegmentation, whose boxes"):
            load()


@pytest.mark.parametrize(
    ("variant", "head", "tensors"),
    [
        ("conditional_detr", "bbox_predictor.layers.1.", 2),
        ("dab_detr", "bbox_", 12),  # of two names, six tensors each
        ("deformable_detr", "bbox_embed", 18),
        ("deformable_detr_box_refine", "bbox_embed.1.", 12),
        ("deformable_detr_two_stage", "class_embed.3.", 4),
    ],
)
def test_a_head_that_is_in_a_file_by_none_of_its_names_is_missing(
    variant: str, head: str, tensors: int, tmp_path: Path
) -> None:
    """Guards: declared ties, whose ends transformers does not count as missing."""
    folder, everything = save_family(variant, tmp_path / "damaged"), family_detector(variant).state_dict()
    kept = {name: tensor.clone() for name, tensor in everything.items() if head not in name}
    assert len(everything) - len(kept) == tensors
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"for {tensors} tensors:\n  missing in the file: "):
        load_finished(str(folder))
