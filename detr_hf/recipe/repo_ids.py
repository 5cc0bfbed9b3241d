"""Names on the Hub, of repositories and of tags, and the names that stand for models of this package."""

from __future__ import annotations

import re

EXAMPLE = "your-name/a-name"
LONGEST = 96
DEMO_MODELS = ("demo", "demo-deformable")
"""The tiny pretrained models in the package: a DETR with a mask head, and a Deformable DETR."""
TAG = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*")


def fault_of_repo_id(name: str) -> str | None:
    """Why ``name`` is no id such as `user/name` that the Hub takes; None where it is one."""
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", name):
        return f"expected the id of a repository such as {EXAMPLE}, got '{name}'"
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return (
            f"'{name}' is no id that the Hub takes: letters, digits, '-', '_' and '.', at most {LONGEST} of "
            "them, none of '-' and '.' first, last or twice in a row"
        )
    return None


def fault_of_tag(name: str) -> str | None:
    """Why ``name`` cannot be a tag; None where it can."""
    if name in ("main", "HEAD"):
        return f"'{name}' is a branch; choose another name for the tag, such as v1"
    if not TAG.fullmatch(name) or ".." in name or name.endswith((".", ".lock")):
        return f"'{name}' cannot be a tag; choose a name such as v1"
    return None
