"""The Python API: functions that do what the commands do, and leave the process as it was."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import DatasetDict
from PIL import Image

import detr_hf
from detr_hf import Result, Run, cli, evaluate, load_recipe, predict, prepare, train
from detr_hf.errors import UserError
from detr_hf.recipe import DetectionRecipe
from tests.doc_page import Page
from tests.factories import write_coco_detection
from tests.raw_factories import write_tidy_raw

ROOT = Path(__file__).resolve().parents[1]


PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
PROGRAM = Page("docs/python.md", PAGE).of_language("python")[0]


@dataclass
class Program:
    """What the program of six lines left: its run, what it printed, and the sizes of the images it showed."""

    run: Run
    printed: str
    shown: list[tuple[int, int]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Run as it stands, from a data set alone and offline; but for the number of epochs."""
    folder, shown, names = tmp_path_factory.mktemp("api"), [], {}
    split = write_coco_detection(folder / "data" / "my_photos", sizes_hw=[(64, 80), (80, 64)])
    (folder / "photo.jpg").write_bytes((Path(split.images) / "001.jpg").read_bytes())
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(Image.Image, "show", lambda image, *_, **__: shown.append(image.size))
        patch.setattr("detr_hf.advice.machine.is_available", lambda _: False)
        patch.setenv("DISPLAY", ":0")
        patch.chdir(folder)
        exec(compile(PROGRAM.replace("epochs=30", "epochs=1"), "docs/python.md", "exec"), names)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Program(names["run"], printed.getvalue(), shown)


@pytest.fixture
def trained(program: Program) -> Run:
    return program.run


@pytest.fixture
def image(program: Program) -> Path:
    return Path("photo.jpg")


def test_the_program_that_the_page_and_the_readme_show(program: Program) -> None:
    assert PROGRAM in (ROOT / "README.md").read_text(encoding="utf-8") and "epochs=30" in PROGRAM
    assert len([line for line in PROGRAM.splitlines() if line]) <= 6
    assert len(program.shown) == 2, "the curves and the image"
    assert program.printed.count("device: ") == 1
    assert "box head: demo\n  new class head for" in program.printed, "as the recipe names it"
    assert f"\n{program.run.metrics['detection']['AP']}\n" in program.printed
    assert program.run.recipe.optim.epochs == 1 and program.run.folder.parts[0] == "runs"


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- the names


