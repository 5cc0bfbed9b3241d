"""Recipes written for real files: what `detr-hf init` and `detr-hf train DATA` make of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detr_hf.advice import stages
from detr_hf.advice.look import look_at, outline_share
from detr_hf.advice.machine import start_for
from detr_hf.advice.stages import recipes_of
from detr_hf.advice.write import places_for
from detr_hf.data.sample import Annotation, Sample
from detr_hf.errors import UserError
from detr_hf.recipe import Split, load_recipe
from detr_hf.train import run as run_recipe
from tests.commands import refusal, told

SCRIPT = Path(__file__).resolve().parents[2] / "detr_hf" / "train.py"
BCCD = Path(__file__).resolve().parents[3] / "shared" / "data" / "bccd"
SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
TRIANGLE = [10, 10, 30, 10, 20, 30]


def write_set(
    folder: Path,
    images: int = 5,
    size: tuple[int, int] = (64, 48),
    boxes: int = 2,
    side: float = 20,
    outline: list[float] | None = None,
    splits: tuple[str, ...] = ("train",),
) -> Path:
    """A COCO set of plain images, one class, a folder a split."""
    for number, split in enumerate(splits):
        entries, found = [], []
        (folder / split).mkdir(parents=True)
        for at in range(1, images + 1):
            Image.new("RGB", size, (at, number, 0)).save(folder / split / f"{at}.jpg")
            entries.append({"id": at, "file_name": f"{at}.jpg", "width": size[0], "height": size[1]})
            for one in range(boxes):
                x = float(one % (size[0] - int(side)))
                row: dict[str, Any] = {"id": len(found) + 1, "image_id": at, "category_id": 1, "iscrowd": 0}
                row |= {"bbox": [x, 5.0, side, side], "area": side * side}
                found.append(row | ({"segmentation": [outline]} if outline else {}))
        content = {"images": entries, "annotations": found, "categories": [{"id": 1, "name": "cell"}]}
        (folder / split / "_annotations.coco.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path) -> None:
    monkeypatch.setattr("detr_hf.advice.machine.is_available", lambda checkpoint: False)
    monkeypatch.chdir(tmp_path)


def test_a_run_is_called_after_the_data(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    for name in ("data.yaml", "_annotations.coco.json", "boxes.json"):
        (tmp_path / "cells" / name).touch()
    for data, runs in {"cells": "cells", "cells/data.yaml": "cells", "cells/boxes.json": "boxes"}.items():
        assert places_for(Path("recipe.yaml"), tmp_path / data).runs == Path("runs") / runs
    assert places_for(Path("x.yaml"), tmp_path / "cells" / "_annotations.coco.json").runs.name == "cells"


def test_the_fullest_image_may_be_one_to_validate_on(tmp_path: Path) -> None:
    write_set(tmp_path / "photos", boxes=3, splits=("train",))
    write_set(tmp_path / "photos", boxes=40, splits=("valid",))
    assert look_at(Split(path=str(tmp_path / "photos"))).facts.most_objects == 40


def test_a_recipe_is_written_told_and_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path / "my photos", boxes=40, splits=("train", "test"))
    said = told(["init", "my photos", "--gpu", "t4"], capsys)
    recipe = load_recipe("recipe.yaml")
    assert recipe.data.train == Split(path="my photos") and recipe.data.validation_fraction == 0.2
    assert recipe.output_dir == "runs/my-photos/detection" and recipe.model.num_queries == 50
    text = Path("recipe.yaml").read_text()
    assert "# the fullest image has 40 objects" in text and "5 test images" in text
    assert said.splitlines()[-4:] == [
        "  detr-hf check 'my photos'",
        "  detr-hf train recipe.yaml",
        "  detr-hf evaluate runs/my-photos/detection --split test",
        "  detr-hf predict runs/my-photos/detection/best photos/ --out runs/my-photos/found",
    ]
    assert "  detr-hf train 'my recipe.yaml'" in told(
        ["init", "my photos", "--out", "my recipe.yaml"], capsys
    )
    assert "optim.epochs=60: 1 step an epoch" in said and not Path("recipe-panoptic.yaml").exists()


def test_what_init_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path / "data")
    Path("recipe.yaml").write_text("mine")
    assert "recipe.yaml: is there already" in refusal(["init", "data"], capsys)
    assert Path("recipe.yaml").read_text() == "mine"
    told(["init", "data", "--force"], capsys)
    assert "recipe.yaml/a/b.yaml" in refusal(["init", "data", "--out", "recipe.yaml/a/b.yaml"], capsys)
    assert "ends in .yaml" in refusal(["init", "data", "--out", "recipe.txt"], capsys)
    assert "no such file or folder" in refusal(["init", "absent", "--out", "a.yaml"], capsys)
    assert "tiny checkpoints of detr and deformable" in refusal(
        ["init", "data", "--out", "b.yaml", "--family", "dab"], capsys
    )
    file = tmp_path / "data" / "train" / "_annotations.coco.json"
    file.write_text(file.read_text().replace("20, 20", '"x", 20').replace("20.0, 20.0", '"x", 20.0'))
    assert "detr-hf check data" in refusal(["init", "data", "--out", "c.yaml"], capsys)


def test_large_photographs_are_cut_and_counted_in_windows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "photos", images=2, size=(4032, 3024), boxes=30, side=30)
    told(["init", "photos", "--family", "deformable"], capsys)
    recipe = load_recipe("recipe.yaml")
    assert recipe.data.tiles is not None and recipe.data.tiles.size == 320
    assert recipe.output_dir == "runs/photos-deformable/detection", "not the folder of a DETR's run"
    assert recipe.model.pretrained == "demo-deformable" and recipe.model.num_queries is None


def test_outlines_that_are_no_rectangles_are_masks() -> None:
    def share(*outlines: Any) -> float:
        objects = [Annotation(1, "cell", segmentation=outline) for outline in outlines]
        return outline_share([Sample(None, "a", 1, objects)])

    assert share([SQUARE], [], None) == 0.0
    assert share([TRIANGLE], {"size": [4, 4], "counts": "a"}, [SQUARE]) == pytest.approx(2 / 3)


def test_too_few_outlines_are_told_with_a_way_to_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "cells", outline=TRIANGLE)
    monkeypatch.setattr("detr_hf.advice.look.outline_share", lambda samples: 0.56)
    assert "56% of the objects have an outline that is more than" in told(["init", "cells"], capsys)
    assert not Path("recipe-panoptic.yaml").exists()


def test_outlines_become_both_stages_on_one_converted_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "cells", outline=TRIANGLE)
    boxes, masks = recipes_of("cells", ["optim.max_steps=2", "loss.eos_coefficient=0.3", "output_dir=out"])
    assert boxes.data.train == masks.data.train == Split(path="out/data")
    assert (tmp_path / "out/data/train/panoptic.json").is_file()
    assert boxes.optim.max_steps == masks.optim.max_steps == 2 and boxes.loss.eos_coefficient == 0.3
    assert masks.model.detector == boxes.output_dir + "/best" == "out/detection/best"
    said = capsys.readouterr().out
    assert "and out/panoptic.yaml, with the reasons for all settings" in said, "which init tells, see above"
    assert "  optim.epochs=" in said and "model.pretrained=demo: offline" in said and "optim.lr=" not in said
    written = Path("out/detection.yaml").read_text()
    assert len(recipes_of("cells", ["output_dir=out"])) == 2
    said = capsys.readouterr().out
    assert said == "out/detection.yaml: written before, taken as it is\n"
    assert Path("out/detection.yaml").read_text() == written
    assert len(told(["init", "cells", "--family", "deformable"], capsys).split("detr-hf train")) == 2


def test_id_maps_follow_the_data_unless_something_would_be_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards: images annotated later, which no training ever sees."""
    file = write_set(tmp_path / "cells", boxes=1, outline=TRIANGLE) / "train" / "_annotations.coco.json"
    made = tmp_path / "runs/cells/data/train/panoptic.json"

    def change() -> None:
        content = json.loads(file.read_text())
        content["annotations"].pop()
        file.write_text(json.dumps(content))

    def segments() -> int:
        entries = json.loads(made.read_text())["annotations"]
        return sum(len(entry["segments_info"]) for entry in entries)

    recipes_of("cells")
    (tmp_path / "cells" / "runs").mkdir()  # other files are no change
    (tmp_path / "cells" / "runs" / "report.html").touch()
    recipes_of("cells")
    assert "anew" not in capsys.readouterr().out and segments() == 5
    change()
    recipes_of("cells")
    assert "cells: has changed; its id maps are made anew" in capsys.readouterr().out and segments() == 4
    record = tmp_path / "runs/cells/detection/recipe.yaml"
    for lost in (record, made.with_name("mine.txt")):
        change()
        lost.parent.mkdir(exist_ok=True)
        lost.touch()
        with pytest.raises(UserError, match=r"cells: has changed since .* output_dir=runs/cells-2, or on"):
            recipes_of("cells")
        assert segments() == 4 and not lost.unlink()


