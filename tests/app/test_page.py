"""The functions behind the page, called as Gradio calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.app.viewer import ATTENTION, BOXES, PANOPTIC, Viewer
from detr_hf.inference import Predictor
from tests.app.conftest import MakeViewer
from tests.family_models import save_family

MakePage = Callable[..., Any]


@pytest.fixture
def make_page(gradio: ModuleType, make_viewer: MakeViewer) -> MakePage:
    """The page around a tiny model of either stage."""
    from detr_hf.app.page import Page

    return lambda stage, title="m", examples=(): Page(make_viewer(stage), title, examples)


def shown(answer: dict[Any, Any], component: Any) -> Any:
    """The value of a component that an answer makes visible; None where it hides it."""
    update = answer.get(component)
    if not isinstance(update, dict):
        return update
    return update["value"] if update.get("visible") else None


def written(answer: dict[Any, Any], page: Any) -> dict[str, Any]:
    """What the file to download holds."""
    record: dict[str, Any] = json.loads(Path(answer[page.download]["value"]).read_text())
    return record


def test_views_are_those_the_model_has(make_page: MakePage) -> None:
    views = {stage: make_page(stage).view for stage in ("detection", "panoptic")}
    assert [name for name, _ in views["detection"].choices] == [BOXES, ATTENTION]
    assert [name for name, _ in views["panoptic"].choices] == [BOXES, PANOPTIC, ATTENTION]
    assert views["detection"].value == BOXES and views["panoptic"].value == PANOPTIC


@pytest.mark.parametrize(("view", "key"), [(BOXES, "objects"), (PANOPTIC, "segments")])
def test_an_image_is_drawn_listed_and_written(
    view: str, key: str, make_page: MakePage, image_file: Path
) -> None:
    page = make_page("panoptic")
    answer = page.open(str(image_file), 0.3, view)
    drawn = shown(answer, page.image)
    assert isinstance(drawn, Image.Image) and min(drawn.size) >= 96
    assert shown(answer, page.gallery) is None and shown(answer, page.film) is None
    record = written(answer, page)
    assert record["file"] == "my yard.jpg" and record["score_threshold"] == 0.3
    assert len(record[key]) == answer[page.table].count("<tr>") - 1
    assert f"{len(record[key])} {key.removesuffix('s')}" in answer[page.status]


def test_boxes_and_panoptic_differ(make_page: MakePage, image_file: Path) -> None:
    page = make_page("panoptic")
    viewing = page.open(str(image_file), 0.3, BOXES)[page.visit]
    boxes, panoptic = (
        np.asarray(shown(page.show(viewing, 0.3, view), page.image)) for view in (BOXES, PANOPTIC)
    )
    assert boxes.shape == panoptic.shape and (boxes != panoptic).mean() > 0.2


def test_attention_is_a_gallery(make_page: MakePage, image_file: Path) -> None:
    page = make_page("detection")
    answer = page.open(str(image_file), 0.3, ATTENTION)
    assert shown(answer, page.image) is None
    assert len(shown(answer, page.gallery)) == answer[page.table].count("<tr>") - 1


def test_the_slider_changes_image_table_and_file(make_page: MakePage, image_file: Path) -> None:
    page = make_page("detection")
    viewing = page.open(str(image_file), 0.05, BOXES)[page.visit]
    surest_first = viewing.all_queries.scores.tolist()
    counts = []
    for threshold in (0.05, (surest_first[2] + surest_first[3]) / 2, 0.99):
        answer = page.show(viewing, threshold, BOXES)
        record = written(answer, page)
        counts.append(len(record["objects"]))
        assert f"above {threshold:.2f}" in answer[page.status]
    assert counts == [7, 3, 0]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_told_and_the_next_good_one_is_shown(
    make_page: MakePage, bad_files: dict[str, Path], image_file: Path
) -> None:
    page = make_page("detection")
    for name, path in bad_files.items():
        answer = page.open(str(path), 0.3, BOXES)
        assert name in answer[page.status] and 'role="alert"' in answer[page.status]
        assert answer[page.visit] is None and answer[page.table] == ""
        assert shown(answer, page.image) is None and answer[page.download]["value"] is None
    assert shown(page.open(str(image_file), 0.3, BOXES), page.image) is not None


def test_an_image_taken_away_leaves_an_empty_page(make_page: MakePage) -> None:
    page = make_page("detection")
    answer = page.open(None, 0.3, BOXES)
    assert answer[page.visit] is None and "Drop an image" in answer[page.status]


def test_a_video_comes_back_drawn(make_page: MakePage, image_file: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", image_file, frames=3)
    page = make_page("detection")
    answer = page.open(str(tmp_path / "clip.mp4"), 0.3, BOXES)
    drawn = Path(shown(answer, page.film))
    assert drawn.name == "clip.mp4" and drawn.parent != tmp_path and drawn.stat().st_size > 500
    assert "clip.mp4" in answer[page.status] and "3 frames" in answer[page.status]
    assert shown(answer, page.image) is None
    lines = Path(answer[page.download]["value"]).read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == [0, 1, 2]
    assert answer[page.bar]["visible"] is True and answer[page.view]["visible"] is False
    film = answer[page.visit]
    assert page.show(film, 0.6, BOXES) == {page.again: {"visible": True, "__type__": "update"}}
    assert "surer than 0.60" in page.draw_film(film, 0.6)[page.status]


def test_a_video_that_is_none_is_told_without_its_folder(make_page: MakePage, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="pip install 'detr-hf[video]'")
    (tmp_path / "letter.mp4").write_text("Dear Sir or Madam, this is no film.\n")
    page = make_page("detection")
    answer = page.open(str(tmp_path / "letter.mp4"), 0.3, BOXES)
    assert "letter.mp4: " in answer[page.status] and str(tmp_path) not in answer[page.status]
    assert 'role="alert"' in answer[page.status] and shown(answer, page.film) is None


def write_clip(path: Path, image_file: Path, frames: int) -> None:
    """A film of one image_file."""
    av = pytest.importorskip("av", reason="pip install 'detr-hf[video]'")
    image = av.VideoFrame.from_image(Image.open(image_file))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = image.width, image.height, "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image.to_ndarray(), format="rgb24")))
        container.mux(stream.encode())


def test_examples_open_like_files(make_page: MakePage, image_file: Path) -> None:
    page = make_page("detection", examples=[image_file])
    assert shown(page.open_example(0, 0.3, BOXES), page.image) is not None


def test_names_of_models_are_escaped(make_page: MakePage) -> None:
    config = json.dumps(make_page("detection", "<b>me</b>").blocks.get_config_file(), default=str)
    assert "<h1><b>" not in config and "&lt;b&gt;me" in config


def test_the_page_tells_the_family_and_its_threshold(gradio: ModuleType, tmp_path: Path) -> None:
    from detr_hf.app.page import Page

    predictor = Predictor.from_pretrained(save_family("deformable_detr", tmp_path / "model"), device="cpu")
    page = Page(Viewer(predictor, tmp_path), "m")
    assert "Deformable DETR, detection" in json.dumps(page.blocks.get_config_file(), default=str)
    assert page.threshold.value == 0.4
    assert [name for name, _ in page.view.choices] == [BOXES, ATTENTION]
