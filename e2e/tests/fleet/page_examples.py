"""The manifests that a page of the documentation shows."""

from __future__ import annotations

import re

import yaml

from keelson_harness.paths import CHECKOUT


def page_examples(page: str) -> list[dict]:
    """Those of all its blocks. page: its path below `docs`."""
    blocks = re.findall(r"```yaml\n(.*?)```", (CHECKOUT / "docs" / page).read_text(), re.DOTALL)
    return [item for block in blocks for item in yaml.safe_load_all(block) if item and "apiVersion" in item]
