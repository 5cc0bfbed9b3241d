"""What the site needs beyond docs/: pages for the files outside that its pages link to."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)((?:#[^)\s]*)?\))")


def page_of(path: str) -> str:
    """The page that shows a file of the project; of `LICENSE` that is `project/LICENSE.md`."""
    return f"project/{path}" if path.endswith(".md") else f"project/{path}.md"


def site_target(source: str, target: str) -> str:
    """A link of the file `source` to `target`, both as they lie in the project, as the site has it."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if source.startswith("docs/") and path.startswith("docs/"):
        return target
    here, there = (
        name.removeprefix("docs/") if name.startswith("docs/") else page_of(name) for name in (source, path)
    )
    return posixpath.relpath(there, posixpath.dirname(here) or ".")


def with_site_links(source: str, text: str) -> str:
    """The Markdown of a file with every link to where the site has its target."""
    return LINK.sub(lambda found: found[1] + site_target(source, found[2]) + found[3], text)


def outside_targets(source: str, text: str) -> set[str]:
    """Files outside docs/ that a file links to, as they lie in the project."""
    folder = posixpath.dirname(source)
    paths = {posixpath.normpath(posixpath.join(folder, found[2])) for found in LINK.finditer(text)}
    return {path for path in paths if not path.startswith("docs/") and (ROOT / path).is_file()}


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Adds a page for every file outside docs/ that is linked to, also from such a page."""
    from mkdocs.structure.files import File

    sources = {f"docs/{file.src_uri}" for file in files.documentation_pages()}
    waiting, added = set(sources), set[str]()
    while waiting:
        source = waiting.pop()
        if not source.endswith(".md"):
            continue
        new = outside_targets(source, (ROOT / source).read_text(encoding="utf-8")) - added
        added |= new
        waiting |= new
    for path in sorted(added):
        text = (ROOT / path).read_text(encoding="utf-8")
        if not path.endswith(".md"):
            language = {".yaml": "yaml", ".py": "python", ".sh": "bash"}.get(Path(path).suffix, "text")
            text = f"# {path}\n\n````{language}\n{text}\n````\n"
        files.append(File.generated(config, page_of(path), content=with_site_links(path, text)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave docs/ lead to the pages added above."""
    if page.file.src_uri.startswith("project/"):
        return markdown
    return with_site_links(f"docs/{page.file.src_uri}", markdown)
