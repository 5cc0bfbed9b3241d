"""Work spread over threads or processes, few items under way at once, so that memory stays flat.

Threads are for work that releases the interpreter's lock, such as decoding.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.process import parent_process
from typing import TypeVar

from detr_hf.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16  # items handed over at once
AHEAD = 4  # items or chunks under way for each worker: results wait for the one before them
FEW = 2 * CHUNK  # fewer items are done before other processes have started


def cores() -> int:
    """So many cores may this process use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Results in the order of the items, from as many threads as there are cores."""
    threads = threads or cores()
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from _ahead((pool.submit(work, item) for item in items), AHEAD * threads)


def _ahead(submitted: Iterator[Future[Result]], limit: int) -> Iterator[Result]:
    """Results in the order of submission, at most ``limit`` of them under way."""
    waiting: deque[Future[Result]] = deque()
    for future in submitted:
        waiting.append(future)
        if len(waiting) >= limit:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


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
    chunks = iter(lambda: list(islice(remaining, CHUNK)), [])
    context = multiprocessing.get_context(_start_method())
    with ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool:
        try:
            submitted = (pool.submit(_work_through, work, chunk) for chunk in chunks)
            for results in _ahead(submitted, AHEAD * processes):
                yield from results
        except BrokenProcessPool:
            raise UserError(
                "a process that works on images was killed, perhaps for want of memory; run the command "
                "again with a lower num_proc; it continues where it stopped"
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
