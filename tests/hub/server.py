"""A Hub on loopback: what the real client needs to push and to load, written from the client's source.

No xet: clients must have it switched off (`HF_HUB_DISABLE_XET`), and large files go the way of git LFS, whole
or in parts. Faults can be planted: connections cut in the middle of an upload, errors of the server.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.hub.routes import ROUTES
from tests.hub.store import Account, Answer, Commit, Refused, Repo, Store, as_json, refusal


@dataclass
class Planted:
    """A fault for requests that match, so many times (-1: always)."""

    pattern: str  # of "METHOD /path"
    times: int
    status: int | None = None  # answer this
    cut_after: int | None = None  # or read so many bytes of the body and hang up


@dataclass
class LoopbackHub:
    """The running server. ``token`` may write, ``reader`` may read what its owner may."""

    url: str
    store: Store
    part_size: int | None = None  # bytes; larger files are asked for in parts
    planted: list[Planted] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)  # "METHOD /path status"
    token: str = "hf_" + "loopbackwriter" * 2
    reader: str = "hf_" + "loopbackreader" * 2

    def plant(self, pattern: str, times: int = 1, **fault: int) -> None:
        """Let requests whose "METHOD /path" matches fail so many times."""
        self.planted.append(Planted(pattern, times, **fault))

    def asked(self, pattern: str) -> list[str]:
        """The requests so far that match."""
        return [line for line in self.seen if re.search(pattern, line)]

    def files(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """The files of a repository."""
        return self.store.files(repo_id, revision, kind)

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        """A repository."""
        return self.store.repos[kind, repo_id]


@contextmanager
def loopback_hub(user: str = "user") -> Iterator[LoopbackHub]:
    """A Hub with one account, for as long as the context is open."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub = LoopbackHub(f"http://127.0.0.1:{server.server_address[1]}", Store())
    hub.store.accounts = {hub.token: Account(user), hub.reader: Account(user, "read")}
    server.hub = hub  # type: ignore[attr-defined]
    server.lock = threading.RLock()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Finds the route of a request, and sends what it answers."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        self.hub: LoopbackHub = self.server.hub  # type: ignore[attr-defined]
        self.split = urlsplit(self.path)
        self.route = f"{self.command} {self.split.path}"
        self.base = self.hub.url
        try:
            if self._trouble():
                return
            self.body = self._read_body()
            with self.server.lock:  # type: ignore[attr-defined]
                answer = self._answer()
        except Refused as refused:
            answer = refusal(refused)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            return
        self._send(*answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def _trouble(self) -> bool:
        """Carry out a planted fault; whether the connection is gone."""
        for fault in self.hub.planted:
            if fault.times and re.search(fault.pattern, self.route):
                fault.times -= 1
                if fault.status is not None:
                    self.body = self._read_body()
                    raise Refused(fault.status, "planted")
                self.rfile.read(min(fault.cut_after or 0, int(self.headers.get("Content-Length", 0))))
                self.hub.seen.append(f"{self.route} cut")
                hang_up(self.connection)
                self.close_connection = True
                return True
        return False

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self) -> Answer:
        for pattern, answer in ROUTES:
            if found := re.fullmatch(pattern, self.route):
                result = answer(self, *(unquote(word) for word in found.groups(default="")))
                return result if isinstance(result, tuple) else as_json(result)
        raise Refused(404, f"no such route: {self.route}")

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.hub.seen.append(f"{self.route} {status}")
        with suppress(ConnectionError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    # ---- who asks

    def account(self) -> Account | None:
        """Whose token came along; None without one."""
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            return None
        if given not in self.hub.store.accounts:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.hub.store.accounts[given]

    def repo_of(self, kind: str, repo_id: str, write: bool = False) -> Repo:
        """A repository that the asker may read, or write to."""
        account = self.account()
        repo = self.hub.store.repos.get((kind, repo_id))
        hidden = repo is None or (repo.private and (account is None or account.name != repo.owner))
        if repo is None or hidden:
            raise Refused(401 if account is None else 404, "Repository not found", "RepoNotFound")
        if write and (account is None or account.name != repo.owner or account.role != "write"):
            raise Refused(403, "You don't have the required permissions to write to this repo")
        return repo

    def commit_of(self, repo: Repo, revision: str) -> tuple[str, Commit]:
        """The commit that a revision means."""
        sha = repo.resolve(revision)
        if sha is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha, repo.commits[sha]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def hang_up(connection: socket.socket) -> None:
    """Reset a connection, as a cut line does."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