def test_importing_the_package_imports_nothing_of_it() -> None:
    out = in_a_new_process(
        "import sys; before = set(sys.modules); import detr_hf; dir(detr_hf)\n"
        "print({name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    assert out.strip() == "{'detr_hf'}"


@pytest.mark.parametrize("before", ["", "import detr_hf.train\n"])
def test_train_is_the_function_whatever_was_imported_before(before: str) -> None:
    """The entry script is a submodule of the same name, and importing one sets it in its package."""
    code = before + (
        "import inspect\nfrom detr_hf import train\nassert inspect.isfunction(train), train\n"
        "from detr_hf.train import main, run\nimport detr_hf\nimport detr_hf.train as again\n"
        "assert detr_hf.train is train is again\nprint(run.__module__)"
    )
    assert in_a_new_process(code).strip() == "detr_hf.train"


@pytest.mark.parametrize("start", [["-m", "detr_hf.train"], [str(ROOT / "detr_hf" / "train.py")]])
def test_the_script_is_still_run_by_name_and_by_path(start: list[str], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, *start, "no.yaml"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: no.yaml: ")


def test_the_stub_names_what_the_package_gives() -> None:
    stub = (ROOT / "detr_hf" / "__init__.pyi").read_text()
    names = {line.split(" as ")[1] for line in stub.splitlines() if line.startswith("from ")}
    assert names == set(detr_hf.__all__) <= set(dir(detr_hf))
    assert all(getattr(detr_hf, name).__module__.startswith("detr_hf.") for name in names)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = detr_hf.nonsense


# ---- train and what comes back


def test_a_run_tells_its_numbers_and_shows_itself(trained: Run) -> None:
    assert trained.best == trained.folder / "best" and (trained.best / "model.safetensors").is_file()
    written = json.loads((trained.best / "metrics.json").read_text())
    assert trained.metrics == written and trained.scores["AP"] == written["detection"]["AP"]
    assert set(trained.scores) == {"AP", "AP50", "AR"}
    assert f"{written['detection']['AP']:.3f}" in trained._repr_html_()
    assert Run(str(trained.folder)).metrics == written


def test_a_run_is_drawn_by_epoch_and_has_a_page(trained: Run) -> None:
    figure = trained.plot()
    losses, scores = figure.axes
    assert losses.lines[0].get_label() == "loss"
    assert [float(value) for value in scores.lines[0].get_ydata()] == [trained.scores["AP"]]
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    page = trained.report()
    assert page == trained.folder / "report.html"
    page.unlink()
    assert trained.report() == page and page.is_file()


def test_a_second_training_in_the_process_takes_another_precision(trained: Run, tmp_path: Path) -> None:
    """Accelerate refuses a second precision in one process, and training seeds what others draw from."""
    mine = Accelerator()
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    drawn = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    changes = {"mixed_precision": "bf16", "optim": {"lr": 1e-4}, "evaluation.pictures": 0}
    run = train(trained.folder / "recipe.yaml", changes, output_dir=tmp_path / "second")
    assert (torch.rand(1), random.random(), np.random.rand()) == drawn
    assert not torch.are_deterministic_algorithms_enabled()
    assert mine.mixed_precision == "no" and (run.recipe.mixed_precision, run.recipe.optim.lr) == (
        "bf16",
        1e-4,
    )


def test_what_is_wrong_is_said_as_by_the_command(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(trained.folder / "recipe.yaml")
    with pytest.raises(UserError) as refused:
        train(file, {"optim.lrr": 1, "optim.epochs": -1}, output_dir=tmp_path / "none")
    with pytest.raises(SystemExit):
        cli.main(["train", file, "optim.lrr=1", "optim.epochs=-1"])
    assert str(refused.value) in capsys.readouterr().err
    assert "optim.lrr: unknown key; did you mean `lr`?" in str(refused.value)
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match=r"optim\.lrr: unknown key"):
        train(trained, "optim.lrr=1")
    for wrong in ([3], 3):
        with pytest.raises(UserError, match="overrides: 3 is no override; give a dict"):
            train(file, wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the name is empty"):
        train("")


@pytest.mark.parametrize("wrong", [None, 5, ["photos"], {"train": "photos"}, b"photos"])
def test_what_is_no_path_is_refused_by_its_type(wrong: Any) -> None:
    said = f"expected a path .*, got {type(wrong).__name__}"
    for function in (train, evaluate, load_recipe, Run, lambda path: predict("a.jpg", path)):
        with pytest.raises(UserError, match=said):
            function(wrong)
    for paths in ((wrong, "out"), ("photos", wrong)):
        with pytest.raises(UserError, match=said):
            prepare(*paths)


def test_a_data_set_in_memory_is_to_be_saved_first() -> None:
    with pytest.raises(UserError, match=r"got DatasetDict; save it first, with its save_to_disk\(FOLDER\)"):
        train(DatasetDict())  # type: ignore[arg-type]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder of a run"):
        Run(tmp_path)
    (tmp_path / "recipe.yaml").write_text("task: detection\n")
    for ask in (lambda run: run.metrics, lambda run: run.predictor(), evaluate):
        with pytest.raises(UserError, match="has no best/ yet"):
            ask(Run(tmp_path))


# ---- recipes


def test_recipe_classes_take_dicts_and_refuse_what_is_wrong_at_once() -> None:
    recipe = DetectionRecipe(output_dir="runs/x", data={"train": "photos"}, optim={"epochs": 3})  # type: ignore[arg-type]
    assert recipe.data.train is not None and recipe.data.train.path == "photos"
    with pytest.raises(UserError) as refused:
        DetectionRecipe(output_dir="runs/x", data={"train": "photos"}, optim={"epoch": 3})  # type: ignore[arg-type]
    assert "optim.epoch: unknown key; did you mean `epochs`?" in str(refused.value)
    with pytest.raises(UserError, match="data: names no images"):
        DetectionRecipe(output_dir="runs/x", data={}, optim={"epochs": 3})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["detection", "panoptic", "demo/panoptic", "variants/deformable_detr"])
def test_a_recipe_changed_in_nothing_is_the_same(name: str) -> None:
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    assert recipe.with_overrides({}) == recipe


def test_a_dict_at_a_section_leaves_its_other_settings() -> None:
    recipe = load_recipe(
        ROOT / "recipes" / "detection.yaml", {"optim": {"epochs": 3}, "output_dir": Path("a")}
    )
    assert recipe.optim.epochs == 3 and recipe.output_dir == "a"
    assert recipe.optim.batch_size == load_recipe(ROOT / "recipes" / "detection.yaml").optim.batch_size
    assert recipe.with_overrides({"optim.epochs": np.int64(4)}).optim.epochs == 4
    with pytest.raises(UserError, match="cannot be a setting"):
        recipe.with_overrides({"optim.epochs": object()})


# ---- evaluate, predict, prepare


def test_a_model_is_evaluated_on_its_own_data_and_on_other(trained: Run, tmp_path: Path) -> None:
    scored = evaluate(trained)["detection"]
    assert scored["AP"] == pytest.approx(trained.scores["AP"])
    assert (trained.folder / "evaluation.json").is_file()
    other = write_coco_detection(tmp_path / "other", count=3, seed=7)
    found = evaluate(trained.best, other.annotations, "train", out=tmp_path / "out")["detection"]
    objects = [sum(row["objects"] for row in one["per_class"].values()) for one in (scored, found)]
    assert objects[0] != objects[1] and (tmp_path / "out" / "evaluation.md").is_file()
    with pytest.raises(UserError, match="there is no split 'test'"):
        evaluate(trained, data=other.annotations, split="test")


def test_one_image_gives_one_result_and_a_list_a_list(trained: Run, image: Path) -> None:
    one = predict(image, trained, score_threshold=0.05)
    assert isinstance(one, Result)
    for given in (str(image), Image.open(image), np.asarray(Image.open(image).convert("RGB"))):
        again = trained.predict(given).above(0.05)
        np.testing.assert_array_equal(again.boxes_xyxy_px, one.boxes_xyxy_px)
    several = predict([image, str(image)], trained.folder)
    assert isinstance(several, list) and [type(each) for each in several] == [Result, Result]


def test_a_result_lists_names_draws_and_saves(trained: Run, image: Path, tmp_path: Path) -> None:
    result = trained.predict(image).above(0.05)
    assert len(result) == len(result.boxes_xyxy_px) == len(result.scores) == len(result.names) > 0
    assert set(result.names) <= {"brick", "cone", "plank"} and (result.scores > 0.05).all()
    assert [row["label"] for row in result.to_dict()["objects"]] == result.names
    assert result.id_map is None and result.segments == []
    assert len(result.above(0.999)) == 0 and result.above(0.999)
    with pytest.raises(UserError, match=r"found\.xyz: no image format ends in '\.xyz'; write \.jpg or"):
        result.save(tmp_path / "found.xyz")
    file = result.save(tmp_path / "new" / "found.png")
    assert np.array_equal(np.asarray(Image.open(file)), np.asarray(result.draw()))
    page = result._repr_html_()
    assert "data:image/jpeg;base64," in page and f"<td>{result.names[0]}<td>" in page


def test_segments_count_where_there_are_some(image: Path) -> None:
    result = predict(image, "demo", score_threshold=0.3)
    assert result.id_map is not None and result.id_map.shape == (80, 64)
    assert len(result) == len(result.segments) and "segment" in repr(result)


def test_raw_folders_are_prepared(tmp_path: Path) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    changes: dict[str, Any] = {"pseudo_stuff": {"enabled": False}, "num_proc": 1}
    out = prepare(raw, tmp_path / "out", overrides=changes)
    assert (out / "prepare_report.md").is_file() and (out / "data.yaml").is_file()
    with pytest.raises(UserError, match="missing: there is no such file or folder"):
        prepare("missing", tmp_path / "none")
    with pytest.raises(UserError, match="unknown key"):
        prepare(raw, tmp_path / "none", overrides={"pseudo_stuf": {}})


@pytest.mark.parametrize("call", ["train('photos')", "evaluate('run')"])
def test_a_program_without_a_guard_is_told_so_in_the_processes_that_read_it_again(
    call: str, tmp_path: Path
) -> None:
    """Guards: each loading process of macOS and Windows starts the training again, and dies of its lock."""
    file = tmp_path / "program.py"
    file.write_text(
        "import multiprocessing as m\nfrom detr_hf import evaluate, train\n"
        "if __name__ == '__main__':\n"
        "    child = m.get_context('spawn').Process(target=print)\n    child.start()\n    child.join()\n"
        f"else:\n    {call}\n"
    )
    ended = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert 'put the call below `if __name__ == "__main__":`' in ended.stderr
