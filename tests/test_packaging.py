"""What stands beside the package for the world: CI, citation, security, container; all of it true."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import detr_hf
from detr_hf.images import MAX_PIXELS

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTHONS = [
    line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", line)
]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# ---- CI


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(text_of(".github/workflows/ci.yml"))["jobs"]
    return jobs


def test_ci_covers_every_python_that_the_package_names(jobs: dict[str, Any]) -> None:
    assert PYTHONS == ["3.11", "3.12", "3.13"]
    for name in ("test", "wheel"):
        assert jobs[name]["strategy"]["matrix"]["python"] == PYTHONS


def test_ci_is_lint_tests_docs_and_the_wheel_in_commands_that_exist(jobs: dict[str, Any]) -> None:
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {"make lint", "make test", "make docs", "make demo", "python -m build"} <= set(commands)
    assert "python -m twine check --strict dist/*" in commands
    targets = re.findall(r"^([a-z-]+):", text_of("Makefile"), re.M)
    made = [command.split()[1] for command in commands if command.startswith("make ")]
    assert [target for target in made if target not in targets] == []


def test_every_step_of_ci_is_one_the_forge_can_run(jobs: dict[str, Any]) -> None:
    for job in jobs.values():
        assert job["runs-on"] and set(job.get("needs", "").split()) <= set(jobs)
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step.get("uses", "a/b@v1")), step


# ---- citation


def test_the_citation_has_what_its_format_requires_and_is_of_this_version() -> None:
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    for entry in (citation, *citation["references"]):
        assert entry["title"] and entry["authors"]
        assert all("name" in one or "family-names" in one for one in entry["authors"])
    assert citation["version"] == detr_hf.__version__
    assert citation["license"] == PROJECT["project"]["license"]
    address = PROJECT["tool"]["detr-hf"]["repository"]
    assert citation.get("repository-code", "") == address, "one address, in both files or in none"


# ---- security


def test_what_the_security_page_says_is_in_the_code() -> None:
    page = text_of("SECURITY.md")
    assert f"{MAX_PIXELS // 1_000_000} million pixels" in page
    assert all((ROOT / name).is_file() for name in re.findall(r"`(tests/[\w/.]+)`", page))
    code = {file: file.read_text(encoding="utf-8") for file in (ROOT / "detr_hf").rglob("*.py")}
    forbidden = (
        r"torch\.load\(|import pickle|trust_remote_code.{0,4}True|allow_pickle=True"
        r"|yaml\.(unsafe_load|full_load)\(|yaml\.load\((?!\w+, Loader=yaml\.BaseLoader\))"
    )
    found = [(file.name, match[0]) for file, text in code.items() for match in re.finditer(forbidden, text)]
    assert found == []


# ---- container


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: each instruction with its words, continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", text_of("Dockerfile")).splitlines()
    parts = [line.partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    return [(name, words) for name, _, words in parts]


def test_the_dockerfile_is_made_of_known_instructions() -> None:
    known = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}
    found = instructions()
    assert {name for name, _ in found} <= known and found[0][0] == "FROM"
    images = [words.split()[0] for name, words in found if name == "FROM"]
    assert len(set(images)) == 1
    assert images[0].partition(":")[2].removesuffix("-slim") in PYTHONS
    commands = {name: json.loads(words) for name, words in found if name in ("ENTRYPOINT", "CMD")}
    assert commands == {"ENTRYPOINT": ["detr-hf"], "CMD": ["--help"]}
    assert [words for name, words in found if name == "USER"] == ["detr"]


def test_what_the_dockerfile_copies_is_there_and_is_all_that_the_wheel_needs() -> None:
    stages = {words.split()[-1] for name, words in instructions() if name == "FROM" and " AS " in words}
    copied: set[str] = set()
    for name, words in instructions():
        if name != "COPY":
            continue
        *sources, target = shlex.split(words)
        if sources[0].startswith("--from="):
            assert sources[0].removeprefix("--from=") in stages
            continue
        assert all((ROOT / source).exists() for source in sources) and target
        copied.update(sources)
    build = PROJECT["tool"]["hatch"]
    wheel = build["build"]["targets"]["wheel"]
    needed = {*wheel["force-include"], *wheel["only-include"]}
    needed |= {"pyproject.toml", "README.md", *PROJECT["project"]["license-files"]}
    assert needed | {build["metadata"]["hooks"]["custom"]["path"]} <= copied


# ---- badges


def test_the_readme_has_badges_and_they_are_true() -> None:
    badges = dict(
        re.findall(r"!\[([a-z]+): ([^\]]+)\]\(https://img\.shields\.io/badge/", text_of("README.md"))
    )
    assert badges == {"license": PROJECT["project"]["license"], "python": " | ".join(PYTHONS)}
