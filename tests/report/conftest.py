"""Every test of this folder starts without the state that Accelerate keeps for the whole process."""

from __future__ import annotations

from tests.training.conftest import fresh_accelerate

__all__ = ["fresh_accelerate"]
