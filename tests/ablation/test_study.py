"""The study file: which runs follow from it, and what is refused before the first one."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.ablation.study import load_study
from detr_hf.errors import UserError
from detr_hf.recipe import DetectionRecipe, PanopticRecipe, recipe_from_text, recipe_to_yaml
from tests.ablation.fake_runs import STUDY, study_in, write_study

GRID = """
base: detection.yaml
output_dir: {out}
seeds: [1]
design: grid
factors: {{loss.eos_coefficient: [0.1, 0.5], model.num_queries: [100, 50, 25]}}
"""
THEN = STUDY + "then: {{recipe: panoptic.yaml, set: {{evaluation.pictures: 2}}}}\n"


def refused(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        load_study(write_study(folder, text))
    return str(caught.value)


def test_every_variant_runs_with_every_seed(tmp_path: Path) -> None:
    study = study_in(tmp_path, STUDY + "set: {{evaluation.pictures: 0}}\n")
    assert [run.name for run in study.runs][:4] == [
        "base/seed-1/detection",
        "base/seed-2/detection",
        "base/seed-3/detection",
        "no auxiliary losses/seed-1/detection",
    ]
    assert len(study.runs) == 9 and len(study.pairs) == 9
    assert [run.recipe.seed for run in study.runs] == [1, 2, 3] * 3
    assert study.runs[3].folder == tmp_path / "out" / "no-auxiliary-losses" / "seed-1" / "detection"
    assert all(run.recipe.evaluation.pictures == 0 and run.recipe.resume == "auto" for run in study.runs)
    base, plain, ricap = (study.runs[at].recipe for at in (0, 3, 6))
    assert isinstance(base, DetectionRecipe) and base.loss.auxiliary and base.transforms.mix is None
    assert isinstance(plain, DetectionRecipe) and not plain.loss.auxiliary
    assert ricap.transforms.mix is not None and ricap.transforms.mix.name == "ricap"
    assert recipe_from_text(recipe_to_yaml(ricap)) == ricap


def test_a_list_takes_the_place_of_a_list(tmp_path: Path) -> None:
    flip = "  flip: {{transforms.train: [{{name: HorizontalFlip, p: 0.5}}]}}\n"
    assert study_in(tmp_path, STUDY + flip).runs[-1].recipe.transforms.train == [
        {"name": "HorizontalFlip", "p": 0.5}
    ]


def test_a_grid_is_every_combination_and_starts_with_the_base(tmp_path: Path) -> None:
    study = study_in(tmp_path, GRID)
    assert [variant.name for variant in study.variants] == [
        "base",
        "eos_coefficient=0.1, num_queries=50",
        "eos_coefficient=0.1, num_queries=25",
        "eos_coefficient=0.5, num_queries=100",
        "eos_coefficient=0.5, num_queries=50",
        "eos_coefficient=0.5, num_queries=25",
    ]
    last = study.runs[-1].recipe
    assert isinstance(last, DetectionRecipe)
    assert (last.loss.eos_coefficient, last.model.num_queries) == (0.5, 25)


def test_stage_2_builds_on_stage_1_of_the_same_variant_and_seed(tmp_path: Path) -> None:
    study = study_in(tmp_path, THEN)
    assert len(study.runs) == 18 and len(study.pairs) == 9
    for first, second in zip(study.runs[::2], study.runs[1::2], strict=True):
        recipe = second.recipe
        assert second.after == first and second.pair == first.pair and first.after is None
        assert isinstance(recipe, PanopticRecipe) and recipe.seed == first.seed
        assert recipe.model.detector == str(first.folder / "best")
        assert recipe.evaluation.pictures == 2 and second.folder == first.folder.parent / "panoptic"


def test_the_base_may_be_a_recipe_of_the_package(tmp_path: Path) -> None:
    study = study_in(tmp_path, STUDY.replace("detection.yaml", "demo/detection"))
    assert study.runs[0].recipe.data.demo is not None


def test_all_faults_are_told_at_once_each_with_its_variant(tmp_path: Path) -> None:
    text = STUDY + "  bad: {{loss.auxilary: true, optim.epochs: many}}\n  worse: {{model.num_queries: 0}}\n"
    message = refused(tmp_path, text)
    assert "3 faults" in message
    assert "variant `bad`: detection.yaml: loss.auxilary: unknown key; did you mean `auxiliary`?" in message
    assert "variant `bad`: detection.yaml: optim.epochs: expected a whole number" in message
    assert "variant `worse`: detection.yaml: model.num_queries: must be at least 1" in message


def test_a_fault_of_the_base_is_told_once(tmp_path: Path) -> None:
    message = refused(tmp_path, STUDY + "set: {{optim.epochs: 0}}\n")
    assert message.count("optim.epochs") == 1 and "base: detection.yaml" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STUDY.replace("seeds: [1, 2, 3]", "seeds: []"), "seeds"),
        (STUDY.replace("seeds: [1, 2, 3]", "seeds: [1, 1]"), "names a seed twice"),
        (STUDY.replace("seeds: [1, 2, 3]\n", ""), "seeds: missing"),
        (STUDY + "colour: red\n", "colour: unknown key"),
        (STUDY + "seeds: [4]\n", "given twice"),
        (STUDY.split("variants")[0], "variants: missing"),
        (STUDY + "factors: {{optim.lr: [1, 2]}}\n", "factors: does nothing with `design: one_at_a_time`"),
        (GRID.replace("[0.1, 0.5]", "[0.1]"), "needs two values or more"),
        (GRID.replace("[0.1, 0.5]", "[0.1, 0.1]"), "names a value twice"),
        (STUDY + "  same: {{loss.auxiliary: true}}\n", "variant `same`: its recipe is the base's"),
        (STUDY + "  twin: {{loss.auxiliary: false}}\n", "its recipe is that of `no auxiliary losses`"),
        (STUDY + "  No auxiliary/losses: {{optim.lr: 1e-5}}\n", "its folder would be that of"),
        (STUDY + "  base: {{optim.lr: 1e-5}}\n", "its folder would be that of `base`"),
        (STUDY + "  '..': {{optim.lr: 1e-5}}\n", "no folder can have this name"),
        (STUDY + "  idle: {{}}\n", "changes nothing"),
        (STUDY + "  seeded: {{seed: 7}}\n", "variants.seeded.seed: cannot be set here"),
        (STUDY + "set: {{output_dir: x}}\n", "set.output_dir: cannot be set here"),
        (THEN.replace("evaluation.pictures", "model.detector"), "model.detector: cannot be set here"),
        (THEN.replace("panoptic.yaml", "detection.yaml"), "must be `task: panoptic`"),
        (STUDY.replace("detection.yaml", "nothing.yaml"), "/nothing.yaml: there is no such recipe file"),
        (STUDY.replace("detection.yaml", "nothing.yaml"), "study.yaml: 1 fault\n  base: "),
        (THEN.replace("panoptic.yaml", "nothing.yaml"), "study.yaml: 1 fault\n  then.recipe: "),
        ("- a\n- b\n", "a study is a list"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


def test_a_variant_may_end_with_stage_1(tmp_path: Path) -> None:
    study = study_in(tmp_path, THEN.replace("set:", "without: [RICAP], set:", 1))
    stages = [(run.variant, run.stage) for run in study.runs if run.seed == 1]
    assert stages == [
        *(("base", "detection"), ("base", "panoptic")),
        *(("no auxiliary losses", "detection"), ("no auxiliary losses", "panoptic")),
        ("RICAP", "detection"),
    ]
    text = THEN.replace("set:", "without: [ricap], set:", 1)
    assert "then.without: `ricap` is no variant of this study" in refused(tmp_path, text)
