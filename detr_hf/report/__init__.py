"""The report of a finished run: `report.html`, `report.md`, and every number in `report.json`."""

from __future__ import annotations
