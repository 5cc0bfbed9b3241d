"""What the loopback Hub answers with."""

from __future__ import annotations

import json
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


class Refused(Exception):  # noqa: N818 - an answer, no fault
    """An answer other than the one asked for."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


def as_json(values: Any, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(values).encode()


def refusal(refused: Refused) -> Answer:
    """An error as the Hub words it: in the body and in two headers."""
    headers = {"X-Error-Message": refused.message, "X-Request-Id": "Root=1-loopback"}
    if refused.code:
        headers["X-Error-Code"] = refused.code
    return as_json({"error": refused.message, **refused.body}, refused.status, **headers)
