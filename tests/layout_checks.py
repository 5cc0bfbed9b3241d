"""The house rules that a parser can check: import direction, names, sizes, and no paths of one machine.

Each check is a function of a folder that returns what is wrong there.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


PACKAGE = "detr_hf"


TIERS = {  # a room imports from its own tier and those above it in this table
    "ground floor": {
        *("labels", "geometry", "images", "errors", "presets", "inputs", "hub_access", "sanitize"),
        "doc_pages",
        *("templating", "files", "foreign_files", "run_folder", "seen_sizes", "stop_signals", "progress"),
    },
    "what a run is": {"recipe"},
    "what is learned": {"data", "loading", "modeling", "metrics"},
    "what is done with it": {
        *("training", "inference", "visualize", "report", "hub", "export", "teacher"),
    },
    "what is called": {
        *("cli", "train", "app", "demo", "ablation", "pick", "review", "__main__"),
        *("targets", "scoring", "advice"),
        *("api", "finished_run", "hf"),
    },
}


TIER_OF = {room: tier for tier, rooms in enumerate(TIERS.values()) for room in rooms}


STRANGERS = 2  # the tier whose rooms do not import each other


NOT_FOR = {  # rooms that a room must not know besides
    "modeling": {"recipe"},
    "metrics": {"recipe"},
    **{room: {"training"} for room in ("report", "hub", "export", "inference", "visualize", "app")},
}


ENTRY_SCRIPTS = ("train.py",)


LONGEST_ENTRY_SCRIPT = 60


LONGEST_FILE = 350


LONGEST_FUNCTION = 60


MOST_PARAMETERS = 7


NAMES_OF_DETR = re.compile(
    r"\bDetr(For|Model|Config|Image|Decoder|FPN|MH)\w*|class_labels_classifier|bbox_predictor"
)


KNOW_DETR = ("detr_hf/modeling/families/", "detr_hf/modeling/mask_head.py")
"""The families, some of which share names, and DETR's mask head."""


IMPORT_NAMES = {
    *("torch", "torchvision", "transformers", "datasets", "accelerate", "timm", "evaluate", "pycocotools"),
    *("albumentations", "cv2", "numpy", "scipy", "PIL", "safetensors", "pydantic", "yaml", "tqdm"),
    *(
        "tensorboard",
        "trackio",
        "wandb",
        "matplotlib",
        "jinja2",
        "supervision",
        "av",
        "gradio",
        "onnx",
        "onnxscript",
    ),
    *(
        "onnxruntime",
        "hotcoco",
        "huggingface_hub",
        "tokenizers",
        "pyarrow",
        "pandas",
        "requests",
        "packaging",
    ),
    *("panopticapi", "jinja2", "pytest", "ruff", "mypy"),
}


MACHINE_PATH = re.compile(r"(?<![\w.})-])/(?:work|root|home|tmp|Users)/")


TEXT = {
    ".py",
    ".pyi",
    ".md",
    ".toml",
    ".yaml",
    ".yml",
    ".json",
    ".txt",
    ".cfg",
    ".log",
    ".csv",
    ".jsonl",
    ".html",
    "",
}


def modules(root: Path) -> Iterator[Path]:
    return iter(sorted((root / PACKAGE).rglob("*.py")))


def room_of(file: Path, root: Path) -> str:
    """The part of the package that a file belongs to: "data" for `detr_hf/data/coco.py`."""
    return file.relative_to(root / PACKAGE).parts[0].removesuffix(".py")


def module_of(file: Path, root: Path) -> str:
    """`detr_hf.data.coco`, or the package itself for its `__init__.py`."""
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def names_imported(file: Path, root: Path) -> Iterator[tuple[str, int]]:
    """What a module imports anywhere in it, also inside functions, in full and each with its line."""
    package = file.relative_to(root).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{stem}.{alias.name}", node.lineno) for alias in node.names)


def rooms_imported(file: Path, root: Path) -> Iterator[tuple[str, int]]:
    """The rooms that a module imports, each with its line."""
    for name, line in names_imported(file, root):
        parts = name.split(".")
        if parts[0] == PACKAGE and len(parts) > 1 and not parts[1].startswith("__"):
            yield parts[1], line


def wrong_imports(root: Path) -> list[str]:
    """Imports against the direction of the tiers, and rooms that no tier lists."""
    problems = []
    for file in modules(root):
        room, where = room_of(file, root), file.relative_to(root)
        if room == "__init__":
            continue
        if room not in TIER_OF:
            problems.append(f"{where}: `{room}` is in no tier of the layout")
            continue
        for target, line in dict.fromkeys(rooms_imported(file, root)):
            if target not in TIER_OF:
                problems.append(f"{where}:{line}: `{target}` is in no tier of the layout")
            elif target in NOT_FOR.get(room, ()):
                problems.append(f"{where}:{line}: `{room}` must know nothing of `{target}`")
            elif target != room and TIER_OF[target] > TIER_OF[room]:
                problems.append(f"{where}:{line}: `{room}` must not import `{target}`, which builds on it")
            elif target != room and TIER_OF[target] == TIER_OF[room] == STRANGERS:
                problems.append(f"{where}:{line}: `{room}` must not import its neighbor `{target}`")
    return problems


