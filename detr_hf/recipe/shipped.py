"""The recipes that come with the package, by name: `detection`, `variants/deformable_detr`, `demo/bccd`."""

from __future__ import annotations

from pathlib import Path

from detr_hf.errors import UserError
from detr_hf.foreign_files import no_such

IN_WHEEL = Path(__file__).parents[1] / "recipes"
IN_CHECKOUT = Path(__file__).parents[2] / "recipes"
LISTED = "(`detr-hf recipes` lists those of the package)"
LAUNCH = "launch/"  # configurations of Accelerate, which are no recipes


def shipped_folder() -> Path:
    """The folder `recipes` of the checkout, or its copy in the installed package.

    Raises:
        UserError: the installation is damaged.
    """
    for folder in (IN_WHEEL, IN_CHECKOUT):
        if (folder / "detection.yaml").is_file():
            return folder
    raise UserError(f"{IN_WHEEL}: the recipes of the package are missing; install it again.")


def shipped_files() -> dict[str, Path]:
    """All YAML files by name, those for Accelerate in `launch/` among them."""
    folder = shipped_folder()
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def shipped_recipe(name: str) -> Path:
    """One of these files; `recipes/demo/bccd.yaml` is `demo/bccd`.

    Raises:
        UserError: there is none of this name.
    """
    if (file := find_shipped(name)) is None:
        raise UserError(f"{name}: {unknown_recipe(name)}")
    return file


def find_shipped(word: str) -> Path | None:
    """As `shipped_recipe`, None where there is none. `bccd.yaml` alone is a file of the user's."""
    name = Path(word).as_posix()
    if name.startswith("recipes/"):
        name = name.removeprefix("recipes/").removesuffix(".yaml")
    return shipped_files().get(name)


def find_recipe(path: str | Path) -> Path:
    """The file at a path, or the shipped recipe of that name where there is no such file; else the path."""
    is_there = Path(path).exists() and not Path(path).is_dir()
    return Path(path) if is_there else find_shipped(str(path)) or Path(path)


def unknown_recipe(word: str) -> str:
    """That there is no such file, what may be meant, and where the recipes are listed."""
    return f"{no_such(word, 'recipe file', recipe_names())} {LISTED}"


def recipe_names() -> list[str]:
    """The shipped recipes."""
    return [name for name in shipped_files() if not name.startswith(LAUNCH)]
