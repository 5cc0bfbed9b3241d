"""The page as a Hugging Face Space: a folder that is ready to be uploaded."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from huggingface_hub import SpaceCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from packaging.requirements import Requirement

import detr_hf
from detr_hf.app.viewer import name_of
from detr_hf.errors import UserError
from detr_hf.files import write_text
from detr_hf.hub_access import looks_like_a_folder
from detr_hf.inference.onnx import is_export
from detr_hf.recipe.repo_ids import DEMO_MODELS
from detr_hf.templating import render_markdown

PACKAGE = Path(detr_hf.__file__).parent
MODEL_FOLDER = "model"
MODEL_FILES = (
    "config.json",
    "preprocessor_config.json",
    "label_map.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "*.onnx",
    "*.onnx.data",
    "export.json",
)
"""What prediction reads of a model's folder; logs, recipes and training states stay at home."""

EXTRAS = ("app", "video")
EXPORT_EXTRAS = (*EXTRAS, "export")

APP = """\"\"\"The page of this Space: detr-hf's own, around one model.\"\"\"

import os
{imports}
from detr_hf.app.serve import serve

serve(
    {model},
    host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
    port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
    score_threshold={score_threshold},
    title={title!r},
)
"""

LARGE = ("*.safetensors", "*.onnx", "*.onnx.data")
LARGE_FILES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE)


def write_space(model: str, folder: Path, score_threshold: float | None = None) -> None:
    """Write README.md with the Space's settings, requirements.txt, app.py, this package, and the model.

    A model on the Hub is named, a model in a folder is copied beside the page. No token is read or written.

    Args:
        model: folder or Hub id of either stage, or `demo` or `demo-deformable`.
        folder: a new or empty folder.
        score_threshold: where the slider stands at first (0 to 1); None: see ``Predictor``.

    Raises:
        UserError: there is no such model, or ``folder`` holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already; choose a new or empty folder for the Space.")
    local = None if model in DEMO_MODELS else _model_folder(model)
    extras = EXPORT_EXTRAS if local is not None and is_export(local) else EXTRAS
    needed = "\n".join(_requirements(extras)) + "\n"
    shutil.copytree(
        PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__", ".*"), dirs_exist_ok=True
    )
    if local is not None:
        (folder / MODEL_FOLDER).mkdir()
        for file in (file for pattern in MODEL_FILES for file in local.glob(pattern)):
            shutil.copyfile(file, folder / MODEL_FOLDER / file.name)
    title = name_of(model)
    place = repr(model) if local is None else f'str(Path(__file__).parent / "{MODEL_FOLDER}")'
    imports = "" if local is None else "from pathlib import Path\n"
    texts = {
        "app.py": APP.format(imports=imports, model=place, score_threshold=score_threshold, title=title),
        "requirements.txt": needed,
        "README.md": _readme(model, local is not None, title),
        ".gitattributes": LARGE_FILES,
    }
    for name, text in texts.items():
        write_text(folder / name, text)


def _model_folder(model: str) -> Path | None:
    """The folder that holds the model; None for a Hub id."""
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file() or is_export(folder):
        return folder
    if folder.exists() or looks_like_a_folder(model):
        raise UserError(
            f"{model}: there is no model in this folder (no config.json); the model of a run is in its best/."
        )
    try:
        validate_repo_id(model)
    except HFValidationError as error:
        raise UserError(f"{model}: neither a folder nor a Hub id ({error}).") from None
    return None


def _readme(model: str, is_local: bool, title: str) -> str:
    facts = SpaceCardData(
        title=title,
        emoji="🏗️",
        colorFrom="blue",
        colorTo="gray",
        sdk="gradio",
        sdk_version=version("gradio"),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        license="apache-2.0",
        pinned=False,
        models=None if is_local or model in DEMO_MODELS else [model],
        short_description="What a fine-tuned detector finds in an image or video",
    )
    return render_markdown(
        "space_card.md", metadata=facts.to_yaml(), title=title, version=detr_hf.__version__
    )


def _requirements(extras: Sequence[str]) -> list[str]:
    """What this package needs for the page, by its own metadata."""
    try:
        lines = [Requirement(line) for line in requires("detr-hf") or []]
    except PackageNotFoundError:
        raise UserError(
            "detr-hf is not installed, so its requirements are unknown: pip install -e ."
        ) from None
    environments = [{"extra": extra} for extra in ("", *extras)]
    needed = [line for line in lines if line.marker is None or any(map(line.marker.evaluate, environments))]
    return sorted({f"{line.name}{line.specifier}" for line in needed})
