"""Work spread over processes, few items under way at once, so that memory does not grow with their number."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.process import parent_process
from typing import TypeVar

from detr_hf.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16  # items handed over at once
AHEAD = 4  # chunks under way for each process
FEW = 2 * CHUNK  # fewer items are done before other processes have started


def in_order(work: Callable[[Item], Result], items: Iterable[Item], processes: int) -> Iterator[Result]:
    """The results of ``work`` in the order of ``items``; with one process or few items, here and now.

    ``work``, items and results must be picklable. What ``work`` raises is raised here.

    Raises:
        UserError: a process was killed, as by a system that is out of memory.
    """
    remaining = iter(items)
    few = list(islice(remaining, FEW)) if processes > 1 else []
    if len(few) < FEW:
        yield from map(work, chain(few, remaining))
        return
    remaining = chain(few, remaining)
    waiting: deque[Future[list[Result]]] = deque()
    context = multiprocessing.get_context(_start_method())
    with ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool:
        try:
            while chunk := list(islice(remaining, CHUNK)):
                waiting.append(pool.submit(_work_through, work, chunk))
                if len(waiting) >= AHEAD * processes:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a process that works on images was killed, perhaps for want of memory; run the command "
                "again with a lower num_proc, it goes on where it stopped"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)  # after a fault, do not finish what is queued


def _start_method() -> str:
    """A forked copy of a process with threads may hang; a server without threads forks, and imports once."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.get_context("forkserver").set_forkserver_preload(["detr_hf.data.repair"])
    return "forkserver"


def _work_through(work: Callable[[Item], Result], chunk: list[Item]) -> list[Result]:
    return [work(item) for item in chunk]


def _end_with_parent() -> None:
    """Without this, processes would wait for ever for more work from a parent that was killed."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
