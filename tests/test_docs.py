"""README, CONTRIBUTING, docs/ and the model card say what is true: commands, paths, recipe keys, code."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
import yaml
from annotated_types import Ge, Gt, Le, Lt

from detr_hf.cli import build_parser, find_commands
from detr_hf.hub.card import card_text
from detr_hf.hub.facts import run_facts
from detr_hf.recipe import DetectionRecipe, Hub, PanopticRecipe, fields
from detr_hf.recipe.prepare import PrepareRecipe
from detr_hf.recipe.tree import sections_in
from tests import doc_checks
from tests.doc_checks import CHECKS
from tests.doc_page import ROOT, WRITTEN, Page
from tests.hub.runs import finished_run

FILES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]


def page(file: Path) -> Page:
    return Page(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))


def test_the_pages_are_there() -> None:
    names = {file.relative_to(ROOT).as_posix() for file in FILES}
    assert {f"docs/{n}.md" for n in ("recipes", "dataset", "differences", "real-data", "demo")} <= names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_a_page_says_is_true(check: Callable[[Page], list[str]], file: Path) -> None:
    assert check(page(file)) == []


def test_the_checks_see_something() -> None:
    """Of every kind there is at least one in the pages, so that no check passes on nothing."""
    pages = [page(file) for file in FILES]
    programs = {words[0] for one in pages for words in one.commands}
    assert {"make", "detr-hf", "accelerate", "torchrun", "python", "pip"} <= programs
    assert {language for one in pages for language, _ in one.blocks} >= {"bash", "python", "yaml"}
    assert sum(len(one.spans) for one in pages) > 200
    assert any(doc_checks.OVERRIDE.fullmatch(span) for one in pages for span in one.spans)


def test_every_command_has_its_page() -> None:
    listed = re.findall(
        r"^\| `detr-hf (\w+)` \|.*\[\w", (ROOT / "docs" / "README.md").read_text("utf-8"), re.M
    )
    assert sorted(listed) == sorted(find_commands())


class _Config(yaml.SafeLoader):
    """Reads the site's configuration without making the Python objects that it names."""


_Config.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def pages_in(entry: Any) -> Iterator[str]:
    """The files that a part of a navigation names."""
    if isinstance(entry, str):
        yield entry
    else:
        for value in entry if isinstance(entry, list) else entry.values():
            yield from pages_in(value)


def test_every_page_is_in_the_navigation_of_the_site_once() -> None:
    text = (ROOT / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8")
    there = [file.name for pattern in ("*.md", "*.ipynb") for file in (ROOT / "docs").glob(pattern)]
    assert sorted(pages_in(yaml.load(text, _Config)["nav"])) == sorted(there)


def test_blocks_in_lists_are_indented_as_the_site_wants_it() -> None:
    """Guards: the site reads a block that is indented by three as the end of its list."""
    pages = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "docs").glob("*.md")}
    assert [name for name, text in pages.items() if re.search(r"^ {1,3}```", text, re.M)] == []


@pytest.mark.parametrize("name", find_commands())
def test_the_help_of_a_command_ends_with_two_examples_and_its_page(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = find_commands()[name]
    assert len(command.EXAMPLES) == 2
    assert all(line.split()[:2] == ["detr-hf", name] for line in command.EXAMPLES)
    block = "\n".join(["```bash", *command.EXAMPLES, "```", f"[page](docs/{command.PAGE})"])
    assert [fault for check in CHECKS for fault in check(Page("made_up.md", block))] == []
    with pytest.raises(SystemExit):
        build_parser().parse_args([name, "--help"])
    said = capsys.readouterr().out.splitlines()
    assert said[-5:] == [
        "examples:",
        *(f"  {line}" for line in command.EXAMPLES),
        "",
        f"page: docs/{command.PAGE}",
    ]


def test_the_readme_installs_then_goes_from_data_to_predictions_then_has_the_demo() -> None:
    commands = page(ROOT / "README.md").commands
    wanted = [["pip", "install", "."], *(["detr-hf", name] for name in ("check", "train", "predict"))]
    wanted += [["make", "demo"], ["make", "test"]]
    found = [next(at for at, command in enumerate(commands) if command[: len(one)] == one) for one in wanted]
    assert found == sorted(found)


def test_what_runs_are_said_to_write_is_written_somewhere() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "detr_hf").rglob("*.py"))
    assert [name for name in WRITTEN if f'"{name}"' not in code and f"{name}" not in code] == []


# ---- the tables of docs/recipes.md

ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| ([^|]*) \| ([^|]*) \| ([^|]+) \|$", re.M)


