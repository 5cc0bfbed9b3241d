"""The card of a model: `hub_card.md` filled with what its run folder knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from detr_hf import __version__
from detr_hf.hub.access import UNSTATED, Target
from detr_hf.hub.facts import RunFacts
from detr_hf.hub.metadata import PIPELINES, metadata_of
from detr_hf.hub.plain_paths import public_recipe, without_paths
from detr_hf.metrics.tables import per_class_table, results_tables
from detr_hf.recipe import DetectionRecipe
from detr_hf.sanitize import markdown_table

TEMPLATE = Path(__file__).parents[2] / "hub_card.md"
PACKAGED_TEMPLATE = Path(__file__).parent / "hub_card.md"
STAGE_2_ONLY = re.compile(r"<!-- stage 2 only: -->\n(.*?)<!-- until here -->\n", re.S)
SHOWN_PICTURES = 4

TASKS = {
    False: "A DETR that finds objects: their boxes, classes and scores.",
    True: "A DETR that divides a picture into things and stuff (panoptic segmentation).",
}


def template() -> str:
    """The card's text with its gaps, in the checkout or in the installed package."""
    file = PACKAGED_TEMPLATE if PACKAGED_TEMPLATE.is_file() else TEMPLATE
    return file.read_text(encoding="utf-8")


def card_text(facts: RunFacts, target: Target, pictures: Sequence[str] = ()) -> str:
    """README.md of a model.

    Args:
        facts: of its run.
        target: where it goes, and the license.
        pictures: names of picture files that are pushed beside it.
    """
    labels, config, panoptic = facts.labels, facts.config, facts.is_panoptic
    text = STAGE_2_ONLY.sub(r"\1" if panoptic else "", template())
    filled = text.format(
        metadata=metadata_of(facts, target).to_yaml(),
        model_name=target.repo_id.split("/")[-1],
        task_sentence=TASKS[panoptic],
        origin_sentence=_origin(facts),
        pictures=_pictures(pictures),
        num_classes=labels.num_classes,
        num_things=len(labels.thing_ids),
        num_stuff=len(labels.stuff_ids),
        class_table=_class_table(facts),
        dataset_sentence=_dataset_sentence(facts),
        truth=without_paths(facts.data.truth),
        split=facts.data.split,
        dataset_name=facts.data.name,
        results_table=results_tables(facts.results),
        per_class_table=_results_by_class(facts),
        access_sentence=_access(target),
        usage=_usage(facts, target),
        stuff_ids=list(labels.stuff_ids),
        repo_id=target.repo_id,
        score_threshold=facts.recipe.evaluation.score_threshold,
        training_table=_training_table(facts),
        recipe=public_recipe(facts.recipe).strip(),
        limits=_limits(facts),
        num_queries=config.get("num_queries", 100),
        license_sentence=_license(target),
    )
    return re.sub(r"\n{3,}", "\n\n", filled)


def _origin(facts: RunFacts) -> str:
    made = f"Made with detr-hf {__version__}."
    if isinstance(facts.recipe, DetectionRecipe) and facts.recipe.model.scratch:
        return f"Trained from random weights. {made}"
    if not facts.base_models:
        return f"Fine-tuned from a model that has no name on the Hub. {made}"
    return f"Fine-tuned from {' and '.join(f'`{base}`' for base in facts.base_models)}. {made}"


def _pictures(names: Sequence[str]) -> str:
    """The first few; each shows the truth at the left and the prediction at the right."""
    shown = [f"![truth and prediction]({quote(name)})" for name in names[:SHOWN_PICTURES]]
    return "\n\n".join(["Truth at the left, prediction at the right:", *shown]) if shown else ""


def _class_table(facts: RunFacts) -> str:
    rows = [[str(each.id), each.name, facts.labels.kind(each.name)] for each in facts.labels.categories]
    return markdown_table(["id", "class", "kind"], rows, left=3)


def _dataset_sentence(facts: RunFacts) -> str:
    counts = facts.environment.get("images") or {}
    name = f"`{facts.data.hub_id}`" if facts.data.hub_id else facts.data.name
    if not {"train", "validation"} <= set(counts):
        return f"Trained on {name}."
    return f"Trained on {name}: {counts['train']} images, and {counts['validation']} to validate."


def _results_by_class(facts: RunFacts) -> str:
    return per_class_table(facts.results["panoptic" if facts.is_panoptic else "detection"])


def _access(target: Target) -> str:
    """The page may be opened to all later, so it says what to do rather than what is."""
    tag = f' `revision="{target.revision}"` loads these very files for ever.' if target.revision else ""
    return f"With stock transformers; while the repository is private, after `hf auth login`.{tag}"


def _usage(facts: RunFacts, target: Target) -> str:
    task, threshold = PIPELINES[facts.is_panoptic], facts.recipe.evaluation.score_threshold
    call = f'find("photo.jpg", threshold={threshold})'
    if facts.is_panoptic:
        call = f'find("photo.jpg", subtask="panoptic", threshold={threshold})'
    return f'find = pipeline("{task}", model="{target.repo_id}")\nprint({call})'


def _training_table(facts: RunFacts) -> str:
    recipe, ran = facts.recipe, facts.environment
    optim, libraries = recipe.optim, ran.get("libraries") or {}
    length = f"{optim.epochs}" + (f", at most {optim.max_steps} steps" if optim.max_steps else "")
    rows = [
        ["epochs", length],
        ["chosen", f"epoch {facts.results.get('epoch', '?')}, the best by {recipe.checkpoint.best}"],
        ["images a step", str(optim.batch_size)],
        ["optimizer", f"AdamW, learning rate {optim.lr:g}, {optim.schedule.name} schedule"],
        ["precision", {"no": "float32"}.get(recipe.mixed_precision, recipe.mixed_precision)],
        ["seed", str(recipe.seed)],
        ["hardware", f"{ran['processes']} x {ran['device']}" if "device" in ran else ""],
        ["libraries", ", ".join(f"{name} {version}" for name, version in libraries.items() if version)],
        ["commit of detr-hf", ran.get("git_commit") or ""],
    ]
    return markdown_table(["", ""], [row for row in rows if row[1]], left=2)


def _limits(facts: RunFacts) -> str:
    if facts.is_panoptic:
        return "Masks come at a quarter of the resized picture's size, so their edges are coarse."
    return "The model gives boxes, no masks."


def _license(target: Target) -> str:
    own_terms = "The base model and the data have terms of their own."
    if target.license == UNSTATED:
        return f"No license has been stated for this model; ask whoever published it. {own_terms}"
    return f"`{target.license}`, as whoever published it chose. {own_terms}"
