"""What the Hub checks of the metadata of a card before it takes the card in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

LICENSES = {
    *("apache-2.0", "mit", "bsd", "bsd-3-clause", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "openrail", "unknown"),
    *("cc", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "unlicense", "other"),
}
PIPELINES = {"object-detection", "image-segmentation"}
REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def front_matter(content: str) -> Any:
    """The metadata of a card; None where it has none."""
    found = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", content, re.S)
    return yaml.safe_load(found.group(1)) if found else None


def faults_of_card(content: str) -> list[str]:
    """What is wrong with the metadata of a card."""
    try:
        facts = front_matter(content)
    except yaml.YAMLError as error:
        return [f"the metadata is no YAML: {error}"]
    if facts is None:
        return []
    if not isinstance(facts, dict):
        return ["the metadata must be a mapping"]
    return list(_faults(facts))


def _faults(facts: dict[str, Any]) -> Iterator[str]:
    if "license" in facts and facts["license"] not in LICENSES:
        yield f'"license" must be one of [{", ".join(sorted(LICENSES))}]'
    if facts.get("pipeline_tag", "object-detection") not in PIPELINES:
        yield '"pipeline_tag" is unknown'
    for key in ("base_model", "datasets"):
        given = facts.get(key, [])
        for name in [given] if isinstance(given, str) else given:
            if not isinstance(name, str) or not REPO_ID.fullmatch(name):
                yield f'"{key}" must hold ids of repositories, not {name!r}'
    tags = facts.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        yield '"tags" must be a list of strings'
    for index, model in enumerate(facts.get("model-index", [])):
        yield from _faults_of_results(model, f"model-index[{index}]")


def _faults_of_results(model: dict[str, Any], where: str) -> Iterator[str]:
    if not model.get("name"):
        yield f'"{where}.name" is required'
    for number, result in enumerate(model.get("results", [])):
        here = f"{where}.results[{number}]"
        if not result.get("task", {}).get("type"):
            yield f'"{here}.task.type" is required'
        for key in ("type", "name"):
            if not result.get("dataset", {}).get(key):
                yield f'"{here}.dataset.{key}" is required'
        for metric in result.get("metrics", []) or [{}]:
            if not metric.get("type") or not isinstance(metric.get("value"), int | float):
                yield f'"{here}.metrics" need a type and a value'
