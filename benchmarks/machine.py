"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "timm", "numpy", "scipy")


def machine_facts(device: str = "cpu") -> dict[str, str]:
    """Processor, memory, load, versions and date; of a GPU its name, memory and driver's CUDA, too."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        **(_gpu(device) if device.startswith("cuda") else {}),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_gb:.0f} GB",
        "system": f"{platform.system()} {platform.machine()}",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _gpu(device: str) -> dict[str, str]:
    import torch

    found = torch.cuda.get_device_properties(device)
    return {
        "GPU": f"{found.name}, {found.total_memory / 1e9:.0f} GB, compute {found.major}.{found.minor}",
        "CUDA, cuDNN": f"{torch.version.cuda}, {torch.backends.cudnn.version()}",
    }


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
