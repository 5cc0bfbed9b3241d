"""Only the page's own address may talk to it: other sites that a visitor has open are refused.

A site can point its own name at this machine (DNS rebinding), which shows in the header Host, and can post to
the page from its own pages, which shows in the header Origin.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse

REFUSED = "This page answers to its own address only; open it by the address that detr-hf app printed.\n"


class SameSiteOnly:
    """ASGI middleware that answers 403 to requests of other sites.

    Args:
        app: what is served.
        host: where the page listens. A loopback one is reached under loopback names alone; any other may have
            names that nobody here knows, so only Origin is looked at.
    """

    def __init__(self, app: Any, host: str) -> None:
        self._app, self._local_only = app, is_loopback(host)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket") and not self._is_own(dict(scope["headers"])):
            await PlainTextResponse(REFUSED, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_own(self, headers: dict[bytes, bytes]) -> bool:
        # a proxy in front of the page may tell the address that the visitor asked for in a header of its own,
        # which no foreign site can set without being asked first (CORS)
        names = {headers.get(key, b"").decode("latin-1") for key in (b"host", b"x-forwarded-host")}
        origin = headers.get(b"origin", b"").decode("latin-1")
        if self._local_only and not is_loopback(_host_of(headers.get(b"host", b"").decode("latin-1"))):
            return False
        return not origin or urlsplit(origin).netloc in names - {""}


def is_loopback(host: str) -> bool:
    """Whether a name or address without its port is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host_of(address: str) -> str:
    """Without the port, and without the brackets of IPv6."""
    try:
        return urlsplit(f"//{address}").hostname or ""
    except ValueError:
        return ""
