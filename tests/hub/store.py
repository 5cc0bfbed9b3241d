"""What a Hub keeps (repositories with commits, branches and tags, large files, accounts) and answers with."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

GITATTRIBUTES = b"".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n".encode()
    for suffix in ("safetensors", "bin", "onnx", "parquet", "npz", "zip")
)
LARGE = 10_000_000
"""Bytes from which any file is a large one."""


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A file of a commit: small ones by git's hash of their bytes, large ones by sha256."""

    data: bytes
    large: bool

    @property
    def oid(self) -> str:
        if self.large:
            return hashlib.sha256(self.data).hexdigest()
        return sha1(b"blob %d\0" % len(self.data) + self.data)

    def facts(self, path: str) -> dict[str, object]:
        """The file as the Hub lists it; the id of a large one is that of its pointer."""
        found: dict[str, object] = {"type": "file", "path": path, "size": len(self.data), "oid": self.oid}
        if self.large:
            found["oid"] = sha1(self.oid.encode())
            found["lfs"] = {"oid": self.oid, "size": len(self.data), "pointerSize": 134}
        return found


@dataclass
class Commit:
    """A state of a repository."""

    title: str
    files: dict[str, Entry]
    parent: str | None


@dataclass
class Repo:
    """One repository; ``kind`` is "model" or "dataset"."""

    repo_id: str
    kind: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add_commit("main", "initial commit", {".gitattributes": Entry(GITATTRIBUTES, False)})

    @property
    def owner(self) -> str:
        return self.repo_id.split("/")[0]

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, a tag or (the start of) a hash means."""
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        for names in (self.branches, self.tags):
            if revision in names:
                return names[revision]
        found = [sha for sha in self.commits if len(revision) >= 7 and sha.startswith(revision)]
        return found[0] if found else None

    def add_commit(self, branch: str, title: str, files: dict[str, Entry]) -> str:
        """Put a state on top of a branch; its hash."""
        parent = self.branches.get(branch)
        listed = "".join(f"{path}\0{entry.oid}\n" for path, entry in sorted(files.items()))
        sha = sha1(f"{self.kind}{self.repo_id}{parent}{title}{len(self.commits)}\n{listed}".encode())
        self.commits[sha] = Commit(title, dict(files), parent)
        self.branches[branch] = sha
        return sha

    def is_large(self, path: str, size: int) -> bool:
        """Whether a file goes to the storage of large ones."""
        attributes = self.commits[self.branches["main"]].files[".gitattributes"].data.decode()
        patterns = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line]
        name = path.rsplit("/", 1)[-1]
        return size >= LARGE or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)

    def history(self, revision: str = "main") -> list[str]:
        """Titles of the commits of a branch, the newest first."""
        titles, sha = [], self.resolve(revision)
        while sha is not None:
            titles.append(self.commits[sha].title)
            sha = self.commits[sha].parent
        return titles


@dataclass(frozen=True)
class Account:
    """Who a token belongs to, and what it may do: "read" or "write"."""

    name: str
    role: str = "write"


@dataclass
class Store:
    """All repositories, large files and accounts of a Hub."""

    accounts: dict[str, Account] = field(default_factory=dict)  # by token
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)  # by kind and id
    large: dict[str, bytes] = field(default_factory=dict)  # by sha256
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)  # by sha256 and number

    def files(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """The files of a repository at a revision."""
        repo = self.repos[kind, repo_id]
        commit = repo.commits[repo.resolve(revision) or ""]
        return {path: entry.data for path, entry in commit.files.items()}


# ---- answers

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


class Refused(Exception):  # noqa: N818 - an answer, no fault
    """An answer other than the one asked for."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


def as_json(values: Any, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(values).encode()


def refusal(refused: Refused) -> Answer:
    """An error as the Hub words it: in the body and in two headers."""
    headers = {"X-Error-Message": refused.message, "X-Request-Id": "Root=1-loopback"}
    if refused.code:
        headers["X-Error-Code"] = refused.code
    return as_json({"error": refused.message, **refused.body}, refused.status, **headers)
