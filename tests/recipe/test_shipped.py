"""Every YAML file under recipes/ is what it says it is."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from detr_hf.ablation.study import load_study
from detr_hf.errors import UserError
from detr_hf.loading.transforms import build_transforms
from detr_hf.recipe import (
    DetectionRecipe,
    PanopticRecipe,
    Split,
    detr_training_transforms,
    detr_validation_transforms,
    load_recipe,
    recipe_from_text,
    recipe_to_yaml,
    shipped,
)
from detr_hf.recipe.prepare import load_prepare_recipe, prepare_recipe_from_text, prepare_recipe_to_yaml
from tests.commands import told
from tests.doc_commands import check_torchrun

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes"
FILES = sorted(FOLDER.rglob("*.y*ml"))
LAUNCH = [file for file in FILES if file.parent.name == "launch"]
PREPARING = [file for file in FILES if file.name == "dataset.yaml"]
STUDIES = [file for file in FILES if file.stem.startswith("ablation")]
RECIPES = [file for file in FILES if file not in LAUNCH + PREPARING + STUDIES]


def name(file: Path) -> str:
    return file.relative_to(FOLDER).as_posix()


def test_the_recipes_are_there() -> None:
    names = {name(file) for file in FILES}
    assert {"detection.yaml", "panoptic.yaml", "demo/detection.yaml", "demo/panoptic.yaml"} <= names
    assert {f"launch/{kind}.yaml" for kind in ("cpu", "one_gpu", "eight_gpus", "two_nodes")} <= names


@pytest.mark.parametrize("file", RECIPES, ids=name)
def test_a_recipe_loads_and_survives_being_saved(file: Path) -> None:
    recipe = load_recipe(file)
    assert recipe_from_text(recipe_to_yaml(recipe)) == recipe


@pytest.mark.parametrize("file", STUDIES, ids=name)
def test_the_recipes_of_a_study_load(file: Path) -> None:
    study = load_study(file)
    assert len(study.runs) >= 3 * len(study.variants)
    for run in study.runs:
        assert recipe_from_text(recipe_to_yaml(run.recipe)) == run.recipe


@pytest.mark.parametrize("file", PREPARING, ids=name)
def test_a_recipe_of_a_data_set_loads_and_survives_being_saved(file: Path) -> None:
    recipe = load_prepare_recipe(file)
    assert prepare_recipe_from_text(prepare_recipe_to_yaml(recipe)) == recipe


def test_the_main_recipe_of_a_data_set_writes_out_the_defaults() -> None:
    """But for its preset: what a command without a recipe does is of no trade."""
    assert load_prepare_recipe(FOLDER / "dataset.yaml", ["preset=null"]) == load_prepare_recipe(None)
    assert load_prepare_recipe(FOLDER / "dataset.yaml").preset == "construction"


@pytest.mark.parametrize("file", RECIPES, ids=name)
def test_its_transforms_can_be_built(file: Path) -> None:
    recipe = load_recipe(file)
    build_transforms(recipe.transforms.train, "transforms.train")
    build_transforms(recipe.transforms.validation, "transforms.validation")


def test_no_two_recipes_write_to_one_folder() -> None:
    folders = [load_recipe(file).output_dir for file in RECIPES]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("file", ["detection.yaml", "panoptic.yaml"])
def test_the_main_recipes_write_out_detrs_policy(file: str) -> None:
    recipe = load_recipe(FOLDER / file)
    assert recipe.transforms.train == detr_training_transforms()
    assert recipe.transforms.validation == detr_validation_transforms()
    assert recipe.mixed_precision == "bf16" and recipe.data.train == Split(path="data/prepared")
    assert (recipe.optim.batch_size, recipe.optim.clip_norm) == (16, 0.1)
    assert recipe.optim.lr in (None, 1e-4), "the family's"
    assert recipe.evaluation.score_threshold in (None, 0.85), "the family's"


STAGES = [
    ("detection.yaml", "panoptic.yaml"),
    ("demo/detection.yaml", "demo/panoptic.yaml"),
    ("demo/coco_sample_detection.yaml", "demo/coco_sample_panoptic.yaml"),
]


@pytest.mark.parametrize(("first", "second"), STAGES)
def test_stage_two_goes_on_from_stage_one(first: str, second: str) -> None:
    """The detector of stage 2 is what stage 1 leaves, and both see the same images and classes."""
    boxes, masks = load_recipe(FOLDER / first), load_recipe(FOLDER / second)
    assert isinstance(boxes, DetectionRecipe) and isinstance(masks, PanopticRecipe)
    assert masks.model.detector == f"{boxes.output_dir}/best"
    assert boxes.data == masks.data


def test_the_slurm_script_is_a_script_and_its_torchrun_command_is_one() -> None:
    file = FOLDER / "launch" / "slurm.sh"
    checked = subprocess.run(["bash", "-n", str(file)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    command = file.read_text().split("\nsrun torchrun ")[1].replace("\\\n", " ")
    words = shlex.split(command.replace('"$@"', "recipes/detection.yaml"))
    assert check_torchrun(words, ROOT) == []


@pytest.mark.parametrize("file", LAUNCH, ids=name)
def test_accelerate_reads_the_launch_configurations(file: Path) -> None:
    """Through accelerate's own loader, which refuses unknown keys."""
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(file))
    processes = {"cpu": 1, "one_gpu": 1, "eight_gpus": 8, "two_nodes": 16}[file.stem]
    assert config.num_processes == processes
    assert config.distributed_type.value == ("NO" if processes == 1 else "MULTI_GPU")
    assert config.num_machines == (2 if file.stem == "two_nodes" else 1)
    assert config.use_cpu == (file.stem == "cpu")
    assert config.mixed_precision == "no"


