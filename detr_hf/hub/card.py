"""The card of a model: `hub_card.md` filled with what its run folder knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detr_hf import __version__
from detr_hf.hub.access import Target
from detr_hf.hub.facts import RunFacts
from detr_hf.hub.metadata import metadata_of
from detr_hf.hub.plain_paths import public_recipe, without_paths
from detr_hf.metrics.tables import per_class_table, results_tables
from detr_hf.recipe import DetectionRecipe
from detr_hf.templating import render_markdown

TEMPLATE = Path(__file__).parents[2] / "hub_card.md"
PACKAGED_TEMPLATE = Path(__file__).parent / "hub_card.md"
SHOWN_PICTURES = 4


def template() -> Path:
    """The card's template, in the checkout or in the installed package."""
    return PACKAGED_TEMPLATE if PACKAGED_TEMPLATE.is_file() else TEMPLATE


def card_text(facts: RunFacts, target: Target, pictures: Sequence[str] = ()) -> str:
    """README.md of a model.

    Args:
        facts: of its run.
        target: where it goes, and the license.
        pictures: names of picture files that are pushed beside it; the first few are shown.
    """
    recipe, labels, images = facts.recipe, facts.labels, facts.environment.get("images") or {}
    return render_markdown(
        template(),
        metadata=metadata_of(facts, target).to_yaml(),
        version=__version__,
        repo_id=target.repo_id,
        revision=target.revision,
        license=target.license,
        is_panoptic=facts.is_panoptic,
        from_scratch=isinstance(recipe, DetectionRecipe) and recipe.model.scratch,
        base_models=facts.base_models,
        pictures=pictures[:SHOWN_PICTURES],
        labels=labels,
        classes=[[each.id, each.name, labels.kind(each.name)] for each in labels.categories],
        data=facts.data,
        images=images if {"train", "validation"} <= set(images) else None,
        truth=without_paths(facts.data.truth),
        results=results_tables(facts.results),
        results_by_class=per_class_table(facts.results["panoptic" if facts.is_panoptic else "detection"]),
        score_threshold=recipe.evaluation.score_threshold,
        training=_training(facts),
        recipe=public_recipe(recipe),
        num_queries=facts.config.get("num_queries", 100),
    )


def _training(facts: RunFacts) -> list[tuple[str, str]]:
    """What the run did, and on what; only what is known."""
    recipe, ran = facts.recipe, facts.environment
    optim, libraries = recipe.optim, ran.get("libraries") or {}
    rows = [
        ("epochs", f"{optim.epochs}" + (f", at most {optim.max_steps} steps" if optim.max_steps else "")),
        ("chosen", f"epoch {facts.results.get('epoch', '?')}, the best by {recipe.checkpoint.best}"),
        ("images a step", str(optim.batch_size)),
        ("optimizer", f"AdamW, learning rate {optim.lr:g}, {optim.schedule.name} schedule"),
        ("precision", {"no": "float32"}.get(recipe.mixed_precision, recipe.mixed_precision)),
        ("seed", str(recipe.seed)),
        ("hardware", f"{ran['processes']} x {ran['device']}" if "device" in ran else ""),
        ("libraries", ", ".join(f"{name} {version}" for name, version in libraries.items() if version)),
        ("commit of detr-hf", ran.get("git_commit") or ""),
    ]
    return [row for row in rows if row[1]]
