"""Where something goes on the Hub, and how it is shown there."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from detr_hf.recipe import Hub, Recipe

UNSTATED = "other"
"""The license of what nobody has stated one for."""


@dataclass(frozen=True)
class Target:
    """What ``detr-hf push`` is told, and the section `hub` of a recipe.

    Attributes:
        repo_id: user/name.
        private: nobody else may see it. Says how a new repository is made; one that is there stays as it is.
        revision: a new tag for what is pushed; None: no tag.
        license: as the Hub spells licenses.
        pictures: push photographs with predictions, and the report that shows some.
    """

    repo_id: str
    private: bool = True
    revision: str | None = None
    license: str = UNSTATED
    pictures: bool = True

    @classmethod
    def of_recipe(cls, recipe: Recipe) -> Target | None:
        """Where a run pushes its best model; None where it does not."""
        hub = recipe.hub
        if not recipe.push_to_hub or not isinstance(hub, Hub):
            return None
        return cls(hub.repo_id, hub.private, hub.revision, hub.license, hub.pictures)

    def command(self, folder: str | Path) -> str:
        """The command that pushes ``folder`` there."""
        words = ["detr-hf", "push", str(folder), self.repo_id]
        words += [] if self.private else ["--public"]
        words += ["--revision", self.revision] if self.revision else []
        words += ["--license", self.license] if self.license != UNSTATED else []
        words += [] if self.pictures else ["--no-pictures"]
        return shlex.join(words)
