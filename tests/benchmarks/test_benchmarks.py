"""The benchmarks at toy sizes: what they write, and that both sides do the same work. No time is asserted."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.cases import CASES, build
from benchmarks.child import Child, ChildError
from benchmarks.differences import relative_differences
from benchmarks.families import FAMILIES, NETWORKS
from benchmarks.memory import peak_mb_of
from benchmarks.plain_merge import plain_merge
from benchmarks.report import markdown
from benchmarks.settings import Settings

SIZES = ["--size", "128x160", "--queries", "10", "--kept", "6", "--backbone", "resnet18"]
SIZES += ["--pictures", "10", "--short-edge", "64"]
TOY = [*SIZES, "--threads", "1", "--repeats", "1"]
CLOSE = 1e-4
TIED = 1e-3
"""Share of pixels where two masks of random weights are equal but for the last bits of float32."""


def run(*flags: str) -> str:
    """What the command line prints."""
    with redirect_stdout(StringIO()) as printed:
        assert main([*TOY, *flags]) == 0
    return printed.getvalue()


def check(result: dict[str, Any], case: str) -> None:
    assert result["case"] == case
    assert set(result) >= {"variants", "settings", "machine", "differences", "compared"}
    ours, stock = result["ours"], result["stock"]
    assert min(*ours.values(), *stock.values()) > 0
    assert result["time_ratio"] == pytest.approx(stock["seconds"] / ours["seconds"])
    assert result["memory_ratio"] == pytest.approx(stock["peak_mb"] / ours["peak_mb"])
    differences = dict(result["differences"])
    assert differences.pop("id map", 0) < TIED
    assert 0 <= max(differences.values()) < CLOSE
    assert result["compared"] >= 2
    assert result["settings"]["size"] == [128, 160]


def test_both_sides_of_a_case_agree() -> None:
    outcomes = []
    for side in ("ours", "stock"):
        built = build("targets", side, Settings(size=(128, 160), threads=1))
        built.work()
        outcomes.append({name: np.asarray(value) for name, value in built.outcome().items()})
    assert max(relative_differences(*outcomes).values()) < CLOSE


@pytest.mark.slow  # two processes that import everything
def test_one_case_writes_its_numbers(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    page = run("--case", "targets", "--json", str(file))
    check(json.loads(file.read_text()), "targets")
    assert "| `targets` |" in page


@pytest.mark.slow
def test_without_a_case_all_run_and_both_sides_agree(tmp_path: Path) -> None:
    numbers, page = tmp_path / "results.json", tmp_path / "RESULTS.md"
    run("--json", str(numbers), "--markdown", str(page))
    results = json.loads(numbers.read_text())
    assert [result["case"] for result in results] == [*CASES, FAMILIES]
    families = results.pop()["networks"]
    assert list(families) == list(NETWORKS) and all(min(costs.values()) > 0 for costs in families.values())
    for result in results:
        check(result, result["case"])
        assert f"| `{result['case']}` |" in page.read_text()
    inference = results[CASES.index("panoptic-inference")]
    assert set(inference["variants"]) == {"the detector alone", "3 queries kept"}


@pytest.mark.slow
def test_grouped_batches_pad_less_than_random_ones_and_those_less_than_squares(tmp_path: Path) -> None:
    """The same pictures on both sides: five of 64 x 85, three of 85 x 64, two of 60 x 107, squares of 107."""
    file = tmp_path / "result.json"
    page = run("--case", "batching", "--json", str(file))
    result = json.loads(file.read_text())
    check(result, "batching")
    assert result["max_relative_difference"] < 1e-9
    shares = {(fact["side"], fact["variant"]): fact["padding share"] for fact in result["facts"]}
    grouped, mixed, square = (
        shares[key] for key in (("ours", None), ("ours", "random batches"), ("stock", None))
    )
    assert grouped < 0.1 < mixed < square
    real = 8 * 64 * 85 + 2 * 60 * 107
    assert square == pytest.approx(1 - real / (10 * 107 * 107), abs=1e-4)
    assert all(fact["pictures"] == 10 and fact["images per second"] > 0 for fact in result["facts"])
    assert "- `batching`, ours, random batches: padding share 0." in page


def test_a_side_that_fails_says_which_and_why() -> None:
    with Child("no-such-case", "ours", Settings()) as child, pytest.raises(ChildError) as failure:
        child.ready()
    assert "no-such-case, ours" in str(failure.value)
    assert "benchmarks.cases.no_such_case" in str(failure.value)


def test_differences_are_relative_to_stock() -> None:
    stock = {
        "loss": np.array([2.0]),
        "id map": np.array([[1, 2], [3, 3]]),
        "gradient of a": np.array([3.0, 4.0]),
        "gradient of zero": np.array([1e-9]),
    }
    ours = {
        "loss": np.array([2.5]),
        "id map": np.array([[1, 2], [3, 0]]),
        "gradient of a": np.array([3.0, 4.5]),
        "gradient of zero": np.array([2e-9]),
    }
    found = relative_differences(ours, stock)
    assert found["loss"] == pytest.approx(0.25)
    assert found["id map"] == pytest.approx(0.25)  # one pixel of four
    assert found["gradient of a"] == pytest.approx(0.1)
    assert found["gradient of zero"] == pytest.approx(1e-9 / (5 * 1e-3))  # against a thousandth of all


@pytest.mark.parametrize(
    ("ours", "message"),
    [({"a": np.zeros(2)}, "a: ours has shape"), ({"b": np.zeros(1)}, "only one side has a, b")],
)
def test_outcomes_that_cannot_be_compared_are_refused(ours: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        relative_differences(ours, {"a": np.zeros(1)})


def test_peak_memory_counts_what_the_work_takes_for_a_moment() -> None:
    def work() -> None:
        np.ones(60_000_000, np.uint8)

    assert 55 < peak_mb_of(work) < 90
    assert peak_mb_of(lambda: None) < 10  # the peak of earlier work is forgotten


def test_plain_merge_by_hand() -> None:
    """Queries: thing 0, stuff 5, stuff 5 again, and a thing that wins two pixels only."""
    masks = np.full((4, 4, 6), -9.0, np.float32)
    masks[0, :, :2] = 1.0
    masks[1, :, 2:4] = 2.0
    masks[2, :, 4:] = 3.0
    masks[3, 0, :2] = 4.0
    id_map, segments = plain_merge(
        masks, np.array([0, 5, 5, 1]), np.array([0.9, 0.7, 0.8, 0.9], np.float32), [5]
    )
    assert id_map.tolist() == [[1, 1, 2, 2, 2, 2]] * 4
    assert segments == [(0, pytest.approx(0.9)), (5, pytest.approx(0.8))]


def test_plain_merge_of_nothing_is_void() -> None:
    id_map, segments = plain_merge(np.zeros((0, 2, 3), np.float32), np.zeros(0, np.int64), np.zeros(0), [])
    assert (id_map.tolist(), segments) == ([[0, 0, 0]] * 2, [])


def test_the_page_shows_ratios_variants_and_sizes() -> None:
    result = {
        "case": "targets",
        "ours": {"seconds": 0.5, "peak_mb": 10.0},
        "stock": {"seconds": 2.0, "peak_mb": 25.0},
        "time_ratio": 4.0,
        "memory_ratio": 2.5,
        "max_relative_difference": 0.0,
        "variants": {"more": {"ours": 0.75}},
        "settings": {"size": (480, 640), "objects": (5, 6)},
        "machine": {"cores": "2"},
    }
    page = markdown([result])
    assert "| `targets` | 0.5 | 2 | **4.0** | 10 | 25 | **2.5** | 0.0e+00 |" in page
    assert "| `targets` | more | 0.75 |  |" in page
    assert "size 480x640, objects 5,6." in page


def test_the_page_sets_the_families_beside_detr() -> None:
    costs = {"seconds": 1.0, "inference_seconds": 0.25, "peak_mb": 1000.0, "parameters": 40_000_000}
    networks = dict.fromkeys(NETWORKS, costs)
    networks["deformable_detr_two_stage"] = {key: 3 * value for key, value in costs.items()}
    page = markdown(
        [{"case": FAMILIES, "networks": networks, "settings": {"threads": 1}, "machine": {"cores": "2"}}]
    )
    assert "| DETR | 1 | **1.0** | 0.25 | **1.0** | 1000 | **1.0** | 40.0 | **1.0** |" in page
    assert "two stages | 3 | **3.0** | 0.75 | **3.0** | 3000 | **3.0** | 120.0 | **3.0** |" in page
    assert "| case |" not in page and "threads 1." in page


BY_DEFAULT = ("detr", "deformable_detr_two_stage")


@pytest.mark.parametrize(
    "network",
    [pytest.param(name, marks=[] if name in BY_DEFAULT else [pytest.mark.slow]) for name in NETWORKS],
)
def test_a_network_of_the_families_steps_and_infers(network: str) -> None:
    settings = Settings(images=1, size=(128, 160), objects=(3,), backbone="resnet18", threads=1)
    side = build(FAMILIES, network, settings)
    side.work()
    losses = {name: value.item() for name, value in side.outcome().items()}
    assert all(np.isfinite(list(losses.values())))
    assert ("loss_proposals" in losses) == network.endswith("two_stage")
    side.variants["inference"]()
    assert 20e6 < side.facts()["parameters"] < 35e6
