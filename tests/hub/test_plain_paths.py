"""Paths that say where somebody works, and what only looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.hub.plain_paths import is_absolute, last_part, without_paths

HOME = "/".join(["", "home", "me"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"from {HOME}/data/train.json on", "from train.json on"),
        (f"{HOME}/runs/panoptic", "panoptic"),
        (f"# {HOME}/runs/panoptic/\nnext", "# panoptic\nnext"),
        (f"<td>{HOME}/a.png</td>", "<td>a.png</td>"),
        (f'"{HOME}/a.png", `~/b/c.yaml`', '"a.png", `c.yaml`'),
        (f"--out={HOME}/x", "--out=x"),
        (r"in C:\Users\me\train.json", "in train.json"),
        ("see https://example.org/a/b and docs/hub.md", None),
        ("and/or, 3/4, </p></td>, <br/>", None),
        ("data:image/jpeg;base64,/9j/4AAQ/SkZ", None),
        ("x.replace(/[&<>]/g, y)", None),
    ],
)
def test_only_the_last_part_is_kept(text: str, expected: str | None) -> None:
    assert without_paths(text) == (text if expected is None else expected)


def test_what_is_absolute(tmp_path: Path) -> None:
    assert is_absolute(str(tmp_path)) and is_absolute("~/x") and is_absolute(r"C:\x")
    assert not is_absolute("runs/x") and not is_absolute("facebook/detr-resnet-50")
    assert last_part(str(tmp_path / "a.json")) == "a.json"
