"""One side of a case in a process of its own, and the parent's handle on it."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from benchmarks.cases import build
from benchmarks.memory import peak_mb_of
from benchmarks.settings import Settings


class ChildError(RuntimeError):
    """A side could not do its work; the message says which and why."""


class Child:
    """A fresh process that builds one side and works when asked.

    Args:
        case: name of the case.
        side: "ours" or "stock".
        settings: sizes.
        deadline: of ``time.monotonic``; an answer that is not there by then is a ``ChildError``.
    """

    def __init__(self, case: str, side: str, settings: Settings, deadline: float | None = None):
        self.name, self.deadline = f"{case}, {side}", deadline
        self.facts: dict[str | None, dict[str, float]] = {}  # of the case (None) and of its variants
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(far_end, case, side, settings), daemon=True, name=self.name
        )
        self._process.start()
        far_end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=10)
        self._process.kill()

    def ready(self) -> list[str]:
        """Wait until the side is built; the names of its variants."""
        return self._answer()

    def first_run(self) -> tuple[float, dict[str, Any]]:
        """Do the case's work for the first time: its peak memory in MB, and its outcome as numpy arrays."""
        return self._ask("first run")

    def peak_mb(self) -> float:
        """Do the case's work for the first time: its peak memory in MB."""
        return self._ask("peak")

    def seconds(self, variant: str | None = None) -> float:
        """Do the work, or a variant of it, and say how long it took."""
        seconds, self.facts[variant] = self._ask("time", variant)
        return seconds

    def _ask(self, *question: str | None) -> Any:
        self._pipe.send(question)
        return self._answer()

    def _answer(self) -> Any:
        left = None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)
        if not self._pipe.poll(left):
            raise ChildError(f"{self.name}: no time left")
        try:
            ok, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise ChildError(
                f"{self.name}: the process ended with code {self._process.exitcode}; if that is -9 the "
                "memory was not enough: choose a smaller --size, fewer --images or --queries."
            ) from None
        if not ok:
            raise ChildError(f"{self.name}:\n{value}")
        return value


def _serve(pipe: Connection, case: str, side: str, settings: Settings) -> None:
    """Build the side, then answer until the parent hangs up."""
    try:
        import torch

        torch.set_num_threads(settings.threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings.precision == "tf32"
        built = build(case, side, settings)
        pipe.send((True, list(built.variants)))
        while True:
            question, *name = pipe.recv()
            if question in ("first run", "peak"):
                peak_mb = peak_mb_of(partial(_do, built.work, settings), settings.device)
                pipe.send((True, peak_mb if question == "peak" else (peak_mb, _as_arrays(built.outcome()))))
            else:
                work = built.work if name == [None] else built.variants[name[0]]
                started = time.perf_counter()
                _do(work, settings)
                pipe.send((True, (time.perf_counter() - started, dict(built.facts()))))
    except EOFError:
        return
    except Exception:
        pipe.send((False, traceback.format_exc()))


def _do(work: Callable[[], object], settings: Settings) -> None:
    """Do the work in the settings' precision, and wait for the device."""
    import torch

    device = torch.device(settings.device)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.precision)
    with torch.autocast(device.type, half, enabled=half is not None):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()


def _as_arrays(outcome: Any) -> dict[str, Any]:
    import numpy as np

    return {
        name: np.asarray(value.detach() if hasattr(value, "detach") else value)
        for name, value in outcome.items()
    }
