"""Which split a file is of, by the words of its path, as `datasets` has it.

https://huggingface.co/docs/datasets/repository_structure
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

TRAIN = "train"
_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_SHARD = re.compile(r"(\w+)-\d{5}-of-\d{5}\..*")


def split_of(name: str, with_file: bool = True) -> str | None:
    """The split that the folders of a path or else its file are named after; None where they tell none.

    Args:
        name: relative to the data set, "/"-separated.
        with_file: whether the file's own name counts.
    """
    *folders, file = PurePosixPath(name).parts or ("",)
    for part in [*folders, file] if with_file else folders:
        for word in re.split(r"[-._ 0-9]+", part.lower()):
            if word in _WORDS:
                return _WORDS[word]
    shard = _SHARD.fullmatch(file) if with_file else None
    return shard[1] if shard else None
