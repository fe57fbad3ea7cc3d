#!/usr/bin/env python3
"""Makes the pictures of the fleet page in the documentation, of the example fleet of the tests.

    $(e2e/harness/venv.sh) docs/screenshots.py               # those in docs/images
    $(e2e/harness/venv.sh) docs/screenshots.py FOLDER        # and, to look at, each page at three widths, light and dark
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "e2e" / name) for name in ("tests", "harness", "aws")]

from playwright.sync_api import Page  # noqa: E402

from fleet.environment import environment  # noqa: E402
from fleet.example_fleet import fill  # noqa: E402
from fleet.page import Ui  # noqa: E402
from fleet.picture_sources import RECORD, digests  # noqa: E402
from keelson_harness.browser import browser  # noqa: E402

IMAGES = ROOT / "docs" / "images"
PATHS = {
    "fleet": "/",
    "creating": "/clusters/default/creating",
    "cluster": "/clusters/shop/orders",
    "held": "/clusters/platform/billing",
    "suspended": "/clusters/platform/sandbox",
    "node-group": "/nodegroups/shop/orders-default",
    "account": "/accounts/prod",
    "accounts": "/accounts",
    "rollout": "/rollouts/main",
    "nowhere": "/clusters/shop/nowhere",
}
# The pictures of the documentation: the page, its colours, width and height.
PICTURES = {
    "page-fleet-light.png": ("fleet", "light", 1280, 1400),
    "page-cluster-dark.png": ("cluster", "dark", 1280, 1640),
    "page-creating-light.png": ("creating", "light", 1280, 1250),
}
WIDTHS = (360, 1280, 2560)
# To load a page, on a busy machine.
MILLISECONDS = 120_000


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    IMAGES.mkdir(exist_ok=True)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    with environment(workload=False, git=False) as on, browser() as started, Ui(on) as ui:
        fill(on)
        for scheme in ("light", "dark"):
            page = started.new_context(color_scheme=scheme, reduced_motion="reduce").new_page()
            page.set_default_timeout(MILLISECONDS)
            page.goto(ui.address())
            page.wait_for_url(f"{ui.root}/")
            page.locator("tbody tr").first.wait_for()
            for name, path in PATHS.items():
                page.goto(ui.root + path)
                if name != "nowhere":
                    page.get_by_text("Live", exact=True).wait_for()
                for picture, (shown, colours, width, height) in PICTURES.items():
                    if (shown, colours) == (name, scheme):
                        take(page, IMAGES / picture, width, height)
                for width in WIDTHS if folder else ():
                    take(page, folder / f"{name}-{width}-{scheme}.png", width)
    # test_pictures.py compares them.
    RECORD.write_text(digests())


def take(page: Page, path: Path, width: int, height: int | None = None) -> None:
    """A picture of the window, or of the whole page if it has no height."""
    page.set_viewport_size({"width": width, "height": height or 900})
    page.screenshot(path=path, full_page=height is None)
    print(path)


if __name__ == "__main__":
    main()