def import_circles(root: Path) -> list[str]:
    """Files that import each other, and rooms that do, directly or through others."""
    files: dict[str, set[str]] = {}
    rooms: dict[str, set[str]] = {}
    known = {module_of(file, root) for file in modules(root)}
    for file in modules(root):
        names = {name for name, _ in names_imported(file, root)}
        targets = {name if name in known else name.rpartition(".")[0] for name in names}
        files[module_of(file, root)] = targets & known - {module_of(file, root)}
        room = room_of(file, root)
        rooms.setdefault(room, set()).update({target for target, _ in rooms_imported(file, root)} - {room})
    circles = [("files", _on_circles(files)), ("rooms", _on_circles(rooms))]
    return [f"{what} that import each other: {', '.join(found)}" for what, found in circles if found]


def _on_circles(graph: dict[str, set[str]]) -> list[str]:
    """The nodes from which a way leads back to them."""

    def beyond(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        return seen

    return [node for node in sorted(graph) if node in beyond(node)]


def shadowing_names(root: Path) -> list[str]:
    """What stands directly in the package and would hide another module when a script in it is run."""
    found = {room_of(file, root) for file in modules(root)} - {"__init__", "__main__"}
    hidden = found & (set(sys.stdlib_module_names) | IMPORT_NAMES)
    return [f"{PACKAGE}/{name} hides the module `{name}` from {PACKAGE}/train.py" for name in sorted(hidden)]


def heavy_entry_scripts(root: Path) -> list[str]:
    """Entry scripts are a table of contents: short, absolute imports, no classes."""
    problems = []
    for name in ENTRY_SCRIPTS:
        file = root / PACKAGE / name
        if not file.exists():
            continue
        text = file.read_text(encoding="utf-8")
        nodes = list(ast.walk(ast.parse(text)))
        if len(text.splitlines()) > LONGEST_ENTRY_SCRIPT:
            problems.append(f"{name}: {len(text.splitlines())} lines; at most {LONGEST_ENTRY_SCRIPT}")
        if any(isinstance(node, ast.ImportFrom) and node.level for node in nodes):
            problems.append(f"{name}: relative import; it fails when the file is run as a script")
        if any(isinstance(node, ast.ClassDef) for node in nodes):
            problems.append(f"{name}: defines a class; worker processes could not import it")
    return problems


def long_code(root: Path) -> list[str]:
    """Files and functions that have grown past what can be read at once."""
    problems = []
    for file in modules(root):
        text, where = file.read_text(encoding="utf-8"), file.relative_to(root)
        if len(text.splitlines()) > LONGEST_FILE:
            problems.append(f"{where}: {len(text.splitlines())} lines; at most {LONGEST_FILE}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    problems.append(f"{where}:{node.lineno}: `{node.name}` has {length} lines; at most 60")
    return problems


def long_argument_lists(root: Path) -> list[str]:
    """Functions with more parameters than anybody remembers: what travels together is one dataclass."""
    problems = []
    for file in modules(root):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                names = {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
                if len(names - {"self", "cls"}) > MOST_PARAMETERS:
                    problems.append(f"{file.relative_to(root)}:{node.lineno}: `{node.name}` has too many")
    return problems


def names_of_one_family(root: Path) -> list[str]:
    """DETR's own names outside its family: no second family could be put in its place there."""
    problems = []
    for file in modules(root):
        if not file.relative_to(root).as_posix().startswith(KNOW_DETR):
            lines = file.read_text(encoding="utf-8").splitlines()
            found = [(number, NAMES_OF_DETR.search(line)) for number, line in enumerate(lines, 1)]
            where = file.relative_to(root)
            problems += [f"{where}:{number}: `{name[0]}` is DETR's alone" for number, name in found if name]
    return problems


def machine_paths(root: Path) -> list[str]:
    """Absolute paths that exist on one machine only, in any text file of the project."""
    problems = []
    for file in project_files(root):
        if file.suffix in TEXT and file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            numbers = [number for number, line in enumerate(lines, 1) if MACHINE_PATH.search(line)]
            problems += [f"{file.relative_to(root)}:{number}: a path of one machine" for number in numbers]
    return problems


def project_files(root: Path) -> list[Path]:
    """What git tracks, or would on `git add .`; every file where the folder is no checkout."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        return [file for file in sorted(root.rglob("*")) if file.is_file()]
    return [root / name for name in listed if name]


CHECKS = [
    *(wrong_imports, import_circles, shadowing_names, heavy_entry_scripts, long_code, long_argument_lists),
    *(names_of_one_family, machine_paths),
]
