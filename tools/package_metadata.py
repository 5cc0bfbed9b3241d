"""Build hook of hatchling: addresses and README as the metadata of sdist and wheel say them.

Links of the README are relative to the checkout, and lead nowhere on the page of a package. With an address
of the repository they become absolute; without one they become plain text. The address stands in one place,
`[tool.detr-hf] repository` of pyproject.toml.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.M | re.S)


class PackageMetadata(MetadataHookInterface):
    """Fills the fields `readme` and `urls`, which pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set them in ``metadata``, the table `project`."""
        root = Path(self.root)
        repository = repository_of(root)
        text = readme_text((root / "README.md").read_text(encoding="utf-8"), repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = project_urls(repository)


def repository_of(root: Path) -> str:
    """The address of the repository, without a slash at its end; empty where none is known."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address: str = project["tool"]["detr-hf"]["repository"]
    return address.rstrip("/")


def project_urls(repository: str) -> dict[str, str]:
    """The links beside a package's page; none without an address."""
    if not repository:
        return {}
    return {
        "Source": repository,
        "Documentation": f"{repository}/blob/main/docs/README.md",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


def readme_text(text: str, repository: str) -> str:
    """Markdown whose relative links are absolute, or plain text where there is no address."""
    code = [match.span() for match in CODE.finditer(text)]

    def written(match: re.Match[str]) -> str:
        target = match["target"]
        if any(start <= match.start() < end for start, end in code):
            return match[0]
        if "://" in target or target.startswith(("#", "mailto:")):
            return match[0]
        if repository:
            kind = "raw" if match["image"] else "blob"
            return f"{match['image']}[{match['text']}]({repository}/{kind}/main/{target})"
        return "" if match["image"] else match["text"]

    return LINK.sub(written, text)