def test_overrides_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    write_set(tmp_path / "cells", outline=TRIANGLE)
    for wrong, said in (
        ("optim.lrr=1", "optim.lrr: unknown key"),
        ("optim.epochs=-1", "optim.epochs: must be at least 1"),
        ("model.mask_chunk=-1", "model.mask_chunk: must be at least 1"),
        ("size=7", "size: unknown key; did you mean `data.tiles.size`"),
        ("output_dir=", "output_dir=: is no folder"),
    ):
        with pytest.raises(UserError, match=said):
            recipes_of("cells", [wrong])
    assert not Path("runs").exists()
    assert [one.optim.epochs for one in recipes_of("cells", ["epochs=3"])] == [3, 3]


def test_data_of_one_name_in_two_places_do_not_share_a_run(tmp_path: Path) -> None:
    """Guards: a model of other data, taken for that of the data at hand."""
    write_set(tmp_path / "a" / "cells.v1", outline=TRIANGLE)
    for name in ("a/cells.v2", "b/cells.v1"):
        write_set(tmp_path / name)
    recipes_of("a/cells.v1")
    with pytest.raises(
        UserError, match=r"for other data \(.*/a/cells.v1\), not for b/cells.v1. .*output_dir="
    ):
        recipes_of("b/cells.v1")
    assert recipes_of("b/../a/cells.v1")[0].output_dir == "runs/cells.v1/detection"
    assert recipes_of("a/cells.v2")[0].output_dir == "runs/cells.v2/detection"
    write_set(tmp_path / "b" / "cells.v2")
    with pytest.raises(UserError, match=r"for other data \(a/cells.v2\)"):
        recipes_of("b/cells.v2")
    os.chdir("a")
    with pytest.raises(UserError, match=r"data.train a/cells.v2: there is no such .* current folder .*/a"):
        recipes_of("cells.v2", ["output_dir=../runs/cells.v2"])