def settings_of(kind: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted path, type in words, default) of every setting that is not a section itself."""
    inner, hints = sections_in(kind), get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        key = f"{prefix}{field.name}"
        if field.name in inner:
            yield from settings_of(inner[field.name], f"{key}.")
        else:
            yield key, in_words(hints[field.name]), default_in_words(field)


def in_words(hint: Any) -> str:
    """A type of the schema as the documentation writes it."""
    if get_origin(hint) is Annotated:
        base, *notes = get_args(hint)
        limits = [limit for note in notes for limit in getattr(note, "metadata", [note])]
        return " ".join([in_words(base), *(range_in_words(limit) for limit in limits)]).strip()
    if get_origin(hint) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(hint))
    if get_origin(hint) is list:
        return (
            "list of transforms" if hint == fields.TransformList else f"list of {in_words(get_args(hint)[0])}"
        )
    if get_origin(hint) is dict:
        return f"pairs of name and {in_words(get_args(hint)[1])}"
    if parts := [part for part in get_args(hint) if part is not type(None)]:
        return in_words(parts[0])
    return {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}[hint]


def range_in_words(limit: Any) -> str:
    match limit:
        case Ge(ge=value):
            return f"≥ {value}"
        case Gt(gt=value):
            return f"> {value}"
        case Le(le=value):
            return f"≤ {value}"
        case Lt(lt=value):
            return f"< {value}"
    return ""  # a text may not be empty


def default_in_words(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "empty" if field.default_factory() == [] else "DETR's policy"
    if field.default is dataclasses.MISSING:
        return "required"
    if field.default is None:
        return "none"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def differing_rows(text: str, recipes: Sequence[type] = (DetectionRecipe, PanopticRecipe)) -> list[str]:
    """Settings whose row is missing or differs, as the row should start; and rows of unknown settings."""
    written: dict[str, set[tuple[str, str]]] = {}
    for key, kind, default, _ in ROW.findall(text):
        written.setdefault(key, set()).add((kind, default))
    wanted: dict[str, set[tuple[str, str]]] = {}
    for recipe in recipes:
        for key, kind, default in settings_of(recipe):
            wanted.setdefault(key, set()).add((kind, default))
    differing = [
        f"| `{key}` | {kind} | {default} |"
        for key in wanted
        for kind, default in wanted[key] - written.get(key, set())
    ]
    stale = [
        f"unknown: | `{key}` | {kind} | {default} |"
        for key in written
        for kind, default in written[key] - wanted.get(key, set())
    ]
    return differing + stale


def test_the_tables_of_settings_are_complete() -> None:
    assert differing_rows((ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")) == []
    assert differing_rows((ROOT / "docs" / "prepare.md").read_text(encoding="utf-8"), [PrepareRecipe]) == []


def test_a_table_that_drifted_is_found() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert differing_rows(text.replace("| `optim.lr` |", "| `optim.rate` |")) == [
        "| `optim.lr` | number > 0 | none |",
        "unknown: | `optim.rate` | number > 0 | none |",
    ]
    assert len(differing_rows(text.replace("| `0.0001` |", "| `0.001` |"))) == 2


# ---- the model card


@pytest.mark.parametrize("panoptic", [False, True])
def test_a_filled_card_passes_the_checks(panoptic: bool, tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", panoptic=panoptic)
    card = Page("hub_card.md", card_text(run_facts(run), Hub(repo_id="your-name/yard")))
    assert [fault for check in CHECKS for fault in check(card)] == []


# ---- the checks themselves, on made-up pages

BASH = "```bash\n{}\n```\n"
PREDICTOR = "```python\nfrom detr_hf.inference import Predictor\nPredictor.{}\n```\n"
BROKEN = [
    ("unknown_languages", "```\nmake demo\n```\n", "a block is ``"),
    ("wrong_commands", BASH.format("make dinner"), "no target dinner"),
    ("wrong_commands", BASH.format("detr-hf trian recipes/detection.yaml"), "invalid choice: 'trian'"),
    ("wrong_commands", BASH.format("detr-hf predict a b --out c --treshold 1"), "unrecognized arguments"),
    ("wrong_commands", BASH.format("detr-hf predict a b --out c --threshold 2"), "argument --threshold"),
    ("wrong_commands", BASH.format("detr-hf convert data/photos data/yolo"), "required: --to"),
    ("wrong_commands", BASH.format("detr-hf train recipes/detections.yaml"), "no such recipe file"),
    (
        "wrong_commands",
        BASH.format("detr-hf train recipes/detection.yaml \\\n optim.lrr=1"),
        "did you mean `lr`",
    ),
    (
        "wrong_commands",
        BASH.format("detr-hf evaluate runs/panoptic optim.lr=x"),
        "optim.lr: expected a number",
    ),
    ("wrong_commands", BASH.format("accelerate lunch detr_hf/train.py"), "only `accelerate launch`"),
    (
        "wrong_commands",
        BASH.format("accelerate launch detr_hf/trian.py RECIPE"),
        "there is no detr_hf/trian.py",
    ),
    (
        "wrong_commands",
        BASH.format("accelerate launch --config_file x.yaml detr_hf/train.py RECIPE"),
        "x.yaml",
    ),
    ("wrong_commands", BASH.format("accelerate launch detr_hf/train.py RECIPE optim.lr=-1"), "optim.lr"),
    ("wrong_commands", BASH.format("A=b torchrun --nprocs 2 detr_hf/train.py RECIPE"), "argument"),
    ("wrong_commands", BASH.format("torchrun detr_hf/train.py RECIPE model.x=1"), "model.x"),
    ("wrong_commands", BASH.format("python -m tools.pretrain_tini"), "no module tools.pretrain_tini"),
    ("wrong_commands", BASH.format("python -m tools.pretrain_tiny --output x"), "has no --output"),
    ("wrong_commands", BASH.format("python -m no_such_thing.at_all"), "no module no_such_thing"),
    ("wrong_commands", BASH.format("pip install 'detr-hf[tracks]'"), "no extra `tracks`"),
    ("wrong_commands", BASH.format("conda install detr"), "`conda` is not a program"),
    ("wrong_commands", BASH.format("pre-commit run docs/no.md"), "there is no docs/no.md"),
    ("wrong_inline_commands", "Say `make dinner`.", "no target dinner"),
    ("wrong_inline_commands", "Say `detr-hf cook`.", "no command cook"),
    ("wrong_inline_commands", "Say `detr-hf demo --from-scratch`.", "has no --from-scratch"),
    ("wrong_inline_commands", "Say `detr-hf --verbosity`.", "no --verbosity"),
    ("wrong_paths", "See `detr_hf/training/lop.py`.", "no detr_hf/training/lop.py"),
    ("wrong_paths", "See `manual.md`.", "no manual.md"),
    ("wrong_keys", "Set `optim.rate`.", "`optim.rate`"),
    ("wrong_keys", "Set `optim.lr=fast`.", "optim.lr=fast"),
    ("wrong_keys", "Set `freeze: true`.", "`freeze: true`"),
    ("wrong_python", "```python\nfrom detr_hf.inference import Predicter\n```\n", "no Predicter"),
    ("wrong_python", "```python\nimport detr_hf.infer\n```\n", "no module detr_hf.infer"),
    ("wrong_python", "```python\nx = = 1\n```\n", "invalid syntax"),
    ("wrong_python", PREDICTOR.format("from_pretrained('x', treshold=1)"), "no argument treshold"),
    ("wrong_python", PREDICTOR.format("load('x')"), "there is no Predictor.load"),
    ("wrong_yaml", "```yaml\ndata: {folder: x}\n```\n", "data.folder: unknown key"),
    ("wrong_yaml", "```yaml\ndata: {folder: x\n```\n", "yaml block"),
    ("wrong_json", "```json\n{'a': 1}\n```\n", "json block"),
    ("wrong_links", "See [this](docs/none.md).", "docs/none.md leads nowhere"),
    ("wrong_links", "See [this](#nothing).", "names no heading"),
    ("machine_paths", f"Look in {'/'.join(['', 'root', 'x'])}.", "line 1"),
]

SOUND = """# A page, with `code`

