"""What a run refuses of its devices; the death of another process in one sentence; errors told once."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType

from detr_hf import errors
from detr_hf.errors import UserError, exit_with_message
from detr_hf.recipe import Recipe, recipe_from_text
from detr_hf.training.distributed import LostProcessError, explain_lost_processes, set_up_device
from detr_hf.training.loop import train
from tests.factories import write_coco_detection
from tests.tiny_runs import assembled, detection_recipe, save_detector


def test_a_killed_loading_process_is_told_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel does when memory runs out: in the middle of a step, not while waiting for a batch."""
    from detr_hf.training import engine

    split = write_coco_detection(tmp_path / "data", count=8)
    start = save_detector(tmp_path / "start")
    run = assembled(detection_recipe(tmp_path / "run", split, start, "data.workers=1"))

    def step(*_: object) -> dict[str, float]:
        import psutil

        for child in psutil.Process().children():
            child.send_signal(signal.SIGKILL)
        time.sleep(5)
        return {"loss": 0.0}

    monkeypatch.setattr(engine, "optimizer_step", step)
    told = r"data\.workers: a loading process ended .*memory usually ran out"
    with pytest.raises(LostProcessError, match=told), explain_lost_processes():
        train(run)


@pytest.mark.parametrize(
    "said",
    [
        "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1234",
        "Connection reset by peer",
        "Timed out waiting 1800000ms for recv operation to complete",
    ],
)
def test_a_lost_training_process_is_told_plainly(said: str) -> None:
    told = "the processes of this run lost touch"
    with pytest.raises(LostProcessError, match=told), explain_lost_processes():
        raise RuntimeError(f"{said}\nException raised from ...")
    with pytest.raises(LostProcessError), explain_lost_processes():
        raise torch.distributed.DistBackendError("NCCL communicator was aborted")


def test_other_faults_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="size mismatch") as caught, explain_lost_processes():
        raise RuntimeError("size mismatch")
    assert not isinstance(caught.value, UserError)


def test_the_first_process_of_a_machine_tells_at_once_and_the_others_wait(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A launcher ends the others as soon as the first is gone, so one fault of all is told once."""
    waited: list[float] = []
    monkeypatch.setattr(errors.time, "sleep", waited.append)
    for rank, expected in (("0", []), ("1", [errors.HEAD_START])):
        monkeypatch.setenv("LOCAL_RANK", rank)
        waited.clear()
        with pytest.raises(SystemExit) as ended, exit_with_message():
            raise UserError("the recipe is wrong")
        assert ended.value.code == 2 and waited == expected
        assert capsys.readouterr().err == "error: the recipe is wrong\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_is_no_fault_of_ours(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), exit_with_message():
        raise OSError(number, os.strerror(number), "runs/x/results.md")
    assert capsys.readouterr().err == f"error: runs/x/results.md: {os.strerror(number)}\n"
    with pytest.raises(FileNotFoundError), exit_with_message():
        Path("/nowhere/at/all").read_text()


# ---- devices


def recipe(*overrides: str) -> Recipe:
    return recipe_from_text(
        "{task: detection, output_dir: out, data: {demo: {}}, optim: {epochs: 1}}", overrides
    )


def accelerator(kind: DistributedType = DistributedType.NO, device: str = "cpu") -> SimpleNamespace:
    return SimpleNamespace(distributed_type=kind, device=torch.device(device))


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_a_launcher_that_splits_the_model_is_refused(kind: str) -> None:
    with pytest.raises(UserError, match=rf"asks for {kind}, which splits the model.*docs/scaling\.md"):
        set_up_device(recipe(), accelerator(DistributedType(kind)))


def test_tf32_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match=r"compute\.tf32: needs an NVIDIA GPU, and this run is on cpu"):
        set_up_device(recipe("compute.tf32=true"), accelerator())


@pytest.mark.parametrize("wanted", [True, False])
def test_products_and_convolutions_follow_the_recipe(wanted: bool) -> None:
    """guards: convolutions in TF32 by default, whatever is said of matrix products."""
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    try:
        set_up_device(recipe(*["compute.tf32=true"] * wanted), accelerator(device="cuda"))
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == wanted
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_a_run_can_be_repeated_bit_for_bit_unless_it_says_otherwise() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    try:
        for wanted in (False, True):
            set_up_device(recipe(*["compute.deterministic=false"] * (not wanted)), accelerator())
            assert torch.are_deterministic_algorithms_enabled() == wanted
        assert torch.is_deterministic_algorithms_warn_only_enabled(), "a missing kernel is told, not refused"
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)
