"""Hooks of MkDocs: what GitHub renders by itself, the site needs help with.

- A link to a file outside of docs/ becomes a link to that file in the repository.
- A diagram in Mermaid becomes a picture in the page, so that no browser has to load a script from elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path

import mermaidx

DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^(```|~~~).*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def on_page_markdown(markdown: str, page, config, files) -> str:
    source = Path(page.file.abs_src_path)
    docs = Path(config.docs_dir).resolve()
    return draw(outside_links(markdown, source, docs, f"{config.repo_url.rstrip('/')}/{{kind}}/main/"))


def outside_links(text: str, source: Path, docs: Path, address: str) -> str:
    """Links that leave docs/, or lead to a folder of it, lead to the repository; code blocks stay."""

    def replace(link: re.Match[str]) -> str:
        target = link[2]
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = (source.parent / target).resolve()
        if path.is_relative_to(docs) and path.is_file():
            return link[0]
        if not path.exists():
            # MkDocs warns about it.
            return link[0]
        kind = "tree" if path.is_dir() else "blob"
        return f"{link[1]}{address.format(kind=kind)}{path.relative_to(docs.parent).as_posix()}{link[3]}"

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(replace, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(replace, text[end:])])


def draw(text: str) -> str:
    """Diagrams as SVG in the page."""
    number = 0

    def replace(block: re.Match[str]) -> str:
        nonlocal number
        number += 1
        # The id is also the scope of the styles in the picture.
        picture = str(mermaidx.render(block[1]).svg()).replace("my-svg", f"diagram-{number}")
        return f'<div class="diagram">{picture}</div>\n'

    return DIAGRAM.sub(replace, text)
