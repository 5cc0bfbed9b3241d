"""sdist and wheel: built from a clean copy, installed alone, used far from the checkout."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image

import detr_hf
from detr_hf.cli import find_commands
from tests import exports

ROOT = Path(__file__).parents[1]
KEPT = {".ci", ".github"}
LEFT_OUT = {"runs", "data", "build", "dist", "shared"}  # what users and runs leave in a checkout

pytestmark = pytest.mark.slow
pytest.importorskip("build")
pytest.importorskip("twine")


def run(*words: str | Path, cwd: Path) -> str:
    """What a command prints, without network and without the checkout on its path."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    env |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both files: the sdist of a clean copy, and the wheel of that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "copy"
    copy.mkdir()
    for entry in sorted(ROOT.iterdir()):
        if entry.is_dir() and (entry.name in KEPT or (entry.name[0] != "." and entry.name not in LEFT_OUT)):
            shutil.copytree(entry, copy / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif entry.is_file():
            shutil.copy(entry, copy)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=copy)
    shutil.rmtree(copy)
    return folder


@pytest.fixture(scope="module")
def programs(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `bin` of an environment with the wheel, which sees the packages that are installed here."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    [wheel] = dist.glob("*.whl")
    run(folder / "bin" / "python", "-m", "pip", "install", "--no-index", "--no-deps", "-q", wheel, cwd=folder)
    [packages] = folder.glob("lib/python*/site-packages")
    here = [entry for entry in sys.path if entry.endswith("site-packages")]
    (packages / "here.pth").write_text(
        "\n".join(here) + "\n"
    )  # behind its own; paths alone, no .pth files there
    return folder / "bin"


def test_an_index_would_take_both(dist: Path) -> None:
    files = sorted(dist.iterdir())
    assert [file.suffix for file in files] == [".whl", ".gz"]
    run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=dist)


def test_the_package_is_that_of_the_wheel(programs: Path, tmp_path: Path) -> None:
    where = run(programs / "python", "-c", "import detr_hf; print(detr_hf.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(programs.parent)
    assert detr_hf.__version__ in run(programs / "detr-hf", "--version", cwd=tmp_path)
    said = run(programs / "detr-hf", "--help", cwd=tmp_path)
    assert [name for name in find_commands() if name not in said] == []
    last = run(programs / "detr-hf", "check", "--help", cwd=tmp_path).splitlines()[-1]
    page = Path(last.removeprefix("page: "))
    assert page.is_relative_to(programs.parent) and page.is_file()
    assert all(
        (page.parent / command.PAGE.partition("#")[0]).is_file() for command in find_commands().values()
    )


def test_both_stages_train_and_predict_in_an_empty_folder(programs: Path, tmp_path: Path) -> None:
    small = ["data.demo.train=4", "data.demo.validation=2", "data.demo.folder=yard", "optim.max_steps=2"]
    command = programs / "detr-hf"
    run(command, "train", "demo/detection", *small, "output_dir=boxes", cwd=tmp_path)
    run(
        command,
        "train",
        "demo/panoptic",
        *small,
        "model.detector=boxes/best",
        "output_dir=masks",
        cwd=tmp_path,
    )
    image = next((tmp_path / "yard" / "validation" / "images").iterdir())
    for model in ("boxes", "masks"):
        run(command, "predict", f"{model}/best", image, "--out", f"{model}-found", cwd=tmp_path)
        assert len(list((tmp_path / f"{model}-found").iterdir())) >= 2
        assert (tmp_path / model / "report.html").is_file()


# ---- docs/transcripts.md


SECTIONS = re.split(r"^## ", (ROOT / "docs" / "transcripts.md").read_text(encoding="utf-8"), flags=re.M)[1:]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but what the page begins with: three exports, and new photographs."""
    folder, drawn = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("drawn")
    images = exports.yards(drawn / "yard", 16, seed=1)
    exports.roboflow(folder / "data" / "helmets", images)
    exports.yolo(folder / "data" / "bottles", images)
    exports.cvat_zip(folder / "data" / "job_12.zip", images)
    (folder / "photos").mkdir()
    for image in exports.yards(drawn / "more", 2, seed=2):
        shutil.copy(image.file, folder / "photos")
    return folder


@pytest.mark.parametrize("section", SECTIONS, ids=[section.partition("\n")[0] for section in SECTIONS])
def test_a_transcript_gives_a_model_and_drawn_predictions(section: str, programs: Path, empty: Path) -> None:
    [block] = re.findall(r"^```bash\n(.*?)^```", section, re.M | re.S)
    commands = [shlex.split(line) for line in block.splitlines()]
    assert len(commands) == 3
    said = [
        line
        for program, *words in commands
        for line in run(programs / program, *words, cwd=empty).split("\n")
    ]
    printed = re.findall(r"^```text\n(.*?)^```", section, re.M | re.S)[-1].splitlines()
    assert printed and [line for line in printed if line not in said] == []
    model, source, out = (empty / commands[-1][at] for at in (2, 3, 5))
    assert (model / "model.safetensors").is_file() and (model.parent / "report.html").is_file()
    images = {file.stem for file in source.iterdir() if file.suffix == ".jpg"}
    assert images and {file.stem for file in out.glob("*.json")} == images
    for drawing in (file for file in out.iterdir() if file.suffix != ".json"):
        with Image.open(drawing) as opened:
            assert min(opened.size) >= 200


def test_the_page_has_one_export_of_each_kind() -> None:
    assert [re.split(r"[,\n]", section)[0] for section in SECTIONS] == ["Roboflow", "YOLO", "CVAT"]
