"""Several processes and several machines: what one does not survive, none does; and what all do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from detr_hf.recipe import Recipe, recipe_to_yaml
from tests.factories import write_coco_detection
from tests.tiny_runs import detection_recipe, lines_of, save_detector

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "detr_hf" / "train.py"

pytestmark = pytest.mark.slow


def environment(folder: Path) -> dict[str, str]:
    alone = {"HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **alone, "ACCELERATE_USE_CPU": "true"}


def recipe_of(folder: Path, *overrides: str) -> Path:
    split = write_coco_detection(folder / "data", count=4)
    changes = ["optim.micro_batch_size=1", "evaluation.pictures=0", *overrides]
    recipe: Recipe = detection_recipe(folder / "run", split, save_detector(folder / "start"), *changes)
    (folder / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    return folder / "recipe.yaml"


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def start(file: Path, *launcher: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", *launcher, str(SCRIPT), str(file)]
    log = (file.parent / f"log{len(list(file.parent.glob('log*')))}").open("w")
    return subprocess.Popen(
        command, cwd=file.parent, env=environment(file.parent), stdout=log, stderr=log, text=True
    )


def machines(file: Path) -> list[subprocess.Popen[str]]:
    """Two machines of one process each, as the documentation has it, on this one."""
    common = ["--nnodes", "2", "--nproc_per_node", "1", "--master_addr", "127.0.0.1"]
    common += ["--master_port", free_port()]
    return [start(file, *common, "--node_rank", str(rank)) for rank in (0, 1)]


def logs(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("log*"))]


def wait_until_it_trains(folder: Path) -> None:
    for _ in range(3000):
        if (folder / "run" / "last").is_dir():
            return
        time.sleep(0.1)
    raise AssertionError("\n".join(logs(folder)))


def workers_of(launcher: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(launcher.pid).children(recursive=True)
    return [one for one in children if str(SCRIPT) in one.cmdline()]


def seconds_until_both_end(launchers: list[subprocess.Popen[str]]) -> float:
    started = time.monotonic()
    for launcher in launchers:
        launcher.wait(timeout=120)
    return time.monotonic() - started


def test_two_machines_train_and_evaluate(tmp_path: Path) -> None:
    both = machines(recipe_of(tmp_path))
    for launcher in both:
        assert launcher.wait(timeout=400) == 0, "\n".join(logs(tmp_path))
    assert [line["kind"] for line in lines_of(tmp_path / "run") if line["step"] == 2] == [
        "train",
        "validation",
    ]
    assert sum("Best on the validation split" in text for text in logs(tmp_path)) == 1


def test_the_death_of_one_machine_ends_the_other_within_a_minute(tmp_path: Path) -> None:
    both = machines(recipe_of(tmp_path, "optim.epochs=1000", "evaluation.every=1000"))
    try:
        wait_until_it_trains(tmp_path)
        family = [*workers_of(both[1]), psutil.Process(both[1].pid)]
        for process in family:
            process.kill()
        assert seconds_until_both_end(both) < 60
        assert both[0].returncode != 0
        first = logs(tmp_path)[0]
        assert "error: the processes of this run lost touch" in first and "last checkpoint" in first
    finally:
        for launcher in both:
            launcher.kill()


def test_the_death_of_one_process_ends_all_and_the_run_goes_on(tmp_path: Path) -> None:
    file = recipe_of(tmp_path, "optim.epochs=1000", "evaluation.every=1000")
    launcher = start(file, "--standalone", "--nproc_per_node", "2")
    try:
        wait_until_it_trains(tmp_path)
        workers = workers_of(launcher)
        workers[1].send_signal(signal.SIGKILL)
        assert seconds_until_both_end([launcher]) < 60
        assert launcher.returncode != 0
        assert not [one for one in workers if one.is_running() and one.status() != "zombie"]
    finally:
        launcher.kill()


def test_a_fault_of_all_is_told_once(tmp_path: Path) -> None:
    file = recipe_of(tmp_path)
    file.write_text(file.read_text().replace("batch_size: 4", "batch_size: three", 1))
    launcher = start(file, "--standalone", "--nproc_per_node", "2")
    assert launcher.wait(timeout=200) != 0
    told = logs(tmp_path)[0]
    assert told.count("batch_size: expected a whole number") == 1, told
    assert 'File "' not in told.split("error: ")[1].split("\n")[0]


def test_sigterm_to_the_launcher_saves_on_all_processes(tmp_path: Path) -> None:
    file = recipe_of(tmp_path, "optim.epochs=1000", "evaluation.every=1000")
    launcher = start(file, "--standalone", "--nproc_per_node", "2")
    try:
        wait_until_it_trains(tmp_path)
        launcher.send_signal(signal.SIGTERM)
        assert seconds_until_both_end([launcher]) < 60
        told = logs(tmp_path)[0]
        assert "stopped by SIGTERM after step" in told and launcher.returncode != 0
    finally:
        launcher.kill()
