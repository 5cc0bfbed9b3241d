"""Every tensor of a checkpoint is accounted for, or the run stops with a list."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, DetrForObjectDetection, DetrForSegmentation
from transformers.utils import logging as transformers_logging

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.mask_head import mask_logits
from detr_hf.modeling.model_files import load_label_map
from detr_hf.modeling.pretrained import (
    load_finished,
    load_stage1,
    load_stage2,
)
from tests.tiny_models import (
    LABELS,
    random_batch,
    relative_difference,
    timm_backbone,
    tiny_detector,
    tiny_segmenter,
)

YARD = LabelMap.from_names(["digger", "fence"], stuff=["mud"])
HEAD = {"class_labels_classifier.weight", "class_labels_classifier.bias"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pretrained")
    tiny_detector(seed=1).save_pretrained(root / "detection")
    tiny_segmenter(seed=2).save_pretrained(root / "segmentation")
    return {name: root / name for name in ("detection", "segmentation")}


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A detection folder to spoil."""
    return shutil.copytree(folders["detection"], tmp_path / "spoilt")


def rewrite_weights(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def rewrite_config(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def same_tensors(model: nn.Module, other: nn.Module, but: set[str] = frozenset()) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert set(ours) == set(theirs)
    assert len(ours) > 100
    for name in set(ours) - but:
        assert torch.equal(ours[name], theirs[name]), name


# ---- stage 1


@pytest.mark.parametrize("kind", ["detection", "segmentation"])
def test_stage1_takes_every_tensor_but_the_class_head(folders: dict[str, Path], kind: str) -> None:
    model, report = load_stage1(str(folders[kind]), YARD)
    source = tiny_detector(seed=1) if kind == "detection" else tiny_segmenter(seed=2).detr
    assert type(model) is DetrForObjectDetection
    same_tensors(model, source, but=HEAD)
    assert model.class_labels_classifier.weight.shape == (4, 64)
    assert model.class_labels_classifier.weight.std().item() == pytest.approx(0.02, rel=0.3)
    assert not model.class_labels_classifier.bias.any()
    assert set(report.new) == HEAD
    assert str(folders[kind]) in str(report)
    assert str(report).endswith("new class head for 3 classes"), "and no tensor is named"
    assert model.config.id2label == {0: "digger", 1: "fence", 2: "mud"}
    assert model.config.num_labels == 3
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_stage1_from_scratch_takes_the_architecture_only(folders: dict[str, Path]) -> None:
    model, report = load_stage1(str(folders["segmentation"]), YARD, scratch=True)
    source = tiny_segmenter(seed=2).detr
    assert set(model.state_dict()) == set(source.state_dict())
    assert not torch.equal(model.model.input_projection.weight, source.model.input_projection.weight)
    assert model.config.num_labels == 3
    assert set(report.new) == {name for name, _ in model.named_parameters()}
    assert "starting from random: model." in str(report) and "new class head" not in str(report)


def test_half_precision_weights_are_read_as_float32(copy: Path) -> None:
    """Guards: a whole model in half precision, which the matching cannot run on."""
    tiny_detector(seed=1).half().save_pretrained(copy)
    model, _ = load_stage1(str(copy), YARD)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_loading_draws_no_bar_and_leaves_those_of_transformers(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers_logging.enable_progress_bar()
    load_finished(str(copy))
    assert capsys.readouterr().err == "" and transformers_logging.is_progress_bar_enabled()
    DetrForObjectDetection.from_pretrained(copy)
    assert "Loading weights" in capsys.readouterr().err, "stock's own"


def test_batch_counters_of_released_models_are_no_fault(copy: Path) -> None:
    """The released detectors carry the counters of batch norms that are frozen here; they mean nothing."""
    counter = "model.backbone.conv_encoder.model.layer2.0.downsample.2.num_batches_tracked"
    rewrite_weights(copy, lambda tensors: tensors.update({counter: torch.tensor(7)}))
    model, _ = load_stage1(str(copy), YARD)
    same_tensors(model, tiny_detector(seed=1), but=HEAD)


def test_every_tensor_that_does_not_fit_is_listed(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Guards: tensors filled with random numbers, with no more than a line in the log: what the file lacks,
    or what has another shape, such as query embeddings of another number.
    """

    def spoil(tensors: dict[str, Tensor]) -> None:
        del tensors["model.input_projection.bias"]
        tensors["model.extra.weight"] = torch.zeros(2)
        tensors["model.query_position_embeddings.weight"] = torch.zeros(9, 64)

    rewrite_weights(copy, spoil)
    with pytest.raises(UserError) as refusal:
        load_stage1(str(copy), YARD)
    lines = str(refusal.value).splitlines()
    assert lines[0] == f"{copy}: no place in a DetrForObjectDetection for 3 tensors:"
    assert lines[1:] == [
        "  missing in the file: model.input_projection.bias",
        "  in the file only: model.extra.weight",
        "  of another shape: model.query_position_embeddings.weight is [9, 64], needed is [7, 64]",
    ]
    assert "LOAD REPORT" not in caplog.text


def test_a_long_list_is_cut_but_counted(copy: Path) -> None:
    rewrite_weights(copy, lambda tensors: [tensors.pop(name) for name in sorted(tensors)[:50]])
    with pytest.raises(UserError, match="for 50 tensors:") as refusal:
        load_stage1(str(copy), YARD)
    assert str(refusal.value).splitlines()[-1] == "  and 30 more"


def test_auxiliary_loss_in_the_config_is_switched_off(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Guards: config.auxiliary_loss, which makes another network of the same weights."""
    rewrite_config(copy, auxiliary_loss=True)
    stock = DetrForObjectDetection.from_pretrained(copy)
    assert stock.config.auxiliary_loss
    finished = load_finished(str(copy))
    assert "auxiliary_loss is on" in caplog.text
    assert not finished.config.auxiliary_loss
    pixel_values, pixel_mask, _ = random_batch([0])
    with torch.no_grad():
        wanted = tiny_detector(seed=1)(pixel_values, pixel_mask).logits
        assert relative_difference(finished(pixel_values, pixel_mask).logits, wanted) < 1e-5
        assert relative_difference(stock(pixel_values, pixel_mask).logits, wanted) > 0.05
    model, _ = load_stage1(str(copy), YARD)
    assert not model.config.auxiliary_loss


def test_what_is_no_detr_is_refused(tmp_path: Path, copy: Path) -> None:
    """Guards: among others, configs with fractions as loss weights: stock takes whole numbers only."""
    BertConfig(hidden_size=8).save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match=r"bert: is a 'bert' model; this package fine-tunes .*`detr`"):
        load_stage1(str(tmp_path / "bert"), YARD)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no model found there .*config.json"):
        load_stage1(str(tmp_path / "empty"), YARD)
    with pytest.raises(UserError, match=r"missing: there is no such folder"):
        load_stage1(str(tmp_path / "missing"), YARD)
    rewrite_config(copy, bbox_loss_coefficient=2.5)
    with pytest.raises(
        UserError, match=r"spoilt: its config.json is not valid: .*bbox_loss_coefficient.*2.5"
    ):
        load_stage1(str(copy), YARD)


def test_a_backbone_without_activations_is_refused_before_loading(copy: Path) -> None:
    """Guards: transformers replaces batch norms that carry the activation function, and drops it."""
    config = json.loads((copy / "config.json").read_text())
    rewrite_config(copy, backbone_config={**config["backbone_config"], "backbone": "test_efficientnet"})
    with pytest.raises(
        UserError, match=r"spoilt: its backbone 'test_efficientnet' would lose 9 activation functions"
    ):
        load_stage1(str(copy), YARD)


def test_pickled_weights_are_refused(copy: Path) -> None:
    """Guards: unpickling runs code. Only safetensors are read."""
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"spoilt: the weights could not be loaded .*model.safetensors"):
        load_stage1(str(copy), YARD)


@pytest.mark.parametrize("kept", [0, 5000], ids=["empty", "truncated"])
def test_damaged_weights_are_refused(copy: Path, kept: int) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"spoilt: the weights could not be loaded"):
        load_stage1(str(copy), YARD)


# ---- stage 2


def test_stage2_carries_the_detector_and_copies_the_mask_head(folders: dict[str, Path]) -> None:
    """Guards: a detector opened as a segmenter: `from_pretrained` loads no weights of it, without error."""
    model, report = load_stage2(str(folders["detection"]), str(folders["segmentation"]), LABELS)
    assert type(model) is DetrForSegmentation
    same_tensors(model.detr, tiny_detector(seed=1))
    donor = tiny_segmenter(seed=2)
    for part in ("mask_head", "bbox_attention"):
        ours, theirs = getattr(model, part).state_dict(), getattr(donor, part).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert report.new == []
    assert str(folders["segmentation"]) in str(report)
    assert "starting from random: nothing" in str(report)
    assert model.config.id2label == LABELS.id2label


def test_stock_carries_no_tensor_from_detection_to_segmentation(folders: dict[str, Path]) -> None:
    """If this fails, from_pretrained does what load_stage2 does by hand."""
    _, info = DetrForSegmentation.from_pretrained(folders["detection"], output_loading_info=True)
    detector = {name for name, _ in tiny_segmenter().named_parameters() if name.startswith("detr.")}
    assert detector <= set(info["missing_keys"])


def test_stage2_with_a_fresh_mask_head(folders: dict[str, Path]) -> None:
    model, report = load_stage2(str(folders["detection"]), "fresh", LABELS)
    same_tensors(model.detr, tiny_detector(seed=1))
    heads = {name for name, _ in model.named_parameters() if not name.startswith("detr.")}
    assert set(report.new) == heads
    assert not torch.equal(
        model.mask_head.conv1.conv.weight, tiny_segmenter(seed=2).mask_head.conv1.conv.weight
    )


def test_stage2_may_start_from_a_segmenter_s_detector(folders: dict[str, Path]) -> None:
    model, _ = load_stage2(str(folders["segmentation"]), str(folders["segmentation"]), LABELS)
    same_tensors(model, tiny_segmenter(seed=2))


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (YARD, "lacks brick, crane, plank, sky, ground; has digger, fence, mud besides"),
        (
            LabelMap.from_names(["crane", "brick", "plank"], ["sky", "ground"]),
            "has another order (brick is 1, not 0)",
        ),
        (LabelMap.from_names(["brick", "crane", "plank", "sky"]), "lacks ground"),
    ],
)
def test_a_detector_of_other_classes_is_refused(
    folders: dict[str, Path], labels: LabelMap, complaint: str
) -> None:
    wanted = f"compared with the model, the data {complaint}. Train stage 1 on this data first"
    with pytest.raises(UserError, match=f"^model.detector: .*{re.escape(wanted)}"):
        load_stage2(str(folders["detection"]), "fresh", labels)


