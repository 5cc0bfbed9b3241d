"""New class heads that start from pretrained rows, and detectors with another number of queries."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.class_rows import chosen_rows
from detr_hf.modeling.families.registry import family_of
from detr_hf.modeling.pretrained import load_finished, load_stage1
from tests.family_models import QUERIES, VARIANTS, save_family
from tests.tiny_models import LABELS, random_batch
from tests.tiny_runs import save_detector

NEW = LabelMap.from_names(["dump truck", "Crane", "cone"])
EVERY = ["detr", *VARIANTS]


def saved(variant: str, folder: Path) -> Path:
    return save_detector(folder) if variant == "detr" else save_family(variant, folder)


def test_rows_by_equal_names_are_found_whatever_their_spelling() -> None:
    known = ["N/A", "Dump Truck", "crane", "dump-truck"]
    assert chosen_rows("auto", ["dump_truck", "crane ", "cone"], known) == {0: 1, 1: 2}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            {"dump trck": "crane"},
            r"model.class_rows.dump trck: the data has no class 'dump trck'; did you mean",
        ),
        ({"cone": "crate"}, r"model.class_rows.cone: the pretrained model has no class 'crate'; .*'crane'"),
        ({"cone": "zebra"}, r"the pretrained model has no class 'zebra'$"),
    ],
)
def test_a_row_of_no_class_is_refused_by_its_name(rows: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        chosen_rows(rows, NEW.names, LABELS.names)


@pytest.mark.parametrize("variant", EVERY)
def test_named_rows_are_those_of_the_pretrained_heads_and_others_are_new(
    variant: str, tmp_path: Path
) -> None:
    source = str(saved(variant, tmp_path))
    family, known = family_of(load_finished(source)), load_finished(source)
    first, second, *_ = known.config.id2label.values()
    detector, report = load_stage1(source, NEW, class_rows={"dump truck": first, "Crane": second})
    assert f"dump truck from {first}, Crane from {second}" in str(report)
    heads, before = family.class_heads(detector), family.class_heads(known)
    assert len(heads) == len(before)
    for head, old in zip(heads, before, strict=True):
        assert torch.equal(head.weight[:2], old.weight[:2]) and torch.equal(head.bias[:2], old.bias[:2])
        assert not torch.equal(head.weight[2], old.weight[2])
        if family.scores.has_no_object:
            assert torch.equal(head.weight[-1], old.weight[-1]) and head.bias[-1] == old.bias[-1]
    nothing, report = load_stage1(source, LabelMap.from_names(["zebra"]), class_rows="auto")
    assert "rows of the class head: none, no class has the same name" in str(report)
    assert len(family.class_heads(nothing)[0].weight) == 1 + family.scores.has_no_object
    assert "rows of the class head: none named" in str(load_stage1(source, NEW, class_rows={})[1])


@pytest.mark.parametrize("count", [4, 12])
@pytest.mark.parametrize("variant", EVERY)
@torch.no_grad()
def test_another_number_of_queries_keeps_the_known_ones_to_the_bit(
    variant: str, count: int, tmp_path: Path
) -> None:
    source = str(saved(variant, tmp_path / "start"))
    before = load_finished(source).state_dict()
    detector, report = load_stage1(source, LABELS, num_queries=count)
    assert f"queries: {count}, {'the first ones' if count < QUERIES else f'all {QUERIES} kept'}" in str(
        report
    )
    for name, value in detector.state_dict().items():
        if "class" not in name:  # the head is new
            kept = min(len(value), len(before[name])) if value.ndim else None
            assert (
                torch.equal(value[:kept], before[name][:kept]) if kept else torch.equal(value, before[name])
            )
    assert family_of(detector).num_queries(detector.config) == count
    detector.save_pretrained(tmp_path / "saved")
    again = type(detector).from_pretrained(tmp_path / "saved").eval()
    pixels, mask, _ = random_batch([1], (64, 96))
    assert again(pixel_values=pixels, pixel_mask=mask).logits.shape[1] == count
    ours = family_of(detector).run(detector.eval(), pixels, mask, all_layers=False)
    torch.testing.assert_close(ours.logits[-1], again(pixel_values=pixels, pixel_mask=mask).logits)


def test_patterns_of_a_dab_detr_are_counted_among_its_queries(tmp_path: Path) -> None:
    """Guards: a report that counts 21 queries and a recipe whose number means boxes, three queries each."""
    source = str(save_family("dab_detr", tmp_path / "start", num_patterns=3))
    detector, report = load_stage1(source, LABELS, num_queries=12)
    assert "queries: 12, the first ones" in str(report)
    assert family_of(detector).num_queries(detector.config) == 12 and detector.config.num_queries == 4
    pixels, mask, _ = random_batch([1], (64, 96))
    assert detector.eval()(pixel_values=pixels, pixel_mask=mask).logits.shape[1] == 12
    with pytest.raises(UserError, match=r"model\.num_queries: 10 does not fit; .* give a multiple of 3"):
        load_stage1(source, LABELS, num_queries=10)


def test_new_queries_are_spread_as_the_known_ones_are_and_no_copies(tmp_path: Path) -> None:
    source = str(save_detector(tmp_path))
    detector, report = load_stage1(source, LABELS, num_queries=200)
    rows = detector.model.query_position_embeddings.weight
    known, new = rows[:QUERIES], rows[QUERIES:]
    assert 0.8 < float(new.std() / known.std()) < 1.25
    assert float(torch.cdist(new, known).min()) > 0.5 * float(known.std())
    assert "\nstarting from random: model.query_position_embeddings.weight" in str(report)


def test_a_name_of_several_rows_is_refused() -> None:
    """guards: COCO's ids without a class are all called N/A, and their rows have learned nothing."""
    with pytest.raises(UserError, match=r"class_rows\.cone: 2 rows of the pretrained model are 'N/A'"):
        chosen_rows({"cone": "N/A"}, ["cone"], ["N/A", "person", "N/A"])
