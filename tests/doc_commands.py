"""Commands in documentation: their programs, flags, files, recipes and overrides."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

from detr_hf.errors import UserError
from detr_hf.recipe import load_recipe
from detr_hf.recipe.prepare import load_prepare_recipe
from detr_hf.recipe.shipped import find_shipped
from tests.doc_page import Page, words_of, wrong_path

OWN_RECIPES = ("recipe.yaml", "recipe-panoptic.yaml")  # what `detr-hf init` writes
OTHER_PROGRAMS = {"pre-commit", "tensorboard", "source", "cvat-cli", "uv"}


def wrong_commands(page: Page) -> list[str]:
    """Commands in bash blocks, which must be complete."""
    problems = []
    for words in page.commands:
        check = PROGRAMS.get(words[0])
        if check is None and words[0] not in OTHER_PROGRAMS:
            problems.append(f"`{words[0]}` is not a program that these checks know")
        found = check(words[1:], page.root) if check else []
        found += [fault for word in words[1:] if "=" not in word for fault in wrong_path(word, page)]
        problems += [f"`{shlex.join(words)}`: {fault}" for fault in found]
    return problems


def wrong_inline_commands(page: Page) -> list[str]:
    """Commands within a sentence, which may leave arguments out."""
    problems = []
    for span in page.spans:
        name, _, rest = span.partition(" ")
        if name not in PROGRAMS or not rest:
            continue
        words = words_of(span)[1:]
        if words == ["launch"]:
            continue
        faults = shortened_detr_hf(words) if name == "detr-hf" else PROGRAMS[name](words, page.root)
        problems += [f"`{span}`: {fault}" for fault in faults]
    return problems


def check_make(words: list[str], root: Path) -> list[str]:
    targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.M)
    return [f"the Makefile has no target {word}" for word in words if "=" not in word and word not in targets]


def check_detr_hf(words: list[str], root: Path) -> list[str]:
    arguments, faults = parsed(cli_parser(), words)
    if arguments is None:
        return faults
    if getattr(arguments, "replay", None) is not None:
        overrides = [word for word in (arguments.recipe, *arguments.overrides) if word]
        return wrong_recipe(recipe_of_folder(arguments.replay), overrides, root)
    if hasattr(arguments, "recipe"):
        return wrong_recipe(arguments.recipe, arguments.overrides, root)
    if hasattr(arguments, "prepare_recipe"):
        return wrong_recipe(arguments.prepare_recipe or "recipes/dataset.yaml", arguments.overrides, root)
    if hasattr(arguments, "study"):
        return [] if (root / arguments.study).is_file() else [f"there is no {arguments.study}"]
    if hasattr(arguments, "source"):
        return wrong_recipe(recipe_of_folder(arguments.source), arguments.overrides, root)
    return []


def shortened_detr_hf(words: list[str]) -> list[str]:
    """A command of `detr-hf` with arguments left out: it and its flags must exist."""
    parser = cli_parser()
    if words[0].startswith("-"):
        return [f"detr-hf has no {words[0]}"] if words[0] not in parser._option_string_actions else []
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    if words[0] not in commands:
        return [f"detr-hf has no command {words[0]}; it has {', '.join(commands)}"]
    flags = commands[words[0]]._option_string_actions
    return [
        f"`detr-hf {words[0]}` has no {word}"
        for word in words[1:]
        if word.startswith("-") and word not in flags
    ]


def check_accelerate(words: list[str], root: Path) -> list[str]:
    from accelerate.commands.launch import launch_command_parser

    if words[:1] != ["launch"]:
        return ["only `accelerate launch` is known"]
    arguments, faults = parsed(launch_command_parser(), words[1:])
    if arguments is None:
        return faults
    config = arguments.config_file
    missing = [f"there is no {config}"] if config and not (root / config).is_file() else []
    if arguments.module and arguments.training_script == "detr_hf.cli":
        return missing + check_detr_hf(arguments.training_script_args, root)
    if arguments.module and arguments.training_script == "detr_hf.train":
        return missing + wrong_recipe(*_split(arguments.training_script_args), root)
    return missing + check_script([arguments.training_script, *arguments.training_script_args], root)


def _split(words: list[str]) -> tuple[str, list[str]]:
    return words[0], words[1:]


def check_torchrun(words: list[str], root: Path) -> list[str]:
    from torch.distributed.run import get_args_parser

    arguments, faults = parsed(get_args_parser(), words)
    if arguments is None:
        return faults
    if arguments.module and arguments.training_script == "detr_hf.train":
        return wrong_recipe(*_split(arguments.training_script_args), root)
    return check_script([arguments.training_script, *arguments.training_script_args], root)


def check_script(words: list[str], root: Path) -> list[str]:
    """A file and, for what trains, its recipe."""
    script, *arguments = words
    if not (root / script).is_file():
        return [f"there is no {script}"]
    takes_recipe = script in ("detr_hf/train.py", "recipes/launch/slurm.sh")
    if not takes_recipe or arguments in ([], ["--help"]):
        return []
    return wrong_recipe(arguments[0], arguments[1:], root)


def check_python(words: list[str], root: Path) -> list[str]:
    if words[0] != "-m":
        return check_script(words, root)
    with contextlib.suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec(words[1])
        if spec is None or spec.origin is None or not words[1].startswith(("detr_hf", "tools")):
            return [] if spec else [f"there is no module {words[1]}"]
        script = Path(spec.origin)
        source = (script.with_name("__main__.py") if spec.submodule_search_locations else script).read_text()
        return [f"{words[1]} has no {w}" for w in words[2:] if w.startswith("--") and f'"{w}"' not in source]
    return [f"there is no module {words[1]}"]


def check_pip(words: list[str], root: Path) -> list[str]:
    with (root / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    wanted = [name for word in words for name in re.findall(r"^(?:\.|detr-hf)\[([^\]]+)\]$", word)]
    return [
        f"there is no extra `{name}`" for names in wanted for name in names.split(",") if name not in extras
    ]


PROGRAMS: dict[str, Callable[[list[str], Path], list[str]]] = {
    "make": check_make,
    "detr-hf": check_detr_hf,
    "accelerate": check_accelerate,
    "torchrun": check_torchrun,
    "sbatch": check_script,
    "python": check_python,
    "pip": check_pip,
}


def cli_parser() -> argparse.ArgumentParser:
    """The parser of `detr-hf`."""
    from detr_hf import cli

    return cli.build_parser()


def parsed(parser: argparse.ArgumentParser, words: list[str]) -> tuple[argparse.Namespace | None, list[str]]:
    """The arguments, or what the parser says against them."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return parser.parse_args(words), []
    except SystemExit as end:
        return None, [said.getvalue().strip().splitlines()[-1]] if end.code else []


def wrong_recipe(recipe: str, overrides: list[str], root: Path) -> list[str]:
    """A recipe that cannot be loaded with these overrides; for data, a run or RECIPE a shipped one stands."""
    file = root / recipe
    if recipe in OWN_RECIPES or not recipe.endswith(".yaml"):
        file = find_shipped(recipe) or root / recipe_of_folder(recipe.removesuffix(".yaml"))
    prepares = file.is_file() and re.search(r"^task: prepare$", file.read_text(encoding="utf-8"), re.M)
    try:
        (load_prepare_recipe if prepares else load_recipe)(file, overrides)
    except UserError as error:
        return str(error).splitlines()[1:] or [str(error)]
    return []


def recipe_of_folder(source: str) -> str:
    """The shipped recipe that a run folder in the documentation comes from."""
    if source.endswith(".yaml"):
        return source
    return "recipes/panoptic.yaml" if "panoptic" in source else "recipes/detection.yaml"