def test_a_data_folder_in_runs_is_not_written_into(tmp_path: Path) -> None:
    data = write_set(tmp_path / "runs" / "cells", splits=("test",))
    before = sorted(data.rglob("*"))
    recipe = recipes_of("runs/cells")[0]
    assert recipe.output_dir == "runs/cells-runs/detection" and sorted(data.rglob("*")) == before
    assert look_at(Split(path="runs/cells")).facts.test is None, "the only split is trained on"


def test_of_several_processes_one_writes_and_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "cells", outline=TRIANGLE)
    monkeypatch.setattr("detr_hf.training.distributed.main_process_first", nullcontext)
    monkeypatch.setenv("WORLD_SIZE", "2")
    found, said = [], []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        found.append(recipes_of("cells"))
        said.append(capsys.readouterr().out)
    assert found[0] == found[1] and "written: runs/cells/detection.yaml" in said[0] and not said[1]


def test_a_run_is_resumed_where_it_lies(tmp_path: Path) -> None:
    write_set(tmp_path / "cells")
    [recipe] = recipes_of("cells")
    folder = tmp_path / "moved here"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(Path("runs/cells/detection.yaml").read_text())
    (folder / "metrics.jsonl").write_text("")
    [again] = recipes_of(str(folder), ["optim.epochs=7"])
    assert again.output_dir == str(folder) and again.optim.epochs == 7
    assert recipe.data == again.data


@pytest.mark.skipif(not BCCD.is_dir(), reason="no such data here")
def test_real_photographs_of_blood_cells(capsys: pytest.CaptureFixture[str]) -> None:
    looked = look_at(Split(path=str(BCCD)))
    assert (looked.facts.images, looked.facts.test) == (80, ("test", 20))
    assert looked.facts.masks == "none" and looked.facts.most_objects == 28
    told(["init", str(BCCD), "--out", "bccd.yaml"], capsys)
    assert load_recipe("bccd.yaml").model.num_queries == 50


def test_a_checkpoint_that_can_be_had_is_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detr_hf.advice.machine.is_available", lambda checkpoint: True)
    assert start_for("detr").checkpoint == "facebook/detr-resnet-50"


@pytest.mark.slow
@pytest.mark.parametrize(
    "facts",
    [
        {"boxes": 2, "outline": TRIANGLE},
        {"images": 3, "size": (400, 300), "boxes": 300, "side": 5},
        {"images": 2, "size": (4032, 3024), "boxes": 30, "side": 30},
    ],
    ids=["5 images with outlines", "300 objects an image", "large photographs"],
)
def test_what_is_written_trains(tmp_path: Path, facts: dict[str, Any]) -> None:
    """Two steps of each stage."""
    write_set(tmp_path / "data", **facts)
    words = ["optim.max_steps=2", "evaluation.pictures=1"]
    for recipe in stages.recipes_of("data", words):
        results = run_recipe(recipe)
        assert results["detection"]["AP"] >= 0


@pytest.mark.slow
def test_two_processes_train_both_stages(tmp_path: Path) -> None:
    """Guards: a second stage for which the processes have parted, and a sentence that each of them says."""
    write_set(tmp_path / "data", boxes=1, outline=TRIANGLE)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port"]
    command += [str(20000 + os.getpid() % 20000), str(SCRIPT), "data", "max_steps=2", "batch_size=2"]
    alone = {"HF_DATASETS_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env={**os.environ, **alone}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "stage 2: runs/data/panoptic" in done.stdout
    for once in ("\nwritten: ", "output: runs/data/detection", "output: runs/data/panoptic"):
        assert done.stdout.count(once) == 1
    assert Path("runs/data/panoptic/best/config.json").is_file()
