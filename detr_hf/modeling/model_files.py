"""What stands beside the weights of a model: its config, image processor and label map, read with suspicion.

Whoever made a model folder may have put anything there. Nothing in it is run, and values that make no sense
end in a `UserError` instead of a traceback or of silent nonsense.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig

from detr_hf.errors import UserError
from detr_hf.foreign_files import inside, is_finite_number, no_such, read_json
from detr_hf.hub_access import looks_like_a_folder, offline_unless_reached
from detr_hf.labels import LABEL_MAP_FILE, LabelMap
from detr_hf.modeling.families.base import ImageProcessor
from detr_hf.modeling.families.registry import family_of

JSON_FILES = ("config.json", "preprocessor_config.json")
SHARD_INDEX = "model.safetensors.index.json"

TRUSTED: dict[str, Any] = {"trust_remote_code": False}
"""Left out, transformers asks at the terminal whether to run the Python files of a model."""


def load_config(source: str, revision: str | None = None) -> Any:
    """The config of a model whose family the package knows, what would change the network switched off.

    Raises:
        UserError: it is not there, is no valid config, or of no known family.
    """
    if not Path(source).is_dir():
        if looks_like_a_folder(source):
            raise UserError(
                f"{source}: {no_such(source, 'folder')}. Give the folder of a model, or a Hub id."
            )
        offline_unless_reached()
    hint = (
        ". Give a folder with a config.json, or the id of a model on the Hub; a private one needs "
        "`hf auth login`, or a valid HF_TOKEN"
    )
    if (Path(source) / "best" / JSON_FILES[0]).is_file() and not (Path(source) / JSON_FILES[0]).exists():
        raise UserError(f"{source}: is the folder of a run; its model is {Path(source) / 'best'}.")
    with refused(source, "no model found there", hint):
        config = AutoConfig.from_pretrained(source, revision=revision, **TRUSTED)
    family_of(config, source).check_config(config, source)
    return config


def load_processor(source: str, revision: str | None = None) -> ImageProcessor:
    """The image processor saved with a model, with the mean and deviation that its weights expect.

    Raises:
        UserError: there is none, or it prepares images in a way that no model of the package was trained on.
    """
    if not Path(source).is_dir():
        offline_unless_reached()
    with refused(source, "no image processor could be loaded"):
        stock = family_of(load_config(source, revision), source).processor_class
        processor: Any = stock.from_pretrained(source, revision=revision or "main", **TRUSTED)
    if not processor.do_normalize:
        processor.image_mean, processor.image_std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if faults := list(_processor_faults(processor)):
        raise UserError(f"{source}: preprocessor_config.json cannot be used: {'; '.join(faults)}.")
    return processor


def _processor_faults(processor: Any) -> Iterator[str]:
    for key in ("image_mean", "image_std"):
        values = getattr(processor, key)
        if not isinstance(values, list | tuple) or len(values) != 3 or not all(map(is_finite_number, values)):
            yield f"{key} is {str(values)[:60]}, where three numbers are needed"
        elif key == "image_std" and min(values) <= 0:
            yield f"image_std is {list(values)}, and pixels are divided by it"
    if not processor.do_resize or not processor.do_rescale:
        yield "do_resize and do_rescale must be true"
    elif not is_finite_number(processor.rescale_factor) or abs(255 * processor.rescale_factor - 1) > 1e-6:
        yield f"rescale_factor is {processor.rescale_factor}, where pixels are divided by 255"


def load_label_map(source: str, config: Any) -> LabelMap:
    """A model's label map: ``label_map.json`` beside it, or else the names in its config, all as things.

    Raises:
        UserError: it names other classes than the config, or as many as the model does not have.
    """
    file = Path(source) / LABEL_MAP_FILE
    if not Path(source).is_dir():
        try:
            file = Path(hf_hub_download(source, LABEL_MAP_FILE))
        except (EntryNotFoundError, OSError, ValueError):  # stock models have none; or offline
            return LabelMap.from_names(class_names(config))
    names = class_names(config)
    if not file.is_file():
        return LabelMap.from_names(names)
    labels = LabelMap.load(file)
    unnamed = all(re.fullmatch(r"LABEL_\d+", name) for name in names)  # what transformers makes of a count
    if len(labels.names) != len(names) or (list(labels.names) != names and not unnamed):
        known, given = LabelMap.from_names(names), LabelMap.from_names(labels.names)
        raise UserError(
            f"{file}: does not fit the model: compared with its config.json, the label map "
            f"{known.difference(given)}. Put the label map there that the model was trained with."
        )
    return labels


def refuse_other_labels(config: Any, source: str, labels: LabelMap) -> None:
    """Raise a UserError that starts with ``source``, unless the model predicts ``labels`` in their order."""
    theirs, ours = LabelMap.from_names(class_names(config)), LabelMap.from_names(labels.names)
    if theirs != ours:  # a config does not know things from stuff: names and their order are compared
        raise UserError(
            f"{source} was trained for other classes than the data has: "
            f"compared with the model, the data {theirs.difference(ours)}. "
            "Train stage 1 on this data first, or give the model's label map in data.labels."
        )


def class_names(config: Any) -> list[str]:
    """The class names of a model in order; a repeated one ("N/A" in the COCO models) gets its id added."""
    names = [str(name) for _, name in sorted((config.id2label or {}).items())]
    return [f"{name} ({index})" if names.index(name) < index else name for index, name in enumerate(names)]


@contextmanager
def refused(source: str, what: str, hint: str = "") -> Iterator[None]:
    """Around code of transformers that reads a model of others: what it trips over becomes a UserError.

    The JSON files of a folder are read first, because transformers takes any nesting and any size.
    """
    try:
        for name in JSON_FILES:
            if (Path(source) / name).exists():
                read_json(Path(source) / name)
        yield
    except UserError:
        raise
    except StrictDataclassError as error:
        raise UserError(f"{source}: its config.json is not valid: {' '.join(str(error).split())}") from error
    except (
        *(OSError, ValueError, TypeError, LookupError, AttributeError, StopIteration, RecursionError),
        *(SafetensorError, RuntimeError),
    ) as error:
        if not Path(source).is_dir() and _is_offline(error):
            raise UserError(
                f"{source}: is no folder; the Hub cannot be reached, and not all of this model is cached. "
                "Give the folder of a model, or take the tiny one of the package for a try: "
                "model.pretrained=demo."
            ) from None
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{source}: {what} ({first_line}){hint}.") from error


def _is_offline(error: BaseException | None) -> bool:
    """Whether an error comes of a file that is not cached while the Hub is switched off or out of reach."""
    while error is not None:
        if isinstance(error, LocalEntryNotFoundError):
            return True
        error = error.__cause__ or error.__context__
    return False


def refuse_foreign_shards(source: str) -> None:
    """Raise a UserError where the index of sharded weights names a file outside of their folder."""
    if (index := Path(source) / SHARD_INDEX).exists():
        for shard in set(dict(read_json(index)["weight_map"]).values()):
            inside(Path(source), shard)
