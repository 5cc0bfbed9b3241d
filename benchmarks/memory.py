"""Peak memory of a piece of work: of the GPU, or the process's own resident set."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

SMALLEST_MB = 1.0
"""Less than this is lost in the allocator's pages."""

STATUS = Path("/proc/self/status")


def peak_mb_of(work: Callable[[], object], device: str = "cpu") -> float:
    """How far memory rises, in MB (10^6 bytes), above what imports, model and data hold before ``work``.

    On a GPU that is what tensors take; on a CPU the resident set. On Linux the kernel's high-water mark is
    first set back to the present, so that what building the model took for a moment does not hide the work.
    Elsewhere it is the rise of ``ru_maxrss``, at most as high.
    """
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        work()
        return max((torch.cuda.max_memory_allocated() - held) / 1e6, SMALLEST_MB)
    with contextlib.suppress(OSError, AttributeError):  # glibc: hand back what building freed
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _resident_mb("VmRSS")
    work()
    return max(_resident_mb("VmHWM") - before, SMALLEST_MB)


def _resident_mb(field: str) -> float:
    """A line of the process's status, "VmRSS" (now) or "VmHWM" (highest)."""
    if not STATUS.exists():
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest / 1e6 if sys.platform == "darwin" else highest * 1024 / 1e6
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024 / 1e6
