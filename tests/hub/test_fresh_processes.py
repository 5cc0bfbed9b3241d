"""From the Hub into processes that have nothing else: stock transformers, and ours."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DetrForSegmentation, pipeline

from detr_hf.demo.dataset import ensure_dataset
from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.hub.facts import run_facts
from detr_hf.hub.push import push_run
from detr_hf.inference import Predictor
from detr_hf.recipe import Hub
from tests.hub.runs import finished_run
from tests.hub.server import LoopbackHub

ROOT = Path(__file__).parents[2]
THRESHOLD = 0.5

LOAD = """
import hashlib, json, sys
import numpy as np
from PIL import Image
from transformers import DetrForSegmentation, DetrImageProcessor, pipeline

def facts(found):
    mask = lambda one: hashlib.sha256(np.asarray(one["mask"]).tobytes()).hexdigest()
    return sorted([one["label"], round(one["score"], 4), mask(one)] for one in found)

model = DetrForSegmentation.from_pretrained("user/yard")
processor = DetrImageProcessor.from_pretrained("user/yard")
image, settings = Image.open(sys.argv[1]), {"subtask": "panoptic", "threshold": THRESHOLD}
built = pipeline("image-segmentation", model=model, image_processor=processor)
print("answer", json.dumps(facts(built(image, **settings))))
"""

REFUSED = """
from detr_hf.errors import UserError
from detr_hf.inference import Predictor
try:
    Predictor.from_pretrained("user/yard")
except UserError as error:
    print("told:", " ".join(str(error).split()))
"""


def fresh_python(
    code: str, hub: LoopbackHub, home: Path, *arguments: str, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python code in ``home``, where its caches are too; it knows the Hub by its environment alone."""
    home.mkdir(exist_ok=True)
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    alone |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    alone |= {"PYTHONPATH": str(ROOT), **({"HF_TOKEN": token} if token else {})}
    words = [sys.executable, "-c", code, *arguments]
    return subprocess.run(words, cwd=home, env=alone, capture_output=True, text=True, timeout=300)


def segments(found: list[dict[str, Any]]) -> list[list[Any]]:
    return sorted(
        [one["label"], round(one["score"], 4), hashlib.sha256(np.asarray(one["mask"]).tobytes()).hexdigest()]
        for one in found
    )


@pytest.fixture
def pushed(tmp_path: Path, hub: LoopbackHub) -> tuple[Path, Path, list[list[Any]]]:
    """The run that was pushed and, as "v1", an older one are on the Hub; a photo, and its segments before."""
    older = finished_run(tmp_path / "older", seed=3)
    run = finished_run(tmp_path / "run")
    for file in CHECKPOINT.iterdir():  # a model that has learned to see yards
        shutil.copy(file, run / "best")
    target = Hub(repo_id="user/yard")
    push_run(run_facts(older), replace(target, revision="v1"))
    push_run(run_facts(run), target)
    ensure_dataset(tmp_path / "yard", {"validation": 1}, seed=0)
    [photo] = (tmp_path / "yard" / "validation" / "images").iterdir()
    find = pipeline("image-segmentation", model=str(run / "best"))
    wanted = segments(find(Image.open(photo), subtask="panoptic", threshold=THRESHOLD))
    assert len(wanted) > 1, "nothing to compare"
    return run, photo, wanted


def test_what_comes_from_the_hub_finds_the_same_segments_as_before_the_push(
    tmp_path: Path, pushed: tuple[Path, Path, list[list[Any]]]
) -> None:
    run, photo, wanted = pushed
    [ours] = Predictor.from_pretrained(run / "best", score_threshold=THRESHOLD).stream([photo])
    named = pipeline("image-segmentation", model="user/yard")
    assert segments(named(Image.open(photo), subtask="panoptic", threshold=THRESHOLD)) == wanted
    there = Predictor.from_pretrained("user/yard", score_threshold=THRESHOLD).predict([photo])
    assert np.array_equal(there[0].id_map, ours.id_map) and there[0].segments == ours.segments
    old = DetrForSegmentation.from_pretrained("user/yard", revision="v1").state_dict()
    before = DetrForSegmentation.from_pretrained(tmp_path / "older" / "best").state_dict()
    assert all(torch.equal(old[name], weight) for name, weight in before.items())


@pytest.mark.slow
def test_a_fresh_process_of_stock_transformers_finds_them_too(
    tmp_path: Path, hub: LoopbackHub, pushed: tuple[Path, Path, list[list[Any]]]
) -> None:
    _, photo, wanted = pushed
    code = LOAD.replace("THRESHOLD", str(THRESHOLD))
    done = fresh_python(code, hub, tmp_path / "home", str(photo), token=hub.token)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("answer ")]
    assert json.loads(line.removeprefix("answer ")) == wanted


@pytest.mark.slow
def test_the_command_and_a_private_repository_in_fresh_processes(tmp_path: Path, hub: LoopbackHub) -> None:
    run = finished_run(tmp_path / "run")
    code = "import sys; from detr_hf.cli import main; main(sys.argv[1:])"
    home = tmp_path / "home"
    done = fresh_python(code, hub, home, "push", str(run), "user/yard", token=hub.token)
    assert done.returncode == 0, done.stderr
    assert f"is on the Hub: {hub.url}/user/yard/commit/" in done.stdout
    assert hub.token not in done.stdout + done.stderr
    for folder in (home, run):
        for file in folder.rglob("*"):
            assert not file.is_file() or hub.token.encode() not in file.read_bytes(), file
    alone = fresh_python(REFUSED, hub, tmp_path / "stranger")
    assert "told: user/yard: " in alone.stdout, alone.stderr
    wrong = fresh_python(REFUSED, hub, tmp_path / "wrong", token="hf_" + "a" * 30)
    assert "told: user/yard: " in wrong.stdout, wrong.stderr


def test_a_mistaken_command_answers_without_torch() -> None:
    code = (
        "import sys\nfrom detr_hf import cli\n"
        "try: cli.main(['push', 'x', 'y'])\n"
        "except SystemExit as end: assert end.code == 2\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "expected the id of a repository" in done.stderr
