"""The exception for errors that the user can correct, and how an entry point exits."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, cast

from detr_hf.sanitize import PrintableStream

STOPPED = 75
"""Exit code of a run that saved and stopped before its end; the same command resumes it (EX_TEMPFAIL)."""

INTERRUPTED = 130
"""Exit code after Ctrl-C where nothing was saved."""

HEAD_START = 2.0
"""Seconds that the first process of a machine has to print an error before others print the same one."""

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
PATH_ERRORS = (errno.ENAMETOOLONG,)


class UserError(ValueError):
    """Something in the user's recipe, data or folders is wrong.

    The message says what is wrong, where (file, image id or recipe key) and what to do. Entry points print it
    without a traceback; every other exception is a bug of this package and keeps its traceback.
    """


class StoppedEarly(Exception):  # noqa: N818 - not an error
    """A run was asked to stop; it has saved its state and printed that it stops."""


@contextmanager
def exit_with_message() -> Iterator[None]:
    """Exit with one message instead of a traceback where no bug of this package is the reason.

    Exit code 2 for a `UserError`, a path too long, and a disk that cannot be written, `STOPPED` for
    `StoppedEarly`, `INTERRUPTED` for Ctrl-C. Whatever is printed meanwhile reaches the terminal without
    control characters. A log file has no bars of `datasets` and `huggingface_hub`, which ask for no terminal.
    """
    if not sys.stderr.isatty():
        for library in ("HF_DATASETS", "HF_HUB"):
            os.environ.setdefault(f"{library}_DISABLE_PROGRESS_BARS", "1")  # read when it is imported
    streams = [cast(Any, PrintableStream(stream)) for stream in (sys.stdout, sys.stderr)]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        try:
            yield
        except UserError as error:
            _print_once(f"error: {error}")
            raise SystemExit(2) from None
        except StoppedEarly:
            raise SystemExit(STOPPED) from None
        except KeyboardInterrupt:
            _print_once("interrupted")
            raise SystemExit(INTERRUPTED) from None
        except OSError as error:
            if error.errno not in DISK_ERRORS + PATH_ERRORS:
                raise
            _print_once(f"error: {error.filename or 'a file could not be written'}: {error.strerror}")
            raise SystemExit(2) from None


def listed(words: Iterable[str], limit: int = 20) -> str:
    """Quoted words for a message, cut after ``limit`` with the number left out."""
    known = list(words)
    shown = ", ".join(f"'{word}'" for word in known[:limit])
    return shown + (f" and {len(known) - limit} more" if len(known) > limit else "")


def quantity(count: int, noun: str) -> str:
    """A number with its noun: "1 image", "2 images", "3 training boxes", "0 classes", "5 queries"."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch", "sh")) and not noun.endswith("epoch"):
        return f"{count:d} {noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{count:d} {noun[:-1]}ies"
    return f"{count:d} {noun}s"


def _print_once(message: str) -> None:
    """Print once a machine: other processes wait, and the launcher ends them once the first one has exited.

    An error that only one of the others has is printed by that process after the wait.
    """
    if int(os.environ.get("LOCAL_RANK", 0)):
        time.sleep(HEAD_START)
    print(message, file=sys.stderr, flush=True)