def test_a_shipped_recipe_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever one is, and in a wheel, where the folder lies inside the package."""
    monkeypatch.chdir(tmp_path)
    assert load_recipe("detection") == load_recipe(FOLDER / "detection.yaml")
    assert load_recipe("recipes/demo/bccd.yaml") == load_recipe("demo/bccd")
    assert len(load_study(Path("variants/ablation_construction")).runs) > 3, "its base lies beside it"
    shutil.copytree(FOLDER, tmp_path / "installed")
    monkeypatch.setattr(shipped, "IN_WHEEL", tmp_path / "installed")
    assert set(shipped.shipped_files()) == {name(file).removesuffix(".yaml") for file in FILES}
    assert shipped.shipped_recipe("panoptic") == tmp_path / "installed" / "panoptic.yaml"


def test_a_file_of_ones_own_comes_before_a_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "detection").mkdir()
    assert shipped.find_recipe("detection") == FOLDER / "detection.yaml", "a folder is no recipe"
    with pytest.raises(UserError, match=r"detection\.yaml: there is no such recipe file"):
        load_recipe("detection.yaml")  # a file that somebody lost is not replaced by another
    (tmp_path / "detection.yaml").write_text((FOLDER / "demo" / "bccd.yaml").read_text("utf-8"))
    assert load_recipe("detection.yaml") == load_recipe("demo/bccd")


def test_a_name_that_no_recipe_has_is_told_with_those_there_are() -> None:
    with pytest.raises(
        UserError, match=r"no such recipe file, .*did you mean 'panoptic'.*`detr-hf recipes` lists"
    ):
        load_recipe("panoptik")


def test_the_recipes_are_in_the_wheel() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    assert built["targets"]["wheel"]["force-include"]["recipes"] == "detr_hf/recipes"


def test_the_recipes_are_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = dict(line.split(maxsplit=1) for line in told(["recipes"], capsys).splitlines())
    assert {"variants/dab_detr", "launch/eight_gpus"} < set(listed)
    assert listed["dataset"] == "From annotated images, in whatever format, to one data set"
    assert listed["variants/ablation_construction"].endswith("and stage 2 on what they leave")
    assert told(["recipes", "demo/bccd"], capsys) == (FOLDER / "demo" / "bccd.yaml").read_text("utf-8")
