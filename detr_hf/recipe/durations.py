"""Durations as people write them: 11h30m."""

from __future__ import annotations

import re

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+){unit})?" for unit in UNITS))


def seconds_of(text: str) -> int | None:
    """Seconds in ``1d``, ``11h30m``, ``45m`` or ``90s``; None where the text is no duration above 0."""
    found = DURATION.fullmatch(text.strip())
    if found is None:
        return None
    return sum(int(found[unit] or 0) * seconds for unit, seconds in UNITS.items()) or None
