"""How a repeated run compares with the one it repeats."""

from __future__ import annotations

import json
from pathlib import Path

from detr_hf.files import MANIFEST_FILE
from detr_hf.training.setup import ENVIRONMENT_FILE

WEIGHTS = "model.safetensors"
NOT_COMPARED = ("command",)


def compare_replay(first: Path, second: Path) -> str:
    """Whether both runs ended with the very same weights, and in what their environments differ.

    Args:
        first: folder of the run.
        second: folder of its repetition, finished.
    """
    hashes = [_hash_of_weights(folder / "last") for folder in (first, second)]
    verdict = "the same bytes" if hashes[0] == hashes[1] else "NOT the same bytes"
    if hashes[0] is None:
        verdict = f"not compared, {first / 'last'} has no {MANIFEST_FILE}"
    differing = _differences(_facts(first), _facts(second))
    return "\n".join(
        [
            f"weights of {first / 'last'} and {second / 'last'}: {verdict}",
            *(f"  differs: {line}" for line in differing),
        ]
    )


def _hash_of_weights(checkpoint: Path) -> str | None:
    try:
        listed = json.loads((checkpoint / MANIFEST_FILE).read_text(encoding="utf-8"))["files"]
        return str(listed[WEIGHTS]["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _facts(folder: Path) -> dict[str, object]:
    try:
        facts = json.loads((folder / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
        return {**facts, **facts.pop("libraries", {})}
    except (OSError, ValueError, TypeError):
        return {}


def _differences(first: dict[str, object], second: dict[str, object]) -> list[str]:
    return [
        f"{name}: {first.get(name)} then, {value} now"
        for name, value in second.items()
        if name not in (*NOT_COMPARED, "libraries") and first.get(name) != value
    ]
