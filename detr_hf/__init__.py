"""Fine-tune DETR for object detection and panoptic segmentation on your own photographs."""

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

__all__ = ["Predictor", "Result", "Run", "evaluate", "load_recipe", "predict", "prepare", "train"]

# tqdm warns so in a notebook without ipywidgets; its bars are drawn as text then.
warnings.filterwarnings("ignore", message="IProgress not found")

_HOMES = {"Predictor": "inference", "Result": "inference", "Run": "finished_run", "load_recipe": "recipe"}


def __getattr__(name: str) -> Any:
    """The Python API, imported when it is first asked for: `import detr_hf` alone takes no time."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`detr_hf.train` is the function, although there is a script `detr_hf/train.py`.

    Whoever imports a submodule also sets it as an attribute of its package, which would hide the function
    from then on. `from detr_hf.train import run` finds the module all the same.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "train" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
