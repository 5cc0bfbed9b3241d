"""The model card: whole, valid, true, and free of paths and tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard

from detr_hf.hub import card
from detr_hf.hub.card import card_text
from detr_hf.hub.facts import run_facts
from detr_hf.labels import LabelMap
from detr_hf.recipe import Hub
from tests.family_models import family_config
from tests.hub.cards import faults_of_card
from tests.hub.runs import finished_run

TARGET = Hub(repo_id="user/yard")


def filled(folder: Path, target: Hub = TARGET, pictures: tuple[str, ...] = ()) -> str:
    return card_text(run_facts(folder), target, pictures)


@pytest.mark.parametrize("panoptic", [False, True])
def test_a_filled_card_is_whole_and_valid(tmp_path: Path, panoptic: bool) -> None:
    text = filled(finished_run(tmp_path / "run", panoptic=panoptic))
    _, head, body = text.split("---\n", 2)
    assert not re.findall(r"\{\{|\{%|\{#", text), "a gap is left"
    assert "<!--" not in text and "None" not in body and "\n\n\n" not in body
    assert faults_of_card(text) == []
    data = ModelCard(text).data
    assert (data.license, data.license_name, data.library_name) == ("other", "unstated", "transformers")
    assert data.pipeline_tag == ("image-segmentation" if panoptic else "object-detection")
    assert data.model_name == "yard" and data.datasets is None
    assert str(tmp_path) not in text
    assert ("label_ids_to_fuse" in body) is panoptic
    assert "model-index" in head and "No license has been stated" in body
    assert "40 images, and 8 to validate" in body


def test_tiles_are_told_to_those_who_use_stock_code(tmp_path: Path) -> None:
    text = filled(finished_run(tmp_path / "run", "data.tiles={size: 640}"))
    assert "large ones in overlapping tiles of 640 px whose results were merged:" in text
    assert "The model learned tiles of 640 px of larger images" in text
    assert "tiles of" not in filled(finished_run(tmp_path / "whole"))


def test_numbers_of_both_stages_are_in_the_metadata(tmp_path: Path) -> None:
    results: list[EvalResult] = ModelCard(filled(finished_run(tmp_path / "run"))).data.eval_results
    numbers = {(found.task_type, found.metric_type): found.metric_value for found in results}
    assert numbers["image-segmentation", "pq"] == 0.6124
    assert numbers["image-segmentation", "pq_things"] == 0.7
    assert numbers["image-segmentation", "pq_stuff"] == 0.5
    assert {kind for task, kind in numbers if task == "image-segmentation"} == {
        f"{name}{part}" for name in ("pq", "sq", "rq") for part in ("", "_things", "_stuff")
    }
    assert numbers["object-detection", "ap"] == 0.5
    assert {kind for task, kind in numbers if task == "object-detection"} == {"ap", "ap50", "ar"}
    assert {(found.dataset_type, found.dataset_split) for found in results} == {("custom", "validation")}


def test_what_could_not_be_measured_is_left_out(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    results = json.loads((run / "best" / "metrics.json").read_text())
    results["panoptic"]["Stuff"] = {"pq": None, "sq": None, "rq": None, "n": 0}
    (run / "best" / "metrics.json").write_text(json.dumps(results))
    kinds = {found.metric_type for found in ModelCard(filled(run)).data.eval_results}
    assert "pq_things" in kinds and "pq_stuff" not in kinds


def test_license_tag_and_pictures(tmp_path: Path) -> None:
    target = Hub(repo_id="user/yard", license="cc-by-4.0", revision="v1")
    text = filled(finished_run(tmp_path / "run"), target, ("pictures/000_a b.jpg",))
    assert ModelCard(text).data.license == "cc-by-4.0" and ModelCard(text).data.license_name is None
    assert "`cc-by-4.0`, as whoever published it chose" in text
    assert 'revision="v1"' in text
    assert "(pictures/000_a%20b.jpg)" in text


def test_the_base_is_told_through_the_run_before(tmp_path: Path) -> None:
    """Stage 2 starts from a folder; what that was fine-tuned from stands in the recipe beside it."""
    alone = ModelCard(filled(finished_run(tmp_path / "run")))
    assert alone.data.base_model == "facebook/detr-resnet-50-panoptic"
    finished_run(tmp_path / "stage1", panoptic=False)
    text = filled(tmp_path / "run")
    assert ModelCard(text).data.base_model == ["facebook/detr-resnet-50", "facebook/detr-resnet-50-panoptic"]
    assert "Fine-tuned from `facebook/detr-resnet-50` and `facebook/detr-resnet-50-panoptic`." in text
    demo = finished_run(tmp_path / "demo", "model.detector=demo", "model.mask_head=demo")
    assert ModelCard(filled(demo)).data.base_model is None
    assert "a model that has no name on the Hub" in filled(demo)
    deformable = finished_run(tmp_path / "deformable", "model.pretrained=demo-deformable", panoptic=False)
    assert ModelCard(filled(deformable)).data.base_model is None
    scratch = finished_run(tmp_path / "scratch", "model.scratch=true", panoptic=False)
    assert "Trained from random weights." in filled(scratch)
    assert ModelCard(filled(scratch)).data.base_model is None


def test_machine_made_segments_are_told_only_where_the_data_has_them(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    annotations = tmp_path / "data" / "train.json"
    assert "machine" not in filled(run) and "pseudo" not in filled(run), "the file is gone"
    annotations.parent.mkdir()
    annotations.write_text('{"segments_info": [{"id": 1}]}')
    assert "machine" not in filled(run) and "pseudo" not in filled(run)
    annotations.write_text('{"segments_info": [{"id": 1, "pseudo": true}, {"id": 2, "pseudo":true}]}')
    # the same file is training and validation split here
    assert "**Marked as pseudo-labeled: 4 segments that a model drew" in filled(run)


def test_a_prepared_data_set_tells_its_own_story(tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    split = [f"data.{name}.annotations={folder / name / 'panoptic.json'}" for name in ("train", "validation")]
    (folder / "train").mkdir(parents=True)
    (folder / "README.md").write_text(
        "---\npretty_name: Our yard\n---\n\n# Our yard\n\n## Who drew the masks\n\nPeople outlined 4. "
        f"**The masks of stuff are machine-made** by `{tmp_path / 'teacher'}`.\n\n## Files\n\nmany\n"
    )
    text = filled(finished_run(tmp_path / "run", *split))
    assert "Trained on Our yard: 40 images" in text
    assert "**The masks of stuff are machine-made** by `teacher`.\n" in text
    assert "many" not in text and str(tmp_path) not in text


def test_a_data_set_of_the_hub_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_card(_: Any) -> Any:
        raise ConnectionError

    monkeypatch.setattr("detr_hf.hub.facts.DatasetCard.load", no_card)
    source = ("data.train=null", "data.validation=null", "data.dataset=someone/photos")
    data = ModelCard(filled(finished_run(tmp_path / "run", *source))).data
    assert data.datasets == ["someone/photos"]
    assert {found.dataset_type for found in data.eval_results} == {"someone/photos"}


def test_marks_of_pseudo_labels_are_counted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.json").write_text("x".join(['{"id": 1, "pseudo": true}'] * 40))
    assert "**Marked as pseudo-labeled: 80 segments" in filled(finished_run(tmp_path / "run"))


def test_the_installed_package_finds_its_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert card.template() == card.TEMPLATE
    (tmp_path / "hub_card.md").write_text("packaged for {{ repo_id }}")
    monkeypatch.setattr(card, "PACKAGED_TEMPLATE", tmp_path / "hub_card.md")
    assert filled(finished_run(tmp_path / "run")) == "packaged for user/yard"


def test_names_and_cards_of_others_cannot_become_markup(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    names = ["[x](javascript:alert(1))", "a | b", "</details><script>"]
    labels = LabelMap.from_names(names, stuff=["sky"])
    labels.save(run / "best")
    metrics = json.loads((run / "best" / "metrics.json").read_text())
    row = next(iter(metrics["panoptic"]["per_class"].values()))
    metrics["panoptic"]["per_class"] = dict.fromkeys(labels.names, row)
    (run / "best" / "metrics.json").write_text(json.dumps(metrics))
    folder = tmp_path / "prepared"
    (folder / "train").mkdir(parents=True)
    (folder / "README.md").write_text(
        "---\npretty_name: '<b>Our</b> [yard](http://e.org)'\n---\n\n"
        "## Who drew the masks\n\n<img src=x> **We** did\n"
    )
    run_data = [
        f"data.{part}.annotations={folder / part / 'panoptic.json'}" for part in ("train", "validation")
    ]
    other = finished_run(tmp_path / "other", *run_data)
    text = filled(run).split("## Training")[0] + filled(other).split("---\n", 2)[2]
    assert "<script" not in text and "[x](" not in text and "| a \\| b " in text
    assert "<img" not in text and "<b>" not in text and "[yard](" not in text and "**We** did" in text


@pytest.mark.parametrize(
    ("variant", "name", "tag", "most"),
    [
        ("dab_detr", "[DAB-DETR](https://arxiv.org/abs/2201.12329)", "dab-detr", 7),
        ("deformable_detr", "[Deformable DETR](https://arxiv.org/abs/2010.04159)", "deformable_detr", 7),
        ("deformable_detr_two_stage", "[Deformable DETR]", "deformable_detr", 100),
    ],
)
def test_the_family_is_named(tmp_path: Path, variant: str, name: str, tag: str, most: int) -> None:
    """Its paper, its tag, its score threshold, and how much it finds: 100 pairs are kept of 300 proposals."""
    run = finished_run(tmp_path / "run", panoptic=False)
    settings = {"two_stage_num_proposals": 300} if most == 100 else {}
    family_config(variant, **settings).save_pretrained(run / "best")
    text = filled(run)
    assert f"A {name}" in text and f"finds at most {most} objects" in text
    assert "threshold=0.4)" in text and "score_threshold=0.4)" in text
    assert ModelCard(text).data.tags == [tag, "detr-hf", "vision"]
    assert faults_of_card(text) == []


def test_a_detr_is_named(tmp_path: Path) -> None:
    text = filled(finished_run(tmp_path / "run"))
    assert "A [DETR](https://arxiv.org/abs/2005.12872) that divides" in text
    assert "threshold=0.85" in text and "finds at most 7 objects" in text
    assert ModelCard(text).data.tags == ["detr", "detr-hf", "vision", "panoptic-segmentation"]
