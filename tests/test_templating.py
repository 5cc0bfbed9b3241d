"""Templates are in the package, and none lets a name become markup."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from detr_hf import templating
from detr_hf.templating import TEMPLATES, render_html, render_markdown, render_part

EVIL = "<b>`x`</b> [l](http://e.org) | \x1b[31m"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Templates of the test's own."""
    monkeypatch.setattr(templating, "TEMPLATES", tmp_path)
    templating._environment.cache_clear()
    yield tmp_path
    templating._environment.cache_clear()


def test_templates_lie_in_the_package() -> None:
    names = {file.name for file in (files("detr_hf.report") / "templates").iterdir()}
    assert {"base.html", "report.html", "report.md", "compare.html", "check.html", "dataset_card.md"} <= names
    assert names == {file.name for file in TEMPLATES.iterdir()}


def test_html_shows_names_as_text(folder: Path) -> None:
    (folder / "page.html").write_text('<p title="{{ name }}">{{ name }}</p>')
    (folder / "parts.html").write_text("{% macro m(x) %}{{ x }}{% endmacro %}")
    page = render_html("page.html", name=EVIL)
    assert "<b>" not in page and "\x1b" not in page and page.count("&lt;b&gt;") == 2
    assert render_part("parts.html", "m", EVIL) == page[page.index(">") + 1 : page.index("</p>")]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ name }}", r"&lt;b>\`x\`&lt;/b> \[l\](http\://e.org) \| ?\[31m"),
        ("{{ [name] | join(', ') }}", r"&lt;b>\`x\`&lt;/b> \[l\](http\://e.org) \| ?\[31m"),
        ("{% macro m(x) %}*{{ x }}*{% endmacro %}{{ m('_a_') }}", r"*\_a\_*"),
        ("`{{ name | code }}`", "`<b>'x'</b> [l](http://e.org) | ?[31m`"),
        ("{{ '**a** <i>' | paragraph }}", "**a** &lt;i>"),
        ("{{ [['a|', 1]] | table(['x', 'y']) }}", "| x   |   y |\n| --- | --: |\n| a\\| |   1 |"),
        ("{{ 'a\n```\nb' | code_block('yaml') }}", "````yaml\na\n```\nb\n````"),
        ("a  \n\n\n\nb", "a\n\nb"),
    ],
)
def test_markdown_shows_names_as_text(template: str, expected: str, folder: Path) -> None:
    (folder / "text.md").write_text(template)
    shown = render_markdown("text.md", name=EVIL)
    assert shown == expected.replace("?", "\N{REPLACEMENT CHARACTER}")


def test_a_value_that_is_missing_is_no_gap(folder: Path) -> None:
    (folder / "text.md").write_text("{{ nam }}")
    with pytest.raises(UndefinedError):
        render_markdown("text.md", name="x")


def test_only_the_script_of_a_page_may_run(folder: Path) -> None:
    for name in ("base.html", "macros.html"):
        (folder / name).write_text((TEMPLATES / name).read_text())
    (folder / "still.html").write_text('{% extends "base.html" %}')
    (folder / "moving.html").write_text(
        '{% extends "base.html" %}{% block script %}run("\'<&"){% endblock %}'
    )
    assert "script" not in render_html("still.html")
    page = render_html("moving.html")
    script = page[page.index("<script>") + 8 : page.index("</script>")]
    assert f"script-src 'sha256-{templating._digest(script)}'" in page and script == 'run("\'<&")'
