"""The metadata of sdist and wheel: addresses, and a README whose links lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("hatchling")
from tools.package_metadata import LINK, PackageMetadata, project_urls, readme_text, repository_of

ROOT = Path(__file__).parents[2]
ADDRESS = "https://forge.example/someone/detr-hf"
PAGE = """# A page

See [the *report*](docs/report.md), [above](#a-page), [DETR](https://arxiv.org/abs/2005.12872).

![Two yards](docs/images/demo.jpg)
[![license](https://badge.example/x.svg)](LICENSE)

```python
boxes = found[0](docs/x)
```
"""


def test_links_become_absolute() -> None:
    text = readme_text(PAGE, ADDRESS)
    assert f"[the *report*]({ADDRESS}/blob/main/docs/report.md), [above](#a-page)" in text
    assert f"![Two yards]({ADDRESS}/raw/main/docs/images/demo.jpg)" in text
    assert f"[![license](https://badge.example/x.svg)]({ADDRESS}/blob/main/LICENSE)" in text
    assert "(https://arxiv.org/abs/2005.12872)" in text and "found[0](docs/x)" in text


def test_without_an_address_a_relative_link_is_plain_text() -> None:
    text = readme_text(PAGE, "")
    assert "See the *report*, [above](#a-page), [DETR](https://arxiv.org/abs/2005.12872)." in text
    assert "![license](https://badge.example/x.svg)\n" in text
    assert "docs/images" not in text and "found[0](docs/x)" in text


@pytest.mark.parametrize("repository", ["", ADDRESS])
def test_no_relative_link_of_our_readme_is_left(repository: str) -> None:
    ours = (ROOT / "README.md").read_text(encoding="utf-8")
    assert any("://" not in match["target"] for match in LINK.finditer(ours))
    found = [match["target"] for match in LINK.finditer(readme_text(ours, repository))]
    assert [target for target in found if "://" not in target and not target.startswith("#")] == []


def test_the_hook_fills_what_the_project_calls_dynamic() -> None:
    metadata: dict[str, object] = {}
    PackageMetadata(str(ROOT), {}).update(metadata)
    assert set(metadata) == {"readme", "urls"}
    assert metadata["urls"] == project_urls(repository_of(ROOT))


def test_addresses_of_a_project() -> None:
    assert project_urls("") == {}
    urls = project_urls(ADDRESS)
    assert urls["Source"] == ADDRESS
    for address in urls.values():
        path = address.removeprefix(ADDRESS).removeprefix("/blob/main/")
        assert path in ("", "/issues") or (ROOT / path).is_file()
