"""The seam: every family goes through the whole package, and is found by its config alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import BertConfig

from detr_hf import cli
from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.inference import Predictor
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.families.registry import FAMILIES, family_of
from detr_hf.modeling.pretrained import load_finished, load_stage2
from detr_hf.recipe import load_recipe, recipe_to_yaml
from detr_hf.run_folder import PER_IMAGE_FILE
from detr_hf.train import run as run_recipe
from detr_hf.training.find_batch_size import with_found_batch_size
from detr_hf.training.finish import evaluate_model
from tests.factories import write_coco_detection
from tests.family_models import VARIANTS, save_family
from tests.tiny_models import LABELS, tiny_config
from tests.tiny_runs import THING_LABELS, detection_recipe, lines_of

BY_REQUEST = ("deformable_detr_single_scale", "deformable_detr", "deformable_detr_box_refine")
"""Their parts are those of the Deformable DETR in two stages, too."""

WHOLE_RUNS = [pytest.param(name, marks=[pytest.mark.slow] if name in BY_REQUEST else []) for name in VARIANTS]


@pytest.mark.parametrize("variant", WHOLE_RUNS)
def test_a_family_trains_evaluates_predicts_and_is_saved_as_its_own_class(
    variant: str, tmp_path: Path
) -> None:
    split = write_coco_detection(tmp_path / "data", count=4)
    pretrained = save_family(variant, tmp_path / "pretrained")
    recipe = detection_recipe(tmp_path / "run", split, pretrained, "optim.class_head_lr=0.01")
    run_recipe(recipe)
    lines = lines_of(tmp_path / "run")
    trained = [line for line in lines if line["kind"] == "train"]
    assert trained[-1]["loss"] < trained[0]["loss"]
    assert {"loss_ce", "loss_bbox", "loss_giou", "loss_auxiliary"} <= set(trained[0])
    assert ("loss_proposals" in trained[0]) == variant.endswith("two_stage")
    assert {"backbone", "class_head", "other"} <= set(trained[0]["lr"])
    assert ("offsets" in trained[0]["lr"]) == variant.startswith("deformable")
    best = tmp_path / "run" / "best"
    record = load_recipe(tmp_path / "run" / "recipe.yaml")
    defaults = family_of(load_finished(str(best))).defaults
    assert record.optim.backbone_lr == defaults.backbone_lr
    assert record.evaluation.score_threshold == 0.4, "what was left open is recorded"
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["facts"]["network"] == VARIANTS[variant][1].model_type
    assert report["notes"] == [] and report["threshold_sweep"] and len(report["images"]) == 4
    detector_class, config_class, _ = VARIANTS[variant]
    assert type(load_finished(str(best))) is detector_class
    assert json.loads((best / "config.json").read_text())["model_type"] == config_class.model_type
    [found] = Predictor.from_pretrained(best, device="cpu").stream([next(Path(split.images).iterdir())])
    assert found.detections is found and found.labels.max() < THING_LABELS.num_classes
    again = evaluate_model(
        recipe, build_bundle(recipe.data, recipe.output_dir), str(best), tmp_path / "again"
    )
    assert again["detection"].keys() == lines[-1]["detection"].keys()


def test_commands_on_a_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The batch size is found, the run scored and reported again without what it kept, and two compared."""
    split = write_coco_detection(tmp_path / "data", count=4)
    quick = ["optim.epochs=1", "evaluation.pictures=1"]
    for variant in ("dab_detr", "deformable_detr_two_stage"):
        recipe = detection_recipe(
            tmp_path / variant, split, save_family(variant, tmp_path / "m" / variant), *quick
        )
        found = with_found_batch_size(recipe, recipe)
        assert found.optim.micro_batch_size == 4, "all of a step fit"
        run_recipe(found)
        run = tmp_path / variant
        cli.main(["evaluate", str(run)])
        again = json.loads((run / "evaluation.json").read_text())
        kept = json.loads((run / "best" / "metrics.json").read_text())
        assert again["detection"]["AP"] == pytest.approx(kept["detection"]["AP"], abs=1e-6)
        numbers = json.loads((run / "report.json").read_text())
        (run / PER_IMAGE_FILE).unlink()
        (run / "recipe.yaml").write_text(recipe_to_yaml(recipe))  # as written by hand: it leaves all open
        cli.main(["report", str(run), "--images", "1"])
        anew = json.loads((run / "report.json").read_text())
        assert {name: anew[name] for name in ("classes", "score_threshold", "notes")} == {
            name: numbers[name] for name in ("classes", "score_threshold", "notes")
        }
    runs = [str(tmp_path / variant) for variant in ("dab_detr", "deformable_detr_two_stage")]
    capsys.readouterr()
    cli.main(["compare", *runs, "--out", str(tmp_path / "compared.html")])
    told = capsys.readouterr().out
    assert "model.pretrained" in told and "dab-detr" in told and (tmp_path / "compared.html").is_file()


@pytest.mark.parametrize("variant", ["conditional_detr", "dab_detr", "deformable_detr"])
def test_a_family_without_a_mask_head_is_refused_in_stage_2_by_its_name(variant: str, tmp_path: Path) -> None:
    source = save_family(variant, tmp_path / "detector")
    name = VARIANTS[variant][1].model_type
    with pytest.raises(UserError, match=rf"is a '{name}' model, .* train stage 1 from a `detr` model"):
        load_stage2(str(source), "fresh", LABELS)


def test_a_family_is_found_by_the_model_type() -> None:
    assert family_of(tiny_config()) is DETR
    assert set(FAMILIES) == {"detr", *(config.model_type for _, config, _ in VARIANTS.values())}
    with pytest.raises(UserError, match=r"some/model: is a 'bert' model; this package fine-tunes .*`detr`"):
        family_of(BertConfig(), "some/model")
