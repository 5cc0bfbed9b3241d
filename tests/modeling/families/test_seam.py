"""The seam: another family goes through the whole package, and no other file knows DETR's names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, DetrImageProcessor

from detr_hf import train
from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.inference import Predictor
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.families.registry import FAMILIES, family_of
from detr_hf.modeling.pretrained import load_finished, load_stage2
from detr_hf.training.finish import evaluate_model
from tests.factories import write_coco_detection
from tests.modeling.families.toy import CELLS, Toy, ToyConfig, ToyForObjectDetection
from tests.tiny_models import LABELS, tiny_config
from tests.tiny_runs import THING_LABELS, detection_recipe, lines_of

PACKAGE = Path(__file__).resolve().parents[3] / "detr_hf"

DETRS_OWN = re.compile(
    r"DetrFor|DetrConfig|DetrModel|class_labels_classifier|bbox_predictor|model\.detr\b|\.softmax\(-1\)\[|"
    r"modeling_detr|\.input_projection|query_position_embeddings|bbox_attention"
)
OF_DETR = {"modeling/families/detr.py", "modeling/mask_head.py"}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved toy, known to the package."""
    AutoConfig.register("toy", ToyConfig, exist_ok=True)
    monkeypatch.setitem(FAMILIES, "toy", Toy())
    torch.manual_seed(0)
    labels = {"id2label": LABELS.id2label, "label2id": LABELS.label2id}
    ToyForObjectDetection(ToyConfig(**labels)).save_pretrained(tmp_path / "toy")
    size = {"shortest_edge": 64, "longest_edge": 128}
    DetrImageProcessor(size=size).save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


def test_another_family_trains_evaluates_predicts_and_is_saved_as_its_own_class(
    toy: Path, tmp_path: Path
) -> None:
    split = write_coco_detection(tmp_path / "data", count=4)
    overrides = ["model.freeze_backbone=none", "optim.class_head_lr=0.01", "optim.backbone_lr=0.001"]
    recipe = detection_recipe(tmp_path / "run", split, toy, *overrides)
    train.run(recipe)
    lines = lines_of(tmp_path / "run")
    trained = [line for line in lines if line["kind"] == "train"]
    assert trained[-1]["loss"] < trained[0]["loss"]
    assert {"loss_ce", "loss_bbox", "loss_giou"} <= set(trained[0])
    assert {"backbone", "class_head", "other"} <= set(trained[0]["lr"])
    best = tmp_path / "run" / "best"
    assert type(load_finished(str(best))) is ToyForObjectDetection
    assert json.loads((best / "config.json").read_text())["model_type"] == "toy"
    [found] = Predictor.from_pretrained(best, device="cpu").predict([next(Path(split.images).iterdir())])
    assert len(found.boxes_xyxy_px) == CELLS * CELLS
    assert found.detections is found and found.labels.max() < THING_LABELS.num_classes
    again = evaluate_model(
        recipe, build_bundle(recipe.data, recipe.output_dir), str(best), tmp_path / "again"
    )
    assert again["detection"].keys() == lines[-1]["detection"].keys()


def test_a_family_without_a_mask_head_is_refused_in_stage_2_by_its_name(toy: Path) -> None:
    with pytest.raises(UserError, match=r"a 'toy' model takes no mask head; .*`detr`"):
        load_stage2(str(toy), "fresh", LABELS)


def test_a_family_is_found_by_the_model_type() -> None:
    assert family_of(tiny_config()) is DETR
    with pytest.raises(UserError, match=r"some/model: is a 'toy' model; this package fine-tunes .*`detr`"):
        family_of(ToyConfig(), "some/model")


def test_no_file_but_the_familys_own_knows_detrs_names() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).as_posix() not in OF_DETR]
    assert len(files) > 100
    found = {
        f"{file.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if DETRS_OWN.search(line)
    }
    assert found == set()
