"""The Hub, when it cannot be reached: cached copies at once, or a clear message at once."""

from __future__ import annotations

import os
from functools import cache

REACHED_WITHIN = 10.0
"""Seconds that the Hub has to answer the first question; any answer will do."""


def looks_like_a_folder(source: str) -> bool:
    """Whether a name can only be a path: Hub ids are `name` or `user/name`."""
    return source.startswith((".", "~", "/", "\\")) or source.count("/") > 1 or "\\" in source


@cache
def offline_unless_reached() -> bool:
    """Ask the Hub once whether it is there; where it is not, switch this process to cached copies.

    The libraries would otherwise try each file six times over half a minute, cached or not.

    Returns:
        Whether the Hub is out of reach, or was switched off by `HF_HUB_OFFLINE`.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return True
    try:
        get_session().head(constants.ENDPOINT, timeout=REACHED_WITHIN)
        return False
    except Exception as error:  # whatever the HTTP library of this version calls a refused connection
        print(f"note: {constants.ENDPOINT} cannot be reached ({error}); cached copies are used.", flush=True)
    import datasets

    constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = datasets.config.HF_DATASETS_OFFLINE = True
    os.environ["HF_HUB_OFFLINE"] = "1"  # for processes started from here
    return True
