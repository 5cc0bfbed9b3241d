"""A written Space, started in a process of its own as the Hub would start it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from detr_hf.app.space import write_space


@dataclass
class Server:
    """A running page, its output so far, and the folder that its temporary files go to."""

    process: subprocess.Popen[str]
    address: str
    scratch: Path
    lines: list[str] = field(default_factory=list)

    @property
    def is_up(self) -> bool:
        return self.process.poll() is None


@contextmanager
def running_space(folder: Path, model: str = "demo") -> Iterator[Server]:
    """Write the Space and serve it on a free port of this machine until the block ends."""
    write_space(model, folder / "space", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "scratch").mkdir()
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "TMPDIR": str(folder / "scratch")}
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=folder / "space",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process, f"http://127.0.0.1:{port}", folder / "scratch")
    ready = threading.Event()
    threading.Thread(target=_read, args=(server, ready), daemon=True).start()
    try:
        assert ready.wait(600) and server.is_up, "".join(server.lines)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _read(server: Server, ready: threading.Event) -> None:
    assert server.process.stdout is not None
    for line in server.process.stdout:
        server.lines.append(line)
        if "Ctrl-C" in line:
            ready.set()
    ready.set()
