"""What the death of another process looks like here, told in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from detr_hf.errors import UserError

LOST_TOUCH = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "gloo",
    "NCCL",
)


class LostProcessError(UserError):
    """Another process of the run ended: a loading process, or another training process."""


@contextmanager
def told_of_lost_processes() -> Iterator[None]:
    """Around all of a run: turn what torch raises when another process dies into a plain message.

    Raises:
        LostProcessError: a loading process was killed, or a training process is gone.
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "DataLoader worker" in said:
            raise LostProcessError(
                f"data.workers: a loading process ended ({said}). Usually memory ran out: lower data.workers "
                "(0 loads in the training process). The same command goes on from the last checkpoint."
            ) from error
        distributed = torch.distributed.is_available() and isinstance(error, torch.distributed.DistError)
        if distributed or any(words in str(error) for words in LOST_TOUCH):
            raise LostProcessError(
                f"the processes of this run lost touch ({said}). One of them ended, and its own message says "
                "why, or the network failed. The same command goes on from the last checkpoint."
            ) from error
        raise