```bash
make demo test                        # a comment
FAST=1 detr-hf train RECIPE \\
    optim.lr=5e-5
detr-hf evaluate runs/panoptic/best evaluation.score_threshold=0.5
detr-hf predict demo photos/ --out runs/x
accelerate launch --config_file recipes/launch/cpu.yaml detr_hf/train.py recipes/detection.yaml optim.epochs=2
torchrun --nproc_per_node 2 detr_hf/train.py recipes/demo/detection.yaml
python -m tools.pretrain_tiny --out runs/tiny --shrink 0.1
python detr_hf/train.py --help
pip install -e '.[track,dev]'
```

```yaml
data: {dataset: your-name/yard, labels: construction}
```

```python
from detr_hf.inference import Predictor

Predictor.from_pretrained("runs/x", score_threshold=0.5).predict(["a.jpg"])
```

Run `detr-hf train`, set `optim.lr`, `model.freeze_detector=false` or `overfit: 2`, see `best/metrics.json`,
`detr_hf/`, `facebook/detr-resnet-50`, `transforms.train.0.p=0` and [above](#a-page-with-code) or
[there](docs/recipes.md).
"""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_sound_page_passes(check: Callable[[Page], list[str]]) -> None:
    assert check(Page("made_up.md", SOUND)) == []


@pytest.mark.parametrize(("name", "text", "expected"), BROKEN)
def test_a_fault_in_a_page_is_found(name: str, text: str, expected: str) -> None:
    problems = getattr(doc_checks, name)(Page("made_up.md", text))
    assert problems, "nothing found"
    assert any(expected in problem for problem in problems), problems
    others = [check for check in CHECKS if check.__name__ not in (name, "wrong_commands")]
    assert [fault for check in others for fault in check(Page("made_up.md", text))] == []
