#!/usr/bin/env python3
"""Makes the pictures of docs/page.md: the fleet page with a fleet of the tests, at three widths, light and dark.

    $(e2e/harness/venv.sh) docs/screenshots.py FOLDER        # all of them, to look at
    $(e2e/harness/venv.sh) docs/screenshots.py               # those of the page
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "e2e" / name) for name in ("tests", "harness", "aws")]

from fleet.environment import environment  # noqa: E402
from fleet.example_fleet import fill  # noqa: E402
from fleet.page import Ui  # noqa: E402
from keelson_harness.browser import browser  # noqa: E402

PATHS = {
    "fleet": "/",
    "creating": "/clusters/default/creating",
    "cluster": "/clusters/shop/orders",
    "held": "/clusters/platform/billing",
    "node-group": "/nodegroups/shop/orders-default",
    "account": "/accounts/prod",
    "accounts": "/accounts",
    "rollout": "/rollouts/main",
}
# What docs/page.md contains: width and height.
IN_DOCS = {("fleet", "light"): (1280, 900), ("cluster", "dark"): (1280, 1100), ("creating", "light"): (1280, 1250)}
WIDTHS = (360, 1280, 2560)


def main() -> None:
    everything = len(sys.argv) > 1
    folder = Path(sys.argv[1]) if everything else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with environment(workload=False, git=False) as on, browser() as started:
        fill(on)
        for scheme in ("light", "dark"):
            with Ui(on) as ui:
                page = started.new_context(color_scheme=scheme, reduced_motion="reduce").new_page()
                page.goto(ui.address())
                page.wait_for_url(f"{ui.root}/")
                page.get_by_text("Live").wait_for()
                page.locator("tbody tr").first.wait_for()
                for name, path in PATHS.items():
                    page.goto(ui.root + path)
                    page.get_by_text("Live").wait_for()
                    for width in WIDTHS if everything else ():
                        page.set_viewport_size({"width": width, "height": 900})
                        page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
                    if not everything and (name, scheme) in IN_DOCS:
                        width, height = IN_DOCS[name, scheme]
                        page.set_viewport_size({"width": width, "height": height})
                        page.screenshot(path=folder / f"page-{name}-{scheme}.png")


if __name__ == "__main__":
    main()
