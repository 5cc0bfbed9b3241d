"""The random generators of a process, as tensors.

Augmentation and sample order need none of them, they follow from seed, epoch and row; dropout does.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch (on the CPU and on ``device``), numpy and Python, by name."""
    _, words, gauss = random.getstate()
    _, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    states = {
        "cpu": torch.get_rng_state(),
        "python": torch.tensor(words),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_rest": torch.tensor([place, has_gauss, cached], dtype=torch.float64),
    }
    if device.type != "cpu":
        states["device"] = torch.get_device_module(device).get_rng_state()
    return states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the generators back; a state that is not there (more processes than before) is left as it is."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "python" in states:
        gauss = states["python_gauss"].tolist()
        random.setstate((3, tuple(states["python"].tolist()), gauss[0] if gauss else None))
    if "numpy" in states:
        place, has_gauss, cached = states["numpy_rest"].tolist()
        keys = states["numpy"].numpy().astype(np.uint32)
        np.random.set_state(("MT19937", keys, int(place), int(has_gauss), cached))
    if "device" in states and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states["device"])
