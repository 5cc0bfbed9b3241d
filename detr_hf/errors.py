"""The one exception for faults that the user can mend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something in the user's recipe, data or folders is wrong.

    The message says what is wrong, where (file, image id or recipe key) and what to do. Entry points print it
    without a traceback; every other exception is a fault of this package and keeps its traceback.
    """


@contextmanager
def told_plainly() -> Iterator[None]:
    """End the program with exit code 2 and the message of a `UserError`, without a traceback."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
