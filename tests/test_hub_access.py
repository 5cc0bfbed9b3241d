"""A Hub that is not there: cached copies at once, a message at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from detr_hf.hub_access import looks_like_a_folder
from tests.tiny_runs import save_detector

LOAD = """
import sys, time
from detr_hf.errors import UserError
from detr_hf.modeling.model_files import load_processor
from detr_hf.modeling.pretrained import load_finished
from pathlib import Path
from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Place
started = time.monotonic()
load_finished("someone/cached"), load_processor("someone/cached")
print("cached: loaded")
for load in (load_finished, load_processor, lambda name: open_place(Place(Path(name), name), "hub")):
    try:
        load("someone/absent")
    except UserError as error:
        print("told:", str(error).replace(chr(10), " "), f"[chained: {not error.__suppress_context__}]")
print("seconds:", time.monotonic() - started)
"""


def closed_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def cache_model(home: Path) -> None:
    """A model in the Hub's cache, as a download leaves it."""
    repository = home / "hub" / "models--someone--cached"
    save_detector(repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)


def test_an_unreachable_hub_is_asked_once_and_cached_copies_are_used(tmp_path: Path) -> None:
    """Guards: the libraries try every file six times over half a minute, also where it is in the cache."""
    cache_model(tmp_path)
    port = closed_port()
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    alone |= {"HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{port}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], capture_output=True, text=True, env=alone, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.startswith("note: ") for line in lines if "cannot be reached (" in line] == [True]
    assert f"http://127.0.0.1:{port}" in lines[0] and "cached copies are used" in lines[0]
    assert "cached: loaded" in lines
    told = [line for line in lines if line.startswith("told: ")]
    assert len(told) == 3 and all("someone/absent" in line for line in told)
    plain, end = "the Hub cannot be reached, and not all of ", "model.pretrained=demo. [chained: False]"
    assert all(plain in line and line.endswith(end) for line in told[:2])
    assert "Retrying" not in done.stderr, "no second try"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("facebook/detr-resnet-50", False),
        ("detr", False),
        ("runs/detection", False),
        ("runs/detection/best", True),
        ("./best", True),
        ("~/best", True),
        ("/data/best", True),
        ("C:\\\\best", True),
    ],
)
def test_what_can_only_be_a_path(name: str, folder: bool) -> None:
    assert looks_like_a_folder(name) is folder
