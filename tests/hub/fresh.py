"""Fresh processes that know the loopback Hub by their environment alone, as users' processes would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.hub.server import LoopbackHub

ROOT = Path(__file__).parents[2]


def environment(hub: LoopbackHub, home: Path, token: str | None) -> dict[str, str]:
    """The variables of a user whose caches lie in ``home``."""
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    alone |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    return alone | ({"HF_TOKEN": token} if token else {})


def fresh_python(
    code: str, hub: LoopbackHub, home: Path, *arguments: str, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, in the folder ``home``."""
    home.mkdir(exist_ok=True)
    path = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=home,
        env=environment(hub, home, token) | path,
        capture_output=True,
        text=True,
        timeout=300,
    )
