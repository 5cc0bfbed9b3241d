"""The project keeps its house rules, and each check of `layout_checks` finds what breaks its rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.layout_checks import (
    CHECKS,
    ROOT,
    heavy_entry_scripts,
    import_circles,
    long_argument_lists,
    long_code,
    machine_paths,
    modules,
    names_of_one_family,
    shadowing_names,
    wrong_imports,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_project_keeps_its_layout(check: Callable[[Path], list[str]]) -> None:
    assert list(modules(ROOT)), "no module found; the checks would pass on nothing"
    assert check(ROOT) == []


# ---- the checks themselves, on a made-up tree

GOOD = {
    "detr_hf/__init__.py": "",
    "detr_hf/labels.py": "from detr_hf.errors import UserError\n",
    "detr_hf/errors.py": "import json\n",
    "detr_hf/data/__init__.py": "",
    "detr_hf/data/coco.py": "from detr_hf.data.rows import x\nfrom . import rows\n",
    "detr_hf/data/hf.py": "from detr_hf import labels\n",
    "detr_hf/data/rows.py": "from ..labels import LabelMap\nimport datasets\n",
    "detr_hf/training/loop.py": "import detr_hf.data.coco\nfrom detr_hf import __version__\n",
    "detr_hf/train.py": "from detr_hf.training import loop\n",
    "README.md": "See https://example.org/home/page and runs/tmp/x, `{folder}/tmp/y`.\n",
}


LONG_FUNCTION = "def f() -> None:\n" + "    pass\n" * 60


BROKEN = [
    (
        wrong_imports,
        "detr_hf/labels.py",
        "from detr_hf.data import coco\n",
        "`labels` must not import `data`",
    ),
    (
        wrong_imports,
        "detr_hf/labels.py",
        "def f():\n    import detr_hf.cli\n",
        "`labels` must not import `cli`",
    ),
    (wrong_imports, "detr_hf/metrics/a.py", "from detr_hf.loading import x\n", "its neighbor `loading`"),
    (wrong_imports, "detr_hf/loading/a.py", "from ..metrics import x\n", "its neighbor `metrics`"),
    (wrong_imports, "detr_hf/loading/a.py", "from detr_hf import training\n", "must not import `training`"),
    (wrong_imports, "detr_hf/helpers.py", "", "`helpers` is in no tier"),
    (wrong_imports, "detr_hf/cli.py", "from detr_hf.helpers import x\n", "`helpers` is in no tier"),
    (wrong_imports, "detr_hf/files.py", "import detr_hf.recipe.load\n", "`files` must not import `recipe`"),
    (wrong_imports, "detr_hf/metrics/a.py", "from detr_hf import recipe\n", "know nothing of `recipe`"),
    (wrong_imports, "detr_hf/report/a.py", "import detr_hf.training.x\n", "know nothing of `training`"),
    (
        long_argument_lists,
        "detr_hf/training/many.py",
        "def f(self, a, b, c, d, e, /, g, *, h, i): ...\n",
        "`f` has too many",
    ),
    (names_of_one_family, "detr_hf/export/a.py", "x = model.bbox_predictor\n", "`bbox_predictor` is DETR's"),
    (
        import_circles,
        "detr_hf/data/rows.py",
        "def f():\n    from detr_hf.data import coco\n",
        "files that import each other: detr_hf.data.coco, detr_hf.data.rows",
    ),
    (
        import_circles,
        "detr_hf/data/rows.py",
        "if TYPE_CHECKING:\n    from .hf import x\nfrom detr_hf.data import coco\n",
        "files that import each other: detr_hf.data.coco, detr_hf.data.rows",
    ),
    (
        import_circles,
        "detr_hf/labels/other.py",
        "import detr_hf.training.loop\n",
        "rooms that import each other: data, labels, training",
    ),
    (shadowing_names, "detr_hf/datasets.py", "", "hides the module `datasets`"),
    (shadowing_names, "detr_hf/logging/__init__.py", "", "hides the module `logging`"),
    (heavy_entry_scripts, "detr_hf/train.py", "from .training import loop\n", "relative import"),
    (heavy_entry_scripts, "detr_hf/train.py", "class Trainer: ...\n", "defines a class"),
    (heavy_entry_scripts, "detr_hf/train.py", "x = 1\n" * 61, "61 lines"),
    (long_code, "detr_hf/labels.py", "x = 1\n" * 351, "351 lines"),
    (long_code, "detr_hf/labels.py", LONG_FUNCTION, "`f` has 61 lines"),
    (machine_paths, "README.md", f"see {'/'.join(['', 'root', 'x'])}\n", "README.md:1"),
    (machine_paths, "Makefile", f"\ncd {'/'.join(['', 'tmp', 'x'])}\n", "Makefile:2"),
]


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_tidy_tree_passes(tmp_path: Path, check: Callable[[Path], list[str]]) -> None:
    assert check(plant(tmp_path, GOOD)) == []


@pytest.mark.parametrize(("check", "name", "text", "expected"), BROKEN)
def test_a_broken_rule_is_found(
    tmp_path: Path, check: Callable[[Path], list[str]], name: str, text: str, expected: str
) -> None:
    problems = check(plant(tmp_path, GOOD | {name: text}))
    assert len(problems) == 1, problems
    assert expected in problems[0]