def test_classes_without_a_name_of_their_own_are_compared_too(copy: Path) -> None:
    """The COCO models call several classes N/A."""
    names = {"0": "N/A", "1": "crane", "2": "N/A", "3": "sky", "4": "ground"}
    rewrite_config(copy, id2label=names, label2id={name: int(index) for index, name in names.items()})
    model = load_finished(str(copy))
    assert load_label_map(str(copy), model.config).names == ("N/A", "crane", "N/A (2)", "sky", "ground")
    with pytest.raises(UserError, match=r"model.detector: .*lacks N/A, N/A \(2\); has brick, plank besides"):
        load_stage2(str(copy), "fresh", LABELS)


def test_a_mask_head_of_another_size_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    tiny_segmenter(d_model=128, encoder_layers=1, decoder_layers=1).save_pretrained(tmp_path / "wide")
    with pytest.raises(
        UserError, match=r"wide: its mask_head does not fit the detector .*detection:\n(.*\n)*.*size mismatch"
    ):
        load_stage2(str(folders["detection"]), str(tmp_path / "wide"), LABELS)


def test_a_detector_is_no_mask_head(folders: dict[str, Path]) -> None:
    with pytest.raises(
        UserError, match=r"holds DetrForObjectDetection, where a DetrForSegmentation is needed"
    ):
        load_stage2(str(folders["detection"]), str(folders["detection"]), LABELS)


