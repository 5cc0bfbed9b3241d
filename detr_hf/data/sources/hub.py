"""Data sets of the Hugging Face Hub, by their id. Nothing of them is executed: `datasets` runs no scripts.

https://huggingface.co/docs/datasets/loading#hugging-face-hub
"""

from __future__ import annotations

import re
from pathlib import Path

from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.table import open_tables
from detr_hf.errors import UserError
from detr_hf.hub_access import offline_unless_reached
from detr_hf.labels import LABEL_MAP_FILE, LabelMap

FORMAT = "hub"
TITLE = "a data set of the Hugging Face Hub"
LOOKS_FOR = "an id, such as user/name, where there is no such file or folder"
ORDER = 90

_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_OF_FILES = re.compile(r"\.(json|jsonl|ya?ml|zip|xml|csv|txt|parquet|names|data)", re.IGNORECASE)


def detect(path: Path) -> bool:
    """Whether it can be an id, and no mistyped path: of a file, or in a folder that is there."""
    is_path = path.exists() or bool(_OF_FILES.fullmatch(path.suffix))
    if is_path or not _ID.fullmatch(path.as_posix()):
        return False
    return len(path.parts) == 1 or not Path(path.parts[0]).exists()


def open_splits(place: Place) -> Opened:
    """Its splits, fetched to the cache of `datasets`, and the label map that was published with it.

    Raises:
        UserError: it is no id, or the Hub does not give it.
    """
    import datasets

    name = id_of(place)
    offline_unless_reached()
    try:
        splits = datasets.load_dataset(name, revision=place.revision)
    except Exception as error:  # network, access, format: the message of the library says which
        raise UserError(
            f"{place.name}: '{name}' is neither a file or folder nor a data set that the Hub gives us "
            f"({error}); a private one needs `hf auth login`, or a valid HF_TOKEN"
        ) from error
    return open_tables(splits, place, cache_roots(), labels_on_hub(name, place.revision))


def id_of(place: Place) -> str:
    """The id that a place names.

    Raises:
        UserError: it can be none.
    """
    name = place.path.as_posix()
    if not _ID.fullmatch(name):
        raise UserError(f"{place.name}: '{name}' is no id of a data set on the Hub, such as user/name")
    return name


def labels_on_hub(name: str, revision: str | None) -> LabelMap | None:
    """The label map that was published with a data set.

    Raises:
        UserError: it cannot be fetched, or is none.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        file = hf_hub_download(name, LABEL_MAP_FILE, repo_type="dataset", revision=revision)
    except EntryNotFoundError:
        return None
    except Exception as error:  # network, access
        raise UserError(f"{name}: its {LABEL_MAP_FILE} cannot be fetched ({error})") from error
    return LabelMap.load(Path(file))


def cache_roots() -> tuple[Path, ...]:
    """Where files of the Hub lie on this machine."""
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH, HF_HUB_CACHE)
    return tuple(Path(cache).resolve() for cache in caches)
