"""A new format is one file: with it alone, check, repaired copy, convert and training know it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.data import sources
from detr_hf.data.build import build_bundle
from detr_hf.data.check import check, fix, open_target
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_folder
from detr_hf.errors import UserError
from detr_hf.recipe import Data, Split
from tests.data import valid_sets

ROOT = Path(__file__).resolve().parents[3]


class ToySource(Source):
    """Lines `image class x y w h` in boxes.toy."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, str(folder)
        lines = (folder / "boxes.toy").read_text(encoding="utf-8").splitlines()
        self.lines = [line.split() for line in lines]

    @property
    def key(self) -> str:
        return hash_of_folder(self.folder)

    def categories(self) -> list[dict[str, Any]]:
        names = sorted({line[1] for line in self.lines})
        return [{"id": at, "name": name} for at, name in enumerate(names, start=1)]

    def samples(self) -> Iterator[Sample]:
        for at, name in enumerate(sorted({line[0] for line in self.lines}), start=1):
            objects = [
                Annotation(number, line[1], [float(value) for value in line[2:]], where=f"line {number}")
                for number, line in enumerate(self.lines, start=1)
                if line[0] == name
            ]
            yield Sample(self.folder / name, name, at, objects)

    def __len__(self) -> int:
        return len({line[0] for line in self.lines})


@pytest.fixture
def toy_door(monkeypatch: pytest.MonkeyPatch) -> None:
    door: Any = ModuleType("toy")
    door.FORMAT, door.TITLE, door.LOOKS_FOR, door.ORDER = "toy", "toys", "boxes.toy", 1
    door.detect = lambda path: (path / "boxes.toy").is_file()
    door.open_splits = lambda place: Opened({"train": ToySource(place.path)})
    known = {"toy": door, **sources.doors()}
    monkeypatch.setattr(sources, "doors", lambda: known)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "set"
    made.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(made / name)
    (made / "boxes.toy").write_text("a.png cat 5 6 20 18\na.png dog 34 20 40 15\nb.png cat 1 1 9 9\n")
    return made


@pytest.mark.usefixtures("toy_door", "own_cache")
def test_a_new_door_is_all_that_a_format_needs(folder: Path, tmp_path: Path) -> None:
    target = open_target(str(folder))
    assert target.remarks == (f"{folder}: toys (format: toy); images: train 2",)
    assert check(target, threads=1).report.count("box-clipped") == 1
    fix(target, tmp_path / "repaired")
    for path in (folder, tmp_path / "repaired"):
        bundle = build_bundle(Data(train=Split(path=str(path)), overfit=2), tmp_path / "run")
        assert bundle.labels.names == ("cat", "dog")
        assert bundle.dataset["train"]["objects"][0]["bbox"] == [[5, 6, 20, 18], [34, 20, 30, 15]]


def test_the_documentation_lists_every_format() -> None:
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert [name for name in sources.doors() if f"| `{name}` |" not in text] == []


def test_what_no_door_knows_is_described_beside_what_each_looks_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError) as caught:
        sources.open_place(Place(tmp_path, "data.train"))
    text = str(caught.value)
    assert "the folder holds notes.txt" in text
    assert all(f"{name}: " in text for name in sources.doors())
    with pytest.raises(UserError, match=r"format 'yola' .did you mean 'yolo'.. is none of "):
        sources.open_place(Place(tmp_path, "data.train"), "yola")


@pytest.mark.parametrize("wrong", ["yolo", "class-folders", "voc"])
def test_a_named_format_of_which_nothing_is_there_is_refused(tmp_path: Path, wrong: str) -> None:
    path, _ = valid_sets.label_studio(tmp_path / "data")
    with pytest.raises(UserError, match=r"nothing of format|there is no"):
        open_place(Place(path, str(path)), wrong)
