"""Commands that look at files start without the libraries of a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import write_coco_detection
from tests.report.report_factories import write_run

SCRIPT = """
import sys
from detr_hf.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = {"torch", "transformers", "accelerate", "evaluate", "timm"} & set(sys.modules)
sys.exit(f"imported: {sorted(heavy)}" if heavy else 0)
"""


@pytest.mark.parametrize("command", ["check", "compare"])
def test_no_network_is_loaded(command: str, tmp_path: Path) -> None:
    arguments = {
        "check": ["check", write_coco_detection(tmp_path).annotations, "--html", str(tmp_path / "page.html")],
        "compare": [
            "compare",
            str(tmp_path / "one"),
            str(tmp_path / "two"),
            "--out",
            str(tmp_path / "page.html"),
        ],
        "report": ["report", str(tmp_path / "one")],
    }
    for name in ("one", "two"):
        write_run(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments[command]],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
