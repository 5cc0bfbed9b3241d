"""What a GPU makes of the package: ``python -m tools.gpu_check``, at most eight minutes, offline.

Measures training steps and inference of real sizes (ResNet-50, 100 queries, images of 800 x 1066, random
weights) beside stock transformers, says where the time of a step goes, runs the tests marked `gpu`, and
writes all of it as a page. Every row is written as soon as it is measured; what does not fit into the time is
left out, and the page says so. ``--device cpu --small`` is the same on a CPU, at toy sizes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.child import Child, ChildError
from benchmarks.machine import machine_facts
from benchmarks.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "GPU.md"
PRECISIONS = ("fp32", "tf32", "bf16")
# The objects of an image are about as many as in COCO.
REAL = Settings(images=2, size=(800, 1066), objects=(7, 12), kept=10, threads=4)
SMALL = replace(REAL, size=(96, 128), objects=(2, 3), queries=10, kept=6, backbone="resnet18", threads=1)
TESTS_SECONDS = 150.0
"""Kept for the tests; no row begins that would use it up."""
SECONDS_OF_TIMING = 2.0
MOST_REPEATS = 20


@dataclass(frozen=True)
class Row:
    """One line of a table: both sides of a case under some settings, or ours alone."""

    case: str
    name: str
    settings: Settings
    with_stock: bool = True
    variant: bool = False  # besides, fewer queries kept


@dataclass
class Page:
    """The report as it grows; written anew with every line."""

    out: Path | None
    lines: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> None:
        """Print lines and write the page with them."""
        self.lines += lines
        print("\n".join(lines), flush=True)
        if self.out is not None:
            self.out.write_text("\n".join(self.lines) + "\n", encoding="utf-8")


def rows(settings: Settings) -> Iterator[tuple[str, list[Row]]]:
    """The tables: a heading and the rows of each."""
    on_gpu = settings.device.startswith("cuda")
    precisions = PRECISIONS if on_gpu else PRECISIONS[:1]
    for case, heading in (
        ("stage1-step", "Stage 1: forward and backward pass, without auxiliary losses on either side"),
        ("stage2-step", "Stage 2: forward and backward pass, the detector frozen"),
    ):
        plain = [Row(case, name, replace(settings, precision=name)) for name in precisions]
        half = replace(settings, precision="bf16")
        ours = {"bf16": half} if "bf16" not in precisions else {}
        ours["bf16, channels_last"] = replace(half, channels_last=True)
        if on_gpu:  # on a CPU it takes a compiler and a minute
            ours["bf16, compiled"] = replace(half, compiled=True)
        yield heading, plain + [Row(case, name, one, with_stock=False) for name, one in ours.items()]
    inference = [
        Row("panoptic-inference", name, replace(settings, precision=name), variant=True)
        for name in dict.fromkeys((precisions[0], precisions[-1]))
    ]
    yield "Panoptic inference: one image to an id map", inference


def measure(row: Row, side: str, deadline: float) -> list[tuple[str, float, float]]:
    """Name, images a second and peak memory in GB of a side, and of its variant.

    Raises:
        ChildError: the side failed, or there was no time left.
    """
    with Child(row.case, side, row.settings, deadline) as child:
        variants = [name for name in child.ready() if "kept" in name and row.variant]
        peak_gb = child.peak_mb() / 1e3
        images = 1 if row.case == "panoptic-inference" else row.settings.images
        scale = min(1.0, row.settings.size[0] / REAL.size[0])
        measured = []
        for variant in (None, *variants):
            child.seconds(variant)  # kernels are chosen and memory is laid out
            seconds: list[float] = []
            while len(seconds) < MOST_REPEATS and sum(seconds) < SECONDS_OF_TIMING * scale:
                seconds.append(child.seconds(variant))
            middle = sorted(seconds)[len(seconds) // 2]
            measured.append((variant or "", images / middle, peak_gb))
        return measured


def table_lines(row: Row, deadline: float) -> Iterator[str]:
    """The row's lines: ours beside stock."""
    sides = {}
    for side in ("ours", "stock") if row.with_stock else ("ours",):
        try:
            sides[side] = measure(row, side, deadline)
        except ChildError as failure:
            yield f"| {row.name} | {side} failed: {str(failure).strip().splitlines()[-1][:160]} | | | | |"
    stock = sides.get("stock", [])
    for name, speed, peak in sides.get("ours", []):
        beside = "| | |"
        if stock:
            _, other, other_peak = stock[0]
            beside = f"| {other:.2f} | {other_peak:.2f} | {speed / other:.1f} |"
        kept = f", {name}" if name else ""
        shown_peak = "" if name else f"{peak:.2f}"
        yield f"| {row.name}{kept} | {speed:.2f} | {shown_peak} {beside}"


