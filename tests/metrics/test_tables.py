"""The tables, cell by cell."""

from __future__ import annotations

from detr_hf.metrics.tables import detection_table, panoptic_table, per_class_table

BOXES = {
    "AP": 0.51249,
    "AP50": 0.75,
    "AR": None,
    "per_class": {
        "tower crane": {"AP": 0.25, "AP50": 0.5, "AR": 1.0, "objects": 12},
        "a|b": {"AP": None, "AP50": None, "AR": None, "objects": 0},
    },
}
PANOPTIC = {
    "All": {"pq": 0.50449, "sq": 0.8, "rq": 1.0, "n": 12},
    "Things": {"pq": 0.5, "sq": 0.75, "rq": 2 / 3, "n": 12},
    "Stuff": {"pq": None, "sq": None, "rq": None, "n": 0},
    "per_class": {"brick": {"pq": 0.5, "sq": 0.75, "rq": 2 / 3, "tp": 1, "fp": 0, "fn": 1}},
}


def test_detection_table() -> None:
    assert detection_table(BOXES).splitlines() == [
        "| Boxes |    AP |  AP50 |  AR |",
        "| ----- | ----: | ----: | --: |",
        "| All   | 0.512 | 0.750 |   - |",
    ]


def test_panoptic_table_is_in_percent() -> None:
    assert panoptic_table(PANOPTIC).splitlines() == [
        "| Panoptic |   PQ |   SQ |    RQ |   N |",
        "| -------- | ---: | ---: | ----: | --: |",
        "| All      | 50.4 | 80.0 | 100.0 |  12 |",
        "| Things   | 50.0 | 75.0 |  66.7 |  12 |",
        "| Stuff    |    - |    - |     - |   0 |",
    ]


def test_per_class_tables_of_both_kinds() -> None:
    assert per_class_table(BOXES).splitlines() == [
        "| Class       |    AP |  AP50 |    AR | objects |",
        "| ----------- | ----: | ----: | ----: | ------: |",
        "| tower crane | 0.250 | 0.500 | 1.000 |      12 |",
        "| a\\|b        |     - |     - |     - |       0 |",
    ]
    assert per_class_table(PANOPTIC).splitlines() == [
        "| Class |   PQ |   SQ |   RQ |  TP |  FP |  FN |",
        "| ----- | ---: | ---: | ---: | --: | --: | --: |",
        "| brick | 50.0 | 75.0 | 66.7 |   1 |   0 |   1 |",
    ]
