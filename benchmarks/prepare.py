"""``python -m benchmarks.prepare``: how splitting and writing a data set grow with its images.

Records are made up, with three polygons and two segments of pseudo-labeled stuff each, on images of
48 x 64 pixels: small, so that what is measured is the cost of an image whatever its size. The images
themselves are not needed: these steps open none.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_facts

STEPS = ("split", "write")
SIZES = (5_000, 20_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each size in a fresh process, print the table, write the files asked for."""
    chosen = _parser().parse_args(arguments)
    results = []
    for size in chosen.sizes:
        print(f"{size} images ...", file=sys.stderr, flush=True)
        results.append(_in_fresh_process(size, chosen.num_proc))
    page = markdown(results)
    print(page)
    if chosen.json:
        content = {"machine": machine_facts(), "num_proc": chosen.num_proc, "results": results}
        chosen.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if chosen.markdown:
        chosen.markdown.write_text(page, encoding="utf-8")
    return 0


def measure(size: int, num_proc: int) -> dict[str, Any]:
    """Seconds and CPU seconds of each step, and the peak resident memory of this process in MB."""
    from benchmarks.raw_records import write_images, write_outcomes, write_stuff
    from detr_hf.data.sinks.prepared import WriteSettings, write_dataset
    from detr_hf.data.split import split_records
    from detr_hf.labels import construction_labels

    labels, times = construction_labels(), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = write_outcomes(folder / "steps" / "outcomes.jsonl", size)
        write_images(folder, records)
        write_stuff(folder / "stuff", records)
        splits, times["split"] = timed(lambda: split_records(records))
        settings = WriteSettings(num_proc=num_proc)
        written, times["write"] = timed(
            lambda: write_dataset(records, folder, folder / "stuff", splits, labels, folder / "out", settings)
        )
    return {
        "images": sum(summary.images for summary in written.values()),
        "steps": {step: {"seconds": times[step][0], "cpu_seconds": times[step][1]} for step in STEPS},
        "seconds": sum(times[step][0] for step in STEPS),
        "cpu_seconds": sum(times[step][1] for step in STEPS),
        "peak_mb": _peak_mb(),
    }


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What ``work`` gives, and its seconds by the clock and of this process's CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, (time.perf_counter() - clock, time.process_time() - cpu)


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """One row a size; the last column is the CPU time of an image against that of the first row."""
    lines = [
        "| images | split | write | in all | CPU | peak memory | an image, to the first row |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        steps = " | ".join(f"{result['steps'][step]['seconds']:.1f} s" for step in STEPS)
        each, first = (row["cpu_seconds"] / row["images"] for row in (result, results[0]))
        lines.append(
            f"| {result['images']} | {steps} | {result['seconds']:.1f} s | {result['cpu_seconds']:.1f} s | "
            f"{result['peak_mb']:.0f} MB | {each / first:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _in_fresh_process(size: int, num_proc: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, size, num_proc).result()


def _peak_mb() -> float:
    """Of this process; macOS counts bytes where Linux counts KiB."""
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / 1e6 if sys.platform == "darwin" else highest * 1024 / 1e6


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare", description="Does prepare scale?")
    parser.add_argument("--sizes", type=_sizes, default=SIZES, metavar="N,N", help="numbers of images")
    parser.add_argument("--num-proc", type=int, default=1, help="processes that paint (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for the numbers")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="for the table")
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
