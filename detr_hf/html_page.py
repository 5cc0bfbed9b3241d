"""Pages in one file: a head that forbids everything foreign, a style for light and dark, pictures inside.

Names come from data and may be anything: every text goes through ``text``, and the policy in the head allows
no address and no script but the one whose hash it names.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.sanitize import printable

WIDEST = 640  # pixels of a shown picture

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2330; --dim: #5a6375; --line: #e3e6ec;
        --soft: #f1f3f7; --accent: #2563b8; --good: #e7f5ea; --bad: #fde8e8; }
@media (prefers-color-scheme: dark) {
:root { --paper: #14171d; --ink: #e4e7ee; --dim: #9aa4b6; --line: #2c323d; --soft: #1d222b;
        --accent: #7db4f5; --good: #17351f; --bad: #431f21; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem;
       color: var(--ink); background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--dim); } td.n, th.n { text-align: right; white-space: nowrap; }
code { font-size: .9em; } .dim { color: var(--dim); }
summary { cursor: pointer; color: var(--dim); } li { margin: .1rem 0; } figure { margin: 0; }
.none { background: var(--soft); padding: 3rem 1rem; text-align: center; color: var(--dim); }
"""

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
"""


def head(title: str, style: str = "", script: str = "") -> str:
    """The beginning of a page, up to its body.

    Args:
        title: any text.
        style: more CSS, behind the common one.
        script: the only script that the page may run; the caller puts it in with ``script_tag``.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{digest}'"
    return _HEAD.format(policy=policy, title=text(title), style=STYLE + style)


def script_tag(script: str) -> str:
    """The script, letter by letter as ``head`` was told."""
    assert "</" not in script
    return f"<script>{script}</script>\n"


def text(value: Any) -> str:
    """Any value as text that can be no markup, without control characters."""
    return escape(printable(str(value)))


def picture_address(picture: NDArray[np.uint8] | Image.Image, widest: int = WIDEST) -> str:
    """A picture, at most ``widest`` pixels wide and high, as the address of a JPEG in the page itself."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image = image.convert("RGB")
    image.thumbnail((widest, widest))
    stream = BytesIO()
    image.save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
