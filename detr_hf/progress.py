"""Progress bars, all of them made here, so that they behave alike.

On a terminal a bar draws its line anew. In a file or a pipe that would become one endless line, and there is
no bar: what a run tells there is what it prints.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item] | None,
    total: int | None,
    what: str,
    done: int = 0,
    is_shown: bool = True,
    unit: str = "image",
) -> tqdm[Item]:
    """A bar on a terminal; nothing where the output is a file or a pipe.

    Args:
        items: passed through; None: the caller counts with ``update``.
        total: of the items; None: not known.
        what: stands before the bar.
        done: items done before.
        is_shown: False on all processes but one.
        unit: what an item is.
    """
    hidden = None if is_shown else True  # None: tqdm asks whether the output is a terminal
    return tqdm(items, what, total, leave=False, disable=hidden, unit=unit, initial=done)
