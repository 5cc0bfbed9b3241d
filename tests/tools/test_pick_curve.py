"""The active-learning curve: who learns from which images, and the table, without a training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools import pick_curve
from tools.pick_curve import Plan, measure_seed, table


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    images = tmp_path / "data" / "train" / "images"
    images.mkdir(parents=True)
    entries = [{"id": at, "file_name": f"{at:02d}.jpg"} for at in range(20)]
    for entry in entries:
        (images / entry["file_name"]).write_bytes(b"")
    annotations = [{"image_id": entry["id"], "segments_info": []} for entry in entries]
    content = {"images": entries, "annotations": annotations, "categories": []}
    (tmp_path / "data" / "train" / "panoptic.json").write_text(json.dumps(content))
    return Plan(tmp_path, seeds=2, rounds=2, start=5, add=3, steps=7)


def labeled(folder: Path) -> set[str]:
    content = json.loads((folder.parent / "labeled.json").read_text())
    assert [entry["image_id"] for entry in content["annotations"]] == [one["id"] for one in content["images"]]
    return {image["file_name"] for image in content["images"]}


def test_arms_start_alike_and_grow_by_rounds(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def call(words: Sequence[str], log: Path) -> None:
        calls.append(words[0])
        if words[0] == "detr_hf.train":
            run = log.parent / "detection"
            (run / "best").mkdir(parents=True)
            score = len(labeled(run)) / 100 + ("pick" in log.parent.name) * 0.02
            (run / "best" / "metrics.json").write_text(json.dumps({"detection": {"AP": score}}))
            return
        before = labeled(Path(words[2]))
        new = [name for name in sorted(p.name for p in Path(words[3]).iterdir()) if name not in before]
        assert words[4:6] == ["--count", "3"]
        Path(words[7]).mkdir(parents=True)
        picked = {"picked": [{"file": f"x/{name}"} for name in new[:3]]}
        Path(words[7], "picked.json").write_text(json.dumps(picked))

    monkeypatch.setattr(pick_curve, "call", call)
    measure_seed(plan, 0)
    assert calls.count("detr_hf.train") == 5 and calls.count("detr_hf.cli") == 2
    start = labeled(plan.run_folder(0, "", 0))
    for arm in pick_curve.ARMS:
        first, second = (labeled(plan.run_folder(0, arm, number)) for number in (1, 2))
        assert start < first < second and (len(start), len(first), len(second)) == (5, 8, 11)
    recipe = (plan.run_folder(0, "pick", 1).parent / "recipe.yaml").read_text()
    assert "max_steps: 7" in recipe and "seed: 0" in recipe and "pick-1/labeled.json" in recipe
    calls.clear()
    measure_seed(plan, 0)
    assert not calls, "what is there is not done again"
    assert table(plan).splitlines()[2:] == [
        "| 5 | 5.0 | 5.0 | 0.0 | +0.0 |",
        "| 8 | 10.0 | 8.0 | 2.0 | +2.0 |",
        "| 11 | 13.0 | 11.0 | 2.0 | +2.0 |",
    ]
    measure_seed(plan, 1)
    assert labeled(plan.run_folder(1, "", 0)) != start
    assert table(plan).splitlines()[3] == "| 8 | 10.0 ± 0.0 | 8.0 ± 0.0 | 2.0 ± 0.0 | +2.0, +2.0 |"
