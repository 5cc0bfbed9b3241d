"""What the loopback Hub does at each address, as the real one answers the real client."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.hub.cards import faults_of_card, front_matter
from tests.hub.store import Answer, Entry, Refused, Repo, as_json

if TYPE_CHECKING:
    from tests.hub.server import Handler

KINDS = {"models": "model", "datasets": "dataset"}


# ---- accounts and repositories


def whoami(asked: Handler) -> Any:
    account = asked.account()
    if account is None:
        raise Refused(401, "Invalid username or password.")
    token = {"accessToken": {"displayName": "test", "role": account.role}, "type": "access_token"}
    return {"type": "user", "name": account.name, "orgs": [], "auth": token}


def create_repo(asked: Handler) -> Any:
    wanted, account = asked.json, asked.account()
    if account is None:
        raise Refused(401, "Invalid username or password.")
    owner, kind = wanted.get("organization") or account.name, wanted.get("type") or "model"
    repo_id = f"{owner}/{wanted['name']}"
    if owner != account.name or account.role != "write":
        raise Refused(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
    url = f"{asked.base}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
    if (kind, repo_id) in asked.hub.store.repos:
        raise Refused(409, f"You already created this {kind} repo", url=url)
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    asked.hub.store.repos[kind, repo_id] = Repo(repo_id, kind, private)
    return {"url": url, "name": repo_id, "id": repo_id}


def repo_info(asked: Handler, kinds: str, repo_id: str, revision: str) -> Any:
    repo = asked.repo_of(KINDS[kinds], repo_id)
    sha, commit = asked.commit_of(repo, revision or "main")
    readme = commit.files.get("README.md")
    date = "2026-01-01T00:00:00.000Z"
    return {
        "id": repo_id,
        "author": repo.owner,
        "sha": sha,
        "private": repo.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "lastModified": date,
        "createdAt": date,
        "cardData": front_matter(readme.data.decode()) if readme else None,
        "siblings": [{"rfilename": path} for path in sorted(commit.files)],
    }


def tree(asked: Handler, kinds: str, repo_id: str, revision: str, folder: str) -> Any:
    repo = asked.repo_of(KINDS[kinds], repo_id)
    _, commit = asked.commit_of(repo, revision)
    inside = f"{folder}/" if folder else ""
    recursive = parse_qs(asked.split.query).get("recursive", ["false"])[0].lower() in ("true", "1")
    found: dict[str, Any] = {}
    for path, entry in sorted(commit.files.items()):
        if path.startswith(inside):
            head, *deeper = path[len(inside) :].split("/")
            if deeper:
                found[inside + head] = folder_facts(inside + head)
            if recursive or not deeper:
                found[path] = entry.facts(path)
    if folder and not found:
        raise Refused(404, f"{folder} does not exist", "EntryNotFound")
    return list(found.values())


def paths_info(asked: Handler, kinds: str, repo_id: str, revision: str) -> Any:
    repo = asked.repo_of(KINDS[kinds], repo_id)
    _, commit = asked.commit_of(repo, revision)
    found = []
    for path in parse_qs(asked.body.decode()).get("paths", []):
        if path in commit.files:
            found.append(commit.files[path].facts(path))
        elif any(name.startswith(f"{path}/") for name in commit.files):
            found.append(folder_facts(path))
    return found


def folder_facts(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}


def refs(asked: Handler, kinds: str, repo_id: str) -> Any:
    repo = asked.repo_of(KINDS[kinds], repo_id)

    def listed(names: dict[str, str], what: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{what}/{n}", "targetCommit": sha} for n, sha in names.items()]

    return {"branches": listed(repo.branches, "heads"), "tags": listed(repo.tags, "tags"), "converts": []}


def add_tag(asked: Handler, kinds: str, repo_id: str, revision: str) -> Any:
    repo = asked.repo_of(KINDS[kinds], repo_id, write=True)
    sha, _ = asked.commit_of(repo, revision)
    name = asked.json["tag"]
    if name in repo.tags:
        raise Refused(409, f"Tag reference exists already: {name}")
    repo.tags[name] = sha
    return {}


def add_branch(asked: Handler, kinds: str, repo_id: str, name: str) -> Any:
    repo = asked.repo_of(KINDS[kinds], repo_id, write=True)
    if name in repo.branches:
        raise Refused(409, f"Reference already exists: {name}")
    repo.branches[name], _ = asked.commit_of(repo, asked.json.get("startingPoint") or "main")
    return {}


def auth_check(asked: Handler, kinds: str, repo_id: str, write: str) -> Any:
    asked.repo_of(KINDS[kinds], repo_id, write=bool(write))
    return {}


# ---- pushing


def validate_yaml(asked: Handler) -> Any:
    faults = faults_of_card(asked.json["content"])
    if faults:
        raise Refused(400, "invalid metadata", errors=[{"message": fault} for fault in faults], warnings=[])
    return {"errors": [], "warnings": []}


def preupload(asked: Handler, kinds: str, repo_id: str, revision: str) -> Any:
    repo = asked.repo_of(KINDS[kinds], repo_id, write=True)
    _, commit = asked.commit_of(repo, revision)
    answers = []
    for file in asked.json["files"]:
        there = commit.files.get(file["path"])
        mode = "lfs" if repo.is_large(file["path"], file["size"]) else "regular"
        answer = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        answers.append(answer | ({"oid": there.oid} if there else {}))
    return {"files": answers}


def lfs_batch(asked: Handler, prefix: str, repo_id: str) -> Any:
    asked.repo_of("dataset" if prefix else "model", repo_id, write=True)
    return {"transfer": "basic", "objects": [_upload_of(asked, each) for each in asked.json["objects"]]}


def _upload_of(asked: Handler, wanted: dict[str, Any]) -> dict[str, Any]:
    """Where to send a large file: nowhere when it is there, to one address, or in parts."""
    oid, size, part = wanted["oid"], wanted["size"], asked.hub.part_size
    if oid in asked.hub.store.large:
        return {"oid": oid, "size": size}
    upload: dict[str, Any] = {"href": f"{asked.base}/lfs/{oid}"}
    if part is not None and size > part:
        numbers = range(1, -(-size // part) + 1)
        upload["header"] = {str(number): f"{asked.base}/lfs/{oid}/{number}" for number in numbers}
        upload["header"]["chunk_size"] = str(part)
        upload["href"] = f"{asked.base}/lfs-complete/{oid}"
    verify = {"href": f"{asked.base}/lfs-verify/{oid}"}
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"upload": upload, "verify": verify}}


def put_whole(asked: Handler, oid: str) -> Any:
    _keep_large(asked, oid, asked.body)
    return {}


def put_part(asked: Handler, oid: str, number: str) -> Any:
    asked.hub.store.parts[oid, int(number)] = asked.body
    return as_json({}, ETag=f'"{hashlib.md5(asked.body).hexdigest()}"')


def complete(asked: Handler, oid: str) -> Any:
    numbers = sorted(part["partNumber"] for part in asked.json["parts"])
    _keep_large(asked, oid, b"".join(asked.hub.store.parts.pop((oid, number)) for number in numbers))
    return {}


def verify(asked: Handler, oid: str) -> Any:
    if len(asked.hub.store.large.get(oid, b"")) != asked.json["size"]:
        raise Refused(404, "the object is not there")
    return {}


def _keep_large(asked: Handler, oid: str, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != oid:
        raise Refused(400, "the content is not what its name says")
    asked.hub.store.large[oid] = data


def add_commit(asked: Handler, kinds: str, repo_id: str, branch: str) -> Any:
    repo = asked.repo_of(KINDS[kinds], repo_id, write=True)
    sha, commit = asked.commit_of(repo, branch)
    header, *changes = [json.loads(line) for line in asked.body.splitlines() if line]
    if header["value"].get("parentCommit", sha) != sha:
        raise Refused(412, "A commit has happened since. Please refresh and try again.")
    files = dict(commit.files)
    for change in changes:
        CHANGES[change["key"]](asked, files, change["value"])
    if (card := files.get("README.md")) and (faults := faults_of_card(card.data.decode())):
        raise Refused(400, f"Bad metadata in README.md: {'; '.join(faults)}")
    sha = repo.add_commit(branch, header["value"]["summary"], files)
    url = f"{asked.base}/{repo_id}/commit/{sha}"
    return {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""}


def _add_small(_: Handler, files: dict[str, Entry], value: dict[str, Any]) -> None:
    files[value["path"]] = Entry(base64.b64decode(value["content"]), False)


def _add_large(asked: Handler, files: dict[str, Entry], value: dict[str, Any]) -> None:
    if value["oid"] not in asked.hub.store.large:
        raise Refused(400, f"the object of {value['path']} was never uploaded")
    files[value["path"]] = Entry(asked.hub.store.large[value["oid"]], True)


def _delete(_: Handler, files: dict[str, Entry], value: dict[str, Any]) -> None:
    if value["path"] not in files:
        raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
    del files[value["path"]]


CHANGES: dict[str, Callable[..., None]] = {"file": _add_small, "lfsFile": _add_large, "deletedFile": _delete}


# ---- loading


def resolve(asked: Handler, prefix: str, repo_id: str, revision: str, path: str) -> Any:
    repo = asked.repo_of("dataset" if prefix else "model", repo_id)
    sha, commit = asked.commit_of(repo, revision)
    if path not in commit.files:
        raise Refused(404, "Entry not found", "EntryNotFound")
    entry = commit.files[path]
    headers = {"X-Repo-Commit": sha, "ETag": f'"{entry.oid}"', "Accept-Ranges": "bytes"}
    if entry.large:  # from storage, which is another host as the client sees it
        size = str(len(entry.data))
        headers |= {"X-Linked-Etag": f'"{entry.oid}"', "X-Linked-Size": size, "Content-Length": "0"}
        elsewhere = asked.base.replace("127.0.0.1", "localhost")
        return 302, headers | {"Location": f"{elsewhere}/storage/{entry.oid}"}, b""
    return _ranged(asked, entry.data, headers)


def storage(asked: Handler, oid: str) -> Any:
    return _ranged(asked, asked.hub.store.large[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})


def _ranged(asked: Handler, data: bytes, headers: dict[str, str]) -> Answer:
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("Range", ""))
    if found is None:
        return 200, {**headers, "Content-Length": str(len(data))}, data
    start, end = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
    if start >= len(data):
        raise Refused(416, "no such range")
    piece = data[start : end + 1]
    where = {"Content-Range": f"bytes {start}-{end}/{len(data)}", "Content-Length": str(len(piece))}
    return 206, headers | where, piece


REPO = r"/api/(models|datasets)/([^/]+/[^/]+)"
ROUTES: list[tuple[str, Callable[..., Any]]] = [
    (r"(?:GET|HEAD) /", lambda asked: {}),
    (r"GET /api/whoami-v2", whoami),
    (r"POST /api/repos/create", create_repo),
    (r"POST /api/validate-yaml", validate_yaml),
    (rf"GET {REPO}/tree/([^/]+)(?:/(.+))?", tree),
    (rf"POST {REPO}/paths-info/([^/]+)", paths_info),
    (rf"GET {REPO}/refs", refs),
    (rf"POST {REPO}/tag/([^/]+)", add_tag),
    (rf"POST {REPO}/branch/(.+)", add_branch),
    (rf"GET {REPO}/auth-check(/write)?", auth_check),
    (rf"POST {REPO}/preupload/([^/]+)", preupload),
    (rf"POST {REPO}/commit/([^/]+)", add_commit),
    (rf"GET {REPO}(?:/revision/([^/]+))?", repo_info),
    (r"POST /(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", lfs_batch),
    (r"PUT /lfs/(\w+)", put_whole),
    (r"PUT /lfs/(\w+)/(\d+)", put_part),
    (r"POST /lfs-complete/(\w+)", complete),
    (r"POST /lfs-verify/(\w+)", verify),
    (r"(?:GET|HEAD) /(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", resolve),
    (r"(?:GET|HEAD) /storage/(\w+)", storage),
]
