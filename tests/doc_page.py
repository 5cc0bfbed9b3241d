"""One page of documentation, taken apart; and which paths it may name."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SUFFIXES = (
    *(".py", ".md", ".yaml", ".yml", ".toml", ".json", ".jsonl"),
    *(".safetensors", ".onnx", ".jpg", ".png", ".run"),
)

WRITTEN = {  # files and folders of a run; tests/test_docs.py looks them up in the package
    *("annotations", "annotations.xml", "coco.zip", "labels.json", "tasks.json", "label_config.xml"),
    "instances_predictions.json",
    *("manifest.json", "non_finite", "last.damaged"),
    *(
        "recipe.yaml",
        "environment.json",
        "data_report.json",
        "train_samples.jpg",
        "metrics.jsonl",
        "bad_samples.jsonl",
        "results.md",
        "report.html",
        "report.md",
        "report.json",
        "best_predictions.safetensors",
        "report_segments.safetensors",
        "compare.html",
        "ablation.html",
        "ablation.md",
        "ablation.json",
        "review.html",
        "review.json",
        "corrected",
        "run.log",
        "failed.json",
        "picked.json",
        "picked.md",
        "picked.jpg",
        "scores",
    ),
    *(
        "metrics.json",
        "evaluation.json",
        "evaluation.md",
        "summary.json",
        "label_map.json",
        "training_state.json",
    ),
    *("training_state.safetensors", "data.yaml", "changes.json"),
    *("model.onnx", "export.json"),
    *("results.json", "images.json"),
    *(
        "splits.json",
        "panoptic.json",
        "detection.json",
        "prepare_report.json",
        "prepare_report.md",
        "last",
        "best",
        "pictures",
    ),
}
STOCK = {"config.json", "model.safetensors", "preprocessor_config.json"}  # what save_pretrained writes
OUTPUTS = ("runs/", "build/", ".venv/")
USERS_OWN = ("photos/", "data/", "../shared/data/", "photo.jpg", "annotations.json", "coco.json")
HUB = ("facebook/", "your-name/")


@dataclass(frozen=True)
class Page:
    """One Markdown file; `root` is the folder that its commands are run in."""

    name: str
    text: str
    root: Path = ROOT

    @cached_property
    def blocks(self) -> list[tuple[str, str]]:
        """(language, content) of every fenced block."""
        return re.findall(r"^ *```([^\n]*)\n(.*?)^ *```", self.text, re.M | re.S)

    @cached_property
    def prose(self) -> str:
        """The text without fenced blocks and HTML comments."""
        return re.sub(
            r"<!--.*?-->", "", re.sub(r"^ *```.*?^ *```", "", self.text, flags=re.M | re.S), flags=re.S
        )

    @cached_property
    def spans(self) -> list[str]:
        """Every `inline code`, on one line."""
        return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]

    @cached_property
    def commands(self) -> list[list[str]]:
        """The words of every command in a bash block, without comments and leading VARIABLE=value."""
        lines = [
            line
            for language, text in self.blocks
            if language == "bash"
            for line in text.replace("\\\n", " ").splitlines()
        ]
        return [words for line in lines if (words := words_of(line))]

    def of_language(self, language: str) -> list[str]:
        """The blocks in one language."""
        return [text for found, text in self.blocks if found == language]


def words_of(command: str) -> list[str]:
    """A command split as the shell does, without the variables set for it."""
    words = shlex.split(command, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    return words


def wrong_path(token: str, page: Page) -> list[str]:
    """A path must be in the project, or be written by a run, or be declared above as the user's own."""
    if re.search(r"[*<>{}$\[\]@,()]|://|^-", token) or not ("/" in token or token.endswith(SUFFIXES)):
        return []
    plain = token.rstrip("/")
    here = (page.root / page.name).parent
    known = plain.startswith((*OUTPUTS, *USERS_OWN, *HUB)) or plain + "/" in (*OUTPUTS, *USERS_OWN)
    if known or (page.root / plain).exists() or (here / plain).exists():
        return []
    if set(plain.split("/")) <= WRITTEN | STOCK:
        return []
    return [f"there is no {token}"]
