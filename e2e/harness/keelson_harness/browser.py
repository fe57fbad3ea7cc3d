"""A real browser for the tests of the fleet page: Chromium without a window, driven by Playwright."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from .paths import BUILD_SCRIPT, NotBuilt

DOWNLOAD_SCRIPT = BUILD_SCRIPT.with_name("chromium.py")


def chromium() -> Path:
    """Path of Chromium; downloads it first if necessary."""
    output = subprocess.run([sys.executable, str(DOWNLOAD_SCRIPT), "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if output.returncode:
        raise NotBuilt(f"{DOWNLOAD_SCRIPT} could not provide Chromium")
    return Path(json.loads(output.stdout)["executable"])


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser; each `new_context` of it is another person's."""
    with sync_playwright() as playwright:
        # Its sandbox needs user namespaces, which containers of CI seldom have; it opens the page of the test only.
        started = playwright.chromium.launch(executable_path=str(chromium()), args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


def serious_violations(page: Page) -> list[str]:
    """What axe finds on a page that keeps somebody from using it."""
    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['html'][:160]} {node['failureSummary']}" for one in found for node in one["nodes"][:3]]