def test_a_detector_with_too_few_maps_is_refused(tmp_path: Path) -> None:
    """Guards: configs that ask for the last stage alone, on which the segmenter cannot be built."""
    tiny_detector(timm_backbone(out_indices=[4])).save_pretrained(tmp_path / "coarse")
    with pytest.raises(UserError, match=r"coarse: the mask head needs four feature maps"):
        load_stage2(str(tmp_path / "coarse"), "fresh", LABELS)


# ---- what is saved


def test_saved_models_give_the_same_through_stock_from_pretrained(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """Guards: tensors have other names in files than in memory, so that a file read by hand fills nothing."""
    pixel_values, pixel_mask, _ = random_batch([0, 0], [(64, 96), (32, 128)])
    stage1, _ = load_stage1(str(folders["segmentation"]), LABELS)
    stage1.save_pretrained(tmp_path / "stage1")
    stage2, _ = load_stage2(str(tmp_path / "stage1"), str(folders["segmentation"]), LABELS)
    stage2.save_pretrained(tmp_path / "stage2")
    with torch.no_grad():
        detector = DetrForObjectDetection.from_pretrained(tmp_path / "stage1").eval()
        segmenter = DetrForSegmentation.from_pretrained(tmp_path / "stage2").eval()
        ours = DETR.run(stage1.eval(), pixel_values, pixel_mask, all_layers=False)
        boxes = detector(pixel_values, pixel_mask)
        masks = segmenter(pixel_values, pixel_mask)
        assert detector.config.id2label == segmenter.config.id2label == LABELS.id2label
        for stock in (boxes, masks):
            assert relative_difference(stock.logits, ours.logits[-1]) < 1e-5
            assert relative_difference(stock.pred_boxes, ours.boxes_cxcywh_norm[-1]) < 1e-5
        image, query = torch.tensor([0, 1]), torch.tensor([3, 5])
        mine = mask_logits(
            stage2.eval(), DETR.run(stage2.detr, pixel_values, pixel_mask, False), image, query, 8
        )
        assert relative_difference(masks.pred_masks[image, query], mine) < 1e-5
    assert type(load_finished(str(tmp_path / "stage1"))) is DetrForObjectDetection
    assert type(load_finished(str(tmp_path / "stage2"))) is DetrForSegmentation
