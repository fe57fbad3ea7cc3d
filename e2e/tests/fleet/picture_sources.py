"""What the pictures of the fleet page in docs/images show: the files that decide it, with their digests when the pictures were made."""

from __future__ import annotations

import hashlib
from pathlib import Path

from keelson_harness.paths import CHECKOUT

RECORD = CHECKOUT / "docs" / "images" / "sources.sha256"
PAGE = CHECKOUT / "src" / "page"
FILES = ("docs/screenshots.py", "e2e/tests/fleet/example_fleet.py", "e2e/tests/fleet/page.py")


def sources() -> list[Path]:
    """Of the page and of the example fleet, without unit tests."""
    of_page = [path for name in ("assets", "templates", "view") for path in sorted((PAGE / name).rglob("*")) if path.is_file()]
    return [path for path in of_page if not path.stem.endswith("_tests")] + [CHECKOUT / name for name in FILES]


def digests() -> str:
    """As sha256sum writes them, so that a change names the file."""
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(CHECKOUT)}\n" for path in sources())


def changed(recorded: str) -> list[str]:
    """The files that are not as recorded: changed, new or gone."""
    differing = set(recorded.splitlines()) ^ set(digests().splitlines())
    return sorted({line.partition("  ")[2] for line in differing})