def check(settings: Settings, page: Page, seconds: float, with_tests: bool) -> int:
    """Measure, test and write; the exit status of the tests (0 where they were left out)."""
    started = time.monotonic()
    end = started + seconds
    deadline = end - (TESTS_SECONDS if with_tests else 0.0)
    facts = machine_facts(settings.device)
    page.add(
        "# The package on one GPU" if settings.device.startswith("cuda") else "# The package on a CPU",
        "",
        "Written by `python -m tools.gpu_check`. Both sides did the same work in this run, on the same",
        "random weights and images; each side of a row had a process of its own. Images a second are of the",
        "median pass; the peak is what the work takes above weights and batch. Empty: not measured.",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        f"- images: {settings.images} of {settings.size[0]} x {settings.size[1]} a step, "
        f"{settings.queries} queries, {settings.backbone}, {settings.kept} queries kept at inference",
    )
    for heading, listed in rows(settings):
        page.add("", f"## {heading}", "")
        page.add("| | images/s | peak GB | stock images/s | stock peak GB | times stock |")
        page.add("| --- | ---: | ---: | ---: | ---: | ---: |")
        for row in listed:
            if time.monotonic() >= deadline:
                page.add(f"| {row.name} | left out: no time left | | | | |")
                continue
            page.add(*table_lines(row, deadline))
    add_phases(settings, page, deadline)
    status = run_tests(page, end) if with_tests else 0
    page.add("", f"All of it took {(time.monotonic() - started) / 60:.1f} minutes.")
    return status


def add_phases(settings: Settings, page: Page, deadline: float) -> None:
    """The table of where a step's time goes, a column for each stage."""
    precision = "bf16" if settings.device.startswith("cuda") else "fp32"
    found: dict[str, dict[str, float]] = {}
    page.add("", f"## Where a training step's time goes, {precision}, milliseconds", "")
    for stage in ("detection", "panoptic"):
        command = [sys.executable, "-m", "tools.step_phases", stage, "--device", settings.device]
        command += ["--precision", precision, "--images", str(settings.images)]
        command += ["--queries", str(settings.queries), "--backbone", settings.backbone]
        command += ["--size", *map(str, settings.size), "--workers", str(settings.threads)]
        command += ["--steps", "10" if settings.size == REAL.size else "2"]
        left = deadline - time.monotonic()
        try:
            if left <= 0:
                raise subprocess.TimeoutExpired(command, left)
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            page.add(f"- {stage}: left out: no time left")
            continue
        if done.returncode:
            page.add(f"- {stage} failed: {done.stderr.strip().splitlines()[-1][:160]}")
            continue
        found[stage] = json.loads(done.stdout.strip().splitlines()[-1])
    if found:
        page.add("", f"| | {' | '.join(found)} |", f"| --- |{' ---: |' * len(found)}")
        for phase in next(iter(found.values())):
            page.add(f"| {phase} | {' | '.join(f'{one[phase]:.1f}' for one in found.values())} |")


def run_tests(page: Page, end: float) -> int:
    """The tests marked `gpu`, in a process of their own; 1 where one failed or the time ran out."""
    page.add("", "## Tests marked `gpu`", "")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rfEs", "--no-header", "tests"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=max(end - time.monotonic(), 5.0)
        )
    except subprocess.TimeoutExpired:
        page.add("No time left for them: `python -m pytest -m gpu` runs them alone.")
        return 1
    shown = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "SKIPPED"))]
    page.add("```", *shown, *done.stdout.strip().splitlines()[-1:], "```")
    return int(done.returncode not in (0, 5))  # 5: nothing was selected


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description="What a GPU makes of it.")
    parser.add_argument("--device", default="cuda", help="where to run (default: cuda)")
    parser.add_argument("--small", action="store_true", help="toy sizes, to try the command out")
    parser.add_argument("--images", type=int, help=f"in a step (default: {REAL.images})")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it (default: 8)")
    parser.add_argument("--no-tests", action="store_true", help="leave the tests out")
    parser.add_argument("--out", type=Path, help="the page (on a GPU: benchmarks/GPU.md)")
    chosen = parser.parse_args(arguments)
    settings = replace(SMALL if chosen.small else REAL, device=chosen.device)
    if chosen.images:
        settings = replace(settings, images=chosen.images)
    on_gpu = chosen.device.startswith("cuda")
    if on_gpu and not _has_gpu():
        parser.error("there is no GPU that PyTorch can use here; --device cpu --small tries the command out")
    out = chosen.out or (OUT if on_gpu else None)
    return check(settings, Page(out), 60.0 * chosen.minutes, not chosen.no_tests)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
