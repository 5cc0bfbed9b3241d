"""sdist and wheel: built from a clean copy, installed alone, used far from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import detr_hf
from detr_hf.cli import find_commands

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
