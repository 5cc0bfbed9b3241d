"""A preparation that is killed comes to the same bytes as one that is not."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.data.records import cut_to_whole_lines
from tests.data.messy_sets import WRITE
from tests.data.pipeline_runs import content, messy_run


def in_child(work: Callable[[], None]) -> int:
    """Run in a fork; returns the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        try:
            work()
        except BaseException:
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, "the child failed"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def killed_at(moment: int, work: Callable[[], None], counter: Path | None = None) -> None:
    """Work that gets SIGKILL when it opens, renames or removes a file of RAW or OUT for the ``moment``-th
    time."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link"):
            seen += "/out" in str(arguments[0]) or "/raw" in str(arguments[0])
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    work()
    if counter is not None:
        counter.write_text(str(seen))


def survive(raw: Path, out: Path, wanted: dict[str, str], moments: list[int]) -> None:
    """Kill runs into one folder one after another, then let one finish; the result must be the same."""
    ends = [in_child(lambda at=moment: killed_at(at, messy_run(raw, out).run)) for moment in moments]
    assert ends[0] == signal.SIGKILL  # later ones may come to their end before their moment
    messy_run(raw, out).run()
    now = content(out, "steps", "data.yaml")
    differing = {name for name in now.keys() | wanted.keys() if now.get(name) != wanted.get(name)}
    assert differing == set()


@pytest.fixture(
    scope="module",
    params=["yolo", *(pytest.param(name, marks=pytest.mark.slow) for name in WRITE if name != "yolo")],
)
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str], int]:
    """A messy source, what comes of it (but for data.yaml, which names OUT), and the moments of a run."""
    folder = tmp_path_factory.mktemp("kills")
    raw = folder / "raw"
    WRITE[request.param](raw)
    messy_run(raw, folder / "out").run()  # here, so that no child has to import everything anew
    in_child(lambda: killed_at(-1, messy_run(raw, folder / "again" / "out").run, folder / "moments"))
    return raw, content(folder / "out", "steps", "data.yaml"), int((folder / "moments").read_text())


def test_a_run_killed_again_and_again_comes_to_the_same_bytes(
    undisturbed: tuple[Path, dict[str, str], int], tmp_path: Path
) -> None:
    raw, wanted, count = undisturbed
    assert count > 100 and len(wanted) > 10
    survive(raw, tmp_path / "out", wanted, [count // 9, count // 3, count // 4])


@pytest.mark.slow
def test_ten_runs_killed_at_random_moments_come_to_the_same_bytes(
    undisturbed: tuple[Path, dict[str, str], int], tmp_path: Path
) -> None:
    raw, wanted, count = undisturbed
    before = content(raw)
    rng = np.random.default_rng(0)
    for run, moment in enumerate(rng.integers(1, count, 10).tolist()):
        survive(raw, tmp_path / str(run) / "out", wanted, [moment])
    assert content(raw) == before


@pytest.mark.parametrize("tail", [b"", b'{"a": 1', b'{"a": 1}', b"\0\0\0\n", b"\xff\xfe"])
def test_half_a_line_is_cut_off(tail: bytes, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b'{"a": 1}\n{"b": 2}\n' + tail)
    assert cut_to_whole_lines(tmp_path / "lines") == 2
    assert (tmp_path / "lines").read_bytes() == b'{"a": 1}\n{"b": 2}\n'
