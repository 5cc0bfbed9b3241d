"""Pages and cards from the templates in `report/templates`: the one place where HTML and Markdown are made.

Templates get plain values. The engine escapes every one of them as the kind of file asks for, so no name can
become markup; only what a filter of this module makes passes as it is.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from detr_hf.errors import quantity
from detr_hf.sanitize import escape_markdown, markdown_table, printable

TEMPLATES = Path(__file__).parent / "report" / "templates"
WIDEST = 640  # pixels of an image in a page, where a template asks for no others


def render_html(template: str, **values: Any) -> str:
    """A page of `report/templates`, one file that asks no other host for anything."""
    return _environment(True).get_template(template).render(values)


def render_part(template: str, macro: str, *values: Any) -> str:
    """A piece of a page that another program puts together: what a macro of a template gives."""
    return str(getattr(_environment(True).get_template(template).module, macro)(*values))


def render_markdown(template: str | Path, **values: Any) -> str:
    """A text of `report/templates`, or of the file at a path; blank lines that follow each other are one."""
    source = (TEMPLATES / template).read_text(encoding="utf-8")
    text = _environment(False).from_string(source).render(values)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" +$", "", text, flags=re.MULTILINE))


@cache
def _environment(is_html: bool) -> Environment:
    # Autoescape is on for Markdown too: with it the engine tells text that it made itself, as `Markup`, from
    # text of others, which `finalize` sees first.
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown_in_html if is_html else _shown_in_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quantity"] = quantity
    environment.filters |= (
        {"address": _address, "digest": _digest, "code_spans": _code_spans}
        if is_html
        else {"table": _table, "code": _code, "code_block": _code_block, "paragraph": _paragraph}
    )
    return environment


def _shown_in_html(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def _shown_in_markdown(value: Any) -> Markup:
    return value if isinstance(value, Markup) else Markup(escape_markdown(value))


def _table(rows: Any, header: Any, left: int = 1) -> Markup:
    return Markup(markdown_table(header, list(rows), left))


def _code(value: Any) -> Markup:
    """What stands between backticks, or in a line of a block of code."""
    return Markup(printable(" ".join(str(value).split())).replace("`", "'"))


def _code_block(text: str, language: str) -> Markup:
    """Lines as they are, in a fence that none of them can close."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return Markup(f"{fence}{language}\n{printable(text.strip(), keep=chr(10))}\n{fence}")


def _paragraph(text: str) -> Markup:
    """Markdown of others as one paragraph: emphasis and code stay, links and HTML do not."""
    return Markup(escape_markdown(text, keep="*`"))


def _code_spans(text: str) -> Markup:
    """Text with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(printable(text)))))


def _address(image: Any, widest: int = WIDEST) -> str:
    """An image, at most ``widest`` pixels wide and high, as the address of a JPEG in the page itself."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image = image.convert("RGB")
    image.thumbnail((widest, widest))
    stream = BytesIO()
    image.save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _digest(script: str) -> str:
    """What the policy of a page names the only script by that it may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
